// The page: puts the parts together, and paints once a frame at most.

import { formatAddress, parseAddress } from "./address.js";
import { Alarm, mayNotify } from "./alarm.js";
import { save } from "./csv.js";
import { Days } from "./days.js";
import { CommandBox, showHelp } from "./dialogs.js";
import { Grid, SUMS_MS } from "./grid.js";
import { Halt } from "./halt.js";
import { bars, Head } from "./head.js";
import { Keys } from "./keys.js";
import { askForToken, forgetKey, logIn, savedKey, tokenOfAddress } from "./login.js";
import { showColumns } from "./layout.js";
import { Link } from "./link.js";
import { Model } from "./model.js";
import { Older } from "./older.js";
import { Pane } from "./pane.js";
import { Range } from "./range.js";
import { Settings, SETTINGS, showSettings } from "./settings.js";
import { element, inSheet, set, setText, visible } from "./text.js";
import { currentZone, setZone, ZONES, zoneName } from "./time.js";
import { Ticket } from "./ticket.js";
import { keyOf } from "./topics.js";
import { accountsView } from "./views/accounts.js";
import { Coverage } from "./views/coverage.js";
import { Equity } from "./views/equity.js";
import { fillsView } from "./views/fills.js";
import { healthView } from "./views/health.js";
import { Market } from "./views/market.js";
import { ordersView } from "./views/orders.js";
import { planView } from "./views/plan.js";
import { plansView } from "./views/plans.js";
import { positionsView } from "./views/positions.js";
import { Wire } from "./wire.js";

const CHECK_MS = 250; // a lost page is grey within 3 s
const AGES_MS = 1000;
const SPEAK_MS = 5000;
const LATE_BEATS = 3;
const LETTERS = {
  ...{ a: "accounts", p: "positions", o: "orders", f: "fills" },
  ...{ m: "market", e: "equity", c: "coverage", h: "health", t: "plans" },
};

const byId = (id) => document.getElementById(id);
const main = byId("main");
const filter = byId("filter");
const model = new Model();
const range = new Range();
const days = new Days(model, () => schedule());
const older = new Older(model, range, () => schedule());
const makers = [accountsView, positionsView, ordersView, fillsView, healthView, plansView, planView];
const views = makers.map((make) => make(model, { days, older }));
const keys = new Keys();
const grids = new Map();
let grid = null; // the one that is shown
let screenLagMs = null;
let note = null; // {text, until}: what the last key did

const on = { changed: () => grid?.shownAt && (writeAddress(), schedule()), schedule: () => schedule(), lead: (to) => lead(to) };
const pictures = [Market, Equity, Coverage].map((Made) => new Made(model, range, on));

for (const view of views) {
  const made = new Grid(view, model, range, { changed: () => made === grid && (writeAddress(), schedule()) });
  grids.set(view.name, made);
}
for (const picture of pictures) grids.set(picture.view.name, picture);

/** The plan whose orders are shown; null in other views. */
const shownPlan = () => (grid?.view.name === "plan" && /(?:^|\s)plan:([0-9A-Z]{11})(?:\s|$)/.exec(grid.filterText)?.[1]) || null;
const ticket = new Ticket(model, { lead: on.lead, schedule: on.schedule, focus: () => grid.table.root.focus(), shown: shownPlan });
const halt = new Halt(model, on.schedule);
grids.get("plans").panel = ticket.list;
grids.get("plan").panel = ticket.one;
for (const made of grids.values()) {
  const parts = [...(made.panel ? [made.panel] : []), made.table.root, ...(made.view.beside ?? [])];
  made.place = element("section", `view ${made.view.name}${made.panel ? " paneled" : ""}`, ...parts);
  made.place.hidden = true;
  main.append(made.place);
}
const pane = new Pane(model, { schedule: () => schedule(), close: () => closeDetail() });
const head = new Head(byId("head"), Object.values(LETTERS).map((name) => grids.get(name).view), model, [halt.root]);

