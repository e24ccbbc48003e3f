// Applications: every environment at a glance, live, however many there are.
import { all, get, mirror, query } from "./api.js";
import { chip, code, driftChip, empty, envHref, envID, h, healthChip, problem, render, short, stateChip, syncChip, when, word } from "./ui.js";
import { learn, may, me } from "./session.js";
import { list } from "./list.js";

const AT = "/v1/applications/-/environments", BASIC = { view: "ENVIRONMENT_VIEW_BASIC" }, FIRST = 100;
const ENDED = ["STATE_HEALTHY", "STATE_DEGRADED", "STATE_FAILED", "STATE_SUPERSEDED", "STATE_REJECTED", "STATE_CANCELLED"];
// What one looks for: name in the address, text, and whether an environment is so.
const STATES = [
  ["failing", "Failing", (e) => ["HEALTH_DEGRADED", "HEALTH_MISSING"].includes(e.live?.health) || e.latest?.state === "STATE_FAILED"],
  ["drifting", "Drifting", (e) => e.live?.findings > 0 || e.foreignChanges?.length > 0],
  ["moving", "On its way", (e) => e.latest && !ENDED.includes(e.latest.state)],
  ["waiting", "To approve", (e) => e.latest?.state === "STATE_AWAITING_APPROVAL"],
  ["locked", "Locked", (e) => !!e.lock],
  ["expiring", "Expiring", (e) => !!e.expireTime],
  ["mine", "Mine", (e) => [e.running?.actor, e.latest?.actor, e.lock?.actor, e.createActor].includes(me.subject)],
];
const SORTS = {
  application: ["By application", (a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)],
  changed: ["Newest change first", (a, b) => b.changed - a.changed || (a.id < b.id ? -1 : 1)],
  trouble: ["Trouble first", (a, b) => b.trouble - a.trouble || (a.id < b.id ? -1 : 1)],
};

// What was there when the page was last left, so that coming back shows it at once and asks only for what has changed.
let known = { rows: new Map(), state: {}, of: "" };

// warm asks for the first rows before it is known who is signed in: that answer and this one then come together.
export function warm() {
  known.state.early = get(AT + query({ ...BASIC, pageSize: FIRST }));
  known.state.early.catch(() => { known.state.early = null; });
}

// see takes an environment as the page uses it: what is looked for in it is put together once.
function see(e) {
  const id = envID(e.name), newest = e.latest?.deployment !== e.running?.deployment ? e.latest : null;
  const is = STATES.filter(([, , f]) => f(e)).map(([name]) => name);
  return {
    e, id, app: id.split("/")[0], type: short(e.type), is, newest,
    words: [id, short(e.type), e.displayName, e.running?.actor, e.running?.message, e.running?.version, e.latest?.actor, e.latest?.message, word(e.latest?.state, "STATE_"),
      word(e.live?.sync, "SYNC_STATE_"), word(e.live?.health, "HEALTH_"), e.lock?.actor, e.origin?.source, ...is].join(" ").toLowerCase(),
    changed: Date.parse(e.latest?.createTime || e.createTime) || 0,
    trouble: 4 * is.includes("failing") + 2 * is.includes("drifting") + is.includes("moving"),
  };
}

