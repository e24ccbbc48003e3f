// What others changed in an environment's folder in Git: who, when, and what becomes of it.
import { get, post } from "./api.js";
import { confirm, exact, field, h, short, toast, when } from "./ui.js";
import { diff, fieldTable } from "./plan.js";
import { asked, fact } from "./parts.js";
import { deployDraft, draftLink } from "./draft.js";

const STATE = {
  STATE_TOLD: "The next deployment writes over it.", STATE_HELD: "Deployments wait until somebody decides.", STATE_DECIDED: "Decided; Git is to follow.",
};
const DECISIONS = [
  ["DECISION_OVERWRITE", "Overwrite…", "Deployments may write over it. One that waits goes on at once."],
  ["DECISION_RESTORE", "Restore…", "A commit puts the folder back to what Towpath wrote last, without a deployment."],
  ["DECISION_ADOPT", "Adopt…", "A draft is made that keeps it. Until the draft is deployed, the change stands in Git."],
];

// foreign is the section of an environment's page; null where there is none.
export function foreign({ env }, act) {
  const changes = env.foreignChanges || [];
  if (!changes.length) return null;
  return h("section", { key: "foreign", "aria-label": "Changes of others in Git" }, h("h2", null, "Git differs from what was rendered"),
    changes.map((f) => h("article", { class: "card finding", key: f.path + f.foundTree, "aria-label": f.path },
      h("div", { class: "head" },
        h("h3", null, f.author || "Somebody", f.foundTree ? " changed " : " removed ", h("code", null, f.path)),
        act.mayEdit() && f.state !== "STATE_DECIDED" && !f.path.startsWith(".towpath/")
          ? h("div", { class: "tools" }, DECISIONS.filter(([d]) => d !== "DECISION_ADOPT" || (!f.draft && act.may("manageDrafts")))
            .map(([decision, title, text]) => h("button", { onclick: () => decide(f, decision, title, text, act) }, title)),
          f.draft ? h("button", { onclick: async () => { const d = await deployDraft(f.draft, act).catch((err) => toast(err.message)); if (d) act.landed(d, true); } }, "Deploy the draft…") : null) : null),
      h("dl", { class: "facts" },
        fact("Commit", f.foreignCommit ? h("code", { title: f.foreignCommit }, f.foreignCommit.slice(0, 12)) : "-"), fact("Subject", f.subject || "-"),
        fact("When", f.time ? exact(f.time) : when(f.noticeTime)), fact("Draft", f.draft ? draftLink(f.draft) : "-")),
      h("p", { class: "note" }, STATE[f.state] || ""),
      (f.notAdopted || []).map((line) => h("p", { class: "note" }, line)),
      asked("detail" + f.foundTree, "What?", async () => {
        const told = await get(`/v1/${act.name}:foreignChange?path=${encodeURIComponent(f.path)}`);
        return h("div", null, fieldTable(told.fields, "Towpath wrote", "Git has") || h("pre", { class: "value", tabindex: "0" }, told.text || "nothing that Kubernetes sees"),
          (told.files || []).map((x) => h("div", null, h("h4", null, x.path), diff(x.diff || ""))), (told.notAdoptable || []).map((line) => h("p", { class: "note" }, line)));
      }))));
}

// decide holds to the tree that was shown: what comes meanwhile needs a look of its own.
async function decide(f, decision, title, text, act) {
  const what = title.replace("…", ""), why = h("input", { maxlength: "2000" });
  const done = await confirm(`${what} in ${act.id}`, h("div", null, h("p", null, text), h("p", null, h("code", null, f.path)), field("Why (optional)", why)), what,
    () => post(`/v1/${act.name}:resolveForeignChange`, { path: f.path, decision, foundTree: f.foundTree || "", message: why.value }));
  if (!done) return;
  toast(done.draft ? `The draft ${short(done.draft)} keeps it.` : "Decided; Git is to follow.");
  act.again();
}
