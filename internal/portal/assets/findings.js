// Drift across all environments: what is open and what became of the rest.
import { empty, envHref, envID, exact, h, short, value, when, word } from "./ui.js";
import { learn, may } from "./session.js";
import { n } from "./parts.js";
import { live, pages, select, table, terms, who } from "./lists.js";

const SHOW = [["true", "Open"], ["", "All"], ["false", "Over"]];
const DECISIONS = [["", "Any decision"], "REVERTED", "HEALED", "ACCEPTED", "IGNORED", "UNDONE", "DEPLOYED"].map((d) => (Array.isArray(d) ? d : [d, word(d, "")]));
const KINDS = ["", "CHANGED", "REMOVED", "EXTRA", "MISSING", "ORPHANED", "RESIDUE", "UNVERIFIED", "UNMANAGED", "TERMINATING"].map((k) => [k, k ? word(k, "") : "Any kind"]);

export function findings({ main, signal, params }) {
  const q = params.query, f = { open: q.get("open") ?? "true", change: q.get("change") || "", decision: q.get("decision") || "", kind: q.get("kind") || "", actor: q.get("actor") || "", app: q.get("application") || "" };
  let list;
  const begin = () => {
    list = pages(`/v1/applications/${encodeURIComponent(f.app || "-")}/environments/-/findingRecords`, "findingRecords", signal,
      () => ({ filter: terms(["open", "=", f.open], ["change", "=", f.change], ["decision", "=", f.decision], ["kind", "=", f.kind], ["actor", "=", f.actor]) }),
      (a, b) => !!a.endTime - !!b.endTime || Date.parse(b.onsetTime) - Date.parse(a.onsetTime));
  };
  begin();
  const set = (k, v) => { f[k] = v.trim(); begin(); again(); };
  const text = (k, hint) => h("input", { type: "search", key: k, size: "14", value: f[k], placeholder: hint, "aria-label": hint, onchange: (e) => set(k, e.target.value) });

  const { draw, again } = live({ main, signal }, () => [h("h1", null, "Drift"), h("div", { class: "tools" },
    select("Open or over", SHOW, f.open, (v) => set("open", v)), select("Kind of difference", KINDS, f.change, (v) => set("change", v)), select("Decision", DECISIONS, f.decision, (v) => set("decision", v)),
    text("app", "Application"), text("kind", "Object kind"), text("actor", "Person"))],
  async () => {
    const mine = list;
    await mine.refresh();
    await learn(signal, ...new Set(mine.list().filter((r) => !r.endTime).slice(0, 20).map((r) => envID2(r.name))));
  }, () => {
    const rows = list.list();
    return [h("p", { class: "quiet", role: "status" }, rows.length ? n(rows.filter((r) => !r.endTime).length, "open difference") + " of those shown" : ""),
      rows.length ? table("Differences between clusters and Git", ["Where", "What", "Git says", "The cluster has", "Who", "Since", "Became"], rows.map(row))
        : empty(f.open === "true" && !f.app && !f.kind && !f.actor && !f.change && !f.decision ? "Nothing drifts" : "No difference is like that", h("p", null, f.open === "true" ? "Every cluster has what Git says, as far as it can be seen. What was is under “All”." : "Take a filter away.")),
      list.older(draw)];
  });
}

const envID2 = (name) => name.split("/").slice(0, 4).join("/");
const side = (v) => (v === undefined || v === null ? "nothing" : h("code", { class: "v" }, value(v)));

function row(r) {
  const f = r.finding, env = envID2(r.name);
  return { key: r.name, cells: [h("a", { href: envHref(r.name) }, envID(r.name)),
    [f.objectKind + "/" + f.objectName, f.field ? [" ", h("code", null, f.field)] : null, " ", h("span", { class: "chip " + (r.endTime ? "none" : "warn") }, word(f.kind, "KIND_"))],
    side(f.desired), side(f.live), [who(f.actor || f.manager), f.actor ? h("div", { class: "quiet" }, "with ", f.manager) : null],
    h("span", { title: exact(r.onsetTime).textContent }, when(r.onsetTime)),
    r.endTime ? [word(r.decision, "DECISION_"), r.decideActor ? [" by ", who(r.decideActor)] : null, " ", when(r.endTime), r.reason ? ": " + r.reason : null]
      : [r.draft ? [h("a", { href: `#/${r.draft.split("/")[1]}/drafts/${short(r.draft)}` }, "accepted in a draft"), " "] : null,
        r.decision === "DECISION_IGNORED" ? "ignored" : may("revert", env) ? h("a", { href: envHref(env) }, "Look and decide") : "open"]] };
}
