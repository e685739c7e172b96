// What the page holds of the database: one table a topic, built from snapshots and diffs.

const SEPARATOR = "\u0000"; // no name and no id of the exchange holds it

export const keyOf = (...values) => values.join(SEPARATOR);

export class Topic {
  /** `width`: how many of the leading columns are the key. */
  constructor(name, width) {
    this.name = name;
    this.width = width;
    this.columns = [];
    this.at = {}; // column name -> index; an unknown column is undefined, and its value too: it shows as "-"
    this.rows = new Map();
    this.number = null; // of the last part; null: nothing was received yet
    this.current = false; // whether the server has answered the present subscription
    this.version = 0; // grows with each change
    this.added = []; // keys that came since `settle`
    this.gone = new Map(); // rows that went since then
    this.replaced = false; // whether a snapshot came since then
  }

  /**
   * Take in a snapshot or a diff. Returns whether it fits: a diff that skips a number does not, and changes nothing. A
   * diff that was taken in before says only that there is nothing newer.
   */
  take(part) {
    if (part.rows) {
      this.columns = part.cols;
      this.at = Object.fromEntries(part.cols.map((name, index) => [name, index]));
      this.rows = new Map(part.rows.map((row) => [this.key(row), row]));
      this.replaced = true;
    } else if (this.number === null || part.n > this.number + 1) {
      return false;
    } else if (part.n === this.number + 1) {
      for (const key of part.del ?? []) this.remove(keyOf(...key));
      for (const row of part.put ?? []) this.put(this.key(row), row);
    }
    this.number = part.n;
    this.current = true;
    this.version += 1;
    return true;
  }

  put(key, row) {
    if (!this.rows.has(key)) this.added.push(key);
    this.gone.delete(key);
    this.rows.set(key, row);
  }

  remove(key) {
    if (this.rows.has(key)) this.gone.set(key, this.rows.get(key));
    this.rows.delete(key);
  }

  /** The view has a new order: rows that are gone need not be shown any more. */
  settle() {
    this.added = [];
    this.gone.clear();
    this.replaced = false;
  }

  /** Hold nothing, as before the first part: what comes next is about something else. */
  clear() {
    this.restart();
    this.rows = new Map();
    this.settle();
    this.replaced = true;
    this.version += 1;
  }

  key(row) {
    return this.width === 1 ? String(row[0]) : keyOf(...row.slice(0, this.width));
  }

  get(...key) {
    return this.rows.get(keyOf(...key));
  }

  /** Rows stay, but are no longer what the database holds: the connection is lost, or the page is not subscribed. */
  leave() {
    this.current = false;
  }

  /** Forget the number, so that the next subscription brings a snapshot. */
  restart() {
    this.number = null;
    this.current = false;
  }
}
