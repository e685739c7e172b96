// The pane beside a table: one account or one order with all that belongs to it (`okxsync/terminal/details.py`). It is
// read on request and again while it is shown; its state word is that of the row, from the same source.

import { DETAILS } from "./details.js";
import { fetchPicture } from "./picture.js";
import { element, setText, visible } from "./text.js";
import { age, full } from "./time.js";
import { WORDS } from "./truth.js";

const AGAIN_MS = 2000;
const SHARE = 20; // of the time that an answer takes; a long one is asked for less often

export class Pane {
  /** `on` has `schedule()` and `close()`. */
  constructor(model, on) {
    this.model = model;
    this.on = on;
    this.wanted = null; // {kind, given, title} of what is shown
    this.answer = null;
    this.error = null;
    this.askedAt = -Infinity;
    this.took = 0;
    this.title = element("h2");
    this.state = element("span");
    this.asOf = element("span", "dim");
    const close = element("button", "close", "\u00d7");
    close.setAttribute("aria-label", "Close the detail");
    close.addEventListener("click", () => on.close());
    this.message = element("p", "message");
    this.body = element("div", "detail");
    this.root = element("aside", "pane", element("header", "", this.title, this.state, this.asOf, close), this.message, this.body);
    this.root.tabIndex = 0;
    this.root.dataset.scrolls = "";
  }

  /** Show what belongs to a row; null keeps what is shown, because the row may be gone and the order is not. */
  show(wanted, truth) {
    if (wanted !== null && JSON.stringify(wanted) !== JSON.stringify(this.wanted)) {
      this.wanted = wanted;
      this.answer = this.error = null;
      this.askedAt = -Infinity;
      this.body.replaceChildren();
      this.shown = null;
      this.root.scrollTop = 0;
    }
    this.truth = truth;
    this.refresh();
    this.paint();
  }

  refresh() {
    const { wanted, model } = this;
    if (wanted === null || this.waiting === wanted || model.now() === null || model.truth.lost) return;
    if (performance.now() - this.askedAt < Math.max(AGAIN_MS, SHARE * this.took)) return;
    this.read(wanted);
  }

  async read(wanted) {
    this.waiting = wanted;
    this.askedAt = performance.now();
    try {
      const answer = await fetchPicture(wanted.kind, wanted.given);
      if (wanted !== this.wanted) return;
      [this.answer, this.error] = [answer, null];
    } catch (error) {
      if (wanted !== this.wanted) return;
      this.error = error.message;
    } finally {
      if (this.waiting === wanted) this.waiting = null;
      this.took = performance.now() - this.askedAt;
    }
    this.on.schedule();
  }

  paint() {
    const { wanted, answer, truth, model } = this;
    if (wanted === null) return;
    setText(this.title, visible(wanted.title));
    if (this.root.getAttribute("aria-label") !== wanted.title) this.root.setAttribute("aria-label", wanted.title);
    const state = truth?.state ?? "stale";
    setText(this.state, truth ? `${WORDS[state]}${truth.reason ? `: ${visible(truth.reason)}` : ""}` : "no longer in the table");
    this.state.className = `state-${state}`;
    this.root.classList.toggle("of-stale", state === "stale" || state === "never" || this.error !== null);
    setText(this.asOf, answer ? `read ${age(model.age(answer.now))} ago` : "");
    this.asOf.title = answer ? full(answer.now) : "";
    setText(this.message, this.error ? `Not known: ${visible(this.error)}.` : answer ? "" : "Reading \u2026");
    this.message.hidden = this.message.textContent === "";
    if (!answer) return;
    const sections = DETAILS[wanted.kind](answer, model, wanted);
    const text = JSON.stringify(sections);
    if (text === this.shown) return; // a selection and the focus stay
    this.shown = text;
    this.fill(sections);
  }

  /** Replace the sections that differ, so that the focus and the place in the others are kept. */
  fill(sections) {
    const before = [...this.body.children];
    sections.forEach((section, index) => {
      const made = JSON.stringify(section);
      if (before[index]?.dataset.made === made) return;
      const node = draw(section);
      node.dataset.made = made;
      const wasOpen = before[index]?.querySelector("details")?.open;
      const opened = node.querySelector("details");
      if (opened && wasOpen !== undefined) opened.open = wasOpen;
      if (before[index]) before[index].replaceWith(node);
      else this.body.append(node);
    });
    before.slice(sections.length).forEach((node) => node.remove());
  }
}

/**
 * Draw a section: {title, note} and one of `facts` [[name, text]], `raw`, or `head` with `rows` of cells. A heading is
 * [text, right]; a cell is a text, or {text, tone, href, exact}.
 */
function draw({ title, note, facts, raw, head, rows }) {
  const section = element("section");
  if (raw !== undefined) {
    const folded = element("details", "", element("summary", "", title), element("pre", "", visibleLines(raw)));
    section.append(folded);
    return section;
  }
  section.append(element("h3", "", title));
  if (note) section.append(element("p", "dim", note));
  if (facts)
    section.append(
      element("dl", "", ...facts.flatMap(([name, text]) => [element("dt", "", visible(name)), element("dd", "", visible(String(text)))])),
    );
  if (rows?.length) {
    const wide = element(
      "div",
      "wide",
      element(
        "table",
        "",
        element("thead", "", element("tr", "", ...head.map(([text, right]) => element("th", right ? "right" : "", text)))),
        element("tbody", "", ...rows.map((row) => element("tr", "", ...row.map((cell, index) => drawCell(cell, head[index][1]))))),
      ),
    );
    Object.assign(wide, { tabIndex: 0, role: "group", ariaLabel: title }); // where it scrolls, it does so by keys too
    wide.dataset.scrolls = "";
    section.append(wide);
  }
  return section;
}

/** A raw text keeps its line breaks. */
const visibleLines = (raw) => raw.split("\n").map(visible).join("\n");

function drawCell(cell, right) {
  const { text, tone = "", href, exact } = typeof cell === "object" && cell !== null ? cell : { text: cell };
  const shown = visible(String(text ?? "-"));
  const link = href ? element("a", "", shown) : shown;
  if (href) link.href = href;
  const made = element("td", `${right ? "right " : ""}${tone}`, link);
  if (exact) made.title = visible(String(exact));
  return made;
}
