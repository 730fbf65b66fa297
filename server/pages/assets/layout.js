// Where seats are drawn. A manifest has sections and rows but no coordinates, so a plan
// is made of it: the stage at the top, areas before it, sections as blocks on shelves
// behind each other in the manifest's order, all bent a little around the stage. The unit
// is the distance of two seats.

const gapX = 2, gapY = 3.2; // between blocks
const shape = 1.35; // width of the plan by its height
const sag = 0.09; // how far its edges are bent to the stage, by its width
const flattest = 0.012; // most that small plans are bent
const tallest = 48; // lines of a block; a section with more is cut

// A Plan has blocks ({x, y, w, h, title, …}), each row's place ({x, y} of its first seat,
// by the row's index), areas and the stage. It never changes.
export class Plan {
  constructor(places) {
    this.rows = new Array(places.rows.length);
    this.blocks = places.sections.flatMap(blocksOf);
    this.areas = places.areas.map(areaBlock);
    const all = [...this.areas, ...this.blocks];
    const space = all.reduce((n, b) => n + (b.w + gapX) * (b.h + gapY), 0);
    const ideal = Math.max(Math.sqrt(space * shape), ...all.map((b) => b.w));
    const list = [...groups(this.areas), ...groups(this.blocks)].flatMap((g) => shelves(g, ideal * 1.15));
    this.width = Math.max(...list.map((s) => s.width));
    this.bend = Math.min(flattest, (4 * sag) / this.width);
    const deep = Math.max(1.8, 0.03 * Math.sqrt(space)); // of the stage
    let y = Math.max(deep + 3, this.lift(list[0].width / 2) + 1);
    this.stage = { half: Math.max(4, this.width * 0.2), y: y - deep - 2, deep };
    for (const shelf of list) {
      let x = -shelf.width / 2;
      for (const b of shelf.blocks) {
        Object.assign(b, { x, y });
        x += b.w + gapX;
      }
      y += Math.max(...shelf.blocks.map((b) => b.h)) + gapY;
    }
    this.height = y - gapY + 1;
    for (const b of this.blocks) {
      b.lines.forEach((line, i) => {
        for (const piece of line.pieces) this.rows[piece.row.index] = { x: b.x + (b.w - line.width) / 2 + piece.at, y: b.y + i };
      });
    }
  }

  // lift is how far a place is bent up to the stage.
  lift(x) { return this.bend * x * x; }

  // at is the middle of a seat.
  at(row, i) {
    const p = this.rows[row.index], x = p.x + i + 0.5;
    return { x, y: p.y + 0.5 - this.lift(x) };
  }

  // hit is what lies at a point: {row, i}, {area}, or nothing.
  hit(x, y) {
    y += this.lift(x);
    const inside = (b) => x >= b.x && x < b.x + b.w && y >= b.y && y < b.y + b.h;
    const area = this.areas.find(inside);
    if (area) return { area: area.area };
    const block = this.blocks.find(inside);
    const line = block?.lines[Math.floor(y - block.y)];
    for (const piece of line?.pieces ?? []) {
      const i = Math.floor(x - this.rows[piece.row.index].x);
      if (i >= 0 && i < piece.row.count) return { row: piece.row, i };
    }
    return undefined;
  }
}

// blocksOf cuts a section into blocks of lines. Rows that follow each other with one name
// are two sides of an aisle, and one line.
function blocksOf(section) {
  const lines = [];
  for (const row of section.rows) {
    const last = lines.at(-1);
    if (last && last.name === row.name) {
      last.pieces.push({ row, at: last.width + 1 });
      last.width += 1 + row.count;
    } else lines.push({ name: row.name, width: row.count, pieces: [{ row, at: 0 }] });
  }
  const parts = Math.ceil(lines.length / tallest), each = Math.ceil(lines.length / parts);
  const blocks = [];
  for (let i = 0; i < lines.length; i += each) {
    const some = lines.slice(i, i + each);
    const w = Math.max(...some.map((l) => l.width));
    const title = parts > 1 ? `${section.name} ${some[0].name}–${some.at(-1).name}` : section.name;
    blocks.push({ title, lines: some, category: some[0].pieces[0].row.category, w, h: some.length });
  }
  return blocks;
}

function areaBlock(area) {
  const space = Math.min(1600, Math.max(24, area.count));
  const h = Math.max(4, Math.sqrt(space / 4));
  return { title: area.name, area, category: -1, w: space / h, h };
}

// groups are blocks that follow each other and have one price.
function groups(blocks) {
  const list = [];
  for (const b of blocks) {
    if (list.at(-1)?.[0].category === b.category) list.at(-1).push(b);
    else list.push([b]);
  }
  return list;
}

// shelves puts blocks beside each other: on as few shelves as a width allows, and those
// as even as can be.
function shelves(blocks, width) {
  const lay = (most) => {
    const list = [];
    for (const b of blocks) {
      const last = list.at(-1);
      if (last && last.width + gapX + b.w <= most) {
        last.blocks.push(b);
        last.width += gapX + b.w;
      } else list.push({ blocks: [b], width: b.w });
    }
    return list;
  };
  const fewest = lay(width).length;
  let low = 0, high = width;
  for (let i = 0; i < 20; i++) {
    const middle = (low + high) / 2;
    if (lay(middle).length > fewest) low = middle;
    else high = middle;
  }
  return lay(high);
}
