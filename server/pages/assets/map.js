// Draws the seat map on a canvas. Far away every seat is a few pixels of an image, which
// costs the same for 50,000 as for none; near by the visible ones are drawn as seats.

import { accent, blockedColour, bookedColour, categoryColour, ground, heldColour, ink, mix, packed } from "./colours.js";
import { number } from "./dom.js";
import { seatLabel } from "./places.js";
import { blocked, booked, free, held } from "./seats.js";

const nearBy = 16; // device pixels of a seat from which it is drawn as one
const readable = 21; // CSS pixels of a seat from which its number is shown
const pickable = 11; // CSS pixels of a seat from which a tap means it
const most = 44; // CSS pixels of a seat, the closest look
const font = "system-ui, sans-serif";

export class MapView {
  // chosen is a Set of seat ids; cursor() is the id that the keyboard is at, or -1.
  constructor(canvas, places, plan, seats, { chosen, mine, cursor }) {
    Object.assign(this, { canvas, places, plan, seats, chosen, mine, cursor });
    this.context = canvas.getContext("2d", { alpha: false });
    this.scale = 0; // CSS pixels of a unit
    this.sprites = new Map();
    this.colours = places.categories.map((_, i) => categoryColour(i));
    this.pixels = this.colours.map((c) => [c, heldColour, bookedColour, blockedColour].map(packed));
    [this.inkPixel, this.heldPixel, this.groundPixel] = [ink, heldColour, ground].map(packed);
    new ResizeObserver(() => this.resize()).observe(canvas);
    seats.watch(() => this.redraw());
  }

  resize() {
    const box = this.canvas.getBoundingClientRect();
    if (box.width === 0) return;
    const middle = this.scale && this.toPlan(this.w / 2, this.h / 2);
    this.ratio = Math.min(3, devicePixelRatio || 1);
    [this.w, this.h] = [box.width, box.height];
    this.canvas.width = Math.round(this.w * this.ratio);
    this.canvas.height = Math.round(this.h * this.ratio);
    this.image = null;
    if (middle && this.scale > this.fitting()) this.centre(middle.x, middle.y, this.scale);
    else this.fit();
  }

  fitting() { return Math.min(this.w / (this.plan.width + 3), this.h / (this.plan.height + 3), most); }

  fit() { this.centre(0, this.plan.height / 2, this.fitting()); }

  centre(x, y, scale = this.scale) {
    this.scale = Math.min(most, Math.max(this.fitting(), scale));
    this.x = this.w / 2 - x * this.scale;
    this.y = this.h / 2 - y * this.scale;
    this.moved();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.moved();
  }

  // zoom changes the scale around a point of the canvas.
  zoom(factor, px = this.w / 2, py = this.h / 2) {
    const p = this.toPlan(px, py);
    this.scale = Math.min(most, Math.max(this.fitting(), this.scale * factor));
    this.x = px - p.x * this.scale;
    this.y = py - p.y * this.scale;
    this.moved();
  }

  // moved keeps the plan in sight and draws.
  moved() {
    const within = (at, low, high, size) => {
      const [first, last] = [size * 0.5 - high * this.scale, size * 0.5 - low * this.scale];
      return Math.min(last, Math.max(first, at));
    };
    this.x = within(this.x, -this.plan.width / 2, this.plan.width / 2, this.w);
    this.y = within(this.y, 0, this.plan.height, this.h);
    this.redraw();
  }

  toPlan(px, py) { return { x: (px - this.x) / this.scale, y: (py - this.y) / this.scale }; }

  // reveal brings a seat into sight, near enough to see it.
  reveal(id) {
    const row = this.places.run(id);
    if (!row || row.section === undefined || !this.scale) return;
    const p = this.plan.at(row, id - row.first);
    const [px, py] = [p.x * this.scale + this.x, p.y * this.scale + this.y];
    const edge = 40;
    if (this.scale < pickable) this.centre(p.x, p.y, 24);
    else if (px < edge || py < edge || px > this.w - edge || py > this.h - edge) this.centre(p.x, p.y);
    else this.redraw();
  }

  // hit is what a tap at a point of the canvas means: {id}, {area}, {near: point} if seats
  // are too small to tell which, or nothing.
  hit(px, py) {
    const p = this.toPlan(px, py);
    const found = this.plan.hit(p.x, p.y);
    if (!found || found.area) return found;
    if (this.scale < pickable) return { near: p };
    return { id: found.row.first + found.i };
  }

