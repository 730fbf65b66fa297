// The life of a hold, from asking to booked or lost. Each step is written down before it
// is sent, and sent again with the same id until it is decided: a browser that is closed
// in the middle goes on where it was.

import { fresh, get, post, Problem } from "./api.js";

// repeatable is how long a request may be repeated: a little less than the server
// remembers it (ms).
const repeatable = 240_000;

// buyer names this browser to the server, which keeps only a hash of it.
function buyer() {
  const name = "usher.buyer";
  let id = localStorage.getItem(name);
  if (!id) localStorage.setItem(name, (id = fresh()));
  return id;
}

// A Hold works on what the store has under "hold": {id, fence, seats, deadline, step}.
// step is held, paying, declined or late; deadline is this browser's time (ms).
export class Hold {
  constructor(path, store) {
    Object.assign(this, { path, store });
  }

  get now() { return this.store.get("hold"); }

  change(fields) { this.store.set({ hold: { ...this.now, ...fields } }); }

  drop() { this.store.set({ hold: null }); }

  // ask makes a hold: wish is {seats, alternative}, {best} or {area, count}.
  async ask(wish, waiting) {
    const pass = this.store.get("pass")?.token;
    const body = { ...wish, buyer: buyer(), ...(pass ? { pass } : {}) };
    this.store.set({ asking: { idem: fresh(), body, since: Date.now() } });
    return this.repeat(waiting);
  }

  // asked tells whether a request is still open, and forgets one that is too old: sent
  // again it would be a new one, which nobody waits for any more.
  asked() {
    const asking = this.store.get("asking");
    if (asking && Date.now() - asking.since > repeatable) this.store.set({ asking: null });
    return Boolean(this.store.get("asking"));
  }

  // repeat sends what is written down, after a reload too.
  async repeat(waiting) {
    const { idem, body } = this.store.get("asking");
    const sent = Date.now(); // the server never takes a hold away before its time from here
    try {
      const g = await post(`${this.path}/holds`, body, { idem, waiting });
      const hold = { id: g.id, fence: g.fence, seats: g.seats, deadline: sent + g.expires_in_ms, whole: g.expires_in_ms, step: "held", nth: 0 };
      this.store.set({ asking: null, hold });
      return hold;
    } catch (e) {
      if (e instanceof Problem && e.status >= 400 && e.status < 500) this.store.set({ asking: null });
      throw e;
    }
  }

  url(step = "") { return `${this.path}/holds/${this.now.id}${step}`; }

  // look asks the server how the hold stands: its state by name.
  async look() {
    const sent = Date.now();
    const s = await get(this.url());
    if (s.expires_in_ms !== undefined) this.change({ deadline: sent + s.expires_in_ms });
    if (s.state === "held" || s.state === "paying") this.change({ seats: s.held });
    return s;
  }

  async extend() {
    const nth = this.now.nth + 1, sent = Date.now();
    const g = await post(this.url("/extend"), { fence: this.now.fence, nth });
    this.change({ nth, deadline: sent + g.expires_in_ms, whole: g.expires_in_ms });
  }

  // pay stops the clock. outcome is what the stand-in for a bank will say.
  async pay(outcome, waiting) {
    const sent = Date.now();
    const g = await post(this.url("/pay"), { fence: this.now.fence }, { waiting });
    this.change({ step: "paying", outcome, deadline: sent + g.expires_in_ms, whole: g.expires_in_ms });
  }

  // confirm books the seats. After a payment it goes on trying until there is an answer.
  async confirm(waiting) {
    const { id, fence } = this.now;
    const b = await post(this.url("/confirm"), { fence }, { waiting, patience: Infinity });
    const tickets = (this.store.get("tickets") ?? []).filter((t) => t.id !== id);
    this.store.set({ hold: null, tickets: [...tickets, { id, seats: b.seats }] });
    return b;
  }

  async release(waiting) {
    await post(this.url("/release"), { fence: this.now.fence }, { waiting });
    this.drop();
  }
}
