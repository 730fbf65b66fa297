// Asks before what cannot be undone, and tells how it went.

import { put, say, $ } from "./dom.js";

// ask shows what will happen, and tells whether the operator wants it.
export function ask(title, lines, verb, { danger = false } = {}) {
  const dialog = $("ask");
  put($("ask-title"), title);
  put($("ask-text"), lines.map((l) => (typeof l === "string" ? Object.assign(document.createElement("p"), { textContent: l }) : l)));
  put($("ask-yes"), verb);
  $("ask-yes").className = danger ? "danger" : "primary";
  dialog.returnValue = "";
  $("ask-yes").onclick = () => dialog.close("yes");
  $("ask-no").onclick = () => dialog.close("");
  dialog.showModal();
  $("ask-no").focus(); // what a hasty Enter does
  return new Promise((answer) => dialog.addEventListener("close", () => answer(dialog.returnValue === "yes"), { once: true }));
}

// act does what a button is for and says what came of it.
export async function act(what) {
  put($("trouble"), "");
  $("trouble").hidden = true;
  try {
    const text = await what();
    if (!text) return;
    put($("done"), text);
    $("done").hidden = false;
    say(text);
  } catch (e) {
    $("done").hidden = true;
    put($("trouble"), e.message);
    $("trouble").hidden = false;
  }
}
