// One environment: how it is, what is on its way, how the cluster differs, and what it consists of.
import { all, call, get, newRequestID, poll, post, query, sleep, stream } from "./api.js";
import { busy, code, dialog, driftChip, empty, envHref, envID, exact, field, h, healthChip, problem, render, short, stateChip, syncChip, toast, when, word } from "./ui.js";
import { mayChange } from "./session.js";
import { failure, isFinal, planned, progress, review, title } from "./plan.js";
import { drift } from "./drift.js";
import { foreign } from "./foreign.js";
import { inCluster } from "./live.js";
import { workloads } from "./workloads.js";

const sets = new Map(); // immutable, so read once

export function environment({ main, signal, name }) {
  const id = envID(name);
  // All that the page shows. view.edit is the variable that is being edited.
  const view = { env: null, status: null, findings: [], set: null, latest: null, active: null, error: null, statusError: null, edit: null };
  const shown = { deployment: "" }; // the deployment that is watched, or was to its end

  async function refresh() {
    try {
      const env = await get("/v1/" + name, signal);
      const [status, findings, set, active] = await Promise.allSettled([
        get(`/v1/${name}/status`, signal), all(`/v1/${name}/findings`, "findings", signal), readSet(env, signal), readActive(env, view, signal)]);
      view.env = env;
      view.statusError = status.reason || findings.reason || null;
      if (status.value) view.status = status.value;
      if (findings.value) view.findings = findings.value;
      if (set.status === "fulfilled") view.set = set.value;
      if (active.value) view.active = active.value;
      view.error = set.reason || null;
    } catch (err) {
      if (err.name === "AbortError") return;
      view.error = err;
    }
    draw();
    const latest = view.env?.latestDeployment;
    if (latest && latest !== shown.deployment) watch(latest);
    // A degraded one may still become healthy, though its stream has ended.
    else if (view.latest?.state === "STATE_DEGRADED") view.latest = await get("/v1/" + latest, signal).catch(() => view.latest);
  }

  async function readSet(env) {
    const set = env.intent?.set;
    if (set && !sets.has(set)) sets.set(set, await get("/v1/" + set, signal));
    return sets.get(set) || null;
  }

  // watch follows a deployment to its end, through a lost server too.
  async function watch(deployment) {
    shown.deployment = deployment;
    const tick = setInterval(() => view.latest && !isFinal(view.latest) && draw(), 500);
    while (!signal.aborted && shown.deployment === deployment) {
      try {
        for await (const m of stream(`/v1/${deployment}:watch`, signal)) {
          view.latest = m.deployment;
          draw();
        }
        if (view.latest?.name === deployment && isFinal(view.latest)) break;
      } catch (err) {
        if (err.status >= 400 && err.status < 500) break;
      }
      await sleep(1000, signal);
    }
    clearInterval(tick);
    if (!signal.aborted) again();
  }

  // deploy plans a change, and deploys it when the person says so.
  async function deploy(what, request) {
    const made = await planned(name, what + " in " + id, request);
    if (!made) return;
    view.edit = null;
    toast(`Deployment #${short(made.name)} of ${id} is on its way.`);
    view.latest = made;
    draw();
    watch(made.name);
    again();
  }

  const act = { draw, deploy, again: () => again(), id, name };

  function draw() {
    if (signal.aborted) return;
    const { env, error } = view;
    if (!env) {
      render(main, head(id, null, act),
        error?.status === 404 ? empty(id + " does not exist", h("p", null, "It may have been deleted; what was deployed to it is kept: ", h("a", { href: envHref(name) + "/history" }, "history"), "."),
          h("p", null, h("a", { href: "#/" }, "To the applications")))
          : error && error.reason !== "LOST" ? problem(error) : error ? null : h("p", { class: "quiet" }, "Reading…"));
      return;
    }
    render(main, head(id, env, act),
      error && error.reason !== "LOST" ? problem(error) : null,
      facts(view),
      h("p", { class: "sr", role: "status" }, view.latest ? `Deployment ${short(view.latest.name)}: ${word(view.latest.state, "STATE_")}` : ""),
      onItsWay(view.latest, env),
      Number(env.generation) ? [
        foreign(view, act),
        drift(view, act),
        workloads(view, act),
        inCluster(view.status, act),
      ] : empty("Nothing was deployed here yet",
        h("p", null, "Deploy a Score file from a terminal:"),
        code("tow init                  # writes a commented score.yaml", `tow deploy -f score.yaml -e ${id} --wait`)));
  }

  const again = poll(2000, signal, refresh);
}

// readActive reads the running deployment; it is the same one until another runs.
async function readActive(env, view, signal) {
  const name = env.activeDeployment;
  if (!name || (view.active?.name === name && view.active.activeFrom)) return view.active;
  return get("/v1/" + name, signal);
}

