// Resource definitions: how what workloads need is made, version by version; what a version would change everywhere; and which
// definition answers a need, and why the others do not.
import { all, get, post, query, stream } from "./api.js";
import { busy, code, dialog, empty, envHref, envID, field, h, problem, short, toast, value, when, word } from "./ui.js";
import { learn, may } from "./session.js";
import { fact, n } from "./parts.js";
import { button, facts, live, options, pages, state, table, who } from "./lists.js";

const TONE = { STATE_ACTIVE: "good", STATE_PROPOSED: "busy" };
export const definitionHref = (d) => (d.startsWith("resourceDefinitions/") ? "#/definitions/" + encodeURIComponent(d.split("/")[1]) : null);
const criteria = (list) => (list?.length ? list.map((c) => Object.entries({ app: "application", env: "environment", envType: "environment type", resId: "resource" }).filter(([k]) => c[k]).map(([k, w]) => w + " " + c[k]).join(" and ")).join(", or ") : "every request");

// candidates are the definitions that were looked at, the winner first, each with its reason.
export const candidates = (list) => (list.length ? h("ol", { class: "files" }, list.map((c) => h("li", null, state(c.won ? "won" : "lost", c.won ? "good" : "none"), " ",
  definitionHref(c.definition) ? h("a", { href: definitionHref(c.definition) }, c.definition) : c.definition, ": ", c.reason))) : h("p", null, "No definition is there for this type. An operator adds one: ", h("code", null, "tow definition create"), "."));

export function definitions({ main, signal }) {
  let list = [], envs = [];
  live({ main, signal }, () => h("h1", null, "Resource definitions"), async () => {
    [list, envs] = await Promise.all([all("/v1/resourceDefinitions", "resourceDefinitions", signal), envs.length ? envs : all("/v1/applications/-/environments", "environments", signal)]);
  }, () => [
    h("p", { class: "quiet" }, "A workload asks for a type, such as postgres; a definition says how that is made. Besides these there are those that are part of Towpath."),
    list.length ? table("Definitions", ["Definition", "Type", "Active", "Newest", "For"], list.map((d) => ({ key: d.name, cells: [h("a", { href: definitionHref(d.name) }, d.displayName || short(d.name)), d.type,
      Number(d.activeVersion) ? state("version " + d.activeVersion, "good") : "none", "version " + d.latestVersion, d.description] })))
      : empty("No definitions of your own", h("p", null, "Those that are part of Towpath answer. Add one:"), code("tow definition create postgres-rds", "tow definition propose postgres-rds -f postgres.yaml")),
    h("section", { key: "which", keep: true }, which(envs))], 10000);

  function which() {
    if (!envs.length) return null;
    const errors = h("div"), box = h("div", { "aria-live": "polite" });
    return [h("h2", null, "Which definition answers?"), h("form", { class: "row card", onsubmit: (e) => {
      e.preventDefault();
      const x = e.target.elements;
      busy(e.submitter, errors, async () => {
        const told = await get(`/v1/${x.env.value}:explainMatch` + query({ type: x.type.value, class: x.class.value, resId: x.id.value }), signal);
        box.replaceChildren(candidates(told.candidates));
      });
    } }, field("Environment", h("select", { name: "env" }, options(envs.map((e) => [e.name, envID(e.name)])))),
    field("Type", h("input", { name: "type", required: true, list: "types", placeholder: "postgres" })), h("datalist", { id: "types" }, options([...new Set(list.map((d) => [d.type]))])),
    field("Class (optional)", h("input", { name: "class", placeholder: "default" })), field("Resource id (optional)", h("input", { name: "id", placeholder: "api.db" })),
    h("button", { type: "submit", class: "asks" }, "Ask"), errors), box];
  }
}