export function applications({ main, signal, params }) {
  if (known.of && known.of !== me.subject) known = { rows: new Map(), state: {} };
  known.of = me.subject;
  const { rows, state } = known, seen = new Map();
  const want = Object.fromEntries(["q", "app", "type", "sort"].map((k) => [k, params.query.get(k) || ""]));
  want.state = (params.query.get("state") || "").split(",").filter((s) => STATES.some(([name]) => name === s));
  let done = false, error = null, apps = null, order = [], choices = "";

  const head = h("div"), filters = h("div", { class: "tools filters" }), above = h("div"), below = h("div"), count = h("p", { class: "sr", role: "status" });
  const table = list({ label: "Environments", cls: "envs", columns: ["Environment", "Version", "Newest change", "Who, since", "Sync", "Health", "Drift"], key: (i) => i.key || i.id, row }, signal);
  const changed = (stay) => { keep(); draw(stay); };
  const input = h("input", { type: "search", placeholder: "Find: name, person, version…", "aria-label": "Filter environments", value: want.q || null, oninput: () => { want.q = input.value; changed(false); } });
  main.append(head, filters, above, table.el, below, count);
  filters.append(input, h("span", { class: "tools" }), h("span", { class: "tools", role: "group", "aria-label": "Only those that are" }));
  drawHead();
  learn(signal, "", "applications/-/environments/-").then(drawHead).then(() => draw());

  function drawHead() {
    if (signal.aborted) return;
    render(head, h("div", { class: "head" }, h("h1", null, "Applications"), h("div", { class: "tools" },
      may("createEnvironment", "applications/-/environments/-") || may("manageApplications") ? h("a", { class: "button primary", href: "#/new" }, "New application") : null)));
  }
  // keep puts what is looked for into the address, to be shared; it makes no step to go back to.
  function keep() {
    history.replaceState(null, "", "#/" + query({ ...want, state: want.state.join(",") }));
  }

  const select = (name, label, options) => h("select", { key: name, "aria-label": label, onchange: (e) => { want[name] = e.target.value; changed(false); } },
    options.map(([value, text]) => h("option", { value, selected: value === want[name] }, text)));
  function drawFilters() {
    const counts = {};
    for (const i of seen.values()) for (const s of i.is) counts[s] = (counts[s] || 0) + 1;
    const [chosen, states] = [filters.children[1], filters.children[2]];
    render(states, STATES.map(([name, text]) => h("button", { type: "button", key: name, class: "asks", "aria-pressed": want.state.includes(name) ? "true" : "false",
      onclick: () => { want.state = want.state.includes(name) ? want.state.filter((s) => s !== name) : [...want.state, name]; changed(false); } }, text + " ", h("b", null, String(counts[name] || 0)))));
    const of = (k) => [...new Set([...[...seen.values()].map((i) => i[k]), want[k]])].filter(Boolean).sort();
    const now = JSON.stringify([of("app"), of("type")]);
    if (now === choices) return;
    choices = now;
    render(chosen, select("app", "Application", [["", "All applications"], ...of("app").map((a) => [a, a])]),
      select("type", "Type", [["", "All types"], ...of("type").map((t) => [t, t])]),
      select("sort", "Order", Object.entries(SORTS).map(([name, [text]]) => [name === "application" ? "" : name, text])));
  }

  function found() {
    const words = want.q.toLowerCase().split(/\s+/).filter(Boolean);
    return order.filter((i) => (!want.app || i.app === want.app) && (!want.type || i.type === want.type) && want.state.every((s) => i.is.includes(s)) && words.every((w) => i.words.includes(w)));
  }

  function draw(stay = true) {
    if (signal.aborted) return;
    filters.hidden = table.el.hidden = !rows.size;
    render(above, error ? problem(error) : !done && !rows.size ? h("p", { class: "quiet" }, "Reading…") : null);
    if (rows.size) drawFilters();
    const sort = SORTS[want.sort] ? want.sort : "application", hits = found();
    if (sort !== "application") hits.sort(SORTS[sort][1]);
    const filtered = hits.length < order.length || want.q;
    table.show(sort === "application" ? grouped(hits) : hits, { stay, total: done ? undefined : -1 });
    render(below, rows.size && done && !hits.length ? empty("No environment is so", h("p", null, "There are " + rows.size + " environments. ", h("button", { type: "button", class: "asks", onclick: () => { location.hash = "#/"; } }, "Show all"))) : null,
      done && !rows.size && !error && apps ? nothing(apps) : null, bare(apps, order));
    render(count, filtered && done ? hits.length + " of " + order.length + " environments" : "");
  }

  let due = 0;
  function on(names, err, whole) {
    error = err;
    done = whole && !err || done;
    let sorted = true;
    for (const name of names || rows.keys()) {
      const e = rows.get(name), before = seen.get(name);
      if (!e) { seen.delete(name); sorted = false; }
      else if (before?.e !== e) { seen.set(name, see(e)); sorted &&= !!before; }
    }
    if (!names) for (const name of seen.keys()) if (!rows.has(name)) { seen.delete(name); sorted = false; }
    order = sorted ? order.map((i) => seen.get(i.e.name)) : [...seen.values()].sort(SORTS.application[1]);
    if (!names) return draw();
    // Many changes at once are drawn once.
    due ||= setTimeout(() => { due = 0; draw(); }, 100);
  }
  mirror({ at: AT, field: "environments", item: "environment", params: BASIC, first: FIRST }, rows, state, signal, on);
  all("/v1/applications", "applications", signal).then((a) => { apps = a; draw(); }, (err) => { if (err.name !== "AbortError") console.warn(err.message); });
}

