// The API page: every operation of /openapi.json, each with a form to try it.
import { ApiError, lines } from "./api.js";
import { field, h, problem, render, took } from "./ui.js";
import { me, watchLink, whoami } from "./session.js";

const main = document.getElementById("main");
const METHODS = ["get", "post", "put", "patch", "delete"];

const singular = (s) => (s.endsWith("ies") ? s.slice(0, -3) + "y" : s.replace(/s$/, ""));

// readable turns /v1/{name_1}:watch, whose parameter stands for several segments, into
// /v1/applications/{application}/environments/{environment}:watch.
export function readable(path, parameters) {
  const names = [];
  const text = path.replace(/\{([^}]+)\}/g, (_, name) => {
    const p = parameters.find((x) => x.in === "path" && x.name === name);
    const parts = (p?.pattern || "[^/]+").split(/\/(?![^[]*\])/);
    return parts.map((part, i) => {
      if (part !== "[^/]+") return part;
      const base = i ? singular(parts[i - 1]) : name;
      const id = names.includes(base) ? base + names.length : base;
      names.push(id);
      return `{${id}}`;
    }).join("/");
  });
  return { text, names };
}

// skeleton makes a body to begin with: every field that can be set, two levels deep.
function skeleton(schema, defs, depth = 0) {
  if (schema.$ref) schema = defs[schema.$ref.split("/").pop()] || {};
  if (schema.enum) return schema.enum.find((v) => !v.endsWith("UNSPECIFIED")) || schema.enum[0];
  switch (schema.type) {
    case "object": {
      if (!schema.properties || depth > 2) return {};
      const out = {};
      for (const [k, v] of Object.entries(schema.properties)) if (!v.readOnly && k !== "etag") out[k] = skeleton(v, defs, depth + 1);
      return out;
    }
    case "array": return [];
    case "boolean": return false;
    case "integer": case "number": return 0;
    case "string": return "";
    default: return {};
  }
}

async function start() {
  watchLink();
  const [spec] = await Promise.all([fetch("/openapi.json").then((r) => r.json()), whoami().catch(() => null)]);
  const groups = new Map();
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const method of METHODS) {
      const op = methods[method];
      if (!op) continue;
      const tag = op.tags?.[0] || "Other";
      if (!groups.has(tag)) groups.set(tag, []);
      const parameters = [...(methods.parameters || []), ...(op.parameters || [])];
      groups.get(tag).push({ method, path, op, parameters, ...readable(path, parameters), id: op.operationId, name: op.operationId.split("_").pop() });
    }
  }
  const order = (a, b) => a.text.localeCompare(b.text) || METHODS.indexOf(a.method) - METHODS.indexOf(b.method);
  for (const ops of groups.values()) ops.sort(order);
  let filter = "";
  const draw = () => render(main,
    h("div", { class: "head" }, h("h1", null, "API"), h("div", { class: "tools" },
      h("input", { type: "search", placeholder: "Filter…", "aria-label": "Filter operations", oninput: (e) => { filter = e.target.value.toLowerCase(); draw(); } }),
      h("a", { class: "button", href: "/openapi.json" }, "openapi.json"))),
    h("p", null, me.subject ? ["You try things as ", h("code", null, me.subject), ", against this very server: what you send, it does."]
      : ["To try something, ", h("a", { href: "/#/" }, "sign in"), " first."]),
    [...groups].map(([tag, ops]) => {
      const shown = ops.filter((o) => (o.name + " " + o.method + " " + o.text + " " + (o.op.summary || "")).toLowerCase().includes(filter));
      const about = spec.tags?.find((t) => t.name === tag)?.description;
      return shown.length ? h("section", { key: tag }, h("h2", null, tag), about ? h("p", { class: "quiet" }, about) : null, shown.map((o) => operation(o, spec.definitions || {}))) : null;
    }));
  draw();
  const wanted = location.hash && document.getElementById(location.hash.slice(1));
  if (wanted) { wanted.open = true; wanted.scrollIntoView(); }
}

const forms = new Map(); // by operation, made when first opened and kept

function operation(o, defs) {
  return h("details", { class: "op", key: o.id, id: o.name, ontoggle: (e) => {
    if (!forms.has(o.id)) forms.set(o.id, tryForm(o, defs));
    e.target.querySelector(".form-box").replaceChildren(forms.get(o.id));
  } },
    h("summary", null, h("span", { class: "method " + o.method }, o.method.toUpperCase()), " ", h("code", null, o.text), " ", h("span", { class: "quiet" }, o.name)),
    h("div", { class: "form-box", keep: true }));
}