export function definition({ main, signal, params }) {
  const name = "resourceDefinitions/" + params.env;
  let d = null;
  const list = pages(`/v1/${name}/versions`, "definitionVersions", signal, () => ({}), (a, b) => short(b.name) - short(a.name));
  const { draw, again } = live({ main, signal }, () => h("h1", null, h("a", { href: "#/definitions" }, "Definitions"), " ", params.env), async () => {
    [d] = await Promise.all([get("/v1/" + name, signal), list.refresh(), learn(signal, name)]);
  }, () => [
    d.description ? h("p", null, d.description) : null,
    facts(fact("Type", d.type), fact("Active", Number(d.activeVersion) ? "version " + d.activeVersion : "none"), fact("Made", when(d.createTime)), fact("By", who(d.createActor))),
    list.list().length ? null : empty("It has no version yet", h("p", null, "Propose one: "), code(`tow definition propose ${params.env} -f definition.yaml`)),
    list.list().map(version), list.older(draw)], 10000);

  function version(v) {
    const c = v.content, active = v.state === "STATE_ACTIVE";
    return h("section", { class: "card", key: v.name }, h("div", { class: "head" }, h("h2", null, "Version " + short(v.name), " ", state(v.state, TONE[v.state])),
      h("div", { class: "tools" }, button(active ? "Archive: what would change?" : "Activate: what would change?", () => blast(v, active), "asks"))),
    v.message ? h("p", null, v.message) : null,
    facts(fact("Made", when(v.createTime)), fact("By", who(v.createActor)), v.activateTime ? fact("Activated", when(v.activateTime), " by ", who(v.activateActor)) : null,
      fact("Type", c.type), fact("Class", c.class || "default"), fact("Driver", word(c.driver, "DRIVER_")), fact("For", criteria(c.criteria))),
    h("details", null, h("summary", null, "How it makes it"), h("pre", { class: "value", tabindex: "0" }, Object.entries(c.inputs || {}).map(([k, x]) => `${k}: ${value(x)}`).join("\n"))),
    h("p", { class: "quiet", key: "may" }, may("manageDefinitions", name) ? "" : "Activating and archiving is for operators."));
  }

  // blast shows, environment by environment as the server comes to it, what activating (or archiving) the version would change.
  function blast(v, archive) {
    const stop = new AbortController(), rows = [], verb = archive ? "Archive" : "Activate";
    const box = h("div", { "aria-live": "polite" }), errors = h("div"), go = h("button", { type: "button", class: archive ? "danger" : "primary", disabled: true, onclick: () => act() }, verb);
    let sum = null, close;
    const draw = () => box.replaceChildren(sum ? h("p", null, h("strong", null, `${sum.changed} of ${n(sum.environments, "environment")} would change`), Number(sum.broken) ? `; ${sum.broken} could not be rendered any more` : "", ". Each gets it with its next deployment.") : h("p", { class: "quiet" }, "Reading…"),
      rows.length ? table("Environments that would change", ["Environment", "Resources", "Files"], rows.map((r) => ({ key: r.environment, cells: [h("a", { href: envHref(r.environment) }, envID(r.environment)), r.error ? h("span", { class: "chip bad" }, r.error) : r.resources.join(", "), r.files.join(", ")] }))) : "");
    async function read() {
      draw();
      for await (const m of stream(`/v1/${v.name}:plan`, AbortSignal.any([signal, stop.signal]), { archive })) {
        if (m.sum) sum = m.sum;
        else if (m.error || m.files.length || m.resources.length) rows.push(m);
        draw();
      }
      go.disabled = false;
    }
    const act = () => busy(go, errors, async () => {
      await post(`/v1/${v.name}:${verb.toLowerCase()}`, archive ? {} : { planHash: sum.planHash });
      toast(`Version ${short(v.name)} of ${params.env} is ${archive ? "archived" : "active"}.`);
      close();
      again();
    });
    dialog(`${verb} version ${short(v.name)} of ${params.env}: what would change`, (c) => {
      close = c;
      read().catch((err) => err.name === "AbortError" || errors.replaceChildren(problem(err)));
      return h("div", null, box, errors, h("div", { class: "actions" }, may("manageDefinitions", name) ? go : null, button("Close", () => c())));
    }, true).then(() => stop.abort());
  }
}
