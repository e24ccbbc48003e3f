// The newest deployment of an environment, and those that wait in front of it: their phases as they happen, what people decide about
// them, and where one ended badly why, and what to do.
import { get, newRequestID, post, query } from "./api.js";
import { confirm, exact, field, h, short, toast, when } from "./ui.js";
import { failure, isFinal, fieldTable, progress, review, title } from "./plan.js";
import { asked, n } from "./parts.js";
import { eventList, objectName } from "./live.js";

const WITHDRAWN = ["STATE_PENDING", "STATE_AWAITING_APPROVAL", "STATE_PROVISIONING", "STATE_RENDERING", "STATE_COMMITTING", "STATE_PULL_REQUEST_OPEN"];
const AGAIN = ["STATE_FAILED", "STATE_REJECTED", "STATE_CANCELLED"];

export function onTheWay(view, act) {
  const { latest: d } = view;
  if (!d) return null;
  return h("section", { id: "way", key: "way", tabindex: "-1", "aria-label": "Newest deployment" }, h("h2", { class: "sr" }, "Newest deployment"),
    view.waiting.map((w) => card(w, view, act, "Waits before it: ")), card(d, view, act, ""));
}

function card(d, view, act, before) {
  const bad = d.state === "STATE_FAILED" || d.state === "STATE_DEGRADED", done = isFinal(d);
  const votes = (d.approvals || []).filter((a) => a.approved);
  return h("article", { class: "card", key: d.name, "aria-label": "Deployment " + short(d.name) },
    h("div", { class: "head" },
      h("p", null, before, title(d), d.message ? " " + d.message : "", h("span", { class: "quiet" }, " by ", short(d.actor), ", ", when(d.createTime))),
      h("div", { class: "tools" }, actions(d, act))),
    progress(d),
    d.state === "STATE_AWAITING_APPROVAL" ? h("p", { class: "note" }, `Waits for approval: ${votes.length} of ${n(d.approvalsRequired || 1, "approval")} given`, votes.length ? ` (${votes.map((v) => short(v.actor)).join(", ")})` : "",
      ". ", d.authorMayApprove ? "" : `${short(d.actor)} may not approve it, as its author.`) : null,
    !done && d.waitingReason ? h("p", { class: "note" }, "Waiting: " + d.waitingReason) : null,
    d.awaitedOutputs?.length && !done ? h("p", { class: "note" }, "Waits until these are there: " + d.awaitedOutputs.join(", "), d.provisioningDeadline ? [", until ", exact(d.provisioningDeadline)] : "") : null,
    d.cancellation && !done ? h("p", { class: "note" }, `${short(d.cancellation.actor)} cancelled it; the committer's answer is waited for.`) : null,
    review(d),
    failure(d),
    bad ? trouble(d, view, act) : null,
    (d.verdicts || []).map((v) => h("p", { class: "note" }, `Guardrail ${v.guardrail}: ${v.message}`)),
    d.summary?.length ? h("ul", { class: "summary" }, d.summary.map((s) => h("li", null, s))) : null,
    said(d),
    d.state === "STATE_AWAITING_APPROVAL" && view.env.activeDeployment ? asked("differs", "What would it change?", async () => {
      const diff = await get("/v1/manifests:diff" + query({ from: view.env.activeDeployment, to: d.name }));
      return fieldTable((diff.objects || []).flatMap((o) => (o.fields?.length ? o.fields : [{ path: "" }]).map((f) => ({ object: o.object, action: o.action, field: f.path, before: f.before, after: f.after })))) || h("p", null, "Nothing in the cluster.");
    }) : null);
}

// said are the votes and comments, oldest first.
function said(d) {
  const all = [...(d.approvals || []).map((a) => ({ ...a, text: (a.approved ? "approved" : "rejected") + (a.comment ? ": " + a.comment : "") })), ...(d.comments || [])];
  return all.length ? h("ul", { class: "comments" }, all.sort((a, b) => Date.parse(a.time) - Date.parse(b.time)).map((c) => h("li", null, h("strong", null, short(c.actor)), " ", c.text, " ", h("span", { class: "quiet" }, when(c.time))))) : null;
}

// trouble tells of the objects that do not do well, and what the cluster says about them.
function trouble(d, view, act) {
  const ill = (view.status?.objects || []).filter((o) => o.syncMessage || (o.health === "HEALTH_DEGRADED" || (o.health === "HEALTH_PROGRESSING" && o.message)));
  return [
    ill.length ? h("ul", { class: "summary" }, ill.slice(0, 20).map((o) => h("li", { key: objectName(o) }, h("strong", null, objectName(o)), ": ", o.syncMessage || o.message || "does not work"))) : null,
    ["render", "admit", "commit"].includes(d.error?.stage) ? null : asked("events" + d.name, "What the cluster says", async () => eventList((await get(`/v1/${act.name}/objects:events` + query({ pageSize: 50 }))).events)),
  ];
}

function actions(d, act) {
  const button = (text, onclick, tone) => h("button", { class: tone, onclick }, text);
  const voting = d.state === "STATE_AWAITING_APPROVAL" && act.may("approve");
  return [
    voting ? button("Approve…", () => say(d, act, "Approve", "approve", "comment", { planHash: d.planHash }, "It goes on at once when enough people have approved it."), "primary") : null,
    voting ? button("Reject…", () => say(d, act, "Reject", "reject", "comment", {}, "It ends; nothing of it reaches the cluster.", "danger")) : null,
    WITHDRAWN.includes(d.state) && !d.cancellation && act.may("cancel") ? button("Cancel it…", () => say(d, act, "Cancel the deployment", "cancel", "", {}, "It is withdrawn unless it is in Git already.", "danger")) : null,
    AGAIN.includes(d.state) && act.may("deploy") ? button("Try again…", () => say(d, act, "Try again", "retry", "message", { requestId: newRequestID() }, "What it meant to do is deployed by a new deployment.")) : null,
    act.may("comment") ? button("Comment…", () => say(d, act, "Comment", "comment", "text", {}, "It stays with the deployment, in the history.")) : null,
  ];
}

// say asks for the words that go with a decision, and sends both.
async function say(d, act, verb, method, word, body, text, tone = "primary") {
  const words = h("input", { name: "words", maxlength: "2000", autofocus: true, required: method === "comment" });
  const done = await confirm(`${verb}: #${short(d.name)} of ${act.id}`, h("div", null, h("p", null, text), word ? field(method === "comment" ? "Comment" : "Why (optional)", words) : null), verb,
    () => post(`/v1/${d.name}:${method}`, word ? { ...body, [word]: words.value } : body), tone);
  if (!done) return;
  if (method === "retry") return act.landed(done, true);
  toast({ approve: "Approved.", reject: "Rejected.", cancel: "Cancelled.", comment: "Noted." }[method]);
  act.told(done);
}