  redraw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      if (this.scale) this.draw();
    });
  }

  draw() {
    const c = this.context;
    const size = this.scale * this.ratio; // device pixels of a unit
    c.setTransform(1, 0, 0, 1, 0, 0);
    if (size < nearBy) this.drawFar(size);
    else this.drawNear(size);
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    this.drawStage(c);
    this.drawAreas(c);
    this.drawNames(c);
    this.drawMarks(c);
  }

  // visible yields the rows in sight with the first and last seat in sight, and where the
  // first seat of the row is in device pixels.
  *visible(size) {
    const { width, height } = this.canvas;
    const [tx, ty] = [this.x * this.ratio, this.y * this.ratio];
    const lowest = this.plan.lift(this.plan.width / 2) * size; // most that a seat is bent up
    for (const row of this.places.rows) {
      const p = this.plan.rows[row.index];
      const [x, y] = [p.x * size + tx, p.y * size + ty];
      if (y + size < 0 || y - lowest > height || x > width || x + row.count * size < 0) continue;
      const from = Math.max(0, Math.floor(-x / size)), to = Math.min(row.count, Math.ceil((width - x) / size));
      yield { row, p, x, y, from, to };
    }
  }

  drawFar(size) {
    const { width, height } = this.canvas;
    this.image ??= this.context.createImageData(width, height);
    const out = new Uint32Array(this.image.data.buffer);
    out.fill(this.groundPixel);
    const side = Math.max(1, Math.round(size * 0.8));
    const { bend } = this.plan;
    for (const { row, p, x, y, from, to } of this.visible(size)) {
      for (let i = from; i < to; i++) {
        const id = row.first + i, across = p.x + i + 0.5;
        const top = Math.round(y - bend * across * across * size), left = Math.round(x + i * size);
        if (top < 0 || left < 0 || top + side > height || left + side > width) continue;
        const colour = this.chosen.has(id) || this.mine.has(id) ? this.inkPixel
          : this.pixels[row.kinds ? row.kinds[i] : row.category][this.seats.state[id]];
        block(out, top * width + left, side, width, colour);
        if (side > 5 && colour === this.heldPixel) block(out, (top + 2) * width + left + 2, side - 4, width, this.groundPixel);
      }
    }
    this.context.putImageData(this.image, 0, 0);
  }

  drawNear(size) {
    const c = this.context;
    c.fillStyle = ground;
    c.fillRect(0, 0, this.canvas.width, this.canvas.height);
    const labels = this.scale >= readable;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.font = `${Math.round(size * 0.36)}px ${font}`;
    for (const { row, p, x, y, from, to } of this.visible(size)) {
      for (let i = from; i < to; i++) {
        const id = row.first + i;
        const [left, top] = [Math.round(x + i * size), Math.round(y - this.plan.lift(p.x + i + 0.5) * size)];
        const kind = row.kinds ? row.kinds[i] : row.category, state = this.seats.state[id];
        const mine = this.chosen.has(id) || this.mine.has(id);
        c.drawImage(this.sprite(mine ? "mine" : state, kind, size), left, top);
        if (!labels || (state !== free && !mine)) continue;
        c.fillStyle = "#ffffff";
        c.fillText(seatLabel(row, i), left + size / 2, top + size / 2 + 1);
      }
    }
  }

  // sprite is a seat in a state, drawn once per size.
  sprite(state, kind, size) {
    if (this.spriteSize !== size) this.sprites.clear();
    this.spriteSize = size;
    const name = `${state} ${state === free ? kind : ""}`;
    let s = this.sprites.get(name);
    if (s) return s;
    s = document.createElement("canvas");
    s.width = s.height = Math.ceil(size);
    const c = s.getContext("2d"), gap = size * 0.1;
    const shape = (inset) => {
      c.beginPath();
      c.roundRect(inset, inset, size - 2 * inset, size - 2 * inset, size * 0.22);
    };
    if (state === held) {
      shape(gap + size * 0.05);
      c.strokeStyle = heldColour;
      c.lineWidth = Math.max(1, size * 0.1);
      c.stroke();
    } else {
      shape(state === blocked ? size * 0.36 : gap);
      c.fillStyle = { mine: ink, [free]: this.colours[kind], [booked]: bookedColour, [blocked]: bookedColour }[state];
      c.fill();
    }
    this.sprites.set(name, s);
    return s;
  }

  drawStage(c) {
    const { half, y, deep } = this.plan.stage;
    const edge = (wide, top) => {
      for (let i = -12; i <= 12; i++) {
        const x = ((top ? i : -i) / 12) * wide;
        c.lineTo(...this.toCanvas(x, (top ? y : y + deep) - this.plan.lift(x)));
      }
    };
    c.beginPath();
    edge(half, true);
    edge(half * 0.92, false);
    c.closePath();
    c.fillStyle = "#efece5";
    c.fill();
    const px = Math.min(18, this.scale * deep * 0.5);
    if (px < 6) return;
    this.write(c, "S T A G E", ...this.toCanvas(0, y + deep / 2), `${px}px`, "#6b675f");
  }

  write(c, text, x, y, size, colour) {
    c.font = `${size} ${font}`;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillStyle = colour;
    c.fillText(text, x, y);
  }

  toCanvas(x, y) { return [x * this.scale + this.x, y * this.scale + this.y]; }

  drawAreas(c) {
    for (const b of this.plan.areas) {
      const middle = b.x + b.w / 2, lift = this.plan.lift(middle);
      const [x, y] = this.toCanvas(b.x, b.y - lift);
      const [w, h] = [b.w * this.scale, b.h * this.scale];
      const left = this.seats.counts(b.area)[free], colour = this.colours[b.area.category];
      c.beginPath();
      c.roundRect(x, y, w, h, Math.min(10, this.scale));
      c.fillStyle = left ? mix(colour, ground, 0.86) : blockedColour;
      c.fill();
      c.strokeStyle = left ? colour : heldColour;
      c.lineWidth = 1.2;
      c.stroke();
      const px = Math.min(16, h * 0.3, (w / (b.title.length + 2)) * 1.6);
      if (px < 7) continue;
      const text = left ? colour : "#6b675f";
      this.write(c, b.title, x + w / 2, y + h / 2 - px * 0.62, `600 ${px}px`, text);
      this.write(c, left ? `${number(left)} left` : "none left", x + w / 2, y + h / 2 + px * 0.62, `${px * 0.85}px`, text);
    }
  }

  // drawNames writes sections into their blocks from afar and over them near by, and rows
  // beside their first seats.
  drawNames(c) {
    const inside = this.scale < pickable, px = inside ? 11 : 14;
    c.font = `600 ${px}px ${font}`;
    for (const b of this.plan.blocks) {
      const middle = b.x + b.w / 2;
      const [x, y] = this.toCanvas(middle, b.y - this.plan.lift(middle) + (inside ? b.h / 2 : -0.8));
      const wide = c.measureText(b.title).width + 12;
      if (x < -200 || x > this.w + 200 || y < -20 || y > this.h + 20 || (inside && (b.w * this.scale < wide || b.h * this.scale < 14))) continue;
      if (inside) {
        c.beginPath();
        c.roundRect(x - wide / 2, y - 9, wide, 18, 9);
        c.fillStyle = ground;
        c.fill();
      }
      this.write(c, b.title, x, y + 0.5, `600 ${px}px`, "#3a3833");
    }
    if (this.scale < 13) return;
    c.font = `${Math.min(12, this.scale * 0.6)}px ${font}`;
    c.fillStyle = "#6b675f";
    c.textBaseline = "middle";
    c.textAlign = "right";
    for (const { row, p } of this.visible(this.scale * this.ratio)) {
      const [x, y] = this.toCanvas(p.x - 0.35, p.y + 0.5 - this.plan.lift(p.x));
      c.fillText(row.name, x, y);
    }
  }

  // drawMarks draws the keyboard's place, and dots on chosen seats that are too small to see.
  drawMarks(c) {
    if (this.scale < pickable) {
      c.strokeStyle = ink;
      c.lineWidth = 1.5;
      for (const id of [...this.chosen, ...this.mine]) {
        const row = this.places.run(id);
        if (!row || row.section === undefined) continue;
        const p = this.plan.at(row, id - row.first), [x, y] = this.toCanvas(p.x, p.y);
        c.beginPath();
        c.arc(x, y, 6, 0, 2 * Math.PI);
        c.stroke();
      }
    }
    const row = this.places.run(this.cursor());
    if (!row || row.section === undefined) return;
    const p = this.plan.at(row, this.cursor() - row.first), [x, y] = this.toCanvas(p.x, p.y);
    const r = Math.max(7, this.scale * 0.5);
    c.strokeStyle = ground;
    c.lineWidth = 5;
    c.strokeRect(x - r, y - r, 2 * r, 2 * r);
    c.strokeStyle = accent;
    c.lineWidth = 2.5;
    c.strokeRect(x - r, y - r, 2 * r, 2 * r);
  }
}

// block fills a square of an image, with its corners cut off if it is large enough. It is
// called for every seat: plain loops beat filling rows, which are a few pixels each.
function block(out, at, side, width, colour) {
  const cut = side > 4 ? Math.round(side / 6) : 0;
  for (let y = 0; y < side; y++, at += width) {
    const inset = Math.max(0, cut - y, cut - (side - 1 - y));
    for (let x = inset; x < side - inset; x++) out[at + x] = colour;
  }
}
