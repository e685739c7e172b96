// Coverage: a lane for each account, in it a line for each channel. What is covered is thin and dark, gaps are thick and
// bright, and hatched where OKX keeps no more: holes are found at a glance, and by shape alone.

import { words } from "../columns.js";
import { COLOURS, Picture, fetchPicture, share } from "../picture.js";
import { ticks } from "../range.js";
import { element, visible } from "../text.js";
import { age, clock, full, moment } from "../time.js";
import { accountLink } from "./view.js";

const MARKET = "market"; // the listener of public channels; it is no account
const HEAD = 20;
const LANE = 16;
const LEFT = 96;
const RIGHT = 124;
const ORDER = ["orders", "orders-algo", "positions", "account", "balance_and_position"];
const THINNEST = 1.5;
const FEWEST = 4; // for a detail that is asked while the pointer moves
const HOVER_MS = 120;
export const STYLES = {
  covered: { colour: "#1f5c50", thick: 1, words: "covered" },
  pending: { colour: "#163f38", thick: 1, words: "not proved yet" },
  filled: { colour: "#7aa2ff", thick: 2, words: "filled by REST" },
  partial: { colour: "#ffd166", thick: 3, words: "partial: OKX keeps no more", hatch: true },
  open: { colour: "#ff5470", thick: 3, words: "open" },
};

export class Coverage extends Picture {
  constructor(model, range, on) {
    const view = {
      name: "coverage",
      title: "Coverage",
      nouns: "accounts",
      filtersRows: true,
      columns: [
        words("account", "account", 0, (row) => row[0]),
        words("channel", "channel", 0, (row) => row[1].map(([channel]) => channel).join(" ")),
      ],
    };
    super(view, model, range, on);
    this.kind = "coverage";
    this.table.root.classList.add("coverage");
    this.legend.append(
      ...Object.entries(STYLES).map(([name, { words: text }]) =>
        element("span", `key of-${name}`, element("i", ""), ` ${text}`),
      ),
      element("span", "key of-none", element("i", ""), " before we began"),
    );
    this.gapsOf = null; // the account whose gaps are listed
  }

  plotWidth() {
    return Math.max(1, Math.floor(this.width - LEFT - RIGHT));
  }

  plot() {
    return { left: LEFT, width: this.answer?.width ?? this.plotWidth() };
  }

  setFilter(text) {
    super.setFilter(text);
    if (this.answer) this.prepare(this.answer);
  }

  prepare(answer) {
    if (this.prepared === answer && this.preparedFor === this.filterText) return;
    this.prepared = answer;
    this.preparedFor = this.filterText;
    this.view.topic.rows = new Map(answer.accounts.map((row) => [row[0], row]));
    this.rows = answer.accounts.filter((row) => this.filter.test(row));
    this.stretch(HEAD + this.rows.length * LANE);
  }

  rank(channel) {
    const index = ORDER.indexOf(channel.split(":")[0]);
    return index < 0 ? ORDER.length : index;
  }

  totals() {
    let [covered, wanted, open] = [0, 0, 0];
    for (const [, , own, all, since] of this.rows) {
      covered += own;
      wanted += all;
      if (since !== null) open += 1;
    }
    return { covered, wanted, open };
  }

  summary() {
    const { covered, wanted } = this.totals();
    return `${share(covered, wanted)} of ${age(this.range.us)} covered`;
  }

  sentence(answer) {
    const { covered, wanted, open } = this.totals();
    const { begin, end } = answer.window;
    const worst = this.rows[0];
    const opened = open ? `; ${open} with an open gap, longest ${visible(worst[0])} for ${age(answer.now - worst[4])}` : "";
    return (
      `Coverage of ${this.rows.filter(([name]) => name !== MARKET).length} accounts from ${full(begin)} to ${full(Math.min(end, answer.now))}: ` +
      `${share(covered, wanted)} covered${opened}. Press t for a table.`
    );
  }

  asTable(answer) {
    return {
      caption: this.sentence(answer),
      head: ["account", "covered", "not covered", "open since"],
      href: accountLink,
      rows: this.rows.map((row) => [
        row[0],
        row[1].length ? share(row[2], row[3]) : "never",
        age(row[3] - row[2]),
        row[4] === null ? "no open gap" : `${moment(row[4], answer.now)} (${age(answer.now - row[4])})`,
      ]),
    };
  }

  // Drawing.

