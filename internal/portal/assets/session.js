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
      if (err.name === "AbortError") throw err;
    }
  }));
}

// may tells whether to offer an action of docs/access.md, such as rollback, on a resource that the page has learned about. The
// server decides again when it is done.
export const may = (action, resource = "") => allowed.get(resource)?.actions.has(action) ?? false;

const RANK = { ROLE_VIEWER: 1, ROLE_DEPLOYER: 2, ROLE_DEVELOPER: 2, ROLE_OPERATOR: 3, ROLE_ADMIN: 4 };
export const me = { subject: "", role: "" };
// mayChange tells whether to offer what changes something. The server decides again.
export const mayChange = () => RANK[me.role] >= RANK.ROLE_DEPLOYER;

export async function whoami() {
  const who = await get("/v1/whoami");
  me.subject = who.subject;
  me.role = who.role;
  header();
  return me;
}

function header() {
  render(document.getElementById("who"), me.subject
    ? [h("span", { class: "quiet" }, short(me.subject), " (", word(me.role, "ROLE_"), ")"),
      h("button", { type: "button", class: "plain", onclick: signOut }, "Sign out")]
    : null);
}

async function signOut() {
  await call("DELETE", "/session");
  forget();
  location.reload();
}

export function forget() {
  allowed.clear();
  me.subject = me.role = "";
  header();
}

// signIn shows the form in main and resolves when somebody has signed in.
export function signIn(main, reason) {
  return new Promise((resolve) => {
    const errors = h("div");
    const token = h("input", { type: "password", name: "token", required: true, autocomplete: "current-password", spellcheck: "false", autofocus: true });
    const form = h("form", { class: "card narrow", onsubmit: (e) => {
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
      h("h1", { tabindex: "-1" }, "Sign in"),
      reason ? h("p", { role: "status" }, reason) : null,
      field("Token", token, [h("code", null, "make run"), " prints it after the word “token”. It is also in the file ", h("code", null, "admin-token"), " of the server's data directory."]),
      errors,
      h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Sign in")));
    main.replaceChildren(form);
    token.focus();
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