// grouped puts a heading before the environments of each application. One that has not changed stays the same object.
const headings = new Map();
function grouped(hits) {
  const out = [];
  for (let i = 0; i < hits.length;) {
    const { app } = hits[i];
    let n = i, failing = 0, drifting = 0;
    for (; n < hits.length && hits[n].app === app; n++) {
      failing += hits[n].is.includes("failing");
      drifting += hits[n].is.includes("drifting");
    }
    const text = [n - i + (n - i === 1 ? " environment" : " environments"), failing && failing + " failing", drifting && drifting + " drifting"].filter(Boolean).join(", ");
    let one = headings.get(app);
    if (one?.text !== text) headings.set(app, one = { key: "/" + app, text, get head() { return [h("a", { href: "#/" + encodeURIComponent(app) }, app), " ", h("span", { class: "quiet" }, text)]; } });
    out.push(one);
    while (i < n) out.push(hits[i++]);
  }
  return out;
}

const none = () => h("span", { class: "quiet" }, "-");
function row({ e, id, type, newest }) {
  const { running, live, lock, origin } = e;
  return [
    [h("div", null, h("a", { href: envHref(e.name) }, id), e.state === "STATE_DELETING" ? [" ", stateChip(e.state)] : null,
      lock ? [" ", h("span", { class: "chip warn", title: [lock.actor && "by " + lock.actor, lock.message].filter(Boolean).join(": ") || null }, "locked")] : null),
    h("div", { class: "quiet" }, type, origin?.kind === "KIND_PULL_REQUEST" ? [", ", h("a", { href: origin.source, rel: "noreferrer" }, "pull request")] : null, e.expireTime ? [", ends ", until(e.expireTime)] : null)],
    running ? [h("div", null, h("strong", null, "#" + short(running.deployment)), running.version ? " " + running.version : null), h("div", { class: "quiet", title: running.message || null }, running.message)] : h("span", { class: "quiet" }, "nothing yet"),
    newest && newest.state !== "STATE_SUPERSEDED" ? [h("div", null, "#" + short(newest.deployment), " ", stateChip(newest.state)), h("div", { class: "quiet", title: newest.reason || newest.message || null }, newest.reason || newest.message)] : none(),
    running ? [h("div", null, short(running.actor)), h("div", { class: "quiet" }, when(running.since))] : none(),
    live ? syncChip(live.sync) : none(),
    live ? h("span", { title: live.message || null }, healthChip(live.health)) : none(),
    e.foreignChanges?.length ? h("span", { class: "chip warn" }, "changed in Git") : live ? driftChip(live.findings, live.sync) : none(),
  ];
}

// until tells how long it is to a time.
function until(t) {
  const m = Math.max(0, Math.round((Date.parse(t) - Date.now()) / 60000));
  return h("time", { datetime: t, title: new Date(t).toLocaleString() }, "in " + (m < 90 ? m + " min" : m < 2160 ? Math.round(m / 60) + " h" : Math.round(m / 1440) + " days"));
}

// bare are applications without an environment: the list cannot show them.
function bare(apps, order) {
  if (!order.length || !apps) return null;
  const used = new Set(order.map((i) => i.app));
  const left = apps.filter((a) => !used.has(short(a.name)));
  return left.length ? h("p", { class: "quiet" }, "Without an environment: ", left.slice(0, 50).map((a, i) => [i ? ", " : null, may("createEnvironment", "applications/-/environments/-")
    ? h("a", { href: "#/new?application=" + encodeURIComponent(short(a.name)) }, short(a.name)) : short(a.name)]), left.length > 50 ? " and " + (left.length - 50) + " more" : null) : null;
}

function nothing(apps) {
  const app = apps.length ? short(apps[0].name) : "shop";
  return empty("Nothing runs here yet",
    h("p", null, "Deploy a Score file from a terminal:"),
    code(...(apps.length ? [] : ["tow app create " + app]), `tow env create ${app}/dev --type development`, "tow init                  # writes a commented score.yaml", `tow deploy -f score.yaml -e ${app}/dev --wait`),
    may("createEnvironment", "applications/-/environments/-") ? h("p", null, "Or begin here: ", h("a", { class: "button", href: "#/new" }, "New application")) : h("p", null, "Your token may look, not change; ask a developer to deploy something."));
}
