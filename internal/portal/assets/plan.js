// Plans and what becomes of them: the dialog that shows what would change before it does, and a deployment on its way.
import { newRequestID, post } from "./api.js";
import { busy, chip, dialog, field, h, problem, short, took, value, word } from "./ui.js";
import { learn, may } from "./session.js";
import { n } from "./parts.js";

// planned shows what a change ({change}) or a rollback ({rollbackTo}) of an environment would do, and does it when told to. Options: send
// deploys it in another way than by its request, given {message, requestId, planHash}; verb is on the button, action is what one must
// be allowed, more is the text of a button that closes the dialog to change more first.
// Gives the deployment that was made, {more: true}, or undefined.
export async function planned(environment, title, request, options = {}) {
  const ask = () => post(`/v1/${environment}:plan`, request, { timeout: 60000 });
  const [plan] = await Promise.all([ask(), learn(undefined, environment)]);
  const back = request.rollbackTo;
  const send = options.send || ((body) => (back
    ? post(`/v1/${environment}:rollback`, { ...body, deployment: back, rerender: request.rerender }, { timeout: 60000 })
    : post(`/v1/${environment}/deployments`, { ...body, ...request }, { timeout: 60000 })));
  return dialog(title, (close) => {
    const box = h("div");
    const errors = h("div");
    const message = h("input", { name: "message", maxlength: "2000", autofocus: true });
    let requestId = newRequestID();
    const submit = h("button", { type: "submit", class: "primary" }, options.verb || (back ? "Roll back" : "Deploy"));
    // A plan that has moved can never be deployed: the only way on is another one.
    const moved = (err) => {
      submit.disabled = true;
      requestId = newRequestID();
      errors.replaceChildren(problem(err), h("button", { class: "asks", onclick: (e) => busy(e.target, null, () => ask().then(draw, moved)) }, "Plan again"));
    };
    const draw = (p) => {
      const denied = (p.verdicts || []).some((v) => v.enforcement === "ENFORCEMENT_DENY");
      const offered = may(options.action || (back ? "rollback" : "deploy"), environment) && !denied && (p.files.length > 0 || p.summary.length > 0);
      submit.disabled = false;
      errors.replaceChildren();
      box.replaceChildren(h("form", { onsubmit: (e) => {
        e.preventDefault();
        busy(submit, errors, async () => {
          try {
            close(await send({ message: message.value, requestId, planHash: p.planHash }));
          } catch (err) {
            if (err.reason !== "PLAN_MOVED") throw err;
            moved(err);
          }
        });
      } }, showPlan(p),
        offered ? field("Why (optional)", message, "Shown in the history and in the commit.") : null,
        errors,
        h("div", { class: "actions" }, offered ? submit : null,
          options.more ? h("button", { onclick: () => close({ more: true }) }, options.more) : null,
          h("button", { onclick: () => close() }, offered ? "Cancel" : "Close"))));
      message.focus();
    };
    draw(plan);
    return box;
  }, true);
}

export function showPlan(p) {
  const open = Number(p.openFindings), verdicts = p.verdicts || [];
  return h("div", { class: "plan" },
    p.summary.length ? h("ul", { class: "summary" }, p.summary.map((s) => h("li", null, s))) : null,
    !p.files.length ? h("p", null, p.summary.length ? "No file in Git would change." : "Nothing would change.") : null,
    verdicts.map((v) => h("div", { class: v.enforcement === "ENFORCEMENT_DENY" ? "problem" : "note" },
      h("strong", null, v.enforcement === "ENFORCEMENT_DENY" ? "Not allowed here: " : "Warning: "), v.message, h("span", { class: "quiet" }, ` (guardrail ${v.guardrail}${v.object?.kind ? `, ${v.object.kind}/${v.object.name}` : ""}${v.path ? " " + v.path : ""})`))),
    p.hold ? h("p", { class: "note" }, "Now it would wait: " + p.hold) : null,
    p.approvalsRequired ? h("p", { class: "note" }, `${n(p.approvalsRequired, "person", "people")} must approve it before it is deployed.`) : null,
    /PULL_REQUEST/.test(p.writeMode || "") ? h("p", { class: "note" }, "It becomes a pull request, and runs when that is merged.") : null,
    p.awaitedOutputs?.length ? h("p", { class: "note" }, "It waits until these are there: " + p.awaitedOutputs.join(", ")) : null,
    p.warnings.length ? h("ul", { class: "warnings" }, p.warnings.map((w) => h("li", null, w))) : null,
    p.fields?.length || p.objects?.length ? [h("h3", null, "In the cluster"), fieldTable(byObject(p))] : null,
    open ? h("details", null, h("summary", null, open === 1 ? "1 difference is open in the cluster; it stays unless this touches what is applied." : open + " differences are open in the cluster; they stay unless this touches what is applied."),
      h("ul", null, (p.drift || []).map((d) => h("li", null, d)))) : null,
    p.files.length ? h("details", null, h("summary", null, n(p.files.length, "file"), " in Git"), p.place ? h("p", { class: "quiet" }, `${p.place.url || ""} ${p.place.branch || ""} ${p.place.path || ""}`) : null,
      p.files.map((f) => h("details", { open: p.files.length <= 3 }, h("summary", null, h("code", null, f.path), " ", h("span", { class: "quiet" }, word(f.action, "ACTION_"))), diff(f.diff)))) : null);
}

