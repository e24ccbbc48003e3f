// Workloads with their image, replicas and variables, and the environment's own variables. Each value is edited where it stands; what it
// would do is shown before it is done. Editing here changes this environment alone (its overlay), never the set that others share.
import { get } from "./api.js";
import { busy, field, h, short, value, when } from "./ui.js";
import { addWorkload } from "./score.js";
import { asking } from "./parts.js";

const pointer = (...parts) => parts.map((p) => "/" + p.replaceAll("~", "~0").replaceAll("/", "~1")).join("");
const NAME = "[A-Za-z_][A-Za-z0-9_.\\-]*";
const REPLICAS = "towpath.dev/replicas";

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

// workloads are two sections of an environment's page.
export function workloads(view, act) {
  const overlay = view.env.intent?.overlay || [];
  const now = effective(view.set, overlay), shared = effective(view.set, []);
  const names = Object.keys(now).sort();
  return [
    h("section", { key: "workloads", id: "workloads", tabindex: "-1", "aria-label": "Workloads" },
      h("div", { class: "head" }, h("h2", null, "Workloads"),
        act.mayEdit() ? h("button", { onclick: () => addWorkload(view, act) }, "Add a workload…") : null),
      names.length ? names.map((w) => workload(view, act, { overlay, shared }, w, now[w] || {})) : h("p", { class: "quiet" }, "There is none. Add one from a Score file: a short text that says which image runs with which variables.")),
    own(view, act),
  ];
}

function workload(view, act, from, w, spec) {
  return h("article", { class: "card", key: "w:" + w, "aria-label": "Workload " + w },
    h("div", { class: "head" }, h("h3", null, w),
      act.mayEdit() ? h("div", { class: "tools" },
        h("button", { class: "plain", "aria-label": "Replace " + w, onclick: () => addWorkload(view, act, w) }, "Replace…"),
        h("button", { class: "plain", "aria-label": "Remove the workload " + w, onclick: (e) => {
          const errors = e.target.closest("article").querySelector("[data-key=errors]");
          busy(e.target, errors, () => act.deploy("Remove " + w, { key: "workload:" + w, what: "remove the workload " + w, change: { removeWorkloads: [w] } }));
        } }, "Remove…")) : null),
    h("div", { key: "errors", keep: true }),
    Object.keys(spec.containers || {}).sort().map((c, i) => container(view, act, from, w, c, spec, i === 0)));
}

function container(view, act, { overlay, shared }, w, c, workload, first) {
  const spec = workload.containers[c] || {}, theirs = shared[w]?.containers?.[c] || {};
  const base = ["workloads", w, "containers", c];
  const here = (path) => overlay.some((o) => path === o.path || path.startsWith(o.path + "/"));
  const set = (path, what, v) => ({ key: path, what, change: { overlayOperations: [{ action: "ACTION_SET", path, value: v }] } });
  const why = (field) => () => origin(view, act, w, field);
  const row = (name, v, path, k, more) => ({
    key: path, name, value: value(v), from: here(path) ? "this environment" : "", of: w,
    set: (x) => set(path, `${w}: ${name} ${value(v) || "(empty)"} -> ${x || "(empty)"}`, x),
    drop: overlay.some((o) => o.path === path)
      ? [k in theirs ? "Reset" : "Remove", { key: path, what: k in theirs ? `${w}: ${name} back to the set's value` : `${w}: ${name} removed`, change: { overlayDrops: [path] } }]
      : more?.stays ? null : ["Remove", { key: path, what: `${w}: ${name} removed`, change: { overlayOperations: [{ action: "ACTION_REMOVE", path }] } }],
    ...more,
  });
  const rows = [row("image", spec.image, pointer(...base, "image"), "image", { stays: true, why: why(`spec.template.spec.containers[name=${c}].image`) })];
  if (first) {
    const path = pointer("workloads", w, "metadata", "annotations", REPLICAS), set = workload.metadata?.annotations?.[REPLICAS];
    rows.push(row("replicas", set ?? String(view.env.intent?.defaults?.replicas || 1), path, "none", { stays: true, type: "number", from: here(path) ? "this environment" : set ? "" : "environment type", why: why("spec.replicas") }));
  }
  const prefix = pointer(...base, "variables");
  rows.push(...Object.entries(spec.variables || {}).sort().map(([k, v]) => row(k, v, pointer(...base, "variables", k), k in (theirs.variables || {}) ? "image" : "none", { why: why(`spec.template.spec.containers[name=${c}].env[name=${k}]`) })));
  for (const o of overlay) { // what the overlay takes away can only be seen here
    const k = o.path.startsWith(prefix + "/") ? o.path.slice(prefix.length + 1) : "";
    if (o.action === "ACTION_REMOVE" && k && !k.includes("/")) rows.push({ key: o.path, name: k, value: "", gone: true, from: "removed here", drop: ["Reset", { key: o.path, what: `${w}: ${k} back to the set's value`, change: { overlayDrops: [o.path] } }] });
  }
  return h("div", { key: "c:" + c }, c === "main" ? null : h("h4", null, "Container " + c),
    table(view, act, rows), act.mayEdit() ? adder(act, prefix, (k, x) => set(pointer(...base, "variables", k), `${w}: ${k} ${x || "(empty)"} added`, x)) : null);
}

