// The panel beside the map once seats are held: countdown, payment, tickets. The payment
// is a stand-in for a real one, and can succeed, fail, or come too late.

import { clock, count, h, put, say, show, $ } from "./dom.js";
import { post, Problem } from "./api.js";

const bankTime = 1200; // ms that the stand-in takes
const lateBy = 1500; // ms after the deadline at which a late payment arrives
const warnings = [120, 60, 30, 10]; // seconds to go that are read aloud

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

// A Checkout owns the panel's views "hold" and "done". done() is called when the buyer is
// to choose again, with a notice and the labels of the seats that he had.
export class Checkout {
  constructor(panel, hold, store, { rules, notice, again, offer, pass }) {
    Object.assign(this, { panel, hold, store, rules, notice, again, offer, pass, busy: false });
    $("pay").addEventListener("click", () => this.do(() => this.pay()));
    $("extend").addEventListener("click", () => this.do(() => this.extend()));
    $("release").addEventListener("click", () => this.do(() => this.release()));
    $("more").addEventListener("click", () => this.again("", []));
    $("finish").addEventListener("click", () => this.finish().catch((e) => this.notice(e.message)));
    setInterval(() => this.tick(), 250);
  }

  // begin shows a hold that has just been made, or was there when the page came back.
  async begin(returned) {
    if (returned) {
      let s;
      try {
        s = await this.hold.look();
      } catch (e) {
        if (!(e instanceof Problem)) throw e;
        this.hold.drop();
        return this.again(e.message, []);
      }
      const { seats, step, outcome } = this.hold.now;
      if (step === "paying" && outcome === "fail") this.hold.change({ step: "declined" });
      else if (s.state === "booked" || ((step === "paying" || step === "late") && s.state !== "released")) {
        this.view();
        return this.do(() => this.settle());
      }
      if (s.state !== "held" && s.state !== "paying") {
        this.hold.drop();
        return this.again("Your time ran out, so the seats are on sale again.", seats);
      }
    }
    this.view();
    say(`${count(this.hold.now.seats.length, "seat")} held for you. You have ${clock(this.hold.now.deadline - Date.now())} minutes to pay.`);
    $("hold-title").focus();
  }

  view() {
    const { seats, nth, step } = this.hold.now;
    put($("held"), seats.map((s) => h("li", { class: "chip" }, s)));
    $("extend").hidden = nth >= this.rules().extensions || step !== "held";
    this.warned = Infinity;
    this.tick();
    show(this.panel, "hold");
  }

  // do lets one step at a time go on, and says what went wrong.
  async do(step) {
    if (this.busy) return;
    this.busy = true;
    for (const b of this.panel.querySelectorAll("[data-view=hold] button")) b.disabled = true;
    try {
      await step();
    } catch (e) {
      this.notice(e.message);
    } finally {
      this.busy = false;
      for (const b of this.panel.querySelectorAll("[data-view=hold] button")) b.disabled = false;
    }
  }

  // progress says what is going on while the buyer waits.
  progress(text) {
    put($("progress"), text);
  }

  waiting = () => this.progress("The connection is bad. Trying again by itself; nothing is lost.");

  tick() {
    const now = this.hold.now;
    if (!now || !now.id || this.panel.querySelector("[data-view=hold]").hidden) return;
    const left = now.deadline - Date.now(), s = Math.ceil(left / 1000);
    put($("countdown"), clock(left));
    $("left").value = Math.max(0, left / now.whole);
    $("countdown").classList.toggle("soon", left < 60_000);
    const passed = warnings.filter((w) => s <= w && w < this.warned);
    if (passed.length && s > 0) {
      this.warned = passed.at(-1);
      say(`${s} seconds left to pay`);
    }
    if (left < 0 && !this.busy) this.do(() => this.over());
  }

  // over asks the server, which decides; the browser's clock is only a guess.
  async over() {
    const { seats } = this.hold.now;
    const s = await this.hold.look();
    if (s.state === "held" || s.state === "paying") return;
    if (s.state === "booked") return this.settle();
    this.hold.drop();
    this.again("Your time ran out, so the seats are on sale again.", seats);
  }

  async extend() {
    await this.hold.extend();
    this.view();
    say("You have more time.");
  }

  async release() {
    await this.hold.release(this.waiting);
    this.again("", []);
    say("The seats were given back.");
  }

  async pay() {
    const outcome = this.panel.querySelector("input[name=outcome]:checked").value;
    this.notice("");
    if (outcome === "late") {
      this.hold.change({ step: "late" });
      return this.settle();
    }
    this.progress("Stopping the clock…");
    await this.hold.pay(outcome, this.waiting);
    this.view();
    this.progress("The bank is being asked…");
    await wait(bankTime);
    if (outcome === "fail") {
      this.hold.change({ step: "declined" });
      this.progress("");
      this.view();
      this.notice("The payment was declined. Your seats stay yours while you try again.");
      return;
    }
    await this.settle();
  }

  // settle books what is paid for, however late, and tells what came of it.
  async settle() {
    const { seats, deadline, step } = this.hold.now;
    if (step === "late") {
      this.progress("The bank takes its time. Your payment will come after the hold has run out.");
      await wait(deadline + lateBy - Date.now());
    }
    this.progress("Booking…");
    try {
      const b = await this.hold.confirm(this.waiting);
      this.tickets(b.reacquired ? "Your payment came late, but your seats were still free: they are yours." : "");
    } catch (e) {
      if (!(e instanceof Problem)) throw e;
      this.hold.drop();
      const gone = e.seats?.length ? `Gone: ${e.seats.join(", ")}. ` : "";
      this.again(e.code === "lost"
        ? `Your payment came after your time had run out, and somebody else has your seats. ${gone}You get your money back.`
        : e.message, []);
      if (e.code === "lost") this.offer(seats.length);
    } finally {
      this.progress("");
    }
  }

  tickets(why = "") {
    const all = this.store.get("tickets") ?? [];
    this.notice("");
    put($("done-why"), why);
    put($("tickets"), all.map((t) => h("li", { class: "ticket" },
      h("ul", { class: "chips" }, t.seats.map((s) => h("li", { class: "chip" }, s))),
      h("small", {}, "Booking ", h("code", {}, t.id)))));
    $("finish").hidden = !this.pass();
    show(this.panel, "done");
    say(`Booked. ${why} Your tickets: ${all.flatMap((t) => t.seats).join(", ")}`);
    $("done-title").focus();
  }

  // finish gives the pass back, so that the next may come in.
  async finish() {
    await post(`${this.hold.path}/queue/leave`, { pass: this.pass().token });
    this.store.set({ pass: null, ticket: null });
    $("finish").hidden = true;
    say("Thank you. Somebody else can come in now.");
  }
}
