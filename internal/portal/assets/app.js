// The portal's frame: signs in, then shows the page that the address names. A page is a function that gets {main, signal, params};
// signal aborts when the page is left, and ends everything that the page has started.
import { h, render } from "./ui.js";
import { whenSignedOut } from "./api.js";
import { forget, signIn, watchLink, whoami } from "./session.js";
import { applications } from "./applications.js";
import { environment } from "./environment.js";
import { history } from "./history.js";
import { git } from "./git.js";
import { create } from "./create.js";
import { events } from "./events.js";

const main = document.getElementById("main");
const nav = document.getElementById("nav");
let leave = new AbortController();
let first = true;

const routes = [
  [/^$/, applications, () => "Applications"],
  [/^new$/, create, () => "New"],
  [/^events$/, events, () => "Events"],
  [/^([^/]+)\/([^/]+)$/, environment, (p) => p.app + "/" + p.env],
  [/^([^/]+)\/([^/]+)\/history$/, history, (p) => p.app + "/" + p.env + " history"],
  [/^([^/]+)\/([^/]+)\/git$/, git, (p) => p.app + "/" + p.env + " in Git"],
];

function show() {
  leave.abort();
  leave = new AbortController();
  const [path, search] = location.hash.replace(/^#\/?/, "").split("?");
  const links = [["#/", "Applications", path === ""], ["#/events", "Events", path === "events"], ["/docs", "API", false]];
  render(nav, links.map(([href, text, here]) => h("a", { href, "aria-current": here ? "page" : null }, text)));
  main.replaceChildren();
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
    page({ main, signal: leave.signal, params, name: app && `applications/${app}/environments/${env}` });
    if (!first) main.focus({ preventScroll: true });
    scrollTo(0, 0);
    first = false;
    return;
  }
  render(main, h("h1", null, "There is no such page"), h("p", null, h("a", { href: "#/" }, "To the applications")));
}

async function start(reason) {
  leave.abort();
  render(nav);
  try {
    await whoami();
  } catch (err) {
    if (err.status !== 401) {
      // The banner says so; whoever is signed in is asked again when the server is back.
      await new Promise((resolve) => setTimeout(resolve, 2000));
      return start(reason);
    }
    document.title = "Sign in - Towpath";
    await signIn(main, reason);
  }
  signedIn = true;
  show();
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
document.getElementById("skip").addEventListener("click", (e) => { e.preventDefault(); main.focus(); });
watchLink();
start();
