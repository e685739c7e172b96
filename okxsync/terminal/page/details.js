// What the pane shows of an account and of an order, made of the server's answer.

import { parse, show, sign } from "./decimals.js";
import { BLOCKS } from "./days.js";
import { share } from "./picture.js";
import { age, clockMs, full, moment } from "./time.js";
import { WORDS } from "./truth.js";
import { CENTS, leadTo, moneyFormat, sideTone } from "./views/view.js";

const CODES = { M: "maker", T: "taker" };
const CHANNELS = { order: ["orders"], algo: ["orders-algo"] };

/** Return a function from a row of an answer's table to its values by name. */
const records = ({ cols, rows }) => rows.map((row) => Object.fromEntries(cols.map((name, index) => [name, row[index]])));

const number = (text, format = {}) => ({ text: show(text, format), exact: text });
const gain = (text, format = {}) => {
  const known = parse(text);
  return { ...number(text, { ...format, gain: true }), tone: known === null ? "" : ["down", "", "up"][sign(known) + 1] };
};
/** OKX calls an order that rests "live"; on this page the word is kept for what is proved. */
const orderState = (state) => (state === "live" ? "open" : state);
const when = (us, now) => (us === null || us === undefined ? "-" : { text: moment(us, now), exact: full(us) });

/** Return a section with a table; `columns` are [heading, right, cell(record)]. */
function section(title, table, columns, none) {
  const rows = records(table).map((record) => columns.map(([, , cell]) => cell(record)));
  const note = rows.length ? (table.more ? `the first ${rows.length}; a view has all of them` : null) : none;
  return { title, note, head: columns.map(([head, right]) => [head, right]), rows };
}

function gapSection(title, gaps, now, none) {
  return section(
    title,
    gaps,
    [
      ["gap", true, ({ id }) => id ?? "-"],
      ["channel", false, ({ channel }) => channel],
      ["from", false, ({ from_at: at }) => when(at, now)],
      ["to", false, ({ to_at: at }) => (at === null ? { text: "now", tone: "attention" } : when(at, now))],
      ["for", true, ({ from_at: from, to_at: to }) => age((to ?? now) - from)],
      ["outcome", false, ({ outcome }) => (outcome === null ? { text: "open", tone: "attention" } : outcome)],
      ["rows", true, ({ rows }) => rows],
      ["reason", false, ({ reason, note }) => (note ? `${reason}; ${note}` : reason)],
    ],
    none,
  );
}

function bar(states, runs, width) {
  let text = "";
  for (let index = 0; index < runs.length; index += 2)
    text += BLOCKS[states[runs[index + 1]]].repeat((runs[index + 2] ?? width) - runs[index]);
  return text;
}

const LANE = 48;

function account(answer, model, { given }) {
  const { now } = answer;
  const name = given.account;
  const { freshness } = model.topics;
  const lanes = answer.lanes.map(([channel, runs, covered, wanted]) => {
    const truth = model.truth.of(name, channel.split(":")[0], freshness);
    return [
      channel,
      { text: WORDS[truth.state], tone: `state-${truth.state}` },
      truth.until === null ? "-" : age(Math.max(0, now - truth.until)),
      { text: bar(answer.states, runs, LANE), tone: "bar" },
      share(covered, wanted),
    ];
  });
  const link = (view, field) => (value) => ({ text: value, href: value ? leadTo(view, field, value) : undefined });
  const instrument = link("positions", "inst");
  return [
    {
      title: "Coverage, 24 h",
      note: lanes.length ? null : "no channel was ever subscribed",
      head: [["channel"], ["state"], ["as of", true], ["24 h, half an hour each"], ["covered", true]],
      rows: lanes,
    },
    gapSection("Gaps, 24 h", answer.gaps, now, "none"),
    section(
      "Balances",
      answer.balances,
      [
        ["currency", false, ({ ccy }) => ccy],
        ["equity", true, ({ eq }) => number(eq)],
        ["cash", true, ({ cash_bal: value }) => number(value)],
        ["available", true, ({ avail_eq: all, avail_bal: cash }) => number(all ?? cash)],
        ["frozen", true, ({ frozen_bal: value }) => number(value)],
        ["USD", true, ({ eq_usd: value }) => number(value, CENTS)],
        ["uPnL", true, ({ upl, ccy }) => gain(upl, moneyFormat(ccy))],
        ["liability", true, ({ liab }) => number(liab)],
        ["m.ratio", true, ({ mgn_ratio: value }) => number(value, { cut: 2 })],
        ["changed", false, ({ u_time: at }) => when(at, now)],
      ],
      "none is known",
    ),
    section(
      "Positions",
      answer.positions,
      [
        ["instrument", false, ({ inst_id: id }) => instrument(id)],
        ["side", false, ({ pos_side: side }) => side],
        ["contracts", true, ({ pos }) => number(pos, { gain: true })],
        ["avg px", true, ({ avg_px: px }) => number(px, { cut: 8 })],
        ["mark", true, ({ mark_px: px }) => number(px)],
        ["uPnL", true, ({ upl }) => gain(upl, { cut: 8 })],
        ["liq px", true, ({ liq_px: px }) => number(px, { cut: 8 })],
        ["margin", false, ({ mgn_mode: mode, lever }) => `${mode ?? ""}${lever ? ` ${lever}\u00d7` : ""}`],
        ["notional USD", true, ({ notional_usd: value }) => number(value, CENTS)],
      ],
      "none is open",
    ),
    section(
      "Open orders",
      answer.orders,
      [
        ["instrument", false, ({ inst_id: id }) => instrument(id)],
        ["side", false, ({ side }) => ({ text: side, tone: sideTone(side) })],
        ["type", false, ({ ord_type: type }) => type],
        ["price", true, ({ px }) => (px === "-1" || !px ? "market" : number(px))],
        ["size", true, ({ sz }) => number(sz)],
        ["filled", true, ({ filled }) => number(filled)],
        ["order", false, ({ state }) => orderState(state)],
        ["age", true, ({ c_time: at }) => (at === null ? "-" : age(now - at))],
        ["order id", false, ({ id }) => ({ text: id, href: leadTo("orders", "id", id) })],
      ],
      "none is open",
    ),
    { title: "Configuration", facts: answer.facts.map(([key, value]) => [key, typeof value === "number" ? full(value) : value]) },
    section(
      "Journal",
      answer.journal,
      [
        ["time", false, ({ at }) => when(at, now)],
        ["level", false, ({ level }) => ({ text: level, tone: LEVELS[level] ?? "" })],
        ["event", false, ({ event }) => event],
        ["detail", false, ({ detail }) => detail],
      ],
      "nothing",
    ),
  ];
}

