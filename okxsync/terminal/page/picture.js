// A view that is a picture: it asks the server for the past, and draws it on a canvas.
//
// It has what `app.js` wants of a view (see `grid.js`). A picture is never shown as if it were newer than it is: it ends
// where it was read, and is grey as soon as the page or the daemon is lost.

import { csv } from "./csv.js";
import { compile } from "./filter.js";
import { SPANS } from "./range.js";
import { element, inSheet, setText, visible } from "./text.js";
import { age, duration } from "./time.js";

const AGAIN_MS = 5000;
const SHARE = 20; // of the time that an answer takes; a long one is asked for less often
const PATIENCE_MS = 20_000;
const ZOOM = 1.25;
const WAIT_MS = 150; // for further changes of the range, before the server is asked
export const COLOURS = {
  text: "#d5dae0",
  dim: "#8f9aa5",
  line: "#232b34",
  high: "#1a2027",
  ground: "#0b0e11",
  up: "#63afe9",
  down: "#f06d4c",
  wrong: "#ff6b5e",
  attention: "#e3b341",
};

/** Ask the server for a picture. Throws an Error whose message can be shown. */
export async function fetchPicture(kind, given) {
  const query = new URLSearchParams(given);
  let response;
  try {
    response = await fetch(`picture/${kind}?${query}`, {
      headers: { "X-Okxsync-Key": localStorage.getItem("okxsync.key") ?? "" },
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
  } catch {
    throw new Error("the terminal does not answer");
  }
  const answer = await response.json().catch(() => ({ error: `the terminal answers ${response.status}` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/** Return a share as percent, cut: only all of it is "100 %". */
export function share(part, whole) {
  if (!whole) return "-";
  if (part >= whole) return "100 %";
  return `${(Math.floor((part / whole) * 1e5) / 1e3).toFixed(3)} %`;
}

/**
 * The base of all pictures. A picture has
 *   kind, params(window, width)   what it asks for
 *   draw(canvas, answer)          what it draws; `canvas` is {context, width, height}
 *   sentence(answer)              the picture in words
 *   table(answer)                 {head: [...], rows: [[...]]} in place of the picture
 */
export class Picture {
  constructor(view, model, range, on) {
    this.model = model;
    this.range = range;
    this.on = on;
    this.view = { topics: [], nouns: "", columns: [], topic: { rows: new Map() }, every: 0, ...view };
    this.answer = null;
    this.error = null;
    this.asked = null; // the parameters of the last request
    this.askedAt = -Infinity;
    this.took = 0;
    this.width = 0;
    this.isTable = false;
    this.rows = [];
    this.footer = [];
    this.open = new Set();
    this.chosen = new Set();
    this.sort = null;
    this.by = null;
    this.outdated = false;
    this.hold = { held: () => false, key: () => {} };
    this.build();
    this.setFilter("");
  }

  build() {
    const { title } = this.view;
    this.canvas = element("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", title);
    this.spacer = element("div", "spacer");
    this.scroller = element("div", "scroller", this.canvas, this.spacer);
    this.tip = element("div", "tip");
    this.tip.hidden = true;
    this.buttons = SPANS.map((span) => {
      const button = element("button", "", span.replace(/(\d+)/, "$1 "));
      button.addEventListener("click", () => this.chooseRange(() => this.range.set(span, null)));
      return [span, button];
    });
    this.line = element("span", "line");
    this.legend = element("span", "legend");
    this.bar = element("div", "picturebar", ...this.buttons.map(([, button]) => button), this.legend, this.line);
    this.inside = element("div", "inside");
    this.inside.hidden = true;
    this.message = element("p", "message");
    const root = element("div", "picture", this.bar, this.message, this.scroller, this.inside, this.tip);
    root.tabIndex = 0;
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", title);
    const table = { columns: [], cursorColumn: 0, paintHead() {}, visibleRows: () => 20, setRowHeight() {} };
    this.table = { root, cursor: null, ...table };
    new ResizeObserver(() => this.resize()).observe(this.scroller);
    this.scroller.addEventListener("scroll", () => this.paint());
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.leavePoint());
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("pointerup", (event) => this.release(event));
    if (!this.view.filtersRows) this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  // What the page asks of a view.

  setFilter(text) {
    this.filterText = text;
    const filter = compile(text, this.view.columns);
    this.filter = { ...filter, empty: filter.empty || !this.view.filtersRows };
  }

  count() {
    return this.rows.length;
  }

  cursorIndex() {
    return this.rows.findIndex((row) => this.keyOf(row) === this.table.cursor);
  }

  keyOf(row) {
    return row[0];
  }

  item() {
    return undefined;
  }

  move(by) {
    this.moveTo(this.cursorIndex() + by);
  }

  moveTo(index) {
    if (!this.rows.length) return;
    const to = Math.max(0, Math.min(this.rows.length - 1, index));
    this.table.cursor = this.keyOf(this.rows[to]);
    this.reveal(to);
    this.on.changed();
    this.paint();
  }

  reveal() {}
  moveColumn() {}
  groupBy() {}
  sortBy() {}
  resort() {}
  toggle() {}
  choose() {}

  chosenItems() {
    return [];
  }

  leave() {
    this.table.cursor = null;
    this.on.changed();
    this.paint();
  }

  /** A key of pictures: "earlier", "later", "longer", "shorter", "table". */
  act(what) {
    const now = this.model.now();
    if (now === null) return;
    if (what === "table") {
      this.isTable = !this.isTable;
      this.paint();
      return;
    }
    this.chooseRange(() => this.range.act(what, now));
  }

  enter() {
    this.toggle();
  }

  wanted() {
    return null;
  }

  /** Return the table of the picture as CSV. */
  sheet() {
    if (!this.answer || this.error) return null;
    const { head, rows } = this.asTable(this.answer);
    return { rows: rows.length, text: csv([head, ...rows].map((row) => row.map((one) => inSheet(String(one ?? ""))))) };
  }

  chooseRange(change) {
    change();
    this.on.changed();
    this.refresh(true);
  }

  // What is shown.

  plotWidth() {
    return Math.max(1, Math.floor(this.width));
  }

  /** Ask for what is not there, or what is old; the answer is painted when it comes. */
  refresh() {
    const now = this.model.now();
    if (now === null || !this.width || this.model.truth.lost) return;
    const window = this.range.window(now);
    const stable = this.range.end ?? "now";
    const wanted = JSON.stringify([this.range.us, stable, this.plotWidth(), this.more()]);
    const late = performance.now() - this.askedAt > Math.max(AGAIN_MS, SHARE * this.took);
    if (wanted === this.asked && (!late || this.waiting)) return;
    const first = wanted !== this.asked;
    this.asked = wanted;
    this.askedAt = performance.now();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(wanted, window), first && this.answer ? WAIT_MS : 0);
  }

  /** Parameters besides the time. */
  more() {
    return {};
  }

  async ask(wanted, window) {
    this.waiting = true;
    const began = performance.now();
    const given = { from: window.begin, until: window.end, width: this.plotWidth(), ...this.more() };
    try {
      const answer = await fetchPicture(this.kind, given);
      if (wanted !== this.asked) return;
      this.answer = { ...answer, window, width: this.plotWidth() };
      this.error = null;
    } catch (error) {
      if (wanted !== this.asked) return;
      this.error = error.message;
    } finally {
      this.took = performance.now() - began;
      this.waiting = false;
    }
    this.on.schedule();
  }

  resize() {
    const { clientWidth, clientHeight } = this.scroller;
    if (!clientWidth || !clientHeight) return;
    this.width = clientWidth;
    this.height = clientHeight;
    this.stretch();
    this.refresh();
    this.paint();
  }

  paint() {
    const { answer } = this;
    for (const [span, button] of this.buttons)
      button.setAttribute("aria-pressed", this.range.end === null && duration(span) === this.range.us);
    this.message.hidden = answer !== null && this.error === null;
    setText(this.message, this.error ? `Not known: ${visible(this.error)}.` : answer ? "" : "Reading the past \u2026");
    this.message.className = this.error ? "message wrong" : "message";
    const failed = this.error !== null || answer === null;
    this.scroller.hidden = this.error !== null || this.isTable; // while it is read it is empty, and has a size
    if (failed || !this.isTable) this.inside.hidden = failed || !this.detail();
    this.line.hidden = this.legend.hidden = failed;
    if (failed) return;
    this.prepare(answer);
    const words = this.sentence(answer);
    if (this.canvas.getAttribute("aria-label") !== words) this.canvas.setAttribute("aria-label", words);
    const old = this.model.age(answer.now);
    const asOf = old > 2 * AGAIN_MS * 1000 ? `, as of ${age(old)}` : "";
    setText(this.line, `${this.summary(answer)}${asOf}`);
    if (this.isTable) this.paintInside(this.asTable(answer));
    else this.paintCanvas(answer);
  }

  prepare() {}

  /** The canvas has the size of what is seen, and stays there: let the rest be scrolled over. */
  stretch(all = this.all ?? 0) {
    this.all = all;
    this.spacer.style.height = `${Math.max(0, all - (this.height ?? 0))}px`;
  }

  detail() {
    return false;
  }

  summary() {
    return "";
  }

  paintCanvas(answer) {
    if (!this.width || !this.height) return;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    const context = this.canvas.getContext("2d");
    for (const name of ["up", "down"]) // they can be chosen
      COLOURS[name] = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = COLOURS.ground;
    context.fillRect(0, 0, this.width, this.height);
    context.font = "11px Inter, system-ui, sans-serif";
    context.textBaseline = "middle";
    context.ratio = ratio;
    this.draw(context, answer);
    this.canvas.dataset.drawn = String(answer.now); // a test waits for it
  }

  /** Show a table of texts; `href(column, text)` is where a cell leads to, or null. */
  paintInside({ caption, head, rows, href = () => null }) {
    this.inside.hidden = false;
    const text = JSON.stringify([caption, head, rows]);
    if (this.shown === text) return;
    this.shown = text;
    const cells = (tag, texts) => texts.map((one) => element(tag, "", visible(String(one ?? "-"))));
    const linked = (texts) =>
      cells("td", texts).map((cell, index) => {
        const to = href(head[index], texts[index]);
        if (!to) return cell;
        const link = element("a", "", ...cell.childNodes);
        link.href = to;
        cell.append(link);
        return cell;
      });
    this.inside.replaceChildren(
      element(
        "table",
        "",
        element("caption", "", caption),
        element("thead", "", element("tr", "", ...cells("th", head))),
        element("tbody", "", ...rows.map((row) => element("tr", "", ...linked(row)))),
      ),
    );
  }

  // The pointer.

  spot(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  point(event) {
    if (!this.answer) return;
    const place = this.spot(event);
    if (this.drag) this.drag.to = place.x;
    const lines = this.tipAt(place);
    this.showTip(lines, event);
    if (this.drag) this.paint();
  }

  showTip(lines, event) {
    this.tip.hidden = !lines?.length;
    if (this.tip.hidden) return;
    this.tip.replaceChildren(...lines.map((line) => element("p", "", visible(line))));
    const box = this.table.root.getBoundingClientRect();
    const left = Math.min(event.clientX - box.left + 14, box.width - this.tip.offsetWidth - 4);
    const top = Math.min(event.clientY - box.top + 14, box.height - this.tip.offsetHeight - 4);
    this.tip.style.left = `${Math.max(0, left)}px`;
    this.tip.style.top = `${Math.max(0, top)}px`;
  }

  tipAt() {
    return null;
  }

  leavePoint() {
    this.tip.hidden = true;
  }

  press(event) {
    if (event.button !== 0) return;
    const { x } = this.spot(event);
    this.drag = { from: x, to: x };
    this.canvas.setPointerCapture(event.pointerId);
  }

  release(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag || !this.answer) return;
    const place = this.spot(event);
    if (Math.abs(drag.to - drag.from) < 5) {
      this.click(place);
      return;
    }
    const [begin, end] = [drag.from, drag.to].sort((a, b) => a - b).map((x) => this.timeAt(x));
    this.chooseRange(() => this.range.choose(begin, end, this.model.now()));
  }

  /** Zoom around the pointer. */
  wheel(event) {
    if (!this.answer || event.ctrlKey) return;
    event.preventDefault();
    const now = this.model.now();
    const at = this.timeAt(this.spot(event).x);
    const { begin, end } = this.range.window(now);
    const factor = event.deltaY > 0 ? ZOOM : 1 / ZOOM;
    this.chooseRange(() => this.range.choose(at - (at - begin) * factor, at + (end - at) * factor, now));
  }

  click() {}

  /** The left edge of the axis of time, and its width. */
  plot() {
    return { left: 0, width: this.plotWidth() };
  }

  timeAt(x) {
    const { left, width } = this.plot();
    const { begin, end } = this.answer.window;
    return begin + (Math.max(0, Math.min(width, x - left)) / width) * (end - begin);
  }

  xOf(at) {
    const { left, width } = this.plot();
    const { begin, end } = this.answer.window;
    return left + ((at - begin) / (end - begin)) * width;
  }
}