function head(id, env, act) {
  const usable = env && env.state !== "STATE_DELETING" && mayChange();
  return h("div", { class: "head" },
    h("h1", null, id, env?.state === "STATE_DELETING" ? [" ", stateChip(env.state)] : null),
    h("div", { class: "tools" },
      h("a", { class: "button", href: envHref(act.name) + "/history" }, "History"),
      h("a", { class: "button", href: envHref(act.name) + "/git" }, "Git"),
      env ? h("a", { class: "button", href: envHref(act.name) + "/graph" }, "Graph") : null,
      env?.activeDeployment ? h("a", { class: "button", href: envHref(act.name) + "/promote" }, "Promote") : null,
      usable ? h("a", { class: "button", href: "#/new?from=" + encodeURIComponent(id) }, "Clone") : null,
      h("a", { class: "button", href: "#/events?filter=" + encodeURIComponent(id) }, "Events"),
      usable && Number(env.generation) ? h("button", { type: "button", onclick: (e) => busy(e.target, null, async () => {
        await post(`/v1/${act.name}:sync`, {}, { timeout: 60000 });
        toast("Synced: the cluster has what Git says.");
        act.again();
      }) }, "Sync now") : null,
      usable ? h("button", { type: "button", class: "danger", onclick: () => remove(env, id) }, "Delete…") : null));
}

// facts say how the environment is.
function facts({ env, status, active, statusError }) {
  const fact = (name, ...value) => h("div", null, h("dt", null, name), h("dd", null, ...value));
  const now = status || env.live || {};
  return h("section", { "aria-label": "Status" },
    h("dl", { class: "facts" },
      fact("Running", active && env.activeDeployment ? [title(active), active.message ? " " + active.message : ""] : "nothing yet"),
      fact("By", active?.actor ? short(active.actor) : "-"),
      fact("Since", when(active?.activeFrom)),
      Number(env.generation) ? [fact("Sync", syncChip(now.sync)), fact("Health", healthChip(now.health)), fact("Drift", driftChip(now.findings, now.sync))] : null,
      fact("Type", short(env.type)),
      fact("Namespace", h("code", null, env.namespace)),
      env.place ? fact("In Git", h("code", { title: `${env.place.url}, branch ${env.place.branch}` }, env.place.path), " of ", short(env.place.repository),
        env.place.parts?.length ? ` and ${env.place.parts.length} more` : "", env.layoutPlace ? " (the layout says elsewhere)" : "") : null,
      status?.commit && Number(env.generation) ? fact("Commit", h("a", { href: envHref(env.name) + "/git?commit=" + status.commit }, h("code", { title: status.commit }, status.commit.slice(0, 8)))) : null,
      status?.syncTime && Number(env.generation) ? fact("Synced", when(status.syncTime)) : null),
    now.message ? h("p", { class: "note" }, now.message) : null,
    env.heldByRollback ? h("p", { class: "note" }, `Held by rollback #${short(env.heldByRollback)}: nothing deploys here by itself until a person does.`) : null,
    statusError && Number(env.generation) && statusError.name !== "AbortError" && statusError.reason !== "LOST" ? h("p", { class: "note" }, "The cluster's own view cannot be read now: " + statusError.message) : null);
}

// onItsWay shows the newest deployment while it moves, and after it where it did not end well.
function onItsWay(d, env) {
  if (!d || (isFinal(d) && Date.now() - Date.parse(d.endTime || d.updateTime) > 60000 && d.state !== "STATE_FAILED" && d.state !== "STATE_DEGRADED")) return null;
  if (d.state === "STATE_SUPERSEDED") return null;
  return h("section", { class: "card", "aria-label": "Newest deployment", key: "way" },
    h("p", null, title(d), d.message ? " " + d.message : "", h("span", { class: "quiet" }, " by ", short(d.actor), ", ", when(d.createTime))),
    progress(d),
    d.waitingReason ? h("p", { class: "note" }, "Waiting: " + d.waitingReason) : null,
    d.state === "STATE_DEGRADED" && env.live?.message ? h("p", { class: "note" }, env.live.message) : null,
    review(d),
    failure(d),
    d.summary?.length ? h("details", null, h("summary", null, "What it changes"), h("ul", { class: "summary" }, d.summary.map((s) => h("li", null, s)))) : null);
}

// remove asks for the environment's name, because nothing brings its objects back but a new deployment.
function remove(env, id) {
  const requestId = newRequestID();
  return dialog("Delete " + id, (close) => {
    const errors = h("div");
    const typed = h("input", { autocomplete: "off", spellcheck: "false", autofocus: true, oninput: () => { go.disabled = typed.value !== id; } });
    const why = h("input", { autocomplete: "off", maxlength: "2000" });
    const go = h("button", { type: "submit", class: "danger", disabled: true }, "Delete " + id);
    return h("form", { onsubmit: (e) => {
      e.preventDefault();
      if (typed.value !== id) return;
      busy(go, errors, async () => {
        await call("DELETE", "/v1/" + env.name + query({ etag: env.etag, requestId, message: why.value }), { timeout: 60000 });
        close();
        toast(id + " is being deleted.");
        location.hash = envHref(env.name) + "/history";
      });
    } },
      h("p", null, "Its files leave Git and its objects leave the cluster, with the data in them. Its history stays."),
      Number(env.generation) ? h("p", { class: "quiet" }, "In namespace ", h("code", null, env.namespace), ", made ", exact(env.createTime), " by ", short(env.createActor), ".") : null,
      field(`Type ${id} to confirm`, typed), field("Why (optional)", why), errors,
      h("div", { class: "actions" }, go, h("button", { type: "button", onclick: () => close() }, "Cancel")));
  });
}

