// The keyboard. Keys are known by their place (`event.code`), so that they work on any layout. None acts while a field
// has the focus.

/** For the second key of two; letters over the headings have to be read first. */
const PREFIX_MS = 5000;

/** Return the name of a key: "a", "A" (with shift), "/", "?", ":", "down", "pagedown", "enter". */
export function nameOf({ code, shiftKey }) {
  if (code.startsWith("Key")) return shiftKey ? code.slice(3) : code.slice(3).toLowerCase();
  if (code === "Slash") return shiftKey ? "?" : "/";
  if (code === "Semicolon" && shiftKey) return ":";
  return code.replace(/^(Arrow|Numpad)/, "").toLowerCase();
}

/** In a place that scrolls on its own these keys scroll. */
const SCROLL = ["up", "down", "left", "right", "pageup", "pagedown", "home", "end", "space"];

export class Keys {
  constructor() {
    this.actions = new Map(); // name -> function
    this.prefixes = new Map(); // first key -> function of the second one
    this.pending = null;
    this.onPending = () => {};
  }

  on(names, action) {
    for (const name of names.split(" ")) this.actions.set(name, action);
  }

  prefix(name, action) {
    this.prefixes.set(name, action);
  }

  setPending(name) {
    clearTimeout(this.timer);
    this.pending = name;
    this.onPending(name);
    if (name) this.timer = setTimeout(() => this.setPending(null), PREFIX_MS);
  }

  /** Handle a key; returns whether it did anything. */
  press(event) {
    const target = event.target;
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return false;
    if (target instanceof HTMLElement && target.closest("input, textarea, select, [contenteditable]")) return false;
    const name = nameOf(event);
    if (name.startsWith("shift")) return false;
    if (["enter", "space"].includes(name) && target instanceof HTMLElement && target.closest("a, button, summary")) return false;
    if (SCROLL.includes(name) && target instanceof HTMLElement && target.closest("[data-scrolls]")) return false;
    if (this.pending) {
      const action = this.prefixes.get(this.pending);
      this.setPending(null);
      if (name !== "escape") action(name);
      return true;
    }
    if (this.prefixes.has(name)) {
      this.setPending(name);
      return true;
    }
    const action = this.actions.get(name);
    action?.(event);
    return action !== undefined;
  }
}
