// Promotion: what runs in one environment, brought to another of the same application; what would change stands beside what is.
import { all, get, newRequestID, post, stream } from "./api.js";
import { busy, empty, envHref, envID, field, h, problem, render, short, toast, when } from "./ui.js";
import { learn, may } from "./session.js";
import { failure, isFinal, progress, review, showPlan } from "./plan.js";
import { fact, n } from "./parts.js";
import { facts, link, options, who } from "./lists.js";

export async function promote({ main, signal, name, params }) {
  const parent = name.split("/environments/")[0];
  const errors = h("div"), box = h("div", { "aria-live": "polite" });
  const head = h("div", { class: "head" }, h("h1", null, "Promote ", h("a", { href: envHref(name) }, envID(name))));
  main.replaceChildren(head, h("p", { class: "quiet" }, "Reading…"));
  let envs, types, turn = 0;
  try {
    [envs, types] = await Promise.all([all(`/v1/${parent}/environments`, "environments", signal), all("/v1/environmentTypes", "environmentTypes", signal)]);
    await learn(signal, ...envs.map((e) => e.name));
  } catch (err) {
    if (err.name !== "AbortError") main.replaceChildren(head, problem(err));
    return;
  }
  const from = envs.find((e) => e.name === name);
  const targets = envs.filter((e) => e.name !== name && e.state !== "STATE_DELETING");
  const allowed = targets.filter((e) => may("promote", e.name));
  const stop = (title, ...text) => main.replaceChildren(head, empty(title, h("p", null, ...text)));
  if (!from) return stop(envID(name) + " does not exist", h("a", { href: "#/" }, "To the applications"));
  if (!from.activeDeployment) return stop("Nothing runs here yet", "Deploy something to ", h("a", { href: envHref(name) }, envID(name)), " first; what runs there can then be brought on.");
  if (!targets.length) return stop("There is nowhere to promote to", "The application has no other environment. ", h("a", { href: "#/new?from=" + encodeURIComponent(envID(name)) }, "Make one from this"), ".");

  const to = h("select", { name: "to", onchange: plan }, options(targets.map((e) => [e.name, `${short(e.name)} (${short(e.type)})`]), "applications/" + params.query.get("to")));
  const active = await get("/v1/" + from.activeDeployment, signal).catch(() => null);
  const set = active?.intent?.set ? await get("/v1/" + active.intent.set, signal).catch(() => null) : null;
  const boxes = Object.keys(set?.workloads || {}).sort().map((w) => h("input", { type: "checkbox", name: "workload", value: w, checked: true, onchange: plan }));
  if (signal.aborted) return;
  main.replaceChildren(head,
    h("div", { class: "card" },
      facts(fact("From", h("a", { href: envHref(name) }, envID(name))), fact("What runs there", `#${short(from.activeDeployment)} `, active?.message || "", " ", from.running?.version || ""), fact("By", who(active?.actor)), fact("Since", when(active?.activeFrom))),
      field("To", to),
      boxes.length > 1 ? h("fieldset", null, h("legend", null, "Workloads"), boxes.map((b) => h("label", null, b, " ", b.value))) : null),
    box, errors);
  await plan();

  function request() {
    const some = boxes.filter((b) => b.checked).map((b) => b.value);
    return { from: name, workloads: some.length === boxes.length ? [] : some };
  }

  // plan shows what would change; an answer that is no longer asked for is dropped.
  async function plan() {
    const mine = ++turn, target = targets.find((e) => e.name === to.value), what = request();
    errors.replaceChildren();
    if (boxes.length && !boxes.some((b) => b.checked)) return box.replaceChildren(h("p", { class: "note" }, "Choose at least one workload."));
    box.replaceChildren(h("p", { class: "quiet" }, "Planning…"));
    try {
      const p = await post(`/v1/${target.name}:plan`, { promotion: what }, { signal, timeout: 60000 });
      if (mine === turn) show(target, what, p);
    } catch (err) {
      if (err.name !== "AbortError" && mine === turn) box.replaceChildren(problem(err));
    }
  }

  function show(target, what, p) {
    const id = envID(target.name), rule = types.find((t) => t.name === target.type)?.approvals;
    const requestId = newRequestID(), message = h("input", { name: "message", maxlength: "2000", autocomplete: "off" });
    const changes = p.summary.length || p.files.length;
    box.replaceChildren(h("h2", null, changes ? "What would change in " + id : "Nothing would change in " + id),
      h("p", null, p.approvalsRequired ? `Operators and administrators may approve there, and whom a policy names; its author's own approval ${rule?.authorMayApprove ? "counts" : "does not count"}.` : "Nobody must approve it."),
      showPlan(p),
      !changes ? "" : allowed.includes(target) ? h("form", { onsubmit: (e) => {
        e.preventDefault();
        busy(e.submitter, errors, async () => {
          const made = await post(`/v1/${target.name}:promote`, { promotion: what, message: message.value, requestId, planHash: p.planHash }, { timeout: 60000 }).catch((err) => {
            if (err.reason === "PLAN_MOVED") e.submitter?.after(h("button", { type: "button", class: "asks", onclick: plan }, "Plan again"));
            throw err;
          });
          toast(`Deployment #${short(made.name)} of ${id} is on its way.`);
          follow(made, id);
        });
      } }, field("Why (optional)", message, "Shown in the history and in the commit."), h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Promote to " + id)))
        : h("p", { class: "note" }, `You may not promote to ${id}. Ask somebody with the role deployer or developer there.`));
  }

  async function follow(made, id) {
    const mine = ++turn;
    let d = made;
    const draw = () => mine === turn && !signal.aborted && render(box, h("h2", { key: "on" }, `Promotion #${short(d.name)} of ${id}`), progress(d),
      d.waitingReason ? h("p", { class: "note" }, "Waiting: " + d.waitingReason) : null,
      d.state === "STATE_AWAITING_APPROVAL" ? h("p", { class: "note" }, `Waiting for ${n(d.approvalsRequired, "approval")}.`) : null, review(d), failure(d),
      h("p", null, link(envHref(d.name), "To " + id), " ", link(envHref(d.name) + "/history", "History")));
    box.replaceChildren();
    draw();
    const tick = setInterval(draw, 500);
    try {
      for await (const m of stream(`/v1/${made.name}:watch`, signal)) {
        d = m.deployment;
        draw();
      }
    } catch (err) {
      if (err.name !== "AbortError" && !isFinal(d)) errors.replaceChildren(problem(err, "The promotion goes on by itself; see the history."));
    }
    clearInterval(tick);
    draw();
  }
}
