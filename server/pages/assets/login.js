// Asks for an API key where the node wants one.

import { key } from "./api.js";
import { h, put, show, $ } from "./dom.js";

// askKey shows a form for a key, and loads the page again with what is entered.
export function askKey(why) {
  const input = h("input", { id: "key", type: "password", autocomplete: "off", required: true, size: 40 });
  const view = $("login");
  const rejected = key.get() !== "";
  put(view,
    h("h2", { tabindex: -1 }, "A key is needed"),
    h("p", {}, rejected ? `The key you gave was not accepted. ${why}` : "This node answers only those who have an API key. It is kept in this tab, and nowhere else."),
    h("form", {
      onsubmit: (e) => {
        e.preventDefault();
        key.set(input.value.trim());
        location.reload();
      },
    }, h("label", { for: "key" }, "API key"), " ", input, " ", h("button", { type: "submit", class: "primary" }, "Go on")));
  show($("main"), "login");
  input.focus();
}
