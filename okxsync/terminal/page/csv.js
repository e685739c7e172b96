// What a table shows as a file for other programs: exact values, plain ASCII for numbers, and no cell that a spreadsheet
// would take for a formula.

import { isKnown } from "./columns.js";
import { parse } from "./decimals.js";
import { inSheet } from "./text.js";
import { iso } from "./time.js";

const quoted = (text) => (/[",\s]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** Return the text of one cell. Times are UTC; numbers are the exchange's digits, whatever stands in the column. */
export function sheetCell(column, item) {
  const value = column.value(item);
  if (!isKnown(value)) return "";
  if (column.age && !column.lasting) return iso(value);
  const text = String(value);
  return typeof value === "number" || (column.right && parse(text) !== null) ? text : inSheet(text);
}

/** Return CSV (RFC 4180) of texts. */
export const csv = (rows) => rows.map((row) => `${row.map(quoted).join(",")}\r\n`).join("");

/** Return CSV of items: the columns that are shown, and how far each row can be believed even if that is not. */
export function sheetOf(shown, all, items) {
  const has = new Set(shown.map(({ id }) => id));
  const columns = [...shown, ...all.filter(({ id }) => ["state", "asof"].includes(id) && !has.has(id))];
  const cells = items.map((item) => columns.map((column) => sheetCell(column, item)));
  return csv([columns.map(({ id }) => id), ...cells]);
}

/** Let the browser save a text; the name has the view and the time. */
export function save(view, now, text) {
  const link = document.createElement("a");
  link.download = `okxsync-${view}-${iso(now).slice(0, 19).replaceAll(":", "")}Z.csv`;
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return link.download;
}
