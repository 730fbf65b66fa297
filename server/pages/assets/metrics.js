// Prometheus's text format, and rates between two readings of it.

// parse gives the samples of a page of metrics by name: [{labels, value}, …].
export function parse(page) {
  const samples = new Map();
  for (const line of page.split("\n")) {
    if (line === "" || line[0] === "#") continue;
    const m = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!m) continue;
    const labels = {};
    for (const [, name, value] of (m[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[name] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    }
    const list = samples.get(m[1]) ?? [];
    list.push({ labels, value: Number(m[3]) });
    samples.set(m[1], list);
  }
  return samples;
}

// sum adds up a name's samples, those that fit the labels.
export function sum(samples, name, labels = {}) {
  let total = 0;
  for (const s of samples.get(name) ?? []) {
    if (Object.entries(labels).every(([k, v]) => s.labels[k] === v)) total += s.value;
  }
  return total;
}

// quantile estimates, as Prometheus does, below which value a share q of the samples
// lies that came between two readings of a histogram; NaN if there were none.
export function quantile(q, before, after, name, labels = {}) {
  const bounds = new Map();
  for (const s of after.get(name + "_bucket") ?? []) {
    if (!Object.entries(labels).every(([k, v]) => s.labels[k] === v)) continue;
    const le = s.labels.le === "+Inf" ? Infinity : Number(s.labels.le);
    bounds.set(le, (bounds.get(le) ?? 0) + s.value);
  }
  for (const s of before.get(name + "_bucket") ?? []) {
    if (!Object.entries(labels).every(([k, v]) => s.labels[k] === v)) continue;
    const le = s.labels.le === "+Inf" ? Infinity : Number(s.labels.le);
    bounds.set(le, (bounds.get(le) ?? 0) - s.value);
  }
  const sorted = [...bounds].sort((a, b) => a[0] - b[0]);
  const total = sorted.at(-1)?.[1] ?? 0;
  if (!(total > 0)) return NaN;
  let low = 0, counted = 0;
  for (const [le, n] of sorted) {
    if (n >= q * total) {
      if (le === Infinity) return low;
      return low + (le - low) * ((q * total - counted) / Math.max(1e-9, n - counted));
    }
    [low, counted] = [le, n];
  }
  return low;
}
