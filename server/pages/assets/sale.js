// One event: its sale curve, its waiting room, and what can be done to them.

import { call, eventPath, get, post } from "./api.js";
import { act, ask } from "./ask.js";
import { Chart } from "./charts.js";
import { h, number, put, $ } from "./dom.js";

const pages = 20; // of the list of events that are read
const listEvery = 10; // seconds

// A Sale shows the event that is chosen. tick() is called every second.
export class Sale {
  constructor() {
    this.sale = new Chart("sale", [{ name: "booked", colour: "#1b1b1f" }, { name: "held", colour: "#b4530a" }, { name: "free", colour: "#2b7a34", dash: [6, 4] }]);
    this.queue = new Chart("queue", [{ name: "waiting", colour: "#0f62b0" }, { name: "inside", colour: "#8f2a78" }]);
    this.ticks = 0;
    $("event-choice").addEventListener("change", () => this.choose($("event-choice").value));
    $("move").addEventListener("click", () => act(() => this.move()));
    $("room").addEventListener("submit", (e) => {
      e.preventDefault();
      act(() => this.change());
    });
    for (const step of ["pause", "resume", "drain"]) $(`room-${step}`).addEventListener("click", () => act(() => this.order(step)));
  }

  async tick(view) {
    if (this.ticks++ % listEvery === 0) await this.list();
    this.shards(view);
    if (!this.name) return;
    const name = this.name;
    const [event, room] = await Promise.all([
      get(eventPath(name), { patience: 0 }),
      get(`${eventPath(name)}/queue`, { patience: 0 }).catch((e) => (e.status === 404 ? null : Promise.reject(e))),
    ]);
    if (name !== this.name) return; // another was chosen meanwhile
    this.show(event, room && room.state !== "off" ? room : null, view);
  }

  async list() {
    const names = [];
    for (let after = "", n = 0; n < pages; n++) {
      const list = await get(`/v1/events?limit=1000${after && `&after=${encodeURIComponent(after)}`}`, { patience: 0 });
      names.push(...list.events);
      if (!(after = list.next)) break;
    }
    this.events = new Map(names.map((e) => [e.key, e]));
    const choice = $("event-choice"), key = names.map((e) => e.key).join("\n");
    $("no-events").hidden = names.length > 0;
    choice.hidden = names.length === 0;
    $("event-box").hidden = names.length === 0;
    if (key === this.listed) return;
    this.listed = key;
    put(choice, names.map((e) => h("option", { value: e.key }, e.key)));
    if (names.length && !this.events.has(this.name)) this.choose(names[0].key);
    choice.value = this.name ?? "";
  }

  choose(name) {
    this.name = name;
    this.edited = false;
    this.sale.clear();
    this.queue.clear();
  }

  shards(view) {
    const all = view.groups.filter((g) => g.group !== 0).map((g) => g.group), text = all.join();
    if (text === this.known) return;
    this.known = text;
    put($("move-to"), all.map((n) => h("option", {}, String(n))));
  }

  show(event, room, view) {
    const { counts } = event;
    const moving = view.moving.find((m) => m.event === this.name);
    this.sale.add(counts.booked, counts.held, counts.free);
    const tiles = [["Sale", event.sale], ["Shard", moving ? `${moving.from} → ${moving.to}` : String(this.events.get(this.name)?.shard ?? "–")],
      ["Booked", number(counts.booked)], ["Held", number(counts.held)], ["Free", number(counts.free)]];
    $("room").hidden = $("queue-figure").hidden = !room;
    if (room) {
      const waiting = Math.max(0, room.issued - room.serving);
      this.queue.add(waiting, room.inside);
      tiles.push(["Room", room.state.replaceAll("_", " ")], ["Waiting", number(waiting)], ["Inside", `${number(room.inside)} of ${number(room.limit)}`],
        ["Let in a second", `${room.measured_per_s.toFixed(1)} of ${room.rate_per_s}`]);
      if (!$("room").contains(document.activeElement)) {
        $("room-rate").value = room.rate_per_s;
        $("room-limit").value = room.limit;
      }
      $("room-pause").hidden = room.state === "paused";
      $("room-resume").hidden = !["paused", "draining", "closed"].includes(room.state);
    }
    put($("event-tiles"), tiles.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  }

  async move() {
    const name = this.name, shard = Number($("move-to").value);
    if (!await ask(`Move ${name} to shard ${shard}?`, ["The event is copied while it is on sale. Buyers notice a few milliseconds; no hold or booking is lost."], "Move")) return "";
    await post(`/admin/events/${encodeURIComponent(name)}/move`, { shard });
    this.ticks = 0;
    return `${name} moves to shard ${shard}.`;
  }

  async change() {
    const name = this.name, rate = Number($("room-rate").value), limit = Number($("room-limit").value);
    await call("PUT", `${eventPath(name)}/queue`, { body: { rate_per_s: rate, limit } });
    return `${name} lets in ${rate} a second, and at most ${number(limit)} are inside.`;
  }

  async order(step) {
    const name = this.name;
    if (step === "drain" && !await ask(`Drain the room of ${name}?`, ["Nobody can join any more. Those who wait are still let in, in their order."], "Drain", { danger: true })) return "";
    await post(`${eventPath(name)}/queue/${step}`, {});
    return { pause: `Nobody is let in to ${name} until you resume.`, resume: `${name} lets people in again.`, drain: `The room of ${name} is being drained.` }[step];
  }
}
