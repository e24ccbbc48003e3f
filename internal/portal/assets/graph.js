// The resource graph: workloads to the left, what they need to the right of them, drawn in layers; the same as a table; and for each
// one what it is made of and which definition made it.
import { get, query } from "./api.js";
import { busy, empty, envHref, envID, h, short, value } from "./ui.js";
import { candidates, definitionHref } from "./definitions.js";
import { fact } from "./parts.js";
import { live, facts, table } from "./lists.js";

const W = 190, H = 46, GAP_X = 70, GAP_Y = 20;
const WHY = { WHY_DECLARES: "declares", WHY_REFERS: "refers to", WHY_PROVISIONS: "brings along" };
const label = (node) => (node.type ? node.type + (node.class === "default" ? "" : "." + node.class) : short(node.id));
const below = (node) => (node.type ? node.resourceId : "workload");

// layers gives the nodes column by column: each stands right of all that need it, and is moved up or down to where its neighbours
// are, a few times, so that few lines cross.
export function layers(nodes, edges) {
  const depth = new Map(nodes.map((x) => [x.id, 0]));
  for (let round = 0, moved = true; moved && round < nodes.length; round++) {
    moved = false;
    for (const { from, to } of edges) {
      if (from === to || !depth.has(from) || !depth.has(to) || depth.get(to) > depth.get(from)) continue;
      depth.set(to, depth.get(from) + 1);
      moved = true;
    }
  }
  const columns = [];
  // A circle would push its nodes without end; empty columns that it leaves are closed.
  for (const x of nodes) (columns[depth.get(x.id)] ||= []).push(x);
  const full = columns.filter(Boolean);
  const near = new Map(nodes.map((x) => [x.id, edges.filter((e) => e.from === x.id || e.to === x.id).map((e) => (e.from === x.id ? e.to : e.from))]));
  for (let sweep = 0; sweep < 8; sweep++) {
    const at = new Map(full.flatMap((c) => c.map((x, i) => [x.id, (i + 0.5) / c.length])));
    const mean = (x) => near.get(x.id).reduce((sum, id, _, list) => sum + at.get(id) / list.length, 0) || at.get(x.id);
    const column = full[sweep % full.length];
    column.sort((a, b) => mean(a) - mean(b));
  }
  return full;
}

