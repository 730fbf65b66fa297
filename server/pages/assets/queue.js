// Follows an event's waiting room. Everybody gets the same frame, so it comes the
// cheapest way that works: a WebSocket, else a stream, else by asking.

import { get, key, pause, Problem } from "./api.js";
import { events } from "./sse.js";

const pollEvery = 2000; // ms
const silence = 300_000; // ms without a message, after which a socket is opened anew: pings are not seen here
const tries = 2; // failures in a row before the next way is tried

// followQueue calls frame(f) with every frame until the signal says stop, and lost(true)
// while nothing comes.
export async function followQueue(path, { signal, frame, lost }) {
  const ways = [stream, poll];
  if (!key.get()) ways.unshift(socket); // a browser cannot send a key with a WebSocket
  const seen = (f) => {
    failures = 0;
    lost(false);
    try {
      frame(f);
    } catch (e) {
      reportError(e); // a fault of the page is no fault of the connection
    }
  };
  let way = 0, failures = 0;
  while (!signal.aborted) {
    try {
      await ways[way](path, seen, signal);
    } catch (e) {
      if (signal.aborted) return;
      if (e instanceof Problem && (e.status === 401 || e.code === "unknown_event")) throw e;
    }
    if (++failures > 1) lost(true);
    if (failures >= tries) {
      // The last way says what is wrong if it is the room; if it is the network, the
      // first is as good as any.
      way = (way + 1) % ways.length;
    }
    await pause(Math.min(failures, 4), signal).catch(() => {});
  }
}

// take hands on a frame, and ends if there will be none any more.
function take({ event, data }, seen) {
  if (event === "queue") seen(data);
  if (event === "deleted") throw new Problem(404, { code: "unknown_event", detail: "The event has been taken off." });
}

// socket ends when the connection does.
function socket(path, seen, signal) {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(new URL(`${path}/ws`, location.href.replace(/^http/, "ws")));
    const close = () => ws.close();
    let watch = setTimeout(close, silence);
    signal.addEventListener("abort", close);
    ws.onmessage = (m) => {
      clearTimeout(watch);
      watch = setTimeout(close, silence);
      try {
        take(JSON.parse(m.data), seen);
      } catch (e) {
        reject(e);
        close();
      }
    };
    ws.onclose = () => {
      clearTimeout(watch);
      signal.removeEventListener("abort", close);
      resolve();
    };
  });
}

async function stream(path, seen, signal) {
  for await (const e of events(`${path}/stream`, { signal })) if (e.data) take({ event: e.event, data: JSON.parse(e.data) }, seen);
}

// poll asks until asking fails.
async function poll(path, seen, signal) {
  for (let n = 0; !signal.aborted; n++) {
    seen(await get(path, { signal, patience: 0 }));
    // Streams are better: try again after a while.
    if (n > 30) return;
    await new Promise((done) => setTimeout(done, pollEvery));
  }
}

// chance is how likely who has so many before him gets a seat, in words, from what the
// frame says of those who have come so far.
export function chance(frame, ahead) {
  const show = frame.show_rate ?? 1, each = frame.seats_per_visitor || 2;
  const wanted = ((ahead + 1) * show + frame.inside) * each;
  const share = frame.free / Math.max(1, wanted);
  if (frame.free === 0) return frame.held > 0 ? "only if seats come back" : "none";
  if (share >= 1.25) return "very good";
  if (share >= 0.9) return "good";
  if (share >= 0.5) return "fair";
  return "small";
}
