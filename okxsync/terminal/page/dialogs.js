// The command box (":") and the help ("?").

import { leadTo } from "./views/view.js";
import { element, visible } from "./text.js";

const SHOWN = 8;

export class CommandBox {
  /** `page` has `names()` -> {views, accounts, instruments}, `go(view)`, `lead(address)`, `view()` and `settings()`. */
  constructor(dialog, page) {
    this.dialog = dialog;
    this.page = page;
    this.input = element("input");
    this.input.setAttribute("aria-label", "A view, an account or an instrument");
    this.input.placeholder = "btc, desk014, orders \u2026";
    this.list = element("ol");
    this.list.id = "offers";
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", "What it may be");
    for (const [name, value] of Object.entries({ role: "combobox", "aria-controls": "offers", "aria-expanded": "true", "aria-autocomplete": "list" }))
      this.input.setAttribute(name, value);
    dialog.replaceChildren(this.input, this.list);
    this.input.addEventListener("input", () => this.offer());
    this.input.addEventListener("keydown", (event) => this.press(event));
    this.list.addEventListener("click", ({ target }) => {
      const index = [...this.list.children].indexOf(target.closest("li"));
      if (index >= 0) this.choose(index);
    });
  }

  open() {
    this.input.value = "";
    this.offer();
    this.dialog.showModal();
    this.input.focus();
  }

  offer() {
    const text = this.input.value.trim().toLowerCase();
    const { views, accounts, instruments } = this.page.names();
    const here = this.page.view();
    const found = [
      ...views.map((name) => ({ name, kind: "view", act: () => this.page.go(name) })),
      ...accounts.map((name) => ({ name, kind: "account", act: () => this.page.lead(leadTo(here, "acct", name)) })),
      ...instruments.map((name) => ({
        name,
        kind: "instrument",
        act: () => this.page.lead(leadTo(here === "accounts" ? "positions" : here, "inst", name)),
      })),
      ...this.page.settings().map(([name, act]) => ({ name, kind: "setting", act })),
    ].filter(({ name }) => name.toLowerCase().includes(text));
    const begins = ({ name }) => name.toLowerCase().startsWith(text);
    found.sort((a, b) => begins(b) - begins(a));
    this.found = found.slice(0, SHOWN);
    this.at = 0;
    this.paint();
  }

  paint() {
    this.list.replaceChildren(
      ...this.found.map(({ name, kind }, index) => {
        const item = element("li", "", visible(name), " ", element("span", "dim", kind));
        item.id = `offer-${index}`;
        item.setAttribute("role", "option");
        item.setAttribute("aria-selected", index === this.at);
        return item;
      }),
    );
    this.input.setAttribute("aria-activedescendant", this.found.length ? `offer-${this.at}` : "");
  }

  press(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) {
      event.preventDefault();
      this.at = Math.max(0, Math.min(this.found.length - 1, this.at + by));
      this.paint();
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.choose(this.at);
    }
  }

  choose(index) {
    this.dialog.close();
    this.found[index]?.act();
  }
}

const KEYS = [
  ["g then a p o f m e c h t", "go to accounts, positions, orders, fills, market, equity, coverage, health, plans"],
  ["j k \u2193 \u2191, PgDn PgUp, Home End", "move"],
  ["h l \u2190 \u2192", "move to another column"],
  ["Enter, Esc", "open, close the detail of a row; Tab: into it. o: follow the link of the cell"],
  ["Enter, Space", "open or close a group; X: all"],
  ["[ ] + \u2212", "pictures, fills and orders: earlier, later, a shorter or longer time; Esc in a table: now"],
  ["t", "a table instead of the picture. Enter on a lane: its gaps"],
  ["e", "export what is shown as CSV"],
  ["i", "orders: group by instrument"],
  ["/", "filter: words, acct:desk0*, inst:BTC*, side:buy, age>1h, upl<-100, -state:live; Esc clears it"],
  [":", "go to a view, an account or an instrument by its name; change a setting"],
  ["s then a letter", "sort by that column; again: turn. w: worst first again"],
  ["c", "choose, move and widen columns; or drag their headings and edges"],
  ["n", "colour of this tab: tabs of one colour follow each other's accounts and instruments"],
  ["x", "select the row, or the rows of the group: the totals are of what is selected; Esc: none"],
  ["p then n p c x r u", "plans: new, preview again, confirm, discard or cancel, retry, undo"],
  ["H H", "halt: stop all sending of plans at once"],
  ["y, Y", "copy the exact value; the row, or those that are selected"],
  [",", "settings: height of rows, colours, sound, notifications"],
  ["z", "times in UTC, local time or UTC+8"],
];
const COLOURS = [
  ["live", "state-live", "subscribed, and proved within twice the usual time between two proofs"],
  ["unproved", "state-unproved", "live by its own word only"],
  ["STALE", "state-stale", "not live: grey, dotted, with the age of what is shown"],
  ["never", "state-never", "nothing was ever proved; there is no number"],
  ["+1.00", "up", "a gain, long, buy"],
  ["\u22121.00", "down", "a loss, short, sell"],
  ["5", "attention", "look at this"],
  ["3", "wrong", "something is wrong"],
  ["-", "", "not known, or this account has no such number. 0 stands only where the exchange said so"],
];

export function showHelp(dialog) {
  const list = (rows) => element("dl", "", ...rows.flat());
  const text = element(
    "div",
    "",
    element("h2", "", "Keys (by their place, on any layout)"),
    list(KEYS.map(([key, does]) => [element("dt", "", element("kbd", "", key)), element("dd", "", does)])),
    element("h2", "", "What the words and colours mean"),
    list(COLOURS.map(([word, tone, means]) => [element("dt", tone, word), element("dd", "", means)])),
  );
  text.tabIndex = 0; // so that it scrolls by keys
  dialog.replaceChildren(text);
  dialog.showModal();
}
