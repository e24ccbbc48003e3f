// The REST API: calls, errors, streams, and whether the server is there. The session is a cookie that this code cannot read.

// ApiError is an answer that says no: google.rpc.Status with its details taken apart.
export class ApiError extends Error {
  constructor(status, body, requestId) {
    super(body?.message || "the server answered " + status);
    const detail = (type) => (body?.details || []).find((d) => (d["@type"] || "").endsWith(type)) || {};
    const info = detail("google.rpc.ErrorInfo");
    this.name = "ApiError";
    this.status = status;
    this.reason = info.reason || "";
    this.meta = info.metadata || {};
    this.violations = detail("google.rpc.BadRequest").fieldViolations || [];
    this.requestId = this.meta.request_id || requestId || "";
    this.title = TITLES[this.reason] || TITLES[status];
    this.hint = HINTS[this.reason] || HINTS[status];
  }
}

const TITLES = {
  401: "You are not signed in", 403: "You may not do this", 404: "It is not there", 409: "Somebody was faster",
  503: "Something that is needed does not answer", PLAN_MOVED: "The plan no longer holds", LOST: "The server does not answer",
};
const HINTS = {
  403: "Ask an administrator for a token with a higher role.",
  409: "Look at how it is now, then try again.",
  500: "The server's log has it under the request id.",
  503: "It is tried again when you do it again; see the server's log for why.",
  ETAG_MISMATCH: "It has changed since this page read it. Look again, then retry.",
  PLAN_MOVED: "Something changed since the plan was made. Plan again and look at the new one.",
  FINDING_GONE: "It is gone already; nothing is left to do.",
  LOST: "Check that towpathd runs. This page goes on by itself when it is back.",
};

// --- whether the server is there ---

export const link = { lost: false, since: 0 };
const listeners = new Set();
export const onLink = (f) => listeners.add(f);
let probe;

function setLost(lost) {
  if (link.lost === lost) return;
  link.lost = lost;
  link.since = Date.now();
  clearInterval(probe);
  if (lost) probe = setInterval(() => call("GET", "/v1/whoami").catch(() => {}), 2000);
  for (const f of listeners) f(lost);
}

let onSignedOut = () => {};
export const whenSignedOut = (f) => { onSignedOut = f; };

// --- calls ---

async function send(method, path, { body, signal, timeout = 20000 } = {}) {
  const limits = [signal, timeout && AbortSignal.timeout(timeout)].filter(Boolean);
  const init = { method, signal: limits.length ? AbortSignal.any(limits) : null, headers: { "X-Towpath-Origin": "portal" }, credentials: "same-origin", redirect: "error" };
  if (body !== undefined) {
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, init);
  } catch (err) {
    if (signal?.aborted) throw new DOMException("the page was left", "AbortError");
    setLost(true);
    throw new ApiError(0, { message: err.name === "TimeoutError" ? "no answer within " + timeout / 1000 + " seconds" : "no connection", details: [{ "@type": "google.rpc.ErrorInfo", reason: "LOST" }] });
  }
  // A proxy that has lost its server answers for it, but not in JSON.
  const json = (response.headers.get("Content-Type") || "").includes("json");
  setLost(!json && [502, 503, 504].includes(response.status));
  if (response.ok) return response;
  const problem = json ? await response.json().catch(() => null) : null;
  if (response.status === 401 && path !== "/session") onSignedOut();
  throw new ApiError(response.status, problem?.error || problem, response.headers.get("X-Request-Id"));
}

// call gives the answer's JSON, null when it has none.
export async function call(method, path, options) {
  const response = await send(method, path, options);
  const text = await response.text().catch((err) => {
    if (options?.signal?.aborted) throw new DOMException("the page was left", "AbortError");
    throw err;
  });
  return text ? JSON.parse(text) : null;
}
export const get = (path, signal) => call("GET", path, { signal });
export const post = (path, body, options) => call("POST", path, { body, ...options });

// query makes "?a=b" of what is set.
export function query(params) {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) if (v !== undefined && v !== null && v !== "") q.set(k, v);
  return q.size ? "?" + q : "";
}

// stream gives the messages of a newline-delimited JSON stream, and ends with it. Leaving the loop closes it. A body makes it a POST.
export async function* stream(path, signal, body) {
  const stop = new AbortController();
  const response = await send(body ? "POST" : "GET", path, { body, signal: AbortSignal.any([signal, stop.signal]), timeout: 0 });
  try {
    for await (const line of lines(response.body)) {
      const message = JSON.parse(line);
      if (message.error) throw new ApiError(message.error.http_code || 500, message.error);
      yield message.result;
    }
  } catch (err) {
    if (err instanceof ApiError) throw err;
    if (signal.aborted) throw new DOMException("the page was left", "AbortError");
    throw new ApiError(0, { message: "the stream broke off" });
  } finally {
    stop.abort();
  }
}

