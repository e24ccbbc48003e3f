// New: an application with its first environment and what runs in it, in one form; or an environment made from another.
import { all, get, newRequestID, post, query } from "./api.js";
import { busy, empty, envHref, field, h, problem, short, toast } from "./ui.js";
import { learn, may } from "./session.js";
import { planned } from "./plan.js";
import { atFields, clearFields, options } from "./lists.js";

const ID = { pattern: "[a-z][a-z0-9\\-]*[a-z0-9]", maxlength: "40", required: true, autocomplete: "off", spellcheck: "false", title: "2 to 40 lower-case letters, digits and hyphens, beginning with a letter" };
const HINT = "Lower-case letters, digits and hyphens, beginning with a letter.";
const LIVES = [["", "as its type says"], ["14400s", "4 hours"], ["86400s", "1 day"], ["259200s", "3 days"], ["604800s", "1 week"], ["2592000s", "30 days"]];
const base64 = (text) => btoa(Array.from(new TextEncoder().encode(text), (b) => String.fromCharCode(b)).join(""));
const slow = { timeout: 60000 };

export async function create({ main, signal, params }) {
  const [app, env] = (params.query.get("from") || "").split("/"), heading = h("h1", null, env ? `New environment from ${app}/${env}` : "New application");
  let apps, types, from = null;
  main.replaceChildren(heading, h("p", { class: "quiet" }, "Reading…"));
  try {
    [apps, types, from] = await Promise.all([all("/v1/applications", "applications", signal), all("/v1/environmentTypes", "environmentTypes", signal),
      env ? get(`/v1/applications/${encodeURIComponent(app)}/environments/${encodeURIComponent(env)}`, signal) : null, learn(signal, "applications/-")]);
    if (!may("createEnvironment", "applications/-")) await learn(signal, ...apps.slice(0, 50).map((a) => a.name));
  } catch (err) {
    if (err.name !== "AbortError") main.replaceChildren(heading, problem(err));
    return;
  }
  const mine = apps.filter((a) => may("createEnvironment", "applications/-") || may("createEnvironment", a.name));
  const anew = may("manageApplications", "applications/-");
  if (!(env ? mine.some((a) => short(a.name) === app) : mine.length || anew)) {
    return main.replaceChildren(heading, empty("You may look, not make one", h("p", null, "Ask somebody with the role developer here, or an administrator to give it to you.")));
  }
  const typed = (chosen) => field("Type", h("select", { name: "type", required: true }, options(types.map((t) => [t.name, t.displayName ? `${t.displayName} (${short(t.name)})` : short(t.name)]), chosen)), "What it shares with the others of its kind: cluster, defaults, who approves.");
  main.replaceChildren(heading, env ? clone(from, typed(from.type), app) : begin(mine, anew, typed("environmentTypes/development"), params.query.get("application") || ""));
  main.querySelector(`input:not([value])`)?.focus();
}

// submit runs a form's work by whichever button was pressed, with errors at their fields.
const submit = (errors, places, work) => (e) => {
  e.preventDefault();
  const form = e.target;
  clearFields(form);
  busy(e.submitter, errors, () => work(form.elements, e.submitter?.value).catch((err) => {
    if (err.name === "AbortError") throw err;
    if (err.reason === "ALREADY_EXISTS") err.violations = [{ field: "environment_id", description: "There is one of this name already. Choose another, or open that one." }];
    atFields(err, errors, places(form.elements));
    if (err.begun) errors.append(h("p", { class: "note" }, err.begun));
  }));
};

