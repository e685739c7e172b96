// A view at work: which rows are shown, in which order, and where the cursor is.
//
// A view (`views/view.js`) says what there is to show; an item is a row of its topic, or a group of rows.

import { isGroup, isKnown } from "./columns.js";
import { compile } from "./filter.js";
import { sheetOf } from "./csv.js";
import { Layout, makeDraggable, NARROW } from "./layout.js";
import { Hold, sorted } from "./order.js";
import { AGES_MS, Table } from "./table.js";
import { show } from "./decimals.js";
import { visible } from "./text.js";
import { age, full } from "./time.js";

const GROUP = "\u0001"; // no key of a row begins with it
/** Sums over thousands of rows are made anew no more often than this. */
export const SUMS_MS = 500;
/** So many rows that are gone are kept without looking whether they are shown. */
const GONE = 1000;

export class Group {
  constructor(name) {
    this.group = name;
    this.items = new Map();
    this.gone = false;
    this.memo = new Map();
    this.version = 0; // grows with each look at its rows
  }

  /** Take the rows of a new look; none: they are all gone, and the group is shown as it was. */
  renew(items) {
    this.memo.clear();
    this.version += 1;
    this.gone = items === undefined;
    if (items) this.items = items;
  }

  /** Return a value made of all rows of the group, computed once until one of them changes. */
  get(name, compute) {
    if (!this.memo.has(name)) this.memo.set(name, compute(this));
    return this.memo.get(name);
  }
}

export class Grid {
  /** `on.changed()` is called when something that stands in the address has changed. */
  constructor(view, model, range, on) {
    this.view = view;
    this.model = model;
    this.on = on;
    this.hold = new Hold(view.every ?? 1000);
    this.keys = [];
    this.seen = new Map(); // key -> whether the row has passed the filter, when it was first seen
    this.groups = new Map();
    this.open = new Set();
    this.chosen = new Set(); // keys of the rows that the reader has selected
    this.waiting = 0; // new rows that a held tape does not show yet
    this.sort = null;
    this.by = view.groupOf && !view.groupOnDemand ? "instrument" : null;
    this.filterText = "";
    this.setFilter("");
    this.version = -1;
    this.ordered = -1; // the version of the topic whose rows are in order
    this.rows = []; // those that are chosen, without groups and without what is gone
    this.footer = [];
    this.worth = null; // of all accounts, made together with the totals below them
    this.summedAt = -Infinity;
    view.isOpen = (name) => this.isGroupOpen(name);
    view.groupNamed = (name) => this.groups.get(GROUP + name);
    this.isDetailed = false; // whether the pane is open
    this.range = view.inTime ? range : undefined;
    this.layout = new Layout(view.name, view.columns, view.narrow);
    NARROW.addEventListener("change", () => this.arrange());
    this.table = new Table(view.title, this.layout.columns(), this, {
      click: (index, column, event) => this.click(index, column, event),
      sort: (column) => this.sortBy(column),
      over: (inside) => (this.hold.over = inside),
      open: (index) => this.openDetail(index),
      scroll: (top, isEnd) => {
        this.hold.scrolled = view.newestFirst === true && top > 0;
        if (isEnd) view.next?.();
      },
    });
    if (view.groupOf) this.table.root.setAttribute("role", "treegrid");
    makeDraggable(this.table.head, (cell) => this.table.columnOf(cell).id, {
      widen: (id, by) => this.arrange(() => this.layout.widen(id, by)),
      move: (id, before) => this.arrange(() => this.layout.move(id, this.layout.at(before))),
    });
  }

  /** Change the layout of the columns, and keep it. */
  arrange(change = () => {}) {
    change();
    this.layout.save();
    this.table.setColumns(this.layout.columns());
    this.table.paintHead(this.sort, null);
    this.moveColumn(0);
    this.paint();
  }

  // What the table asks for.

  count() {
    return this.keys.length;
  }

  keyAt(index) {
    return this.keys[index];
  }

  itemAt(index) {
    return this.item(this.keys[index]);
  }

  item(key) {
    if (key.startsWith(GROUP)) return this.groups.get(key);
    return this.view.topic.rows.get(key) ?? this.view.topic.gone.get(key);
  }

