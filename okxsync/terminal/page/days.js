// What Accounts shows of the past: the equity at the begin of the day, transfers since then, and the last 24 hours of
// coverage. It is read anew each half minute; what is older than that by far is not known.

import { add, exact, multiply, negate, parse, quotient } from "./decimals.js";
import { fetchPicture } from "./picture.js";
import { currentZone } from "./time.js";

const AGAIN_MS = 30_000;
const OLD_US = 120e6;
const BAR = 17;
const PLACES = 8; // so that a small change does not look like none
const DAY_US = 86_400e6;
const SHIFT_US = { "UTC+8": 8 * 3600e6 };
const HUNDRED = parse("100");
export const BLOCKS = { none: " ", covered: "\u2588", pending: "\u2588", filled: "\u2593", partial: "\u2592", open: "\u2591" };
const STATES = Object.keys(BLOCKS);

/** Return the begin of the day: at 00:00 UTC, or at that of UTC+8, OKX's own day, if times are shown in it. */
export function dayOf(now) {
  const shift = SHIFT_US[currentZone()] ?? 0;
  return Math.floor((now + shift) / DAY_US) * DAY_US - shift;
}

export class Days {
  constructor(model, schedule) {
    this.model = model;
    this.schedule = schedule;
    this.rows = new Map();
    this.at = null;
    this.day = null;
    this.error = "it is being read";
    this.askedAt = -Infinity;
    this.asked = null;
  }

  /** Ask for what is not there, or what is old. */
  async refresh() {
    const now = this.model.now();
    if (now === null || this.model.truth.lost) return;
    const day = dayOf(now);
    if (day === this.asked && performance.now() - this.askedAt < AGAIN_MS) return;
    this.asked = day;
    this.askedAt = performance.now();
    try {
      const { now: at, cols, rows } = await fetchPicture("accounts", { day, width: BAR });
      const record = (row) => Object.fromEntries(cols.map((name, index) => [name, row[index]]));
      this.rows = new Map(rows.map((row) => [row[0], record(row)]));
      [this.at, this.day, this.error] = [at, day, null];
    } catch (error) {
      this.error = error.message;
    }
    this.schedule();
  }

  /** Return what is known of an account now, or null. */
  of(account) {
    const now = this.model.now();
    if (this.at === null || now === null || now - this.at > OLD_US || this.day !== dayOf(now)) return null;
    return this.rows.get(account) ?? null;
  }

  /** Return the change of an account since the day began, without transfers, as exact text; null: not known. */
  change(account, equity) {
    const found = this.of(account);
    const [present, began, moved] = [parse(equity), parse(found?.began), parse(found?.transfers)];
    if (present === null || began === null || moved === null) return null;
    return exact(add(add(present, negate(began)), negate(moved)));
  }

  percent(account, equity) {
    const part = quotient(multiply(parse(this.change(account, equity)), HUNDRED), parse(this.of(account)?.began), PLACES);
    return part && exact(part);
  }

  /** Return the last 24 hours as a bar: full where it is covered. */
  bar(account) {
    const runs = this.of(account)?.runs;
    if (!runs) return null;
    let text = "";
    for (let index = 0; index < runs.length; index += 2)
      text += BLOCKS[STATES[runs[index + 1]]].repeat((runs[index + 2] ?? BAR) - runs[index]);
    return text;
  }

  isOpen(account) {
    return this.bar(account)?.includes(BLOCKS.open) ?? false;
  }

  why(account) {
    const found = this.of(account);
    if (!found) return this.error ?? "not read lately";
    if (found.began === null) return "the equity at the begin of the day is not known";
    return found.transfers === null ? "a transfer has no price in USD" : "not known";
  }
}
