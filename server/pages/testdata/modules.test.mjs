import assert from "node:assert/strict";
import test from "node:test";
import { Cursor } from "../assets/cursor.js";
import { Plan } from "../assets/layout.js";
import { parse, quantile, sum } from "../assets/metrics.js";
import { Places } from "../assets/places.js";
import { chance } from "../assets/queue.js";
import { Seats } from "../assets/seats.js";
import { Lines } from "../assets/sse.js";

const row = (name, seats) => ({ name, seats });

const house = new Places({
  categories: ["gold", "silver"],
  sections: [
    { name: "A", category: "gold", rows: [row("1", 10), row("2", 12), row("3L", 5), row("3L", 5)] },
    { name: "B", category: "gold", rows: [row("1", 10), row("2", 12)] },
    { name: "C", category: "silver", rows: Array.from({ length: 120 }, (_, i) => row(String(i + 1), 30)) },
  ],
  areas: [{ name: "Floor", category: "silver", capacity: 100 }],
});

test("every seat has a place of its own, and is found there", () => {
  const plan = new Plan(house), taken = new Set();
  for (const r of house.rows) {
    for (let i = 0; i < r.count; i++) {
      const at = plan.at(r, i);
      assert.deepEqual(plan.hit(at.x, at.y), { row: r, i });
      assert.ok(Math.abs(at.x) <= plan.width / 2 && at.y > 0 && at.y < plan.height, "within the plan");
      const place = `${plan.rows[r.index].x + i} ${plan.rows[r.index].y}`;
      assert.ok(!taken.has(place), `two seats at ${place}`);
      taken.add(place);
    }
  }
});

test("the keyboard reaches every row of a section and comes back", () => {
  const cursor = new Cursor(house, new Plan(house), new Seats(house.words));
  assert.ok(cursor.key("ArrowRight"));
  assert.equal(house.label(cursor.id), "A-1-5"); // it begins in the middle of the first row
  cursor.key("ArrowRight");
  assert.equal(house.label(cursor.id), "A-1-6");
  cursor.key("ArrowDown");
  assert.equal(house.run(cursor.id).name, "2");
  cursor.key("ArrowUp");
  assert.equal(house.label(cursor.id), "A-1-6");
  cursor.key("End");
  assert.equal(house.label(cursor.id), "A-1-10");
  cursor.key("ArrowRight"); // over the aisle
  assert.equal(house.label(cursor.id), "B-1-1");
  cursor.key("PageDown");
  assert.equal(house.run(cursor.id).sectionName, "C");
  const rows = new Set();
  for (let i = 0; i < 200; i++) {
    rows.add(house.run(cursor.id).index);
    cursor.key("ArrowDown");
  }
  assert.ok(rows.size >= 40, `${rows.size} rows`);
  assert.equal(cursor.key("x"), false);
});

test("events are put together from pieces", () => {
  const text = ": hello\r\n\r\nevent: map\r\ndata: a\r\ndata: b\r\nid: 7\r\n\r\ndata: c\n\nid: 9\n\n";
  for (let cut = 1; cut < text.length; cut++) {
    const lines = new Lines();
    const got = [...lines.push(text.slice(0, cut)), ...lines.push(text.slice(cut))];
    assert.deepEqual(got, [{ event: "map", data: "a\nb", id: "7" }, { event: "message", data: "c", id: "7" }], `cut at ${cut}`);
  }
});

test("metrics are read, and quantiles are those of what came between", () => {
  const before = parse("# HELP x y\nh_bucket{r=\"a\",le=\"0.001\"} 10\nh_bucket{r=\"a\",le=\"0.01\"} 10\nh_bucket{r=\"a\",le=\"+Inf\"} 10\n");
  const after = parse("h_bucket{r=\"a\",le=\"0.001\"} 10\nh_bucket{r=\"a\",le=\"0.01\"} 110\nh_bucket{r=\"a\",le=\"+Inf\"} 110\nc{k=\"a\\\"b\"} 3\nc{k=\"d\"} 4\nplain 5 1700000000\n");
  assert.equal(sum(after, "c"), 7);
  assert.equal(sum(after, "c", { k: 'a"b' }), 3);
  assert.equal(sum(after, "plain"), 5);
  assert.ok(Math.abs(quantile(0.5, before, after, "h") - 0.0055) < 1e-9);
  assert.ok(Number.isNaN(quantile(0.5, after, after, "h")));
});

test("the chance of a seat falls with those ahead, and is none when all is sold", () => {
  const frame = { free: 1000, held: 10, inside: 0, seats_per_visitor: 2, show_rate: 0.8 };
  assert.deepEqual([0, 600, 900, 5000].map((ahead) => chance(frame, ahead)), ["very good", "good", "fair", "small"]);
  assert.equal(chance({ ...frame, free: 0 }, 0), "only if seats come back");
  assert.equal(chance({ ...frame, free: 0, held: 0 }, 0), "none");
});

test("deltas change what they name, and tell it", () => {
  const seats = new Seats(1), told = [];
  seats.watch((ids) => told.push(ids));
  seats.change({ version: "5", free: [1, 2], held: [3] });
  seats.change({ version: "6", booked: [3] });
  assert.equal(seats.version, "6");
  assert.deepEqual([...seats.state.slice(0, 5)], [3, 0, 0, 2, 3]);
  assert.deepEqual(told, [[1, 2, 3], [3]]);
});