// own are the environment's variables, the application's that it has from above, and references to secrets.
function own(view, act) {
  const i = view.env.intent || {}, mine = i.variables || {}, secret = i.secretVariables || {};
  const set = (k, x) => ({ key: "env:" + k, what: `${k} ${mine[k] === undefined ? "" : (mine[k] || "(empty)") + " -> "}${x || "(empty)"}`, change: { variables: { [k]: x } } });
  const drop = (k) => ["Remove", { key: "env:" + k, what: k + " removed", change: { variableDrops: [k] } }];
  const rows = [
    ...Object.entries(mine).map(([k, v]) => ({ key: "env:" + k, name: k, value: v, from: k in (i.applicationVariables || {}) ? "instead of the application's" : "", set: (x) => set(k, x), drop: drop(k), why: () => uses(act, k) })),
    ...Object.entries(i.applicationVariables || {}).filter(([k]) => !(k in mine) && !(k in secret)).map(([k, v]) => ({ key: "env:" + k, name: k, value: v, from: "the application", set: (x) => set(k, x), why: () => uses(act, k) })),
    ...Object.entries(secret).map(([k, r]) => ({ key: "env:" + k, name: k, value: "secret " + refer(r), from: "a secret store", secret: r, drop: drop(k), why: () => uses(act, k) })),
    ...Object.entries(i.applicationSecretVariables || {}).filter(([k]) => !(k in mine) && !(k in secret)).map(([k, r]) => ({ key: "env:" + k, name: k, value: "secret " + refer(r), from: "the application", secret: r, why: () => uses(act, k) })),
  ].sort((a, b) => (a.name < b.name ? -1 : 1));
  return h("section", { key: "variables", id: "variables", tabindex: "-1", "aria-label": "Environment variables" }, h("h2", null, "Environment variables"),
    h("div", { class: "card" },
      h("p", { class: "quiet" }, "Workloads read them as ", h("code", null, "${resources.env.NAME}"), ". Not for secrets: a value that looks like one is refused. A secret is referred to by its name and key; its value never comes here."),
      rows.length ? table(view, act, rows) : h("p", { class: "quiet" }, "There is none yet."),
      act.mayEdit() ? [adder(act, "env:", set), referrer(act)] : null));
}

const refer = (r) => `${r.name}, key ${r.key}${r.remote?.key ? `, from ${r.remote.key}${r.remote.property ? "/" + r.remote.property : ""} of the store` : ""}`;

function table(view, act, rows) {
  return h("div", { class: "scroll", key: "vars" }, h("table", { class: "vars" },
    h("thead", { class: "sr" }, h("tr", null, ["Name", "Value", "Where from", "Actions"].map((t) => h("th", { scope: "col" }, t)))),
    h("tbody", null, rows.map((r) => variable(view, act, r)))));
}

