// New application and new environment.
import { all, newRequestID, post, query } from "./api.js";
import { busy, envHref, field, h, problem, render, short, toast } from "./ui.js";
import { mayChange } from "./session.js";

const ID = { pattern: "[a-z][a-z0-9\\-]*[a-z0-9]", maxlength: "40", required: true, autocomplete: "off", spellcheck: "false", title: "2 to 40 lower-case letters, digits and hyphens, beginning with a letter" };
const HINT = "Lower-case letters, digits and hyphens, beginning with a letter.";

export async function create({ main, signal, params }) {
  const heading = h("h1", null, "New environment");
  if (!mayChange()) return render(main, heading, h("p", null, "Your token may look, not change. Ask a developer, or an administrator for a token with the role developer."));
  let apps, types;
  try {
    [apps, types] = await Promise.all([all("/v1/applications", "applications", signal), all("/v1/environmentTypes", "environmentTypes", signal)]);
  } catch (err) {
    if (err.name !== "AbortError") render(main, heading, problem(err));
    return;
  }
  const draw = (chosen) => main.replaceChildren(heading,
    apps.length ? environmentForm(apps, types, chosen) : h("p", null, "An environment belongs to an application. Make the application first."),
    h("h2", null, "New application"),
    applicationForm((app) => { apps.push(app); draw(app.name); main.querySelector("input[name=environment]")?.focus(); }));
  draw("applications/" + params.query.get("application"));
}

function options(list, chosen) {
  return list.map((x) => h("option", { value: x.name, selected: x.name === chosen }, x.displayName ? `${x.displayName} (${short(x.name)})` : short(x.name)));
}

function environmentForm(apps, types, chosen) {
  const errors = h("div"), requestId = newRequestID();
  return h("form", { class: "card narrow", onsubmit: (e) => {
    e.preventDefault();
    const { application, environment, type } = e.target.elements;
    busy(e.submitter, errors, async () => {
      const made = await post(`/v1/${application.value}/environments` + query({ environmentId: environment.value, requestId: requestId + environment.value }), { type: type.value });
      toast("Made " + short(made.name) + ".");
      location.hash = envHref(made.name);
    });
  } },
    field("Application", h("select", { name: "application" }, options(apps, chosen))),
    field("Name", h("input", { name: "environment", ...ID }), HINT),
    field("Type", h("select", { name: "type", required: true }, options(types, "environmentTypes/development")), "What it shares with the others of its kind: cluster, defaults, whether commits are applied by themselves."),
    errors, h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Make the environment")));
}

function applicationForm(done) {
  const errors = h("div"), requestId = newRequestID();
  return h("form", { class: "card narrow", onsubmit: (e) => {
    e.preventDefault();
    const { app, displayName, owner } = e.target.elements;
    busy(e.submitter, errors, async () => {
      const made = await post("/v1/applications" + query({ applicationId: app.value, requestId: requestId + app.value }), { displayName: displayName.value, owner: owner.value });
      toast("Made the application " + short(made.name) + ".");
      done(made);
    });
  } },
    field("Name", h("input", { name: "app", ...ID }), HINT),
    field("Name for people (optional)", h("input", { name: "displayName", maxlength: "200", autocomplete: "off" })),
    field("Owner (optional)", h("input", { name: "owner", maxlength: "200", autocomplete: "off" }), "Team or person who answers for it, such as teams/checkout."),
    errors, h("div", { class: "actions" }, h("button", { type: "submit" }, "Make the application")));
}
