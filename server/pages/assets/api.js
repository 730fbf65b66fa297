// Calls of the HTTP API. Whatever may be repeated is repeated, with growing pauses:
// every call that makes something has an Idempotency-Key, so a repeat gets the first
// answer.

const keyName = "usher.key";
const leastPause = 250; // ms
const mostPause = 5000;

// A Problem is an answer that says what is wrong. code is stable, detail is for people.
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `The server answered ${status}.`);
    Object.assign(this, body, { status, code: body.code ?? "unreadable" });
  }
}

// An API key, if the node wants one, lives as long as the tab.
export const key = {
  get: () => sessionStorage.getItem(keyName) ?? "",
  set: (k) => (k ? sessionStorage.setItem(keyName, k) : sessionStorage.removeItem(keyName)),
};

export function headers(more = {}) {
  return key.get() ? { Authorization: `Bearer ${key.get()}`, ...more } : more;
}

// fresh is a new Idempotency-Key.
export function fresh() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

// pause waits for the nth repeat: twice as long each time, and not in step with others.
export function pause(n, signal, least = 0) {
  const ms = Math.max(least, Math.min(mostPause, leastPause * 2 ** n) * (0.5 + Math.random() / 2));
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(t);
      reject(signal.reason);
    };
    const t = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

// passing tells problems that go away by themselves from decisions.
const passing = (status) => status >= 500 || status === 408 || status === 429;

// request makes a call and gives the response, or throws the Problem. It repeats what
// failed on the way until it is decided, for as long as patience says (ms).
export async function request(method, path, { body, idem, signal, accept, patience = 60_000, waiting } = {}) {
  const began = performance.now();
  const init = { method, signal, cache: "no-cache", headers: headers() };
  if (accept) init.headers.Accept = accept;
  if (idem) init.headers["Idempotency-Key"] = idem;
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers["Content-Type"] = "application/json";
  }
  for (let n = 0; ; n++) {
    let problem, least = 0;
    try {
      const response = await fetch(path, init);
      if (response.ok) return response;
      problem = new Problem(response.status, await response.json().catch(() => ({})));
      if (!passing(response.status)) throw problem;
      least = 1000 * Number(response.headers.get("Retry-After") ?? 0);
    } catch (e) {
      if (signal?.aborted || (e instanceof Problem && !passing(e.status))) throw e;
      problem ??= new Problem(0, { code: "offline", detail: "The server cannot be reached. Trying again." });
    }
    if (performance.now() - began > patience) throw problem;
    waiting?.(problem);
    await pause(n, signal, Math.min(least, 2000));
  }
}

// call is request for JSON; an answer without content is null.
export async function call(method, path, options = {}) {
  const response = await request(method, path, { accept: "application/json", ...options });
  return response.status === 204 ? null : response.json();
}

export const get = (path, options) => call("GET", path, options);
export const post = (path, body = {}, options = {}) => call("POST", path, { body, ...options });

// eventPath is the API's path of an event.
export const eventPath = (name) => `/v1/events/${encodeURIComponent(name)}`;
