// Workloads with their variables, and the environment's own variables. Each value is edited where it stands; what it would do is
// shown before it is done. Editing here changes this environment alone (its overlay), never the set that others share.
import { busy, field, h, value } from "./ui.js";
import { mayChange } from "./session.js";

const pointer = (...parts) => parts.map((p) => "/" + p.replaceAll("~", "~0").replaceAll("/", "~1")).join("");
const NAME = "[A-Za-z_][A-Za-z0-9_.\\-]*";

// effective applies the overlay to the set's workloads, as the renderer does.
export function effective(set, overlay) {
  const doc = structuredClone({ workloads: set?.workloads || {}, resources: set?.resources || {} });
  for (const op of overlay || []) {
    const parts = op.path.split("/").slice(1).map((p) => p.replaceAll("~1", "/").replaceAll("~0", "~"));
    const last = parts.pop();
    let at = doc;
    for (const p of parts) {
      if (typeof at !== "object" || at === null || !Object.hasOwn(at, p)) {
        if (op.action !== "ACTION_SET" || typeof at !== "object" || at === null) { at = null; break; }
        Object.defineProperty(at, p, { value: {}, enumerable: true, configurable: true, writable: true });
      }
      at = at[p];
    }
    if (typeof at !== "object" || at === null) continue;
    if (op.action === "ACTION_SET") Object.defineProperty(at, last, { value: op.value, enumerable: true, configurable: true, writable: true });
    else if (Array.isArray(at)) at.splice(Number(last), 1);
    else delete at[last];
  }
  return doc.workloads;
}

// workloads is the section of an environment's page.
export function workloads(view, act) {
  const intent = view.env.intent || {};
  const overlay = intent.overlay || [];
  const now = effective(view.set, overlay);
  return [
    h("section", { key: "workloads" }, h("h2", null, "Workloads"),
      Object.keys(now).sort().map((w) => Object.keys(now[w]?.containers || {}).sort().map((c) => container(view, act, overlay, w, c, now[w].containers[c] || {})))),
    h("section", { key: "variables" }, h("h2", null, "Environment variables"),
     h("div", { class: "card" },
      h("p", { class: "quiet" }, "Workloads read them as ", h("code", null, "${resources.env.NAME}"), ". Not for secrets: a value that looks like one is refused."),
      variables(view, act, Object.entries(intent.variables || {}).sort().map(([k, v]) => ({
        key: "env:" + k, name: k, value: v, from: "",
        set: (x) => [k, { change: { variables: { [k]: x } } }], drop: ["Remove", "Remove " + k, { change: { variableDrops: [k] } }],
      })), "env:", (k, x) => ["Set " + k, { change: { variables: { [k]: x } } }]))),
  ];
}

function container(view, act, overlay, w, c, spec) {
  const base = ["workloads", w, "containers", c];
  const from = (path) => (overlay.some((o) => path === o.path || path.startsWith(o.path + "/")) ? "this environment" : "");
  const change = (path, v) => ({ change: { overlayOperations: [{ action: "ACTION_SET", path, value: v }] } });
  const row = (name, v, path) => ({
    key: path, name, value: value(v), from: from(path),
    set: (x) => [name, change(path, x)],
    drop: overlay.some((o) => o.path === path) ? ["Reset", `Reset ${name} of ${w} to the set's value`, { change: { overlayDrops: [path] } }]
      : name === "image" ? null : ["Remove", `Remove ${name} of ${w}`, { change: { overlayOperations: [{ action: "ACTION_REMOVE", path }] } }],
  });
  const rows = [row("image", spec.image, pointer(...base, "image")),
    ...Object.entries(spec.variables || {}).sort().map(([k, v]) => row(k, v, pointer(...base, "variables", k)))];
  const prefix = pointer(...base, "variables");
  for (const o of overlay) { // what the overlay takes away can only be seen here
    const k = o.path.startsWith(prefix + "/") ? o.path.slice(prefix.length + 1) : "";
    if (o.action === "ACTION_REMOVE" && k && !k.includes("/")) rows.push({ key: o.path, name: k, value: "", gone: true, from: "removed here", drop: ["Reset", `Reset ${k} of ${w} to the set's value`, { change: { overlayDrops: [o.path] } }] });
  }
  return h("div", { class: "card", key: w + "/" + c }, h("h3", null, w, c === "main" ? null : [" ", h("span", { class: "quiet" }, "container " + c)]),
    variables(view, act, rows, prefix, (k, x) => [`Set ${k} of ${w}`, change(pointer(...base, "variables", k), x)]));
}

