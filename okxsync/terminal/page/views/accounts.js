// Accounts, the home of the page: what each is worth, how near it is to trouble, and how far that can be believed.

import { count, gain, number, percent, truths, unit, words } from "../columns.js";
import { compare, parse } from "../decimals.js";
import { share } from "../picture.js";
import { age } from "../time.js";
import { rank, worse } from "../truth.js";
import { accountColumn, byState, CENTS, fieldsOf, leadTo, makeView, totals } from "./view.js";

const MODES = { 1: "spot", 2: "futures", 3: "multi-ccy", 4: "portfolio" };
const ATTENTION = parse("5");
const WRONG = parse("3"); // OKX itself warns from here on

/** `past.days` has what is known of the past, see `days.js`. */
export function accountsView(model, { days }) {
  const topic = model.topics.accounts;
  const field = fieldsOf(topic);
  const account = field("account");
  const mode = (row) => MODES[field("acct_lv")(row)] ?? field("acct_lv")(row);

  /** The account as a whole: the worst of all its channels. */
  const rowTruth = (row) => ({
    state: worse(field("state")(row), topic.current ? model.truth.best() : "stale"),
    until: field("covered_until")(row),
    reason: field("reason")(row),
  });
  const isDown = (row) => rank(rowTruth(row).state) >= rank("stale");
  const ofChannel = (channel) => (row) => model.truth.of(account(row), channel, topic);
  const worth = ofChannel("account");

  /** Let a column hang on a channel: if nothing of that was ever proved, there is no value. */
  const hanging = (channel, column) => {
    const state = (row) => ofChannel(channel)(row).state;
    return { ...column, state, value: (row) => (state(row) === "never" ? null : column.value(row)) };
  };
  const counted = (channel, id, head, width, name, view) => {
    const href = (row) => (field(name)(row) ? leadTo(view, "acct", account(row)) : null);
    return hanging(channel, count(id, head, width, field(name), { href }));
  };
  const ratio = hanging(
    "account",
    number("ratio", "m.ratio", 72, field("mgn_ratio"), {
      tip: "margin ratio: the account's, or the lowest of its currencies, which is named",
      absent: () => "no margin is in use, or OKX gives no ratio",
      text(row) {
        const text = number("", "", 0, this.value, { format: () => ({ cut: 1 }) }).text(row);
        return text === "-" ? text : `${text}\u00d7`;
      },
      tone(row) {
        const found = parse(this.value(row));
        if (found === null || compare(found, ATTENTION) >= 0) return "";
        return compare(found, WRONG) < 0 ? "wrong" : "attention";
      },
    }),
  );
  /** Say so where OKX gives no number in this account mode, and it is a sum. */
  const derived = (name, parts) => (row) =>
    field("derived")(row)?.split(" ").includes(name)
      ? `the sum of its ${parts}: OKX gives none in the mode "${mode(row)}"`
      : null;
  const reason = (row) => {
    const wait = (field("next_attempt_at")(row) ?? 0) - model.now();
    return [field("reason")(row), wait > 0 && `next try in ${Math.ceil(wait / 1e6)} s`].filter(Boolean).join(", ");
  };

  const equity = field("equity");
  const absent = (row) => days.why(account(row));
  const day = (row) => days.change(account(row), equity(row));
  const dayNote = (row) => {
    const found = days.of(account(row));
    return found && `the day began with ${found.began ?? "-"}; net transfers since then ${found.transfers ?? "-"} USD`;
  };
  const dayPercent = (row) => days.percent(account(row), equity(row));
  const lasting = (row) => days.of(account(row));
  const coverage = {
    ...words("coverage", "coverage 24 h", 138, (row) => (lasting(row)?.wanted ? days.bar(account(row)) : null)),
    search: false,
    sortValue: (row) => (lasting(row)?.wanted ? lasting(row).covered / lasting(row).wanted : null),
    tone: (row) => (days.isOpen(account(row)) ? "bar attention" : "bar"),
    explain: (row) =>
      lasting(row)
        ? `${share(lasting(row).covered, lasting(row).wanted)} of the last 24 hours, not covered ${age(lasting(row).wanted - lasting(row).covered)}`
        : absent(row),
  };

  const columns = [
    accountColumn(account, "positions"),
    ...truths(model, rowTruth),
    hanging("account", number("equity", "equity USD", 116, field("equity"), { format: () => CENTS })),
    hanging("account", { ...gain("day", "day", 100, day, () => CENTS), absent, note: dayNote }),
    hanging("account", {
      ...percent("day_percent", "day %", 84, dayPercent, { absent, note: dayNote, format: () => ({ gain: true, cut: 2, fill: 2 }) }),
      tone: gain("", "", 0, dayPercent, () => ({})).tone,
    }),
    hanging("account", { ...gain("upl", "uPnL", 104, field("upl"), () => CENTS), note: derived("upl", "currencies") }),
    hanging(
      "account",
      number("notional", "notional USD", 112, field("notional_usd"), {
        format: () => CENTS,
        note: derived("notional_usd", "positions"),
      }),
    ),
    ratio,
    unit("ratio_ccy", field("mgn_ccy")),
    counted("orders", "open_orders", "orders", 60, "open_orders", "orders"),
    counted("orders-algo", "algos", "algos", 50, "open_algos", "orders"),
    counted("positions", "positions", "pos", 46, "positions", "positions"),
    count("gaps", "gaps", 50, field("gaps"), {
      text: (row) => (field("gaps")(row) ? String(field("gaps")(row)) : ""),
      tone: () => "attention",
      explain: (row) =>
        field("gaps")(row) ? `open, the first for ${age(model.age(field("gap_since")(row)))}` : "no open gap",
    }),
    coverage,
    words("mode", "mode", 80, mode, { dim: true }),
    words("site", "site", 112, (row) => `${field("site")(row)}${field("demo")(row) ? " demo" : ""}`, { dim: true }),
    words("reason", "reason", 200, reason, { dim: true, blank: true, grow: true }),
  ];

  return makeView(model, {
    name: "accounts",
    title: "Accounts",
    nouns: "accounts",
    channels: ["account"],
    others: [],
    narrow: { account: 96, state: 74, asof: 64, equity: 120 },
    detail: (row) => ({ kind: "account", given: { account: account(row) }, title: account(row) }),
    columns,
    rowTruth,
    changed: field("u_time"),
    rules: [
      { value: (row) => (isDown(row) ? 0 : rowTruth(row).state === "unproved" || field("gaps")(row) ? 1 : 2) },
      { value: (row) => (isDown(row) ? field("covered_until")(row) : null) },
      { value: ratio.value },
      { value: account },
    ],
    /** "live 485  equity 244 546 504.95  uPnL −13 219.43  stale 14, oldest as of 41 min  …  never 1: not counted" */
    footer: (rows) =>
      totals(model, rows, worth, "", [
        { label: "equity", name: "equity", value: field("equity"), format: CENTS },
        { label: "uPnL", name: "upl", value: field("upl"), format: { ...CENTS, gain: true } },
      ]),
    coverage: () => [],
    /** Return what the line on top says of all accounts, so that it is of the same moment as the totals below. */
    worth: () => ({
      equity: byState(model, topic.rows.values(), worth, field("equity")),
      upl: byState(model, topic.rows.values(), worth, field("upl")),
    }),
    nothing: () => ({
      text: model.truth.best() === "live" ? "No account is mirrored yet." : "Not known now.",
      kind: "attention",
    }),
  });
}