  kindOf(item, key) {
    if (isGroup(item)) return `group of-${this.view.truthOf(item).state}${item.gone ? " gone" : ""}`;
    const gone = !this.view.topic.rows.has(key);
    return `${this.by ? "member " : ""}of-${this.view.truthOf(item).state}${gone ? " gone" : ""}`;
  }

  partsOf(item) {
    return this.view.partsOf(item);
  }

  /** A key may change anything: the zone of times, the order, what is open. */
  stamp() {
    return `${this.view.stamp()} ${this.hold.keyAt}`;
  }

  isChosen(key) {
    return this.chosen.has(key);
  }

  /** Return the selected rows, in the order in which they are shown; those that a closed group hides are the last. */
  chosenItems() {
    const keys = [...this.keys.filter((key) => this.chosen.has(key)), ...this.chosen];
    return [...new Set(keys)].map((key) => this.view.topic.rows.get(key)).filter(Boolean);
  }

  tip(item, column) {
    const lines = [];
    const value = column.value(item);
    if (column.explain) lines.push(column.explain(item));
    else if (isKnown(value)) lines.push(column.age ? full(value) : visible(String(value)));
    else lines.push(column.absent?.(item) ?? "not known");
    lines.push(column.note?.(item));
    const { state, until, reason } = this.view.truthOf(item);
    const { changed, received } = !isGroup(item) ? this.view.times(item) : {};
    if (changed) lines.push(`changed on the exchange ${full(changed)}`);
    if (received) lines.push(`received ${full(received)}`);
    lines.push(
      until ? `proved until ${full(until)} (${age(this.model.age(until))}, ${state})` : `never proved (${state})`,
    );
    if (reason) lines.push(visible(reason));
    return lines.filter(Boolean).join("\n");
  }

  // What is shown.

  setFilter(text) {
    this.filterText = text;
    this.filter = compile(text, this.view.columns);
    this.hold?.force();
  }

  rules() {
    const { view, sort } = this;
    const column = sort && view.columns.find(({ id }) => id === sort.column);
    return column ? [{ value: column.sortValue ?? column.value, down: sort.down }, ...view.rules] : view.rules;
  }

  /** Bring keys up to date with the topic: a new order if it is allowed, otherwise only what came and went. */
  refresh(force = false) {
    const { view } = this;
    const version = view.version();
    if (force) this.hold.force();
    const { current, replaced } = view.topic;
    const first = this.keys.length === 0;
    const believed = this.model.truth.best() === "live"; // a page that is lost keeps its order
    const news = view.topic.version !== this.ordered;
    // The tape is in the order of its rows alone: without a new one its turn is kept for the one that comes next.
    if (force || first || (believed && (news || !view.newestFirst) && this.hold.take())) this.reorder();
    else if (version !== this.version) this.follow();
    if (force || version !== this.version) this.outdated = true;
    const { changes } = this.model;
    if (this.believed !== changes || this.current !== current || replaced) this.summedAt = -Infinity; // stale at once
    [this.believed, this.current] = [changes, current];
    this.version = version;
    const passedMs = performance.now() - this.summedAt;
    if (passedMs > (this.outdated ? SUMS_MS : AGES_MS)) this.sum(); // the ages in them grow without any change
  }

  /** Let the sums of groups, and those below the table, be made anew. */
  sum() {
    this.summedAt = performance.now();
    this.outdated = false;
    this.rows = [];
    const members = new Map();
    for (const [key, row] of this.view.topic.rows) {
      if (!this.seen.get(key)) continue;
      this.rows.push(row);
      if (!this.by) continue;
      const name = this.view.groupOf(row);
      if (!members.has(name)) members.set(name, new Map());
      members.get(name).set(key, row);
    }
    for (const group of this.groups.values()) group.renew(members.get(group.group));
    const chosen = this.chosenItems();
    this.worth = this.view.worth?.() ?? null;
    this.footer = [
      ...(chosen.length ? [{ text: `selected ${chosen.length}:`, tone: "attention" }] : []),
      ...this.view.footer(chosen.length ? chosen : this.rows),
      ...this.view.coverage(this.filter.account).map((part) => ({ ...part, apart: true })),
    ];
  }

  /** Return whether an item is shown: it passes the filter, and belongs to the time that was chosen. */
  test(item) {
    if (!this.filter.test(item)) return false;
    return !this.range?.isPast || this.view.inTime(item, this.range.window(this.model.now()));
  }

