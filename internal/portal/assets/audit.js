// Audit: who did what, refused tries too.
import { code, empty, exact, h, when } from "./ui.js";
import { learn, may } from "./session.js";
import { live, pages, select, table, terms, who } from "./lists.js";

const CODES = [["", "Any outcome"], ["OK", "Done"], ["PERMISSION_DENIED", "Refused"], ["INVALID_ARGUMENT", "Wrong input"], ["FAILED_PRECONDITION", "Not possible then"], ["ABORTED", "Somebody was faster"], ["UNAUTHENTICATED", "Not signed in"]];
const SINCE = [["", "Any time"], ["1", "Last hour"], ["24", "Last day"], ["168", "Last week"]];

// The first page is read again every few seconds: the API's stream begins with a thousand events, which nobody asked for here.
export function audit({ main, signal, params }) {
  const f = Object.fromEntries(["actor", "action", "resource", "code", "since"].map((k) => [k, params.query.get(k) || ""]));
  const list = pages("/v1/auditEvents", "auditEvents", signal, () => ({ filter: terms(["actor", "=", f.actor], ["action", "=", f.action], ["resource", "=", f.resource], ["code", "=", f.code],
    ["time", ">=", f.since && new Date(Math.floor(Date.now() / 6e4) * 6e4 - f.since * 36e5).toISOString()]) }), (a, b) => (a.name < b.name ? 1 : -1));
  const set = (k, v) => { f[k] = v.trim(); list.forget(); again(); };
  const text = (k, label, hint) => h("input", { type: "search", key: k, size: "18", value: f[k], placeholder: hint, "aria-label": label, onchange: (e) => set(k, e.target.value) });

  const { draw, again } = live({ main, signal }, () => [h("h1", null, "Audit"), may("readAudit") ? h("div", { class: "tools" },
    text("actor", "Who", "Who: users/ada"), text("action", "Action", "Action: deploy"), text("resource", "What", "applications/shop"),
    select("Outcome", CODES, f.code, (v) => set("code", v)), select("Since", SINCE, f.since, (v) => set("since", v))) : null],
  async () => {
    await learn(signal, "");
    if (may("readAudit")) await list.refresh();
  }, () => {
    if (!may("readAudit")) return empty("You may not read the audit trail", h("p", null, "It tells what everybody has done. Ask an administrator: the role administrator has it, and a policy can give it."));
    const rows = list.list();
    return [rows.length ? table("Audit events", ["When", "Who", "Did", "To", "Outcome"], rows.map((e) => ({ key: e.name, cells: [
      when(e.time), who(e.actor), [h("strong", null, e.action || e.method.split("/")[1]), detail(e)], e.resource || "everything",
      h("span", { class: "chip " + (e.code === "OK" ? "good" : "bad") }, e.code === "OK" ? "done" : e.reason || e.code)] })))
      : Object.values(f).some(Boolean) ? empty("No event is like that", h("p", null, "Take a filter away; who, action and what are compared whole.")) : empty("Nobody has changed anything yet", h("p", null, "Every change is kept here with who made it, and every refused try.")),
    list.older(draw)];
  });
}

const detail = (e) => h("details", null, h("summary", null, "Details"),
  e.message ? h("p", null, e.message) : null,
  h("p", { class: "quiet" }, [e.method, e.peer && "from " + e.peer, e.userAgent, e.requestId && "request " + e.requestId].filter(Boolean).join(", "), ", ", exact(e.time)),
  ["request", "before", "after"].map((k) => (e[k] ? [h("h4", null, k), code(JSON.stringify(e[k], null, 2))] : null)));
