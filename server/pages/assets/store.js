// What a buyer has of an event, kept in the browser: his ticket, his pass, the hold
// that he pays for, what he has bought. A refresh, a lost socket or a crashed browser
// goes on from here.

export class Store {
  constructor(event) {
    this.name = `usher.event.${event}`;
    this.data = read(this.name);
    // Another tab is the same buyer.
    addEventListener("storage", (e) => {
      if (e.key === this.name) this.data = read(this.name);
    });
  }

  get(field) { return this.data[field]; }

  // set changes fields at once; null takes one away.
  set(fields) {
    for (const [name, value] of Object.entries(fields)) {
      if (value === null) delete this.data[name];
      else this.data[name] = value;
    }
    try {
      localStorage.setItem(this.name, JSON.stringify(this.data));
    } catch {
      // Storage is full or forbidden: the page works until it is closed.
    }
  }
}

function read(name) {
  try {
    return JSON.parse(localStorage.getItem(name) ?? "{}") ?? {};
  } catch {
    return {};
  }
}
