// History: what happened to an environment, newest first, with where the time went, what people said, and the way back.
import { get, newRequestID, post, query } from "./api.js";
import { busy, dialog, empty, envHref, envID, exact, field, h, short, stateChip, toast, when, word } from "./ui.js";
import { learn, may } from "./session.js";
import { bar, failure, fieldTable, isFinal, planned, review } from "./plan.js";
import { button, live, pages, select, state, terms, who } from "./lists.js";

const KINDS = { KIND_ROLLBACK: (d) => "rollback to #" + short(d.rollbackOf), KIND_PROMOTION: (d) => "promotion of " + envID(d.promotionOf) + " #" + short(d.promotionOf), KIND_REMOVAL: () => "removal", KIND_MOVE: () => "move" };
const STATES = [["", "All"], ["FAILED", "Failed"], ["DEGRADED", "Degraded"], ["HEALTHY", "Healthy"], ["AWAITING_APPROVAL", "Waiting for approval"]];
const number = (d) => "#" + short(d.name || d);

export function history({ main, signal, name, params }) {
  const id = envID(name), asked = params.query;
  let env = null, outcome = asked.get("state") || "", person = asked.get("actor") || "", compared = [];
  const list = pages(`/v1/${name}/deployments`, "deployments", signal,
    () => ({ filter: terms(["state", "=", outcome], ["actor", "=", person && !person.includes("/") ? "users/" + person : person]) }),
    (a, b) => Number(b.generation) - Number(a.generation));

  const { draw, again } = live({ main, signal }, head, async () => {
    await learn(signal, name);
    const [there] = await Promise.all([get("/v1/" + name, signal).catch((err) => {
      if (err.status === 404) return null;
      throw err;
    }), list.refresh()]);
    env = there;
  }, view, 2000);

  function head() {
    return [h("h1", null, h("a", { href: envHref(name) }, id), " history"),
      h("div", { class: "tools" },
        select("How it ended", STATES, outcome, (v) => { outcome = v; anew(); }),
        h("input", { type: "search", key: "who", size: "16", value: person, placeholder: "By whom: ada", "aria-label": "Only those by", list: "people", onchange: (e) => { person = e.target.value.trim(); anew(); } }),
        h("datalist", { id: "people" }, [...new Set(list.list().map((d) => d.actor))].map((a) => h("option", { value: a }))))];
  }

  function anew() {
    list.forget();
    again();
  }

  function view() {
    const rows = list.list(), newest = rows[0];
    return [
      env ? null : h("p", { class: "note" }, "The environment does not exist any more. Its history stays."),
      h("p", { class: "sr", role: "status" }, newest ? `Newest: ${short(newest.name)} ${word(newest.state, "STATE_")}` : ""),
      compared.length ? h("p", { class: "note" }, compared.length === 1 ? `#${short(compared[0])} is chosen; choose another to compare it with. ` : `#${short(compared[0])} and #${short(compared[1])} are chosen. `,
        compared.length === 2 ? button("Compare", (e) => busy(e.target, null, compare), "asks") : null) : null,
      rows.length ? null : outcome || person ? empty("None of them", h("p", null, "No deployment is like that. Take the filters away to see all."))
        : empty("Nothing was deployed here yet", h("p", null, h("a", { href: envHref(name) }, "To the environment"))),
      h("ol", { class: "history" }, rows.map(item)),
      list.older(draw)];
  }

  async function compare() {
    const [from, to] = compared.toSorted((a, b) => short(a) - short(b));
    const diff = await get("/v1/manifests:diff" + query({ from, to }), signal);
    await dialog(`#${short(from)} compared with #${short(to)}`, (close) => h("div", null,
      fieldTable(diff.objects.flatMap((o) => (o.fields.length ? o.fields.map((f) => ({ ...o, ...f, field: f.path })) : [o])), number(from), number(to)) || h("p", null, "They made the same objects."),
      diff.truncated ? h("p", { class: "note" }, "There are more differences: tow diff shows them.") : null,
      h("div", { class: "actions" }, button("Close", () => close()))), true);
  }

  async function rollback(d) {
    const made = await planned(name, `Roll ${id} back to ${number(d)}`, { rollbackTo: d.name });
    if (made) done(made, `Deployment ${number(made)} goes back to ${number(d)}.`);
  }

  function done(d, text) {
    if (text) toast(text);
    list.put(d);
    draw();
    again();
  }

  // vote asks for a word with an approval, a rejection, a retry, the end of one that is not in Git yet, or just for the word.
  async function vote(d, verb, text, tone = "primary", label = "Why (optional)") {
    const say = verb === "comment", requestId = newRequestID();
    const after = await dialog(`${text} ${number(d)} of ${id}`, (close) => {
      const errors = h("div"), why = h("input", { name: "comment", maxlength: "2000", autocomplete: "off", required: say, autofocus: true });
      return h("form", { onsubmit: (e) => {
        e.preventDefault();
        const body = { [say ? "text" : verb === "retry" ? "message" : "comment"]: why.value, ...(verb === "approve" ? { planHash: d.planHash } : verb === "retry" ? { requestId } : {}) };
        busy(e.submitter, errors, async () => close(await post(`/v1/${d.name}:${verb}`, body)));
      } }, field(label, why), errors, h("div", { class: "actions" }, h("button", { type: "submit", class: tone }, text), button("Cancel", () => close())));
    });
    if (after) done(after);
  }

  function item(d) {
    const errors = h("div", { key: "errors", keep: true });
    const waits = d.state === "STATE_AWAITING_APPROVAL", ended = isFinal(d);
    const back = env && may("rollback", name) && d.tree && d.name !== env.activeDeployment && d.kind !== "KIND_REMOVAL" && ended;
    const on = compared.includes(d.name);
    return h("li", { class: "card", key: d.name },
      h("div", { class: "head" },
        h("h2", null, h("strong", null, number(d)), " ", state(KINDS[d.kind]?.(d) || "change"), " ",
          d.kind === "KIND_REMOVAL" && d.state === "STATE_HEALTHY" ? h("span", { class: "chip good" }, "done") : stateChip(d.state),
          d.name === env?.activeDeployment ? [" ", state("running")] : null),
        h("div", { class: "tools" },
          d.tree ? h("button", { type: "button", class: "asks", "aria-pressed": String(on), "aria-label": `Compare ${number(d)}`, onclick: () => { compared = on ? compared.filter((c) => c !== d.name) : [...compared, d.name].slice(-2); draw(); } }, "Compare") : null,
          waits && may("approve", name) ? [button("Approve…", () => vote(d, "approve", "Approve")), button("Reject…", () => vote(d, "reject", "Reject", "danger"))] : null,
          !d.commit && !ended && may("cancel", name) ? button("Cancel…", () => vote(d, "cancel", "Cancel", "danger")) : null,
          env && d.name === env.latestDeployment && ["STATE_FAILED", "STATE_DEGRADED", "STATE_CANCELLED"].includes(d.state) && may("deploy", name) ? button("Try again…", () => vote(d, "retry", "Try again")) : null,
          may("comment", name) ? button("Comment…", () => vote(d, "comment", "Comment", "primary", "Comment")) : null,
          back ? button("Roll back to this…", (e) => busy(e.target, e.target.closest("li").querySelector("[data-key=errors]"), () => rollback(d))) : null)),
      errors,
      h("p", null, d.message ? [h("strong", null, d.message), " "] : null, h("span", { class: "quiet" }, "by ", who(d.actor), ", ", exact(d.createTime), ", ", when(d.createTime),
        d.commit ? [", commit ", h("a", { href: envHref(name) + "/git" + query({ commit: d.commit }) }, h("code", { title: `${d.commit} in ${d.repository}, branch ${d.branch}` }, d.commit.slice(0, 8)))] : null,
        d.filesChanged ? ", " + d.filesChanged + (d.filesChanged === 1 ? " file" : " files") : null, d.origin ? ", by " + d.origin : null)),
      d.summary?.length ? h("ul", { class: "summary" }, d.summary.map((s) => h("li", null, s))) : null,
      d.waitingReason ? h("p", { class: "note" }, "Waiting: " + d.waitingReason) : null,
      review(d), failure(d),
      waits ? h("p", { class: "note" }, `${d.approvals.filter((a) => a.approved).length} of ${d.approvalsRequired} approvals${d.authorMayApprove ? "" : "; not its author's own"}.`) : null,
      said(d), bar(d));
  }

  return again;
}

// said are the votes and comments, in the order in which they were made.
function said(d) {
  const all = [...(d.approvals || []).map((a) => ({ ...a, what: a.approved ? "approved it" : "rejected it", text: a.comment })), ...(d.comments || []).map((c) => ({ ...c, what: "said" }))];
  if (d.cancellation) all.push({ ...d.cancellation, what: "cancelled it" });
  return all.length ? h("ul", { class: "summary" }, all.sort((a, b) => Date.parse(a.time) - Date.parse(b.time)).map((c) => h("li", null, who(c.actor), " ", c.what, c.text ? ": " + c.text : "", " ", h("span", { class: "quiet" }, when(c.time))))) : null;
}