export const LEVELS = { warning: "attention", error: "wrong" };

function order(answer, model, { given }) {
  const { now, since, until } = answer;
  const channel = CHANNELS[given.kind][0];
  const truth = model.truth.of(given.account, channel, model.topics.freshness);
  const life = `${full(since)} to ${until === null ? "now" : full(until)}`;
  const proved = truth.until === null ? "nothing was ever proved" : `proved until ${full(truth.until)}`;
  const fact = ([name, value]) => {
    if (name === "state") return [name, orderState(value)];
    if (/_time$/.test(name)) return [name, full(value * 1000)];
    return [name, /_at$/.test(name) ? full(value) : value];
  };
  return [
    answer.facts
      ? { title: "Order", facts: answer.facts.map(fact) }
      : { title: "Order", note: "the database has its fills, and not the order itself" },
    section(
      "Fills",
      answer.fills,
      [
        ["time", false, ({ fill_time: at, ts }) => ({ text: clockMs(at ?? ts), exact: full(at ?? ts) })],
        ["side", false, ({ side }) => ({ text: side, tone: sideTone(side) })],
        ["price", true, ({ fill_px: px }) => number(px)],
        ["size", true, ({ fill_sz: size }) => number(size)],
        ["fee", true, ({ fee }) => number(fee)],
        ["currency", false, ({ fee_ccy: ccy }) => ccy ?? ""],
        ["pnl", true, ({ fill_pnl: pnl }) => gain(pnl)],
        ["role", false, ({ exec_type: code }) => CODES[code] ?? code],
        ["by", false, ({ source }) => (source === "rest" ? { text: "REST \u25c7", tone: "attention" } : "push")],
        ["trade id", false, ({ trade_id: id }) => id],
      ],
      "none",
    ),
    gapSection(
      "Coverage while it was open",
      answer.gaps,
      now,
      `no gap of the channel ${channel} from ${life}; ${proved}`,
    ),
    ...(answer.raw ? [{ title: "Raw JSON, as the exchange sent it", raw: answer.raw }] : []),
  ];
}

/** What the daemon knows of one attempt; without a verdict nothing is known yet. */
const VERDICTS = { placed: "state-live", refused: "wrong", unknown: "wrong", not_sent: "attention", absent: "attention" };

function planOrder(answer, model, { given }) {
  const { now } = answer;
  const ms = (at) => when(at === null ? null : at * 1000, now);
  const codes = ({ code, s_code: own, sub_code: sub }) => [code, own, sub].filter(Boolean).join(" / ") || "-";
  return [
    { title: `Order ${given.child} of plan ${given.plan}`, facts: answer.facts },
    section(
      "Attempts",
      answer.attempts,
      [
        ["what", false, ({ action }) => action],
        ["try", true, ({ attempt }) => attempt],
        ["sent", false, ({ sent_at: at }) => ms(at)],
        ["reply after", true, ({ sent_at: from, replied_at: to }) => (from === null || to === null ? "-" : `${to - from} ms`)],
        ["over", false, ({ transport, http_status: status }) => (status === null ? transport : `${transport} ${status}`)],
        ["codes", false, codes],
        ["message", false, ({ s_msg: text }) => text || "-"],
        ["means", false, ({ meaning }) => meaning ?? "-"],
        ["verdict", false, ({ verdict }) => ({ text: verdict ?? "not known yet", tone: VERDICTS[verdict] ?? "attention" })],
        ["proof", false, ({ proof }) => proof || "-"],
      ],
      "nothing was sent for it",
    ),
    ...answer.requests.map((raw, index) => ({ title: `What was asked, request ${index + 1}`, raw })),
  ];
}

export const DETAILS = { account, order, plan_order: planOrder };
