// The line on top: the daemon, connections, open gaps, lags, and what the live accounts are worth.

import { element, set, setText, visible } from "./text.js";
import { add, exact, parse, show } from "./decimals.js";
import { age, clock, currentZone, date, moment, zoneName } from "./time.js";
import { WORDS } from "./truth.js";

const WORTH = { cut: 2, fill: 2 };

export class Head {
  /** `more`: what stands at its end. */
  constructor(root, views, model, more = []) {
    this.model = model;
    this.parts = []; // what was painted last
    this.links = views.map(({ name, title }) => {
      const link = element("a", "", title);
      link.href = `#${name}`;
      return [name, link];
    });
    const fact = (label, name, unit = "") => {
      const value = element("b");
      const before = document.createTextNode(label ? `${label} ` : "");
      const after = document.createTextNode(unit);
      const node = element("span", name, before, value, after);
      node.id = `fact-${name}`;
      return { node, value, after };
    };
    this.daemon = fact("daemon", "daemon");
    this.connections = fact("", "connections", " connections");
    this.gaps = fact("\u25b2", "gaps");
    this.store = fact("store", "store");
    this.screen = fact("screen", "screen");
    this.equity = fact("equity", "equity");
    this.upl = fact("uPnL", "upl");
    this.counted = fact("", "counted");
    this.time = fact("", "time");
    this.store.node.classList.add("optional");
    this.screen.node.classList.add("optional");
    const nav = element("nav", "", ...this.links.map(([, link]) => link));
    nav.setAttribute("aria-label", "Views");
    root.replaceChildren(
      element("span", "brand", "okxsync"),
      (this.tag = element("span", "tag", "READ ONLY")),
      nav,
      element(
        "div",
        "facts",
        ...[this.daemon, this.connections, this.gaps, this.store, this.screen].map(({ node }) => node),
      ),
      element("div", "facts money", ...[this.equity, this.upl, this.counted, this.time].map(({ node }) => node)),
      ...more,
    );
  }

  select(view) {
    for (const [name, link] of this.links) {
      if (name === view) {
        link.setAttribute("aria-current", "page");
        link.scrollIntoView({ block: "nearest", inline: "nearest" }); // on a phone they do not fit
      } else link.removeAttribute("aria-current");
    }
  }

  set({ node, value, after }, text, unit, tone = "", title = "") {
    setText(value, text);
    if (after.data !== unit) after.data = unit;
    set(node, { className: `${node.id.slice("fact-".length)} ${tone}`, title });
  }

  /** `worth`: the totals of all accounts, where the rows that they are made of are shown; otherwise the heartbeat's. */
  paint(screenLagMs, worth) {
    const { model } = this;
    const { daemon, head, truth } = model;
    const now = model.now();
    const parts = [model.beatNumber, model.changes, worth, currentZone(), Math.floor(now / 1e6)];
    if (parts.every((part, at) => part === this.parts[at])) return;
    this.parts = parts;
    setText(this.tag, model.trade ? "TRADING" : "READ ONLY");
    if (now === null || !head) {
      for (const fact of [this.daemon, this.connections, this.equity, this.upl]) this.set(fact, "-", "");
      return;
    }
    const best = truth.best();
    const well = best === "live";
    this.paintDaemon(daemon, now);
    const connectionsTone = head.live < head.all ? "attention" : "";
    this.set(
      this.connections,
      well ? `${head.live}/${head.all}` : `-/${head.all}`,
      " connections",
      connectionsTone,
      well ? "WebSocket connections that are live, of all" : "not known now",
    );
    const [gaps, seconds, since] = head.gaps;
    set(this.gaps.node, { hidden: gaps === 0 });
    this.set(
      this.gaps,
      `${gaps} gap${gaps === 1 ? "" : "s"}`,
      since === null ? "" : ` ${age(now - since)}`,
      "attention",
      `${gaps} open, ${Math.floor(seconds)} s together when last counted; the first began at ${since === null ? "-" : moment(since, now)}`,
    );
    const lag = daemon?.store_lag_us;
    this.set(
      this.store,
      lag === null || lag === undefined || !well ? "-" : String(Math.round(lag / 1000)),
      " ms",
      "optional",
      "from a message received to its row in the database",
    );
    this.set(
      this.screen,
      screenLagMs === null || !well ? "-" : String(Math.round(screenLagMs)),
      " ms",
      "optional",
      "from a row in the database to this screen",
    );
    this.paintWorth(well, now, worth ?? head);
    this.set(this.time, `${date(now)} ${clock(now)}`, ` ${zoneName(now)}`);
  }

