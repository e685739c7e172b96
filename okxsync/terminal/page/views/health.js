// Health: every connection, and beside them the writer, the log, the disk, the screens and the journal.

import { ages, count, words } from "../columns.js";
import { show } from "../decimals.js";
import { LEVELS } from "../details.js";
import { element, setText, visible } from "../text.js";
import { age, date, full, moment } from "../time.js";
import { rank, WORDS, worse } from "../truth.js";
import { accountColumn, fieldsOf, leadTo, makeView } from "./view.js";

const MARKET = "market"; // the listener of public channels; it is no account

export function healthView(model) {
  const topic = model.topics.connections;
  const field = fieldsOf(topic);
  const listener = field("listener");

  /** A connection is proved by its last answered ping. */
  const rowTruth = (row) => {
    const own = field("phase")(row) === "live" ? "live" : field("last_message_at")(row) === null ? "never" : "stale";
    const ceiling = topic.current ? model.truth.best() : "stale";
    return { state: worse(own, ceiling), until: field("answered_at")(row), reason: field("last_error")(row) };
  };
  /** A connection that is not live is down, if that is known now. */
  const word = (row) => {
    const { state } = rowTruth(row);
    return state === "stale" && model.truth.best() === "live" ? "DOWN" : WORDS[state];
  };
  const isDown = (row) => (rank(rowTruth(row).state) >= rank("stale") ? 0 : 1);
  const milliseconds = (row) => {
    const us = field("rtt_us")(row);
    return us === null ? null : (us / 1000).toFixed(1);
  };
  const wait = (row) => {
    const left = (field("next_attempt_at")(row) ?? 0) - model.now();
    return field("phase")(row) !== "live" && left > 0 ? `in ${Math.ceil(left / 1e6)} s` : null;
  };

  const columns = [
    { ...accountColumn(listener, "positions"), href: (row) => (listener(row) === MARKET ? null : leadTo("accounts", "acct", listener(row))) },
    words("endpoint", "endpoint", 74, field("endpoint"), { dim: true }),
    {
      ...words("state", "state", 74, (row) => rowTruth(row).state),
      text: (row) => word(row),
      tone: (row) => (word(row) === "DOWN" ? "attention" : `state-${rowTruth(row).state}`),
    },
    words("phase", "phase", 92, field("phase"), {
      dim: true,
      text: (row) => (field("phase")(row) === "live" ? "" : visible(field("phase")(row))),
    }),
    ages("since", "since", 60, model, field("since_at")),
    ages("asof", "proved", 60, model, field("answered_at"), { tip: "the last answered ping" }),
    ages("heard", "last push", 66, model, field("last_message_at"), { tip: "the last message" }),
    count("rtt", "rtt ms", 58, milliseconds, { dim: true, tip: "round trip of the last ping" }),
    count("messages", "messages", 84, field("messages"), { text: (row) => show(String(field("messages")(row))), dim: true }),
    count("reconnects", "again", 50, field("reconnects"), { tone: (row) => (field("reconnects")(row) ? "" : "dim") }),
    count("channels", "channels", 62, field("channels"), { dim: true }),
    words("next", "next try", 70, wait, { blank: true, search: false }),
    words("error", "last error", 220, field("last_error"), { grow: true, blank: true, tone: (row) => (isDown(row) ? "dim" : "attention") }),
  ];

  const beside = new Beside(model);
  const view = makeView(model, {
    name: "health",
    of: "connections",
    title: "Health",
    nouns: "connections",
    channels: [],
    others: ["journal"],
    narrow: { account: 110, state: 80, asof: 80, reconnects: 80 },
    columns,
    rowTruth,
    changed: () => null,
    times: (row) => ({ received: field("last_message_at")(row) }),
    rules: [
      { value: isDown },
      { value: (row) => (field("last_error")(row) ? 0 : 1) },
      { value: (row) => (isDown(row) ? 0 : field("since_at")(row)) },
      { value: listener },
      { value: field("endpoint") },
    ],
    detail: (row) =>
      listener(row) === MARKET ? null : { kind: "account", given: { account: listener(row) }, title: listener(row) },
    footer(rows) {
      const states = { live: 0, stale: 0, never: 0, unproved: 0 };
      for (const row of rows) states[rowTruth(row).state] += 1;
      return [
        { text: `${states.live ? `live ${states.live} of ` : ""}${rows.length} connections`, tone: states.live ? "state-live" : "" },
        ...(states.stale ? [{ text: `${model.truth.best() === "live" ? "down" : "stale"} ${states.stale}`, tone: "attention" }] : []),
        ...(states.never ? [{ text: `never ${states.never}`, tone: "of-never" }] : []),
      ];
    },
    coverage: () => [],
    nothing: () => ({ text: model.truth.best() === "live" ? "No connection yet." : "Not known now.", kind: "attention" }),
    beside: beside.nodes,
    paintBeside: (filter) => beside.paint(filter),
  });
  return view;
}

