// One plan: a row for each of its orders, what the preview says, and what became of it.

import { count, number, percent, truths, words } from "../columns.js";
import { add, exact, multiply, negate, parse, quotient, show } from "../decimals.js";
import { rank } from "../truth.js";
import { accountColumn, CENTS, fieldsOf, instrumentColumn, makeView, plural, sideTone, sumOf } from "./view.js";
import { daemonTruth, isTooOld, planOf } from "./plans.js";

const HUNDRED = parse("100");
/** States of an order to which nothing more happens. */
const ENDED = ["skipped", "withheld", "refused", "absent", "filled", "canceled", "gone", "done"];
const TONES = {
  ...{ ready: "state-live", armed: "state-live", sent: "state-live", accepted: "state-live", working: "state-live" },
  ...{ filled: "state-live", done: "state-live", skipped: "attention", withheld: "attention", canceled: "attention" },
  ...{ refused: "wrong", unknown: "wrong", absent: "wrong", gone: "wrong" },
};
/** Worst first. */
const ORDER = ["unknown", "refused", "absent", "gone", "skipped", "withheld", "canceled"];

export function planView(model) {
  const topic = model.topics.plan_orders;
  const field = fieldsOf(topic);
  const state = field("state");
  const isOrder = (row) => field("kind")(row) === "order";
  const sized = (name) => (row) => (field("sz")(row) ? field(name)(row) : null);

  /** An order hangs on its account until it has ended, and all on the daemon; an old preview is worth nothing. */
  function rowTruth(row) {
    const plan = planOf(model, field("plan_id")(row));
    if (!plan || isTooOld(model, plan)) return { state: "stale", until: plan?.preview_at ?? null, reason: null };
    const daemon = daemonTruth(model, topic);
    if (plan.state !== "previewed" && ENDED.includes(state(row))) return { ...daemon, until: field("ended_at")(row) ?? daemon.until };
    const channels = plan.state === "previewed" ? ["orders", "positions", "account"] : ["orders"];
    const found = channels.map((channel) => model.truth.of(field("account")(row), channel, topic));
    return found.reduce((a, b) => (rank(a.state) >= rank(b.state) ? a : b));
  }

  function toPlan(row) {
    const [average, reference] = [parse(field("avg_px")(row)), parse(field("reference")(row))];
    if (average === null || reference === null) return null;
    const found = quotient(multiply(add(average, negate(reference)), HUNDRED), reference, 3);
    return found && exact(found);
  }

  /** What of the size is not filled; not known before the exchange has said how much is. */
  const left = (row) => {
    const [size, filled] = [parse(field("sz")(row)), parse(field("acc_fill_sz")(row))];
    return isOrder(row) && size !== null && filled !== null ? exact(add(size, negate(filled))) : null;
  };
  const why = (row) => [field("reason")(row), field("detail")(row)].filter(Boolean).join(": ");
  const alarms = (row) => ["doubled", "unprotected"].filter((name) => field(name)(row));
  const share = (id, head, name, tip) =>
    percent(id, head, 74, (row) => (field(name)(row) === null ? null : exact(multiply(parse(field(name)(row)), HUNDRED))), {
      hidden: true,
      format: () => ({ gain: true, cut: 2, fill: 2 }),
      tip: `${tip}, of a plan that rebalances: a share of the account's equity at the preview`,
    });
  const usd = (id, head, width, value, more = {}) => number(id, head, width, value, { format: () => CENTS, ...more });
  const assumed = (row) => (field("usd_assumed")(row) ? "a dollar for each unit of the quote currency, for no rate is known" : null);
  const columns = [
    accountColumn(field("account"), "accounts"),
    ...truths(model, rowTruth),
    words("side", "side", 44, field("side"), { tone: (row) => sideTone(field("side")(row)), blank: true }),
    instrumentColumn(field("inst_id"), "positions"),
    words("type", "type", 76, (row) => (isOrder(row) ? [field("ord_type")(row), field("pos_side")(row)].filter(Boolean).join(" ") : field("kind")(row))),
    usd("equity", "equity USD", 104, field("equity")),
    share("share", "now", "share", "before the plan"),
    share("share_wanted", "target", "share_wanted", "what is wanted"),
    share("share_after", "reached", "share_after", "with all orders; once the plan was approved, with what is filled"),
    number("before", "position", 70, field("position"), { format: () => ({ gain: true }) }),
    number("after", "after", 70, field("position_after"), { format: () => ({ gain: true }) }),
    number("size", "size", 70, field("sz")),
    usd("rest", "rest", 60, sized("remainder"), { tip: "money that rounding to lots leaves" }),
    usd("notional", "notional", 86, field("notional")),
    usd("usd", "planned USD", 90, sized("planned_usd"), { note: assumed }),
    number("price", "price", 92, field("px"), { absent: () => "a market order, or none" }),
    usd("margin", "margin", 76, field("margin"), { tip: "what the order needs, in the settle currency" }),
    number("lever", "lever", 46, field("lever"), { text: (row) => (field("lever")(row) ? `${show(field("lever")(row))}\u00d7` : "-") }),
    words("status", "order", 74, (row) => [state(row), ...alarms(row)].join(", "), {
      tone: (row) => (alarms(row).length ? "wrong" : (TONES[state(row)] ?? "")),
    }),
    number("filled", "filled", 70, field("acc_fill_sz")),
    number("left", "left", 62, left, { tip: "what of the size is not filled" }),
    number("average", "average", 104, field("avg_px")),
    percent("to_plan", "to plan", 70, toPlan, { format: () => ({ gain: true, fill: 3 }), dim: true, tip: "of the average price to the plan's" }),
    number("fee", "fee", 86, field("fee"), { format: () => ({ cut: 8 }) }),
    words("reason", "reason", 180, (row) => [why(row), field("warnings")(row)].filter(Boolean).join("; "), {
      tone: (row) => (field("reason")(row) || field("warnings")(row) ? "attention" : ""),
      blank: true,
      grow: true,
    }),
    { ...count("attempts", "attempts", 62, field("attempts")), hidden: true },
    { ...words("cl_id", "client id", 170, field("cl_ord_id"), { dim: true }), hidden: true },
    { ...words("plan", "plan", 108, field("plan_id"), { dim: true }), hidden: true },
  ];
  const view = makeView(model, {
    name: "plan",
    of: "plan_orders",
    title: "Plan",
    under: "plans",
    nouns: "orders of plans",
    channels: [],
    others: ["plans", "requests"],
    columns,
    rowTruth,
    changed: field("ended_at"),
    times: (row) => ({ changed: field("ended_at")(row) }),
    detail: (row) => ({
      kind: "plan_order",
      given: { plan: field("plan_id")(row), child: field("child")(row) },
      title: [field("account")(row), field("inst_id")(row), field("cl_ord_id")(row)].filter(Boolean).join("  "),
    }),
    rules: [
      { value: (row) => (alarms(row).length ? -1 : (ORDER.indexOf(state(row)) + ORDER.length + 1) % (ORDER.length + 1)) },
      { value: field("child") },
    ],
    footer: (rows) => [
      { text: plural(rows.length, "order") },
      ...[["planned", sized("planned_usd")], ["filled", field("filled_usd")]].map(([label, value]) => {
        const { sum } = sumOf(rows.map((row) => parse(value(row))));
        const live = rows.every((row) => rank(rowTruth(row).state) < rank("stale"));
        const text = sum === null ? "-" : `${show(exact(sum), CENTS)} USD`;
        return { label, name: label, exact: sum && exact(sum), text, tone: live ? "" : "total of-stale" };
      }),
    ],
    coverage: () => [],
    nothing: () => ({ text: "No order of a plan is known here: choose one in Plans.", kind: "attention" }),
  });
  // A preview grows old without any traffic, and its totals turn grey with it.
  const { version } = view;
  const plans = model.topics.plans;
  const old = (row) => isTooOld(model, { state: row[plans.at.state], expires_at: row[plans.at.expires_at] });
  view.version = () => version() + [...plans.rows.values()].filter(old).length / 1000;
  return view;
}
