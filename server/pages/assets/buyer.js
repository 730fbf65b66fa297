// The buyer's page of an event: waiting room, map, payment, tickets. This module decides
// which of them is to be seen; the others do the work.

import { eventPath, get, Problem } from "./api.js";
import { Checkout } from "./checkout.js";
import { clock, h, put, say, show, $ } from "./dom.js";
import { Hold } from "./hold.js";
import { askKey } from "./login.js";
import { Places } from "./places.js";
import { followQueue } from "./queue.js";
import { Room } from "./room.js";
import { Seating } from "./seating.js";
import { follow, Seats } from "./seats.js";
import { Store } from "./store.js";

const rulesEvery = 30_000; // ms

class Buyer {
  constructor(name) {
    this.name = name;
    this.path = eventPath(name);
    this.store = new Store(name);
    this.main = $("main");
    this.end = new AbortController();
  }

  async start() {
    this.manifest = await get(`${this.path}/manifest`, { patience: Infinity, waiting: (p) => this.status(p.message) });
    this.status("");
    this.places = new Places(this.manifest);
    this.rules = this.manifest.rules;
    this.title = this.manifest.name || this.manifest.key;
    put($("event"), this.title);
    document.title = this.title;
    this.room = new Room(this.path, this.store, { entered: () => this.inside(), drawPage: `${location.pathname}/draw` });
    this.room.title = this.title;
    setInterval(() => this.passTime(), 1000);
    followQueue(`${this.path}/queue`, {
      signal: this.end.signal,
      frame: (f) => this.onFrame(f),
      lost: (is) => this.room.lost(is),
    }).catch(fail);
  }

  status(text) { put($("status"), text); }

  // onFrame decides between the room and the seats. Who has a hold or tickets sees them,
  // whatever the room says.
  onFrame(frame) {
    const before = this.roomOn;
    this.roomOn = frame.state !== "off";
    if (!this.roomOn) return this.seating ? undefined : this.inside();
    this.room.show(frame);
    if (this.seating && (before === undefined || this.roomOn === before)) return;
    if (this.hasPass() || this.store.get("hold") || this.store.get("asking")) this.inside();
    else this.outside();
  }

  hasPass() {
    const pass = this.store.get("pass");
    return pass && pass.until > Date.now();
  }

  outside(why = "") {
    if (this.store.get("pass")) this.store.set({ pass: null, ticket: null }); // one ticket, one pass
    if (show(this.main, "room")) $("room-title").focus();
    this.room.trouble(why);
    this.room.draw();
  }

  // inside shows the map, which is made the first time.
  async inside() {
    document.title = this.title;
    show(this.main, "seats");
    if (!this.seating) await this.open();
    this.passTime();
    if (this.store.get("hold")) return this.checkout.begin(true);
    if (this.checkout.hold.asked()) return this.want(null);
    if (this.store.get("tickets")?.length && !this.shown) this.checkout.tickets();
    else this.choose();
    this.shown = true;
  }

  async open() {
    const seats = new Seats(this.places.words);
    const mine = { // the ids that are held or bought here, for the map
      has: (id) => this.mineIDs.has(id), [Symbol.iterator]: () => this.mineIDs[Symbol.iterator](),
    };
    this.mineIDs = new Set();
    this.seating = new Seating(this.places, seats, {
      want: (wish) => this.want(wish), mine,
      most: () => Math.min(this.rules.seats_per_hold, this.hasPass() ? this.store.get("pass").seats || 64 : 64),
    });
    this.checkout = new Checkout($("panel"), new Hold(this.path, this.store), this.store, {
      rules: () => this.rules,
      notice: (text) => this.notice(text),
      again: (text, labels) => this.choose(text, labels),
      pass: () => (this.roomOn && this.hasPass() ? this.store.get("pass") : null),
      offer: (n) => this.offer(`Shall we look for the best ${n} that are left?`, "Find seats", this.seating.best(n)),
    });
    follow(this.path, seats, { signal: this.end.signal, status: (text) => this.status(text) }).catch(fail);
    seats.watch(() => this.markMine());
    this.readRules();
    setInterval(() => this.readRules(), rulesEvery);
  }