export function graph({ main, signal, name }) {
  let g = null, env = null, set = null, chosen = "", outputs = [];
  const { draw } = live({ main, signal },
    () => [h("h1", null, h("a", { href: envHref(name) }, envID(name)), " resources"), null],
    async () => {
      env = await get("/v1/" + name, signal);
      if (!Number(env.generation)) return;
      [g, outputs] = await Promise.all([get(`/v1/${name}:graph`, signal), get(`/v1/${name}/resourceOutputs` + query({ pageSize: 1000 }), signal).then((o) => o.outputs, () => [])]);
      if (env.intent?.set && set?.name !== env.intent.set) set = await get("/v1/" + env.intent.set, signal);
    }, view, 15000);

  function view() {
    if (!g?.nodes.length) return empty("Nothing was deployed here yet", h("p", null, "With the first deployment its workloads and what they need are drawn here. ", h("a", { href: envHref(name) }, "To the environment")));
    const node = g.nodes.find((x) => x.id === chosen);
    return [
      h("p", { class: "quiet" }, "Workloads to the left, what they need to the right. Choose one to see what it is made of."),
      h("div", { class: "scroll graph" }, drawing()),
      node ? details(node) : null,
      table("Workloads and resources", ["Name", "Needs", "Needed by", "Definition"], g.nodes.map((x) => ({ key: x.id, cells: [
        h("button", { type: "button", class: "link asks", onclick: () => choose(x.id) }, label(x) + " " + below(x)),
        names(g.edges.filter((e) => e.from === x.id), "to"), names(g.edges.filter((e) => e.to === x.id), "from"), x.definition || "-"] })))];
  }

  function names(edges, end) {
    return edges.length ? h("ul", { class: "summary" }, edges.map((e) => h("li", null, end === "to" ? WHY[e.why] + " " : "", e[end], e.names.length ? h("span", { class: "quiet" }, " (", e.names.join(", "), ")") : null))) : "nothing";
  }

  function choose(id) {
    chosen = chosen === id ? "" : id;
    draw();
  }

  function drawing() {
    const columns = layers(g.nodes, g.edges), rows = Math.max(...columns.map((c) => c.length));
    const height = rows * (H + GAP_Y) + 4, width = columns.length * (W + GAP_X) - GAP_X + 4;
    const at = new Map(columns.flatMap((c, i) => c.map((x, j) => [x.id, [2 + i * (W + GAP_X), (j + 0.5) * (height / c.length) - H / 2]])));
    const ends = (e) => [e.from, e.to].map((id) => at.get(id));
    const cut = (s) => (s.length > 24 ? s.slice(0, 23) + "…" : s);
    return h("svg:svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "Resource graph; the table below says the same" },
      g.edges.filter((e) => at.has(e.from) && at.has(e.to)).map((e) => {
        const [[x1, y1], [x2, y2]] = ends(e), a = [x1 + W, y1 + H / 2], b = [x2, y2 + H / 2], bend = Math.max(30, (b[0] - a[0]) / 2);
        return h("svg:path", { key: e.from + e.to + e.why, class: `${e.why.toLowerCase()}${[e.from, e.to].includes(chosen) ? " on" : ""}`, d: `M${a} C${a[0] + bend},${a[1]} ${b[0] - bend},${b[1]} ${b}` });
      }),
      g.nodes.map((x) => {
        const [left, top] = at.get(x.id);
        return h("svg:g", { key: x.id, tabindex: "0", role: "button", "aria-pressed": String(x.id === chosen), class: (x.type ? "resource" : "workload") + (x.awaited ? " awaited" : ""), transform: `translate(${left} ${top})`,
          onclick: () => choose(x.id), onkeydown: (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); choose(x.id); } } },
          h("svg:rect", { width: W, height: H, rx: "8" }),
          h("svg:text", { x: "12", y: "19" }, cut(label(x))), " ", h("svg:text", { x: "12", y: "36", class: "sub" }, cut(below(x) + (x.awaited ? " (awaited)" : ""))));
      }));
  }

  // declared is what the set says where the node is declared: containers of a workload, params of a resource.
  function declared(x) {
    const found = x.declared.split(".").reduce((doc, part) => doc?.[part], set);
    return found && (x.type ? { params: found.params, metadata: found.metadata } : { containers: found.containers, service: found.service });
  }

  function details(x) {
    const doc = declared(x), made = outputs.find((o) => o.resource === x.id), href = definitionHref(x.definition);
    return h("section", { class: "card", key: "node:" + x.id, "aria-label": label(x), role: "status" },
      h("h2", null, label(x), " ", h("span", { class: "quiet" }, below(x))),
      facts(fact("Declared", x.declared || "-"), x.workloads.length && x.type ? fact("Used by", x.workloads.join(", ")) : null,
        x.objects.length ? fact("Becomes", x.objects.map((o) => o.kind + "/" + o.name).join(", ")) : null,
        x.type ? fact("Made by", href ? h("a", { href }, x.definition) : x.definition) : null,
        x.awaited ? fact("Waits", "the cluster has not said its outputs yet") : null),
      x.outputs.length ? [h("h3", null, "What it gives"), h("ul", { class: "summary" }, x.outputs.map((o) => h("li", null, h("code", null, o), " ", h("span", { class: "quiet" }, made?.secrets?.[o] ? `from Secret ${made.secrets[o].name}, key ${made.secrets[o].key}` : made?.values?.[o] !== undefined ? String(made.values[o]) : "read as ${resources.NAME." + o + "}"))))] : null,
      doc ? Object.entries(doc).filter(([, v]) => v).map(([k, v]) => [h("h3", null, k), h("pre", { class: "value", tabindex: "0" }, value(v))]) : null,
      x.type ? h("div", { key: "why", keep: true }, why(x)) : null);
  }

  // why asks which definitions were looked at, and why one of them won.
  function why(x) {
    const box = h("div");
    const ask = h("button", { type: "button", class: "asks", onclick: () => busy(ask, box, async () => {
      const told = await get(`/v1/${name}:explainMatch` + query({ type: x.type, class: x.class, resId: x.resourceId }), signal);
      box.replaceChildren(candidates(told.candidates));
    }) }, "Why this definition?");
    return h("div", { class: "tools" }, ask, box);
  }
}
