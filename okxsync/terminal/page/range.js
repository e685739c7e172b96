// The time that the pictures show; all of them share it. It follows the present unless an end was chosen.

import { clock, date, duration, moment, offset } from "./time.js";

export const SPANS = ["1h", "6h", "24h", "7d", "30d"];
const DEFAULT = "24h";
const MINUTE = 60e6;
const SHORTEST = 10 * MINUTE;
const TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 720, 1440, 2880, 5760, 10080, 20160].map((n) => n * MINUTE);
const NEARLY = 0.02; // an end so near to the present, as a part of the span, is the present
const TICK_PX = 90;
const DAY = 1440 * MINUTE;

export class Range {
  constructor() {
    this.set(null, null);
  }

  /** Take what stands in the address: "24h" or a number of seconds, and the end in microseconds, or null for now. */
  set(span, end) {
    const us = SPANS.includes(span) ? duration(span) : Number(span) * 1e6;
    this.us = Math.max(SHORTEST, Math.min(us || duration(DEFAULT), duration("400d")));
    this.end = end && Number.isSafeInteger(Number(end)) ? Number(end) : null;
  }

  get span() {
    const name = SPANS.find((one) => duration(one) === this.us) ?? String(Math.round(this.us / 1e6));
    return name === DEFAULT ? null : name;
  }

  /** Return [begin, end) at a moment, in whole seconds, so that a picture does not tremble. */
  window(now) {
    const end = this.end ?? Math.ceil(now / 1e6) * 1e6;
    return { begin: end - this.us, end };
  }

  /** Move by a part of the span; what would be in the future follows the present again. */
  move(part, now) {
    const end = Math.round((this.end ?? now) + part * this.us);
    this.end = this.isPresent(end, now) ? null : end;
  }

  /** Whether a time of the past was chosen: tables show what happened then. */
  get isPast() {
    return this.end !== null;
  }

  /** Return the time in words: "14:02:10 to 14:23:00". */
  words(now) {
    const { begin, end } = this.window(now);
    return `${moment(begin, now)} to ${moment(end, now)}`;
  }

  isPresent(end, now) {
    return end >= now - this.us * NEARLY;
  }

  /** Show the next longer (1) or shorter (-1) usual span. */
  zoom(direction, now) {
    const usual = SPANS.map(duration);
    const next = direction > 0 ? usual.find((us) => us > this.us) : usual.findLast((us) => us < this.us);
    if (next === undefined) return;
    if (this.end !== null) this.end = Math.round(Math.min(now, this.end + (next - this.us) / 2));
    this.us = next;
  }

  /** A key: "earlier", "later", "longer" or "shorter". Returns whether it is one. */
  act(what, now) {
    if (what === "earlier") this.move(-0.5, now);
    else if (what === "later") this.move(0.5, now);
    else if (what === "longer") this.zoom(1, now);
    else if (what === "shorter") this.zoom(-1, now);
    else return false;
    return true;
  }

  choose(begin, end, now) {
    this.us = Math.max(SHORTEST, Math.round(end - begin));
    this.end = this.isPresent(end, now) ? null : Math.round(end);
  }
}

/** Return [{x, text}] of an axis of time that is so many pixels wide; days begin at midnight of the chosen zone. */
export function ticks({ begin, end }, width) {
  const step = TICKS.find((us) => (us / (end - begin)) * width >= TICK_PX) ?? TICKS.at(-1);
  const made = [];
  let local = Math.ceil((begin + offset(begin)) / step) * step;
  for (; ; local += step) {
    const at = local - offset(local - offset(begin)); // the clocks may have been changed since the begin
    if (at >= end) break;
    const text = step >= DAY || end - begin > 4 * DAY ? date(at).slice(5) : clock(at).slice(0, 5);
    const whole = step < DAY && end - begin > 4 * DAY ? `${text} ${clock(at).slice(0, 5)}` : text;
    made.push({ x: ((at - begin) / (end - begin)) * width, text: whole });
  }
  return made;
}
