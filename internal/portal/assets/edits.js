// What a person has changed on an environment's page and not deployed yet. It is kept as long as the portal is open, beside a session
// that ends and a look at another page; never written anywhere, for it may be anything that somebody has typed.
import { busy, h } from "./ui.js";
import { n } from "./parts.js";

const byEnvironment = new Map();

// edits are an environment's: open is {key, text, base} that is being typed, kept are edits {key, what, change} by place, problems
// what the server said about a place.
export function edits(name) {
  if (!byEnvironment.has(name)) byEnvironment.set(name, { open: null, kept: new Map(), problems: new Map() });
  return byEnvironment.get(name);
}

const snake = (s) => s.replace(/[A-Z]/g, (c) => "_" + c.toLowerCase());

// gather makes one change of several. places tells which edit a field of an error means.
export function gather(kept) {
  const change = {}, places = [];
  for (const [key, edit] of kept) {
    for (const [field, v] of Object.entries(edit.change)) {
      const at = "change." + snake(field);
      if (Array.isArray(v)) {
        const list = (change[field] ||= []);
        v.forEach((x) => { places.push([`${at}[${list.length}]`, key]); list.push(x); });
      } else if (v && typeof v === "object") {
        Object.assign((change[field] ||= {}), v);
        for (const k of Object.keys(v)) places.push([`${at}[${JSON.stringify(k)}]`, key]);
      } else change[field] = v;
    }
  }
  return { change, places };
}

// changes is the bar that shows what is kept, with the way to one plan of all.
export function changes(view, act) {
  const kept = [...view.edits.kept.values()];
  if (!kept.length) return null;
  return h("section", { class: "changes", key: "changes", "aria-label": "Changes that are not deployed yet" },
    h("div", { class: "head" }, h("h2", null, n(kept.length, "change"), " not deployed yet"),
      h("div", { class: "tools" },
        h("button", { class: "primary", onclick: (e) => busy(e.target, e.target.closest("section").lastChild, () => act.deploy("")) }, `${n(kept.length, "change")}: review`),
        h("button", { onclick: () => { view.edits.kept.clear(); view.edits.problems.clear(); act.draw(); } }, "Drop all"))),
    h("ul", null, kept.map((e) => h("li", { key: e.key }, e.what, " ", h("button", { class: "plain", "aria-label": "Drop " + e.what, onclick: () => {
      view.edits.kept.delete(e.key);
      view.edits.problems.delete(e.key);
      act.draw();
    } }, "Drop"), view.edits.problems.get(e.key) ? h("div", { class: "problem" }, view.edits.problems.get(e.key)) : null))),
    h("div", { key: "errors", keep: true }));
}
