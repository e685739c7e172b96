// The filter language: words, `acct:desk0*`, `side:buy,sell`, `age>1h`, `upl<-100`, `-state:live`. All terms must hold.

import { compare, parse } from "./decimals.js";
import { duration } from "./time.js";

const TERM = /^(-?)([a-z_]+)(:|>=|<=|>|<|=)(.+)$/i;
const TESTS = {
  ">": (order) => order > 0,
  ">=": (order) => order >= 0,
  "<": (order) => order < 0,
  "<=": (order) => order <= 0,
  "=": (order) => order === 0,
};
export const ALIASES = { acct: "account", inst: "instrument", id: "order_id" };

function glob(pattern) {
  const source = pattern.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*");
  return new RegExp(`^${source}$`, "is");
}

function measure(column, operator, wanted) {
  const test = TESTS[operator];
  if (column.age) {
    const us = duration(wanted);
    if (us === null) return null;
    return (item) => {
      const found = column.age(item);
      return found !== null && test(found - us);
    };
  }
  const limit = parse(wanted);
  if (limit === null) return null;
  return (item) => {
    const found = parse(column.value(item)?.toString());
    return found !== null && test(compare(found, limit)); // what is unknown is neither above nor below
  };
}

/**
 * Return {test, account, error, empty}: whether an item is shown, whether an account may have items that are, and null
 * or what is wrong with the filter.
 *
 * A filter with an error hides nothing: rows that are missing because of a misspelt word would look like absence.
 */
export function compile(text, columns) {
  const tests = [];
  const names = [];
  const searched = columns.filter((column) => column.search);
  for (const term of text.match(/(?:[^\s"]|"[^"]*")+/g) ?? []) {
    const match = TERM.exec(term);
    const unquoted = (part) => part.replaceAll('"', "");
    if (!match) {
      const word = unquoted(term).toLowerCase();
      tests.push((item) =>
        searched.some((column) =>
          String(column.value(item) ?? "")
            .toLowerCase()
            .includes(word),
        ),
      );
      continue;
    }
    const [, not, field, operator, wanted] = match;
    const name = ALIASES[field.toLowerCase()] ?? field.toLowerCase();
    const column = columns.find(({ id }) => id === name);
    if (!column) return failed(`no field "${field}" here: ${columns.map(({ id }) => id).join(", ")}`);
    let test;
    if (operator === ":") {
      const patterns = unquoted(wanted).split(",").map(glob);
      const matches = (value) => patterns.some((pattern) => pattern.test(String(value ?? "-")));
      test = (item) => matches(column.value(item));
      if (name === "account") names.push(not ? (account) => !matches(account) : matches);
    } else {
      test = measure(column, operator, unquoted(wanted));
      if (test === null) return failed(`"${wanted}" is no ${column.age ? "time such as 30s, 5min, 1h" : "number"}`);
    }
    tests.push(not ? (item) => !test(item) : test);
  }
  const all = (given) => (value) => given.every((test) => test(value));
  return { test: all(tests), account: all(names), error: null, empty: tests.length === 0 };
}

const failed = (error) => ({ test: () => true, account: () => true, error, empty: true });
