// Who is signed in, the header that both the portal and the API page have, and the banner of a lost server.
import { call, get, link, onLink, query } from "./api.js";
import { busy, field, h, render, short, word } from "./ui.js";

// What the caller may do, by resource name ("" for what spans applications), and when the server said so.
const allowed = new Map();
const FRESH = 60000;

// learn asks the server what the caller may do to these resources, where that is not known or was asked long ago. A page calls it
// before it draws what changes something. Where the answer does not come, nothing is offered.
export async function learn(signal, ...resources) {
  await Promise.all(resources.map(async (resource) => {
    const known = allowed.get(resource);
    if (known && Date.now() - known.at < FRESH) return;
    try {
      const { actions = [] } = await get("/v1/access:allowed" + query({ resource }), signal);
      allowed.set(resource, { at: Date.now(), actions: new Set(actions) });
    } catch (err) {
      if (err.name === "AbortError") return new Promise(() => {}); // a page that was left goes on with nothing
    }
  }));
}

// may tells whether to offer an action of docs/access.md, such as rollback, on a resource that the page has learned about. The
// server decides again when it is done.
export const may = (action, resource = "") => allowed.get(resource)?.actions.has(action) ?? false;

export const me = { subject: "", role: "", name: "", groups: [], grants: [] };

export async function whoami() {
  const main = document.getElementById("main");
  if (!main.querySelector(":not(noscript)")) main.replaceChildren(); // an empty page says that it reads
  const who = await get("/v1/whoami");
  Object.assign(me, { subject: who.subject, role: who.role, name: who.displayName || short(who.subject), groups: who.groups || [], grants: who.grants || [] });
  header();
  return me;
}

// The colours are those that the person's system prefers, until they choose others here.
const root = document.documentElement;
root.dataset.look = localStorage.getItem("look") || "";
const dark = () => (root.dataset.look || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
function otherLook() {
  localStorage.setItem("look", root.dataset.look = dark() ? "light" : "dark");
  header();
}

// header shows who is signed in: the name, and behind it roles, groups and the way out.
function header() {
  const fact = (name, ...value) => h("div", null, h("dt", null, name), h("dd", null, ...value));
  const role = (g) => word(g.role, "ROLE_") + (g.scope ? " of " + short(g.scope) : "");
  render(document.getElementById("who"), me.subject
    ? h("details", { class: "me", onkeydown: (e) => { if (e.key === "Escape") { e.currentTarget.open = false; e.currentTarget.firstChild.focus(); } } },
      h("summary", null, h("span", { class: "sr" }, "Signed in as "), me.name),
      h("div", { class: "card" },
        h("dl", null,
          fact("Signed in as", h("code", null, me.subject)),
          fact("May", me.grants.map(role).join(", ") || word(me.role, "ROLE_").replace("unspecified", "") || "nothing yet: ask an administrator for a role"),
          me.groups.length ? fact("Groups", me.groups.join(", ")) : null),
        h("div", { class: "tools" },
          h("button", { type: "button", class: "asks", onclick: otherLook }, dark() ? "Light colours" : "Dark colours"),
          h("button", { type: "button", onclick: signOut }, "Sign out"))))
    : null);
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", header);
document.addEventListener("click", (e) => { for (const d of document.querySelectorAll(".me[open]")) if (!d.contains(e.target)) d.open = false; });

async function signOut() {
  // What is on its way could renew the session behind the sign-out, so it is called back, and asked after.
  dispatchEvent(new Event("signout"));
  do await call("DELETE", "/session"); while ((await fetch("/v1/whoami")).ok);
  forget();
  location.reload();
}

export function forget() {
  allowed.clear();
  Object.assign(me, { subject: "", role: "", name: "", groups: [], grants: [] });
  header();
}

// signIn shows the ways in and resolves when somebody has signed in by a token. Who takes an identity provider leaves the page, and
// comes back to the address that it has now.
export async function signIn(main, reason) {
  const { providers = [], problem: failed } = (await get("/session").catch(() => null)) || {};
  return new Promise((resolve) => {
    const errors = h("div");
    const token = h("input", { type: "password", name: "token", required: true, autocomplete: "current-password", spellcheck: "false", autofocus: !providers.length });
    const form = h("form", { onsubmit: (e) => {
      e.preventDefault();
      busy(e.submitter, errors, async () => {
        await call("POST", "/session", { body: { token: token.value } });
        token.value = "";
        try {
          resolve(await whoami());
        } catch (err) {
          if (err.status === 401) {
            await call("DELETE", "/session");
            err.title = "This token is not valid";
            err.hint = "Copy it again, or ask an administrator for a new one: tow token create.";
          }
          throw err;
        }
      });
    } },
      field("Token", token, [h("code", null, "make run"), " prints it after the word “token”. It is also in the file ", h("code", null, "admin-token"), " of the server's data directory."]),
      errors,
      h("div", { class: "actions" }, h("button", { type: "submit", class: providers.length ? null : "primary" }, "Sign in")));
    main.replaceChildren(h("section", { class: "card narrow sign-in" },
      h("h1", { tabindex: "-1" }, "Sign in"),
      reason ? h("p", { role: "status" }, reason) : null,
      failed ? h("div", { class: "problem", role: "alert" }, h("p", null, failed)) : null,
      providers.map((p) => h("a", { class: "button primary", href: "/session/oidc/start" + query({ issuer: p.issuer, back: location.hash }) }, "Sign in with " + p.name)),
      providers.length ? h("p", { class: "or quiet" }, "or with a token") : null,
      form));
    (main.querySelector("a.button") || token).focus();
  });
}

// watchLink shows the banner while the server does not answer.
export function watchLink() {
  const banner = document.getElementById("banner");
  let tick;
  onLink((lost) => {
    clearInterval(tick);
    const show = () => render(banner, "The server has not answered for " + Math.round((Date.now() - link.since) / 1000) + " s. What you see may be old; the page goes on by itself when it is back.");
    banner.hidden = !lost;
    if (!lost) return render(banner);
    show();
    // Not announced every second: only the first text is.
    banner.setAttribute("aria-live", "off");
    tick = setInterval(show, 1000);
  });
}


