// Market: one instrument with its mark price, and our own fills and orders in it. Time is linear, so that a hole is a
// hole; a fill stands at its millisecond and its price.

import { words } from "../columns.js";
import { add, approximate, exact, negate, parse, show } from "../decimals.js";
import { COLOURS, Picture } from "../picture.js";
import { ticks } from "../range.js";
import { around, steps } from "../scale.js";
import { visible } from "../text.js";
import { age, clockMs, full, moment } from "../time.js";
import { WORDS } from "../truth.js";
import { accountLink, fieldsOf, leadTo } from "./view.js";

const HEAD = 20;
const AXIS = 78;
const LADDER = 220;
const BAR = 54;
const NARROW = 700; // there is no room for the ladder: Enter leads to the orders
const NEAR = 5;
const LISTED = 6;

export class Market extends Picture {
  constructor(model, range, on) {
    super(
      {
        name: "market",
        title: "Market",
        nouns: "instruments",
        topics: ["marks", "orders", "positions", "instruments"],
        columns: [words("instrument", "instrument", 0, (row) => row[0]), words("account", "account", 0, () => null)],
      },
      model,
      range,
      on,
    );
    this.kind = "market";
    this.inst = null;
  }

  plotWidth() {
    return Math.max(1, Math.floor(this.width - AXIS - (this.width > NARROW ? LADDER : 0)));
  }

