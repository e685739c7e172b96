// Open orders, algo orders among them.

import { ages, grouped, number, percent, truths, words } from "../columns.js";
import { add, exact, multiply, negate, parse, quotient, show } from "../decimals.js";
import { rank } from "../truth.js";
import { accountColumn, fieldsOf, instrumentColumn, makeView, orderDetail, sideTone, sumOf, totals } from "./view.js";

const HUNDRED = parse("100");
const CHANNELS = { order: "orders", algo: "orders-algo" };

export function ordersView(model) {
  const topic = model.topics.orders;
  const field = fieldsOf(topic);
  const rowTruth = (row) => model.truth.of(field("account")(row), CHANNELS[field("kind")(row)], topic);
  const instrument = (row) => model.instrument(field("inst_id")(row), field("inst_type")(row));

  /** OKX writes -1 for an algo order that will place a market order. */
  const price = (row) => (field("px")(row) === "-1" ? null : field("px")(row));
  const trigger = (row) => field("trigger_px")(row) || field("tp_trigger_px")(row) || field("sl_trigger_px")(row);

  /** Percent from the mark price to the price at which the order acts. */
  function distance(row) {
    const mark = model.mark(field("inst_id")(row));
    const [at, now] = [parse(trigger(row) || price(row)), parse(mark?.state === "live" ? mark.px : null)];
    const found = at === null || now === null ? null : quotient(multiply(add(at, negate(now)), HUNDRED), now, 2);
    return found && exact(found);
  }

  const prices = (row) => ({ fill: instrument(row).tick }); // a price of an order is never cut
  const sizes = (row) => ({ fill: instrument(row).lot });
  const sizeOf = (group, side) =>
    group.get(side, () => {
      const { sum, unknown } = sumOf(
        [...group.items.values()].filter((row) => field("side")(row) === side).map((row) => parse(field("sz")(row))),
      );
      return unknown ? "-" : show(sum === null ? "0" : exact(sum));
    });
  const oldest = (group) => group.get("oldest", ({ items }) => Math.min(...[...items.values()].map(field("c_time"))));

  const columns = [
    grouped(accountColumn(field("account"), "accounts"), ({ items }) => items.size, {
      text: ({ items }) => `${items.size} order${items.size === 1 ? "" : "s"}`,
      tone: () => "plain",
    }),
    grouped(instrumentColumn(field("inst_id"), "positions"), ({ group }) => group, {
      text: ({ group }) => `${view.isOpen(group) ? "\u25be" : "\u25b8"} ${group}`,
      tone: () => "plain",
    }),
    grouped(words("side", "side", 44, field("side"), { tone: (row) => sideTone(field("side")(row)) })),
    grouped(words("type", "type", 104, field("ord_type")), () => "", {
      text: (group) => `buy ${sizeOf(group, "buy")}   sell ${sizeOf(group, "sell")}`,
      tone: () => "wide",
    }),
    grouped(
      number("price", "price", 104, price, {
        absent: () => "a market order",
        text(row) {
          return price(row) ? show(price(row), prices(row)) : "market";
        },
      }),
    ),
    grouped(number("trigger", "trigger", 104, trigger, { format: prices, blank: true })),
    grouped(number("size", "size", 100, field("sz"), { format: sizes })),
    grouped(number("filled", "filled", 100, field("filled"))),
    // OKX calls an order that rests "live"; on this page the word is kept for what is proved.
    grouped(
      words("status", "order", 112, (row) => (field("state")(row) === "live" ? "open" : field("state")(row)), {
        dim: true,
      }),
    ),
    grouped(ages("age", "age", 66, model, field("c_time")), oldest),
    grouped(
      percent("dist", "dist", 80, distance, {
        format: () => ({ gain: true, fill: 2 }),
        dim: true,
        absent: () => "no live mark price of this instrument is mirrored",
      }),
    ),
    ...truths(model, (item) => view.truthOf(item)),
    grouped(words("tag", "tag", 120, field("tag"), { dim: true, blank: true })),
    grouped(words("order_id", "order id", 164, field("id"), { dim: true })),
    grouped(words("cl_id", "client id", 150, field("cl_id"), { dim: true, blank: true, grow: true })),
  ];
  const staleFirst = { value: (item) => (rank(view.truthOf(item).state) >= rank("stale") ? 0 : 1) };

  const view = makeView(model, {
    name: "orders",
    title: "Orders",
    nouns: "open orders",
    channels: ["orders", "orders-algo"],
    others: ["instruments"],
    joined: { marks: field("inst_id") },
    narrow: { account: 66, instrument: 118, side: 36, price: 88, state: 66 },
    detail: (row) => orderDetail(field, row, field("kind")(row), field("id")(row)),
    inTime: (row, { begin, end }) => [field("c_time")(row), field("u_time")(row)].some((at) => at >= begin && at < end),
    columns,
    rowTruth,
    changed: field("u_time"),
    groupOf: field("inst_id"),
    groupOnDemand: true,
    rules: [staleFirst, { value: field("c_time") }],
    groupRules: [staleFirst, { value: ({ items }) => items.size, down: true }],
    footer: (chosen) => totals(model, chosen, rowTruth, "open order", []),
  });
  return view;
}
