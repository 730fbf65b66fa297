// The draw, as docs/waiting-room.md defines it: which queue number an entry number got. Only
// the browser's own SHA-256 is used, so nothing here has to be believed.

const text = new TextEncoder();
const rounds = 12;

async function sha256(...parts) {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return new Uint8Array(await crypto.subtle.digest("SHA-256", all));
}

function u64(n) {
  const b = new Uint8Array(8);
  new DataView(b.buffer).setBigUint64(0, BigInt(n), true);
  return b;
}

// bits is the length of a number in binary.
function bits(n) {
  let length = 0;
  for (; n >= 1; n = Math.floor(n / 2)) length++;
  return length;
}

export const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

export function unhex(s) {
  if (!/^([0-9a-f]{2})*$/i.test(s)) throw new Error("not hexadecimal");
  return Uint8Array.from(s.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

// commitment is what the operator must have published before entries closed.
export async function commitment(seed, source) {
  return hex(await sha256(text.encode("usher draw commitment v1"), seed, text.encode(source)));
}

// entropyOf is the outside entropy of a room's frame, as bytes: it is text, or was no text.
export function entropyOf(draw) {
  return draw.entropy_hex ? unhex(draw.entropy_hex) : text.encode(draw.entropy ?? "");
}

// A Draw computes queue numbers. seed and entropy are bytes, count is the number of
// entries, room the room's id as a string of digits.
export class Draw {
  static async of({ seed, entropy, room, count }) {
    const d = new Draw();
    d.key = await sha256(text.encode("usher draw v1"), seed, await sha256(entropy), u64(room), u64(count));
    d.count = count;
    d.half = Math.max(4, Math.ceil(bits(count - 1) / 2)); // bits
    return d;
  }

  // number is the queue number of an entry number.
  async number(entry) {
    if (!(entry >= 0 && entry < this.count)) throw new Error("no entry has this number");
    let x = entry;
    do x = await this.permuted(x); while (x >= this.count);
    return x;
  }

  async permuted(x) {
    const size = 2 ** this.half;
    let left = Math.floor(x / size), right = x % size;
    for (let r = 0; r < rounds; r++) {
      const block = new Uint8Array(5);
      block[0] = r;
      new DataView(block.buffer).setUint32(1, right, true);
      const digest = await sha256(this.key, block);
      const f = new DataView(digest.buffer).getUint32(0, true) % size;
      [left, right] = [right, (left ^ f) >>> 0];
    }
    return left * size + right;
  }
}
