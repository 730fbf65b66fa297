// Orphans: single free seats between taken ones, which nobody wants to sit in. The
// server decides (docs/best-available.md); this is the hint before it does.

// orphansLeft gives the free seats that would be left alone if the chosen ones were
// taken, as the server does: a free seat whose neighbours are both taken, and were not
// before. The end of a row counts as taken. free(id) tells whether a seat is free now.
export function orphansLeft(places, free, chosen) {
  const mine = new Set(chosen);
  const left = new Set();
  for (const id of mine) {
    const row = places.run(id);
    if (!row || row.section === undefined) continue; // places of an area have no neighbours
    const last = row.first + row.count - 1;
    const taken = (s) => s < row.first || s > last || !free(s);
    const gone = (s) => taken(s) || mine.has(s);
    for (const s of [id - 1, id + 1]) {
      if (!gone(s) && gone(s - 1) && gone(s + 1) && !(taken(s - 1) && taken(s + 1))) left.add(s);
    }
  }
  return [...left].sort((a, b) => a - b);
}
