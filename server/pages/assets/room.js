// The waiting room: the buyer's place, wait and chance, until he is let in.

import { fresh, post, Problem } from "./api.js";
import { clock, count, duration, h, number, put, say, $ } from "./dom.js";
import { Draw, entropyOf, unhex } from "./draw.js";
import { chance } from "./queue.js";

const milestones = [10_000, 1000, 500, 100, 50, 20, 10, 5, 1]; // places that are read aloud

const over = ["no_room", "lapsed", "pass_ended", "left", "bad_ticket"]; // codes that end a ticket

const time = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

// A Room owns the view "room". The store has "ticket" ({ticket, kind, number}), "joining"
// while one is asked for, and "pass" once there is one. entered() is called then.
export class Room {
  frame = null;

  constructor(path, store, { entered, drawPage }) {
    Object.assign(this, { path, store, entered, drawPage });
    $("join").addEventListener("click", () => this.do(() => this.join()));
    $("enter").addEventListener("click", () => this.do(() => this.enter()));
    $("leave").addEventListener("click", () => this.do(() => this.leave()));
    setInterval(() => this.frame && this.draw(), 1000);
  }

  async do(step) {
    if (this.busy) return;
    this.busy = true;
    this.trouble("");
    try {
      await step();
    } catch (e) {
      this.trouble(e.message);
    } finally {
      this.busy = false;
      this.draw();
    }
  }

  trouble(text) {
    put($("room-trouble"), text);
    $("room-trouble").hidden = text === "";
  }

  waiting = () => this.trouble("The connection is bad. Trying again by itself; your place is kept.");

  // show takes a new frame.
  show(frame) {
    this.frame = frame;
    this.seen = Date.now();
    this.draw();
  }

  lost(is) {
    const text = is ? "Connection lost. Your place is kept; trying again." : "";
    put($("room-lost"), text);
    $("room-lost").hidden = !is;
  }

  async join() {
    if (!this.store.get("joining")) this.store.set({ joining: fresh() });
    try {
      const t = await post(`${this.path}/queue`, {}, { idem: this.store.get("joining"), waiting: this.waiting });
      this.store.set({ joining: null, ticket: t });
      this.called = null;
    } catch (e) {
      if (e instanceof Problem && e.status >= 400 && e.status < 500) this.store.set({ joining: null });
      throw e;
    }
    this.trouble("");
    say(this.store.get("ticket").kind === "entry" ? "You are in the draw." : "You are in the queue.");
  }

  async enter() {
    const { ticket } = this.store.get("ticket");
    const sent = Date.now();
    try {
      const p = await post(`${this.path}/queue/pass`, { ticket }, { waiting: this.waiting });
      this.store.set({ pass: { token: p.pass, until: sent + p.expires_in_ms, seats: p.seats } });
    } catch (e) {
      if (e instanceof Problem && over.includes(e.code)) this.forget();
      throw e;
    }
    this.trouble("");
    this.entered();
  }

  async leave() {
    const { ticket } = this.store.get("ticket");
    this.forget();
    await post(`${this.path}/queue/leave`, { ticket }).catch((e) => {
      if (!(e instanceof Problem)) throw e; // a place that is gone needs no leaving
    });
    say("You have left the queue.");
  }

  forget() {
    this.store.set({ ticket: null });
    this.called = null;
    this.began = 0;
  }

  // look asks how the ticket stands, once it may have been called: how long its grace
  // is, whether it has passed, or whether this visitor has been let in before.
  async look() {
    if (this.looking) return;
    this.looking = true;
    const { ticket } = this.store.get("ticket");
    try {
      const sent = Date.now();
      const p = await post(`${this.path}/queue/place`, { ticket }, { waiting: this.waiting });
      if (p.state === "called") this.called = { until: sent + p.expires_in_ms };
      else if (p.state === "inside") await this.enter();
      else if (p.state !== "waiting") this.gone();
    } catch (e) {
      if (e instanceof Problem && (over.includes(e.code) || e.status === 422)) this.gone();
      else this.trouble(e.message);
    } finally {
      this.looking = false;
    }
  }

  gone() {
    this.forget();
    this.trouble("Your place is no longer good: its turn has gone by, or the queue has been made anew. Join again for a new one.");
  }

  // number is the ticket's queue number: undefined before the draw.
  number() {
    const t = this.store.get("ticket");
    if (!t) return undefined;
    if (t.kind !== "entry") return t.number;
    if (t.queue === undefined && this.frame.draw?.seed && !this.drawing && crypto.subtle) {
      this.drawing = true;
      const { seed, room, count } = this.frame.draw;
      Draw.of({ seed: unhex(seed), entropy: entropyOf(this.frame.draw), room, count })
        .then((d) => d.number(t.number))
        .then((queue) => this.store.set({ ticket: { ...t, queue } }))
        .catch((e) => this.trouble(`The draw cannot be computed: ${e.message}.`))
        .finally(() => this.draw());
    }
    return t.queue;
  }

