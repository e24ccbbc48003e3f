// One application: its environments, its variables with what they were, and how well it is delivered.
import { all, call, get, newRequestID, post, query } from "./api.js";
import { busy, confirm, dialog, driftChip, empty, envHref, field, h, healthChip, problem, short, syncChip, toast, when } from "./ui.js";
import { learn, may } from "./session.js";
import { fact, n } from "./parts.js";
import { appHref, button, facts, lasts, link, live, options, quiet, seconds, table, who } from "./lists.js";

const ROLLOUT = [["ROLLOUT_NEXT", "with each environment's next deployment"], ["ROLLOUT_ALL", "now, by a deployment of each environment that reads it"]];
const WEEK = 6048e5;

export function application({ main, signal, params }) {
  const id = params.app, name = "applications/" + id;
  let app = null, envs = [], vars = [], drafts = [], weeks = null, month = null, read = 0;
  const { again } = live({ main, signal }, () => [h("h1", null, app?.displayName || id, app?.displayName ? [" ", quiet(id)] : null), h("div", { class: "tools" },
    may("createEnvironment", name) ? link("#/new?application=" + encodeURIComponent(id), "New environment") : null,
    link(appHref(name) + "/drafts", drafts.length ? n(drafts.length, "draft") : "Drafts"), link("#/events?application=" + encodeURIComponent(id), "Events"), link("#/findings?application=" + encodeURIComponent(id), "Drift"))],
  async () => {
    [app, envs, vars, drafts] = await Promise.all([get("/v1/" + name, signal), all(`/v1/${name}/environments`, "environments", signal), all(`/v1/${name}/variables`, "variables", signal), all(`/v1/${name}/drafts`, "drafts", signal), learn(signal, name)]);
    if (Date.now() - read > 60000) await metrics();
  }, () => [
    facts(fact("Owner", app.owner || "nobody named"), fact("Made", when(app.createTime)), fact("By", who(app.createActor)), app.repository ? fact("Repository", short(app.repository)) : null),
    h("section", null, h("h2", null, "Environments"), envs.length ? table("Environments", ["Environment", "Type", "Version", "By", "Since", "Sync", "Health", "Drift"], envs.map((e) => ({ key: e.name, cells: [
      h("a", { href: envHref(e.name) }, short(e.name)), short(e.type), e.running ? [e.running.version, " ", quiet("#", short(e.running.deployment))] : "nothing yet", who(e.running?.actor), when(e.running?.since), e.live ? syncChip(e.live.sync) : "-", e.live ? healthChip(e.live.health) : "-", e.live ? driftChip(e.live.findings, e.live.sync) : "-"] })))
      : empty("No environment yet", h("p", null, may("createEnvironment", name) ? link("#/new?application=" + encodeURIComponent(id), "New environment") : "Ask a developer of the application to make one."))),
    h("section", null, h("div", { class: "head" }, h("h2", null, "Variables"), may("manageVariables", name) ? button("Set a variable…", () => edit()) : null),
      h("p", { class: "quiet" }, "All environments read them as ", h("code", null, "${resources.env.NAME}"), "; an environment's own value wins. Not for secrets."),
      vars.length ? table("Variables", ["Name", "Value", "Version", "By", "Changed", "Actions"], vars.map(variable)) : quiet("None yet.")),
    delivery()], 5000);

  function variable(v) {
    const key = short(v.name), change = may("manageVariables", name);
    return { key: v.name, cells: [h("code", null, key), [v.secret ? quiet(`Secret ${v.secret.name}, key ${v.secret.key}`) : h("code", { class: "v" }, v.value), v.description ? h("div", { class: "quiet" }, v.description) : null], v.version, who(v.updateActor), when(v.updateTime),
      [button("Versions and uses", (e) => busy(e.target, null, () => past(v)), "plain asks"), change && !v.secret ? h("button", { type: "button", class: "plain", "aria-label": "Set " + key, onclick: () => edit(v) }, "Set…") : null,
        change ? h("button", { type: "button", class: "plain", "aria-label": "Delete " + key, onclick: () => remove(v) }, "Delete…") : null]] };
  }

  const rollout = () => h("select", { name: "rollout" }, options(ROLLOUT.slice(0, envs.some((e) => may("deploy", e.name)) || may("deploy", name) ? 2 : 1)));
  const told = (r, text) => {
    toast(text + (r.deployments.length ? `: ${n(r.deployments.length, "deployment")} on the way` : "") + (r.heldEnvironments.length ? `; ${r.heldEnvironments.map(short).join(", ")} left out, held by a rollback` : "") + ".");
    again();
  };

  function edit(v) {
    const requestId = newRequestID();
    dialog(v ? "Set " + short(v.name) : "Set a variable", (close) => {
      const errors = h("div");
      return h("form", { onsubmit: (e) => {
        e.preventDefault();
        const x = e.target.elements, key = v ? short(v.name) : x.key.value;
        busy(e.submitter, errors, async () => {
          told(await post(`/v1/${name}/variables/${encodeURIComponent(key)}:set`, { variable: { value: x.value.value, description: v?.description || "", etag: v?.etag || "" }, rollout: x.rollout.value, message: x.message.value, requestId }, { timeout: 60000 }), key + " is set");
          close();
        });
      } }, v ? null : field("Name", h("input", { name: "key", required: true, pattern: "[A-Za-z_][A-Za-z0-9_]*", autocomplete: "off", spellcheck: "false" })),
      field("Value", h("input", { name: "value", value: v?.value || "", autocomplete: "off", spellcheck: "false", autofocus: !!v })), field("Environments get it", rollout()), field("Why (optional)", h("input", { name: "message", maxlength: "2000" })), errors,
      h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Set"), button("Cancel", () => close())));
    });
  }

  async function remove(v) {
    const choice = rollout();
    const r = await confirm("Delete " + short(v.name), h("div", null, h("p", null, "Its versions stay, and it can be restored. A workload that still reads it cannot be deployed without it."), field("Environments lose it", choice)), "Delete",
      () => call("DELETE", `/v1/${v.name}` + query({ etag: v.etag, rollout: choice.value, requestId: newRequestID() }), { timeout: 60000 }));
    if (r) told(r, short(v.name) + " is deleted");
  }

  // past shows what a variable has been and who reads it.
  async function past(v) {
    const [was, uses] = await Promise.all([get(`/v1/${v.name}/versions` + query({ pageSize: 100 }), signal), get(`/v1/${v.name}:uses`, signal)]);
    dialog(short(v.name), (close) => {
      const errors = h("div"), choice = rollout();
      return h("div", null, h("h3", null, "Read by"), uses.uses.length ? h("ul", { class: "summary" }, uses.uses.map((u) => h("li", null, h("a", { href: envHref(u.environment), onclick: () => close() }, short(u.environment)), " ", u.workload || "a shared resource", quiet(", version ", u.version)))) : h("p", { class: "quiet" }, "No workload."),
        h("h3", null, "Versions"), may("manageVariables", name) ? field("Environments get a restored one", choice) : null, errors,
        table("Versions", ["Version", "Value", "By", "When", "Action"], was.variables.map((o, i) => ({ key: o.version, cells: [o.version, o.deleted ? "deleted" : o.secret ? "a secret" : h("code", { class: "v" }, o.value), who(o.updateActor), when(o.updateTime),
          may("manageVariables", name) && i && !o.deleted ? h("button", { type: "button", "aria-label": "Restore version " + o.version, onclick: (e) => busy(e.target, errors, async () => {
            told(await post(`/v1/${v.name}:restore`, { version: o.version, rollout: choice.value, requestId: newRequestID() }, { timeout: 60000 }), `${short(v.name)} is as in version ${o.version}`);
            close();
          }) }, "Restore") : ""] }))), h("div", { class: "actions" }, button("Close", () => close())));
    }, true);
  }

  // metrics reads the figures of a month and of each of its weeks. Whose role does not reach all environments is not shown any.
  async function metrics() {
    const now = Date.now(), at = (t) => new Date(t).toISOString();
    const ask = (from, to) => get(`/v1/${name}/environments/-:metrics` + query({ startTime: at(from), endTime: at(to) }), signal);
    try {
      [month, ...weeks] = await Promise.all([ask(now - 4 * WEEK, now), ...[4, 3, 2, 1].map((w) => ask(now - w * WEEK, now - (w - 1) * WEEK))]);
    } catch (err) {
      if (err.name === "AbortError") throw err;
      month = { error: err };
    }
    read = now;
  }

  function delivery() {
    if (!month) return null;
    if (month.error) return month.error.status === 403 ? null : problem(month.error);
    const one = (title, text, pick, label) => {
      const values = weeks.map(pick), top = Math.max(...values, 1e-9);
      return h("div", { class: "card" }, h("h3", null, title), h("p", null, h("strong", null, text)), h("svg:svg", { viewBox: "0 0 100 30", role: "img", "aria-label": "Week by week: " + values.map(label).join(", ") },
        values.map((v, i) => h("svg:rect", { x: i * 25 + 2, width: 21, y: 30 - Math.max(1, (v / top) * 28), height: Math.max(1, (v / top) * 28) }))));
    };
    const percent = (v) => Math.round(v * 100) + " %";
    return h("section", null, h("h2", null, "Delivery ", quiet("of the last four weeks")), Number(month.deployments) ? h("div", { class: "metrics" },
      one("How often", `${n(month.deployments, "deployment")}, ${month.deploymentsPerDay.toFixed(1)} a day`, (m) => Number(m.deployments), String),
      one("How fast", `${lasts(month.leadTimeMedian)} from request to healthy, ${lasts(month.leadTimeP95)} at worst`, (m) => seconds(m.leadTimeMedian), (v) => Math.round(v) + " s"),
      one("How many fail", `${percent(month.changeFailureRate)}, ${month.failures} in all`, (m) => m.changeFailureRate, percent),
      one("How fast mended", seconds(month.timeToRestoreMedian) ? lasts(month.timeToRestoreMedian) + " from a failure to healthy" : "nothing had to be mended", (m) => seconds(m.timeToRestoreMedian), (v) => Math.round(v) + " s"))
      : h("p", { class: "quiet" }, "Nothing was deployed."));
  }
}
