// Equity and exposure. The solid line is what the accounts had that were known in that minute; the hatched band above it
// is what the others had when they were last known. One line never goes through both, and none bridges a time in which
// no account was known.

import { words } from "../columns.js";
import { add, approximate, exact, negate, parse, show } from "../decimals.js";
import { COLOURS, Picture } from "../picture.js";
import { ticks } from "../range.js";
import { around, steps } from "../scale.js";
import { visible } from "../text.js";
import { age, full, moment } from "../time.js";
import { CENTS, fieldsOf } from "./view.js";

const HEAD = 20;
const AXIS = 90;
const EXPOSURE = 380;
const ROW = 18;
const TICK = 10;
const NEAR = 4;

export class Equity extends Picture {
  constructor(model, range, on) {
    super(
      {
        name: "equity",
        title: "Equity",
        nouns: "accounts",
        topics: ["accounts", "positions", "instruments"],
        columns: [words("account", "account", 0, (row) => row[0])],
      },
      model,
      range,
      on,
    );
    this.kind = "equity";
  }

  plotWidth() {
    return Math.max(1, Math.floor(this.width - AXIS - (this.width > 900 ? EXPOSURE : 0)));
  }

  more() {
    const chosen = /(?:^|\s)acct:"?([^\s"]+)/.exec(this.filterText)?.[1];
    return chosen ? { acct: chosen } : {};
  }

  summary({ points, never }) {
    const last = points.at(-1);
    const uncounted = never ? `; never ${never}: not counted` : "";
    if (!last) return `no equity is known then${uncounted}`;
    const held = last[4] ? `; ${last[4]} unknown, last ${show(last[3], CENTS)}` : "";
    return `${moment(last[0], this.model.now() ?? last[0])}: ${show(last[1], CENTS)} USD of ${last[2]} accounts${held}${uncounted}`;
  }

  sentence({ window, points, since }) {
    const known = points.filter(([, sum]) => sum !== null);
    if (!known.length) return since === null ? "No equity was stored yet." : `Equity is known since ${full(since)}.`;
    const [first, last] = [known[0], known.at(-1)];
    const missing = Math.max(...points.map((point) => point[4]));
    return (
      `Equity from ${full(window.begin)} to ${full(window.end)}: ${first[1]} USD of ${first[2]} accounts at ${full(first[0])}, ` +
      `${last[1]} USD of ${last[2]} at ${full(last[0])}; at most ${missing} accounts unknown. Press t for a table.`
    );
  }

  asTable(answer) {
    return {
      caption: this.sentence(answer),
      head: ["minute", "equity USD of those known", "accounts", "last known of the others", "accounts"],
      rows: answer.points.toReversed().map(([at, known, count, held, missing]) => [full(at), known, count, held, missing]),
    };
  }

  draw(context, answer) {
    const { points, width } = answer;
    const height = this.height - HEAD;
    const both = points.map(([, known, , held]) => total(known, held));
    const range = around(points.flatMap(([, known], index) => [number(known), both[index]]));
    context.textAlign = "center";
    for (const { x, text } of ticks(answer.window, width)) {
      context.fillStyle = COLOURS.line;
      context.fillRect(Math.round(x), HEAD, 1, height);
      context.fillStyle = COLOURS.dim;
      context.fillText(text, x, HEAD / 2);
    }
    this.drawExposure(context);
    this.drawBefore(context, answer, height);
    if (!range) return;
    const yOf = (value) => HEAD + ((range[1] - value) / (range[1] - range[0])) * height;
    context.textAlign = "left";
    for (const { value, text } of steps(range[0], range[1], Math.max(2, height / 40))) {
      context.fillStyle = COLOURS.line;
      context.fillRect(0, yOf(value), width, 1);
      context.fillStyle = COLOURS.dim;
      context.fillText(show(text), width + 6, yOf(value), AXIS - 8);
    }
    context.save();
    context.beginPath();
    context.rect(0, HEAD, width, height);
    context.clip();
    for (const part of connected(answer)) this.drawPart(context, answer, part, both, yOf);
    context.fillStyle = COLOURS.text;
    for (const [at] of answer.transfers) context.fillRect(this.xOf(at) - 0.5, this.height - TICK, 1.5, TICK);
    context.restore();
  }

  drawPart(context, answer, part, both, yOf) {
    const { points } = answer;
    const xs = part.map((index) => this.xOf(points[index][0]));
    context.fillStyle = "#e3b34166";
    part.forEach((index, place) => {
      if (!points[index][4] || Number.isNaN(both[index])) return;
      const from = xs[place];
      const to = xs[place + 1] ?? from + 2;
      const [top, bottom] = [yOf(both[index]), yOf(number(points[index][1]))];
      for (let x = Math.ceil(from / 3) * 3; x < Math.max(to, from + 3); x += 3) context.fillRect(x, top, 1.5, bottom - top);
    });
    context.strokeStyle = COLOURS.up;
    context.lineWidth = 1.5;
    context.beginPath();
    part.forEach((index, place) => {
      const y = yOf(number(points[index][1]));
      if (!place) context.moveTo(xs[0], y);
      else if (points[index][2] === points[part[place - 1]][2]) context.lineTo(xs[place], y);
      else context.moveTo(xs[place], y); // other accounts are known: another sum
    });
    context.stroke();
    context.lineWidth = 1;
    if (part.length === 1) {
      context.fillStyle = COLOURS.up;
      context.fillRect(xs[0] - 1, yOf(number(points[part[0]][1])) - 1, 2, 2);
    }
  }

  drawBefore(context, answer, height) {
    const { since, window, width } = answer;
    context.fillStyle = COLOURS.dim;
    context.textAlign = "left";
    if (since !== null && since <= window.begin) return;
    const x = since === null ? width : Math.min(width, this.xOf(since));
    context.fillText(since === null ? "No equity was stored yet." : `Known since ${full(since)}.`, 8, HEAD + 12, Math.max(0, x - 12));
    context.fillStyle = COLOURS.line;
    if (x < width) context.fillRect(x, HEAD, 1, height);
  }

  /** Long and short in USD of each instrument now, the stale part hatched; exact sums. */
  exposure() {
    const topic = this.model.topics.positions;
    const field = fieldsOf(topic);
    const found = new Map();
    for (const row of topic.rows.values()) {
      const account = field("account")(row);
      if (!this.filter.account(account)) continue;
      const inst = field("inst_id")(row);
      const entry = found.get(inst) ?? { inst, long: null, short: null, stale: null, unknown: 0 };
      found.set(inst, entry);
      const worth = parse(field("notional_usd")(row));
      if (worth === null) {
        entry.unknown += 1;
        continue;
      }
      const size = worth.digits < 0n ? negate(worth) : worth;
      const isShort = field("pos_side")(row) === "short" || String(field("pos")(row)).startsWith("-");
      if (isShort) entry.short = add(entry.short, size);
      else entry.long = add(entry.long, size);
      if (this.model.truth.of(account, "positions", topic).state !== "live") entry.stale = add(entry.stale, size);
    }
    const gross = ({ long, short }) => approximate(add(long, short) ?? parse("0"));
    return [...found.values()].sort((a, b) => gross(b) - gross(a));
  }

  drawExposure(context) {
    if (this.width <= 900) return;
    const left = this.plotWidth() + AXIS;
    const middle = left + 200;
    const rows = this.exposure();
    const size = (value) => (value ? approximate(value) : 0);
    const largest = Math.max(...rows.map(({ long, short }) => Math.max(size(long), size(short))), 1e-9);
    context.fillStyle = COLOURS.dim;
    context.textAlign = "left";
    context.fillText("exposure now, USD: \u25c2 short  \u25b8 long, net", left, HEAD / 2);
    const fitting = Math.floor((this.height - HEAD) / ROW) - 1;
    rows.slice(0, fitting).forEach(({ inst, long, short, stale, unknown }, index) => {
      const y = HEAD + 4 + index * ROW;
      context.fillStyle = COLOURS.down;
      const [shortWide, longWide] = [(size(short) / largest) * 60, (size(long) / largest) * 60];
      context.fillRect(middle - shortWide, y + 3, shortWide, 8);
      context.fillStyle = COLOURS.up;
      context.fillRect(middle, y + 3, longWide, 8);
      if (stale) {
        context.fillStyle = COLOURS.ground;
        for (let x = middle - shortWide; x < middle + longWide; x += 4) context.fillRect(x, y + 3, 1.5, 8);
      }
      context.fillStyle = COLOURS.text;
      context.textAlign = "left";
      context.fillText(visible(inst), left, y + 7, 134);
      context.textAlign = "right";
      const net = add(long, negate(short));
      const note = unknown ? ` (${unknown} unknown)` : stale ? " stale" : "";
      context.fillStyle = stale ? "#7d8893" : COLOURS.text;
      context.fillText(`${net ? show(exact(net), { ...CENTS, gain: true }) : "-"}${note}`, this.width - 8, y + 7, 112);
    });
    if (rows.length > fitting) {
      context.fillStyle = COLOURS.dim;
      context.textAlign = "left";
      context.fillText(`and ${rows.length - fitting} more instruments`, left, this.height - 8);
    }
  }

  tipAt({ x }) {
    const { answer } = this;
    if (x > answer.width || !answer.points.length) return null;
    const at = this.timeAt(x);
    const moved = answer.transfers
      .filter((one) => Math.abs(this.xOf(one[0]) - x) <= NEAR)
      .map(([when, account, amount, ccy]) => `${full(when)}: transfer of ${amount} ${ccy}, ${account}`);
    const [time, known, count, held, missing] = answer.points.reduce((best, point) =>
      Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best,
    );
    if (Math.abs(time - at) > 2 * answer.step) return [`${full(at)}: no account was known`, ...moved];
    const others = missing ? [`${missing} unknown then; they had ${show(held, CENTS)} USD when last known`] : [];
    return [`${full(time)}, steps of ${age(answer.step)}`, `${show(known, CENTS)} USD of ${count} accounts`, ...others, ...moved];
  }
}

const number = (text) => (text === null ? NaN : Number(text));
const total = (known, held) => (known === null ? NaN : number(known) + (held === null ? 0 : Number(held)));

/** Return the points that a line may connect: it breaks where no account was known in between. */
export function connected({ points, breaks, step }) {
  const parts = [];
  let part = [];
  points.forEach((point, index) => {
    const before = points[index - 1];
    const broken =
      before && (breaks.some((at) => before[0] <= at && at < point[0]) || point[0] - before[0] > 2 * step);
    if (broken || point[1] === null) {
      if (part.length) parts.push(part);
      part = [];
    }
    if (point[1] !== null) part.push(index);
  });
  if (part.length) parts.push(part);
  return parts;
}