function variable(view, act, r) {
  const { edits } = view, open = edits.open?.key === r.key ? edits.open : null, kept = edits.kept.get(r.key), wrong = edits.problems.get(r.key);
  const box = (el) => el.closest("tr").querySelector("[data-key=errors]");
  const stop = (tr) => {
    edits.open = null;
    edits.problems.delete(r.key);
    tr.querySelector("[data-key=errors]").replaceChildren();
    act.draw();
    tr.querySelector("button.edit")?.focus();
  };
  const start = (e) => {
    const tr = e.target.closest("tr");
    edits.open = { key: r.key, base: r.value, text: kept?.text ?? r.value };
    act.draw();
    tr.querySelector("input")?.select();
  };
  const editable = act.mayEdit() && r.set && !r.gone;
  return h("tr", { key: r.key },
    h("th", { scope: "row" }, h("code", null, r.name)),
    h("td", null, open ? form(act, r, open, edits, stop, box) : r.gone ? h("span", { class: "quiet" }, "removed")
      : h("code", { key: "value", class: editable ? "v edit" : "v", title: editable ? "Click to change" : null, onclick: editable ? start : null }, r.value === "" ? h("span", { class: "quiet" }, "(empty)") : r.value),
      kept && !open ? h("span", { class: "next", key: "next" }, h("span", { class: "chip busy" }, "not deployed yet"), " ", kept.text === undefined ? kept.what : h("code", null, kept.text || "(empty)")) : null,
      wrong ? h("div", { class: "problem", key: "wrong" }, wrong) : null,
      h("div", { key: "errors", keep: true }), h("div", { key: "answer", class: "answer", keep: true })),
    h("td", null, r.from ? h("span", { class: "chip none" }, r.from) : null),
    h("td", { class: "row-actions" }, r.why && !open ? asking("Where from?", r.why, (b) => b.closest("tr").querySelector("[data-key=answer]"), "Where from: " + r.name) : null, act.mayEdit() && !open ? [
      editable ? h("button", { class: "plain edit", "aria-label": "Edit " + r.name, onclick: start }, "Edit") : null,
      r.drop ? h("button", { class: "plain", "aria-label": `${r.drop[0]} ${r.name}${r.of ? " of " + r.of : ""}`, onclick: (e) => busy(e.target, box(e.target), () => act.deploy(r.drop[1].what, r.drop[1])) }, r.drop[0]) : null] : null));
}

// form is a value that is being edited. Enter asks for the plan, Esc leaves; what is typed is kept beside the page.
function form(act, r, open, edits, stop, box) {
  const done = (el, plan) => {
    const tr = el.closest("tr"), input = tr.querySelector("input[name=value]"), x = input.value;
    if (!input.reportValidity()) return;
    if (x === r.value) {
      edits.kept.delete(r.key);
      return stop(tr);
    }
    const edit = { ...r.set(x), text: x };
    if (plan) return busy(tr.querySelector("[type=submit]"), box(el), async () => {
      const made = await act.deploy("Set " + r.name, edit);
      if (!made) tr.querySelector("input")?.focus();
    });
    edits.kept.set(r.key, edit);
    stop(tr);
  };
  return h("form", { key: "form", class: "inline", novalidate: true, onsubmit: (e) => { e.preventDefault(); done(e.target, true); }, onkeydown: (e) => { if (e.key === "Escape") stop(e.target.closest("tr")); } },
    h("input", { name: "value", type: r.type, min: r.type && "0", max: r.type && "10000", required: !!r.type || r.name === "image", value: open.text, "aria-label": "New value of " + r.name, spellcheck: "false", oninput: (e) => { open.text = e.target.value; } }),
    h("button", { type: "submit", class: "primary" }, "Plan"),
    h("button", { onclick: (e) => done(e.target, false) }, "Keep for later"),
    h("button", { onclick: (e) => stop(e.target.closest("tr")) }, "Cancel"),
    open.base !== r.value ? h("p", { class: "note", key: "meanwhile" }, "Meanwhile somebody made it ", h("code", null, r.value || "(empty)"), ".") : null);
}

function adder(act, prefix, add) {
  const done = (form, plan) => {
    const { name, value } = form.elements, errors = form.querySelector("[data-key=errors]");
    if (!form.reportValidity()) return;
    const edit = { ...add(name.value, value.value), text: value.value };
    const clear = () => { form.reset(); name.focus(); };
    if (plan) busy(form.querySelector("[type=submit]"), errors, async () => { if (await act.deploy("Set " + name.value, edit)) clear(); });
    else act.keep(edit, clear);
  };
  return h("details", { key: "add" + prefix, class: "adder" }, h("summary", null, "Add a variable"),
    h("form", { class: "row", onsubmit: (e) => { e.preventDefault(); done(e.target, true); } },
      field("Name", h("input", { id: "n" + prefix, name: "name", required: true, pattern: NAME, spellcheck: "false", title: "letters, digits and _ . -" })),
      field("Value", h("input", { id: "v" + prefix, name: "value", spellcheck: "false" })),
      h("button", { type: "submit" }, "Plan"),
      h("button", { onclick: (e) => done(e.target.form, false) }, "Keep for later"),
      h("div", { key: "errors", keep: true })));
}

