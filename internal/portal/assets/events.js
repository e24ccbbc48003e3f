// Events as they happen.
import { follow, get, query } from "./api.js";
import { empty, envHref, envID, h, problem, render, short, value, word } from "./ui.js";

const KEEP = 1000, SHOW = 200, BACK = 15 * 60 * 1000;
const TYPES = [["", "All types"], ["deployment.", "Deployments"], ["environment.", "Environments"], ["drift.", "Drift"], ["repository.", "Repositories"], ["resource.", "Resources"]];
const actors = new Map(); // of deployments, which their events do not name: asked for once

export function events({ main, signal, params }) {
  const q = params.query;
  let list = [], filter = q.get("filter") || "", type = "", app = q.get("application") || "", person = "", paused = false, error = null, drawing = false, opened = false, last = "", apps = new Set(app ? [app] : []), stop = new AbortController();

  const soon = () => {
    if (drawing || paused) return;
    drawing = true;
    requestAnimationFrame(() => { drawing = false; draw(); });
  };

  function draw() {
    if (signal.aborted) return;
    const words = filter.toLowerCase().split(/\s+/).filter(Boolean), by = person.toLowerCase();
    const shown = list.filter((e) => e.type.startsWith(type) && who(e).toLowerCase().includes(by) && words.every((w) => e.text.includes(w)));
    render(main,
      h("div", { class: "head" }, h("h1", null, "Events"),
        h("div", { class: "tools" },
          h("input", { type: "search", value: filter, placeholder: "Filter…", "aria-label": "Filter events", oninput: (e) => { filter = e.target.value; draw(); } }),
          h("select", { "aria-label": "Type of event", onchange: (e) => { type = e.target.value; draw(); } }, TYPES.map(([v, t]) => h("option", { value: v }, t))),
          h("select", { "aria-label": "Application", onchange: (e) => { app = e.target.value; begin(); } }, ["", ...[...apps].sort()].map((a) => h("option", { value: a, selected: a === app }, a || "All applications"))),
          h("input", { type: "search", key: "who", size: "12", placeholder: "Person", "aria-label": "Person", oninput: (e) => { person = e.target.value; draw(); } }),
          h("button", { type: "button", class: "asks", "aria-pressed": String(paused), onclick: () => { paused = !paused; draw(); } }, "Pause"))),
      error && error.reason !== "LOST" && error.status ? problem(error) : null,
      h("p", { class: "quiet", role: "status" }, paused ? "Paused; events are kept meanwhile." : error ? "Not connected; it goes on where it stopped." : `Those of the last 15 minutes and new ones as they happen. ${shown.length} of ${list.length}${shown.length > SHOW ? ", the newest " + SHOW + " shown" : ""}.`),
      !shown.length && opened ? empty(list.length ? "No event is like that" : "Nothing happened lately", h("p", null, list.length ? "Take a filter away." : "Deploy something, or change an object with kubectl, and it shows here.")) : null,
      h("ol", { class: "events" }, shown.slice(0, SHOW).map((e) => h("li", { key: e.sequence },
        h("details", null,
          h("summary", null, h("time", { datetime: e.time }, new Date(e.time).toLocaleTimeString()), " ", h("span", { class: "chip none" }, e.type), " ", h("strong", null, envID(e.subject) || e.subject), " ", e.line, who(e) ? h("span", { class: "quiet" }, " by ", short(who(e))) : null),
          h("p", null, links(e), h("span", { class: "quiet" }, e.subject, ", sequence ", e.sequence)),
          h("pre", { class: "code", tabindex: "0" }, e.json))))));
  }

  // begin opens the stream anew: the server leaves out other applications.
  function begin() {
    stop.abort();
    stop = new AbortController();
    list = [];
    last = "";
    const since = new Date(Date.now() - BACK).toISOString();
    follow(() => "/v1/events:watch" + query({ application: app, ...(last ? { afterSequence: last } : { since }) }), AbortSignal.any([signal, stop.signal]), (e) => {
      error = null;
      if (e.sequence === last) return;
      last = e.sequence;
      e.line = sentence(e);
      e.json = JSON.stringify(e.data, null, 2);
      e.text = [e.type, e.subject, envID(e.subject), e.line, e.json].join(" ").toLowerCase();
      if (e.subject.startsWith("applications/")) apps.add(e.subject.split("/")[1]);
      list.unshift(e);
      if (list.length > KEEP) list.length = KEEP;
      learnActor(e);
      soon();
    }, (err) => { error = err; soon(); });
    draw();
  }

  function learnActor({ data }) {
    const d = data?.deployment;
    if (!d || actors.has(d) || d.split("/").length !== 6) return;
    actors.set(d, "");
    get("/v1/" + d, signal).then((x) => { actors.set(d, x.actor); soon(); }, () => actors.delete(d));
  }

  begin();
  setTimeout(() => { opened = true; soon(); }, 1500);
}

const who = ({ data: d }) => d?.actor || d?.finding?.decideActor || d?.finding?.actor || d?.finding?.manager || d?.author || actors.get(d?.deployment) || "";

function links({ subject, data: d }) {
  const env = subject.includes("/environments/") ? envHref(subject) : "";
  return env ? [h("a", { href: env }, envID(subject)), " ", d?.deployment ? [h("a", { href: env + "/history" }, "history"), " "] : null,
    d?.commit ? [h("a", { href: env + "/git" + query({ commit: d.commit }) }, "commit"), " "] : null] : null;
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
    case "deployment.cancelled": return n + "cancelled";
    case "deployment.claims": return n + "its claims are in Git; it waits for what they give";
    case "resource.outputs": return "the cluster told what resources give";
    case "environment.synced": return `${n}synced: ${d.created || 0} created, ${d.changed || 0} changed, ${d.pruned || 0} removed`;
    case "environment.health": return n + [word(d.sync, "SYNC_STATE_"), word(d.health, "HEALTH_")].filter(Boolean).join(", ") + (d.message ? ": " + d.message : "");
    case "environment.removed": return n + "removed from the cluster";
    case "drift.detected": return `${field} ${word(f.kind, "KIND_")}${f.live === undefined ? "" : ": " + value(f.live).replace(/\s+/g, " ").slice(0, 80)}`;
    case "drift.resolved": return `${field} ${f.resolution || "gone"}`;
    case "repository.foreign_commit": return `${d.path} changed by ${d.author || "somebody else"} in ${(d.foreignCommit || d.commit || "").slice(0, 8)}`;
    case "repository.foreign_resolved": return `foreign change of ${d.path}: ${d.how}`;
    default: return "";
  }
}
