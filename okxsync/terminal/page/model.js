// All that the page knows: the topics, the heartbeat, and what can be believed of them.

import { placesOf } from "./decimals.js";
import { Topic } from "./topics.js";
import { DAEMON_SILENCE_US, Heartbeat, Truth, worse } from "./truth.js";

/** Topic -> how many of its leading columns are the key. */
const WIDTHS = {
  ...{ accounts: 1, positions: 2, orders: 3, fills: 1, marks: 1, instruments: 2, freshness: 2 },
  ...{ connections: 1, journal: 1, plans: 1, plan_orders: 2, requests: 1 },
};

export class Model {
  constructor(heartbeat = new Heartbeat()) {
    this.heartbeat = heartbeat;
    this.topics = Object.fromEntries(Object.entries(WIDTHS).map(([name, width]) => [name, new Topic(name, width)]));
    this.truth = new Truth(this.topics.freshness);
    this.changes = 0; // grows whenever what can be believed changes
    this.beatNumber = null;
    this.epoch = null;
    this.daemon = null;
    this.head = null;
    this.health = null; // of the writer, the log, the disk and the terminal
    this.screens = [];
    this.counts = {}; // topic -> how many rows there are to read
    this.error = null;
    this.trade = null; // what can be traded from this page: {groups}; null: nothing
    this.halted = false;
    this.instruments = new Map(); // inst_id -> {row, places: {tick, lot}}, made on demand
    this.instrumentsVersion = -1;
    this.at = null; // the database's moment of the newest diff
  }

  /** Take a message in. Returns the topics whose diffs did not fit; these need a snapshot. */
  take(parts) {
    const misfits = [];
    for (const part of parts) {
      if (part.t === "now") this.beat(part);
      else if (part.t in this.topics && !this.topics[part.t].take(part)) misfits.push(part.t);
      if (part.at && part.t !== "now" && part.put?.length) this.at = part.at;
    }
    return misfits;
  }

  beat(part) {
    this.heartbeat.beat(part.at);
    this.beatNumber = part.n;
    this.epoch = part.epoch;
    this.daemon = part.daemon;
    this.head = part.head;
    this.health = part.health ?? null;
    this.screens = part.screens ?? [];
    this.counts = part.rows ?? {};
    this.error = part.error ?? null;
    this.trade = part.trade ?? null;
    this.halted = part.halted === true;
  }

  lose(why) {
    this.heartbeat.lose(why);
    for (const topic of Object.values(this.topics)) topic.leave();
    this.changes += 1;
  }

  /** Look at the clocks. Returns whether what can be believed has changed. */
  check() {
    const lost = this.heartbeat.check();
    const stale = this.daemonSilentSince() !== null;
    const changed = (lost === null) !== (this.truth.lost === null) || stale !== this.truth.daemonStale;
    if (changed) this.changes += 1;
    this.truth.lost = lost;
    this.truth.daemonStale = stale;
    return changed;
  }

  /** Return since when nothing can be live because of the daemon or its database; null if it is well. */
  daemonSilentSince() {
    if (this.error) return this.error.since ?? 0;
    if (!this.daemon) return 0;
    const { state, heartbeat_at: heartbeatAt, stopped_at: stoppedAt } = this.daemon;
    if (state !== "running") return stoppedAt ?? heartbeatAt ?? 0;
    return heartbeatAt === null || this.now() - heartbeatAt > DAEMON_SILENCE_US ? (heartbeatAt ?? 0) : null;
  }

  now() {
    return this.heartbeat.now();
  }

  /** Return the age of a moment; null for an absent one. */
  age(us) {
    const now = this.now();
    return us === null || us === undefined || now === null ? null : now - us;
  }

  /** Return {tick, lot, row}: decimal places of prices and sizes of an instrument, undefined where not known. */
  instrument(instId, instType) {
    const topic = this.topics.instruments;
    if (this.instrumentsVersion !== topic.version) {
      this.instruments.clear();
      this.instrumentsVersion = topic.version;
    }
    const key = `${instType}/${instId}`;
    let found = this.instruments.get(key);
    if (!found) {
      const row = topic.get(instType, instId);
      const field = (name) => row?.[topic.at[name]];
      found = { row, field, tick: placesOf(field("tick_sz")), lot: placesOf(field("lot_sz")) };
      this.instruments.set(key, found);
    }
    return found;
  }

  /** Return {px, state, until} of the mark price that is pushed for an instrument; null where none is mirrored. */
  mark(instId) {
    const topic = this.topics.marks;
    const row = topic.get(instId);
    if (!row) return null;
    const ceiling = topic.current ? this.truth.best() : "stale";
    return {
      px: row[topic.at.mark_px],
      state: worse(row[topic.at.state], ceiling),
      until: row[topic.at.covered_until],
    };
  }
}
