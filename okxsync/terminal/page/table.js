// A virtual table: as many row elements as fit on the screen, moved and written where they differ. Heights are fixed,
// so a row's place is its index. Styles are set as properties only, which the CSP allows.

import { element, set, setText } from "./text.js";

/**
 * A changed cell fades in so many steps, all cells at the same ticks: animations by the browser would make it paint 60
 * times a second.
 */
const FADES = 3;
const FADE_MS = 240;
const SPARE = 3; // rows above and below the visible ones, so that a scroll does not show an empty edge
/** Ages grow without any change of a row: all rows are written anew when this has passed, so nothing is older. */
export const AGES_MS = 900;

export class Table {
  /**
   * `source` answers for rows: `count()`, `keyAt(index)`, `itemAt(index)`, `kindOf(item)` (classes of the row),
   * `isChosen(key)`, `isOpen(item)`, `tip(item, column)`, `partsOf(item)` (what its cells are made of, compared by
   * identity) and `stamp()` (a text: another one if anything has changed that every row may show). `on` has
   * `click(index, columnIndex)`, `open(index)`, `sort(column)`, `over(inside)`, `scroll(top, isEnd)`.
   */
  constructor(label, columns, source, on) {
    this.source = source;
    this.on = on;
    this.used = new Map(); // key -> row element's record
    this.free = [];
    this.cursor = null;
    this.cursorColumn = 0;
    this.rowHeight = 20;
    this.stamp = null;
    this.stampedAt = -Infinity; // when all rows were written the last time
    this.turn = 0; // how often that was
    this.head = element("div", "thead");
    this.head.setAttribute("role", "rowgroup");
    this.body = element("div", "tbody");
    this.body.setAttribute("role", "rowgroup");
    this.message = element("p", "message");
    this.root = element("div", "grid", this.head, this.body, this.message);
    this.root.setAttribute("role", "grid");
    this.root.setAttribute("aria-label", label);
    this.root.setAttribute("aria-readonly", "true");
    this.root.setAttribute("aria-multiselectable", "true");
    this.root.tabIndex = 0;
    this.name = label.toLowerCase();
    this.setColumns(columns);
    this.root.addEventListener(
      "scroll",
      () => {
        const { scrollTop, clientHeight, scrollHeight } = this.root;
        on.scroll(scrollTop, scrollTop > 0 && scrollTop + clientHeight >= scrollHeight - 1);
        this.paint();
      },
      { passive: true },
    );
    for (const [event, inside] of [
      ["pointerenter", true],
      ["pointerleave", false],
    ]) {
      this.body.addEventListener(event, ({ pointerType }) => pointerType === "mouse" && on.over(inside));
    }
    this.body.addEventListener("click", (event) => this.clicked(event));
    this.body.addEventListener("dblclick", (event) => {
      const place = this.place(event);
      if (place) on.open(place.record.index);
    });
    this.body.addEventListener("pointerover", (event) => this.pointed(event));
    new ResizeObserver(() => this.paint()).observe(this.root);
  }

  setColumns(columns) {
    this.columns = columns;
    const tracks = columns.map(({ width, grow }) => (grow ? `minmax(${width}px, 1fr)` : `${width}px`));
    this.root.style.setProperty("--cols", tracks.join(" "));
    this.root.style.setProperty("--width", `${columns.reduce((sum, { width }) => sum + width, 0)}px`);
    this.root.setAttribute("aria-colcount", columns.length);
    this.body.replaceChildren();
    this.used.clear();
    this.free = [];
    this.headings = columns.map((column) => {
      const name = element("span", "name");
      const button = element("button", "heading", name);
      button.tabIndex = -1;
      button.addEventListener("click", () => this.on.sort(column));
      const cell = element("div", `cell${column.right ? " right" : ""}`, button, element("span", "edge"));
      cell.setAttribute("role", "columnheader");
      if (column.tip) cell.title = column.tip;
      if (!column.head) for (const node of [cell, button]) node.setAttribute("aria-label", column.id.replaceAll("_", " "));
      return { cell, name };
    });
    const row = element("div", "row", ...this.headings.map(({ cell }) => cell));
    row.setAttribute("role", "row");
    row.setAttribute("aria-rowindex", "1");
    this.head.replaceChildren(row);
    this.paintHead(null, null);
  }

