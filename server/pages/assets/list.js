// The list of events.

import { get } from "./api.js";
import { h, put, show, $ } from "./dom.js";
import { askKey } from "./login.js";

const page = 100; // events at a time

async function more(after) {
  const list = await get(`/v1/events?limit=${page}${after ? `&after=${encodeURIComponent(after)}` : ""}`, { waiting: (p) => put($("status"), p.message) });
  put($("status"), "");
  for (const e of list.events) {
    const link = h("a", { href: `/e/${encodeURIComponent(e.key)}` }, h("strong", {}, e.key), h("span", { class: "quiet" }));
    $("events").append(h("li", {}, link));
    // Names and counts come one by one: the list has keys only.
    get(`/v1/events/${encodeURIComponent(e.key)}`, { patience: 5000 }).then((s) => {
      put(link.firstChild, s.name || s.key);
      put(link.lastChild, s.counts.free ? `${s.counts.free.toLocaleString("en-GB")} of ${s.seats.toLocaleString("en-GB")} seats free` : "no seats free");
    }, () => {});
  }
  $("none").hidden = $("events").children.length > 0;
  $("next").hidden = !list.next;
  $("next").onclick = () => more(list.next);
}

show($("main"), "events");
more().catch((e) => (e.status === 401 || e.status === 403 ? askKey(e.message) : put($("status"), e.message)));
