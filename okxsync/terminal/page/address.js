// The layout in the address: "#positions?inst=BTC-USDT-SWAP&acct=desk0*&sort=-upl". It is all that makes a view, so a
// layout is a bookmark, and a second monitor is a second tab.

const OWN = ["sort", "row", "open", "by", "q", "sel", "range", "end", "detail"];

/** Return {view, filter, sort: {column, down} or null, row, open: [group ...], by, chosen: [row ...], range, end, detail}. */
export function parseAddress(hash) {
  const [view, query = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const given = new URLSearchParams(query);
  const terms = [];
  for (const [name, value] of given) if (!OWN.includes(name)) terms.push(`${name}:${quote(value)}`);
  if (given.get("q")) terms.push(given.get("q"));
  const sort = given.get("sort");
  return {
    view,
    filter: terms.join(" "),
    sort: sort ? { column: sort.replace(/^-/, ""), down: sort.startsWith("-") } : null,
    row: given.get("row"),
    open: given.get("open")?.split(",") ?? [],
    by: given.get("by"),
    chosen: given.get("sel")?.split(",") ?? [],
    range: given.get("range"),
    end: given.get("end"),
    detail: given.has("detail"),
  };
}

const quote = (value) => (/\s/.test(value) ? `"${value}"` : value);

/** Return the address; the words of a filter that name a field become parameters of their own. */
export function formatAddress({
  view,
  filter = "",
  sort = null,
  row = null,
  open = [],
  by = null,
  chosen = [],
  ...more
}) {
  const query = new URLSearchParams();
  const rest = [];
  for (const term of filter.match(/(?:[^\s"]|"[^"]*")+/g) ?? []) {
    const match = /^([a-z_]+):(.+)$/.exec(term);
    if (match && !OWN.includes(match[1])) query.append(match[1], match[2].replaceAll('"', ""));
    else rest.push(term);
  }
  if (rest.length) query.set("q", rest.join(" "));
  if (by) query.set("by", by);
  if (sort) query.set("sort", (sort.down ? "-" : "") + sort.column);
  if (open.length) query.set("open", open.join(","));
  if (row) query.set("row", row);
  if (chosen.length) query.set("sel", chosen.join(","));
  for (const name of ["range", "end", "detail"]) if (more[name]) query.set(name, more[name]);
  const text = query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  return `#${view}${text ? `?${text}` : ""}`;
}
