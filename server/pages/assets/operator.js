// The operator's page: asks once a second how the cluster is.

import { get, request } from "./api.js";
import { Chart } from "./charts.js";
import { Cluster } from "./cluster.js";
import { h, number, put, show, $ } from "./dom.js";
import { askKey } from "./login.js";
import { parse, quantile, sum } from "./metrics.js";
import { Sale } from "./sale.js";

const every = 1000; // ms
const httpTime = "usher_http_request_duration_seconds";

class Operator {
  constructor() {
    this.cluster = new Cluster();
    this.sale = new Sale();
    this.rates = new Chart("rates", [{ name: "operations", colour: "#1b1b1f" }, { name: "HTTP", colour: "#0f62b0" }, { name: "binary", colour: "#b4530a" }]);
    this.latency = new Chart("latency", [{ name: "half within", colour: "#2b7a34" }, { name: "99 % within", colour: "#8f2a78" }]);
  }

  async run() {
    let keys = false;
    for (;;) {
      const began = performance.now();
      try {
        const view = await get("/admin/cluster", { patience: 0 });
        show($("main"), "cluster");
        this.cluster.show(view);
        if (!keys) this.cluster.showKeys(await get("/admin/signing-keys"));
        keys = true;
        await this.measure();
        await this.sale.tick(view);
        put($("status"), "");
      } catch (e) {
        if (e.status === 401 || e.status === 403) return askKey(e.message);
        put($("status"), e.message);
      }
      await new Promise((done) => setTimeout(done, Math.max(100, every - (performance.now() - began))));
    }
  }

  // measure reads this node's metrics and shows what has changed since the last time.
  async measure() {
    const response = await request("GET", "/metrics", { patience: 0 });
    const now = { at: performance.now(), samples: parse(await response.text()) };
    const was = this.last;
    this.last = now;
    if (!was) return;
    const seconds = (now.at - was.at) / 1000;
    const rate = (name, labels) => Math.max(0, (sum(now.samples, name, labels) - sum(was.samples, name, labels)) / seconds);
    const ms = (q) => 1000 * quantile(q, was.samples, now.samples, httpTime);
    const operations = rate("usher_group_operations_total"), entries = rate("usher_group_entries_total");
    const http = rate("usher_http_requests_total"), binary = rate("usher_requests_total");
    const [half, most] = [ms(0.5), ms(0.99)];
    this.rates.add(operations, http, binary);
    this.latency.add(half, most);
    const round = (v) => (Number.isFinite(v) ? number(Math.round(v)) : "–");
    const time = (v) => (Number.isFinite(v) ? `${v < 10 ? v.toFixed(1) : Math.round(v)} ms` : "–");
    const tiles = [
      ["Operations/s", round(operations)], ["Operations an entry", operations > 0 ? (operations / entries).toFixed(1) : "–"],
      ["HTTP/s", round(http)], ["Binary/s", round(binary)], ["HTTP, half within", time(half)], ["HTTP, 99 % within", time(most)],
      ["Connections", round(sum(now.samples, "usher_connections"))], ["Refused early/s", round(rate("usher_early_look_rejections_total"))],
    ];
    put($("tiles"), tiles.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  }
}

new Operator().run();
