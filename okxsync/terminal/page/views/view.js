// What the views have in common.

import { formatAddress } from "../address.js";
import { isGroup, words } from "../columns.js";
import { add, exact, parse, show } from "../decimals.js";
import { age } from "../time.js";
import { older, rank, worst } from "../truth.js";

/** Return how the columns of a topic are read: field("px")(row). */
export const fieldsOf = (topic) => (name) => (row) => row[topic.at[name]];

/**
 * Complete a view of the topic of its name, or `of` another one. `rowTruth(row)` tells the state of a row; `others` are
 * the topics that it shows besides its own, and `joined` those of which an item is shown with one row: topic -> the key
 * of that row.
 *
 * `channels` are those that the rows come from: what is said about coverage below the table, and instead of rows where
 * there are none, is about them.
 */
export function makeView(model, { name, of = name, nouns, channels, others, joined = {}, rowTruth, changed, ...more }) {
  const topic = model.topics[of];
  const field = fieldsOf(topic);
  const topics = [of, ...others, ...Object.keys(joined)];
  const { freshness } = model.topics;
  const versions = (names) => names.map((one) => model.topics[one].version);
  return {
    name,
    nouns,
    channels,
    topics,
    topic,
    truthOf: (item) => (isGroup(item) ? groupTruth(item, rowTruth) : rowTruth(item)),
    version: () => versions(topics).reduce((sum, one) => sum + one, freshness.version + model.changes),
    stamp: () => [model.changes, freshness.version, ...versions(others), ...topics.map((one) => model.topics[one].current)].join(),
    /** A changed row is another array. */
    partsOf(item) {
      const row = isGroup(item) ? item.items.values().next().value : item;
      return [item, item.version, ...Object.entries(joined).map(([one, key]) => row && model.topics[one].get(key(row)))];
    },
    times: (row) => ({ changed: changed(row), received: field("received_at")(row) }),
    coverage: (accepts) => leftOut(model, model.truth.summary(channels, topic, accepts)),
    nothing: () => nothing(model, nouns, model.truth.summary(channels, topic)),
    isOpen: () => false, // this one and the next are set by the grid
    groupNamed: () => undefined,
    ...more,
  };
}

/** Return the state of a group: the worst of its rows, and of how many of them it is the state. */
function groupTruth(group, rowTruth) {
  return group.get("truth", ({ items }) => {
    let found = { state: "never", until: null, reason: null };
    const counts = {};
    let first = true;
    for (const item of items.values()) {
      const own = rowTruth(item);
      counts[own.state] = (counts[own.state] ?? 0) + 1;
      found = first ? own : worst(found, own);
      first = false;
    }
    const of = counts[found.state] < items.size ? `${counts[found.state]} ` : "";
    return { ...found, of };
  });
}

export const plural = (total, noun) => `${total} ${noun}${total === 1 ? "" : "s"}`;

/** Return [{text, tone}]: the accounts that a total leaves out, or that it cannot vouch for. */
function leftOut(model, { unproved, stale, never, oldest }) {
  const since = oldest === null ? "" : `, oldest as of ${age(model.age(oldest))}`;
  return [
    unproved && { text: `${plural(unproved, "account")} unproved`, tone: "state-unproved" },
    stale && { text: `${plural(stale, "account")} stale${since}`, tone: "of-stale" },
    never && { text: `${never} never covered: not counted`, tone: "of-never" },
  ].filter(Boolean);
}

/** Return what stands in the place of rows when there are none: that, with its proof, or that it is not known. */
function nothing(model, nouns, { live, unproved, stale, never, all, proved }) {
  if (!all) return { text: `Not known: no account with ${nouns} is mirrored.`, kind: "attention" };
  if (live === all) {
    return {
      text: `No ${nouns}. ${plural(all, "account")} covered, last proved ${age(model.age(proved))} ago.`,
      kind: "",
    };
  }
  const parts = [
    stale && `${plural(stale, "account")} stale`,
    never && `${never} never covered`,
    unproved && `${unproved} unproved`,
  ];
  const rest = live ? ` No ${nouns} in the other ${live}.` : "";
  return { text: `Not known: ${parts.filter(Boolean).join(", ")}.${rest}`, kind: "attention" };
}

