// Which columns a table shows, in which order and how wide: chosen by keys or by hand, and kept in the browser.

const NARROWEST = 32;
export const NARROW = matchMedia("(max-width: 700px)");

export class Layout {
  /** `narrow`: the columns that fit on a phone, with their widths; the rest is in the detail. */
  constructor(name, columns, narrow = null) {
    this.narrow = narrow;
    this.name = `okxsync.columns.${name}`;
    this.all = new Map(columns.map((column) => [column.id, column]));
    this.reset(JSON.parse(localStorage.getItem(this.name) ?? "[]"));
  }

  /** Take saved entries [{id, width, hidden}]; a column that they do not know stands where it usually does. */
  reset(saved = []) {
    this.entries = saved.filter(({ id }) => this.all.has(id));
    [...this.all.values()].forEach(({ id, width, hidden = false }, index) => {
      if (!this.entries.some((entry) => entry.id === id)) this.entries.splice(index, 0, { id, width, hidden });
    });
  }

  save() {
    localStorage.setItem(this.name, JSON.stringify(this.entries));
  }

  columns() {
    if (this.narrow && NARROW.matches) return Object.entries(this.narrow).map(([id, width]) => ({ ...this.all.get(id), width, grow: false }));
    const shown = this.entries.filter(({ hidden }) => !hidden);
    return shown.map(({ id, width }) => ({ ...this.all.get(id), width }));
  }

  at(id) {
    return this.entries.findIndex((entry) => entry.id === id);
  }

  widen(id, by) {
    const entry = this.entries[this.at(id)];
    entry.width = Math.max(NARROWEST, entry.width + by);
  }

  /** Hide a column, or show it again; the last one stays. */
  toggle(id) {
    const entry = this.entries[this.at(id)];
    if (entry.hidden || this.columns().length > 1) entry.hidden = !entry.hidden;
  }

  move(id, to) {
    const [entry] = this.entries.splice(this.at(id), 1);
    this.entries.splice(Math.max(0, Math.min(this.entries.length, to)), 0, entry);
  }
}

/** Let headings be dragged to another place, and their right edges to another width. `on` has move and widen. */
export function makeDraggable(head, idOf, on) {
  let drag = null;
  let dragged = false;
  head.addEventListener("pointerdown", (event) => {
    dragged = false;
    const cell = event.target.closest(".cell");
    if (!cell || event.button !== 0) return;
    drag = { id: idOf(cell), x: event.clientX, edge: event.target.classList.contains("edge"), moved: false };
  });
  head.addEventListener("pointermove", (event) => {
    if (!drag || (!drag.moved && Math.abs(event.clientX - drag.x) < 5)) return;
    if (!drag.moved) head.setPointerCapture(event.pointerId);
    drag.moved = true;
    if (!drag.edge) return;
    on.widen(drag.id, event.clientX - drag.x);
    drag.x = event.clientX;
  });
  head.addEventListener("pointerup", (event) => {
    const target = document.elementFromPoint(event.clientX, event.clientY)?.closest(".thead .cell");
    if (drag?.moved && !drag.edge && target) on.move(drag.id, idOf(target));
    dragged = drag?.moved === true;
    drag = null;
  });
  head.addEventListener("click", (event) => dragged && event.stopPropagation(), { capture: true }); // the end of a drag
}

const KEYS = "j k: choose   Space: show or hide   J K: move   [ ]: narrower, wider   0: as it was   Esc: done";

/** Open the list of columns; `changed()` is called with each change. */
export function showColumns(dialog, layout, element, changed) {
  let at = 0;
  const list = element("ol");
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Columns");
  const paint = () => {
    list.replaceChildren(
      ...layout.entries.map(({ id, width, hidden }, index) => {
        const { head } = layout.all.get(id);
        const name = (typeof head === "function" ? head() : head) || id;
        const row = element(
          "li",
          hidden ? "dim" : "",
          `${hidden ? "\u2610" : "\u2611"} ${name}  `,
          element("span", "dim", `${width} px`),
        );
        row.id = `column-${index}`;
        row.setAttribute("role", "option");
        row.setAttribute("aria-selected", index === at);
        return row;
      }),
    );
    list.setAttribute("aria-activedescendant", `column-${at}`);
  };
  const actions = {
    KeyJ: (shift) =>
      shift ? layout.move(layout.entries[at].id, (at = Math.min(at + 1, layout.entries.length - 1))) : (at += 1),
    KeyK: (shift) => (shift ? layout.move(layout.entries[at].id, (at = Math.max(at - 1, 0))) : (at -= 1)),
    ArrowDown: () => (at += 1),
    ArrowUp: () => (at -= 1),
    Space: () => layout.toggle(layout.entries[at].id),
    BracketLeft: () => layout.widen(layout.entries[at].id, -8),
    BracketRight: () => layout.widen(layout.entries[at].id, 8),
    Digit0: () => layout.reset(),
  };
  dialog.onkeydown = (event) => {
    const action = actions[event.code];
    if (!action) return;
    event.preventDefault();
    action(event.shiftKey);
    at = Math.max(0, Math.min(layout.entries.length - 1, at));
    paint();
    changed();
  };
  list.tabIndex = 0;
  paint();
  dialog.replaceChildren(element("h2", "", "Columns"), list, element("p", "dim", KEYS));
  dialog.showModal();
  list.focus();
}