// referrer adds the reference to a secret.
function referrer(act) {
  const text = (label, name, hint, required) => field(label, h("input", { id: "s" + name, name, required, spellcheck: "false", pattern: name === "name" ? NAME : null }), hint);
  return h("details", { key: "refer", class: "adder" }, h("summary", null, "Refer to a secret"),
    h("form", { class: "row", onsubmit: (e) => {
      e.preventDefault();
      const form = e.target, [name, secret, key, remote, property] = ["name", "secret", "key", "remote", "property"].map((x) => form.elements[x].value.trim());
      const reference = { name: secret, key, remote: remote ? { key: remote, property } : undefined };
      busy(form.querySelector("[type=submit]"), form.querySelector("[data-key=errors]"), async () => {
        if (await act.deploy(`Refer ${name} to a secret`, { key: "env:" + name, what: `${name} from the secret ${refer(reference)}`, change: { secretVariables: { [name]: reference } } })) form.reset();
      });
    } },
      text("Name", "name", null, true), text("Secret", "secret", "The name of the Secret in the environment's namespace.", true), text("Key", "key", "The key in it.", true),
      text("Key in the store (optional)", "remote", "Where an external store has the value, such as shop/database."), text("Property (optional)", "property"),
      h("button", { type: "submit" }, "Plan"), h("div", { key: "errors", keep: true })));
}

// origin tells where what runs has a field from: the object that the workload becomes is looked up among those in the cluster.
async function origin(view, act, w, path) {
  const kind = (view.status?.objects || []).find((o) => o.name === w && ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"].includes(o.kind))?.kind || "Deployment";
  return origins(act, `${kind}/${w}`, kind === "CronJob" ? path.replace(/^spec\./, "spec.jobTemplate.spec.") : path);
}

// origins is what the server says about where a field comes from, with who set the variables in it.
export async function origins(act, object, path) {
  const told = await get(`/v1/${act.name}:explain?` + new URLSearchParams({ object, path }));
  const fields = told.fields || [];
  return h("div", null, fields.length ? h("ul", { class: "origin" }, fields.slice(0, 20).map((o) => h("li", null, h("code", null, o.text)))) : h("p", { class: "quiet" }, "Nothing that runs has it yet."),
    (told.variables || []).map((v) => h("p", { class: "quiet" }, `${short(v.name)} version ${v.version}, by ${short(v.updateActor)}, `, when(v.updateTime))),
    fields.length > 20 ? h("p", { class: "quiet" }, `${fields.length - 20} more: tow explain shows them`) : null);
}

// uses tells who reads a variable, and what it has been.
async function uses(act, key) {
  const app = act.name.split("/environments/")[0];
  const versions = (parent) => get(`/v1/${parent}/variables/${encodeURIComponent(key)}/versions?pageSize=5`).then((l) => l.variables || [], (err) => { if (err.status === 404) return []; throw err; });
  const [read, mine, theirs] = await Promise.all([get(`/v1/${act.name}/variables/${encodeURIComponent(key)}:uses`).catch((err) => { if (err.status === 404) return {}; throw err; }), versions(act.name), versions(app)]);
  const here = (read.uses || []).filter((u) => u.environment === act.name);
  return h("div", null,
    h("p", null, here.length ? ["Read by ", here.map((u) => u.workload || "a shared resource").join(", "), "."] : "No workload here reads it."),
    h("ul", null, [...mine.map((v) => [v, ""]), ...theirs.map((v) => [v, " for the whole application"])].map(([v, of]) => h("li", null, v.deleted ? "removed" : h("code", null, v.secret ? "secret " + refer(v.secret) : v.value || "(empty)"), of, h("span", { class: "quiet" }, ` by ${short(v.updateActor)}, `, when(v.updateTime))))));
}