function tryForm(o, defs) {
  const query = o.parameters.filter((p) => p.in === "query");
  const body = o.parameters.find((p) => p.in === "body");
  const answer = h("div", { "aria-live": "polite" });
  const path = o.names.map((n) => [n, h("input", { required: true, autocomplete: "off", spellcheck: "false" })]);
  const search = query.map((p) => [p, p.enum ? h("select", null, h("option", { value: "" }, "-"), p.enum.map((v) => h("option", null, v)))
    : p.type === "boolean" ? h("select", null, ["", "true", "false"].map((v) => h("option", { value: v }, v || "-")))
    : h("input", { required: p.required, autocomplete: "off", spellcheck: "false", inputmode: p.type === "integer" ? "numeric" : null })]);
  const text = body && h("textarea", { rows: "10", spellcheck: "false" });
  if (text) text.value = JSON.stringify(skeleton(body.schema || {}, defs), null, 2);
  const curl = h("pre", { class: "code", tabindex: "0" });
  const stop = h("button", { type: "button", hidden: true }, "Stop");

  const request = () => {
    const byName = new Map(path.map(([n, input]) => [n, input.value]));
    let url = o.text.replace(/\{([^}]+)\}/g, (_, n) => encodeURIComponent(byName.get(n) ?? ""));
    const q = new URLSearchParams();
    for (const [p, input] of search) if (input.value !== "") q.set(p.name, input.value);
    if (q.size) url += "?" + q;
    return { url, method: o.method.toUpperCase(), body: text ? text.value : undefined };
  };
  const quote = (s) => "'" + s.replaceAll("'", "'\\''") + "'";
  const showCurl = () => {
    const r = request();
    curl.textContent = `curl -H "Authorization: Bearer $TOKEN" ${r.method === "GET" ? "" : "-X " + r.method + " "}${quote(location.origin + r.url)}${r.body === undefined ? "" : " \\\n  -H 'Content-Type: application/json' -d " + quote(compact(r.body))}`;
  };
  const form = h("form", { oninput: showCurl, onsubmit: (e) => {
    e.preventDefault();
    send(request(), answer, stop);
  } },
    o.op.summary || o.op.description ? h("p", null, [o.op.summary, o.op.description].filter(Boolean).join(" ")) : null,
    path.map(([n, input]) => field(n, input)),
    search.map(([p, input]) => field(p.name + (p.required ? "" : " (optional)"), input, p.description)),
    text ? field("Body (JSON)", text, "Leave out what you do not need.") : null,
    h("details", null, h("summary", null, "As a command"), curl),
    h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Send"), stop),
    answer);
  showCurl();
  return form;
}

function compact(json) {
  try {
    return JSON.stringify(JSON.parse(json));
  } catch {
    return json;
  }
}

// send shows an answer as it comes: a stream line by line, everything else at its end.
async function send(r, answer, stop) {
  const abort = new AbortController();
  stop.onclick = () => abort.abort();
  stop.hidden = false;
  const out = h("pre", { class: "code", tabindex: "0" });
  const began = performance.now();
  answer.replaceChildren(h("p", { class: "quiet" }, "Waiting…"));
  try {
    if (r.body !== undefined) JSON.parse(r.body);
    const response = await fetch(r.url, { method: r.method, body: r.body, signal: abort.signal, headers: r.body === undefined ? {} : { "Content-Type": "application/json" } });
    const head = h("p", null, h("strong", null, response.status + " " + response.statusText), h("span", { class: "quiet" }, " after " + took(performance.now() - began), response.headers.get("X-Request-Id") ? ", request " + response.headers.get("X-Request-Id") : ""));
    answer.replaceChildren(head, out);
    if (response.body) for await (const line of lines(response.body)) out.append(pretty(line) + "\n");
  } catch (err) {
    if (err.name === "AbortError") answer.append(h("p", { class: "quiet" }, "Stopped."));
    else answer.replaceChildren(problem(err instanceof SyntaxError ? new ApiError(0, { message: "the body is not JSON: " + err.message }) : new ApiError(0, { message: "no connection", details: [{ "@type": "google.rpc.ErrorInfo", reason: "LOST" }] })));
  } finally {
    stop.hidden = true;
  }
}

function pretty(line) {
  try {
    return JSON.stringify(JSON.parse(line), null, 2);
  } catch {
    return line;
  }
}

document.getElementById("skip").addEventListener("click", (e) => { e.preventDefault(); main.focus(); });
start().catch((err) => render(main, problem(err)));
