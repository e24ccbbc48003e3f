// What the sections of an environment's page share: facts, answers on demand, choices of a time, and text side by side.
import { busy, field, h } from "./ui.js";

export const fact = (name, ...v) => h("div", null, h("dt", null, name), h("dd", null, ...v));
export const n = (count, one, many) => `${count} ${Number(count) === 1 ? one : many || one + "s"}`;

// asked is a button that fetches something when it is pressed and shows it below; pressed again it hides it.
export function asked(key, label, load) {
  return h("div", { class: "asked", key, keep: true }, asking(label, load, (b) => b.nextSibling), h("div", { class: "answer" }));
}

// asking is the button alone; where(button) is the box of its answer.
export const asking = (label, load, where, name) => h("button", { class: "asks plain", "aria-label": name, onclick: (e) => {
  const ask = e.target, box = where(ask);
  if (box.firstChild) return box.replaceChildren();
  return busy(ask, box, async () => box.replaceChildren(await load(() => { box.replaceChildren(); ask.click(); })));
} }, label);

// until is a choice of how long something holds; value() gives it in seconds, 0 for without an end.
export function until(label, choices, hint) {
  const select = h("select", null, choices.map(([seconds, text]) => h("option", { value: seconds }, text)));
  return { field: field(label, select, hint), value: () => Number(select.value) };
}
export const HOURS = [[3600, "1 hour"], [14400, "4 hours"], [86400, "1 day"], [604800, "1 week"], [2592000, "30 days"]];
export const later = (seconds) => (seconds ? new Date(Date.now() + seconds * 1000).toISOString() : undefined);

// pairs puts the lines of two texts side by side: equal ones beside each other, what only one has beside nothing.
export function pairs(a, b) {
  const x = a.replace(/\n$/, "").split("\n"), y = b.replace(/\n$/, "").split("\n");
  let head = 0, tail = 0;
  while (head < x.length && head < y.length && x[head] === y[head]) head++;
  while (tail < x.length - head && tail < y.length - head && x[x.length - 1 - tail] === y[y.length - 1 - tail]) tail++;
  const p = x.slice(head, x.length - tail), q = y.slice(head, y.length - tail);
  const out = x.slice(0, head).map((l) => [l, l]);
  // A table of 4 million cells is what a browser does at once; texts that differ in more stand beside each other as they are.
  if (p.length * q.length > 4e6) for (let i = 0; i < Math.max(p.length, q.length); i++) out.push([p[i], q[i]]);
  else out.push(...common(p, q));
  return out.concat(x.slice(x.length - tail).map((l) => [l, l]));
}

// common aligns by the longest common subsequence; a run that differs is shown line against line.
function common(p, q) {
  const w = q.length + 1, best = new Uint32Array((p.length + 1) * w);
  for (let i = p.length - 1; i >= 0; i--) for (let j = q.length - 1; j >= 0; j--)
    best[i * w + j] = p[i] === q[j] ? best[(i + 1) * w + j + 1] + 1 : Math.max(best[(i + 1) * w + j], best[i * w + j + 1]);
  const out = [];
  let left = [], right = [];
  const flush = () => {
    for (let k = 0; k < Math.max(left.length, right.length); k++) out.push([left[k], right[k]]);
    left = []; right = [];
  };
  let i = 0, j = 0;
  while (i < p.length || j < q.length) {
    if (i < p.length && j < q.length && p[i] === q[j]) { flush(); out.push([p[i++], q[j++]]); }
    else if (j >= q.length || (i < p.length && best[(i + 1) * w + j] >= best[i * w + j + 1])) left.push(p[i++]);
    else right.push(q[j++]);
  }
  flush();
  return out;
}

// sideBySide shows two texts with the lines that differ marked, by a sign too.
export function sideBySide(leftTitle, left, rightTitle, right) {
  const rows = pairs(left, right);
  const cell = (l, differs, sign) => h("td", { class: differs && l !== undefined ? "differs" : null }, l === undefined ? null : [differs ? h("span", { class: "sign" }, sign) : null, l]);
  const count = rows.filter(([a, b]) => a !== b).length;
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": leftTitle + " and " + rightTitle },
    h("p", { class: "quiet" }, count ? n(count, "line differs", "lines differ") : "No line differs."),
    h("table", { class: "compare" },
      h("thead", null, h("tr", null, h("th", { scope: "col" }, leftTitle), h("th", { scope: "col" }, rightTitle))),
      h("tbody", null, rows.map(([a, b]) => h("tr", null, cell(a, a !== b, "- "), cell(b, a !== b, "+ "))))));
}