/** The facts and the journal. */
class Beside {
  constructor(model) {
    this.model = model;
    this.facts = element("dl");
    this.box = element("section", "healthfacts", element("h2", "", "Writer, log, disk, terminal"), this.facts);
    this.box.tabIndex = 0;
    this.box.dataset.scrolls = "";
    this.box.setAttribute("aria-label", "Writer, log, disk, terminal");
    this.caption = element("h2", "", "Journal, newest first");
    this.body = element("tbody");
    const head = ["time", "level", "account", "event", "detail", "means", "to do"];
    const table = element(
      "table",
      "",
      element("thead", "", element("tr", "", ...head.map((name) => element("th", "", name)))),
      this.body,
    );
    this.journal = element("section", "journal", this.caption, table);
    this.journal.tabIndex = 0;
    this.journal.dataset.scrolls = "";
    this.journal.setAttribute("aria-label", "Journal");
    this.values = new Map();
    this.nodes = [this.box, this.journal];
  }

  paint(filter) {
    const { model } = this;
    this.paintFacts(model.now());
    const topic = model.topics.journal;
    const key = JSON.stringify([topic.version, date(model.now() ?? 0), filter.account === this.accepts]);
    if (key === this.painted || model.now() === null) return;
    this.painted = key;
    this.accepts = filter.account;
    const field = fieldsOf(topic);
    const rows = [...topic.rows.values()].filter((row) => filter.account(field("account")(row) ?? "")).sort((a, b) => b[0] - a[0]);
    setText(this.caption, rows.length ? `Journal, the newest ${rows.length}` : "Journal: nothing");
    this.body.replaceChildren(...rows.map((row) => this.entry(row, field)));
  }

  entry(row, field) {
    const [at, level, account] = [field("at")(row), field("level")(row), field("account")(row)];
    const cells = [moment(at, this.model.now()), level, account ?? "-", ...["event", "detail", "meaning", "remedy"].map((name) => field(name)(row) ?? "-")];
    const made = cells.map((text, index) => element("td", index === 1 ? (LEVELS[level] ?? "dim") : index > 4 ? "dim" : "", visible(text)));
    made[0].title = full(at);
    if (account && account !== MARKET) {
      const link = element("a", "", ...made[2].childNodes);
      link.href = leadTo("accounts", "acct", account);
      made[2].append(link);
    }
    return element("tr", "", ...made);
  }

  paintFacts(now) {
    const { health: known, daemon, screens } = this.model;
    const best = this.model.truth.best();
    const whole = (name) => (known?.[name] === null || known?.[name] === undefined ? "-" : show(String(known[name])));
    const size = (name) => bytes(known?.[name]);
    const since = known?.log_since;
    const free = known?.free_bytes ?? Infinity; // a database server does not say
    const lag = best === "live" && daemon ? daemon.store_lag_us : null;
    const rows = [
      ["daemon", daemon ? `version ${daemon.version ?? "-"}${daemon.started_at ? `, started ${moment(daemon.started_at, now)}` : ""}` : "-"],
      ["writer lag", lag === null || lag === undefined ? "-" : `${Math.round(lag / 1000)} ms`],
      ["writer queue", best === "live" ? `${whole("queue")} messages` : "-", known?.queue > 1000 ? "attention" : ""],
      ["writer errors", whole("errors"), known?.errors ? "attention" : ""],
      ["rows written", whole("rows")],
      ["log", `${whole("messages")} frames, ${size("bytes")} of ${size("bytes_received")} received`],
      ["log since", since ? `${moment(since, now)} (${age(now - since)})` : "-"],
      ["database", size("database_bytes")],
      ["write-ahead log", size("wal_bytes")],
      ["disk free", size("free_bytes"), free < 2e9 ? "wrong" : free < 10e9 ? "attention" : ""],
      ["screens", `${screens.length}: ${screens.map((us) => (us === null ? "hidden" : `${Math.round(us / 1000)} ms`)).join(", ")}`],
      ["terminal reads", known ? `${known.turns_s} a second, ${(known.turn_us / 1000).toFixed(1)} ms each` : "-"],
    ];
    for (const [name, text, tone = ""] of rows) {
      if (!this.values.has(name)) {
        const value = element("dd");
        this.values.set(name, value);
        this.facts.append(element("dt", "", name), value);
      }
      const value = this.values.get(name);
      setText(value, visible(text));
      if (value.className !== tone) value.className = tone;
    }
  }
}

/** Return a size with one unit, cut. */
function bytes(size) {
  if (size === null || size === undefined) return "-";
  for (const [unit, power] of [["TB", 12], ["GB", 9], ["MB", 6], ["kB", 3]])
    if (size >= 10 ** power) return `${(Math.floor(size / 10 ** (power - 1)) / 10).toFixed(1)} ${unit}`;
  return `${size} bytes`;
}