// The connection.

const wire = new Wire(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`, {
  wanted: () => ({
    epoch: model.epoch,
    sub: Object.fromEntries(wantedTopics().map((name) => [name, model.topics[name].number])),
    plan: shownPlan(),
  }),
  painted() {
    const numbers = { now: model.beatNumber };
    for (const name of wantedTopics())
      if (model.topics[name].number !== null) numbers[name] = model.topics[name].number;
    return numbers;
  },
  open() {
    model.heartbeat.connected();
    if (document.hidden) wire.send({ hidden: true });
  },
  lost(why) {
    model.lose(why);
    check();
    schedule();
  },
  refused() {
    forgetKey();
    ask("The session has ended.");
  },
  message(parts) {
    const misfits = model.take(parts.filter(({ t }) => t !== "fills" || !range.isPast));
    if (misfits.length) {
      for (const name of misfits) model.topics[name].restart();
      wire.subscribe();
    }
    check();
    if (model.heartbeat.late >= LATE_BEATS) wire.close(0, "too far behind the terminal"); // a new one has no queue
    if (document.hidden) wire.acknowledge();
    else schedule();
  },
});

const wantedTopics = () =>
  ["freshness", ...(grid?.view.topics ?? [])].filter((name) => name !== "fills" || !range.isPast);

function subscribe() {
  const wanted = wantedTopics();
  for (const [name, topic] of Object.entries(model.topics)) if (!wanted.includes(name)) topic.leave();
  wire.subscribe();
}

// Painting.

let scheduled = false;
let acknowledged = true;
let newsAt = -Infinity; // when rows that came were painted
let newsVersion = 0;
let sumsTimer = null;

/** Paint with the next frame; a view with a pace of its own (the tape) takes rows in no more often than that. */
function schedule() {
  acknowledged = false;
  if (scheduled) return;
  scheduled = true;
  const wait = newsAt + (grid?.view.every ?? 0) - performance.now();
  if (wait > 0) setTimeout(() => requestAnimationFrame(paint), wait);
  else requestAnimationFrame(paint);
}

function paint() {
  scheduled = false;
  if (document.hidden) { // when it is visible again, all is painted at once
    if (!acknowledged) wire.acknowledge();
    acknowledged = true;
    return;
  }
  if (grid) {
    if (grid.view.name === "accounts") days.refresh();
    if (grid.view.name === "fills") readOlder();
    grid.refresh();
    const { version } = grid.view.topic;
    if (version !== newsVersion) [newsVersion, newsAt] = [version, performance.now()];
    grid.paint();
    paintPane();
    paintTotals();
    paintNotes();
    ticket.paint();
  }
  halt.paint();
  clearTimeout(sumsTimer);
  if (grid?.outdated) sumsTimer = setTimeout(schedule, SUMS_MS);
  head.paint(screenLagMs, grid?.worth ?? null);
  if (acknowledged) return;
  acknowledged = true;
  setTimeout(() => {
    // after the frame is on the screen
    if (model.at !== null && model.now() !== null) screenLagMs = (model.now() - model.at) / 1000;
    model.at = null;
    wire.acknowledge();
  });
}

/** The tape shows the newest fills, or those of a time of the past: then the page is not subscribed to it. */
function readOlder() {
  if (!older.refresh(grid.filterText)) return;
  grid.refresh(true);
  wire.subscribe();
}

function paintPane() {
  const isShown = grid.isDetailed === true;
  if (isShown && pane.root.parentNode !== grid.place) grid.place.append(pane.root);
  if (!isShown && pane.root.parentNode) pane.root.remove();
  if (isShown) pane.show(grid.wanted(), grid.truthOfCursor());
}

function closeDetail() {
  const hadFocus = pane.root.contains(document.activeElement);
  grid.closeDetail();
  paintPane();
  if (hadFocus) grid.table.root.focus({ preventScroll: true });
}

function paintTotals() {
  const parts = grid.footer;
  const root = byId("totals");
  while (root.children.length > parts.length) root.lastChild.remove();
  parts.forEach((part, index) => {
    let node = root.children[index];
    if (!node) {
      node = element("span", "part", element("span", "label"), element("b"));
      root.append(node);
    }
    const first = part.apart && !parts[index - 1]?.apart;
    const name = `part ${part.tone ?? ""}${first ? " apart" : ""}`;
    set(node, { className: name, title: part.exact ?? "" });
    setText(node.firstChild, part.label ? `${part.label} ` : "");
    setText(node.lastChild, part.text);
    if (!part.name) delete node.dataset.name;
    else if (node.dataset.name !== part.name) node.dataset.name = part.name;
  });
}

function paintNotes() {
  const total = grid.view.topic.rows.size;
  const shown = grid.rows.length;
  const parts = [];
  if (grid.filter.error) parts.push(element("span", "wrong", `not applied: ${grid.filter.error}`));
  else if (!grid.filter.empty) parts.push(element("span", "", `${shown} of ${total}`));
  if (grid.hold.held())
    parts.push(element("span", "", grid.waiting ? `order held, +${grid.waiting} more` : "order held"));
  if (grid.range?.isPast && grid.view.inTime)
    parts.push(element("span", "attention", `${grid.range.words(model.now() ?? 0)} ${zoneName(model.now() ?? 0)}; Esc: now`));
  if (grid.sort) parts.push(element("span", "", `by ${grid.sort.column}; w: worst first`));
  if (keys.pending) parts.push(element("span", "attention", `${keys.pending} \u2026`));
  if (note && performance.now() < note.until) parts.push(element("span", "", note.text));
  const text = parts.map((part) => part.textContent).join("\u0000");
  if (byId("notes").dataset.text === text) return;
  byId("notes").dataset.text = text;
  byId("notes").replaceChildren(...parts);
  filter.setAttribute("aria-invalid", grid.filter.error !== null);
}

function say(text) {
  note = { text, until: performance.now() + 2000 };
  schedule();
}

// Truth: looked at four times a second, and with each message.

let barText = null;
let broken = false;
let spokenAt = -Infinity;
let troubled = null;

/** After an error of our own the screen may be half painted: nothing of it is shown any more. */
function fail(message) {
  if (message.startsWith("ResizeObserver loop")) return; // says only that a size is reported a frame later
  broken = true;
  document.documentElement.classList.add("broken");
  byId("bars").replaceChildren(element("p", "red", `This page has failed: ${visible(message)}. Load it again.`));
  document.title = "\u2715 failed \u00b7 okxsync";
}

addEventListener("error", ({ message }) => fail(message));
addEventListener("unhandledrejection", ({ reason }) => fail(String(reason)));

function check() {
  if (broken) return;
  const changed = model.check();
  const shown = bars(model);
  const text = JSON.stringify(shown);
  if (text !== barText) {
    barText = text;
    byId("bars").replaceChildren(...shown.map(({ kind, text: line }) => element("p", kind, line)));
  }
  const lost = model.truth.best() !== "live";
  document.documentElement.classList.toggle("lost", lost);
  entitle();
  if (changed) paint(); // at once: a page that is lost may get no frame
}

/** The tab says how many accounts are in trouble. */
function entitle() {
  const { lost, daemonStale } = model.truth;
  const accounts = model.head?.accounts ?? {};
  const trouble = (accounts.stale ?? 0) + (accounts.never ?? 0) + (accounts.unproved ?? 0);
  const title = lost
    ? "\u2715 lost \u00b7 okxsync"
    : daemonStale
      ? "\u2715 stale \u00b7 okxsync"
      : trouble
        ? `\u25b2 ${trouble} \u00b7 okxsync`
        : "okxsync";
  if (document.title !== title) document.title = title;
  const name = lost || daemonStale ? "lost" : trouble ? "trouble" : "well";
  const icon = new URL(`icons/${name}.svg`, import.meta.url).href;
  if (byId("icon").getAttribute("href") !== icon) byId("icon").setAttribute("href", icon);
  alarm.look(lost || daemonStale ? Infinity : trouble, title);
  const gaps = model.head?.gaps[0] ?? 0;
  const words = lost
    ? "Connection lost"
    : daemonStale
      ? "Everything is stale"
      : `${trouble || "No"} account${trouble === 1 ? "" : "s"} in trouble${gaps ? `, ${gaps} open gap${gaps === 1 ? "" : "s"}` : ""}`;
  if (words !== troubled && performance.now() - spokenAt > SPEAK_MS) {
    troubled = words;
    spokenAt = performance.now();
    setText(byId("spoken"), words);
  }
}

// What the reader has chosen.

const UP = { "green up": "green", "red up": "red" };
const settings = new Settings((id, value) => {
  if (id === "rows") {
    document.documentElement.style.setProperty("--row", value.replace(" ", ""));
    for (const { table } of grids.values()) table.setRowHeight(parseInt(value, 10));
  }
  if (id === "colours") document.documentElement.dataset.colours = UP[value] ?? "";
  schedule();
});
const alarm = new Alarm(settings);
settings.restore();

async function choose(id, value) {
  settings.set(id, value);
  if (id === "sound" && value === "sound on") alarm.play(); // a browser allows sound after a key or a click only
  if (value !== "notification on" || (await mayNotify())) return say(value);
  settings.set(id, "notification off");
  return say("the browser does not let this page notify");
}

setInterval(check, CHECK_MS);
setInterval(() => document.hidden || schedule(), AGES_MS); // ages grow without any traffic
document.addEventListener("visibilitychange", () => {
  wire.send({ hidden: document.hidden });
  check();
  if (!document.hidden) paint();
});

// The address.

const addressOf = (key) => key.replaceAll("\u0000", "/").replaceAll("\u0001", "");

function stateOf(shown) {
  return {
    view: shown.view.name,
    filter: shown.filterText,
    sort: shown.sort,
    by: shown.view.groupOnDemand ? shown.by : null,
    row: shown.table.cursor === null ? null : addressOf(shown.table.cursor),
    open: [...shown.open],
    chosen: [...shown.chosen].map(addressOf),
    range: shown.range?.span,
    end: shown.range?.end,
    detail: shown.isDetailed ? "1" : null,
  };
}

const link = new Link((change) => setFilter(change(grid.filterText)));
document.documentElement.dataset.link = link.colour;

function writeAddress() {
  const address = formatAddress(stateOf(grid));
  if (location.hash !== address) history.replaceState(null, "", address);
  link.tell(grid.filterText);
}

function readAddress() {
  const wanted = parseAddress(location.hash);
  const next = grids.get(wanted.view) ?? grids.get("accounts");
  const other = next !== grid;
  const plan = shownPlan();
  if (grid && other) grid.place.hidden = true;
  grid = next;
  grid.place.hidden = false;
  grid.shownAt = performance.now();
  grid.open = new Set(wanted.open);
  grid.chosen = new Set(wanted.chosen.map((row) => keyOf(...row.split("/"))));
  grid.sort = wanted.sort && grid.view.columns.some(({ id }) => id === wanted.sort.column) ? wanted.sort : null;
  if (grid.view.groupOnDemand) grid.by = wanted.by;
  grid.range?.set(wanted.range, wanted.end);
  if (grid.isDetailed !== undefined) grid.isDetailed = wanted.detail;
  grid.setFilter(wanted.filter);
  link.tell(wanted.filter);
  filter.value = wanted.filter;
  if (wanted.row) grid.table.cursor = keyOf(...wanted.row.split("/"));
  grid.table.paintHead(grid.sort, null);
  head.select(grid.view.under ?? grid.view.name);
  if (other || plan !== shownPlan()) subscribe();
  grid.refresh(true);
  paint();
  if (!document.querySelector("dialog[open]")) grid.table.root.focus({ preventScroll: true });
}

/** Show another address at once, so that the next key is for the view that it leads to. */
function lead(address) {
  if (location.hash !== address) history.pushState(null, "", address);
  readAddress();
}

const go = (view) => lead(formatAddress(stateOf(grids.get(view))));
addEventListener("hashchange", () => enterByAddress() || readAddress());

// Hands.

function setFilter(text) {
  if (filter.value !== text) filter.value = text;
  const plan = shownPlan();
  grid.setFilter(text);
  if (plan !== shownPlan()) subscribe();
  grid.refresh(true);
  writeAddress();
  paint();
}
filter.addEventListener("input", () => setFilter(filter.value));
filter.addEventListener("keydown", ({ key }) => {
  if (key === "Escape") setFilter("");
  if (key === "Enter" || key === "Escape") grid.table.root.focus();
});

/** Column id -> the letter that sorts by it: the first one of its name that is free. */
function sortLetters() {
  const letters = {};
  const taken = new Set();
  for (const { id, head: heading } of grid.table.columns) {
    if (!heading) continue;
    const letter = [...id.replace(/[^a-z]/g, ""), ..."abcdefghijklmnopqrstuvwxyz"].find((one) => !taken.has(one));
    taken.add(letter);
    letters[id] = letter;
  }
  return letters;
}

/** Copy the exact value under the cursor, or whole rows: those that are selected, or the cursor's. */
async function copy(whole) {
  const cursor = grid.cursorIndex() < 0 ? null : grid.item(grid.table.cursor);
  const items = whole && grid.chosen.size ? grid.chosenItems() : [cursor].filter(Boolean);
  if (!items.length) return;
  const { columns, cursorColumn } = grid.table;
  const plain = (column, item) => String(column.value(item) ?? "");
  const cell = (item) => (column) => (column.right ? plain(column, item) : inSheet(plain(column, item)));
  const text = whole
    ? items.map((item) => columns.map(cell(item)).join("\t")).join("\n")
    : plain(columns[cursorColumn], cursor);
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    say("the browser does not let this page copy");
    return;
  }
  say(whole ? `copied ${items.length} row${items.length === 1 ? "" : "s"}` : `copied ${visible(text)}`);
}

const command = new CommandBox(byId("command"), {
  go,
  names() {
    const { freshness, instruments, positions, orders } = model.topics;
    const names = new Set([...freshness.rows.values()].map((row) => row[0]));
    const ids = new Set([...instruments.rows.values()].map((row) => row[1]));
    for (const topic of [positions, orders]) for (const row of topic.rows.values()) ids.add(row[topic.at.inst_id]);
    return { views: [...grids.keys()].filter((name) => !grids.get(name).view.under), accounts: [...names], instruments: [...ids] };
  },
  lead,
  view: () => grid.view.name,
  settings: () => SETTINGS.flatMap(({ id, values }) => values.map((value) => [value, () => choose(id, value)])),
});

keys.prefix("g", (letter) => LETTERS[letter] && go(LETTERS[letter]));
keys.prefix("p", (letter) => ticket.key(letter));
keys.prefix("H", (letter) => letter === "H" && halt.halt());
keys.prefix("s", (letter) => {
  const id = Object.entries(sortLetters()).find(([, own]) => own === letter)?.[0];
  if (id) grid.sortBy(grid.view.columns.find((column) => column.id === id));
});
keys.onPending = (name) => {
  grid.table.paintHead(grid.sort, name === "s" ? sortLetters() : null);
  schedule();
};
keys.on("j down", () => grid.move(1));
keys.on("k up", () => grid.move(-1));
keys.on("l right", () => grid.moveColumn(1));
keys.on("h left", () => grid.moveColumn(-1));
keys.on("pagedown", () => grid.move(grid.table.visibleRows() - 1));
keys.on("pageup", () => grid.move(1 - grid.table.visibleRows()));
keys.on("home", () => grid.moveTo(0));
keys.on("end", () => grid.moveTo(grid.count() - 1));
const led = () => (grid.view.leads && grid.cursorIndex() >= 0 ? grid.view.leads(grid.item(grid.table.cursor)) : null);
keys.on("enter", () => (led() ? lead(led()) : grid.enter()));
keys.on("space", () => (led() ? lead(led()) : grid.toggle()));
keys.on("o", () => {
  const item = grid.cursorIndex() < 0 ? null : grid.item(grid.table.cursor);
  const to = item && grid.table.columns[grid.table.cursorColumn].href?.(item);
  if (to) lead(to);
});
keys.on("e", () => {
  const sheet = model.now() === null ? null : grid.sheet();
  if (sheet === null) return say("nothing to export yet");
  say(`${sheet.rows} rows in ${save(grid.view.name, model.now(), sheet.text)}`);
});
keys.on("X", () => grid.toggle(true));
keys.on("x", () => grid.choose());
keys.on("i", () => grid.groupBy());
keys.on("w", () => {
  grid.sort = null;
  grid.resort();
});
keys.on("y", () => copy(false));
keys.on("Y", () => copy(true));
keys.on("z", () => {
  setZone(ZONES[(ZONES.indexOf(currentZone()) + 1) % ZONES.length]);
  localStorage.setItem("okxsync.zone", currentZone());
  for (const { table, sort } of grids.values()) table.paintHead(sort, null);
  say(
    `times in ${currentZone() === "local" ? `local time, ${zoneName(model.now() ?? Date.now() * 1000)}` : currentZone()}`,
  );
});
keys.on("/", () => {
  filter.focus();
  filter.select();
});
keys.on(":", () => command.open());
keys.on("n", () => {
  link.turn();
  document.documentElement.dataset.link = link.colour;
  say(link.colour ? `this tab follows the ${link.colour} ones` : "this tab follows none");
});
for (const [names, what] of [
  ["bracketleft", "earlier"],
  ["bracketright", "later"],
  ["equal add", "shorter"],
  ["minus subtract", "longer"],
  ["t", "table"],
])
  keys.on(names, () => grid.act?.(what));
keys.on("c", () => grid.layout && showColumns(byId("columns"), grid.layout, element, () => grid.arrange()));
keys.on("comma", () => showSettings(byId("settings"), settings, choose));
keys.on("?", () => showHelp(byId("help")));
keys.on("escape", () => {
  if (grid.isDetailed) closeDetail();
  else if (grid.view.under) go(grid.view.under);
  else if (filter.value) setFilter("");
  else if (grid.chosen.size) grid.choose(false);
  else if (grid.view.inTime && grid.range.isPast) {
    grid.range.end = null;
    grid.refresh(true);
    writeAddress();
  } else grid.leave();
});

document.addEventListener("keydown", (event) => {
  if (!grid || document.querySelector("dialog[open]") || !byId("login").hidden) return;
  if (!keys.press(event)) return;
  event.preventDefault();
  grid.hold.key();
  schedule();
});

byId("hints").append(
  ...[
    ["j k", "move"],
    ["g", "go"],
    ["s", "sort"],
    [":", "command"],
    ["?", "all keys"],
  ].map(([key, does]) => {
    const hint = element("span", "", element("kbd", "", key), ` ${does}`);
    return hint;
  }),
);

// The start.

/** Log in with the token of the address, if there is one. */
function enterByAddress() {
  const token = tokenOfAddress();
  if (token === null) return false;
  readAddress();
  logIn(token).then(({ key, error }) => {
    if (error) return ask(error);
    byId("login").hidden = true;
    return wire.start(key);
  });
  return true;
}

const ask = (why) => askForToken(byId("login"), why, (key) => wire.start(key));

setZone(localStorage.getItem("okxsync.zone") ?? "UTC");
check();
if (!enterByAddress()) {
  readAddress();
  if (savedKey()) wire.start(savedKey());
  else ask(null);
}