  paintDaemon(daemon, now) {
    const { model } = this;
    const beat = daemon?.heartbeat_at ?? null;
    if (model.truth.lost || model.error) this.set(this.daemon, "not known", "", "wrong", "");
    else if (daemon.state === "running" && !model.truth.daemonStale)
      this.set(this.daemon, WORDS.live, ` ${age(now - beat)}`, "", `version ${daemon.version}`);
    else if (daemon.state === "running") this.set(this.daemon, "SILENT", ` ${age(now - beat)}`, "attention", "");
    else this.set(this.daemon, visible(daemon.state.replace("_", " ")), "", "attention", daemon.reason ?? "");
  }

  /** The sums are of the live accounts only, and say of how many. If nothing is live, they are what was last known. */
  paintWorth(well, now, { equity, upl }) {
    const never = equity.never ?? 0;
    const all = equity.live[0] + equity.unproved[0] + equity.stale[0] + never;
    const tone = well ? "" : "state-stale";
    const rest = ["unproved", "stale"]
      .filter((state) => equity[state][0])
      .map(
        (state) =>
          `${state} ${equity[state][0]}: ${equity[state][1] ?? "-"} USD as of ${age(now - (equity[state][2] ?? now))}`,
      );
    if (never) rest.push(`never ${never}: not counted`);
    const first = equity.live[0] && `${well ? "live" : "last known of"} ${equity.live[0]}: ${equity.live[1] ?? "-"} USD`;
    const title = [first, ...rest].filter(Boolean).join("\n");
    const shown = (total) => (well ? (total.live[0] ? total.live[1] : null) : sumOf(total));
    this.set(this.equity, show(shown(equity), WORTH), "", tone, title);
    this.set(this.upl, show(shown(upl), { ...WORTH, gain: true }), "", tone, title);
    this.set(
      this.counted,
      well ? `${equity.live[0]} of ${all}` : `0 of ${all}`,
      " accounts",
      equity.live[0] < all || !well ? "attention" : "",
      title,
    );
  }
}

/** Return the sum of all that is or was known; null if nothing is, or if a part is no number. */
function sumOf(total) {
  const parts = ["live", "unproved", "stale"].map((state) => total[state]).filter(([count]) => count);
  if (!parts.length || parts.some(([, sum]) => sum === null)) return null;
  return exact(parts.map(([, sum]) => parse(sum)).reduce(add));
}

/** Return the bars [{kind, text}] over everything: what is wrong, and as of when what follows is. */
export function bars(model) {
  const { lost, daemonStale } = model.truth;
  const now = model.now();
  if (lost) {
    if (lost.since === null) return [{ kind: "red", text: `No connection to the terminal: ${lost.why}.` }];
    return [
      {
        kind: "red",
        text: `Connection lost: ${lost.why}. What follows is as of ${moment(lost.since, now)} ${zoneName(now)}, ${age(now - lost.since)} ago.`,
      },
    ];
  }
  const { error, daemon } = model;
  const asOf = (us) => (us ? ` What follows is as of ${moment(us, now)} ${zoneName(now)}, ${age(now - us)} ago.` : "");
  if (error) return [{ kind: "red", text: `${visible(error.text)}.`.replace("..", ".") + asOf(error.since) }];
  if (!daemon) return [{ kind: "amber", text: "The database is being read." }];
  if (!daemonStale) return [];
  const beat = daemon.heartbeat_at;
  const reason = daemon.reason ? `: ${visible(daemon.reason)}` : "";
  switch (daemon.state) {
    case "running":
      return [{ kind: "amber", text: `The daemon is silent.${asOf(beat)}` }];
    case "not_storing":
      return [{ kind: "amber", text: `The daemon cannot store${reason}.${asOf(beat)}` }];
    case "stopped": {
      const { stopped_at: at, exit } = daemon;
      const how = at
        ? ` ${moment(at, now)}${exit === null || exit === undefined ? "" : ` (exit ${exit})`}`
        : " without notice";
      return [{ kind: "amber", text: `The daemon stopped${how}.${asOf(at ?? beat)}` }];
    }
    default:
      return [
        {
          kind: "amber",
          text: "No daemon has run on this database yet. Nothing is mirrored until `okxsync run` does.",
        },
      ];
  }
}
