// The portal's frame: signs in, then shows the page that the address names. A page is a function that gets {main, signal, params, name};
// signal aborts when the page is left, and ends everything that the page has started.
import { dialog, h, problem, render } from "./ui.js";
import { sleep, whenSignedOut } from "./api.js";
import { forget, learn, may, signIn, watchLink, whoami } from "./session.js";
import { applications, warm } from "./applications.js";

// lazy is a page whose module comes when it is first shown: the first page waits for its own alone.
const later = [];
function lazy(load, name) {
  later.push(load);
  return async (args) => {
    const module = await load();
    if (!args.signal.aborted) return module[name](args);
  };
}
const environment = lazy(() => import("./environment.js"), "environment");
const history = lazy(() => import("./history.js"), "history");
const git = lazy(() => import("./git.js"), "git");
const create = lazy(() => import("./create.js"), "create");
const events = lazy(() => import("./events.js"), "events");
const application = lazy(() => import("./application.js"), "application");
const audit = lazy(() => import("./audit.js"), "audit");
const definitions = lazy(() => import("./definitions.js"), "definitions");
const definition = lazy(() => import("./definitions.js"), "definition");
const drafts = lazy(() => import("./drafts.js"), "drafts");
const draft = lazy(() => import("./drafts.js"), "draft");
const findings = lazy(() => import("./findings.js"), "findings");
const graph = lazy(() => import("./graph.js"), "graph");
const platform = lazy(() => import("./platform.js"), "platform");
const promote = lazy(() => import("./promote.js"), "promote");

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const menu = document.getElementById("menu");
let leave = new AbortController();
let first = true;

// The first that fits is shown, so a page of a fixed name stands before those of any application.
const routes = [
  [/^$/, applications, () => "Applications"],
  [/^new$/, create, () => "New"],
  [/^events$/, events, () => "Events"],
  [/^definitions$/, definitions, () => "Definitions"],
  [/^platform$/, platform, () => "Platform"],
  [/^findings$/, findings, () => "Findings"],
  [/^audit$/, audit, () => "Audit"],
  [/^(definitions)\/([^/]+)$/, definition, (p) => "Definition " + p.env],
  [/^([^/]+)\/?$/, application, (p) => p.app],
  [/^([^/]+)\/drafts$/, drafts, (p) => p.app + " drafts"],
  [/^([^/]+)\/([^/]+)$/, environment, (p) => p.app + "/" + p.env],
  [/^([^/]+)\/([^/]+)\/history$/, history, (p) => p.app + "/" + p.env + " history"],
  [/^([^/]+)\/([^/]+)\/git$/, git, (p) => p.app + "/" + p.env + " in Git"],
  [/^([^/]+)\/([^/]+)\/promote$/, promote, (p) => "Promote " + p.app + "/" + p.env],
  [/^([^/]+)\/([^/]+)\/graph$/, graph, (p) => p.app + "/" + p.env + " resources"],
  [/^([^/]+)\/drafts\/([^/]+)$/, draft, (p) => "Draft " + p.app + "/" + p.env],
];

// What the navigation offers: address, text, the key behind "g", and the action of docs/access.md that it takes ("" for anybody).
const places = [
  ["", "Applications", "a", ""], ["events", "Events", "e", ""], ["definitions", "Definitions", "d", "readShared"],
  ["platform", "Platform", "p", "readShared"], ["findings", "Findings", "f", "readShared"], ["audit", "Audit", "u", "readAudit"],
];
// Only pages of a fixed name count: "audit" must not be taken for an application of that name.
const offered = () => places.filter(([path, , , action]) => (!action || may(action)) && routes.some(([p]) => !p.source.includes("(") && p.test(path)));

function navigation(path) {
  const at = path.split("/")[0];
  render(nav, offered().map(([to, text]) => h("a", { href: "#/" + to, "aria-current": at === to ? "page" : null }, text)), h("a", { href: "/docs" }, "API"));
  fold(true);
}

// fold closes the navigation on a phone; elsewhere it is always open.
function fold(closed) {
  nav.classList.toggle("folded", closed);
  menu.setAttribute("aria-expanded", !closed);
}

