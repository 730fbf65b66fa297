// The map with its panel: choosing seats, by hand or the best ones.

import { categoryColour } from "./colours.js";
import { Cursor, help, short } from "./cursor.js";
import { count, h, number, put, say, $ } from "./dom.js";
import { gestures } from "./gestures.js";
import { Plan } from "./layout.js";
import { MapView } from "./map.js";
import { orphansLeft } from "./orphan.js";
import { free, stateNames } from "./seats.js";

// A Seating owns the map and the panel's view "choose". want(wish) is called with what
// the buyer asks for; most() is how many seats he may hold.
export class Seating {
  constructor(places, seats, { want, most, mine }) {
    Object.assign(this, { places, seats, want, most });
    this.chosen = new Set();
    this.plan = new Plan(places);
    this.cursor = new Cursor(places, this.plan, seats);
    this.focused = false;
    this.map = new MapView($("map"), places, this.plan, seats, {
      chosen: this.chosen, mine, cursor: () => (this.focused ? this.cursor.id : -1),
    });
    this.listen();
    this.legend();
    this.fill();
    seats.watch(() => this.changed());
    this.changed();
    this.list();
  }

  listen() {
    const box = $("map-box");
    put($("map-help"), help);
    gestures($("map"), this.map, (x, y) => this.tap(x, y));
    box.addEventListener("keydown", (e) => this.key(e));
    box.addEventListener("focus", () => {
      this.focused = box.matches(":focus-visible");
      this.map.redraw();
    });
    box.addEventListener("blur", () => {
      this.focused = false;
      this.map.redraw();
    });
    $("zoom-in").addEventListener("click", () => this.map.zoom(1.6));
    $("zoom-out").addEventListener("click", () => this.map.zoom(1 / 1.6));
    $("zoom-fit").addEventListener("click", () => this.map.fit());
    $("best").addEventListener("submit", (e) => {
      e.preventDefault();
      this.want(this.best());
    });
    $("hold").addEventListener("click", () => this.want({ seats: this.sorted().map((id) => this.places.label(id)), alternative: true }));
    $("clear").addEventListener("click", () => this.clear());
  }

  best(n = Number($("best-count").value)) {
    const best = { count: n, together: !$("best-split").checked };
    if ($("best-category").value) best.category = $("best-category").value;
    if ($("best-section").value) best.section = $("best-section").value;
    return { best };
  }

  legend() {
    this.left = [];
    put($("legend"), this.places.categories.map((name, i) => {
      const swatch = h("span", { class: "swatch" });
      swatch.style.background = categoryColour(i);
      this.left.push(h("span", { class: "count" }));
      return h("li", {}, swatch, name, this.left[i]);
    }));
  }

  // fill makes the forms' lists of what there is.
  fill() {
    for (const name of this.places.categories) $("best-category").append(h("option", {}, name));
    for (const s of this.places.sections) $("best-section").append(h("option", {}, s.name));
    $("best-where").hidden = this.places.sections.length < 2;
    $("best").hidden = this.places.rows.length === 0;
    this.areas = this.places.areas.map((a) => {
      const left = h("span", { class: "count" });
      const n = h("input", { type: "number", min: 1, max: 64, value: 1, inputmode: "numeric", "aria-label": `Places in ${a.name}` });
      const button = h("button", { type: "submit" }, "Hold");
      const form = h("form", { class: "area", onsubmit: (e) => {
        e.preventDefault();
        this.want({ area: a.name, count: Number(n.value) });
      } }, h("span", { class: "area-name" }, a.name, " ", left), n, button);
      return { area: a, left, button, input: n, form };
    });
    put($("areas"), this.areas.map((a) => a.form));
    $("areas-box").hidden = this.areas.length === 0;
  }

  tap(x, y) {
    const hit = this.map.hit(x, y);
    if (hit?.near) return this.map.zoom(24 / this.map.scale, x, y);
    if (hit?.area) return this.areas.find((a) => a.area === hit.area).input.focus();
    if (hit) {
      this.cursor.id = hit.id;
      this.toggle(hit.id);
    }
  }

