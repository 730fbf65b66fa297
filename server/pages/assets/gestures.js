// Moving a map by hand: drag, wheel, pinch, double click; and a tap, which picks.

const still = 6; // CSS pixels that a finger may slip in a tap
const wheelSpeed = 0.0016;

// gestures lets a map be moved. tap(x, y) is called with where it was tapped.
export function gestures(element, map, tap) {
  const down = new Map(); // pointers by id
  let slipped = 0;

  const at = (e) => {
    const box = element.getBoundingClientRect();
    return { x: e.clientX - box.left, y: e.clientY - box.top };
  };
  const span = () => {
    const [a, b] = [...down.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, size: Math.hypot(a.x - b.x, a.y - b.y) };
  };

  element.addEventListener("pointerdown", (e) => {
    if (e.button !== 0) return;
    element.setPointerCapture(e.pointerId);
    if (down.size === 0) slipped = 0;
    if (down.size < 2) down.set(e.pointerId, at(e));
  });

  element.addEventListener("pointermove", (e) => {
    const before = down.get(e.pointerId);
    if (!before) return;
    const now = at(e);
    slipped += Math.hypot(now.x - before.x, now.y - before.y);
    if (down.size === 2) {
      const old = span();
      down.set(e.pointerId, now);
      const next = span();
      map.pan(next.x - old.x, next.y - old.y);
      map.zoom(next.size / Math.max(1, old.size), next.x, next.y);
      slipped += still; // a pinch is no tap
      return;
    }
    down.set(e.pointerId, now);
    if (slipped > still) map.pan(now.x - before.x, now.y - before.y);
  });

  const up = (e) => {
    const was = down.get(e.pointerId);
    if (!was) return;
    down.delete(e.pointerId);
    if (e.type === "pointerup" && slipped <= still && down.size === 0) tap(was.x, was.y);
  };
  element.addEventListener("pointerup", up);
  element.addEventListener("pointercancel", up);

  element.addEventListener("wheel", (e) => {
    e.preventDefault();
    const lines = e.deltaMode === 1 ? 24 : 1;
    const p = at(e);
    map.zoom(Math.exp(-e.deltaY * lines * wheelSpeed * (e.ctrlKey ? 4 : 1)), p.x, p.y);
  }, { passive: false });
}
