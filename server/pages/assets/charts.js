// Charts of what has happened since the page was opened. uPlot draws them.

const kept = 600; // seconds
const height = 190; // CSS pixels

const whole = (v) => (v === null || v === undefined || Number.isNaN(v) ? "–" : v.toLocaleString("en-GB", { maximumFractionDigits: v < 10 ? 2 : 0 }));

const time = (t) => new Date(1000 * t).toLocaleTimeString("en-GB");

// A Chart has a line per name in the element of an id, and takes a point a second.
export class Chart {
  constructor(id, lines) {
    this.element = document.getElementById(id);
    this.lines = lines;
    this.clear();
  }

  clear() {
    this.data = [[], ...this.lines.map(() => [])];
    this.plot?.setData(this.data);
  }

  // add puts a value on each line; NaN leaves a gap.
  add(...values) {
    this.data[0].push(Date.now() / 1000);
    values.forEach((v, i) => this.data[i + 1].push(Number.isFinite(v) ? v : null));
    if (this.data[0].length > kept) for (const d of this.data) d.shift();
    if (document.hidden || this.element.clientWidth === 0) return;
    if (!this.plot) this.make();
    this.plot.setData(this.data);
  }

  make() {
    const axis = { stroke: "#5f5b54", grid: { stroke: "#eeebe5", width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    this.plot = new globalThis.uPlot({
      width: this.element.clientWidth, height,
      cursor: { y: false },
      scales: { y: { range: (u, low, high) => [0, Math.max(1, high * 1.1)] } },
      axes: [{ ...axis, values: (u, ticks) => ticks.map(time) }, { ...axis, size: 58, values: (u, ticks) => ticks.map(whole) }],
      series: [{ label: "at", value: (u, t) => (t ? time(t) : "") }, ...this.lines.map((l) => ({
        label: l.name, stroke: l.colour, width: 2, dash: l.dash, points: { show: false }, value: (u, v) => whole(v),
      }))],
    }, this.data, this.element);
    new ResizeObserver(() => this.plot.setSize({ width: Math.max(200, this.element.clientWidth), height })).observe(this.element);
  }
}
