// The tables of shards and nodes, with what can be done to them.

import { call, fresh, post } from "./api.js";
import { act, ask } from "./ask.js";
import { count, duration, h, number, put, $ } from "./dom.js";

// A Cluster shows what GET /admin/cluster says, and how fast it changes.
export class Cluster {
  constructor() {
    this.applied = new Map(); // by group: {at, index}
    $("add-shard").addEventListener("click", () => act(() => this.addShard()));
    $("rebalance").addEventListener("click", () => act(() => this.rebalance()));
    $("rotate").addEventListener("click", () => act(() => this.rotate()));
  }

  show(view) {
    this.view = view;
    put($("cluster"), `${count(view.nodes.length, "node")}, ${count(view.groups.length - 1, "shard")}, ${count(view.events, "event")}` +
      (view.settled ? "" : " · changing"));
    this.rows($("shards"), view.groups, (g) => g.group, (g) => this.shard(g));
    this.rows($("nodes"), view.nodes, (n) => n.name, (n) => this.node(n));
  }

  // rows renews the cells of rows that have changed: buttons keep the focus.
  rows(body, list, id, cells) {
    const old = new Map([...body.children].map((tr) => [tr.dataset.id, tr]));
    for (const item of list) {
      const key = String(id(item));
      const tr = old.get(key) ?? body.appendChild(h("tr", { "data-id": key }));
      old.delete(key);
      cells(item).forEach((cell, i) => {
        const text = cell.dataset.text ?? cell.textContent;
        const there = tr.children[i];
        if (there?.dataset.shown === text) return;
        cell.dataset.shown = text;
        if (there) there.replaceWith(cell);
        else tr.append(cell);
      });
    }
    for (const tr of old.values()) tr.remove();
  }

  shard(g) {
    const leader = g.members.find((m) => m.node === g.leader);
    const state = !g.leader ? ["bad", "no leader"] : g.settled ? ["", "settled"] : ["busy", "changing"];
    const others = g.members.filter((m) => m.voter && m.wanted && m.node !== g.leader).map((m) => m.node);
    const change = h("td", { "data-text": others.join() });
    if (g.group !== 0 && others.length) {
      const to = h("select", { "aria-label": `New leader of shard ${g.group}` }, others.map((n) => h("option", {}, n)));
      change.append(to, " ", h("button", { type: "button", onclick: () => act(async () => {
        await post(`/admin/shards/${g.group}/transfer`, { node: to.value });
        return `Shard ${g.group} is to be led by ${to.value}.`;
      }) }, "Transfer"));
    }
    return [
      h("td", { class: "strong" }, g.group === 0 ? "directory" : String(g.group)),
      h("td", {}, g.leader || "–"),
      h("td", {}, g.members.map((m) => m.node + (m.lag_entries > 0 ? ` (${number(m.lag_entries)} behind)` : "") + (m.voter ? "" : " (joining)")).join(", ")),
      h("td", { class: "n" }, g.group === 0 ? "" : number(g.events)),
      h("td", { class: "n" }, this.speed(g.group, leader?.applied_index)),
      h("td", { class: "n" }, leader ? number(leader.queued_operations) : ""),
      h("td", {}, h("span", { class: `dot ${state[0]}`, "aria-hidden": "true" }), state[1]),
      change,
    ];
  }

  // speed is how many entries a second a group applies.
  speed(group, index) {
    if (index === undefined) return "–";
    const was = this.applied.get(group), at = performance.now();
    this.applied.set(group, { at, index });
    return was && index >= was.index ? number(Math.round((index - was.index) / ((at - was.at) / 1000))) : "–";
  }

  node(n) {
    const state = !n.up ? ["bad", "down"] : n.draining ? ["busy", "draining"] : n.disk_low ? ["bad", "disk nearly full"] : ["", "up"];
    const change = h("td", { "data-text": `${n.draining} ${n.up} ${n.replicas}` });
    if (n.draining) {
      change.append(h("button", { type: "button", onclick: () => act(() => this.drain(n, false)) }, "Keep"), " ",
        h("button", { type: "button", onclick: () => act(() => this.remove(n)) }, "Remove…"));
    } else change.append(h("button", { type: "button", onclick: () => act(() => this.drain(n, true)) }, "Drain…"));
    return [
      h("td", { class: "strong" }, n.name, n.name === this.view.node ? h("small", {}, " (this one)") : ""),
      h("td", {}, h("span", { class: `dot ${state[0]}`, "aria-hidden": "true" }), state[1]),
      h("td", { class: "n" }, number(n.leading)),
      h("td", { class: "n" }, number(n.replicas)),
      h("td", { class: "n" }, n.up ? duration(1000 * n.uptime_s) : "–"),
      h("td", {}, n.addresses.http ?? n.addresses.peer),
      change,
    ];
  }

  async addShard() {
    if (!await ask("Add a shard?", ["A new shard is made, with replicas on the nodes that have the least. New events go to it.", "A shard cannot be taken away again."], "Add the shard")) return "";
    const made = await post("/admin/shards", { count: 1 }, { idem: fresh() });
    return `Shard ${made.first} was added.`;
  }

  async rebalance() {
    const plan = await post("/admin/rebalance", { dry_run: true });
    if (plan.changes.length === 0) return "Replicas and leaders are even already.";
    const lines = plan.changes.map((c) => `Shard ${c.shard}: ${c.nodes.join(", ")}${c.why ? ` (${c.why})` : ""}`);
    if (!await ask("Rebalance?", ["Replicas are copied and leaders change while the sale goes on:", ...lines], "Rebalance")) return "";
    const done = await post("/admin/rebalance", {});
    return `${count(done.changes.length, "shard")} will change.`;
  }

  async drain(n, drain) {
    if (drain && !await ask(`Drain ${n.name}?`, [`Its ${count(n.replicas, "replica")} go to other nodes, ${number(n.leading)} of them with the lead. The sale goes on. The node stays in the cluster and can be kept after all.`], "Drain")) return "";
    await post(`/admin/nodes/${encodeURIComponent(n.name)}/drain`, { drain });
    return drain ? `${n.name} is being drained.` : `${n.name} is kept.`;
  }

  async remove(n) {
    const force = !n.up && n.replicas > 0;
    if (!await ask(`Remove ${n.name}?`, ["The node leaves the cluster for good, and cannot come back with the data it has.", ...(n.up ? [] : ["It does not answer, so whatever only it has is lost."])], "Remove for good", { danger: true })) return "";
    await call("DELETE", `/admin/nodes/${encodeURIComponent(n.name)}${force ? "?force=1" : ""}`);
    return `${n.name} was removed.`;
  }

  async rotate() {
    if (!await ask("Rotate the signing key?", ["A new key signs tickets and passes from now on. Those of the key before stay good; those of older keys end."], "Rotate")) return "";
    this.showKeys(await post("/admin/signing-keys", {}, { idem: fresh() }));
    return "A new key signs from now on.";
  }

  showKeys({ keys }) {
    put($("keys"), keys.length === 0 ? "None yet." : keys.map((k, i) => `Key ${k.id} ${i === 0 ? "signs" : "is still good"}${k.since ? `, made ${new Date(k.since).toLocaleString("en-GB")}` : ""}.`).join(" "));
  }
}