  /** The instrument of the filter, else the one with the most open orders and positions. */
  instrument() {
    const named = /(?:^|\s)inst:"?([^\s"*,]+)/.exec(this.filterText)?.[1];
    if (named) return named;
    const counts = new Map();
    for (const name of ["orders", "positions", "marks"]) {
      const topic = this.model.topics[name];
      for (const row of topic.rows.values()) {
        const inst = row[topic.at.inst_id];
        counts.set(inst, (counts.get(inst) ?? 0) + 1);
      }
    }
    return [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1))[0]?.[0] ?? null;
  }

  refresh() {
    const inst = this.instrument();
    if (inst !== this.inst) {
      this.inst = inst;
      this.answer = null;
    }
    if (inst !== null) super.refresh();
  }

  more() {
    return { inst: this.inst };
  }

  /** Tell what is open in this instrument: rungs of the ladder, entry and liquidation. */
  own() {
    const { orders, positions } = this.model.topics;
    const order = fieldsOf(orders);
    const rungs = new Map();
    let count = 0;
    for (const row of orders.rows.values()) {
      const price = order("px")(row);
      if (order("inst_id")(row) !== this.inst || !(approximate(parse(price) ?? parse("0")) > 0)) continue;
      count += 1;
      const side = order("side")(row);
      const rung = rungs.get(`${side} ${price}`) ?? { side, price, size: null, accounts: [] };
      const rest = add(parse(order("sz")(row)), negate(parse(order("filled")(row))));
      rung.size = add(rung.size, rest);
      rung.accounts.push(order("account")(row));
      rungs.set(`${side} ${price}`, rung);
    }
    const position = fieldsOf(positions);
    let [weight, worth, liquidation] = [0, 0, null];
    const mark = Number(this.model.mark(this.inst)?.px ?? NaN);
    for (const row of positions.rows.values()) {
      if (position("inst_id")(row) !== this.inst) continue;
      const size = Math.abs(Number(position("pos")(row)));
      const entry = Number(position("avg_px")(row) || NaN);
      if (size > 0 && entry > 0) [weight, worth] = [weight + size, worth + size * entry];
      const liq = Number(position("liq_px")(row) || NaN);
      if (liq > 0 && (liquidation === null || Math.abs(liq - mark) < Math.abs(liquidation - mark))) liquidation = liq;
    }
    return { rungs: [...rungs.values()], count, entry: weight ? worth / weight : null, liquidation };
  }

  summary(answer) {
    const mark = this.model.mark(this.inst);
    const known = mark?.px ? `mark ${show(mark.px)}` : "mark -";
    const state = mark ? `${WORDS[mark.state]}, as of ${mark.until ? age(this.model.age(mark.until)) : "-"}` : "not mirrored";
    const fills = `${answer.more ? "newest " : ""}${answer.fills.length} fills`;
    return `${visible(this.inst)}  ${known} (${state})  ${fills}  ${this.own().count} orders  ${minutes(answer.step)} candles`;
  }

  sentence(answer) {
    const { begin, end } = answer.window;
    const prices = answer.candles;
    const between = prices.length
      ? `mark price from ${prices[0][1]} to ${prices.at(-1)[4]}`
      : answer.since === null
        ? "no mark price was ever stored"
        : "no mark price is known then";
    return `${visible(this.inst)} from ${full(begin)} to ${full(end)}: ${between}, ${answer.fills.length} own fills, ${this.own().count} open orders. Press t for a table.`;
  }

  asTable(answer) {
    return {
      caption: this.sentence(answer),
      head: ["time", "account", "side", "price", "size", "by"],
      href: accountLink,
      rows: answer.fills.map(([at, account, side, px, sz, source]) => [full(at), account, side, px, sz, source]),
    };
  }

  draw(context, answer) {
    const width = answer.width;
    const height = this.height - HEAD;
    const { rungs, entry, liquidation } = this.own();
    const mark = this.model.mark(this.inst);
    const shown = [...answer.candles.flatMap(([, , h, l]) => [Number(h), Number(l)])];
    shown.push(...answer.fills.map(([, , , px]) => Number(px)), Number(mark?.px || NaN));
    const range = around(shown);
    this.scale = range && { low: range[0], high: range[1], height };
    context.textAlign = "center";
    for (const { x, text } of ticks(answer.window, width)) {
      context.fillStyle = COLOURS.line;
      context.fillRect(Math.round(x), HEAD, 1, height);
      context.fillStyle = COLOURS.dim;
      context.fillText(text, x, HEAD / 2);
    }
    this.drawHoles(context, answer, height);
    if (!range) {
      context.fillStyle = COLOURS.dim;
      context.fillText(this.nothing(answer), width / 2, HEAD + height / 2);
      return;
    }
    context.textAlign = "left";
    for (const { value, text } of steps(range[0], range[1], Math.max(2, height / 40))) {
      const y = this.yOf(value);
      context.fillStyle = COLOURS.line;
      context.fillRect(0, y, width, 1);
      context.fillStyle = COLOURS.dim;
      context.fillText(text, width + 6, y, AXIS - 8);
    }
    context.save();
    context.beginPath();
    context.rect(0, HEAD, width, height);
    context.clip();
    this.drawCandles(context, answer);
    this.drawLine(context, entry, width, COLOURS.dim, [6, 4], "entry");
    this.drawLine(context, liquidation, width, COLOURS.wrong, [2, 3], "liquidation");
    this.drawLine(context, Number(mark?.px || NaN), width, mark?.state === "live" ? COLOURS.text : "#7d8893", [], "");
    this.drawFills(context, answer);
    context.restore();
    if (this.width > NARROW) this.drawLadder(context, rungs, width + AXIS);
  }

  nothing({ since }) {
    if (since === null) return "No mark price of this instrument was stored: [market] of accounts.toml has its channels.";
    return `Known since ${full(since)}.`;
  }

  yOf(price) {
    const { low, high, height } = this.scale;
    return HEAD + ((high - price) / (high - low)) * height;
  }

  drawHoles(context, answer, height) {
    for (const [begin, end] of answer.holes) {
      const from = Math.max(0, this.xOf(begin));
      const to = Math.min(answer.width, this.xOf(end));
      context.fillStyle = "#ffffff14";
      for (let x = from; x < to; x += 4) context.fillRect(x, HEAD, 1.5, height);
      if (to - from < 90) continue;
      context.fillStyle = COLOURS.dim;
      context.textAlign = "center";
      context.fillText("not covered", (from + to) / 2, HEAD + 10);
    }
  }

  drawCandles(context, { candles, step, window, width }) {
    const wide = Math.max(1, (step / (window.end - window.begin)) * width * 0.7);
    for (const [at, o, h, l, c] of candles) {
      const middle = this.xOf(at + step / 2);
      const up = Number(c) >= Number(o);
      context.fillStyle = context.strokeStyle = up ? COLOURS.up : COLOURS.down;
      const [top, bottom] = [this.yOf(Number(h)), this.yOf(Number(l))];
      context.fillRect(Math.round(middle), top, 1, Math.max(1, bottom - top));
      const [begin, end] = [this.yOf(Number(o)), this.yOf(Number(c))].sort((a, b) => a - b);
      if (wide >= 3 && up) {
        context.fillStyle = COLOURS.ground; // hollow: told apart without its colour
        context.fillRect(middle - wide / 2, begin, wide, Math.max(1, end - begin));
        context.strokeRect(middle - wide / 2, begin, wide, Math.max(1, end - begin));
      } else context.fillRect(middle - wide / 2, begin, wide, Math.max(1, end - begin));
    }
  }

  drawLine(context, price, width, colour, dash, text) {
    if (price === null || !Number.isFinite(price)) return;
    const y = this.yOf(price);
    context.strokeStyle = colour;
    context.setLineDash(dash);
    context.beginPath();
    context.moveTo(0, y);
    context.lineTo(width, y);
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = colour;
    context.textAlign = "left";
    if (text) context.fillText(text, 6, y - 8);
  }

  drawFills(context, answer) {
    const seen = new Set();
    for (const [at, , side, px] of answer.fills) {
      const [x, y] = [this.xOf(at), this.yOf(Number(px))];
      const place = `${side} ${Math.round(x)} ${Math.round(y)}`;
      if (seen.has(place)) continue; // merged only where they share a pixel
      seen.add(place);
      const down = side === "sell" ? -1 : 1;
      context.fillStyle = side === "sell" ? COLOURS.down : COLOURS.up;
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(x - 4, y + 7 * down);
      context.lineTo(x + 4, y + 7 * down);
      context.fill();
      context.strokeStyle = COLOURS.ground;
      context.stroke();
    }
  }

  drawLadder(context, rungs, left) {
    context.fillStyle = COLOURS.dim;
    context.textAlign = "left";
    context.fillText("own orders at price", left, HEAD / 2);
    const largest = Math.max(...rungs.map(({ size }) => (size ? approximate(size) : 0)), 0);
    const near = rungs
      .map((rung) => ({ ...rung, y: this.yOf(Number(rung.price)) }))
      .sort((a, b) => a.y - b.y)
      .filter(({ y }) => y >= HEAD && y <= this.height);
    let free = -Infinity;
    for (const { side, price, size, accounts, y } of near) {
      const wide = largest && size ? (approximate(size) / largest) * BAR : 0;
      context.fillStyle = side === "sell" ? COLOURS.down : COLOURS.up;
      context.fillRect(left, y - 2, Math.max(2, wide), 4);
      if (y - free < 12) continue;
      free = y;
      const others = accounts.length > 1 ? ` (${accounts.length})` : ` ${visible(accounts[0])}`;
      context.fillText(`${side} ${size ? exact(size) : "-"} at ${show(price)}${others}`, left + BAR + 4, y, LADDER - BAR - 8);
    }
    const beyond = rungs.filter(({ price }) => this.yOf(Number(price)) < HEAD || this.yOf(Number(price)) > this.height);
    if (!beyond.length) return;
    context.fillStyle = COLOURS.dim;
    context.fillText(`${beyond.length} prices outside`, left + BAR + 60, HEAD / 2);
  }

  tipAt({ x }) {
    const { answer } = this;
    if (x > answer.width) return null;
    const at = this.timeAt(x);
    const candle = answer.candles.find(([begin]) => begin <= at && at < begin + answer.step);
    const lines = [
      candle
        ? `${moment(candle[0], answer.now)}  o ${candle[1]}  h ${candle[2]}  l ${candle[3]}  c ${candle[4]}  (${candle[5]} ticks)`
        : `${full(at)}: no mark price is known`,
    ];
    const near = answer.fills.filter(([time]) => Math.abs(this.xOf(time) - x) <= NEAR);
    for (const [time, account, side, px, sz, source] of near.slice(0, LISTED))
      lines.push(`${clockMs(time)} ${account} ${side} ${sz} at ${px}${source === "rest" ? " (REST)" : ""}`);
    if (near.length > LISTED) lines.push(`and ${near.length - LISTED} more fills`);
    return lines;
  }

  toggle() {
    if (this.inst) this.on.lead(leadTo("orders", "inst", this.inst));
  }
}

const minutes = (us) => (us < 3600e6 ? `${us / 60e6} min` : us < 86400e6 ? `${us / 3600e6} h` : `${us / 86400e6} d`);