function variables(view, act, rows, prefix, add) {
  return [
    rows.length ? h("div", { class: "scroll" }, h("table", { class: "vars" },
      h("thead", { class: "sr" }, h("tr", null, ["Name", "Value", "Where from", "Actions"].map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", null, rows.map((r) => variable(view, act, r))))) : null,
    mayChange() && view.env.state !== "STATE_DELETING" ? adder(act, prefix, add) : null,
  ];
}

function variable(view, act, r) {
  const edit = view.edit === r.key;
  const errors = h("div", { key: "errors", keep: true });
  const plan = (button, what, request) => busy(button, button.closest("tr").querySelector("[data-key=errors]"), () => act.deploy(what, request));
  const stop = (tr) => { view.edit = null; act.draw(); tr.querySelector(".edit")?.focus(); };
  return h("tr", { key: r.key },
    h("th", { scope: "row" }, h("code", null, r.name)),
    h("td", null, edit
      ? h("form", { key: "form", class: "inline", onsubmit: (e) => {
        e.preventDefault();
        const tr = e.target.closest("tr"), x = e.target.elements.value.value;
        if (x === r.value) return stop(tr);
        const [what, request] = r.set(x);
        plan(e.target.querySelector("[type=submit]"), "Set " + what, request);
      } },
        h("input", { name: "value", value: r.value, "aria-label": "New value of " + r.name, autocomplete: "off", spellcheck: "false", onkeydown: (e) => { if (e.key === "Escape") stop(e.target.closest("tr")); } }),
        h("button", { type: "submit", class: "primary" }, "Plan"),
        h("button", { type: "button", onclick: (e) => stop(e.target.closest("tr")) }, "Cancel"))
      : r.gone ? h("span", { class: "quiet" }, "removed") : h("code", { key: "value", class: "v" }, r.value === "" ? h("span", { class: "quiet" }, "(empty)") : r.value),
    errors),
    h("td", null, r.from ? h("span", { class: "chip none" }, r.from) : null),
    h("td", { class: "row-actions" }, mayChange() && !edit && view.env.state !== "STATE_DELETING" ? [
      r.gone ? null : h("button", { type: "button", class: "plain edit", "aria-label": "Edit " + r.name, onclick: (e) => {
        const tr = e.target.closest("tr");
        view.edit = r.key;
        act.draw();
        tr.querySelector("input")?.select();
      } }, "Edit"),
      r.drop ? h("button", { type: "button", class: "plain", "aria-label": r.drop[1], onclick: (e) => plan(e.target, r.drop[1], r.drop[2]) }, r.drop[0]) : null] : null));
}

function adder(act, prefix, add) {
  return h("details", { key: "add" + prefix, class: "adder" }, h("summary", null, "Add a variable"),
    h("form", { class: "row", onsubmit: (e) => {
      e.preventDefault();
      const form = e.target, { name, value } = form.elements;
      const [what, request] = add(name.value, value.value);
      busy(form.querySelector("[type=submit]"), form.querySelector("[data-key=errors]"), () => act.deploy(what, request));
    } },
      field("Name", h("input", { id: "n" + prefix, name: "name", required: true, pattern: NAME, autocomplete: "off", spellcheck: "false", title: "letters, digits and _ . -" })),
      field("Value", h("input", { id: "v" + prefix, name: "value", autocomplete: "off", spellcheck: "false" })),
      h("button", { type: "submit" }, "Plan"),
      h("div", { key: "errors", keep: true })));
}
