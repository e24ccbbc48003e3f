// A list of any length, of which only what can be seen is in the document.
import { h, render } from "./ui.js";

const SPARE = 8; // rows beyond the window's edges, so that scrolling finds them there

// list makes one: {el, show}. el is put into the page once and left alone (inside a render() by an element with keep).
//   label    its name for screen readers; cls a class for its columns' widths and its rows' height, see .list in frame.css
//   columns  the columns' names; the first cell of a row is its header
//   key      item -> what it is known by among the others
//   row      item -> the contents of its cells, one for each column
// show(items, {stay, total}) shows these: an item that has changed must be a new object. {head} in an item makes it a heading of one
// cell. With stay what is looked at stays where it is when rows come and go above it: for live changes; else the list begins at its
// top: for a new filter. total is how many rows there are where not all have come yet, -1 when that is not known.
// All rows are of one height, headings of another, both from the style sheet, and contents are cut at it. Arrows, Home and End move
// between the rows' first links; the row with the focus is always in the document.
export function list({ label, cls, columns, key, row }, signal) {
  let items = [], tops = new Float64Array(1), at = new Map(), height = 0, headHeight = 0, drawn = "";
  const shown = new Map(); // key -> {el, item}
  const head = h("div", { role: "row", class: "list-head", "aria-rowindex": "1" }, columns.map((c) => h("span", { role: "columnheader" }, c)));
  const body = h("div", { role: "rowgroup", class: "list-body" });
  const el = h("div", { role: "table", class: "list " + (cls || ""), "aria-label": label, "aria-colcount": columns.length }, h("div", { role: "rowgroup", class: "list-top" }, head), body);

  const cells = (item) => item.head
    ? h("span", { role: "cell", "aria-colspan": columns.length, class: "list-heading" }, item.head)
    : row(item).map((c, i) => h("span", { role: i ? "cell" : "rowheader", "data-label": columns[i] }, c));

  // measure asks the style sheet how high rows are: by one of each kind that nobody sees.
  function measure() {
    const probe = (c) => {
      const one = body.appendChild(h("div", { class: c, "aria-hidden": "true" }));
      const px = one.getBoundingClientRect().height;
      one.remove();
      return px;
    };
    height = probe("list-row") || 48;
    headHeight = probe("list-row heading") || height;
  }
  function place() {
    tops = new Float64Array(items.length + 1);
    for (let i = 0; i < items.length; i++) tops[i + 1] = tops[i] + (items[i].head ? headHeight : height);
    body.style.height = tops[items.length] + "px";
  }
  // index gives the row at a height in the list.
  function index(y) {
    let from = 0, to = items.length;
    while (from < to) {
      const mid = (from + to) >> 1;
      if (tops[mid + 1] <= y) from = mid + 1;
      else to = mid;
    }
    return Math.min(from, items.length - 1);
  }

  function draw(all) {
    if (signal.aborted || !el.isConnected) return;
    if (!height) { measure(); place(); }
    const y = -body.getBoundingClientRect().top;
    const from = Math.max(0, index(y) - SPARE), to = Math.min(items.length, index(y + innerHeight) + SPARE + 1);
    const focused = at.get(document.activeElement?.closest?.(".list-row")?.dataset.key);
    const extra = focused !== undefined && body.contains(document.activeElement) && (focused < from || focused >= to) ? focused : -1;
    const range = [from, to, extra].join();
    if (!all && range === drawn) return;
    drawn = range;
    const wanted = [];
    if (extra >= 0 && extra < from) wanted.push(extra);
    for (let i = from; i < to; i++) wanted.push(i);
    if (extra >= to) wanted.push(extra);
    const keys = new Set(wanted.map((i) => key(items[i])));
    for (const [k, one] of shown) if (!keys.has(k)) { one.el.remove(); shown.delete(k); }
    let next = body.firstChild;
    for (const i of wanted) {
      const item = items[i], k = key(item);
      let one = shown.get(k);
      if (!one) shown.set(k, one = { el: h("div", { role: "row", class: "list-row" + (item.head ? " heading" : ""), key: k }) });
      if (one.item !== item || all === "anew") render(one.el, cells(item));
      one.item = item;
      one.el.setAttribute("aria-rowindex", i + 2);
      one.el.style.transform = `translateY(${tops[i]}px)`;
      // Rows that stay are not moved: an element that is moved loses the focus.
      if (one.el === next) next = next.nextSibling;
      else body.insertBefore(one.el, next);
    }
  }

  function show(fresh, { stay = true, total } = {}) {
    const y = -body.getBoundingClientRect().top;
    let anchor = -1, off = 0;
    const old = items;
    const before = height && items.length && y > 0 ? index(y) : -1;
    items = fresh;
    at = new Map(items.map((item, i) => [key(item), i]));
    if (before >= 0 && stay) {
      for (let i = before; i < old.length && anchor < 0; i++) {
        anchor = at.get(key(old[i])) ?? -1;
        off = y - tops[i];
      }
    }
    if (height) place();
    el.setAttribute("aria-rowcount", total === -1 ? -1 : (total ?? items.length) + 1);
    if (before >= 0) {
      const now = anchor >= 0 ? tops[anchor] + off : 0;
      if (!stay || anchor >= 0 && Math.abs(now - y) > 0.5) scrollBy(0, now - y - (stay ? 0 : head.offsetHeight));
    }
    draw(true);
  }

  // go puts the focus on the first link of the nearest row that is no heading, from i in the direction of step.
  function go(i, step) {
    while (items[i]?.head) i += step;
    if (!items[i]) return;
    const top = body.getBoundingClientRect().top + tops[i], least = head.offsetHeight;
    if (top < least) scrollBy(0, top - least);
    else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight);
    draw();
    shown.get(key(items[i]))?.el.querySelector("a, button")?.focus({ preventScroll: true });
  }
  body.addEventListener("keydown", (e) => {
    const i = at.get(e.target.closest(".list-row")?.dataset.key);
    if (i === undefined || e.target.matches("input, select, textarea") || e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === "ArrowDown") go(i + 1, 1);
    else if (e.key === "ArrowUp") go(i - 1, -1);
    else if (e.key === "Home") go(0, 1);
    else if (e.key === "End") go(items.length - 1, -1);
    else return;
    e.preventDefault();
  });
  let asked = 0;
  addEventListener("scroll", () => { asked ||= requestAnimationFrame(() => { asked = 0; draw(); }); }, { passive: true, signal });
  addEventListener("resize", () => { height = 0; draw(true); }, { signal });
  const tick = setInterval(() => document.hidden || draw("anew"), 20000); // what says "2 min ago"
  signal.addEventListener("abort", () => clearInterval(tick));
  return { el, show };
}