  draw(context, answer) {
    const { width: plot } = answer;
    const top = this.scroller.scrollTop;
    const first = Math.max(0, Math.floor(top / LANE));
    const last = Math.min(this.rows.length, Math.ceil((top + this.height) / LANE));
    context.fillStyle = COLOURS.dim;
    for (const { x, text } of ticks(answer.window, plot)) {
      context.fillStyle = COLOURS.line;
      context.fillRect(LEFT + Math.round(x), HEAD, 1, this.height);
      context.fillStyle = COLOURS.dim;
      context.textAlign = "center";
      context.fillText(text, LEFT + x, HEAD / 2);
    }
    context.save();
    context.beginPath();
    context.rect(0, HEAD, this.width, this.height - HEAD);
    context.clip();
    for (let index = first; index < last; index += 1)
      this.drawLane(context, answer, this.rows[index], HEAD + index * LANE - top);
    context.restore();
    if (this.drag) {
      context.fillStyle = "#63afe930";
      context.fillRect(this.drag.from, HEAD, this.drag.to - this.drag.from, this.height);
    }
  }

  drawLane(context, answer, row, y) {
    const [account, lanes, covered, wanted, since] = row;
    if (account === this.table.cursor) {
      context.fillStyle = COLOURS.high;
      context.fillRect(0, y, this.width, LANE);
    }
    const middle = y + LANE / 2;
    context.textAlign = "left";
    context.fillStyle = since === null ? COLOURS.text : COLOURS.wrong;
    context.fillText(`${since === null ? "  " : "\u25b2 "}${visible(account)}`, 8, middle, LEFT - 12);
    const right = LEFT + answer.width + 8;
    context.fillStyle = since === null ? COLOURS.dim : COLOURS.text;
    context.fillText(
      since === null ? this.since(answer, lanes) || share(covered, wanted) : `open ${age(answer.now - since)}`,
      right,
      middle,
      RIGHT - 12,
    );
    const sorted = this.sortedLanes(lanes);
    const pitch = Math.min(3, (LANE - 2) / sorted.length);
    sorted.forEach(([, runs], index) =>
      this.drawRuns(context, answer, runs, middle - (pitch * (sorted.length - 1)) / 2 + index * pitch),
    );
  }

  sortedLanes(lanes) {
    return [...lanes].sort(([a], [b]) => this.rank(a) - this.rank(b));
  }

  /** Say since when an account is covered, if that is within the picture. */
  since({ window, width, states }, lanes) {
    let first = width;
    for (const [, runs] of lanes) first = Math.min(first, states[runs[1]] === "none" ? (runs[2] ?? width) : 0);
    if (!first) return "";
    if (first === width) return "not covered yet";
    return `since ${clock(window.begin + (first / width) * (window.end - window.begin)).slice(0, 5)}`;
  }

  drawRuns(context, { states, width }, runs, y) {
    for (let index = 0; index < runs.length; index += 2) {
      const style = STYLES[states[runs[index + 1]]];
      if (!style) continue;
      const from = runs[index];
      const wide = (runs[index + 2] ?? width) - from;
      const shown = style.thick > 1 ? Math.max(wide, THINNEST) : wide;
      context.fillStyle = style.hatch ? hatch(context, style.colour) : style.colour;
      context.fillRect(LEFT + from, Math.round(y - style.thick / 2), shown, style.thick);
    }
  }

  // The pointer and the keys.

