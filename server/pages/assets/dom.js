// Small helpers for the document.

export const $ = (id) => document.getElementById(id);

// h makes an element: h("p", {class: "hint"}, "text", child). Properties that begin
// with "on" are listeners; those that are null, undefined or false are left out.
export function h(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else e.setAttribute(name, value === true ? "" : value);
  }
  e.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}

// put sets an element's children, and leaves it alone if only the same text is to be
// there: a screen reader would read it again.
export function put(e, ...children) {
  if (children.length === 1 && typeof children[0] === "string") {
    if (e.textContent !== children[0]) e.textContent = children[0];
    return;
  }
  e.replaceChildren(...children.flat().filter(Boolean));
}

// show shows one of an element's children that have a data-view, and hides the others.
export function show(parent, view) {
  let changed = false;
  for (const e of parent.querySelectorAll(":scope > [data-view]")) {
    const hidden = e.dataset.view !== view;
    changed ||= e.hidden !== hidden;
    e.hidden = hidden;
  }
  return changed;
}

// say has a screen reader read a sentence. The element is in every page.
export function say(text) {
  const e = $("live");
  e.textContent = e.textContent === text ? text + "\u00a0" : text; // the same once more is read again
}

const whole = new Intl.NumberFormat("en-GB");

export const number = (n) => whole.format(n);

// places counts in words: "1 seat", "3 seats".
export const count = (n, one, many = one + "s") => `${number(n)} ${n === 1 ? one : many}`;

// duration is a time in words, no more exact than anybody wants to know it.
export function duration(ms) {
  const s = Math.round(ms / 1000);
  if (s < 5) return "a moment";
  if (s < 90) return `about ${s} seconds`;
  const m = Math.round(s / 60);
  if (m < 90) return `about ${m} minutes`;
  const hours = Math.round(m / 6) / 10;
  return `about ${hours} hours`;
}

// clock is a time to go as m:ss.
export function clock(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
}

export const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
