// The order of rows, and when it may change. A row never slips from under a hand: order is taken anew at most once per
// `every` milliseconds, and not while the pointer is over the table or within two seconds of a key.

import { compare, parse } from "./decimals.js";

const AFTER_KEY_MS = 2000;

export class Hold {
  constructor(every, nowMs = () => performance.now()) {
    this.every = every;
    this.nowMs = nowMs;
    this.over = false;
    this.scrolled = false;
    this.keyAt = -Infinity;
    this.takenAt = -Infinity;
  }

  key() {
    this.keyAt = this.nowMs();
  }

  held() {
    return this.over || this.scrolled || this.nowMs() - this.keyAt < AFTER_KEY_MS;
  }

  /** Return whether order may be taken now, and note that it is. */
  take() {
    if (this.held() || this.nowMs() - this.takenAt < this.every) return false;
    this.takenAt = this.nowMs();
    return true;
  }

  /** The reader asks for a new order: by a column, a filter, another view. */
  force() {
    this.takenAt = -Infinity;
    this.keyAt = -Infinity;
  }
}

/** Compare numbers, or texts; those that are decimals by value, exactly. What is unknown is last in both directions. */
function compareValues(a, b, down) {
  const missing = (value) => value === null || value === undefined || value === "";
  if (missing(a) || missing(b)) return missing(a) ? (missing(b) ? 0 : 1) : -1;
  let order;
  if (typeof a === "number" && typeof b === "number") {
    order = a - b;
  } else {
    const [left, right] = [Number(a), Number(b)]; // floats decide where they differ; they keep the order of decimals
    if (left < right || left > right) order = left - right;
    else if (left === right) order = a === b ? 0 : compare(parse(a), parse(b));
    else order = a < b ? -1 : a > b ? 1 : 0;
  }
  return down ? -order : order;
}

/**
 * Return the keys of `items` (key -> item) in order.
 *
 * `rules` are [{value: item -> value, down}], the most important first; the key decides last, so equal rows keep their
 * places.
 */
export function sorted(items, rules) {
  const rows = [];
  for (const [key, item] of items) rows.push([key, ...rules.map(({ value }) => value(item))]);
  rows.sort((a, b) => {
    for (let index = 0; index < rules.length; index += 1) {
      const order = compareValues(a[index + 1], b[index + 1], rules[index].down);
      if (order) return order;
    }
    return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0;
  });
  return rows.map(([key]) => key);
}