  reorder() {
    const { view } = this;
    this.ordered = view.topic.version;
    const chosen = new Map();
    this.seen = new Map();
    for (const [key, item] of view.topic.rows) {
      const passed = this.test(item);
      this.seen.set(key, passed);
      if (passed) chosen.set(key, item);
    }
    view.topic.settle();
    this.outdated = true;
    this.waiting = 0;
    this.groups = new Map();
    const rules = this.rules();
    if (!this.by) {
      this.keys = sorted(chosen, rules);
      return;
    }
    for (const [key, item] of chosen) this.groupFor(item).items.set(key, item);
    const groupRules = this.sort ? rules : view.groupRules;
    this.keys = [];
    for (const key of sorted(this.groups, groupRules)) {
      this.keys.push(key);
      const { group, items } = this.groups.get(key);
      if (this.isGroupOpen(group)) this.keys.push(...sorted(items, rules));
    }
  }

  groupFor(item) {
    const name = this.view.groupOf(item);
    const key = GROUP + name;
    let group = this.groups.get(key);
    if (!group) this.groups.set(key, (group = new Group(name)));
    return group;
  }

  /** Return whether a group is open; null for a row. */
  isOpen(item) {
    return isGroup(item) ? this.isGroupOpen(item.group) : null;
  }

  isGroupOpen(group) {
    return this.open.has(group) || this.open.has("*");
  }

  /** Take in what came without moving a row; what went stays in its place until there is a new order. */
  follow() {
    const { topic } = this.view;
    for (const key of topic.replaced ? topic.rows.keys() : topic.added) {
      if (this.seen.has(key) || !topic.rows.has(key)) continue;
      const passed = this.test(topic.rows.get(key));
      this.seen.set(key, passed);
      if (passed && this.view.newestFirst) this.waiting += 1;
      else if (passed) this.append(key);
    }
    topic.added = [];
    if (topic.replaced) this.keys = this.keys.filter((key) => this.item(key) !== undefined);
    topic.replaced = false;
    if (topic.gone.size > this.keys.length + GONE) this.forget();
  }

  /** Drop rows that came and went while the order was held: they are shown nowhere. */
  forget() {
    const shown = new Set(this.keys);
    for (const key of this.view.topic.gone.keys()) {
      if (shown.has(key)) continue;
      this.view.topic.gone.delete(key);
      this.seen.delete(key);
    }
  }

  append(key) {
    if (!this.by) {
      this.keys.push(key);
      return;
    }
    const item = this.item(key);
    const name = this.view.groupOf(item);
    const isNew = !this.groups.has(GROUP + name);
    this.groupFor(item).items.set(key, item);
    if (isNew) this.keys.push(GROUP + name);
    else if (this.isGroupOpen(name)) this.insertInto(name, key);
  }

  insertInto(name, key) {
    let index = this.keys.indexOf(GROUP + name) + 1;
    while (index < this.keys.length && !this.keys[index].startsWith(GROUP)) index += 1;
    this.keys.splice(index, 0, key);
  }

  paint() {
    this.table.paint();
    const { text, kind } = this.keys.length ? { text: "" } : this.emptiness();
    this.table.say(text, kind);
    this.view.paintBeside?.(this.filter);
  }

  /** Say why there are no rows: nothing there with its proof, not known, filtered away, or still being read. */
  emptiness() {
    const { view, model } = this;
    if (model.error) return { text: `The database cannot be read: ${visible(model.error.text)}`, kind: "wrong" };
    if (view.failed?.()) return { text: `Not known: ${visible(view.failed())}.`, kind: "wrong" };
    if (view.topic.number === null) {
      const waited = performance.now() - (this.shownAt ?? 0);
      const rows = model.counts[view.topic.name];
      const what = `${rows ? `${show(String(rows))} ` : ""}${view.title.toLowerCase()}`;
      return { text: waited > 1000 ? `Reading ${what} \u2026` : "", kind: "" };
    }
    const total = view.topic.rows.size;
    if (this.range?.isPast && (!total || this.filter.empty)) {
      return { text: `No ${view.nouns} from ${this.range.words(model.now())} are stored. Coverage shows what is known of that time.`, kind: "" };
    }
    if (total && !this.filter.empty) return { text: `None of ${total} ${view.nouns} matches the filter.`, kind: "" };
    return view.nothing();
  }

