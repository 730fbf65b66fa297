// The page that verifies a draw: everything is computed here, from what was published.

import { eventPath, get } from "./api.js";
import { h, number, put, show, $ } from "./dom.js";
import { commitment, Draw, entropyOf, unhex } from "./draw.js";
import { askKey } from "./login.js";

const again = 5000; // ms until it is looked again for a draw that is to come
const sample = 2000; // entries that are computed to see that no number comes twice

const name = decodeURIComponent(location.pathname.split("/")[2]);

// remembered is the commitment that this browser saw before the draw, if it was here.
const memory = {
  name: `usher.commitment.${name}`,
  get: () => JSON.parse(localStorage.getItem(memory.name) ?? "null"),
  set: (room, text) => localStorage.setItem(memory.name, JSON.stringify({ room, text })),
};

function fact(title, value, code = true) {
  return h("div", {}, h("dt", {}, title), h("dd", {}, code ? h("code", {}, value) : value));
}

function check(ok, text) {
  $("checks").append(h("li", { class: ok ? "good" : ok === null ? "open" : "bad" },
    h("span", { class: "mark", "aria-hidden": "true" }, ok ? "✓" : ok === null ? "–" : "✗"),
    h("span", { class: "unseen" }, ok ? "Correct: " : ok === null ? "Not checked: " : "Wrong: "), h("span", {}, text)));
}

async function load() {
  const frame = await get(`${eventPath(name)}/queue`, { waiting: (p) => put($("status"), p.message) });
  put($("status"), "");
  const d = frame.draw;
  if (frame.state === "off" || !d?.commitment) {
    put($("gone-text"), "This event has no waiting room with a draw: places are given first come, first served.");
    return show($("main"), "gone");
  }
  show($("main"), "draw");
  put($("event"), name);
  $("event").href = `/e/${encodeURIComponent(name)}`;
  facts(frame, d);
  put($("trust"), trust(d));
  put($("checks"));
  if (!d.seed) {
    put($("state"), frame.state === "before" ? "Entries are open. The draw has not been made." : "Entries are closed. The draw is about to be made.");
    remember(d);
    setTimeout(() => load().catch(failed), again);
    return;
  }
  put($("state"), `The draw is made: ${number(d.count)} entries have their numbers.`);
  await verify(d);
}

function facts(frame, d) {
  put($("facts"),
    fact("Commitment, published before entries closed", d.commitment),
    fact("Source of outside entropy", d.source || "none", false),
    d.seed && fact("Seed, revealed after the draw", d.seed),
    d.seed && fact("Entropy that the source gave", d.entropy ?? d.entropy_hex ?? "none", false),
    fact("Entries", number(d.seed ? d.count : frame.entries), false),
    fact("Room", String(d.room)));
}

function trust(d) {
  const always = "The seed was fixed by the commitment before anybody knew who would come, and the same computation gives every entry its number, so nobody was moved afterwards.";
  return d.source
    ? `${always} Nobody could have known the numbers before the source named above had spoken, as long as it cannot be influenced. Compare its value with the source itself: this page cannot do that for you. What it cannot show either is who the entries were.`
    : `${always} But no source of outside entropy was named: whoever runs the sale knew the seed, and so could have known beforehand which entry numbers would be drawn first. This draw trusts the operator.`;
}

// remember keeps the commitment as it was before the draw: one that is changed later
// shows.
function remember(d) {
  const seen = memory.get();
  if (seen?.room === d.room && seen.text !== d.commitment) {
    check(false, "The commitment is not the one that this browser saw before.");
    return;
  }
  memory.set(d.room, d.commitment);
  check(null, "Your browser has written down the commitment. Come back after the draw to see that it is still the same.");
}

async function verify(d) {
  if (!crypto.subtle) {
    check(null, "Nothing: the browser computes digests only on pages that come over HTTPS or from this machine. Use `usher admin draw verify`.");
    return;
  }
  const seed = unhex(d.seed);
  const computed = await commitment(seed, d.source ?? "");
  check(computed === d.commitment, computed === d.commitment ? "The commitment is the digest of the seed and the source."
    : `The seed and the source have the digest ${computed}, which is not the commitment.`);
  const seen = memory.get();
  if (seen?.room === d.room) check(seen.text === d.commitment, seen.text === d.commitment
    ? "It is the commitment that this browser saw before the draw." : `Before the draw, this browser saw another commitment: ${seen.text}.`);
  else check(null, "Whether the commitment is the one of before the draw: this browser had not looked at this page then.");
  const draw = await Draw.of({ seed, entropy: entropyOf(d), room: d.room, count: d.count });
  await distinct(draw);
  $("one").hidden = d.count === 0;
  $("entry").max = d.count - 1;
  $("ticket").onsubmit = (e) => {
    e.preventDefault();
    one(draw).catch((x) => put($("result"), x.message));
  };
  const own = location.hash.slice(1) || String(ownEntry() ?? "");
  if (/^\d+$/.test(own) && Number(own) < d.count) {
    $("entry").value = own;
    await one(draw);
  }
}

// distinct computes many entries and sees that each has a number of its own.
async function distinct(draw) {
  const n = Math.min(sample, draw.count), step = Math.max(1, Math.floor(draw.count / n));
  const got = new Set();
  for (let i = 0; i < n; i++) got.add(await draw.number(i * step));
  const ok = got.size === n && [...got].every((x) => x >= 0 && x < draw.count);
  check(ok, ok ? `${number(n)} of the entries have been computed: each has a number of its own from 0 to ${number(draw.count - 1)}.`
    : "Two entries have the same number.");
}

// ownEntry is the entry number of the ticket in this browser, if it has one.
function ownEntry() {
  try {
    const t = JSON.parse(localStorage.getItem(`usher.event.${name}`) ?? "{}").ticket;
    return t?.kind === "entry" ? t.number : undefined;
  } catch {
    return undefined;
  }
}

async function one(draw) {
  const entry = Number($("entry").value), mine = entry === ownEntry();
  put($("result"), `Entry ${number(entry)} has queue number ${number(await draw.number(entry))}${mine ? ". This is your own ticket" : ""}.`);
}

function failed(e) {
  if (e.status === 401 || e.status === 403) return askKey(e.message);
  put($("gone-text"), e.message);
  show($("main"), "gone");
}

load().catch(failed);
