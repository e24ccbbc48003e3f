// Drafts: changes in preparation; and one of them: what it holds, what it would do, and where it goes.
import { all, call, get, post, query } from "./api.js";
import { busy, code, confirm, empty, envHref, envID, h, short, toast, when } from "./ui.js";
import { learn, may } from "./session.js";
import { planned } from "./plan.js";
import { fact, n } from "./parts.js";
import { appHref, button, facts, live, operations, options, table, who } from "./lists.js";

const count = (d) => d.operations.length + d.overlayOperations.length + Object.keys(d.variables).length;

export function drafts({ main, signal, params }) {
  const app = "applications/" + params.app, base = appHref(app) + "/drafts";
  let list = [];
  live({ main, signal }, () => h("h1", null, h("a", { href: appHref(app) }, params.app), " drafts"),
    async () => { list = await all(`/v1/${app}/drafts`, "drafts", signal); },
    () => list.length ? table("Drafts", ["Draft", "For", "Changes", "By", "Changed"], list.map((d) => ({ key: d.name, cells: [
      h("a", { href: base + "/" + encodeURIComponent(short(d.name)) }, d.displayName || short(d.name)), d.environment ? envID(d.environment) : "any environment", n(count(d), "change"), who(d.createActor), when(d.updateTime)] })))
      : empty("No drafts", h("p", null, "A draft is a change in preparation. Accept drift on an environment's page, or make one:"), code(`tow draft create ${params.app}/next -e ${params.app}/dev --set /workloads/api/containers/main/image=…`)));
}

export function draft({ main, signal, params }) {
  const app = "applications/" + params.app, name = `${app}/drafts/${params.env}`, errors = () => main.querySelector("[data-key=errors]");
  let d = null, envs = [], to = "", summary = [];
  const { draw, again } = live({ main, signal },
    () => [h("h1", null, h("a", { href: appHref(app) + "/drafts" }, params.app + " drafts"), " ", d?.displayName || params.env), d && may("manageDrafts", name) ? h("div", { class: "tools" },
      button("Rebase", (e) => busy(e.target, errors(), rebase)),
      button("Delete…", remove, "danger")) : null],
    async () => {
      [d, envs] = await Promise.all([get("/v1/" + name, signal), all(`/v1/${app}/environments`, "environments", signal)]);
      to ||= d.environment || envs[0]?.name || "";
      await learn(signal, name, ...envs.map((e) => e.name));
      summary = d.resultSet && d.baseSet && d.resultSet !== d.baseSet ? await get("/v1/sets:diff" + query({ from: d.baseSet, to: d.resultSet }), signal).then((x) => x.summary, () => []) : [];
    }, () => [
      facts(fact("For", d.environment ? h("a", { href: envHref(d.environment) }, envID(d.environment)) : "any environment"), fact("By", who(d.createActor)), fact("Changed", when(d.updateTime)), fact("Made on", h("code", { title: d.baseSet }, d.baseSet.slice(5, 13)))),
      h("div", { key: "errors", keep: true }),
      h("section", { class: "card" }, h("h2", null, "Where it goes"), envs.length ? h("div", { class: "tools" },
        h("select", { "aria-label": "Environment", onchange: (e) => { to = e.target.value; draw(); } }, options(envs.map((e) => [e.name, envID(e.name)]), to)),
        button(may("deploy", to) ? "Plan and deploy…" : "Plan…", (e) => busy(e.target, errors(), deploy), "asks")) : "The application has no environment yet."),
      summary.length ? [h("h2", null, "In words"), h("ul", { class: "summary" }, summary.map((s) => h("li", null, s)))] : null,
      count(d) ? null : empty("It holds nothing yet", h("p", null, "Add to it: "), code(`tow draft edit ${params.app}/${params.env} --set /workloads/api/containers/main/variables/LOG_LEVEL=debug`)),
      d.operations.length ? [h("h2", null, "In the set"), operations(d.operations)] : null,
      d.overlayOperations.length ? [h("h2", null, "Only in " + envID(d.environment)), operations(d.overlayOperations)] : null,
      Object.keys(d.variables).length ? [h("h2", null, "Variables"), h("ul", { class: "summary" }, Object.entries(d.variables).map(([k, v]) => h("li", null, h("code", null, `${k}=${v}`))))] : null]);

  // rebase moves the draft to what its environment has now; what both changed is told path by path.
  async function rebase() {
    const baseSet = envs.find((e) => e.name === to)?.intent?.set;
    try {
      await post(`/v1/${name}:rebase`, { etag: d.etag, baseSet: to === d.environment ? "" : baseSet });
    } catch (err) {
      if (err.reason === "DRAFT_CONFLICT") err.hint = "Both changed the same places. Change the draft there (tow draft edit), or delete it and begin from what is there now.";
      throw err;
    }
    toast("The draft stands on what runs in " + envID(to) + " now.");
    again();
  }

  async function deploy() {
    const change = { baseSet: d.baseSet, setOperations: d.operations, overlayOperations: d.overlayOperations, variables: d.variables, draft: name };
    const made = await planned(to, `Deploy ${params.env} to ${envID(to)}`, { change }, { send: (body) => post(`/v1/${name}:deploy`, { ...body, environment: to }, { timeout: 60000 }) });
    if (!made) return;
    toast(`Deployment #${short(made.name)} of ${envID(to)} is on its way.`);
    location.hash = envHref(to);
  }

  async function remove() {
    if (await confirm("Delete the draft " + params.env, h("p", null, "What it holds is gone. What was deployed of it stays."), "Delete", async () => { await call("DELETE", `/v1/${name}` + query({ etag: d.etag })); return true; })) location.hash = appHref(app) + "/drafts";
  }
}
