// How a column is made. A column has
//   id, head, width, right   its name in filters and in the address, its heading (or a function), pixels, its side
//   value(item)              the exact value: what is copied, filtered and sorted; null: unknown
//   text(item)               what is shown
//   tone(item)               a class for the cell, or ""
//   age(item)                microseconds, for columns of ages and times
//   state(item)              the state of the number if it is another one than the row's
//   href(item)               the address that the cell leads to
//   absent(item)             for the tooltip: why there is no value
//   explain(item)            its first line, in place of the value; note(item): one more line
//   search                   whether words of the filter look here
//   blank                    an absent value is nothing to know: the cell stays empty
// Functions that use other ones do it through `this`, so that `grouped` can replace each of them.

import { parse, show, sign, UNKNOWN } from "./decimals.js";
import { age } from "./time.js";
import { visible } from "./text.js";
import { WORDS } from "./truth.js";

export const isKnown = (value) => value !== null && value !== undefined && value !== "";
export const isGroup = (item) => item.group !== undefined;

function plain(item) {
  const value = this.value(item);
  return isKnown(value) ? visible(String(value)) : this.blank ? "" : UNKNOWN;
}

export const words = (id, head, width, value, more = {}) => ({
  id,
  head,
  width,
  value,
  text: plain,
  search: true,
  ...more,
});

/** The unit of the number to the left. */
export const unit = (id, value) => words(id, "", 48, value, { dim: true, blank: true, search: false });

export const count = (id, head, width, value, more = {}) => ({
  id,
  head,
  width,
  right: true,
  value,
  text: plain,
  ...more,
});

/** A number of the exchange. `format(item)` is what `show` takes. */
export const number = (id, head, width, value, more = {}) => ({
  id,
  head,
  width,
  right: true,
  fade: true,
  value,
  format: () => ({}),
  text(item) {
    const known = this.value(item);
    return this.blank && !isKnown(known) ? "" : show(known, this.format(item));
  },
  ...more,
});

/** Gains and losses: sign and colour. */
export const gain = (id, head, width, value, format) =>
  number(id, head, width, value, {
    format: (item) => ({ ...format(item), gain: true }),
    tone(item) {
      const found = parse(this.value(item));
      return found === null ? "" : ["down", "", "up"][sign(found) + 1];
    },
  });

export const percent = (id, head, width, value, more = {}) =>
  number(id, head, width, value, {
    fade: false,
    text(item) {
      const known = this.value(item);
      return isKnown(known) ? `${show(known, this.format(item))} %` : UNKNOWN;
    },
    ...more,
  });

/** The age of a moment. */
export const ages = (id, head, width, model, value, more = {}) => ({
  id,
  head,
  width,
  right: true,
  dim: true,
  value,
  age(item) {
    return model.age(this.value(item));
  },
  text(item) {
    const us = this.age(item);
    return us === null ? UNKNOWN : age(us);
  },
  ...more,
});

/** How far a row can be believed: its state, and until when it is proved. */
export const truths = (model, truthOf) => [
  {
    id: "state",
    head: "state",
    width: 70,
    search: true,
    value: (item) => truthOf(item).state,
    text: (item) => (truthOf(item).of ?? "") + WORDS[truthOf(item).state],
    tone: (item) => `state-${truthOf(item).state}`,
  },
  ages("asof", "as of", 66, model, (item) => truthOf(item).until),
];

/**
 * Return a column for a table with groups. `value(group)` and `more` are what differs for a group; without `value` the
 * cell of a group is empty.
 */
export function grouped(column, value = null, more = {}) {
  const made = { ...column, value: (item) => (isGroup(item) ? (value?.(item) ?? null) : column.value(item)) };
  const empty = { text: value ? column.text : () => "", tone: column.tone, href: () => null, ...more };
  for (const [name, ofGroup] of Object.entries(empty)) {
    made[name] = function choose(item) {
      return (isGroup(item) ? ofGroup : column[name])?.call(this, item);
    };
  }
  if (!column.href) delete made.href;
  return made;
}
