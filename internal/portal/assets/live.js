// The live view: an environment's objects, what controllers made of them, each one from both sides, events and logs. The list is always
// there; everything else is read when it is asked for, and kept up to date as long as it is shown.
import { get, query } from "./api.js";
import { busy, dialog, exact, h, healthChip, when } from "./ui.js";
import { asked, n, sideBySide } from "./parts.js";
import { logs } from "./logs.js";

export const objectName = (o) => `${o?.kind}/${o?.name}`;

// inCluster is the section of an environment's page.
export function inCluster(view, act) {
  const objects = view.status?.objects || [], { tree } = view;
  const ask = tree ? h("button", { key: "hide", class: "asks", onclick: () => { view.tree = null; act.draw(); } }, "Without pods")
    : h("button", { key: "ask", class: "asks", onclick: (e) => busy(e.target, e.target.closest("section").lastChild, async () => { view.tree = await get(`/v1/${act.name}/objects:tree`, act.signal); act.draw(); }) }, "Pods and all");
  return h("section", { key: "objects", id: "objects", tabindex: "-1", "aria-label": "Live view" },
    h("div", { class: "head" }, h("h2", null, "Objects in the cluster"), h("div", { class: "tools" }, objects.length ? ask : null)),
    objects.length ? table(tree ? nodes(tree) : objects.map((o) => ({ object: o, ...o, depth: 0 })), act) : h("p", { class: "quiet" }, view.status ? "There is none yet: nothing has been synced." : "The cluster's own view is not known yet."),
    tree?.truncated ? h("p", { class: "note" }, "There are more objects than are shown.") : null,
    asked("events", "What the cluster says", async () => eventList((await get(`/v1/${act.name}/objects:events` + query({ pageSize: 50 }))).events)),
    h("div", { key: "errors", keep: true }));
}

// nodes gives each object of the tree its depth below its owners.
function nodes({ nodes: list = [] }) {
  const depth = new Map();
  return list.map((node) => {
    const d = depth.has(node.ownerUid) ? depth.get(node.ownerUid) + 1 : 0;
    depth.set(node.uid, d);
    return { ...node, depth: Math.min(d, 3) };
  });
}

function table(list, act) {
  return h("div", { class: "scroll" }, h("table", { class: "cards" },
    h("caption", { class: "sr" }, "Objects"),
    h("thead", null, h("tr", null, ["Object", "Health", "Says"].map((t) => h("th", { scope: "col" }, t)))),
    h("tbody", null, list.map((o) => h("tr", { key: (o.uid || "") + o.object.apiVersion + o.object.kind + o.object.namespace + o.object.name },
      h("th", { scope: "row", class: o.depth ? "indent" + o.depth : null }, h("button", { class: "link asks", onclick: (e) => show(e.target, o.object, act) }, objectName(o.object)), o.hook ? h("span", { class: "quiet" }, ` ${o.hook} hook`) : null,
        o.findings ? [" ", h("span", { class: "chip warn" }, n(o.findings, "difference"))] : null),
      h("td", { "data-label": "Health" }, healthChip(o.health)),
      h("td", { "data-label": "Says" }, h("div", null, o.syncMessage ? h("strong", null, o.syncMessage, " ") : null, o.message || (o.pod ? o.pod.phase : "-"),
        o.createTime ? h("span", { class: "quiet" }, ", made ", when(o.createTime)) : null,
        (o.pod?.containers || []).map((c) => h("div", { class: "quiet" }, `${c.name}: ${c.state}${c.restarts ? `, restarted ${n(c.restarts, "time")}` : ""}${c.init ? ", runs before the others" : ""}`)),
        o.pod && act.may("readLogs") ? h("button", { class: "plain asks", "aria-label": "Logs of " + o.object.name, onclick: () => logs(o, act) }, "Logs") : null)))))));
}

export const eventList = (events) => (events?.length ? h("ul", null, events.map((e) => h("li", null, h("span", { class: e.type === "Warning" ? "chip bad" : "chip none" }, e.reason), ` ${objectName(e.object)}: ${e.message} `,
  h("span", { class: "quiet" }, e.count > 1 ? n(e.count, "time") + ", last " : "", when(e.lastTime))))) : h("p", { class: "quiet" }, "The cluster tells nothing."));

// show opens one object from both sides, with the cluster's events of it and what it owns.
function show(button, { apiVersion, kind, namespace, name }, act) {
  const of = query({ "object.apiVersion": apiVersion, "object.kind": kind, "object.namespace": namespace, "object.name": name });
  return busy(button, null, async () => {
    const [o, told] = await Promise.all([get(`/v1/${act.name}/objects:get${of}`), get(`/v1/${act.name}/objects:events${of}`).catch((err) => ({ error: err }))]);
    dialog(kind + "/" + name, () => h("div", null,
      o.file ? h("p", { class: "quiet" }, "Declared in ", h("code", null, o.file)) : null,
      o.desired ? sideBySide("Git says", o.desired, "The cluster has", o.comparable || "(not in the cluster)\n") : h("pre", { class: "value", tabindex: "0" }, o.live),
      h("h3", null, "Events"), told.error ? h("p", { class: "note" }, told.error.message) : eventList(told.events),
      o.desired ? h("details", null, h("summary", null, "All that the cluster has"), h("pre", { class: "value", tabindex: "0" }, o.live || "nothing")) : null,
      o.owners?.length ? h("details", null, h("summary", null, "Who wrote it last"), h("ul", null, o.owners.map((w) => h("li", null, h("code", null, w.manager), ` ${w.operation}, ${n(w.fields, "field")}, `, exact(w.time))))) : null), true);
  });
}