  laneAt({ x, y }) {
    if (y < HEAD || !this.answer) return null;
    const row = this.rows[Math.floor((y - HEAD + this.scroller.scrollTop) / LANE)];
    if (!row) return null;
    if (!row[1].length) return { account: row[0], channel: "", state: "none", pixel: 0 };
    const inside = (y - HEAD + this.scroller.scrollTop) % LANE;
    const lanes = this.sortedLanes(row[1]);
    const pitch = Math.min(3, (LANE - 2) / lanes.length);
    const nearest = Math.round((inside - LANE / 2) / pitch + (lanes.length - 1) / 2);
    const pixel = Math.floor(x - LEFT);
    const wanted = Math.max(0, Math.min(lanes.length - 1, nearest));
    const near = [...lanes.keys()].sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted));
    const stateOf = (runs) => this.stateNear(runs, pixel);
    const found = near.find((index) => Math.abs(index - wanted) <= 2 && isGap(stateOf(lanes[index][1]))) ?? wanted;
    const [channel, runs] = lanes[found];
    return { account: row[0], channel, state: stateOf(runs), pixel };
  }

  /** Return the worst state within two pixels: a gap of one pixel is hard to hit. */
  stateNear(runs, pixel) {
    const { states, width } = this.answer;
    let found = 0;
    for (let index = 0; index < runs.length; index += 2) {
      const end = runs[index + 2] ?? width;
      if (runs[index] <= pixel + 2 && end > pixel - 2) found = Math.max(found, runs[index + 1]);
    }
    return states[found];
  }

  tipAt(place) {
    clearTimeout(this.hover);
    const at = this.laneAt(place);
    if (!at || place.x < LEFT || place.x > LEFT + this.answer.width) return null;
    const lines = [
      `${at.account}  ${at.channel}  ${full(this.timeAt(place.x))}`,
      STYLES[at.state]?.words ?? "before we began",
    ];
    if (isGap(at.state)) this.hover = setTimeout(() => this.explain(at, lines, place), HOVER_MS);
    return lines;
  }

  /** Add what is known about the gaps under the pointer. */
  async explain({ account, channel, pixel }, lines) {
    const { window, width } = this.answer;
    const each = (window.end - window.begin) / width;
    const given = {
      from: Math.floor(window.begin + Math.max(0, pixel - 2) * each),
      until: Math.ceil(window.begin + (pixel + 3) * each),
      account,
      channel,
    };
    const answer = await fetchPicture("gaps", given).catch(() => null);
    if (!answer || this.tip.hidden || !this.tip.firstChild?.textContent.startsWith(visible(lines[0].slice(0, 20)))) return;
    const gaps = answer.rows.slice(0, FEWEST).map((row) => describe(answer, row));
    const more = answer.rows.length > FEWEST ? [`and ${answer.rows.length - FEWEST} more: Enter`] : [];
    this.tip.append(...[...gaps, ...more].map((line) => element("p", "", visible(line))));
  }

  click(place) {
    const at = this.laneAt(place);
    if (!at) return;
    this.moveTo(this.rows.findIndex(([account]) => account === at.account));
    if (this.gapsOf !== null) this.listGaps(at.account);
  }

  reveal(index) {
    const [top, bottom] = [index * LANE, (index + 1) * LANE + HEAD];
    const { scrollTop, clientHeight } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top;
    if (bottom > scrollTop + clientHeight) this.scroller.scrollTop = bottom - clientHeight;
    if (this.gapsOf !== null && this.gapsOf !== this.table.cursor) this.listGaps(this.table.cursor);
  }

  /** `Enter` lists the gaps of the account under the cursor; again: no more. */
  toggle() {
    if (this.gapsOf !== null) this.closeGaps();
    else if (this.table.cursor !== null) this.listGaps(this.table.cursor);
  }

  leave() {
    if (this.gapsOf !== null) this.closeGaps();
    else super.leave();
  }

  closeGaps() {
    this.gapsOf = null;
    this.listed = null;
    this.paint();
    this.resize();
  }

  async listGaps(account) {
    this.gapsOf = account;
    this.listed = null;
    const { begin, end } = this.range.window(this.model.now());
    try {
      const answer = await fetchPicture("gaps", { from: begin, until: end, account });
      if (this.gapsOf !== account) return;
      this.listed = { caption: caption(account, answer), ...gapRows(answer) };
    } catch (error) {
      this.listed = { caption: `The gaps of ${account} are not known: ${error.message}`, head: [], rows: [] };
    }
    this.paint();
  }

  detail() {
    if (this.gapsOf === null || !this.listed) return false;
    this.paintInside(this.listed);
    return true;
  }
}

const isGap = (state) => ["filled", "partial", "open"].includes(state);
const caption = (account, { rows, more }) =>
  `${account}: ${more ? "the newest " : ""}${rows.length} gap${rows.length === 1 ? "" : "s"} in this time`;

function fieldsOf({ cols }, row) {
  return Object.fromEntries(cols.map((name, index) => [name, row[index]]));
}

function gapRows(answer) {
  const head = ["gap", "channel", "from", "to", "for", "reason", "outcome", "closed", "rows", "attempts", "note"];
  const rows = answer.rows.map((row) => {
    const gap = fieldsOf(answer, row);
    const end = gap.to_at ?? answer.now;
    return [
      gap.id,
      gap.channel,
      full(gap.from_at),
      gap.to_at === null ? "now" : full(gap.to_at),
      age(end - gap.from_at),
      gap.reason,
      gap.outcome ?? "open",
      gap.filled_at === null ? "-" : full(gap.filled_at),
      gap.rows,
      gap.attempts,
      gap.note ?? "",
    ];
  });
  return { head, rows };
}

function describe(answer, row) {
  const gap = fieldsOf(answer, row);
  const to = gap.to_at === null ? "now" : clock(gap.to_at);
  const closed =
    gap.outcome === null ? "open" : `${gap.outcome}, ${gap.rows} rows, closed ${moment(gap.filled_at, answer.now)}`;
  const note = gap.note ? ` (${gap.note})` : "";
  const name = gap.id === null ? "not stored yet" : `gap ${gap.id}`;
  return `${name}: ${moment(gap.from_at, answer.now)} to ${to}, ${age((gap.to_at ?? answer.now) - gap.from_at)}: ${gap.reason}; ${closed}${note}`;
}

let hatched = null;

/** Return a pattern of strokes, which tells a state apart without its colour. */
function hatch(context, colour) {
  if (hatched) return hatched;
  const tile = document.createElement("canvas");
  tile.width = tile.height = 4;
  const inside = tile.getContext("2d");
  inside.fillStyle = colour;
  inside.fillRect(0, 0, 3, 4);
  hatched = context.createPattern(tile, "repeat");
  return hatched;
}