function clone(from, type, app) {
  const errors = h("div"), parent = "applications/" + app, requestId = newRequestID();
  const places = (x) => [[/environment_id|parent|name/, x.environment], [/type/, x.type], [/ttl/, x.ttl]];
  return h("form", { class: "card narrow", onsubmit: submit(errors, places, async (x, how) => {
    const id = x.environment.value, ttl = x.ttl.value;
    const make = (body) => post(`/v1/${parent}/environments` + query({ environmentId: id, from: from.activeDeployment ? from.name : "", ttl, ...body }), { type: x.type.value }, slow);
    const made = how === "plan" ? await planned(`${parent}/environments/${id}`, `Make ${app}/${id}`, { creation: { environment: { type: x.type.value }, from: from.name, ttl: ttl || undefined } }, { verb: "Make it", action: "createEnvironment", send: make }) : await make({ requestId: requestId + id });
    if (!made) return;
    toast(`Made ${app}/${id}.`);
    location.hash = envHref(made.name);
  }) },
  h("p", { class: "quiet" }, from.activeDeployment ? "It begins with the same workloads, variables and overlay, and is deployed at once. " : "Nothing runs there yet: it begins empty."),
  field("Name", h("input", { name: "environment", ...ID }), HINT), type, field("Lives", h("select", { name: "ttl" }, options(LIVES, "")), "Then it is deleted by itself; it can be kept longer on its page."), errors,
  h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Make it"), from.activeDeployment ? h("button", { type: "submit", value: "plan", class: "asks" }, "Show the plan…") : null));
}

function begin(apps, anew, type, chosen) {
  const errors = h("div"), requestId = newRequestID(), made = { application: "", environment: "" };
  const box = h("div"), score = h("textarea", { name: "score", rows: "12", spellcheck: "false", "aria-label": "Score file", placeholder: "apiVersion: score.dev/v1b1\nmetadata:\n  name: api" });
  const what = { image: [
    field("Image", h("input", { name: "image", required: true, maxlength: "1024", autocomplete: "off", spellcheck: "false", placeholder: "registry.example.com/shop/api:1.0" }), "The container image to run."),
    field("Port (optional)", h("input", { name: "port", type: "number", min: "1", max: "65535" }), "Where it listens; others reach it there by its name."),
    field("Variables (optional)", h("textarea", { name: "variables", rows: "3", spellcheck: "false", placeholder: "LOG_LEVEL=info" }), "One NAME=value a line. Not for secrets.")],
  score: [field("File", h("input", { type: "file", name: "file", accept: ".yaml,.yml,.json", onchange: async (e) => { score.value = (await e.target.files[0]?.text()) || score.value; } }), "Choose it, or paste it below."), score], nothing: [] };
  const radio = (v, text) => h("label", null, h("input", { type: "radio", name: "what", value: v, checked: v === "image", onchange: () => box.replaceChildren(...what[v]) }), " ", text, " ");
  box.append(...what.image);

  // change is what the form says is to run.
  function change(x) {
    if (x.what.value === "nothing") return null;
    let doc = score.value;
    if (x.what.value === "image") {
      const lines = x.variables.value.split("\n").map((l) => l.trim()).filter(Boolean);
      const wrong = lines.find((l) => !/^[A-Za-z_][\w.-]*=/.test(l));
      if (wrong) throw Object.assign(new Error("a variable is not NAME=value"), { violations: [{ field: "variables", description: `“${wrong}” is not NAME=value.` }] });
      doc = JSON.stringify({ apiVersion: "score.dev/v1b1", metadata: { name: x.application.value }, containers: { main: { image: x.image.value.trim(), ...(lines.length ? { variables: Object.fromEntries(lines.map((l) => [l.slice(0, l.indexOf("=")), l.slice(l.indexOf("=") + 1)])) } : {}) } },
        ...(x.port.value ? { service: { ports: { web: { port: Number(x.port.value) } } } } : {}) }, null, 2);
    } else if (!doc.trim()) throw Object.assign(new Error("there is no Score file"), { violations: [{ field: "scores", description: "Choose a file or paste one." }] });
    return { scores: [{ filename: "score.yaml", content: base64(doc) }] };
  }

  // step does one of the three steps, once: what is made stays when a later one fails, and the form goes on from there.
  async function step(x, kind, name, work) {
    if (made[kind] === name) return;
    await work();
    made[kind] = name;
    x[kind].readOnly = true;
    if (kind === "environment") x.type.disabled = true;
  }

  const application = (x) => step(x, "application", x.application.value, async () => {
    const id = x.application.value;
    if (!apps.some((a) => short(a.name) === id)) await post("/v1/applications" + query({ applicationId: id, requestId: requestId + id }), {});
  });

  async function deploy(x, what, body) {
    const parent = "applications/" + x.application.value, env = `${parent}/environments/${x.environment.value}`;
    await step(x, "environment", x.environment.value, () => post(`/v1/${parent}/environments` + query({ environmentId: x.environment.value, requestId: requestId + x.environment.value }), { type: x.type.value }));
    if (what) await post(`/v1/${env}/deployments`, { change: what, requestId: newRequestID(), ...body, planHash: "" }, slow);
    return env;
  }

  const places = (x) => [[/application/, x.application], [/variables/, x.variables], [/port/, x.port], [/image/, x.image], [/scores|change/, x.score || x.image], [/type/, x.type], [/environment|parent/, x.environment]].filter(([, input]) => input);
  return h("form", { class: "card narrow", onsubmit: submit(errors, places, async (x, how) => {
    try {
      const what = change(x);
      await application(x);
      const parent = "applications/" + x.application.value, id = x.environment.value;
      const env = how === "plan" && !made.environment ? await planned(`${parent}/environments/${id}`, `Make ${x.application.value}/${id}`, { creation: { environment: { type: x.type.value }, change: what || undefined } }, { action: "createEnvironment", send: (body) => deploy(x, what, body) }) : await deploy(x, what);
      if (!env) return;
      toast(what ? "It is on its way." : "Made " + short(env) + ".");
      location.hash = envHref(env);
    } catch (err) {
      if (made.application) err.begun = `${made.environment ? `The environment ${made.application}/${made.environment} is made; nothing runs in it yet.` : `The application ${made.application} is there; it has no such environment yet.`} Correct what is wrong and press Deploy again: it goes on from there.`;
      throw err;
    }
  }) },
  field("Application", h("input", { name: "application", list: "apps", value: chosen || null, ...ID }), (anew ? "A new name, or one that is there. " : "One that is there; new ones are made by developers of the whole installation. ") + HINT),
  h("datalist", { id: "apps" }, apps.map((a) => h("option", { value: short(a.name) }, a.displayName || null))),
  field("Environment", h("input", { name: "environment", value: "dev", ...ID }), "One running copy of it; dev is a good first one."), type,
  h("fieldset", null, h("legend", null, "What runs first"), radio("image", "An image"), radio("score", "A Score file"), radio("nothing", "Nothing yet")), box, errors,
  h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Deploy"), h("button", { type: "submit", value: "plan" }, "Plan first…")),
  h("p", { class: "quiet" }, "A plan needs the application: a new one is made for it, and nothing else."));
}
