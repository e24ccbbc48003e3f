// Plans and what becomes of them: the dialog that shows what would change before it does, and a deployment on its way.
import { newRequestID, post } from "./api.js";
import { busy, chip, dialog, field, h, problem, short, took, word } from "./ui.js";
import { mayChange } from "./session.js";

// planned shows what a change ({change}) or a rollback ({rollbackTo}) of an environment would do, and does it when told to.
// Gives the deployment that was made, or undefined.
export async function planned(environment, title, request) {
  const ask = () => post(`/v1/${environment}:plan`, request, { timeout: 60000 });
  const plan = await ask();
  return dialog(title, (close) => {
    const box = h("div");
    const errors = h("div");
    const message = h("input", { name: "message", maxlength: "2000", autocomplete: "off", autofocus: true });
    const requestId = newRequestID();
    const submit = h("button", { type: "submit", class: "primary" }, request.rollbackTo ? "Roll back" : "Deploy");
    // A plan that has moved can never be deployed: the only way on is another one.
    const moved = (err) => {
      submit.disabled = true;
      errors.replaceChildren(problem(err), h("button", { type: "button", onclick: (e) => busy(e.target, null, () => ask().then(draw, moved)) }, "Plan again"));
    };
    const draw = (p) => {
      const offered = mayChange() && (p.files.length > 0 || p.summary.length > 0);
      submit.disabled = false;
      errors.replaceChildren();
      box.replaceChildren(h("form", { onsubmit: (e) => {
        e.preventDefault();
        busy(submit, errors, async () => {
          const body = { message: message.value, requestId, planHash: p.planHash };
          try {
            close(await (request.rollbackTo
              ? post(`/v1/${environment}:rollback`, { ...body, deployment: request.rollbackTo }, { timeout: 60000 })
              : post(`/v1/${environment}/deployments`, { ...body, ...request }, { timeout: 60000 })));
          } catch (err) {
            if (err.reason !== "PLAN_MOVED") throw err;
            moved(err);
          }
        });
      } }, showPlan(p),
        offered ? field("Why (optional)", message, "Shown in the history and in the commit.") : null,
        errors,
        h("div", { class: "actions" }, offered ? submit : null,
          h("button", { type: "button", onclick: () => close() }, offered ? "Cancel" : "Close"))));
      message.focus();
    };
    draw(plan);
    return box;
  }, true);
}

function showPlan(p) {
  const n = Number(p.openFindings);
  return h("div", { class: "plan" },
    p.summary.length ? h("ul", { class: "summary" }, p.summary.map((s) => h("li", null, s))) : null,
    !p.files.length ? h("p", null, p.summary.length ? "No file in Git would change." : "Nothing would change.") : null,
    p.text ? [h("h3", null, "Objects"), objects(p.text)] : null,
    p.warnings.length ? h("ul", { class: "warnings" }, p.warnings.map((w) => h("li", null, w))) : null,
    n ? h("p", { class: "quiet" }, n === 1 ? "1 difference is open in the cluster; it stays unless this touches what is applied." : n + " differences are open in the cluster; they stay unless this touches what is applied.") : null,
    p.files.length ? h("h3", null, p.files.length === 1 ? "1 file in Git" : p.files.length + " files in Git") : null,
    p.files.map((f) => h("details", { open: p.files.length <= 3 }, h("summary", null, h("code", null, f.path), " ", h("span", { class: "quiet" }, word(f.action, "ACTION_"))), diff(f.diff))));
}

// objects shows the difference of objects and fields as the server tells it; the sign of a line stands behind its indentation.
function objects(text) {
  const kind = (l) => ({ "+": "add", "-": "del", "@": "hunk", "~": "file" })[l.trim()[0]] || "ctx";
  return h("pre", { class: "diff", tabindex: "0" }, text.replace(/\n$/, "").split("\n").map((l) => h("span", { class: kind(l) }, l || " ")));
}