  // What the reader does.

  moveTo(index) {
    if (!this.keys.length) return;
    const to = Math.max(0, Math.min(this.keys.length - 1, index));
    this.table.cursor = this.keys[to];
    this.table.reveal(to);
    if (to === this.keys.length - 1) this.view.next?.();
    this.on.changed();
  }

  /** `Enter`: open or close a group, or show the detail of a row. */
  enter() {
    const index = this.cursorIndex();
    if (index >= 0 && isGroup(this.itemAt(index))) this.toggle();
    else this.openDetail(index);
  }

  openDetail(index) {
    if (index < 0 || isGroup(this.itemAt(index)) || !this.wanted(this.keys[index])) return;
    this.moveTo(index);
    this.isDetailed = true;
    this.on.changed();
  }

  closeDetail() {
    this.isDetailed = false;
    this.on.changed();
  }

  /** Return what the pane shows of a row, or null. */
  wanted(key = this.table.cursor) {
    const item = key === null ? undefined : this.item(key);
    return item && !isGroup(item) ? (this.view.detail?.(item) ?? null) : null;
  }

  /** Return the state of the row that the pane shows; null if it is not in the table any more. */
  truthOfCursor() {
    const { cursor } = this.table;
    const item = cursor === null ? undefined : this.view.topic.rows.get(cursor);
    return item ? this.view.truthOf(item) : null;
  }

  /** Return what is shown as CSV: the filter and the order apply. */
  sheet() {
    const items = this.keys.map((key) => this.item(key)).filter(Boolean);
    return { rows: items.length, text: sheetOf(this.layout.columns(), this.view.columns, items) };
  }

  /** A key for the time that is shown: "earlier", "later", "longer", "shorter". */
  act(what) {
    const now = this.model.now();
    if (!this.range || now === null || !this.range.act(what, now)) return;
    this.refresh(true);
    this.on.changed();
  }

  leave() {
    this.table.cursor = null;
    this.on.changed();
  }

  cursorIndex() {
    return this.table.cursor === null ? -1 : this.keys.indexOf(this.table.cursor);
  }

  move(by) {
    this.moveTo(this.cursorIndex() + by);
  }

  moveColumn(by) {
    const { table } = this;
    table.cursorColumn = Math.max(0, Math.min(table.columns.length - 1, table.cursorColumn + by));
  }

  click(index, column, event) {
    this.table.cursorColumn = column;
    this.moveTo(index);
    if (event.target.closest("a")) return;
    if (isGroup(this.itemAt(index))) this.toggle();
    else if (NARROW.matches) this.openDetail(index);
  }

  sortBy(column) {
    const same = this.sort?.column === column.id;
    this.sort = { column: column.id, down: same ? !this.sort.down : column.right === true };
    this.resort();
  }

  resort() {
    this.table.paintHead(this.sort, null);
    this.refresh(true);
    this.on.changed();
  }

  toggle(all = false) {
    if (!this.by) return;
    const item = this.cursorIndex() >= 0 ? this.item(this.table.cursor) : null;
    if (all) {
      const any = this.open.size > 0;
      this.open.clear();
      if (!any) this.open.add("*");
    } else if (item) {
      const name = item.group ?? this.view.groupOf(item);
      if (this.open.delete("*")) for (const { group } of this.groups.values()) this.open.add(group);
      if (!this.open.delete(name)) this.open.add(name);
      else this.table.cursor = GROUP + name;
    }
    this.refresh(true);
    this.on.changed();
  }

  /** Select the row under the cursor, or all rows of the group; again: no longer. `false` selects none. */
  choose(any = true) {
    if (!any) this.chosen.clear();
    else if (this.cursorIndex() >= 0) {
      const { cursor } = this.table;
      const item = this.item(cursor);
      const keys = isGroup(item) ? [...item.items.keys()] : [cursor];
      const all = keys.every((key) => this.chosen.has(key));
      for (const key of keys) {
        if (all) this.chosen.delete(key);
        else this.chosen.add(key);
      }
    }
    this.sum();
    this.on.changed();
  }

  groupBy() {
    if (!this.view.groupOnDemand) return;
    this.by = this.by ? null : "instrument";
    this.refresh(true);
    this.on.changed();
  }
}
