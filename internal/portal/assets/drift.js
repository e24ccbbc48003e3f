// Drift: what differs between the cluster and Git, side by side, who did it and when, and how to put it back.
import { get, post, query } from "./api.js";
import { busy, chip, confirm, h, exact, toast, value, word } from "./ui.js";
import { mayChange } from "./session.js";

const WHAT = {
  KIND_CHANGED: "A declared value is another one", KIND_REMOVED: "A declared value is gone", KIND_EXTRA: "Added, though nobody declared it",
  KIND_MISSING: "The whole object is gone", KIND_ORPHANED: "An object that is no longer declared", KIND_RESIDUE: "A field that is no longer declared; an apply is due",
  KIND_UNVERIFIED: "The object cannot be judged",
};
const object = (f) => f.objectKind + "/" + f.objectName;

// drift is the section of an environment's page; null where there is none.
export function drift({ findings }, act) {
  if (!findings.length) return null;
  return h("section", { key: "drift", "aria-label": "Drift" },
    h("div", { class: "head" }, h("h2", null, findings.length === 1 ? "1 difference to Git" : findings.length + " differences to Git"),
      mayChange() && findings.length > 1 ? h("div", { class: "tools" }, h("button", { type: "button", onclick: () => revert(findings, act) }, "Revert all…")) : null),
    findings.map((f) => h("article", { class: "card finding", key: f.name, "aria-label": object(f) + " " + f.field },
      h("div", { class: "head" },
        h("h3", null, object(f), f.field ? [" ", h("code", null, f.field)] : null, " ", h("span", { title: WHAT[f.kind] }, chip(f.kind, "KIND_"))),
        mayChange() ? h("button", { type: "button", onclick: () => revert([f], act) }, "Revert…") : null),
      h("div", { class: "sides" },
        side("Git says", f.desired, f.kind === "KIND_EXTRA" || f.kind === "KIND_ORPHANED" || f.kind === "KIND_RESIDUE" ? "nothing" : f.field ? "nothing" : "the object", "git"),
        side("The cluster has", f.live, f.kind === "KIND_REMOVED" || f.kind === "KIND_MISSING" ? "nothing" : f.field ? "nothing" : "the object", "live")),
      h("dl", { class: "facts" },
        fact("Who", h("code", null, f.manager || "unknown")), fact("How", f.operation || "-"), fact("Edited", exact(f.editTime)),
        fact("Noticed", exact(f.detectTime)), fact("Known", f.attribution || "-")),
      f.field && ADDED.includes(f.kind) ? null : origin(f, act))));
}

// What nobody declared comes from nowhere.
const ADDED = ["KIND_EXTRA", "KIND_ORPHANED", "KIND_RESIDUE", "KIND_UNMANAGED"];

// origin asks, when told to, where what Git says comes from.
function origin(f, act) {
  const box = h("div");
  const ask = h("button", { type: "button", class: "asks", onclick: () => busy(ask, box, async () => {
    const told = await get(`/v1/${act.name}:explain` + query({ object: f.objectKind + "/" + f.objectName, path: f.field }));
    const fields = told.fields || [];
    box.replaceChildren(h("ul", { class: "origin" }, fields.slice(0, 20).map((o) => h("li", null, h("code", null, o.text)))),
      fields.length > 20 ? h("p", { class: "quiet" }, `${fields.length - 20} more: tow explain shows them`) : "");
    ask.remove();
  }) }, "Where from?");
  return h("div", { class: "tools", key: "origin", keep: true }, ask, box);
}

const fact = (name, ...v) => h("div", null, h("dt", null, name), h("dd", null, ...v));

function side(name, v, none, tone) {
  const missing = v === undefined || v === null;
  return h("div", null, h("h4", null, name), missing ? h("p", { class: "quiet" }, none) : h("pre", { class: "value " + tone, tabindex: "0" }, value(v)));
}

// revert puts back exactly what was shown: what drifts meanwhile needs a look of its own.
async function revert(findings, act) {
  const list = h("div", null,
    h("p", null, "The cluster is put back to what Git says for:"),
    h("ul", null, findings.map((f) => h("li", null, object(f), f.field ? [" ", h("code", null, f.field)] : null, h("span", { class: "quiet" }, ", " + word(f.kind, "KIND_") + " by " + f.manager)))),
    h("p", { class: "quiet" }, "Nothing changes in Git. Whoever did it may do it again; to keep it, change it by a deployment."));
  const names = findings.slice(0, 1000).map((f) => f.name);
  const done = await confirm("Revert in " + act.id, list, names.length === 1 ? "Revert" : "Revert " + names.length, () => post(`/v1/${act.name}/findings:revert`, { names }, { timeout: 120000 }));
  if (!done) return;
  toast(done.reverted.length === 1 ? "Reverted: " + object(done.reverted[0]) + " " + done.reverted[0].field : "Reverted " + done.reverted.length + " differences.");
  act.again();
}
