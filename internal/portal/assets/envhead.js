// The head of an environment's page: how it is, in facts and in words, and what can be done to it as a whole.
import { call, newRequestID, post, query } from "./api.js";
import { busy, confirm, dialog, driftChip, envHref, exact, field, h, healthChip, short, stateChip, syncChip, toast, when } from "./ui.js";
import { title } from "./plan.js";
import { fact, HOURS, later, n, until } from "./parts.js";
import { syncNow } from "./sync.js";
import { objectName } from "./live.js";

export function head(view, act) {
  const { env } = view, deleting = env?.state === "STATE_DELETING", used = Number(env?.generation) > 0;
  const button = (action, text, onclick, tone) => (env && !deleting && act.may(action) ? h("button", { class: tone, onclick }, text) : null);
  const link = (to, text) => h("a", { class: "button", href: envHref(act.name) + to }, text);
  return h("div", { class: "head", key: "head" },
    h("h1", null, act.id, deleting ? [" ", stateChip(env.state)] : null),
    h("div", { class: "tools" },
      link("/history", "History"), link("/git", "Git"), used ? link("/graph", "Graph") : null, env?.activeDeployment ? link("/promote", "Promote") : null,
      env && act.may("createEnvironment") ? h("a", { class: "button", href: "#/new?from=" + encodeURIComponent(act.id) }, "Clone") : null,
      h("a", { class: "button", href: "#/events?filter=" + encodeURIComponent(act.id) }, "Events"),
      used ? button("sync", "Sync now…", () => syncNow(view, act)) : null,
      env?.lock ? null : button("lock", "Lock…", () => lock(view, act)),
      button("deleteEnvironment", "Delete…", () => remove(view, act), "danger")));
}

// facts say how the environment is.
export function facts(view, act) {
  const { env, status, active, type } = view, used = Number(env.generation) > 0, now = status || env.live || {}, run = env.running || {};
  const hour = (t) => Date.parse(t) - Date.now() < 3600000;
  return h("section", { "aria-label": "Status", key: "facts" },
    h("dl", { class: "facts" },
      fact("Running", active && env.activeDeployment ? [title(active), active.message ? " " + active.message : ""] : "nothing yet"),
      run.version ? fact("Version", run.version) : null,
      fact("By", short(active?.actor || run.actor) || "-"),
      fact("Since", when(active?.activeFrom || run.since)),
      used ? [fact("Sync", syncChip(now.sync)), fact("Health", healthChip(now.health)), fact("Drift", driftChip(view.seen ? view.findings.length : now.findings, now.sync))] : null,
      fact("Lock", env.lock ? [short(env.lock.actor), env.lock.expireTime ? [", until ", exact(env.lock.expireTime)] : ""] : "none"),
      fact("Type", type?.displayName ? `${type.displayName} (${short(env.type)})` : short(env.type)),
      env.expireTime || act.may("extendEnvironment") ? fact("Lives", env.expireTime ? ["until ", exact(env.expireTime), hour(env.expireTime) ? " (less than an hour)" : ""] : "for ever", " ",
        env.state !== "STATE_DELETING" && act.may("extendEnvironment") ? h("button", { class: "plain", onclick: () => extend(view, act) }, "Change…") : null) : null,
      fact("Namespace", h("code", null, env.namespace)),
      env.place ? fact("In Git", h("code", { title: `${env.place.url}, branch ${env.place.branch}` }, env.place.path), " of ", short(env.place.repository),
        env.place.parts?.length ? ` and ${env.place.parts.length} more` : "", env.layoutPlace ? " (the layout says elsewhere)" : "") : null,
      status?.commit && used ? fact("Commit", h("a", { href: envHref(env.name) + "/git?commit=" + status.commit }, h("code", { title: status.commit }, status.commit.slice(0, 8)))) : null,
      status?.syncTime && used ? fact("Synced", when(status.syncTime), status.engine && status.engine !== "native" ? ` by ${status.engine}, ${status.engineObject}` : "") : null));
}

