// The state of every seat of an event, and how it follows the server.

import { pause, Problem, request } from "./api.js";
import { events } from "./sse.js";

export const free = 0, held = 1, booked = 2, blocked = 3;
export const stateNames = ["free", "held by somebody", "sold", "not for sale"];
const pollEvery = 1000; // ms, where streams do not get through

// Seats has a byte per seat id. watch(f) has f called after every change, with the ids
// that changed, or with nothing if it may be all of them.
export class Seats {
  version = "";

  constructor(words) {
    this.state = new Uint8Array(64 * words).fill(blocked);
    this.watchers = [];
  }

  watch(f) { this.watchers.push(f); }

  // load reads a whole map: for each 64 seats two little-endian words, first the low bits
  // and then the high bits of their states.
  load(planes, version) {
    const view = new DataView(planes.buffer, planes.byteOffset, planes.byteLength);
    const changed = [];
    for (let word = 0; word * 16 < planes.byteLength; word++) {
      for (let half = 0; half < 2; half++) {
        const low = view.getUint32(word * 16 + half * 4, true);
        const high = view.getUint32(word * 16 + 8 + half * 4, true);
        const first = word * 64 + half * 32;
        for (let bit = 0; bit < 32; bit++) {
          const s = ((low >>> bit) & 1) | (((high >>> bit) & 1) << 1);
          if (this.state[first + bit] === s) continue;
          this.state[first + bit] = s;
          changed.push(first + bit);
        }
      }
    }
    this.version = version;
    this.tell(changed);
  }

  // change applies a delta: ids by their new states.
  change(delta) {
    const changed = [];
    [delta.free, delta.held, delta.booked, delta.blocked].forEach((ids, s) => {
      for (const id of ids ?? []) {
        this.state[id] = s;
        changed.push(id);
      }
    });
    this.version = delta.version;
    this.tell(changed);
  }

  tell(changed) {
    for (const f of this.watchers) f(changed);
  }

  // counts has how many of some ids are in which state.
  counts(run) {
    const n = [0, 0, 0, 0];
    for (let id = run.first; id < run.first + run.count; id++) n[this.state[id]]++;
    return n;
  }
}

// follow keeps seats as the server has them until the signal says stop. It begins with a
// whole map, goes on by the stream of changes, and begins again where that cannot be
// resumed. status(text) tells what a person should know: "" if all is well.
export async function follow(path, seats, { signal, status }) {
  for (let failures = 0; !signal.aborted; ) {
    try {
      if (seats.version === "") await fetchMap(path, seats, signal);
      for await (const e of events(`${path}/stream?since=${seats.version}`, { signal })) {
        failures = 0;
        status("");
        if (e.event === "deleted") throw new Problem(404, { code: "unknown_event", detail: "The event has been taken off." });
        if (e.event === "map") { // at the beginning, or after a resync
          const { version, planes } = JSON.parse(e.data);
          seats.load(Uint8Array.from(atob(planes), (c) => c.charCodeAt(0)), version);
        } else if (e.event === "delta") seats.change(JSON.parse(e.data));
      }
    } catch (e) {
      if (signal.aborted) return;
      if (e instanceof Problem && [404, 406, 501].includes(e.status)) {
        if (e.code === "unknown_event") throw e;
        return poll(path, seats, { signal, status });
      }
      if (failures++ > 0) status("Connection lost. The map is as it was; trying again.");
    }
    await pause(failures, signal).catch(() => {});
  }
}

async function fetchMap(path, seats, signal) {
  const response = await request("GET", `${path}/seats`, { signal, accept: "application/octet-stream", patience: Infinity });
  seats.load(new Uint8Array(await response.arrayBuffer()), response.headers.get("Usher-Version"));
}

// poll asks for the whole map once a second. Unchanged ones cost an empty answer.
async function poll(path, seats, { signal, status }) {
  while (!signal.aborted) {
    await fetchMap(path, seats, signal).then(() => status(""), (e) => signal.aborted || status(e.message));
    await new Promise((done) => setTimeout(done, pollEvery));
  }
}
