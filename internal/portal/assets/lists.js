// What the pages of lists and forms share: a page that reads and draws, lists that go back page by page, errors at their fields.
import { get, poll, query } from "./api.js";
import { busy, h, problem, render, short, value, word } from "./ui.js";

// live runs a page: load reads, view draws what was read, again every so many ms. An error stands above what was read before.
export function live({ main, signal }, head, load, view, every = 5000) {
  let read = false, error = null;
  const draw = () => signal.aborted || render(main,
    h("div", { class: "head", key: "head" }, head()),
    error && error.reason !== "LOST" ? problem(error) : null,
    read ? view() : error ? null : h("p", { class: "quiet" }, "Reading…"));
  const again = poll(every, signal, async () => {
    try {
      await load();
      read = true;
      error = null;
    } catch (err) {
      if (err.name === "AbortError") return;
      error = err;
    }
    draw();
  });
  draw();
  return { draw, again };
}

// pages is a list that the API gives page by page: refresh reads the newest page, older() draws the button that reads on. What was
// read stays until forget. params() are those of the call, order sorts the rows.
export function pages(path, rows, signal, params, order) {
  let byName = new Map(), next = null, draw = () => {};
  const read = async (pageToken) => {
    const of = byName;
    const page = await get(path + query({ pageSize: 50, ...params(), pageToken }), signal);
    if (of !== byName) return null;
    for (const row of page[rows]) byName.set(row.name, row);
    return page.nextPageToken;
  };
  const on = async () => {
    // A filtered page may be empty though there are more: a few are read at once.
    for (let i = 0, had = byName.size; i < 10 && next && byName.size === had; i++) next = await read(next);
    draw();
  };
  return {
    list: () => [...byName.values()].sort(order),
    refresh: async () => {
      const token = await read("");
      if (next === null && token !== null) {
        next = token;
        if (!byName.size) await on();
      }
    },
    forget: () => { byName = new Map(); next = null; },
    put: (row) => byName.set(row.name, row),
    older: (redraw) => {
      draw = redraw;
      return next ? h("p", null, h("button", { type: "button", key: "older", class: "asks", onclick: (e) => busy(e.target, null, on) }, "Older")) : null;
    },
  };
}

// terms joins what is set to a filter of the API: [field, operator, value].
export const terms = (...list) => list.filter(([, , v]) => v).map(([f, op, v]) => `${f} ${op} ${JSON.stringify(v)}`).join(" AND ");

// table has a head, and rows of {key, cells}; the first cell names the row.
export const table = (caption, heads, rows) => h("div", { class: "scroll", key: caption }, h("table", { class: "cards" },
  h("caption", { class: "sr" }, caption),
  h("thead", null, h("tr", null, heads.map((t) => h("th", { scope: "col" }, t)))),
  h("tbody", null, rows.map(({ key, cells }) => h("tr", { key }, cells.map((c, i) => i ? h("td", { "data-label": heads[i] }, h("div", null, c ?? "-")) : h("th", { scope: "row" }, c)))))));

export const facts = (...list) => h("dl", { class: "facts" }, list);
export const quiet = (...text) => h("span", { class: "quiet" }, ...text);
export const link = (href, text) => h("a", { class: "button", href }, text);
export const button = (text, onclick, type = "") => h("button", { type: "button", class: type || null, onclick }, text);
export const appHref = (name) => "#/" + encodeURIComponent(name.split("/")[1]);
export const options = (list, chosen) => list.map(([v, t]) => h("option", { value: v, selected: v === chosen }, t ?? v));
export const select = (label, list, chosen, on) => h("select", { "aria-label": label, onchange: (e) => on(e.target.value) }, options(list, chosen));

// seconds gives a protobuf duration as a number.
export const seconds = (d) => (d ? parseFloat(d) : 0);
export const lasts = (d) => {
  const s = seconds(d);
  return s < 120 ? Math.round(s) + " s" : s < 7200 ? Math.round(s / 60) + " min" : s < 172800 ? Math.round(s / 3600) + " h" : Math.round(s / 86400) + " days";
};

// atFields shows what the server says of a form's fields beside them: places are [pattern of the server's field, input]. What belongs to
// none of them is shown in the errors.
export function atFields(err, errors, places) {
  const left = (err.violations || []).filter((v) => {
    const [, input] = places.find(([pattern]) => pattern.test(v.field)) || [];
    if (!input) return true;
    const note = h("small", { class: "wrong", id: input.name + "-wrong", role: "alert" }, v.description);
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-errormessage", note.id);
    input.after(note);
    return false;
  });
  const first = errors.closest("form").querySelector("[aria-invalid]");
  first?.focus();
  if (left.length || !first) errors.replaceChildren(problem(Object.assign(err, { violations: left })));
}

export function clearFields(form) {
  for (const el of form.querySelectorAll(".wrong")) el.remove();
  for (const el of form.querySelectorAll("[aria-invalid]")) el.removeAttribute("aria-invalid");
}

// operations tells what a draft or overlay does, one line each.
export const operations = (list) => h("ul", { class: "summary" }, list.map((o) => h("li", { key: o.path }, o.action === "ACTION_REMOVE" ? "removes " : "sets ", h("code", null, o.path.slice(1).replaceAll("/", " / ")),
  o.action === "ACTION_REMOVE" ? null : typeof o.value === "object" && o.value ? h("pre", { class: "value", tabindex: "0" }, value(o.value)) : [" to ", h("code", null, value(o.value))])));

export const who = (actor) => (actor ? h("span", { title: actor }, short(actor)) : "-");
export const state = (v, tone = "none") => h("span", { class: "chip " + tone }, word(v, "STATE_"));
