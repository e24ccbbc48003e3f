// What an environment has in the cluster: its objects, what controllers made of them, and each one from both sides, when asked for.
import { get, query } from "./api.js";
import { busy, dialog, h, healthChip, when } from "./ui.js";

// inCluster is the section of an environment's page; null where there is nothing.
export function inCluster(status, act) {
  if (!status?.objects?.length) return null;
  const box = h("div");
  const ask = h("button", { type: "button", class: "asks", onclick: () => busy(ask, box, async () => {
    const t = await get(`/v1/${act.name}/objects:tree`);
    box.replaceChildren(tree(t, act));
    ask.textContent = "Read again";
  }) }, "Pods and all");
  return h("section", { key: "objects", "aria-label": "In the cluster" }, h("h2", null, "Objects in the cluster"),
    h("div", { class: "scroll" }, h("table", { class: "cards" },
      h("caption", { class: "sr" }, "Objects"),
      h("thead", null, h("tr", null, ["Object", "Health", "Says"].map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", null, status.objects.map((o) => h("tr", { key: o.apiVersion + o.kind + o.name },
        h("th", { scope: "row" }, h("button", { type: "button", class: "link asks", onclick: (e) => show(e.target, o, act) }, o.kind + "/" + o.name), " ", h("small", { class: "quiet" }, o.apiVersion)),
        h("td", { "data-label": "Health" }, healthChip(o.health)),
        h("td", { "data-label": "Says" }, o.message || "-")))))),
    h("div", { key: "tree", keep: true }, h("div", { class: "tools" }, ask), box));
}

// tree draws owners before what they own, indented by depth.
function tree({ nodes = [], truncated }, act) {
  const depth = new Map();
  return h("div", { class: "scroll" }, h("table", { class: "cards" },
    h("caption", { class: "sr" }, "Objects with what they own"),
    h("thead", null, h("tr", null, ["Object", "Health", "Pod", "Made", "Says"].map((t) => h("th", { scope: "col" }, t)))),
    h("tbody", null, nodes.map((n) => {
      const d = n.ownerUid && depth.has(n.ownerUid) ? depth.get(n.ownerUid) + 1 : 0;
      depth.set(n.uid, d);
      return h("tr", { key: n.uid || n.object.kind + n.object.name },
        h("th", { scope: "row" }, "\u00a0".repeat(4 * d), h("button", { type: "button", class: "link asks", onclick: (e) => show(e.target, n.object, act) }, n.object.kind + "/" + n.object.name)),
        h("td", { "data-label": "Health" }, healthChip(n.health)),
        h("td", { "data-label": "Pod" }, n.pod ? [n.pod.phase, ...(n.pod.containers || []).map((c) => h("div", { class: "quiet" }, `${c.name}: ${c.state}${c.restarts ? `, restarted ${c.restarts} times` : ""}`))] : "-"),
        h("td", { "data-label": "Made" }, when(n.createTime)),
        h("td", { "data-label": "Says" }, n.message || "-"));
    }))), truncated ? h("p", { class: "note" }, "There are more objects than are shown.") : null);
}

// show opens one object from both sides, with the cluster's events of it and what it owns.
async function show(button, { apiVersion, kind, namespace, name }, act) {
  const of = query({ "object.apiVersion": apiVersion, "object.kind": kind, "object.namespace": namespace, "object.name": name });
  const errors = h("div");
  button.after(errors);
  await busy(button, errors, async () => {
    const [o, told] = await Promise.all([get(`/v1/${act.name}/objects:get${of}`), get(`/v1/${act.name}/objects:events${of}`)]);
    errors.remove();
    dialog(kind + "/" + name, (close) => h("div", null,
      o.desired ? sides(o) : h("pre", { class: "value", tabindex: "0" }, o.live),
      h("h3", null, "Events"),
      told.events?.length ? h("ul", null, told.events.slice(0, 20).map((e) => h("li", null, when(e.lastTime), ` ${e.type} ${e.reason} ${e.object.kind}/${e.object.name}: ${e.message}`)))
        : h("p", { class: "quiet" }, "The cluster tells nothing."),
      h("div", { class: "tools" }, h("button", { type: "button", onclick: close }, "Close"))), true);
  });
}

// sides puts what Git says beside what the cluster has, without what the cluster adds by itself.
const sides = (o) => h("div", { class: "scroll" }, h("table", null,
  h("thead", null, h("tr", null, h("th", { scope: "col" }, "Git says" + (o.file ? ` (${o.file})` : "")), h("th", { scope: "col" }, "Cluster has"))),
  h("tbody", null, h("tr", null, h("td", null, h("pre", { class: "value", tabindex: "0" }, o.desired)),
    h("td", null, h("pre", { class: "value", tabindex: "0" }, o.comparable || "(not in the cluster)"))))));