// notices say in words what is not as usual.
export function notices(view, act) {
  const { env, status, statusError, type } = view, used = Number(env.generation) > 0, now = status || env.live || {}, say = [];
  const note = (key, ...text) => say.push(h("div", { class: "note", key }, ...text));
  const press = (action, text, onclick) => (act.may(action) ? h("button", { onclick }, text) : null);
  if (env.lock) {
    say.push(h("div", { class: "locked", key: "lock" },
      h("span", null, h("strong", null, "Locked"), ` by ${short(env.lock.actor)}`, env.lock.message ? `: ${env.lock.message}` : "", h("span", { class: "quiet" }, ", ", when(env.lock.createTime),
        env.lock.expireTime ? [", until ", exact(env.lock.expireTime)] : ", until somebody unlocks it", ". ", env.lock.hold === "HOLD_REFUSE" ? "Deployments are refused meanwhile." : "Deployments wait meanwhile.")),
      press("unlock", "Unlock…", () => unlock(view, act))));
  }
  if (used && now.message) note("message", now.message);
  if (used && (!now.sync || now.sync === "SYNC_STATE_UNSPECIFIED")) note("unknown", "Whether the cluster has what Git says is not known", status?.seenTime ? [": it was last seen ", when(status.seenTime)] : "", ". What is shown may be old; it is looked at again all the time.");
  if (env.heldByRollback) note("held", `Held by rollback #${short(env.heldByRollback)}: nothing deploys here by itself until a person does.`);
  const held = status?.pruneHeld || [];
  if (held.length) note("prune", h("p", null, `${n(held.length, "object")} would be removed from the cluster and ${held.length === 1 ? "waits" : "wait"} for somebody to confirm it, because so many would go at once: `,
    held.slice(0, 20).map((o, i) => [i ? ", " : "", h("code", null, objectName(o))]), held.length > 20 ? ", …" : ""), press("sync", "Confirm the removal…", () => syncNow(view, act, true)));
  else if (env.pruneHeld) note("adopted", h("p", null, "It was taken over from the cluster. Nothing is removed there until somebody confirms that Git has all of it."),
    press("adopt", "Confirm…", () => confirm("Confirm the adoption of " + act.id, h("p", null, "From now on what Git no longer has leaves the cluster too."), "Confirm", () => post(`/v1/${act.name}:confirmAdoption`, {}).then(() => true)).then((done) => done && act.again())));
  const windows = type?.syncPolicy?.windows || [];
  if (status?.nextWindowTime) note("window", "Now is no time at which it is synced by itself; the next begins ", exact(status.nextWindowTime), ". What is deployed meanwhile waits.");
  if (windows.length) say.push(h("p", { class: "quiet", key: "windows" }, "Synced by itself ", windows.map((w, i) => [i ? "; " : "", w.deny ? "never " : "only ", `${w.weekly} ${w.timeZone || "UTC"} (${w.id}${w.manualDenied ? ", not by a person either" : ""})`]), "."));
  if (type && type.automaticSync === false && used) say.push(h("p", { class: "quiet", key: "manual" }, "Commits reach the cluster when somebody syncs: the environment's type says so."));
  if (used && statusError && !["AbortError"].includes(statusError.name) && statusError.reason !== "LOST") note("blind", "The cluster's own view cannot be read now: " + statusError.message);
  return h("div", { key: "notices" }, say);
}

function lock(view, act) {
  const why = h("input", { name: "why", maxlength: "2000", autofocus: true });
  const end = until("Until", [[0, "somebody unlocks it"], ...HOURS.map(([s, t]) => [s, t + " from now"])]);
  const hold = h("select", null, h("option", { value: "HOLD_QUEUE" }, "wait and go on by themselves"), h("option", { value: "HOLD_REFUSE" }, "are refused"));
  return confirm("Lock " + act.id, h("div", null, h("p", null, "It stays as it is: no deployment, rollback or removal. Drift is told as always."),
    field("Why", why, "Others see it when they want to deploy."), end.field, field("Deployments meanwhile", hold)), "Lock", async () => {
    await post(`/v1/${act.name}:lock`, { lock: { message: why.value, hold: hold.value, expireTime: later(end.value()) } });
    toast(act.id + " is locked.");
    act.again();
  }, "primary");
}

const unlock = ({ env }, act) => confirm("Unlock " + act.id, h("div", null, h("p", null, `${short(env.lock.actor)} locked it`, env.lock.message ? `: ${env.lock.message}` : " and gave no reason", "."),
  h("p", null, "Deployments that wait go on at once.")), "Unlock", async () => {
  await post(`/v1/${act.name}:unlock`, {});
  toast(act.id + " is unlocked.");
  act.again();
}, "primary");

function extend({ env }, act) {
  const end = until("From now on", [...HOURS, [0, "for ever"]], "Its objects, its data and its files in Git go when the time is over. Its history stays.");
  return confirm("How long " + act.id + " lives", h("div", null, env.expireTime ? h("p", null, "It is deleted ", exact(env.expireTime), ".") : h("p", null, "It lives for ever."), end.field), "Change", async () => {
    await post(`/v1/${act.name}:extend`, end.value() ? { ttl: end.value() + "s" } : { keep: true });
    toast("Changed.");
    act.again();
  }, "primary");
}

// remove asks for the environment's name, because nothing brings its objects back but a new deployment.
function remove({ env }, act) {
  const requestId = newRequestID(), id = act.id;
  return dialog("Delete " + id, (close) => {
    const errors = h("div");
    const typed = h("input", { spellcheck: "false", autofocus: true, oninput: () => { go.disabled = typed.value !== id; } });
    const why = h("input", { maxlength: "2000" });
    const go = h("button", { type: "submit", class: "danger", disabled: true }, "Delete " + id);
    return h("form", { onsubmit: (e) => {
      e.preventDefault();
      if (typed.value !== id) return;
      busy(go, errors, async () => {
        await call("DELETE", "/v1/" + env.name + query({ etag: env.etag, requestId, message: why.value }), { timeout: 60000 });
        close();
        toast(id + " is being deleted.");
        location.hash = envHref(env.name) + "/history";
      });
    } },
      h("p", null, "Its files leave Git and its objects leave the cluster, with the data in them. Its history stays."),
      Number(env.generation) ? h("p", { class: "quiet" }, "In namespace ", h("code", null, env.namespace), ", made ", exact(env.createTime), " by ", short(env.createActor), ".") : null,
      field(`Type ${id} to confirm`, typed), field("Why (optional)", why), errors,
      h("div", { class: "actions" }, go, h("button", { onclick: () => close() }, "Cancel")));
  });
}