// diff shows a unified diff; the signs stay, so that it can be read without colours.
export function diff(text) {
  const kind = (l) => (l.startsWith("@@") ? "hunk" : l.startsWith("+++") || l.startsWith("---") ? "file" : l.startsWith("+") ? "add" : l.startsWith("-") ? "del" : "ctx");
  const all = text.replace(/\n$/, "").split("\n");
  const some = all.slice(0, 2000);
  return h("pre", { class: "diff", tabindex: "0" },
    some.map((l) => h("span", { class: kind(l) }, l || " ")),
    all.length > some.length ? h("span", { class: "hunk" }, `… ${all.length - some.length} more lines: tow diff shows them`) : null);
}

const STEPS = ["STATE_PENDING", "STATE_RENDERING", "STATE_COMMITTING", "STATE_PULL_REQUEST_OPEN", "STATE_SYNCING"];
const STEP_NAMES = { STATE_PENDING: "Accepted", STATE_RENDERING: "Render", STATE_COMMITTING: "Commit", STATE_PULL_REQUEST_OPEN: "Review", STATE_SYNCING: "Sync" };
export const isFinal = (d) => !STEPS.includes(d.state);
const spent = (p) => (p.endTime ? Date.parse(p.endTime) : Date.now()) - Date.parse(p.startTime);

// progress shows a deployment's phases with the time in each, the present one counting.
export function progress(d) {
  const phases = new Map((d.phases || []).map((p) => [p.state, p]));
  return h("ol", { class: "steps" },
    STEPS.filter((s) => s !== "STATE_PULL_REQUEST_OPEN" || phases.has(s)).map((s) => {
      const p = phases.get(s);
      const now = d.state === s;
      return h("li", { class: now ? "now" : p ? "done" : "todo", "aria-current": now ? "step" : null }, h("span", null, STEP_NAMES[s]), " ", h("small", null, p ? took(spent(p)) : isFinal(d) ? "not reached" : ""));
    }),
    h("li", { class: isFinal(d) ? "end" : "todo" }, isFinal(d) ? chip(d.state, "STATE_") : h("span", null, "Healthy")));
}

// bar draws where a deployment's time went.
export function bar(d) {
  const phases = (d.phases || []).filter((p) => STEPS.includes(p.state)).map((p) => ({ ...p, ms: Math.max(0, spent(p)) }));
  const total = phases.reduce((sum, p) => sum + p.ms, 0);
  if (!total) return null;
  let x = 0;
  const text = phases.map((p) => STEP_NAMES[p.state].toLowerCase() + " " + took(p.ms)).join(", ");
  return h("div", { class: "bar" },
    h("svg:svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, phases.map((p) => {
      const width = (p.ms / total) * 100;
      const r = h("svg:rect", { class: p.state.toLowerCase(), x: x.toFixed(2), y: "0", width: Math.max(width, 0.5).toFixed(2), height: "6" });
      x += width;
      return r;
    })),
    h("small", null, h("strong", null, took(total)), h("span", { class: "quiet" }, " - " + text)));
}

// review links to a deployment's pull request. Only an address that a browser may safely open becomes a link.
export const review = (d) => {
  const pr = d.pullRequest;
  if (!pr?.url) return null;
  const state = word(pr.state, "STATE_") + (pr.actor ? " by " + pr.actor : "");
  const name = "Pull request" + (Number(pr.number) ? " " + pr.number : "");
  return h("p", null, /^https?:\/\//.test(pr.url) ? h("a", { href: pr.url, rel: "noopener noreferrer" }, name) : name + " " + pr.url, " ", h("span", { class: "quiet" }, state));
};

export const failure = (d) => (d.error ? h("div", { class: "problem" },
  h("p", null, h("strong", null, "Failed at " + (d.error.stage || "some stage")), ": ", d.error.message), h("p", { class: "quiet" }, d.error.reason)) : null);

export const title = (d) => h("span", null, h("strong", null, "#" + short(d.name)),
  d.kind === "KIND_ROLLBACK" ? " rollback to #" + short(d.rollbackOf) : d.kind === "KIND_REMOVAL" ? " removal" : d.kind === "KIND_MOVE" ? " move" : "");
