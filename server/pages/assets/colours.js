// The colours of price categories, and of what is not free. All stand out from the map's
// ground by 3:1 or more where they say that something can be bought.

const palette = ["#b4530a", "#0f62b0", "#2b7a34", "#8f2a78", "#00707a", "#7a6200", "#5a49b8", "#b3263a"];

export const ink = "#1b1b1f";
export const ground = "#ffffff";
export const accent = "#1d4ed8";
export const heldColour = "#aaa69d";
export const bookedColour = "#dedbd4";
export const blockedColour = "#efede8";

// categoryColour gives a category its colour. Beyond eight they repeat, lighter.
export function categoryColour(i) {
  const base = palette[i % palette.length];
  const lighter = Math.min(3, Math.floor(i / palette.length)) * 0.16;
  return mix(base, ground, lighter);
}

function channels(colour) {
  const n = parseInt(colour.slice(1), 16);
  return [n >> 16, (n >> 8) & 255, n & 255];
}

export function mix(a, b, share) {
  const [x, y] = [channels(a), channels(b)];
  const all = x.map((v, i) => Math.round(v + (y[i] - v) * share));
  return "#" + all.map((v) => v.toString(16).padStart(2, "0")).join("");
}

// packed is a colour as a canvas's image has it, in the machine's (little) byte order.
export function packed(colour) {
  const [r, g, b] = channels(colour);
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
}