/** Return the exact sum of decimals, and how many of them are unknown. */
export function sumOf(decimals) {
  let sum = null;
  let unknown = 0;
  for (const decimal of decimals) {
    if (decimal === null) unknown += 1;
    else sum = add(sum, decimal);
  }
  return { sum, unknown };
}

/**
 * Return the totals below a table, apart by the state of what they are made of, so that none is silently partial.
 *
 * `noun`: what is counted, or "". `sums` are [{label, name, value(row) -> text, format}].
 */
export function totals(model, rows, rowTruth, noun, sums) {
  const apart = new Map();
  for (const row of rows) {
    const truth = rowTruth(row);
    const found = apart.get(truth.state) ?? { rows: [], oldest: truth.until };
    found.rows.push(row);
    found.oldest = older(found.oldest, truth.until);
    apart.set(truth.state, found);
  }
  const parts = [];
  for (const [state, { rows: those, oldest }] of [...apart].sort(([a], [b]) => rank(a) - rank(b))) {
    if (state === "never") {
      parts.push({ text: `never ${those.length}: not counted`, tone: "of-never" });
      continue;
    }
    const since = state === "live" || !oldest ? "" : `, oldest as of ${age(model.age(oldest))}`;
    parts.push({ text: `${state} ${noun ? plural(those.length, noun) : those.length}${since}`, tone: `state-${state}` });
    for (const { label, name, value, format } of sums) {
      const { sum, unknown } = sumOf(those.map((row) => parse(value(row))));
      const text = sum === null ? "-" : show(exact(sum), format);
      parts.push({
        label,
        name: `${name}-${state}`,
        tone: `total of-${state}`,
        exact: sum && exact(sum),
        text: unknown ? `${text} (${unknown} unknown)` : text,
      });
    }
  }
  return parts;
}

/**
 * Return an exact sum apart by state, as the heartbeat has it: {live: [count, sum], unproved: [count, sum, oldest],
 * stale: likewise, never: count of the rows that have no such number}.
 */
export function byState(model, rows, rowTruth, value) {
  const found = { live: [0, null, null], unproved: [0, null, null], stale: [0, null, null], never: 0 };
  for (const row of rows) {
    const { state, until } = rowTruth(row);
    const decimal = parse(value(row));
    if (state === "never" || decimal === null) {
      found.never += 1;
      continue;
    }
    const part = found[state];
    part[0] += 1;
    part[1] = add(part[1], decimal);
    part[2] = older(part[2], until);
  }
  for (const part of [found.live, found.unproved, found.stale]) part[1] = part[1] && exact(part[1]);
  return found;
}

/** Return the address of a view of one account or instrument; its groups are open. */
export function leadTo(view, field, value) {
  const filter = `${field}:${/\s/.test(value) ? `"${value}"` : value}`;
  return formatAddress({ view, filter, open: view === "positions" ? ["*"] : [] });
}

/** Where a cell of a table of texts leads to. */
export const accountLink = (column, text) => (column === "account" && text ? leadTo("positions", "acct", text) : null);

/** Return what the pane shows of an order. */
export const orderDetail = (field, row, kind, id) => ({
  kind: "order",
  given: { account: field("account")(row), kind, id, inst: field("inst_id")(row) ?? "-" },
  title: `${field("account")(row)}  ${field("inst_id")(row) ?? ""}  ${kind} ${id}`,
});

const link = (id, width, field) => (value, view) =>
  words(id, id, width, value, { href: (item) => (value(item) ? leadTo(view, field, value(item)) : null) });
export const accountColumn = link("account", 96, "acct");
export const instrumentColumn = link("instrument", 148, "inst");

export const sideTone = (side) =>
  ["buy", "long"].includes(side) ? "up" : ["sell", "short"].includes(side) ? "down" : "";

/** US dollars and what is worth one: two decimal places are enough to read. */
const DOLLARS = ["USD", "USDT", "USDC", "USDG"];
export const isDollar = (ccy) => DOLLARS.includes(ccy);
export const CENTS = { cut: 2, fill: 2 };
export const moneyFormat = (ccy) => (isDollar(ccy) ? CENTS : { cut: 8 });
