// Logs of a pod, as they are written. Only so much is kept as a person can read; nothing is stored.
import { query, sleep, stream } from "./api.js";
import { dialog, field, h, problem } from "./ui.js";

const KEEP = 2000, PIECE = 200; // lines that are kept, lines of one text node

export function logs(node, act) {
  const stop = new AbortController();
  const containers = node.pod.containers || [], main = containers.find((c) => !c.init);
  const out = h("div", { class: "log", tabindex: "0", role: "log", "aria-label": "Log", "aria-live": "off" }), say = h("div", { role: "status" });
  const which = h("select", { onchange: () => read() }, containers.map((c) => h("option", { value: c.name, selected: c === main }, c.name + (c.init ? " (runs first)" : ""))));
  const previous = h("input", { type: "checkbox", onchange: () => read() });
  const halt = h("button", { class: "asks", "aria-pressed": "false", onclick: () => (running ? end("Stopped.") : read()) }, "Stop");
  let running = null, partial, lines;

  const end = (text) => {
    running?.abort();
    running = null;
    halt.textContent = "Go on";
    say.replaceChildren(text);
  };

  // read begins anew, and goes on after a break from the time at which it broke off.
  async function read() {
    running?.abort();
    const mine = (running = new AbortController());
    halt.textContent = "Stop";
    out.replaceChildren();
    partial = new TextDecoder();
    lines = 0;
    say.replaceChildren("Reading…");
    for (let since; !mine.signal.aborted; await sleep(1000, mine.signal)) {
      try {
        const path = `/v1/${act.name}/objects:logs` + query({ pod: node.object.name, container: which.value, previous: previous.checked || null, follow: previous.checked ? null : true, tailLines: KEEP, sinceTime: since });
        for await (const m of stream(path, AbortSignal.any([mine.signal, stop.signal, act.signal]))) {
          if (mine.signal.aborted) return;
          say.replaceChildren(previous.checked ? "" : "Follows what is written.");
          add(partial.decode(Uint8Array.from(atob(m.text || ""), (c) => c.charCodeAt(0)), { stream: true }));
        }
        return end(lines ? "The log has ended." : "Nothing was written.");
      } catch (err) {
        if (mine.signal.aborted || stop.signal.aborted || act.signal.aborted) return;
        since = new Date().toISOString();
        if (err.status) return end(problem(err, err.reason === "LOGS_UNAVAILABLE" ? "The cluster keeps no log of this container: it has not started, is gone, or the cluster runs nothing really." : ""));
        say.replaceChildren("The server does not answer; it goes on by itself.");
      }
    }
  }

  // add appends whole pieces and forgets the oldest; it follows the end unless somebody has scrolled up.
  function add(text) {
    if (!text) return;
    const atEnd = out.scrollHeight - out.scrollTop - out.clientHeight < 40;
    const all = text.split("\n");
    for (let i = 0; i < all.length; i += PIECE) {
      const part = all.slice(i, i + PIECE), span = h("span", null, part.join("\n") + (i + PIECE < all.length ? "\n" : ""));
      span.lines = part.length;
      out.append(span);
      lines += part.length;
    }
    while (lines > KEEP && out.childElementCount > 1) {
      lines -= out.firstChild.lines;
      out.firstChild.remove();
    }
    if (atEnd) out.scrollTop = out.scrollHeight;
  }

  const closed = dialog("Logs of " + node.object.name, (close) => h("div", null,
    h("div", { class: "row" }, field("Container", which), h("p", null, h("label", null, previous, " Before it was started anew")), h("p", null, halt)),
    out, say, h("p", { class: "quiet" }, `The last ${KEEP} lines are kept here.`), h("div", { class: "actions" }, h("button", { class: "asks", onclick: () => close() }, "Close"))), true);
  closed.then(() => stop.abort());
  read();
  return closed;
}
