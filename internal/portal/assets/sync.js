// Sync by hand: all or one workload, what it would do first, and the removal that waits for a person.
import { post } from "./api.js";
import { busy, dialog, field, h } from "./ui.js";
import { n } from "./parts.js";
import { objectName } from "./live.js";

const DOES = { ACTION_CREATE: "makes", ACTION_CHANGE: "changes", ACTION_PRUNE: "removes", ACTION_KEEP: "keeps", ACTION_HOOK: "runs", ACTION_REFUSE: "is refused" };

// syncNow opens the dialog; prune has the removal confirmed already.
export function syncNow(view, act, prune) {
  return dialog("Sync " + act.id, (close) => {
    const errors = h("div"), told = h("div", { role: "status" });
    const held = view.status?.pruneHeld || [];
    const part = h("select", { onchange: () => { remove.disabled = part.value !== ""; if (part.value) remove.checked = false; } },
      h("option", { value: "" }, "everything"), Object.keys(view.set?.workloads || {}).sort().map((w) => h("option", { value: w }, "only the workload " + w)));
    const remove = h("input", { type: "checkbox", name: "prune", checked: prune });
    const ask = (validateOnly) => post(`/v1/${act.name}:sync`, { validateOnly, workloads: part.value ? [part.value] : [], confirmPrune: remove.checked }, { timeout: 120000 });
    return h("form", { onsubmit: (e) => {
      e.preventDefault();
      busy(e.submitter, errors, async () => {
        told.replaceChildren(outcome(await ask(false), true));
        act.again();
      });
    } },
      h("p", null, "The cluster gets what Git says now, also where nothing seems to have changed. Git stays as it is."),
      field("What", part, "A part removes nothing, and runs no hooks."),
      h("p", { class: held.length || prune ? null : "quiet" }, h("label", null, remove, " Remove also what is held back", held.length ? `: ${held.slice(0, 20).map(objectName).join(", ")}` : " (now nothing is)")),
      told, errors,
      h("div", { class: "actions" },
        h("button", { type: "submit", class: "primary" }, "Sync now"),
        h("button", { class: "asks", onclick: (e) => busy(e.target, errors, async () => told.replaceChildren(outcome(await ask(true), false))) }, "What would happen?"),
        h("button", { class: "asks", onclick: () => close() }, "Close")));
  }, true);
}

function outcome({ changes = [], status }, done) {
  const list = changes.filter((c) => c.action !== "ACTION_UNSPECIFIED"), same = changes.length - list.length;
  return h("div", { class: "card" },
    h("p", null, h("strong", null, done ? "Synced. " : "Nothing was done. "), list.length ? "" : done ? "The cluster had what Git says." : "A sync would change nothing.", same && list.length ? `${n(same, "object")} ${same === 1 ? "stays" : "stay"} as they are.` : ""),
    list.length ? h("ul", { class: "summary" }, list.map((c) => h("li", { class: c.action === "ACTION_REFUSE" ? "problem" : null },
      h("strong", null, (done ? "" : "would: ") + (DOES[c.action] || c.action)), " ", h("code", null, objectName(c.object)), c.fields?.length ? ": " + c.fields.slice(0, 10).join(", ") : "", c.message ? ` (${c.message})` : ""))) : null,
    status?.message ? h("p", { class: "note" }, status.message) : null);
}
