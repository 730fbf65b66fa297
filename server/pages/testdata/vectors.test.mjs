// Compares the modules with what the server computes: USHER_VECTORS names the file.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { commitment, Draw, unhex } from "../assets/draw.js";
import { orphansLeft } from "../assets/orphan.js";
import { Places } from "../assets/places.js";
import { Seats } from "../assets/seats.js";

const vectors = JSON.parse(readFileSync(process.env.USHER_VECTORS, "utf8"));

test("labels have the ids that the server gives them", () => {
  for (const { manifest, words, labels, categories } of vectors.places) {
    const places = new Places(manifest);
    assert.equal(places.words, words);
    for (let id = 0; id < 64 * words; id++) {
      assert.equal(places.label(id), labels[id] ?? "", `id ${id}`);
      if (!labels[id]) continue;
      assert.equal(places.find(labels[id]), id);
      assert.equal(places.categories[places.category(id)], categories[id], `category of ${labels[id]}`);
    }
  }
});

test("packed maps are read as the server writes them", () => {
  for (const { planes, words, states } of vectors.maps) {
    const seats = new Seats(words);
    seats.load(Uint8Array.from(atob(planes), (c) => c.charCodeAt(0)), "1");
    assert.equal(seats.state.join(""), states);
  }
});

test("the draw gives the numbers of the server", async () => {
  for (const d of vectors.draws) {
    const seed = unhex(d.seed);
    assert.equal(await commitment(seed, d.source), d.commitment);
    const draw = await Draw.of({ seed, entropy: new TextEncoder().encode(d.entropy), room: d.room, count: d.count });
    for (const [entry, number] of d.numbers) assert.equal(await draw.number(entry), number, `entry ${entry} of ${d.count}`);
  }
});

test("orphans are those that docs/best-available.md calls so", () => {
  const places = new Places({ categories: ["one"], sections: [{ name: "A", category: "one", rows: [{ name: "1", seats: 8 }] }], areas: [{ name: "F", category: "one", capacity: 4 }] });
  const left = (row, chosen) => orphansLeft(places, (id) => row[id] === ".", chosen);
  assert.deepEqual(left("#....###", [1, 2]), []); // two are left
  assert.deepEqual(left("#....###", [1, 2, 3]), [4]);
  assert.deepEqual(left("........", [1]), [0]); // the end of a row counts as taken
  assert.deepEqual(left("........", [1, 6]), [0, 7]);
  assert.deepEqual(left("#.#...##", [3, 4, 5]), []); // seat 1 was alone before
  assert.deepEqual(left("........", [64, 65]), []); // places of an area have no neighbours
});