  columnOf(cell) {
    return this.columns[this.headings.findIndex((heading) => heading.cell === cell)];
  }

  /** `letters`: column id -> letter while a key for sorting is awaited. */
  paintHead(sort, letters) {
    this.columns.forEach(({ id, head }, index) => {
      const { cell, name } = this.headings[index];
      const arrow = sort?.column === id ? (sort.down ? " \u2193" : " \u2191") : "";
      setText(name, (typeof head === "function" ? head() : head) + arrow);
      if (letters?.[id]) cell.dataset.letter = letters[id].toUpperCase();
      else delete cell.dataset.letter;
      cell.setAttribute("aria-sort", arrow ? (sort.down ? "descending" : "ascending") : "none");
    });
  }

  setRowHeight(px) {
    this.rowHeight = px;
    this.height = null;
    for (const record of [...this.used.values(), ...this.free]) record.index = -1;
    this.paint();
  }

  visibleRows() {
    return Math.max(1, Math.floor((this.root.clientHeight - this.head.offsetHeight) / this.rowHeight));
  }

  paint() {
    if (this.root.offsetParent === null) return;
    this.now = performance.now();
    this.tick = Math.floor(this.now / FADE_MS);
    this.fading = false;
    const stamp = this.source.stamp();
    if (stamp !== this.stamp || this.now - this.stampedAt > AGES_MS) {
      [this.stamp, this.stampedAt] = [stamp, this.now];
      this.turn += 1;
    }
    const count = this.source.count();
    const top = Math.floor(this.root.scrollTop / this.rowHeight);
    const first = Math.max(0, top - SPARE);
    const last = Math.min(count, top + this.visibleRows() + 1 + SPARE);
    if (this.height !== count * this.rowHeight) {
      this.height = count * this.rowHeight;
      this.body.style.height = `${this.height}px`;
      this.root.setAttribute("aria-rowcount", count + 1);
    }
    const wanted = new Map();
    for (let index = first; index < last; index += 1) wanted.set(this.source.keyAt(index), index);
    for (const [key, record] of this.used) {
      if (wanted.has(key)) continue;
      this.used.delete(key);
      this.free.push(record);
    }
    for (const [key, index] of wanted) {
      let record = this.used.get(key);
      if (record === undefined) {
        record = this.free.pop() ?? this.makeRow();
        Object.assign(record, { key, parts: [], fades: false });
        this.used.set(key, record);
      }
      this.paintRow(record, index);
    }
    for (const { row } of this.free) if (!row.hidden) row.hidden = true;
    clearTimeout(this.fadeTimer);
    if (this.fading) this.fadeTimer = setTimeout(() => this.paint(), (this.tick + 1) * FADE_MS - this.now);
    const active = this.cursor !== null && this.used.get(this.cursor);
    if (active) this.root.setAttribute("aria-activedescendant", active.row.id);
    else this.root.removeAttribute("aria-activedescendant");
  }

  makeRow() {
    this.made = (this.made ?? 0) + 1;
    const cells = this.columns.map((column) => {
      const text = document.createTextNode("");
      const holder = column.href ? element("a", "link", text) : text;
      if (column.href) holder.tabIndex = -1;
      const cell = element("div", "", holder);
      cell.setAttribute("role", "gridcell");
      return { cell, text, holder, shown: null, tone: null, href: null, changed: -Infinity };
    });
    const row = element("div", "row", ...cells.map(({ cell }) => cell));
    row.id = `${this.name}-${this.made}`;
    row.setAttribute("role", "row");
    const record = { row, cells, index: -1, kind: null, key: null, parts: [], fades: false };
    row.record = record;
    this.body.append(row);
    return record;
  }

