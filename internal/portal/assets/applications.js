// Applications: every environment at a glance.
import { all, get, poll } from "./api.js";
import { chip, code, driftChip, empty, envHref, envID, h, healthChip, problem, render, short, stateChip, syncChip, when } from "./ui.js";
import { mayChange } from "./session.js";

const FINAL = ["STATE_HEALTHY", "STATE_FAILED", "STATE_SUPERSEDED", "STATE_REJECTED", "STATE_CANCELLED"];
// Deployments by name. A finished one never changes again, so each is asked for once.
const known = new Map();

export function applications({ main, signal }) {
  let envs = null, apps = [], error = null, filter = "";

  async function refresh() {
    try {
      [envs, apps] = await Promise.all([
        all("/v1/applications/-/environments", "environments", signal), all("/v1/applications", "applications", signal)]);
      error = null;
    } catch (err) {
      if (err.name === "AbortError") return;
      error = err;
    }
    draw();
    if (!error) await deployments(envs, signal, draw);
  }

  function draw() {
    if (signal.aborted) return;
    const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = (envs || []).filter((e) => words.every((w) => haystack(e).includes(w)));
    render(main,
      h("div", { class: "head" }, h("h1", null, "Applications"),
        h("div", { class: "tools" },
          envs?.length ? h("input", { type: "search", key: "filter", size: "26", placeholder: "Filter: name, person, state…", "aria-label": "Filter environments", oninput: (e) => { filter = e.target.value; draw(); } }) : null,
          mayChange() ? h("a", { class: "button", href: "#/new" }, "New environment") : null)),
      error && error.reason !== "LOST" ? problem(error) : null,
      envs === null ? error ? null : h("p", { class: "quiet" }, "Reading…") : !envs.length ? nothing(apps) : table(shown),
      envs?.length ? h("p", { class: "sr", role: "status" }, filter ? shown.length + " of " + envs.length + " environments" : "") : null,
      envs?.length && !shown.length ? h("p", { class: "quiet" }, "No environment matches “" + filter + "”.") : null,
      bare(apps, envs));
  }
  poll(2000, signal, refresh);
}

// bare are applications without an environment: the table cannot show them.
function bare(apps, envs) {
  if (!envs?.length) return null;
  const used = new Set(envs.map((e) => e.name.split("/")[1]));
  const left = apps.filter((a) => !used.has(short(a.name)));
  return left.length ? h("p", { class: "quiet" }, "Without an environment: ", left.map((a, i) => [i ? ", " : null, mayChange()
    ? h("a", { href: "#/new?application=" + encodeURIComponent(short(a.name)) }, short(a.name)) : short(a.name)])) : null;
}

function haystack(e) {
  const d = known.get(e.activeDeployment) || {};
  return [envID(e.name), short(e.type), d.actor, d.message, e.live?.sync, e.live?.health, e.live?.findings ? "drift" : ""].join(" ").toLowerCase();
}

function table(envs) {
  return h("div", { class: "scroll" }, h("table", { class: "cards" },
    h("caption", { class: "sr" }, "Environments"),
    h("thead", null, h("tr", null, ["Environment", "Type", "Version", "By", "Since", "Sync", "Health", "Drift"].map((t) => h("th", { scope: "col" }, t)))),
    h("tbody", null, envs.map(row))));
}

function row(e) {
  const cell = (label, ...content) => h("td", { "data-label": label }, ...content);
  const active = known.get(e.activeDeployment), latest = known.get(e.latestDeployment);
  const deleting = e.state === "STATE_DELETING";
  return h("tr", { key: e.name },
    h("th", { scope: "row" }, h("a", { href: envHref(e.name) }, envID(e.name)), deleting ? [" ", stateChip(e.state)] : null),
    cell("Type", short(e.type)),
    cell("Version", version(e, active, latest)),
    cell("By", active?.actor ? short(active.actor) : "-"),
    cell("Since", when(active?.activeFrom)),
    cell("Sync", e.live ? syncChip(e.live.sync) : h("span", { class: "quiet" }, "-")),
    cell("Health", e.live ? h("span", { title: e.live.message || null }, healthChip(e.live.health)) : h("span", { class: "quiet" }, "-")),
    cell("Drift", e.live ? driftChip(e.live.findings, e.live.sync) : h("span", { class: "quiet" }, "-")));
}

function version(e, active, latest) {
  const running = e.activeDeployment ? [h("strong", null, "#" + short(e.activeDeployment)), active?.message ? " " + active.message : ""] : h("span", { class: "quiet" }, "nothing yet");
  const next = latest && e.latestDeployment !== e.activeDeployment && latest.state !== "STATE_SUPERSEDED"
    ? h("div", null, "#" + short(latest.name), " ", chip(latest.state, "STATE_")) : null;
  return h("div", { class: "clip" }, running, next);
}

// deployments reads what the table says of deployments and is not known yet, four at a time.
async function deployments(envs, signal, draw) {
  const want = [];
  for (const e of envs) {
    for (const name of new Set([e.activeDeployment, e.latestDeployment])) {
      const d = known.get(name);
      const done = d && FINAL.includes(d.state) && !(name === e.activeDeployment && !d.activeFrom);
      if (name && !done) want.push(name);
    }
  }
  const one = async () => {
    for (let name = want.pop(); name && !signal.aborted; name = want.pop()) {
      try {
        known.set(name, await get("/v1/" + name, signal));
        draw();
      } catch (err) {
        if (err.name !== "AbortError" && err.status !== 404) console.warn(name + ": " + err.message);
      }
    }
  };
  await Promise.all([one(), one(), one(), one()]);
}

function nothing(apps) {
  const app = apps.length ? short(apps[0].name) : "shop";
  return empty("Nothing runs here yet",
    h("p", null, "Deploy a Score file from a terminal:"),
    code(...(apps.length ? [] : ["tow app create " + app]), `tow env create ${app}/dev --type development`, "tow init                  # writes a commented score.yaml", `tow deploy -f score.yaml -e ${app}/dev --wait`),
    mayChange() ? h("p", null, "Or begin here: ", h("a", { class: "button", href: "#/new" }, "New environment")) : h("p", null, "Your token may look, not change; ask a developer to deploy something."));
}
