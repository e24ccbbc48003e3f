// One environment: how it is, what is on its way, how the cluster differs, and what it consists of. This is the frame: it reads and
// follows; the sections draw themselves from what it has.
import { all, get, poll, query, sleep, stream } from "./api.js";
import { code, empty, envHref, envID, h, problem, render, short, toast, word } from "./ui.js";
import { learn, may } from "./session.js";
import { isFinal, planned } from "./plan.js";
import { facts, head, notices } from "./envhead.js";
import { onTheWay } from "./way.js";
import { drift } from "./drift.js";
import { foreign } from "./foreign.js";
import { inCluster } from "./live.js";
import { workloads } from "./workloads.js";
import { addWorkload } from "./score.js";
import { changes, edits, gather } from "./edits.js";
import { n } from "./parts.js";
import { watch } from "./watch.js";

const sets = new Map(); // immutable, so read once
const SECTIONS = [["way", "Newest deployment"], ["drift", "Differences"], ["workloads", "Workloads"], ["variables", "Variables"], ["objects", "Live view"]];

export function environment({ main, signal, name, params }) {
  const id = envID(name);
  const view = { env: null, type: null, status: null, findings: [], seen: false, set: null, latest: null, waiting: [], active: null, tree: null, error: null, statusError: null, edits: edits(name) };
  const open = { env: false, findings: false }; // the streams that stand
  let ready = false, watched = "", unfollow = new AbortController(), at = params?.query.get("at"), drawing;

  const soon = () => { drawing ||= setTimeout(() => { drawing = 0; draw(); }, 30); };

  // refresh reads what no stream brings, and all of it as long as a stream does not stand.
  async function refresh() {
    try {
      await learn(signal, name);
      if (!open.env || !view.env) await changed(await get("/v1/" + name, signal));
      if (!open.findings) {
        view.findings = await all(`/v1/${name}/findings`, "findings", signal);
        view.seen = true;
      }
      view.error = null;
    } catch (err) {
      if (err.name === "AbortError") return;
      view.error = err;
    }
    await readStatus();
    ready = true;
    draw();
  }

  async function readStatus() {
    const [status, tree] = await Promise.allSettled([get(`/v1/${name}/status`, signal), view.tree ? get(`/v1/${name}/objects:tree`, signal) : null]);
    view.statusError = status.reason || null;
    if (status.value) view.status = status.value;
    if (tree.value) view.tree = tree.value;
    // A degraded one may still become healthy, though its stream has ended.
    if (view.latest?.state === "STATE_DEGRADED") view.latest = await get("/v1/" + view.latest.name, signal).catch(() => view.latest);
  }

  // changed takes an environment as it is now, with what it names.
  async function changed(env) {
    view.env = env;
    const [set, type, active] = await Promise.allSettled([readSet(env.intent?.set), readType(env), readActive(env)]);
    if (set.status === "fulfilled") view.set = set.value;
    if (type.value) view.type = type.value;
    if (active.value) view.active = active.value;
    if (set.reason && set.reason.name !== "AbortError") throw set.reason;
    if (!env.latestDeployment || env.latestDeployment === watched) return;
    if (!watched) view.latest = await get("/v1/" + env.latestDeployment, signal).catch(() => null); // so that it is there from the first
    follow(env.latestDeployment);
  }

  async function readSet(set) {
    if (set && !sets.has(set)) sets.set(set, await get("/v1/" + set, signal));
    return sets.get(set) || null;
  }
  const readType = async ({ type }) => (view.type?.name === type ? view.type : get("/v1/" + type, signal));
  const readActive = async ({ activeDeployment: d }) => (!d || (view.active?.name === d && view.active.activeFrom) ? view.active : get("/v1/" + d, signal));

  // follow watches a deployment to its end, through a lost server too. Earlier ones may wait in front of it.
  async function follow(deployment) {
    watched = deployment;
    unfollow.abort();
    const stop = (unfollow = new AbortController()), both = AbortSignal.any([signal, stop.signal]);
    const tick = setInterval(() => view.latest && !isFinal(view.latest) && draw(), 500);
    while (!both.aborted) {
      try {
        for await (const m of stream(`/v1/${deployment}:watch`, both)) {
          view.latest = m.deployment;
          await waiting(m.deployment);
          draw();
        }
        if (view.latest?.name === deployment && isFinal(view.latest)) break;
      } catch (err) {
        if (err.status >= 400 && err.status < 500) break;
      }
      await sleep(1000, both);
    }
    clearInterval(tick);
    if (!both.aborted) again();
  }

  async function waiting(d) {
    if (isFinal(d) || Number(d.generation) < 2) view.waiting = [];
    else view.waiting = (await get(`/v1/${name}/deployments` + query({ pageSize: 10 }), signal).catch(() => ({}))).deployments?.filter((o) => o.name !== d.name && !isFinal(o)) || [];
  }

  // deploy plans a change together with those that are kept, and deploys it when the person says so.
  async function deploy(what, edit, options) {
    const { kept } = view.edits, before = edit && kept.get(edit.key);
    const back = () => edit && (before ? kept.set(edit.key, before) : kept.delete(edit.key));
    if (edit) kept.set(edit.key, edit);
    const { change, places } = gather(kept);
    const alone = edit && kept.size === 1;
    view.edits.problems.clear();
    let made;
    try {
      made = await planned(name, `${alone ? what : n(kept.size, "change")} in ${id}`, { change }, { more: "Change more first", ...options });
    } catch (err) {
      // Each place is told where it stands; one that was typed just now stays there, to be mended.
      for (const v of err.violations || []) {
        const place = places.find(([p]) => v.field.startsWith(p));
        if (place) view.edits.problems.set(place[1], v.description);
      }
      back();
      draw();
      throw err;
    }
    if (!made) back();
    else if (made.more) view.edits.open = null;
    else {
      if (view.edits.open?.key === edit?.key) view.edits.open = null;
      landed(made);
    }
    draw();
    return made;
  }

  // landed shows a deployment that was made on this page; unless keep, it has what was typed.
  function landed(made, keep) {
    if (!keep) {
      view.edits.kept.clear();
      view.edits.problems.clear();
    }
    toast(`Deployment #${short(made.name)} of ${id} is on its way.`);
    view.latest = made;
    draw();
    document.getElementById("way")?.scrollIntoView({ block: "nearest" });
    follow(made.name);
    again();
  }

  // told takes a deployment that somebody has just decided about.
  function told(d) {
    if (view.latest?.name === d.name) view.latest = d;
    view.waiting = view.waiting.map((w) => (w.name === d.name ? d : w));
    draw();
    again();
  }

  // keep puts an edit beside the others, for one plan of all.
  function keep(edit, then) {
    view.edits.kept.set(edit.key, edit);
    draw();
    then?.();
  }

  const act = { draw, told, keep, deploy, landed, signal, id, name, again: () => again(), may: (action) => may(action, name), mayEdit: () => may("deploy", name) && view.env?.state !== "STATE_DELETING" };

  function draw() {
    if (signal.aborted) return;
    const { env, error } = view;
    const wrong = error && error.reason !== "LOST" ? problem(error) : null;
    if (!env || !ready) {
      render(main, head(view, act), error?.status === 404 ? empty(id + " does not exist", h("p", null, "It may have been deleted; what was deployed to it is kept: ", h("a", { href: envHref(name) + "/history" }, "history"), "."),
        h("p", null, h("a", { href: "#/" }, "To the applications"))) : wrong || (error ? null : h("p", { class: "quiet" }, "Reading…")));
      return;
    }
    const used = Number(env.generation) > 0;
    render(main, head(view, act),
      h("div", { key: "wrong" }, wrong),
      facts(view, act),
      notices(view, act),
      used ? jump() : null,
      h("p", { class: "sr", role: "status", key: "said" }, view.latest ? `Deployment ${short(view.latest.name)}: ${word(view.latest.state, "STATE_")}` : ""),
      onTheWay(view, act),
      used ? [foreign(view, act), drift(view, act), workloads(view, act), inCluster(view, act)] : nothing(),
      changes(view, act));
    const there = at && document.getElementById(at);
    if (there && view.status) {
      at = "";
      there.scrollIntoView();
    }
  }

  // jump links to the sections; the address names the one, so that it can be sent to somebody.
  const jump = () => h("nav", { class: "jump", "aria-label": "Sections", key: "jump" }, SECTIONS.map(([to, text]) => h("a", { href: envHref(name) + "?at=" + to, onclick: (e) => {
    e.preventDefault();
    window.history.replaceState(null, "", e.target.getAttribute("href"));
    const section = document.getElementById(to);
    section?.scrollIntoView();
    section?.focus({ preventScroll: true });
  } }, text)));

  const nothing = () => empty("Nothing was deployed here yet",
    act.mayEdit() ? h("p", null, h("button", { class: "primary", onclick: () => addWorkload(view, act) }, "Add a workload…")) : null,
    h("p", null, "Or deploy a Score file from a terminal:"),
    code("tow init                  # writes a commented score.yaml", `tow deploy -f score.yaml -e ${id} --wait`));

  let fresh = null;
  watch(`/v1/${name.split("/").slice(0, 2).join("/")}/environments:watch`, signal, {
    item: (m) => {
      if (m.environment?.name !== name) return;
      if (m.removed) {
        view.env = null;
        open.env = false;
        return again();
      }
      changed(m.environment).then(soon, (err) => { view.error = err; soon(); });
      again();
    },
    state: (on) => { open.env = on; },
  });
  watch(`/v1/${name}/findings:watch`, signal, {
    begin: () => { fresh = new Map(); },
    item: ({ finding: f }) => {
      const into = fresh || new Map(view.findings.map((x) => [x.name, x]));
      if (f.resolveTime || ["STANDING_IGNORED", "STANDING_DELEGATED", "STANDING_RESOLVED"].includes(f.standing)) into.delete(f.name);
      else into.set(f.name, f);
      if (fresh) return;
      settle(into);
      again();
    },
    caughtUp: () => { settle(fresh); fresh = null; },
    state: (on) => { open.findings = on; },
  });
  function settle(map) {
    view.findings = [...map.values()]; // new ones last, so that nothing jumps
    view.seen = true;
    soon();
  }

  const again = poll(3000, signal, refresh);
}
