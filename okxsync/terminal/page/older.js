// Fills of a time in the past, some hundred at once, in the place of the tape. They are read on request: a desk has
// millions.

import { fetchPicture } from "./picture.js";

const AGAIN_MS = 30_000; // a gap may be filled meanwhile
const RETRY_MS = 2000;

const term = (filter, name) => new RegExp(`(?:^|\\s)${name}:"?([^\\s"]+)`).exec(filter)?.[1];

export class Older {
  constructor(model, range, schedule) {
    this.topic = model.topics.fills;
    this.model = model;
    this.range = range;
    this.schedule = schedule;
    this.isPast = false; // whether the tape shows a time of the past
    this.asked = null;
    this.askedAt = -Infinity;
    this.error = null;
    this.more = false; // whether there are more than those that were read
    this.rows = [];
  }

  /** Ask for what is not there, or what is old. Returns whether the tape turned to the past, or back to the present. */
  refresh(filter) {
    const turned = this.isPast !== this.range.isPast;
    this.isPast = this.range.isPast;
    if (turned) this.topic.clear();
    if (!this.isPast) this.asked = null;
    const now = this.model.now();
    if (!this.isPast || now === null || this.model.truth.lost) return turned;
    const { begin, end } = this.range.window(now);
    const [acct, inst] = [term(filter, "acct"), term(filter, "inst")];
    const given = { from: begin, until: end, ...(acct && { acct }), ...(inst && { inst }) };
    const wanted = JSON.stringify(given);
    const late = performance.now() - this.askedAt;
    const old = late > AGAIN_MS || (!this.topic.current && late > RETRY_MS);
    if (wanted !== this.asked) {
      this.topic.clear();
      this.rows = [];
      this.error = null;
      this.asked = wanted;
      this.read(given);
    } else if (old && !this.waiting) this.read(given);
    return turned;
  }

  /** Read the next ones. */
  next() {
    if (!this.more || this.waiting || this.asked === null) return;
    this.read(JSON.parse(this.asked), this.rows.length);
  }

  async read(given, skip = 0) {
    const { asked } = this;
    this.askedAt = performance.now();
    this.waiting = true;
    try {
      const { cols, rows, more } = await fetchPicture("fills", { ...given, skip });
      if (asked !== this.asked) return;
      const all = skip ? [...this.rows, ...rows] : [...rows, ...this.rows.slice(rows.length)];
      this.rows = [...new Map(all.map((row) => [row[0], row])).values()];
      if (skip || this.rows.length === rows.length) this.more = more;
      this.error = null;
      this.topic.take({ n: this.topic.number ?? 0, cols, rows: this.rows });
    } catch (error) {
      if (asked === this.asked) this.error = error.message;
    } finally {
      this.waiting = false;
    }
    this.schedule();
  }
}
