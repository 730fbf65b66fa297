// Seat ids of a manifest, as the server computes them: rows in order, then areas, each
// beginning at the next multiple of 64.

const wordsFor = (n) => Math.floor((n + 63) / 64);

// A Places is the manifest's rows and areas with their ids. It never changes.
export class Places {
  constructor(manifest) {
    this.categories = manifest.categories;
    this.sections = (manifest.sections ?? []).map((s) => ({ name: s.name, rows: [] }));
    this.rows = [];
    this.areas = [];
    this.seats = 0;
    const index = new Map(manifest.categories.map((name, i) => [name, i]));
    let word = 0;
    (manifest.sections ?? []).forEach((s, section) => {
      for (const r of s.rows) {
        const row = makeRow(r, s, index);
        Object.assign(row, { section, sectionName: s.name, first: word * 64, index: this.rows.length });
        this.rows.push(row);
        this.sections[section].rows.push(row);
        this.seats += row.count;
        word += wordsFor(row.count);
      }
    });
    for (const a of manifest.areas ?? []) {
      this.areas.push({ name: a.name, category: index.get(a.category), count: a.capacity, first: word * 64 });
      word += wordsFor(a.capacity);
    }
    this.words = word;
    this.runs = [...this.rows, ...this.areas]; // by id
  }

  // run is the row or area that has an id, undefined for an id of none.
  run(id) {
    let low = 0, high = this.runs.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.runs[middle].first <= id) low = middle;
      else high = middle - 1;
    }
    const r = this.runs[low];
    return r && id >= r.first && id < r.first + r.count ? r : undefined;
  }

  label(id) {
    const r = this.run(id);
    if (!r) return "";
    if (r.section === undefined) return `${r.name}-${id - r.first + 1}`;
    return `${r.sectionName}-${r.name}-${seatLabel(r, id - r.first)}`;
  }

  // find is the id of a label, or -1. Labels of an event are unique.
  find(label) {
    this.byLabel ??= new Map();
    if (this.byLabel.size === 0) {
      for (const r of this.runs) for (let i = 0; i < r.count; i++) this.byLabel.set(this.label(r.first + i), r.first + i);
    }
    return this.byLabel.get(label) ?? -1;
  }

  category(id) {
    const r = this.run(id);
    return r.kinds ? r.kinds[id - r.first] : r.category;
  }

  // spoken is a seat as people say it.
  spoken(id) {
    const r = this.run(id);
    if (r.section === undefined) return `${r.name}, place ${id - r.first + 1}`;
    const access = r.access?.[id - r.first];
    return `Section ${r.sectionName}, row ${r.name}, seat ${seatLabel(r, id - r.first)}` +
      (access ? ` (${access.join(", ").replaceAll("_", " ")})` : "");
  }
}

export const seatLabel = (row, i) => (row.labels ? row.labels[i] : String(i + 1));

// makeRow reads a row: its seats are a number, or a list with labels of their own.
function makeRow(r, section, index) {
  const category = index.get(r.category ?? section.category);
  if (typeof r.seats === "number") {
    return { name: r.name, count: r.seats, category, focal: r.focal ?? (r.seats + 1) / 2 };
  }
  const row = { name: r.name, count: r.seats.length, category, focal: r.focal ?? (r.seats.length + 1) / 2 };
  row.labels = r.seats.map((s) => s.label);
  if (r.seats.some((s) => s.category)) row.kinds = r.seats.map((s) => (s.category ? index.get(s.category) : category));
  if (r.seats.some((s) => s.access)) row.access = r.seats.map((s) => s.access);
  return row;
}