  key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const zooms = { "+": () => this.map.zoom(1.6), "=": () => this.map.zoom(1.6), "-": () => this.map.zoom(1 / 1.6), 0: () => this.map.fit() };
    if (e.key === "Enter" || e.key === " ") {
      if (this.cursor.id >= 0) this.toggle(this.cursor.id);
    } else if (Object.hasOwn(zooms, e.key)) zooms[e.key]();
    else if (this.cursor.key(e.key)) {
      this.map.reveal(this.cursor.id);
      say(this.spoken(this.cursor.id));
    } else return;
    this.focused = true;
    e.preventDefault();
  }

  // spoken is a seat for the ear: its section only where that is new.
  spoken(id) {
    const row = this.places.run(id);
    const where = row.sectionName === this.lastSection ? short(row, id) : this.places.spoken(id);
    this.lastSection = row.sectionName;
    const state = this.chosen.has(id) ? "chosen" : stateNames[this.seats.state[id]];
    return `${where}, ${this.places.categories[this.places.category(id)]}, ${state}`;
  }

  toggle(id) {
    const name = this.places.spoken(id);
    if (this.chosen.has(id)) {
      this.chosen.delete(id);
      say(`${name} is no longer chosen. ${count(this.chosen.size, "seat")} chosen.`);
    } else if (this.seats.state[id] !== free) {
      say(`${name} is ${stateNames[this.seats.state[id]]}.`);
      return;
    } else if (this.chosen.size >= this.most()) {
      this.hint(`You can hold ${count(this.most(), "seat")} at a time.`);
      say(`You can hold ${count(this.most(), "seat")} at a time.`);
      return;
    } else {
      this.chosen.add(id);
      say(`${name} chosen. ${count(this.chosen.size, "seat")} chosen.`);
    }
    this.list();
    this.map.redraw();
  }

  clear() {
    this.chosen.clear();
    this.list();
    this.map.redraw();
  }

  // choose takes those of some labels that are free.
  choose(labels) {
    this.chosen.clear();
    for (const label of labels) {
      const id = this.places.find(label);
      if (id >= 0 && this.seats.state[id] === free && this.places.run(id).section !== undefined) this.chosen.add(id);
    }
    this.list();
    this.map.redraw();
  }

  hint(text) {
    put($("hint"), text);
    $("hint").hidden = text === "";
  }

  sorted() { return [...this.chosen].sort((a, b) => a - b); }

  // list shows what is chosen, and warns of seats that would be left alone.
  list() {
    const ids = this.sorted();
    put($("chosen"), ids.map((id) => h("li", { class: "chip" }, this.places.label(id), h("button", {
      type: "button", class: "remove", "aria-label": `Remove ${this.places.label(id)}`, onclick: () => this.toggle(id),
    }, "×"))));
    $("hold").disabled = ids.length === 0;
    put($("hold"), ids.length ? `Hold ${count(ids.length, "seat")}` : "Hold seats");
    $("clear").hidden = ids.length === 0;
    $("chosen-none").hidden = ids.length > 0;
    const left = orphansLeft(this.places, (id) => this.seats.state[id] === free, ids).map((id) => this.places.label(id));
    this.hint(left.length === 0 ? "" : left.length === 1
      ? `This leaves ${left[0]} alone between taken seats. Could you move one along?`
      : `This leaves ${left.join(" and ")} alone between taken seats. Could you move along?`);
  }

  // changed follows the server: what is no longer free is no longer chosen.
  changed() {
    const lost = [...this.chosen].filter((id) => this.seats.state[id] !== free);
    for (const id of lost) this.chosen.delete(id);
    if (lost.length && !$("choose").hidden) {
      say(`${lost.map((id) => this.places.label(id)).join(", ")} was taken by somebody else.`);
      this.list();
    }
    if (this.seats.version === "") return; // the map is still on its way
    this.counting ??= setTimeout(() => {
      this.counting = undefined;
      this.counted = true;
      this.count();
    }, this.counted ? 200 : 0);
  }

  // count puts the numbers of free places into the legend and the areas.
  count() {
    const by = new Array(this.places.categories.length).fill(0);
    for (const run of this.places.runs) {
      for (let i = 0; i < run.count; i++) if (this.seats.state[run.first + i] === free) by[run.kinds ? run.kinds[i] : run.category]++;
    }
    by.forEach((n, i) => put(this.left[i], n ? number(n) : "none"));
    for (const a of this.areas) {
      const n = this.seats.counts(a.area)[free];
      put(a.left, n ? `${number(n)} left` : "none left");
      a.button.disabled = n === 0;
    }
  }
}