  draw() {
    if (!this.frame) return;
    const f = this.frame, t = this.store.get("ticket"), n = this.number();
    const ahead = n === undefined ? undefined : n - f.serving;
    const turn = ahead !== undefined && ahead < 0 && !["sold_out", "closed"].includes(f.state);
    if (turn && !(this.called?.until > Date.now())) this.look();
    const called = turn && this.called;
    const [title, text] = called ? yourTurn(this.called.until) : headline(f, t);
    put($("room-title"), title);
    put($("room-text"), text);
    $("join").hidden = Boolean(t) || ["sold_out", "draining", "closed"].includes(f.state);
    put($("join"), f.entries_open ? "Enter the draw" : "Join the queue");
    $("enter").hidden = !called;
    $("leave").hidden = !t || f.state === "sold_out";
    $("room-draw").hidden = !f.draw;
    $("room-draw").href = this.drawPage + (t?.kind === "entry" ? `#${t.number}` : "");
    document.title = called ? `Your turn · ${this.title}` : this.title;
    this.facts(f, t, n, called ? undefined : ahead);
    this.read(ahead, called);
  }

  facts(f, t, n, ahead) {
    const list = [];
    if (t?.kind === "entry" && n === undefined) list.push(["Your entry", number(t.number)]);
    if (n !== undefined) list.push(["Your number", number(n)]);
    if (ahead !== undefined && ahead >= 0) {
      list.push(["Ahead of you", number(ahead)]);
      if (f.ms_per_visitor > 0 && f.state === "open") list.push(["Your wait", duration(ahead * f.ms_per_visitor)]);
      list.push(["Chance of a seat", chance(f, ahead)]);
    }
    if (f.state === "before") list.push(["Entries so far", number(f.entries)]);
    if (!t && f.state !== "before" && f.issued > f.serving) list.push(["Waiting now", number(f.issued - f.serving)]);
    list.push(["Seats left", number(f.free)]);
    put($("room-facts"), list.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    const p = $("room-progress");
    p.hidden = ahead === undefined || ahead < 0;
    if (!p.hidden) {
      this.began = Math.max(this.began ?? 0, ahead);
      p.value = 1 - ahead / Math.max(1, this.began);
    }
  }

  // read has the place read aloud now and then, not at every step.
  read(ahead, called) {
    const mark = called ? -1 : milestones.findLast((m) => ahead <= m);
    if (mark === undefined || mark === this.marked) return;
    this.marked = mark;
    if (called) {
      say("It is your turn. Come in now.");
      $("enter").focus();
    } else say(`${count(ahead, "person", "people")} ahead of you.`);
  }
}

function yourTurn(until) {
  const left = until - Date.now();
  return ["It is your turn", left > 0 ? `Come in within ${clock(left)}, or your place goes to the next.` : "Come in now."];
}

// headline says where the room stands: a title and a sentence.
function headline(f, t) {
  const opens = f.opens_at ? Date.parse(f.opens_at) : 0;
  switch (f.state) {
    case "before": {
      const until = opens - Date.now();
      const when = opens ? `The sale opens at ${time(opens)}${until > 0 ? `, in ${until < 3_600_000 ? clock(until) : duration(until)}` : ""}.` : "The sale opens soon.";
      if (t?.kind === "entry") return ["You are in the draw", `${when} Everybody who entered has the same chance: numbers are drawn, not raced for.`];
      if (t) return ["You are in the queue", `${when} Entries were closed when you came, so you are behind those who are in the draw.`];
      return ["The sale has not begun", `${when} ` + (f.entries_open ? "Enter the draw: it does not matter who is first." : "Entries are closed; you can still join behind those who are in the draw.")];
    }
    case "drawing": return ["The draw is being made", "Entries are closed. Everybody gets a number in a moment."];
    case "paused": return ["A short pause", "Nobody is let in at the moment. Your place is kept."];
    case "waiting": return ["Waiting for returns", "All seats are held or sold. When one comes back, the queue goes on; your place is kept."];
    case "sold_out": return ["Sold out", "Every seat has been sold."];
    case "draining": return t ? ["The last are let in", "Nobody new can join, but your place is kept."] : ["The queue is closed", "Nobody new can join."];
    case "closed": return ["The queue is closed", "The sale is over."];
  }
  return t ? ["You are in the queue", "Keep this page open. If it closes, come back: your place is kept."]
    : ["There is a queue", "Join it, and you are let in when it is your turn."];
}