// byObject gives each field with what becomes of its object, and the objects without fields: those that come or go.
function byObject(p) {
  const key = (o) => `${o?.kind}/${o?.name}`;
  const actions = new Map((p.objects || []).map((o) => [key(o.object), o.action]));
  const told = new Set((p.fields || []).map((f) => key(f.object)));
  return [...(p.fields || []).map((f) => ({ ...f, action: actions.get(key(f.object)) })), ...(p.objects || []).filter((o) => !told.has(key(o.object)))];
}

const FATE = { ACTION_ADD: "new", ACTION_MODIFY: "changes", ACTION_DELETE: "goes away" };

// fieldTable shows fields {object, action, field, before, after} by object; null for none.
export function fieldTable(fields, was = "Now", will = "Then") {
  if (!fields?.length) return null;
  const groups = new Map();
  for (const f of fields) {
    const key = `${f.object?.kind || ""}/${f.object?.name || ""}`;
    groups.set(key, [...(groups.get(key) || []), f]);
  }
  return [...groups].map(([name, list]) => h("div", null,
    h("h4", null, name, FATE[list[0].action] ? " " + FATE[list[0].action] : ""),
    list.some((f) => f.field && list[0].action !== "ACTION_ADD") ? h("table", { class: "fields" },
      h("thead", null, h("tr", null, ["Field", was, will].map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", null, list.filter((f) => f.field).map((f) => h("tr", null, h("th", { scope: "row" }, h("code", null, f.field)),
        h("td", { class: "was" }, f.before === undefined || f.before === null ? "" : "- " + value(f.before)), h("td", { class: "will" }, f.after === undefined || f.after === null ? "" : "+ " + value(f.after)))))) : null));
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

const STEPS = ["STATE_PENDING", "STATE_AWAITING_APPROVAL", "STATE_PROVISIONING", "STATE_RENDERING", "STATE_COMMITTING", "STATE_PULL_REQUEST_OPEN", "STATE_SYNCING"];
const STEP_NAMES = { STATE_PENDING: "Accepted", STATE_AWAITING_APPROVAL: "Approval", STATE_PROVISIONING: "Resources", STATE_RENDERING: "Render", STATE_COMMITTING: "Commit", STATE_PULL_REQUEST_OPEN: "Review", STATE_SYNCING: "Sync" };
const SOMETIMES = ["STATE_AWAITING_APPROVAL", "STATE_PROVISIONING", "STATE_PULL_REQUEST_OPEN"];
export const isFinal = (d) => !STEPS.includes(d.state);
const spent = (p) => (p.endTime ? Date.parse(p.endTime) : Date.now()) - Date.parse(p.startTime);

// progress shows a deployment's phases with the time in each, the present one counting.
export function progress(d) {
  const phases = new Map();
  for (const p of d.phases || []) phases.set(p.state, (phases.get(p.state) || 0) + Math.max(0, spent(p)));
  const steps = STEPS.filter((s) => !SOMETIMES.includes(s) || phases.has(s) || d.state === s);
  const failed = d.state === "STATE_FAILED" ? [...phases.keys()].filter((s) => STEPS.includes(s)).pop() : "";
  return h("ol", { class: "steps" },
    steps.map((s) => {
      const now = d.state === s;
      return h("li", { class: now ? "now" : phases.has(s) ? "done" : "todo", "aria-current": now ? "step" : null }, h("span", null, STEP_NAMES[s], s === failed ? " (failed)" : ""), " ", h("small", null, phases.has(s) ? took(phases.get(s)) : isFinal(d) ? "not reached" : ""));
    }),
    h("li", { class: isFinal(d) ? "end" : "todo" }, isFinal(d) ? chip(d.state, "STATE_") : h("span", null, "Healthy"), " ", h("small", null, d.createTime ? took(Date.parse(d.endTime || new Date()) - Date.parse(d.createTime)) + " in all" : "")));
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
  const state = word(pr.state, "STATE_") + (pr.actor ? " by " + pr.actor : "") + (pr.waitsFor ? ", waits for " + pr.waitsFor : "");
  const name = "Pull request" + (Number(pr.number) ? " " + pr.number : "");
  return h("p", null, /^https?:\/\//.test(pr.url) ? h("a", { href: pr.url, rel: "noopener noreferrer" }, name) : name + " " + pr.url, " ", h("span", { class: "quiet" }, state));
};

export const failure = (d) => (d.error ? h("div", { class: "problem" },
  h("p", null, h("strong", null, "Failed at " + (d.error.stage || "some stage")), ": ", d.error.message), d.error.remedy ? h("p", null, "What to do: ", h("code", null, d.error.remedy)) : null, h("p", { class: "quiet" }, d.error.reason)) : null);

export const title = (d) => h("span", null, h("strong", null, "#" + short(d.name)),
  d.kind === "KIND_ROLLBACK" ? " rollback to #" + short(d.rollbackOf) : d.kind === "KIND_REMOVAL" ? " removal" : d.kind === "KIND_MOVE" ? " move" : d.kind === "KIND_PROMOTION" && d.promotionOf ? " from " + d.promotionOf.split("/")[3] + " #" + short(d.promotionOf) : "");