  async readRules() {
    const e = await get(this.path, { patience: 0 }).catch(() => null);
    if (!e) return;
    this.rules = e.rules;
    const words = { before: "The sale has not begun.", closed: "The sale is over." };
    put($("sale"), words[e.sale] ?? "");
    $("sale").hidden = !words[e.sale];
  }

  markMine() {
    const labels = [...(this.store.get("hold")?.seats ?? []), ...(this.store.get("tickets") ?? []).flatMap((t) => t.seats)];
    const name = labels.join();
    if (name === this.marked) return;
    this.marked = name;
    this.mineIDs.clear();
    for (const label of labels) this.mineIDs.add(this.places.find(label));
    this.seating.map.redraw();
  }

  notice(text) {
    put($("notice"), text);
    $("notice").hidden = text === "";
    this.offer("");
  }

  // offer proposes something to hold instead of what was lost.
  offer(text, verb, wish) {
    put($("offer"), text && h("p", {}, text), text && h("button", { type: "button", onclick: () => this.want(wish) }, verb));
    $("offer").hidden = !text;
  }

  choose(why = "", labels = []) {
    if (this.roomOn && !this.hasPass()) return this.outside(why);
    this.notice(why);
    this.markMine();
    if (labels.length) this.seating.choose(labels);
    if (show($("panel"), "choose")) $("choose-title").focus();
    if (why) say(why);
  }

  // want asks for a hold, or repeats what was asked before a reload.
  async want(wish) {
    if (this.wanting) return;
    this.wanting = true;
    $("choose").setAttribute("aria-busy", "true");
    this.notice("");
    const waiting = () => this.notice("The connection is bad. Trying again by itself.");
    try {
      const { hold } = this.checkout;
      await (wish ? hold.ask(wish, waiting) : hold.repeat(waiting));
      this.seating.clear();
      this.markMine();
      this.seating.map.reveal(this.places.find(hold.now.seats[0]));
      this.notice("");
      await this.checkout.begin(false);
    } catch (e) {
      if (!(e instanceof Problem)) throw e;
      this.refused(e);
    } finally {
      this.wanting = false;
      $("choose").removeAttribute("aria-busy");
    }
  }

  // refused tells why a hold was not granted, and what there is instead.
  refused(e) {
    if (e.status === 401) return fail(e);
    if (["pass_required", "pass_ended", "bad_ticket"].includes(e.code)) {
      return this.outside("Your time inside is over. Join the queue again to go on.");
    }
    const seats = e.seats?.join(", ");
    const words = {
      taken: `${seats} ${e.seats?.length === 1 ? "was" : "were"} taken a moment ago.`,
      orphan: `This would leave ${seats} alone between taken seats. Please choose so that no single seat is left.`,
      not_enough: "There are not so many such seats left. Ask for fewer, or for seats that need not be together.",
    };
    this.choose(words[e.code] ?? e.message);
    say(words[e.code] ?? e.message);
    if (e.alternative?.length) {
      this.offer(`The best instead: ${e.alternative.join(", ")}.`, `Take ${e.alternative.length === 1 ? "it" : "these"}`, { seats: e.alternative, alternative: true });
    }
  }

  // passTime shows how long the buyer may stay, and ends it.
  passTime() {
    const pass = this.store.get("pass");
    if (!this.roomOn || !pass || !this.seating) return put($("pass"), "");
    const left = pass.until - Date.now();
    put($("pass"), left > 0 ? `Inside for ${clock(left)}` : "");
    if (left <= 0 && !this.store.get("hold") && !$("choose").hidden) this.outside("Your time inside is over. Join the queue again to go on.");
  }
}

function fail(e) {
  if (e.status === 401 || e.status === 403) return askKey(e.message);
  if (!$("event").textContent) put($("event"), globalThis.usher.name);
  put($("gone-title"), e.code === "unknown_event" ? "There is no such event" : "This does not work");
  put($("gone-text"), e.message);
  show($("main"), "gone");
}

// The page's state is there for the console, and for the tests of this page.
globalThis.usher = new Buyer(decodeURIComponent(location.pathname.split("/")[2]));
globalThis.usher.start().catch(fail);
