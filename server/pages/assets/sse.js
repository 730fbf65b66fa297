// Server-sent events over fetch. The browser's own EventSource cannot send a key, and
// does not say why it failed.

import { headers, Problem } from "./api.js";

// silence is how long a stream may say nothing at all, heartbeats included (ms).
const silence = 45_000;

// events yields {event, data, id} until the stream ends, first of all one called "open".
// It throws if the stream breaks off, or if nothing comes for too long.
export async function* events(path, { signal, lastID } = {}) {
  const end = new AbortController();
  const stop = () => end.abort();
  signal?.addEventListener("abort", stop);
  let watch = setTimeout(stop, silence);
  try {
    const more = lastID ? { "Last-Event-ID": lastID } : {};
    const response = await fetch(path, { signal: end.signal, cache: "no-store", headers: headers({ Accept: "text/event-stream", ...more }) });
    if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
    yield { event: "open" };
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const lines = new Lines();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(watch);
      watch = setTimeout(stop, silence);
      yield* lines.push(value);
    }
  } finally {
    clearTimeout(watch);
    signal?.removeEventListener("abort", stop);
    end.abort(); // also when the consumer breaks out of its loop
  }
}

// Lines puts events together from pieces of text.
export class Lines {
  rest = "";
  next = { event: "message", data: [] };
  id = "";

  *push(text) {
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (this.next.data.length) yield { event: this.next.event, data: this.next.data.join("\n"), id: this.id };
        this.next = { event: "message", data: [] };
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "event") this.next.event = value;
      else if (field === "data") this.next.data.push(value);
      else if (field === "id") this.id = value;
    }
  }
}
