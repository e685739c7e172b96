// What the reader has chosen for all views: kept in the browser, and chosen in a dialog or in the command box.

import { element } from "./text.js";

const NAME = "okxsync.settings";

/** The first value of each is the default. */
export const SETTINGS = [
  { id: "rows", name: "height of rows", values: ["20 px", "18 px", "24 px"] },
  { id: "colours", name: "colours of gains and losses", values: ["blue up", "green up", "red up"] },
  { id: "sound", name: "sound when something is in trouble", values: ["sound off", "sound on"] },
  { id: "notice", name: "notification when something is in trouble", values: ["notification off", "notification on"] },
];

export class Settings {
  /** `changed(id, value)` is called with each change; `restore` calls it for all. */
  constructor(changed) {
    this.changed = changed;
    const saved = JSON.parse(localStorage.getItem(NAME) ?? "{}");
    this.chosen = Object.fromEntries(
      SETTINGS.map(({ id, values }) => [id, values.includes(saved[id]) ? saved[id] : values[0]]),
    );
  }

  restore() {
    for (const [id, value] of Object.entries(this.chosen)) this.changed(id, value);
  }

  get(id) {
    return this.chosen[id];
  }

  set(id, value) {
    this.chosen[id] = value;
    localStorage.setItem(NAME, JSON.stringify(this.chosen));
    this.changed(id, value);
  }
}

const KEYS = "j k: choose   Space: change   Esc: done";

/** Open the dialog; `choose(id, value)` sets a value, or another one if the browser does not allow it. */
export function showSettings(dialog, settings, choose) {
  let at = 0;
  const list = element("ol");
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Settings");
  list.tabIndex = 0;
  const paint = () => {
    list.replaceChildren(
      ...SETTINGS.map(({ id, name }, index) => {
        const row = element("li", "", `${settings.get(id)}  `, element("span", "dim", name));
        row.id = `setting-${index}`;
        row.setAttribute("role", "option");
        row.setAttribute("aria-selected", index === at);
        return row;
      }),
    );
    list.setAttribute("aria-activedescendant", `setting-${at}`);
  };
  const turn = async (index) => {
    at = index;
    const { id, values } = SETTINGS[at];
    await choose(id, values[(values.indexOf(settings.get(id)) + 1) % values.length]);
    paint();
  };
  const move = (by) => {
    at = Math.max(0, Math.min(SETTINGS.length - 1, at + by));
    paint();
  };
  const actions = {
    KeyJ: () => move(1),
    ArrowDown: () => move(1),
    KeyK: () => move(-1),
    ArrowUp: () => move(-1),
    Space: () => turn(at),
    Enter: () => turn(at),
  };
  dialog.onkeydown = (event) => {
    if (!actions[event.code]) return;
    event.preventDefault();
    actions[event.code]();
  };
  list.onclick = ({ target }) => {
    const index = [...list.children].indexOf(target.closest("li"));
    if (index >= 0) turn(index);
  };
  paint();
  dialog.replaceChildren(element("h2", "", "Settings"), list, element("p", "dim", KEYS));
  dialog.showModal();
  list.focus();
}
