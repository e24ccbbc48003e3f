// For operators: clusters, repositories and environment types, and how they are. Large settings are changed by tow; the command stands there.
import { all, get, post } from "./api.js";
import { busy, code, empty, h, short, value, when, word } from "./ui.js";
import { learn, may } from "./session.js";
import { fact, n } from "./parts.js";
import { button, facts, lasts, live, seconds, state, table } from "./lists.js";

const name = (x) => x.displayName || short(x.name);
const SIGN = { OUTCOME_OK: "good", OUTCOME_WARNING: "warn", OUTCOME_FAILED: "bad" };

export function platform({ main, signal }) {
  const view = { targets: [], repositories: [], types: [] }, health = new Map();
  live({ main, signal }, () => h("h1", null, "Platform"), async () => {
    [view.targets, view.repositories, view.types] = await Promise.all(["targets", "repositories", "environmentTypes"].map((c) => all("/v1/" + c, c, signal)));
    await learn(signal, ...view.repositories.map((r) => r.name));
    const ask = (x, path) => get("/v1/" + x.name + path, signal).then((v) => health.set(x.name, v), (err) => { if (err.name === "AbortError") throw err; health.set(x.name, { problem: err.message }); });
    await Promise.all([...view.targets.map((t) => ask(t, "/status")), ...view.repositories.map((r) => ask(r, ":health"))]);
  }, () => [
    section("Clusters", view.targets, target, "tow target create production --kubeconfig ~/.kube/config"),
    section("Repositories", view.repositories, repository, "tow repo create deployments --url git@git.example.com:team/deployments.git"),
    section("Environment types", view.types, type, "tow type create staging --target default")], 5000);

  const section = (title, list, item, command) => h("section", { key: title, "aria-label": title }, h("h2", null, title), list.length ? list.map(item) : empty("None yet", code(command)));
  const card = (x, mark, command, ...rest) => h("article", { class: "card", key: x.name }, h("h3", null, name(x), " ", mark), rest, h("details", null, h("summary", null, "To change it"), code(...command)));

  function target(t) {
    const s = health.get(t.name) || {}, sum = (k) => (s.replicas || []).reduce((a, r) => a + Number(r[k]), 0);
    return card(t, h("span", { class: "chip " + (s.reachable ? "good" : s.problem ? "none" : "bad") }, s.reachable ? "answers" : s.problem ? "not known" : "away"),
      [`tow target update ${short(t.name)} --request-limit 50`, `tow target status ${short(t.name)}`],
      s.problem || s.message ? h("p", { class: "note" }, s.problem || s.message) : null,
      facts(fact("Applied by", word(t.engine, "ENGINE_").replace("unspecified", "native")), fact("Version", s.version || "-"), fact("Seen", when(s.seenTime)), fact("Since", when(s.changeTime)),
        fact("Environments", sum("environments")), fact("Objects watched", sum("objects")), fact("Kinds watched", sum("watches")), fact("Requests made", sum("requests")), fact("At most", t.requestLimit ? t.requestLimit + " requests a second each process" : "the default")),
      s.replicas?.length > 1 ? table("Processes that watch " + short(t.name), ["Process", "Environments", "Objects", "Requests"], s.replicas.map((r) => ({ key: r.replica, cells: [r.replica, r.environments, r.objects, r.requests] }))) : null);
  }

  function repository(r) {
    const s = health.get(r.name) || {}, branches = s.branches || [], box = h("div");
    const bad = branches.some((b) => ["STATE_UNREACHABLE", "STATE_REFUSED"].includes(b.health.state));
    const doctor = button("Check everything", () => busy(doctor, box, async () => {
      const d = await post(`/v1/${r.name}:diagnose`, {}, { timeout: 60000, signal });
      box.replaceChildren(h("p", null, d.healthy ? "A deployment gets through." : "A deployment would not get through."), h("ol", null, d.steps.map((x) => h("li", null, h("span", { class: "chip " + (SIGN[x.outcome] || "none") }, word(x.outcome, "OUTCOME_")), " ", h("strong", null, x.title), ": ", x.finding, x.remedy ? h("p", { class: "note" }, x.remedy) : null))));
    }), "asks");
    return card(r, h("span", { class: "chip " + (bad ? "bad" : branches.length ? "good" : "none") }, bad ? "does not take pushes" : branches.length ? "works" : "not used yet"),
      [`tow repo update ${short(r.name)} --branch main`, `tow repo doctor ${short(r.name)}`],
      s.problem ? h("p", { class: "note" }, s.problem) : null,
      facts(fact("Address", h("code", null, r.url || "-")), fact("Branch", r.branch), fact("Folder", h("code", null, r.pathTemplate)), fact("Written", word(r.writeMode, "WRITE_MODE_").replace("unspecified", "direct")),
        fact("When others change it", word(r.foreignPolicy, "FOREIGN_POLICY_").replace("unspecified", "overwrite")), fact("Pushes a minute", r.pushBudget || "no limit"), fact("Signed", r.signing ? "yes" : "no")),
      branches.length ? table("Branches of " + short(r.name), ["Branch", "State", "Waiting", "Last push", "Pull requests", "Changed by others"], branches.map((b) => ({ key: b.url + b.branch, cells: [
        [b.branch, " ", h("small", { class: "quiet" }, n(b.environments, "environment"))], [state(b.health.state, b.health.state === "STATE_REACHABLE" ? "good" : b.health.state === "STATE_UNSPECIFIED" ? "none" : "bad"), b.health.problem ? h("p", null, b.health.problem) : null],
        b.health.queued ? `${b.health.queued}, the oldest ${lasts(b.health.lag)}` : "nothing", [when(b.health.pushTime), b.health.pushTime ? ` in ${Math.round(seconds(b.health.pushDuration) * 1000)} ms` : ""], b.health.pullRequests, b.health.foreignChanges] }))) : null,
      may("manageRepositories", r.name) ? h("div", { key: "doctor", keep: true }, doctor, box) : null);
  }

  function type(t) {
    const id = short(t.name), rule = t.approvals?.required, d = t.defaults || {};
    const said = [
      ["Cluster", short(t.target)], ["Commits", t.automaticSync ? "are applied by themselves" : "wait for “Sync now”"], ["Drift", t.selfHeal ? "is put back by itself" : "is told; a person decides"],
      ["Approvals", rule ? `${n(rule, "person", "people")}${t.approvals.authorMayApprove ? ", its author too" : ", not its author"}` : "none"],
      ["Lives", t.defaultTtl ? lasts(t.defaultTtl) : "until somebody deletes it"], ["Repository", t.repository ? short(t.repository) : "the application's"],
      ["Replicas", d.replicas || 1], ["Pods", d.restricted ? "restricted" : "as they say"]];
    const more = Object.fromEntries(Object.entries(d).filter(([, v]) => v && (typeof v !== "object" || Object.keys(v).length)));
    return card(t, null, [`tow type update ${id} --approvals 1`, `tow type update ${id} --freeze "weekend=Fri 16:00 - Mon 08:00 Europe/Berlin"`, `tow type describe ${id}`],
      facts(said.map(([k, v]) => fact(k, v))),
      t.freezes.length ? [h("h4", null, "Freezes"), h("ul", { class: "summary" }, t.freezes.map((f) => h("li", null, `${f.id}: ${f.weekly || f.startTime + " - " + f.endTime} ${f.timeZone}, deployments ${f.hold === "HOLD_REFUSE" ? "are refused" : "wait"}${f.message ? ": " + f.message : ""}`)))] : null,
      t.guardrails.length ? [h("h4", null, "Guardrails"), h("ul", { class: "summary" }, t.guardrails.map((g) => h("li", null, h("strong", null, g.name), ` ${word(g.enforcement, "ENFORCEMENT_")}: ${g.message || g.expression}`)))] : null,
      Object.keys(more).length ? h("details", null, h("summary", null, "All defaults"), h("pre", { class: "value", tabindex: "0" }, value(more))) : null);
  }
}
