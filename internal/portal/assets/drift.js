// Drift: what differs between the cluster and Git, side by side, who did it and when, and what to do: put it back, keep it, let it be.
import { post } from "./api.js";
import { busy, chip, confirm, dialog, exact, field, h, toast, value, word } from "./ui.js";
import { asked, fact, HOURS, later, n, sideBySide, until } from "./parts.js";
import { deployDraft, draftLink } from "./draft.js";
import { origins } from "./workloads.js";
import { past, quiet, rules } from "./driftlog.js";

const WHAT = {
  KIND_CHANGED: "A declared value is another one", KIND_REMOVED: "A declared value is gone", KIND_EXTRA: "Added, though nobody declared it",
  KIND_MISSING: "The whole object is gone", KIND_ORPHANED: "An object that is no longer declared", KIND_RESIDUE: "A field that is no longer declared; an apply is due",
  KIND_UNVERIFIED: "The object cannot be judged", KIND_UNMANAGED: "Nobody declared, owns or tracks this object", KIND_TERMINATING: "A declared object is being deleted",
};
const ADDED = ["KIND_EXTRA", "KIND_ORPHANED", "KIND_RESIDUE", "KIND_UNMANAGED"]; // what nobody declared comes from nowhere
export const object = (f) => f.objectKind + "/" + f.objectName;

// drift is the section of an environment's page.
export function drift(view, act) {
  const list = view.findings, sync = (view.status || view.env.live || {}).sync, known = sync && sync !== "SYNC_STATE_UNSPECIFIED";
  const groups = new Map();
  for (const f of list) groups.set(object(f) + f.namespace, [...(groups.get(object(f) + f.namespace) || []), f]);
  return h("section", { key: "drift", id: "drift", tabindex: "-1", "aria-label": "Drift" },
    h("div", { class: "head" }, h("h2", null, list.length ? n(list.length, "difference") + " to Git" : known ? "No differences to Git" : "Differences are not known"),
      list.length > 1 ? tools(list, act, " all") : null),
    list.length ? null : h("p", { class: "quiet" }, known ? "The cluster is what Git says. What somebody changes there by hand shows here within a second." : "The cluster has not been compared with Git yet, or cannot be seen."),
    view.type?.selfHeal ? h("p", { class: "quiet" }, "This environment heals itself: differences are put back without being asked.") : null,
    [...groups.values()].map((of) => [
      of.length > 1 && groups.size > 1 ? h("div", { class: "head", key: "g" + of[0].name }, h("h3", null, object(of[0]), " ", h("span", { class: "quiet" }, n(of.length, "difference"))), tools(of, act, " object")) : null,
      of.map((f) => finding(f, act))]),
    h("div", { class: "tools", key: "more" }, asked("rules", "What is ignored", (again) => rules(act, again)), asked("quiet", "What counts as right", () => quiet(act)), asked("past", "Past differences", () => past(act))));
}

function tools(findings, act, of) {
  const one = (action, text, on) => (act.may(action) ? h("button", { onclick: () => on(findings, act) }, text + of + "…") : null);
  return h("div", { class: "tools" }, one("revert", "Revert", revert), one("manageDrafts", "Accept", accept), one("revert", "Ignore", ignore));
}

function finding(f, act) {
  const long = typeof f.desired === "object" && typeof f.live === "object" && f.desired && f.live;
  return h("article", { class: "card finding", key: f.name, "aria-label": object(f) + " " + f.field },
    h("div", { class: "head" },
      h("h3", null, object(f), f.field ? [" ", h("code", null, f.field)] : null, " ", h("span", { title: WHAT[f.kind] }, chip(f.kind, "KIND_"))), tools([f], act, "")),
    h("p", { class: "quiet" }, WHAT[f.kind] || "", "."),
    f.contested ? h("p", { class: "note" }, "Contested: it came back after each of several reverts. Towpath has stopped putting it back by itself for a while; find out who or what does it, or accept it.") : null,
    f.kind === "KIND_UNVERIFIED" ? h("p", { class: "note" }, "Unverified: whether it is what Git says cannot be told, because what the cluster makes of it by itself is not known. It is not counted as right.") : null,
    long ? sideBySide("Git says", value(f.desired), "The cluster has", value(f.live)) : h("div", { class: "sides" },
      side("Git says", f.desired, !f.field && !ADDED.includes(f.kind) ? "the object" : "nothing", "git"),
      side("The cluster has", f.live, f.kind === "KIND_REMOVED" || f.kind === "KIND_MISSING" || f.field ? "nothing" : "the object", "live")),
    h("dl", { class: "facts" },
      f.actor ? fact("Who", h("strong", null, f.actor), f.userAgent ? ` with ${f.userAgent.split(" ")[0]}` : "") : null,
      fact(f.actor ? "Manager" : "Who", h("code", null, f.manager || "unknown"), f.operation ? ` ${f.operation}` : ""),
      fact("Edited", f.editTime ? exact(f.editTime) : f.earliestEditTime ? ["between ", exact(f.earliestEditTime), " and ", exact(f.latestEditTime)] : "not known"),
      fact("Noticed", exact(f.detectTime)), fact("Known", f.attribution || "-")),
    f.field && ADDED.includes(f.kind) ? null : asked("origin", "Where from?", () => origins(act, object(f), f.field)));
}

