// What of drift is kept quiet, what counts as right, and what has been: each when it is asked for.
import { all, call, get, query } from "./api.js";
import { busy, exact, h, short, toast, value, when, word } from "./ui.js";
import { object } from "./drift.js";

const none = (text) => h("p", { class: "quiet" }, text);

// rules are those in force; one that is removed lets what it kept quiet be told again.
export async function rules(act, again) {
  const list = (await get(`/v1/${act.name}/ignoreRules`)).ignoreRules || [], errors = h("div");
  return h("div", null, list.length ? h("ul", { class: "summary" }, list.map((r) => h("li", null,
    h("strong", null, [r.objectKind, r.objectName].filter(Boolean).join("/") || "any object"), " ", h("code", null, r.field || "the whole object"), r.manager ? ` by ${r.manager}` : "", `: ${r.reason} `,
    h("span", { class: "quiet" }, `(${short(r.owner || r.createActor)} answers for it, `, r.expireTime ? ["until ", exact(r.expireTime)] : "for ever", ") "),
    act.may("revert") ? h("button", { class: "plain", onclick: (e) => busy(e.target, errors, async () => {
      await call("DELETE", "/v1/" + r.name);
      toast("The rule is gone; what it kept quiet is told again.");
      act.again();
      again();
    }) }, "Remove the rule") : null))) : none("Nothing is ignored here."), errors);
}

// quiet are differences that are no drift: a controller has evidence for them, or a rule ignores them.
export async function quiet(act) {
  const list = await all(`/v1/${act.name}/findings`, "findings", act.signal, { standings: "STANDING_DELEGATED" });
  const ignored = await all(`/v1/${act.name}/findings`, "findings", act.signal, { standings: "STANDING_IGNORED" });
  const both = [...list, ...ignored];
  return both.length ? h("ul", { class: "summary" }, both.slice(0, 100).map((f) => h("li", null, object(f), " ", h("code", null, f.field), " ", value(f.live).slice(0, 80), h("span", { class: "quiet" }, f.rule ? `: ${f.rule}` : `: ignored by the rule ${short(f.ignoreRule)}`)))) : none("Nothing: no controller has changed what is declared.");
}

const DECISION = { DECISION_REVERTED: "reverted", DECISION_HEALED: "healed by itself", DECISION_ACCEPTED: "accepted", DECISION_IGNORED: "ignored", DECISION_UNDONE: "undone in the cluster", DECISION_DEPLOYED: "ended by a deployment" };

// past is the record, newest first.
export async function past(act) {
  const body = h("tbody"), more = h("div"), errors = h("div");
  let token = "";
  const read = async () => {
    const page = await get(`/v1/${act.name}/findingRecords` + query({ pageSize: 20, pageToken: token }));
    token = page.nextPageToken;
    body.append(...(page.findingRecords || []).map(row));
    more.replaceChildren(...(token ? [h("button", { class: "asks", onclick: (e) => busy(e.target, errors, read) }, "Older")] : []));
  };
  await read();
  return body.children.length ? h("div", null, h("div", { class: "scroll" }, h("table", { class: "cards" },
    h("thead", null, h("tr", null, ["What", "Began", "Ended", "Who", "Decision"].map((t) => h("th", { scope: "col" }, t)))), body)), more, errors) : none("None has been recorded.");
}

function row(r) {
  const f = r.finding || {}, cell = (label, ...v) => h("td", { "data-label": label }, h("div", null, ...v));
  return h("tr", null, h("th", { scope: "row" }, object(f), " ", h("code", null, f.field), " ", h("span", { class: "quiet" }, word(f.kind, "KIND_"))),
    cell("Began", exact(r.onsetTime)), cell("Ended", r.endTime ? exact(r.endTime) : "still there"), cell("Who", f.actor || f.manager || "unknown"),
    cell("Decision", DECISION[r.decision] || "none yet", r.decideActor ? ` by ${short(r.decideActor)}` : "", r.decideTime ? [", ", when(r.decideTime)] : "", r.reason ? `: ${r.reason}` : ""));
}