function show() {
  leave.abort();
  leave = new AbortController();
  const signal = leave.signal;
  const [path, search] = location.hash.replace(/^#\/?/, "").split("?");
  navigation(path);
  learn(signal, "").then(() => signal.aborted || navigation(path), () => {});
  main.replaceChildren(); // app.css says that an empty page reads
  for (const [pattern, page, title] of routes) {
    const m = pattern.exec(path);
    if (!m) continue;
    let app, env;
    try {
      [app, env] = [m[1], m[2]].map((s) => s && decodeURIComponent(s));
    } catch {
      break;
    }
    const params = { app, env, query: new URLSearchParams(search) };
    document.title = title(params) + " - Towpath";
    const shown = page({ main, signal, params, name: app && (env ? `applications/${app}/environments/${env}` : "applications/" + app) });
    shown?.catch((err) => broken(err, signal));
    if (!first) main.focus({ preventScroll: true });
    scrollTo(0, 0);
    first = false;
    return;
  }
  render(main, h("h1", null, "There is no such page"), h("p", null, h("a", { href: "#/" }, "To the applications")));
}

// broken tells that a page could not be loaded, and loads everything anew when the server is back: what a browser failed to
// load once it may not try again.
async function broken(err, signal) {
  if (err.name === "AbortError" || signal.aborted) return;
  console.warn(err.message);
  render(main, problem({ title: "The page could not be loaded", message: err.message, hint: "It is loaded again by itself when the server answers." }));
  while (!signal.aborted) {
    await sleep(2000, signal);
    if (!signal.aborted && await whoami().catch(() => null)) return location.reload();
  }
}

async function start(reason) {
  leave.abort();
  render(nav);
  if (/^(#\/?(\?|$)|$)/.test(location.hash)) warm();
  try {
    await Promise.all([whoami(), learn(null, "")]);
  } catch (err) {
    if (err.status !== 401) {
      // The banner says so; whoever is signed in is asked again when the server is back.
      await sleep(2000);
      return start(reason);
    }
    document.title = "Sign in - Towpath";
    await signIn(main, reason);
    await learn(null, "");
  }
  signedIn = true;
  show();
  // The other pages come while nobody waits, so that each is there at once, and also when the server is lost by then.
  setTimeout(() => later.splice(0).forEach((load) => load().catch(() => {})), 2000);
}

// --- the keyboard ---

let went = 0;
function key(e) {
  if (!signedIn || e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, select, textarea, dialog")) return;
  const to = Date.now() - went < 1500 && offered().find(([, , k]) => k === e.key);
  went = e.key === "g" ? Date.now() : 0;
  if (to) location.hash = "#/" + to[0];
  else if (e.key === "?") help();
  else if (e.key === "/") find();
  else return;
  e.preventDefault();
}

// find goes to the page's filter, or to that of the applications.
async function find() {
  const filter = () => main.querySelector("input[type=search]");
  if (!filter()) location.hash = "#/";
  for (let i = 0; i < 50 && !filter(); i++) await sleep(20);
  filter()?.select();
  filter()?.focus();
}

function help() {
  const keys = [["/", "Find: to the filter"], ...offered().map(([, text, k]) => ["g " + k, text]), ["\u2191 \u2193 Home End", "Move in a list"], ["Esc", "Close what is open"], ["?", "This help"]];
  dialog("Keys", () => h("dl", { class: "keys" }, keys.map(([k, what]) => [h("dt", null, k.split(" ").map((one) => h("kbd", null, one))), h("dd", null, what)])));
}

let signedIn = false;
whenSignedOut(() => {
  if (!signedIn) return;
  signedIn = false;
  forget();
  for (const d of document.querySelectorAll("dialog")) d.close();
  start("Your session has ended. Sign in to go on where you were.");
});
addEventListener("hashchange", () => signedIn && show());
addEventListener("signout", () => leave.abort());
addEventListener("keydown", key);
menu.addEventListener("click", () => fold(menu.getAttribute("aria-expanded") === "true"));
document.getElementById("skip").addEventListener("click", (e) => { e.preventDefault(); main.focus(); });
watchLink();
start();
