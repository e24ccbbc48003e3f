// Git: the commits of an environment's folder, what one of them changed, and the files as they were.
import { get, query } from "./api.js";
import { busy, empty, envHref, envID, exact, h, problem, render, short, when, word } from "./ui.js";
import { diff } from "./plan.js";

const PAGE = 25;
const trailer = (c, key) => c.trailers?.[key] || "";
const by = (c) => short(trailer(c, "Towpath-Actor")) || (c.author || "").replace(/ <.*/, "") || "-";
const small = (id) => h("code", { title: id }, id.slice(0, 8));

// git shows what the address asks for: ?commit=, ?commit=&files=1, ?commit=&file=, or the list.
export function git({ main, signal, name, params }) {
  const here = envHref(name) + "/git";
  const commit = params.query.get("commit") || "";
  const file = params.query.get("file") || "";
  const at = (more) => here + query({ commit, ...more });
  const frame = (title, tools, ...rest) => signal.aborted || render(main,
    h("div", { class: "head" }, h("h1", null, h("a", { href: envHref(name) }, envID(name)), " " + title), h("div", { class: "tools" }, tools)), ...rest);
  const link = (href, text) => h("a", { class: "button", href }, text);
  const back = () => link(here, "All commits");

  const pages = { log, commit: one, files, file: content };
  const title = { log: "in Git", commit: "commit " + commit.slice(0, 8), files: "files", file }[which()];
  frame(title, null, h("p", { class: "quiet" }, "Reading…"));
  pages[which()]().catch((err) => err.name === "AbortError" || frame(title, which() === "log" ? null : back(), problem(err)));

  function which() {
    return file ? "file" : params.query.get("files") ? "files" : commit ? "commit" : "log";
  }

  async function log() {
    const commits = [];
    let older = "";
    const more = async () => {
      const list = await get(`/v1/${name}/commits` + query({ pageSize: PAGE, pageToken: older }), signal);
      commits.push(...(list.commits || []));
      older = list.nextPageToken || "";
      draw();
    };
    const draw = () => frame(title, [link(here + "?files=1", "Files"), link(envHref(name) + "/history", "History")],
      commits.length ? table() : older ? null : empty("Nothing is in Git yet", h("p", null, "The first deployment makes the first commit.")),
      older ? h("p", null, h("button", { type: "button", class: "asks", key: "older", onclick: (e) => busy(e.target, null, more) }, "Older")) : null);
    const table = () => h("div", { class: "scroll" }, h("table", { class: "cards" },
      h("caption", { class: "sr" }, "Commits"),
      h("thead", null, h("tr", null, ["Commit", "When", "Deployment", "By", "Message"].map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", null, commits.map((c) => h("tr", { key: c.id },
        h("th", { scope: "row" }, h("a", { href: here + query({ commit: c.id }) }, small(c.id))),
        h("td", { "data-label": "When" }, when(c.time)),
        h("td", { "data-label": "Deployment" }, deployment(c)),
        h("td", { "data-label": "By" }, by(c)),
        h("td", { "data-label": "Message" }, c.subject || "-"))))));
    await more();
  }

  // deployment links to what made a commit; nothing did where a person committed it.
  function deployment(c) {
    const made = trailer(c, "Towpath-Deployment");
    return made ? h("a", { href: envHref(made) + "/history" }, "#" + short(made)) : h("span", { class: "quiet" }, "none");
  }

  async function one() {
    const c = await get(`/v1/${name}/commits/${encodeURIComponent(commit)}`, signal);
    const fact = (title, ...value) => h("div", null, h("dt", null, title), h("dd", null, ...value));
    const changed = c.changes?.files || [];
    const total = Number(c.changes?.total || 0);
    frame(title, [link(at({ files: 1 }), "Files at this commit"), back()],
      h("dl", { class: "facts" },
        fact("Commit", h("code", null, c.id)), fact("Deployment", deployment(c)), fact("By", by(c)), fact("Author", c.author || "-"), fact("When", exact(c.time)),
        c.signature ? fact("Signed", c.signature) : null),
      c.message ? h("pre", { class: "value", tabindex: "0" }, c.message.trim()) : null,
      h("h2", null, !c.changes ? "What it changed is not known: the Git host does not give the commit before it" : total ? `Changes ${total} file${total === 1 ? "" : "s"} of this environment` : "Changes nothing of this environment"),
      changed.map((f) => h("details", { open: changed.length <= 5, key: f.path }, h("summary", null, h("code", null, f.path), " ", h("span", { class: "quiet" }, word(f.action, "ACTION_"))),
        f.diffOmitted ? h("p", { class: "quiet" }, "No text, or too much to show.") : diff(f.diff || ""),
        f.action === "ACTION_DELETE" ? null : h("p", null, h("a", { href: at({ file: f.path }) }, "The file at this commit")))),
      total > changed.length ? h("p", { class: "quiet" }, `${total - changed.length} more: clone the repository to see them`) : null);
  }

  async function files() {
    const tree = await get(`/v1/${name}/tree` + query({ commit, namesOnly: true }), signal);
    const list = tree.files || [];
    frame(title, [commit ? link(at({}), "This commit") : null, back()],
      h("p", { class: "quiet" }, commit ? ["As they were at commit ", small(commit)] : "As they are now"),
      list.length ? h("ul", { class: "files" }, list.map((f) => h("li", { key: f.path }, h("a", { href: here + query({ commit: commit || tree.commit, file: f.path }) }, f.path)))) : empty("There are no files"));
  }

  async function content() {
    const found = await get(`/v1/${name}/file` + query({ commit, path: file }), signal);
    const bytes = Uint8Array.from(atob(found.file?.content || ""), (b) => b.charCodeAt(0));
    const binary = bytes.includes(0);
    frame(title, [link(at({ files: 1 }), "Files"), commit ? link(at({}), "This commit") : null, back()],
      h("p", { class: "quiet" }, "As it was at commit ", small(found.commit)),
      binary ? empty("This is no text") : h("pre", { class: "code", tabindex: "0" }, new TextDecoder().decode(bytes)));
  }
}
