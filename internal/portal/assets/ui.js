// What all pages are made of: elements, text for people, dialogs. Text from the server reaches the page as text nodes only.

const SVG = "http://www.w3.org/2000/svg";
const HANDLERS = ["onclick", "oninput", "onsubmit", "onchange", "onkeydown", "ontoggle"];
// Attributes that belong to what is going on in the page, not to what the data says: morph leaves them as they are.
const OWN = ["open", "aria-busy", "aria-disabled"];

// h makes an element; a button submits nothing and an input completes nothing unless its properties say so. Properties: class, on… (handlers), key (identity among its siblings, for morph), true/false for
// attributes without a value; keep (render leaves what is in the element alone); everything else is an attribute. Children: elements, text, arrays; null and false are left out.
export function h(tag, props, ...children) {
  const el = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  if (tag === "button") el.type = "button";
  if (tag === "input") el.autocomplete = "off";
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) el[name] = value;
    else if (name === "key" || name === "keep") el.dataset[name] = value;
    else el.setAttribute(name, value === true ? "" : value);
  }
  add(el, children);
  return el;
}

function add(el, children) {
  for (const child of children) {
    if (Array.isArray(child)) add(el, child);
    else if (child !== null && child !== undefined && child !== false && child !== "") el.append(child);
  }
}

// render makes parent's children what they should be and keeps the elements that stay, with their focus, their selection, what
// a person has typed and which details are open. The children must be new ones each time, never elements that are shown.
export function render(parent, ...children) {
  const fresh = document.createDocumentFragment();
  add(fresh, children);
  morphChildren(parent, fresh);
}

function same(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.dataset?.key ?? "") === (b.dataset?.key ?? "");
}

function morph(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !OWN.includes(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !OWN.includes(name)) old.setAttribute(name, value);
  }
  for (const name of HANDLERS) if (old[name] !== fresh[name]) old[name] = fresh[name];
  if (!old.dataset.keep) morphChildren(old, fresh);
}

