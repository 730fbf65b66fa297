"use strict";
(function () {
  const r = JSON.parse(document.getElementById("data").textContent), s = r.series;
  const colours = ["#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2"];
  const short = v => v == null ? "" : Math.abs(v) >= 1e6 ? +(v / 1e6).toPrecision(3) + "M" : Math.abs(v) >= 1e3 ? +(v / 1e3).toPrecision(3) + "k" : String(+v.toPrecision(3));
  const time = v => v == null ? "" : v >= 1e6 ? +(v / 1e6).toPrecision(3) + " s" : v >= 1e3 ? +(v / 1e3).toPrecision(3) + " ms" : +v.toPrecision(3) + " µs";

  // opening marks the moment of opening in charts over time.
  const opening = { hooks: { draw: [u => {
    const x = u.valToPos(r.opening_s, "x", true), c = u.ctx;
    if (!(x >= u.bbox.left && x <= u.bbox.left + u.bbox.width)) return;
    c.save(); c.strokeStyle = "#9aa3b2"; c.setLineDash([5, 5]); c.beginPath();
    c.moveTo(x, u.bbox.top); c.lineTo(x, u.bbox.top + u.bbox.height); c.stroke(); c.restore();
  }] } };

  function chart(into, title, data, lines, more) {
    const place = document.getElementById(into);
    if (!place || !data[0] || data[0].length === 0) return;
    const box = document.createElement("div"), head = document.createElement("h3");
    box.className = "chart"; head.textContent = title; box.append(head); place.append(box);
    const o = Object.assign({ unit: short, xunit: short, plugins: [], scales: {} }, more);
    new uPlot({
      width: Math.min(Math.max(box.clientWidth, 320), 620), height: 230, plugins: o.plugins,
      scales: Object.assign({ x: { time: false } }, o.scales),
      axes: [{ values: (u, v) => v.map(o.xunit), ...(o.xsplits ? { splits: o.xsplits } : {}) }, { size: 64, values: (u, v) => v.map(o.unit) }],
      series: [{ label: o.xlabel || "second", value: (u, v) => o.xunit(v) }].concat(lines.map((name, i) => Object.assign(
        { label: name, stroke: colours[i % colours.length], width: 1.5, value: (u, v) => o.unit(v) }, o.line))),
    }, data, box);
  }

  const over = (title, columns, names, more) =>
    chart("charts", title, [s.second].concat(columns), names, Object.assign({ plugins: [opening] }, more));
  over("Arrivals, users a second", [s.arrivals], ["arrivals"]);
  over("Answers a second", [s.answers], ["answers"]);
  if (r.waiting_room) {
    over("Queue: numbers that wait", [s.waiting], ["waiting"]);
    over("Serving rate: numbers called a second", [s.calls], ["called"]);
    over("Inside", [s.inside], ["inside"]);
  }
  over("Seats", [s.free, s.held, s.booked], ["free", "held", "booked"]);
  const positive = list => list.map(v => v > 0 ? v : null);
  over("Latency of all requests, by second", [positive(s.p50_us), positive(s.p99_us)], ["p50", "p99"],
    { unit: time, scales: { y: { distr: 3 } } });
  const nodes = r.nodes || [];
  over("Processor, cores", (s.node_cpu || []).concat([s.load_cpu]), nodes.map(n => n.name).concat(["load generator"]));
  over("Resident memory, MiB", (s.node_mib || []).concat([s.load_mib]), nodes.map(n => n.name).concat(["load generator"]));

  // Percentiles on an axis of the logarithm of what is left.
  const left = p => p >= 100 ? null : Math.log10(100 / (100 - p));
  for (const carrier of ["binary", "http"]) {
    const ops = r.ops.filter(o => o.carrier === carrier);
    for (let i = 0; i < ops.length; i += 4) {
      const group = ops.slice(i, i + 4);
      const xs = [...new Set(group.flatMap(o => o.curve.map(p => left(p[0])).filter(x => x != null)))].sort((a, b) => a - b);
      const columns = group.map(o => {
        const at = new Map(o.curve.map(p => [left(p[0]), p[1]]));
        return xs.map(x => at.has(x) ? at.get(x) : null);
      });
      chart("curves", "Over " + carrier + ": " + group.map(o => o.name).join(", "), [xs].concat(columns), group.map(o => o.name), {
        unit: time, xlabel: "percentile", scales: { y: { distr: 3 } }, line: { spanGaps: true },
        xunit: x => x == null ? "" : +(100 - 100 / Math.pow(10, x)).toFixed(Math.max(0, Math.ceil(x))) + " %",
        xsplits: (u, axis, low, high) => Array.from({ length: Math.floor(high) + 1 }, (_, i) => i),
      });
    }
  }

  const dots = { paths: () => null, points: { show: true, size: 3 } };
  const scatter = (title, points, x, y, more) => {
    if (!points || points.length === 0) return;
    const sorted = points.slice().sort((a, b) => a[0] - b[0]);
    chart("fair", title, [sorted.map(p => p[0]), sorted.map(p => p[1])], [y], Object.assign({ line: dots, xlabel: x }, more));
  };
  scatter("Early: entry number against queue number", r.fairness.early, "entry number", "queue number");
  scatter("Late: order of joining against queue number", r.fairness.late, "order of joining", "queue number");
  scatter("Let in: second of the run against queue number", r.fairness.admitted, "second", "queue number", { plugins: [opening] });
})();
