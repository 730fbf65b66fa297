// The keyboard's way through the map: one seat at a time, read aloud.

import { seatLabel } from "./places.js";

export const help = "Arrow keys move from seat to seat and from row to row, Home and End to the ends of a row, " +
  "Page Up and Page Down to the next section, N to the next free seat. Enter or Space chooses. Plus and minus zoom, 0 shows everything.";

// A Cursor is at a seat, or at none before it was first moved. The owner draws it.
export class Cursor {
  id = -1;

  constructor(places, plan, seats) {
    Object.assign(this, { places, plan, seats });
    this.lines = [...places.rows].sort((a, b) => this.y(a) - this.y(b) || this.x(a) - this.x(b));
  }

  x(row) { return this.plan.rows[row.index].x; }
  y(row) { return this.plan.rows[row.index].y; }

  // key moves by a key, and tells whether it knows it.
  key(name) {
    const moves = {
      ArrowLeft: () => this.along(-1), ArrowRight: () => this.along(1),
      ArrowUp: () => this.across(-1), ArrowDown: () => this.across(1),
      Home: () => this.end(0), End: () => this.end(1),
      PageUp: () => this.section(-1), PageDown: () => this.section(1),
      n: () => this.nextFree(), N: () => this.nextFree(),
    };
    if (!Object.hasOwn(moves, name) || this.places.rows.length === 0) return false;
    if (this.id < 0 && name !== "n" && name !== "N") this.begin();
    else moves[name]();
    return true;
  }

  // begin is in the middle of the first row.
  begin() {
    const row = this.places.rows[0];
    this.id = row.first + Math.min(row.count - 1, Math.floor(row.focal) - 1);
  }

  // along goes to the neighbour, over the end of a row to the row that lies beside it.
  along(step) {
    const row = this.places.run(this.id), next = this.id + step;
    if (next >= row.first && next < row.first + row.count) {
      this.id = next;
      return;
    }
    const beside = this.lines.filter((r) => r !== row && Math.abs(this.y(r) - this.y(row)) < 0.5 && (this.x(r) - this.x(row)) * step > 0);
    if (beside.length === 0) return;
    const other = step > 0 ? beside[0] : beside.at(-1);
    this.id = step > 0 ? other.first : other.first + other.count - 1;
  }

  // across goes to the nearest seat of the next line before or behind.
  across(step) {
    const row = this.places.run(this.id);
    const x = this.x(row) + this.id - row.first, y = this.y(row);
    let best, least = Infinity;
    for (const r of this.lines) {
      const dy = (this.y(r) - y) * step;
      if (dy < 0.5) continue;
      const i = Math.max(0, Math.min(r.count - 1, Math.round(x - this.x(r))));
      const far = dy + 1.5 * Math.abs(this.x(r) + i - x);
      if (far < least) [least, best] = [far, r.first + i];
    }
    this.id = best ?? this.id;
  }

  end(which) {
    const row = this.places.run(this.id);
    this.id = which ? row.first + row.count - 1 : row.first;
  }

  section(step) {
    const at = this.places.run(this.id).section + step;
    const row = this.places.sections[at]?.rows[0];
    if (row) this.id = row.first + Math.min(row.count - 1, Math.floor(row.focal) - 1);
  }

  nextFree() {
    for (let id = this.id + 1; id < this.seats.state.length; id++) {
      const row = this.places.run(id);
      if (row?.section === undefined || this.seats.state[id] !== 0) continue;
      this.id = id;
      return;
    }
  }
}

// short is a seat in a row as it is read on the way.
export const short = (row, id) => `Row ${row.name}, seat ${seatLabel(row, id - row.first)}`;