function side(name, v, none, tone) {
  const missing = v === undefined || v === null;
  return h("div", null, h("h4", null, name), missing ? h("p", { class: "quiet" }, none) : h("pre", { class: "value " + tone, tabindex: "0" }, value(v)));
}

const names = (findings) => findings.slice(0, 1000).map((f) => f.name);
const listed = (findings) => h("ul", null, findings.slice(0, 50).map((f) => h("li", null, object(f), f.field ? [" ", h("code", null, f.field)] : null, h("span", { class: "quiet" }, `, ${word(f.kind, "KIND_")} by ${f.actor || f.manager}`))), findings.length > 50 ? h("li", null, `and ${findings.length - 50} more`) : null);

// revert puts back exactly what was shown: what drifts meanwhile needs a look of its own.
async function revert(findings, act) {
  const list = h("div", null, h("p", null, "The cluster is put back to what Git says for:"), listed(findings),
    h("p", { class: "quiet" }, "Nothing changes in Git. Whoever did it may do it again; to keep it, accept it."));
  const done = await confirm("Revert in " + act.id, list, findings.length === 1 ? "Revert" : "Revert " + findings.length, () => post(`/v1/${act.name}/findings:revert`, { names: names(findings) }, { timeout: 120000 }));
  if (!done) return;
  toast(done.reverted.length === 1 ? "Reverted: " + object(done.reverted[0]) + " " + done.reverted[0].field : "Reverted " + done.reverted.length + " differences.");
  act.again();
}

// accept shows where each difference would be written, makes the draft, and offers to deploy it.
function accept(findings, act) {
  const ask = (body) => post(`/v1/${act.name}/findings:accept`, { names: names(findings), ...body });
  return dialog("Accept in " + act.id, (close) => {
    const errors = h("div"), box = h("div", null, h("p", { class: "quiet" }, "Reading…")), why = h("input", { maxlength: "2000" });
    const places = (list) => h("ul", { class: "summary" }, list.map((a) => {
      const f = findings.find((x) => x.name === a.name) || {};
      return h("li", null, object(f), " ", h("code", null, f.field), a.problem ? [": ", h("strong", null, "cannot be accepted: "), a.problem] : [" goes to ", h("code", null, a.place)]);
    }));
    busy(null, errors, async () => {
      const { findings: would = [] } = await ask({ validateOnly: true });
      const some = would.some((a) => !a.problem);
      box.replaceChildren(h("p", null, "What the cluster has becomes part of what is declared, by a draft that you can look at before it is deployed."), places(would),
        some ? h("form", { onsubmit: (e) => {
          e.preventDefault();
          busy(e.submitter, errors, async () => {
            const made = await ask({ names: would.filter((a) => !a.problem).map((a) => a.name), message: why.value });
            box.replaceChildren(h("p", null, "The draft ", draftLink(made.draft), " has it."), places(made.findings || []), h("div", { class: "actions" },
              act.mayEdit() ? h("button", { class: "primary", onclick: (b) => busy(b.target, errors, async () => {
                const d = await deployDraft(made.draft, act);
                if (d) { close(); act.landed(d, true); }
              }) }, "Deploy the draft…") : null, h("button", { class: "asks", onclick: () => close() }, "Later")));
          });
        } }, field("Why (optional)", why), h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Make the draft"), h("button", { class: "asks", onclick: () => close() }, "Cancel"))) : null);
    });
    return h("div", null, box, errors);
  }, true);
}

function ignore(findings, act) {
  const reason = h("input", { name: "reason", required: true, maxlength: "2000", autofocus: true }), owner = h("input", { name: "owner", maxlength: "253" });
  const end = until("Until", [...HOURS.map(([s, t]) => [s, t + " from now"]), [0, "somebody removes the rule"]]);
  return confirm("Ignore in " + act.id, h("div", null, h("p", null, "A rule keeps quiet about just these places. The cluster stays as it is:"), listed(findings),
    field("Why", reason), field("Who answers for it (optional)", owner, "You, when empty; or a team such as teams/checkout."), end.field), "Ignore", async () => {
    await post(`/v1/${act.name}/findings:ignore`, { names: names(findings), reason: reason.value, owner: owner.value, expireTime: later(end.value()) });
    toast("It is ignored; “What is ignored” has the rule.");
    act.again();
  }, "primary");
}
