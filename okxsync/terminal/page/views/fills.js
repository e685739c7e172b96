// The tape: the newest fills. Those that came over REST are marked; they stand where they belong by their time.

import { gain, number, truths, unit, words } from "../columns.js";
import { exact, multiply, parse } from "../decimals.js";
import { age, clockMs, currentZone, date } from "../time.js";
import { accountColumn, CENTS, fieldsOf, instrumentColumn, isDollar, makeView, moneyFormat, orderDetail, sideTone } from "./view.js";

const LIQUIDITY = { M: "maker", T: "taker" };

export function fillsView(model, { older }) {
  const topic = model.topics.fills;
  const field = fieldsOf(topic);
  const rowTruth = (row) => model.truth.of(field("account")(row), "orders", topic);
  const instrument = (row) => model.instrument(field("inst_id")(row), field("inst_type")(row));
  const quote = (row) => field("inst_id")(row).split("-")[1];
  const time = (row) => field("fill_time")(row) ?? field("ts")(row);
  const late = (row) => field("received_at")(row) - time(row);
  const byRest = (row) => field("source")(row) === "rest";

  /** Price times size in US dollars, exact; null where a factor is not known, or the currency is another one. */
  function value(row) {
    const type = field("inst_type")(row);
    const [price, size] = [parse(field("fill_px")(row)), parse(field("fill_sz")(row))];
    if (price === null || size === null || !isDollar(quote(row)) || type === "OPTION") return null;
    if (type === "SPOT" || type === "MARGIN") return exact(multiply(price, size));
    const { field: known } = instrument(row);
    const contracts = multiply(size, multiply(parse(known("ct_val")), parse(known("ct_mult") || "1")));
    if (contracts === null) return null;
    return exact(known("ct_type") === "inverse" ? contracts : multiply(price, contracts));
  }

  const columns = [
    {
      ...words("time", () => `time ${currentZone()}`, 92, time, { search: false }),
      age: (row) => model.age(time(row)),
      text: (row) => clockMs(time(row)),
    },
    {
      ...words("date", "date", 96, time, { search: false, dim: true }),
      age: (row) => model.age(time(row)),
      text: (row) => date(time(row)),
    },
    accountColumn(field("account"), "accounts"),
    instrumentColumn(field("inst_id"), "positions"),
    words("side", "side", 44, field("side"), { tone: (row) => sideTone(field("side")(row)) }),
    number("price", "price", 104, field("fill_px"), { format: (row) => ({ fill: instrument(row).tick }) }),
    number("size", "size", 100, field("fill_sz"), { format: (row) => ({ fill: instrument(row).lot }) }),
    number("value", "value USD", 104, value, {
      format: () => CENTS,
      absent: () => "not in dollars, or the contract is not known",
    }),
    number("fee", "fee", 96, field("fee"), { format: () => ({ cut: 8 }) }),
    unit("fee_ccy", field("fee_ccy")),
    gain("pnl", "pnl", 92, field("fill_pnl"), (row) => moneyFormat(quote(row))),
    words("role", "role", 54, (row) => LIQUIDITY[field("exec_type")(row)] ?? field("exec_type")(row), { dim: true }),
    {
      ...words("late", "received", 72, late, { right: true, dim: true, search: false }),
      age: late,
      lasting: true,
      text: (row) => lateness(late(row)),
      explain: (row) => `received ${lateness(late(row))} after the fill`,
    },
    words("by", "by", 128, (row) => (byRest(row) ? "REST" : "push"), {
      text: (row) => (byRest(row) ? "REST \u25c7 found later" : "push"),
      tone: (row) => (byRest(row) ? "attention" : "dim"),
    }),
    ...truths(model, rowTruth),
    words("tag", "tag", 110, field("tag"), { dim: true, blank: true }),
    words("order_id", "order id", 164, field("ord_id"), { dim: true, grow: true }),
  ];

  return makeView(model, {
    name: "fills",
    title: "Fills",
    nouns: "fills",
    channels: ["orders"],
    others: ["instruments"],
    narrow: { time: 92, account: 62, instrument: 116, side: 36, size: 72 },
    detail: (row) => orderDetail(field, row, "order", field("ord_id")(row)),
    inTime: () => true, // those of a time of the past are read for it, see `older.js`
    columns,
    rowTruth,
    changed: time,
    every: 200, // above 20 fills a second the tape is painted five times a second
    newestFirst: true,
    rules: [
      { value: time, down: true },
      { value: field("trade_id"), down: true },
    ],
    footer(chosen) {
      if (!older.isPast) return [{ text: `${chosen.length} of the newest ${topic.rows.size} fills`, tone: "" }];
      return [{ text: `${chosen.length} fills${older.more ? "; End: older ones" : ""}`, tone: "" }];
    },
    failed: () => older.isPast && older.error,
    next: () => older.next(),
  });
}

/** Milliseconds, where they matter. */
const lateness = (us) => (us < 1e6 ? `${Math.max(0, Math.floor(us / 1000))} ms` : age(us));
