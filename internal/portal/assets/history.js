// History: what happened to an environment, newest first, with where the time went, and the way back.
import { get, poll, query } from "./api.js";
import { busy, empty, envHref, envID, exact, h, problem, render, short, stateChip, toast, when } from "./ui.js";
import { mayChange } from "./session.js";
import { bar, failure, isFinal, planned, review, title } from "./plan.js";

const PAGE = 25;

export function history({ main, signal, name }) {
  const id = envID(name);
  const byName = new Map();
  let error = null, older = "", loaded = false, exists = true, active = "";

  const page = (pageToken) => get(`/v1/${name}/deployments` + query({ pageSize: PAGE, pageToken }), signal);

  async function refresh() {
    try {
      const [list, env] = await Promise.all([page(""), get("/v1/" + name, signal).catch((err) => {
        if (err.status === 404) return null;
        throw err;
      })]);
      // What was read from later pages stays; their deployments have ended.
      if (!loaded) older = list.nextPageToken;
      for (const d of list.deployments) byName.set(d.name, d);
      loaded = true;
      exists = env !== null;
      active = env?.activeDeployment || "";
      error = null;
    } catch (err) {
      if (err.name === "AbortError") return;
      error = err;
    }
    draw();
  }

  async function more() {
    const list = await page(older);
    for (const d of list.deployments) byName.set(d.name, d);
    older = list.nextPageToken;
    draw();
  }

  async function rollback(d) {
    const made = await planned(name, `Roll ${id} back to #${short(d.name)}`, { rollbackTo: d.name });
    if (!made) return;
    toast(`Deployment #${short(made.name)} goes back to #${short(d.name)}.`);
    byName.set(made.name, made);
    draw();
    again();
  }

  function draw() {
    if (signal.aborted) return;
    const list = [...byName.values()].sort((a, b) => Number(b.generation) - Number(a.generation));
    const newest = list[0];
    render(main,
      h("div", { class: "head" }, h("h1", null, exists ? h("a", { href: envHref(name) }, id) : id, " history")),
      error && error.reason !== "LOST" ? problem(error) : null,
      loaded && !exists ? h("p", { class: "note" }, "The environment does not exist any more. Its history stays.") : null,
      h("p", { class: "sr", role: "status" }, newest ? `Newest: ${short(newest.name)} ${newest.state.replace("STATE_", "").toLowerCase()}` : ""),
      loaded && !list.length ? empty("Nothing was deployed here yet", h("p", null, h("a", { href: envHref(name) }, "To the environment"))) : null,
      !loaded && !error ? h("p", { class: "quiet" }, "Reading…") : null,
      h("ol", { class: "history" }, list.map((d) => item(d))),
      older ? h("p", null, h("button", { type: "button", class: "asks", key: "older", onclick: (e) => busy(e.target, null, more) }, "Older")) : null);
  }

  function item(d) {
    const errors = h("div", { key: "errors", keep: true });
    const back = exists && mayChange() && d.tree && d.name !== active && d.kind !== "KIND_REMOVAL" && isFinal(d);
    return h("li", { class: "card", key: d.name },
      h("div", { class: "head" },
        h("h2", null, title(d), " ", d.kind === "KIND_REMOVAL" && d.state === "STATE_HEALTHY" ? h("span", { class: "chip good" }, "done") : stateChip(d.state), d.name === active ? [" ", h("span", { class: "chip none" }, "running")] : null),
        back ? h("button", { type: "button", onclick: (e) => {
          const li = e.target.closest("li");
          busy(e.target, li.querySelector("[data-key=errors]"), () => rollback(d));
        } }, "Roll back to this…") : null),
      errors,
      h("p", null, d.message ? [d.message, " "] : null, h("span", { class: "quiet" }, "by ", short(d.actor), ", ", exact(d.createTime), ", ", when(d.createTime),
        d.commit ? [", commit ", h("code", { title: d.commit + " in " + d.repository + ", branch " + d.branch }, d.commit.slice(0, 8))] : null,
        d.filesChanged ? ", " + d.filesChanged + (d.filesChanged === 1 ? " file" : " files") : null)),
      d.summary?.length ? h("ul", { class: "summary" }, d.summary.map((s) => h("li", null, s))) : null,
      d.waitingReason ? h("p", { class: "note" }, "Waiting: " + d.waitingReason) : null,
      review(d),
      failure(d),
      bar(d));
  }

  const again = poll(2000, signal, refresh);
}
