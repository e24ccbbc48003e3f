// Events as they happen.
import { follow, query } from "./api.js";
import { envHref, envID, h, problem, render, short, value, word } from "./ui.js";

const KEEP = 1000, SHOW = 200, BACK = 15 * 60 * 1000;
const TYPES = [["", "All types"], ["deployment.", "Deployments"], ["environment.", "Environments"], ["drift.", "Drift"], ["repository.", "Repositories"]];

export function events({ main, signal, params }) {
  let list = [], filter = params.query.get("filter") || "", type = "", paused = false, error = null, drawing = false, opened = false;
  const since = new Date(Date.now() - BACK).toISOString();
  let last = "";

  const soon = () => {
    if (drawing || paused) return;
    drawing = true;
    requestAnimationFrame(() => { drawing = false; draw(); });
  };

  function draw() {
    if (signal.aborted) return;
    const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = list.filter((e) => e.type.startsWith(type) && words.every((w) => e.text.includes(w)));
    render(main,
      h("div", { class: "head" }, h("h1", null, "Events"),
        h("div", { class: "tools" },
          h("input", { type: "search", value: filter, placeholder: "Filter…", "aria-label": "Filter events", oninput: (e) => { filter = e.target.value; draw(); } }),
          h("select", { "aria-label": "Type of event", onchange: (e) => { type = e.target.value; draw(); } }, TYPES.map(([v, t]) => h("option", { value: v }, t))),
          h("button", { type: "button", class: "asks", "aria-pressed": String(paused), onclick: () => { paused = !paused; draw(); } }, "Pause"))),
      error && error.reason !== "LOST" ? problem(error) : null,
      h("p", { class: "quiet", role: "status" }, paused ? "Paused; events are kept meanwhile." : `Those of the last 15 minutes and new ones as they happen. ${shown.length} of ${list.length}${shown.length > SHOW ? ", the newest " + SHOW + " shown" : ""}.`),
      !list.length && opened ? h("p", { class: "quiet" }, "Nothing happened. Deploy something, or change an object with kubectl, and it shows here.") : null,
      h("ol", { class: "events" }, shown.slice(0, SHOW).map((e) => h("li", { key: e.sequence },
        h("details", null,
          h("summary", null, h("time", { datetime: e.time }, new Date(e.time).toLocaleTimeString()), " ", h("span", { class: "chip none" }, e.type), " ", h("strong", null, envID(e.subject) || e.subject), " ", e.line),
          h("p", null, e.subject.includes("/environments/") ? h("a", { href: envHref(e.subject) }, envID(e.subject)) : null, " ", h("span", { class: "quiet" }, e.subject, ", sequence ", e.sequence)),
          h("pre", { class: "code", tabindex: "0" }, e.json))))));
  }

  follow(() => "/v1/events:watch" + query(last ? { afterSequence: last } : { since }), signal, (e) => {
    error = null;
    if (e.sequence === last) return;
    last = e.sequence;
    e.line = sentence(e);
    e.json = JSON.stringify(e.data, null, 2);
    e.text = [e.type, e.subject, envID(e.subject), e.line, e.json].join(" ").toLowerCase();
    list.unshift(e);
    if (list.length > KEEP) list.length = KEEP;
    soon();
  }, (err) => { error = err; soon(); });
  draw();
  setTimeout(() => { opened = true; soon(); }, 1500);
}

// sentence says what an event says, as far as its type is known here.
function sentence({ type, data: d }) {
  if (!d) return "";
  const n = d.deployment ? "#" + short(d.deployment) + " " : "";
  const f = d.finding || {};
  const field = [f.objectKind && f.objectKind + "/" + f.objectName, f.field].filter(Boolean).join(" ");
  switch (type) {
    case "deployment.state": return n + word(d.state, "STATE_") + (d.message ? ": " + d.message : "");
    case "deployment.waiting": return `${n}waits at ${d.stage}: ${d.reason}`;
    case "deployment.committed": return `${n}commit ${(d.commit || "").slice(0, 8)}, ${d.unchanged ? "nothing changed" : d.filesChanged === 1 ? "1 file" : (d.filesChanged || 0) + " files"}`;
    case "deployment.failed": return `${n}${d.superseded ? "superseded" : "failed"} at ${d.stage}: ${d.message || d.reason}`;
    case "deployment.pull_request": return `${n}pull request ${word(d.state, "STATE_").toLowerCase()}${d.actor ? " by " + d.actor : ""}: ${d.url}${d.waitsFor ? ", waits for " + d.waitsFor : ""}`;
    case "environment.synced": return `${n}synced: ${d.created || 0} created, ${d.changed || 0} changed, ${d.pruned || 0} removed`;
    case "environment.health": return n + [word(d.sync, "SYNC_STATE_"), word(d.health, "HEALTH_")].filter(Boolean).join(", ") + (d.message ? ": " + d.message : "");
    case "environment.removed": return n + "removed from the cluster";
    case "drift.detected": return `${field} ${word(f.kind, "KIND_")} by ${f.manager}${f.live === undefined ? "" : ": " + value(f.live).replace(/\s+/g, " ").slice(0, 80)}`;
    case "drift.resolved": return `${field} ${f.resolution || "gone"}`;
    case "repository.foreign_commit": return `${d.path} changed by ${d.author || "somebody else"} in ${(d.foreignCommit || d.commit || "").slice(0, 8)}`;
    case "repository.foreign_resolved": return `foreign change of ${d.path}: ${d.how}`;
    default: return "";
  }
}
