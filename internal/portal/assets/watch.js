// Lists that a stream keeps up to date. It is resumed where it broke off, and begun anew where the server no longer knows that place. It
// is closed while nobody looks: over plain HTTP a browser has six connections to a server, for all of its tabs together.
import { query, sleep, stream } from "./api.js";

// watch calls on.begin before a listing, on.item for each message, on.caughtUp at the listing's end, and on.state with whether it is open.
export async function watch(path, signal, on) {
  let token = "", wait = 500;
  while (!signal.aborted) {
    await shown(signal);
    const hidden = new AbortController();
    const hide = () => document.hidden && hidden.abort();
    document.addEventListener("visibilitychange", hide);
    try {
      if (!token) on.begin?.();
      for await (const m of stream(path + query({ resumeToken: token }), AbortSignal.any([signal, hidden.signal]))) {
        wait = 500;
        on.state(true);
        token = m.resumeToken || token;
        m.caughtUp ? on.caughtUp?.() : on.item(m);
      }
    } catch (err) {
      // What was asked is wrong or gone, the place in the log for one: only from the beginning can it go on.
      if (err.status >= 400 && err.status < 500) token = "";
    }
    document.removeEventListener("visibilitychange", hide);
    on.state(false);
    if (!document.hidden) await sleep(wait, signal);
    wait = Math.min(wait * 2, 8000);
  }
}

// shown waits until somebody looks.
async function shown(signal) {
  while (document.hidden && !signal.aborted) {
    await new Promise((resolve) => {
      document.addEventListener("visibilitychange", resolve, { once: true, signal });
      signal.addEventListener("abort", resolve, { once: true });
    });
  }
}