function morphChildren(old, fresh) {
  const keyed = new Map();
  for (const el of old.children) if (el.dataset?.key) keyed.set(el.dataset.key, el);
  let at = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    let found = next.dataset?.key ? keyed.get(next.dataset.key) : null;
    if (!found && at && same(at, next)) found = at;
    if (found && same(found, next)) {
      if (found === at) at = at.nextSibling;
      else old.insertBefore(found, at);
      morph(found, next);
    } else old.insertBefore(next, at);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

// --- text for people ---

export const short = (name) => (name || "").split("/").pop();
// envID turns applications/shop/environments/dev... into shop/dev.
export function envID(name) {
  const p = (name || "").split("/");
  return p[3] ? p[1] + "/" + p[3] : p[1] || "";
}
export const envHref = (name) => "#/" + envID(name).split("/").map(encodeURIComponent).join("/");
export const word = (enumValue, prefix) => (enumValue || "").replace(prefix, "").toLowerCase().replaceAll("_", " ");

const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export function ago(t, now = Date.now()) {
  const s = Math.max(0, Math.round((now - Date.parse(t)) / 1000));
  if (s < 5) return "just now";
  if (s < 90) return s + " s ago";
  if (s < 5400) return Math.round(s / 60) + " min ago";
  if (s < 129600) return Math.round(s / 3600) + " h ago";
  return Math.round(s / 86400) + " days ago";
}

// when shows a time as its distance, with the time itself as its title.
export const when = (t) => (t ? h("time", { datetime: t, title: clock.format(new Date(t)) }, ago(t)) : "-");
export const exact = (t) => (t ? h("time", { datetime: t }, clock.format(new Date(t))) : "-");

export function took(ms) {
  if (!(ms >= 0)) return "";
  if (ms < 1000) return Math.round(ms) + " ms";
  if (ms < 60000) return (ms / 1000).toFixed(ms < 10000 ? 1 : 0) + " s";
  return Math.floor(ms / 60000) + " min " + Math.round((ms % 60000) / 1000) + " s";
}

// --- small parts ---

const TONES = {
  good: ["HEALTHY", "SYNCED", "ACTIVE"],
  busy: ["PENDING", "RENDERING", "COMMITTING", "SYNCING", "PROGRESSING", "DELETING"],
  bad: ["FAILED", "DEGRADED", "MISSING"],
  warn: ["CHANGED", "REMOVED", "EXTRA", "ORPHANED", "RESIDUE", "UNVERIFIED"],
};

// chip shows a state in words, with a colour and a sign, so that nobody needs to see the colour.
export function chip(value, prefix, label) {
  const bare = (value || "").replace(prefix, "");
  const tone = Object.keys(TONES).find((t) => TONES[t].includes(bare)) || "none";
  const text = bare === "UNSPECIFIED" || !bare ? "not known" : word(bare, "");
  return h("span", { class: "chip " + tone, title: label ? label + ": " + text : null }, label ? h("span", { class: "sr" }, label + ": ") : null, text);
}
export const syncChip = (v) => chip(v, "SYNC_STATE_", "sync");
export const healthChip = (v) => chip(v, "HEALTH_", "health");
export const stateChip = (v) => chip(v, "STATE_", "state");
// No findings in an environment that cannot be seen does not mean that there are none.
export const driftChip = (n, sync) => (!Number(n) && (!sync || sync === "SYNC_STATE_UNSPECIFIED") ? chip("") : Number(n) ? h("span", { class: "chip warn" }, n + (Number(n) === 1 ? " difference" : " differences")) : h("span", { class: "quiet" }, "none"));

export function value(v) {
  return v === undefined ? "" : typeof v === "string" ? v : JSON.stringify(v, null, 2);
}

// field is a labelled input; the hint is read with it.
let fields = 0;
export function field(label, input, hint) {
  const id = (input.id ||= "f" + ++fields);
  const note = hint ? h("small", { id: id + "-hint", class: "quiet" }, hint) : null;
  if (note) input.setAttribute("aria-describedby", note.id);
  return h("div", { class: "field" }, h("label", { for: id }, label), input, note);
}

export const empty = (title, ...rest) => h("div", { class: "empty" }, h("h2", null, title), ...rest);
export const code = (...lines) => h("pre", { class: "code", tabindex: "0" }, lines.join("\n"));

// problem shows an error: what is wrong, where, and what to do.
export function problem(err, todo) {
  return h("div", { class: "problem", role: "alert" },
    h("p", null, h("strong", null, err.title || "It did not work"), ": ", err.message),
    err.violations?.length ? h("ul", null, err.violations.map((v) => h("li", null, h("code", null, v.field), ": ", v.description))) : null,
    err.hint || todo ? h("p", null, todo || err.hint) : null,
    err.reason || err.requestId ? h("p", { class: "quiet" }, [err.reason, err.requestId && "request " + err.requestId].filter(Boolean).join(" - ")) : null);
}

// toast tells something that happened; screen readers hear it.
export function toast(text) {
  const el = h("div", { class: "toast" }, text);
  document.getElementById("toasts").append(el);
  setTimeout(() => el.remove(), 6000);
}

// dialog opens a modal dialog and gives back what it was closed with. build(close) makes its content. Esc closes it with
// undefined, and the focus goes back to where it was.
export function dialog(title, build, wide) {
  return new Promise((resolve) => {
    let result;
    const before = document.activeElement;
    const el = h("dialog", { class: wide ? "wide" : null, "aria-labelledby": "dialog-title" });
    const close = (r) => { result = r; el.close(); };
    el.append(h("div", { class: "dialog-head" }, h("h2", { id: "dialog-title" }, title),
      h("button", { type: "button", class: "plain", "aria-label": "Close", onclick: () => close() }, "\u00d7")), build(close));
    el.addEventListener("close", () => { el.remove(); if (before?.isConnected) before.focus(); resolve(result); });
    document.body.append(el);
    el.showModal();
    el.querySelector("[autofocus]")?.focus();
  });
}

// confirm asks before something that changes a cluster. work does it; its error is shown in the dialog, which stays open.
export function confirm(title, body, verb, work, tone = "danger") {
  return dialog(title, (close) => {
    const errors = h("div");
    return h("form", { method: "dialog", onsubmit: (e) => {
      e.preventDefault();
      busy(e.submitter, errors, async () => close(await work()));
    } }, body, errors, h("div", { class: "actions" },
      h("button", { type: "submit", class: tone }, verb),
      h("button", { type: "button", autofocus: true, onclick: () => close() }, "Cancel")));
  });
}

// busy keeps a button from being pressed twice and shows what goes wrong.
export async function busy(button, errors, work) {
  if (button?.ariaBusy === "true") return;
  if (button) { button.ariaBusy = "true"; button.setAttribute("aria-disabled", "true"); }
  errors?.replaceChildren();
  try {
    await work();
  } catch (err) {
    if (err.name !== "AbortError") errors ? errors.replaceChildren(problem(err)) : toast(err.message);
  } finally {
    if (button) { button.ariaBusy = null; button.removeAttribute("aria-disabled"); }
  }
}