  paintRow(record, index) {
    const item = this.source.itemAt(index);
    const { row } = record;
    if (row.hidden) row.hidden = false;
    if (record.index !== index) {
      record.index = index;
      row.style.transform = `translateY(${index * this.rowHeight}px)`;
      row.setAttribute("aria-rowindex", index + 2);
    }
    const isCursor = record.key === this.cursor;
    const isChosen = this.source.isChosen(record.key);
    const open = this.source.isOpen(item); // null: it is no group
    const kind = `row ${open ? "open " : ""}${this.source.kindOf(item, record.key)}${isCursor ? " cursor" : ""}${isChosen ? " chosen" : ""}`;
    if (record.kind !== kind) {
      record.kind = kind;
      row.className = kind;
      row.setAttribute("aria-selected", isChosen);
      if (open === null) row.removeAttribute("aria-expanded");
      else row.setAttribute("aria-expanded", open);
      if (this.root.role === "treegrid") row.setAttribute("aria-level", kind.includes("member ") ? 2 : 1);
    }
    const here = isCursor ? this.cursorColumn : null;
    const parts = [this.turn, kind, here, record.fades && this.tick, ...this.source.partsOf(item)];
    if (parts.some((part, at) => part !== record.parts[at])) {
      this.writeCells(record, item, here, record.parts.length > 0);
      record.parts = parts;
    }
    if (record.fades) this.fading = true;
  }

  /** `same`: the row was shown before, so what differs now has changed. */
  writeCells(record, item, here, same) {
    record.fades = false;
    this.columns.forEach((column, at) => {
      const drawn = record.cells[at];
      const text = column.text(item);
      if (drawn.shown !== text) {
        drawn.text.data = text;
        if (same && column.fade) drawn.changed = this.tick;
        drawn.shown = text;
      }
      if (!same) drawn.changed = -Infinity;
      const step = this.tick - drawn.changed;
      if (step < FADES) record.fades = true;
      const state = column.state?.(item);
      const tone = `cell${column.right ? " right" : ""}${column.dim ? " dim" : ""} ${column.tone?.(item) ?? ""}${
        state ? ` of-${state}` : ""
      }${step < FADES ? ` fade${step}` : ""}${at === here ? " here" : ""}`;
      if (drawn.tone !== tone) {
        drawn.tone = tone;
        drawn.cell.className = tone;
      }
      if (column.href) {
        const href = column.href(item);
        if (drawn.href !== href) {
          drawn.href = href;
          if (href) drawn.holder.href = href;
          else drawn.holder.removeAttribute("href");
        }
      }
    });
  }

  place(event) {
    const cell = event.target.closest?.(".cell");
    const record = cell?.parentElement.record;
    return record ? { record, column: record.cells.findIndex((drawn) => drawn.cell === cell), cell } : null;
  }

  clicked(event) {
    const place = this.place(event);
    if (place) this.on.click(place.record.index, place.column, event);
  }

  /** The tooltip is made when it is asked for. */
  pointed(event) {
    const place = this.place(event);
    if (place) place.cell.title = this.source.tip(this.source.itemAt(place.record.index), this.columns[place.column]);
  }

  /** Scroll so that a row is on the screen. */
  reveal(index) {
    const space = this.root.clientHeight - this.head.offsetHeight;
    const top = index * this.rowHeight;
    if (top < this.root.scrollTop) this.root.scrollTop = top;
    else if (top + this.rowHeight > this.root.scrollTop + space) this.root.scrollTop = top + this.rowHeight - space;
  }

  say(text, kind = "") {
    setText(this.message, text);
    set(this.message, { className: `message ${kind}`, hidden: text === "" });
  }
}