export async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const line of parts) if (line.trim()) yield line;
  }
  if (rest.trim()) yield rest;
}

// follow keeps a stream open: path() is asked again after each break, on message is called for each.
export async function follow(path, signal, on, onState) {
  for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, 5000)) {
    try {
      for await (const message of stream(path(), signal)) {
        wait = 500;
        on(message);
      }
    } catch (err) {
      if (err.name === "AbortError") return;
      onState?.(err);
      if (err.status >= 400 && err.status < 500) return;
    }
    await sleep(wait, signal);
  }
}

export function sleep(ms, signal) {
  return new Promise((resolve) => {
    const t = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => { clearTimeout(t); resolve(); }, { once: true });
  });
}

// poll calls work now and then every so many ms until the signal, not while the page is hidden. The function it gives runs it at once.
export function poll(ms, signal, work) {
  let wake = () => {}, due = false;
  const again = () => { due = true; wake(); };
  document.addEventListener("visibilitychange", again, { signal });
  listeners.add(again);
  signal.addEventListener("abort", () => { listeners.delete(again); wake(); });
  (async () => {
    while (!signal.aborted) {
      due = false;
      if (!document.hidden) await work().catch((err) => { if (err.name !== "AbortError") console.warn(err.message); });
      if (!due) await new Promise((resolve) => {
        const t = setTimeout(resolve, ms);
        wake = () => { clearTimeout(t); resolve(); };
      });
    }
  })();
  return again;
}

// all reads every page of a list.
export async function all(path, field, signal, params = {}) {
  const out = [];
  let pageToken = "";
  do {
    const page = await get(path + query({ ...params, pageSize: 1000, pageToken }), signal);
    out.push(...(page[field] || []));
    pageToken = page.nextPageToken;
  } while (pageToken);
  return out;
}

// mirror keeps rows, a Map by name, as a list that can be watched is on the server: reads the list's pages, then follows its watch
// from where the first page began. A watch that does not hold is taken up again where it ended; after a few that broke off at once,
// as behind a proxy that does not stream, the list is read every five seconds. on(names, error, done) is called after each change,
// with null for names when all may have changed; done tells whether the whole list is there. state may be kept by the page for the
// next time: {token} tells where to go on with the rows of then. Nothing is asked while the page is hidden.
export async function mirror({ at, field, item, params, first = 1000 }, rows, state, signal, on) {
  for (let broken = 0; !signal.aborted;) {
    const began = Date.now();
    try {
      if (!state.token) await readPages();
      else on(null, null, true);
      await follow();
      if (Date.now() - began > 5000) broken = 0;
    } catch (err) {
      if (signal.aborted) return;
      if (err.name === "AbortError") continue; // hidden, or the server is back
      if (err.status >= 400 && err.status < 500) state.token = ""; // the log does not reach back so far: all anew
      if (err.status !== 0 || !rows.size) on(null, err, state.token !== "");
    }
    if (++broken > 2) state.token = "";
    await sleep(Math.min(250 * 2 ** broken, 5000), signal);
  }

  async function readPages() {
    const seen = new Set();
    let token = "", pageToken = "";
    do {
      const path = at + query({ ...params, pageSize: pageToken ? 1000 : first, pageToken });
      const page = await (!pageToken && state.early || get(path, signal));
      state.early = null;
      token ||= page.resumeToken;
      for (const row of page[field] || []) { rows.set(row.name, row); seen.add(row.name); }
      pageToken = page.nextPageToken;
      if (pageToken) on(null, null, false);
    } while (pageToken);
    for (const name of [...rows.keys()]) if (!seen.has(name)) rows.delete(name);
    state.token = token;
    on(null, null, true);
  }

  async function follow() {
    while (document.hidden && !signal.aborted) await sleep(500, signal);
    const stop = new AbortController();
    const hide = () => document.hidden && stop.abort();
    const back = (lost) => lost || stop.abort(); // what was open before the server was lost may never say a word again
    document.addEventListener("visibilitychange", hide, { signal: stop.signal });
    listeners.add(back);
    // A connection that is dead, but not closed, is only found by asking.
    const beat = setInterval(() => get("/v1/whoami", stop.signal).catch(() => {}), 8000);
    try {
      for await (const m of stream(at + ":watch" + query({ ...params, resumeToken: state.token }), AbortSignal.any([signal, stop.signal]))) {
        const { name } = m[item];
        if (m.removed) rows.delete(name);
        else rows.set(name, m[item]);
        state.token = m.resumeToken;
        on([name], null, true);
      }
    } finally {
      clearInterval(beat);
      listeners.delete(back);
      stop.abort();
    }
  }
}

// newRequestID is an idempotency key. crypto.randomUUID is not there over plain HTTP.
export function newRequestID() {
  return "portal-" + [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}
