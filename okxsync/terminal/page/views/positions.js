// Positions, a group for each instrument. Net positions in contracts and in coin are exact sums over the accounts.

import { count, gain, grouped, number, percent, truths, unit, words } from "../columns.js";
import {
  absolute,
  add,
  approximate,
  compare,
  exact,
  multiply,
  negate,
  parse,
  quotient,
  show,
  sign,
} from "../decimals.js";
import { accountColumn, CENTS, fieldsOf, makeView, moneyFormat, sideTone, sumOf, totals } from "./view.js";

const HUNDRED = parse("100");
/** Percent to liquidation. */
const NEAR = parse("10");
const VERY_NEAR = parse("5");
/** A share of equity of more than so many times the group's median, or of less than a part of it, is marked. */
const FAR = 2;
/** Fewer accounts have no usual share. */
const COMPARED = 5;

const text = (decimal) => (decimal === null || decimal === undefined ? null : exact(decimal));
const rows = (group) => [...group.items.values()];
const first = (group) => group.items.values().next().value;

export function positionsView(model) {
  const topic = model.topics.positions;
  const { accounts } = model.topics;
  const field = fieldsOf(topic);
  const decimal = (name) => {
    const known = new WeakMap(); // a changed row is another array
    return (row) => {
      if (!known.has(row)) known.set(row, parse(field(name)(row)));
      return known.get(row);
    };
  };
  const [size, notionalUsd, averagePx, liquidationPx, markPx] = "pos notional_usd avg_px liq_px mark_px".split(" ").map(decimal);
  const account = field("account");
  const rowTruth = (row) => model.truth.of(account(row), "positions", topic);
  const instrument = (row) => model.instrument(field("inst_id")(row), field("inst_type")(row));

  function direction(row) {
    const side = field("pos_side")(row);
    if (side === "long" || side === "short") return side;
    if (field("inst_type")(row) === "MARGIN")
      return field("pos_ccy")(row) === field("inst_id")(row).split("-")[0] ? "long" : "short";
    const own = size(row);
    return own === null || own.digits === 0n ? null : sign(own) > 0 ? "long" : "short";
  }

  /** With its sign; in long/short mode OKX sends both sides as positive. */
  const signed = (value) => (row) => {
    const own = value(row);
    return own !== null && direction(row) === "short" && own.digits > 0n ? negate(own) : own;
  };
  const contracts = signed(size);
  const coin = signed(decimal("coin"));

  /** Return the exact sum of a group; null if a part is not known, or if the parts are in different currencies. */
  const total =
    (name, value, ccy = null) =>
    (group) =>
      group.get(name, () => {
        const { sum, unknown } = sumOf(rows(group).map(value));
        return unknown || (ccy && common(ccy)(group) === null) ? null : text(sum);
      });
  const common = (name) => (group) =>
    group.get(`common ${name}`, () => {
      const found = new Set(rows(group).map(field(name)));
      return found.size === 1 ? [...found][0] : null;
    });

  function pushedMark(row) {
    const pushed = model.mark(field("inst_id")(row));
    return pushed?.state === "live" ? pushed.px : null;
  }
  const mark = (row) => pushedMark(row) ?? field("mark_px")(row);

  /** Percent from mark price to liquidation price. */
  function distance(row) {
    const pushed = pushedMark(row);
    const [liquidation, now] = [liquidationPx(row), pushed === null ? markPx(row) : parse(pushed)];
    if (liquidation === null || now === null || liquidation.digits <= 0n) return null;
    return quotient(multiply(absolute(add(liquidation, negate(now))), HUNDRED), now, 1);
  }

  const nearest = (group) =>
    group.get("nearest", () => {
      let found = null;
      for (const row of rows(group)) {
        const own = distance(row);
        if (own !== null && (found === null || compare(own, found.distance) < 0)) found = { distance: own, row };
      }
      return found;
    });

  function equity(row) {
    const found = accounts.get(account(row));
    return found ? parse(found[accounts.at.equity]) : null;
  }

  const ratio = (notional, worth) =>
    notional === null || worth === null || worth.digits <= 0n
      ? null
      : quotient(multiply(absolute(notional), HUNDRED), worth, 3);
  /** Percent of the account's equity. */
  const share = (row) => ratio(notionalUsd(row), equity(row));
  const groupShare = (group) =>
    group.get("share", () => {
      const notional = sumOf(rows(group).map((row) => absolute(notionalUsd(row))));
      const once = new Map(rows(group).map((row) => [account(row), row])); // an account with two positions has one equity
      const worth = sumOf([...once.values()].map(equity));
      return notional.unknown || worth.unknown ? null : ratio(notional.sum, worth.sum);
    });
  const median = (group) =>
    group.get("median", () => {
      const known = rows(group)
        .map(share)
        .filter((value) => value !== null)
        .sort(compare);
      return known.length < COMPARED ? null : known[Math.floor((known.length - 1) / 2)];
    });

  /** Return "◆ 3.1× median" if the account's share is far from the usual one: it missed an order, or doubled it. */
  function odd(row) {
    const group = view.groupNamed(field("inst_id")(row));
    const [own, usual] = [share(row), group ? median(group) : null];
    if (own === null || usual === null || usual.digits === 0n) return null;
    const times = quotient(own, usual, 2);
    const far = approximate(times) > FAR || approximate(times) < 1 / FAR;
    return far ? `\u25c6 ${show(exact(times), { cut: 1 })}\u00d7 median` : null;
  }

  /** Weighted by contracts; a group that is both long and short has no common price. */
  const averagePrice = (group) =>
    group.get("average", () => {
      const all = rows(group);
      const held = sumOf(all.map((row) => absolute(size(row))));
      const paid = sumOf(all.map((row) => multiply(absolute(size(row)), averagePx(row))));
      if (paid.unknown || new Set(all.map(direction)).size > 1) return null;
      return text(quotient(paid.sum, held.sum, (instrument(first(group)).tick ?? 4) + 2));
    });

  const side = (name) => {
    const column = count(name, name, 52, (row) => (direction(row) === name ? name : null), {
      blank: true,
      tone: () => sideTone(name),
    });
    return grouped(column, (group) =>
      group.get(name, () => rows(group).filter((row) => direction(row) === name).length),
    );
  };
  /** Average and liquidation prices have many digits; where no tick is known, the mark price tells how many matter. */
  const prices = (row) => {
    const { tick } = instrument(row);
    return { cut: tick ?? field("mark_px")(row)?.split(".")[1]?.length ?? 0, fill: tick };
  };
  const ofGroup = (format) => (item) => format(item.group === undefined ? item : first(item));
  const notional = total("notional", notionalUsd);

  const columns = [
    grouped(words("instrument", "instrument", 150, field("inst_id"), { text: () => "" }), ({ group }) => group, {
      text: ({ group }) => `${view.isOpen(group) ? "\u25be" : "\u25b8"} ${group}`,
      tone: () => "plain",
    }),
    grouped(
      { ...accountColumn(account, "accounts"), head: "accounts" },
      (group) => group.get("accounts", () => new Set(rows(group).map(account)).size),
      {
        text: plainValue,
        tone: () => "plain",
      },
    ),
    ...truths(model, (item) => view.truthOf(item)),
    side("long"),
    side("short"),
    grouped(
      number("pos", "net contracts", 104, (row) => text(contracts(row)), { format: () => ({ gain: true }) }),
      total("pos", contracts),
    ),
    grouped(
      number("coin", "net coin", 116, (row) => text(coin(row)), { format: () => ({ gain: true, cut: 8 }) }),
      total("coin", coin, "coin_ccy"),
    ),
    grouped(unit("coin_ccy", field("coin_ccy")), common("coin_ccy")),
    grouped(
      number("avg_px", "avg px", 104, field("avg_px"), {
        format: ofGroup(prices),
        absent: () => "both long and short: no common price",
      }),
      averagePrice,
    ),
    grouped(number("mark", "mark", 104, mark, { format: ofGroup((row) => ({ fill: instrument(row).tick })) }), (group) =>
      mark(first(group)),
    ),
    grouped(
      gain(
        "upl",
        "uPnL",
        104,
        field("upl"),
        ofGroup((row) => moneyFormat(field("ccy")(row))),
      ),
      total("upl", decimal("upl"), "ccy"),
    ),
    grouped(unit("ccy", field("ccy")), common("ccy")),
    grouped(number("notional", "notional USD", 116, field("notional_usd"), { format: () => CENTS }), notional),
    grouped(
      percent("share", "of equity", 70, (row) => text(share(row)), { format: () => ({ cut: 1, fill: 1 }) }),
      (group) => text(groupShare(group)),
    ),
    grouped(
      percent("liq", "to liq.", 72, (row) => text(distance(row)), {
        format: () => ({ fill: 1 }),
        absent: () => "OKX gives no liquidation price",
        tone(item) {
          const found = parse(this.value(item));
          if (found === null || compare(found, NEAR) >= 0) return "";
          return compare(found, VERY_NEAR) < 0 ? "wrong" : "attention";
        },
      }),
      (group) => text(nearest(group)?.distance),
    ),
    grouped(
      number("liq_px", "liq px", 104, field("liq_px"), { format: prices }),
      (group) => (nearest(group) ? account(nearest(group).row) : null),
      {
        text: plainValue,
      },
    ),
    grouped(
      words(
        "margin",
        "margin",
        96,
        (row) => `${field("mgn_mode")(row) ?? ""} ${field("lever")(row) ? `${field("lever")(row)}\u00d7` : ""}`.trim(),
        { dim: true },
      ),
    ),
    grouped(words("odd", "", 110, odd, { blank: true, tone: () => "attention", grow: true, search: false })),
  ];
  const byLiquidation = { value: columns.find(({ id }) => id === "liq").value };
  const byNotional = { value: columns.find(({ id }) => id === "notional").value, down: true };

  const view = makeView(model, {
    name: "positions",
    title: "Positions",
    nouns: "open positions",
    channels: ["positions"],
    others: ["instruments"],
    joined: { accounts: account, marks: field("inst_id") },
    narrow: { instrument: 128, account: 60, pos: 66, upl: 70, state: 60 },
    detail: (row) => ({ kind: "account", given: { account: account(row) }, title: account(row) }),
    columns,
    rowTruth,
    changed: field("u_time"),
    groupOf: field("inst_id"),
    rules: [byLiquidation, byNotional],
    groupRules: [byLiquidation, byNotional],
    footer: (chosen) =>
      totals(model, chosen, rowTruth, "", [
        { label: "notional USD", name: "notional", value: (row) => text(absolute(notionalUsd(row))), format: CENTS },
      ]),
  });
  return view;
}

function plainValue(item) {
  return String(this.value(item) ?? "");
}
