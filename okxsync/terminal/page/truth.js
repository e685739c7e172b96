// What can be believed. Every state word on the page comes from here, so that a page which has lost its server, or
// whose server has lost the daemon, has no "live" left anywhere.

import { age } from "./time.js";

/** From best to worst. */
export const STATES = ["live", "unproved", "stale", "never"];
export const rank = (state) => STATES.indexOf(state);
export const worse = (a, b) => (rank(a) >= rank(b) ? a : b);
export const WORDS = { live: "live", unproved: "unproved", stale: "STALE", never: "never" };

/** Two heartbeats, of one second each, and a margin for a busy machine. */
export const SILENCE_US = 2.5e6;
/** A daemon that has not written for longer is stale with all its accounts, though the terminal is well. */
export const DAEMON_SILENCE_US = 5e6;

/**
 * Watches the server's heartbeat.
 *
 * Both clocks of the browser are read. The monotonic one stands still while the machine sleeps, and the other one can
 * be set, so the longer time counts: an age is never too short. Their difference tells a sleep. Heartbeats that come in
 * time but tell an old one mean that the page reads from a queue, or that the server's clock stands still.
 */
export class Heartbeat {
  constructor(monotonicMs = () => performance.now(), wallMs = () => Date.now()) {
    this.monotonicMs = monotonicMs;
    this.wallMs = wallMs;
    this.at = null; // the server's time of the last heartbeat, in microseconds
    this.why = "not connected yet";
    this.read = null; // both clocks at the last heartbeat
    this.checked = null; // and at the last look at them
    this.first = null; // the heartbeat of this connection that came soonest
    this.late = 0; // how many heartbeats in a row came too late
  }

  elapsedUs(since) {
    return Math.max(this.monotonicMs() - since.monotonic, this.wallMs() - since.wall, 0) * 1000;
  }

  clocks() {
    return { monotonic: this.monotonicMs(), wall: this.wallMs() };
  }

  /** A new connection begins: there is no queue in it, and the server's clock may have been corrected. */
  connected() {
    this.first = null;
    this.late = 0;
  }

  beat(atUs) {
    const clocks = this.clocks();
    if (this.first === null) this.first = { ...clocks, at: atUs };
    const behind = (clocks.monotonic - this.first.monotonic) * 1000 - (atUs - this.first.at);
    if (behind < 0) this.first = { ...clocks, at: atUs }; // the fastest heartbeat is the measure of the others
    this.late = behind > SILENCE_US ? this.late + 1 : 0;
    this.why = this.late ? `this page is ${age(behind)} behind the terminal` : null;
    this.at = atUs;
    this.read = clocks;
    this.checked = clocks;
  }

  lose(why) {
    this.why ??= why;
  }

  /** Return null if the page is up to date, otherwise {since, why}. Called several times a second. */
  check() {
    if (this.at === null) return { since: null, why: this.why };
    const clocks = this.clocks();
    const slept = clocks.wall - this.checked.wall - (clocks.monotonic - this.checked.monotonic);
    this.checked = clocks;
    if (Math.abs(slept) * 1000 > SILENCE_US) this.lose("the clock of this machine jumped");
    if (this.elapsedUs(this.read) > SILENCE_US) this.lose("no heartbeat of the terminal");
    return this.why === null ? null : { since: this.at, why: this.why };
  }

  /** Return the server's time, in microseconds; null before the first heartbeat. */
  now() {
    return this.at === null ? null : this.at + this.elapsedUs(this.read);
  }
}

/**
 * Tells the state of rows.
 *
 * `freshness` is the topic with key (account, channel). `lost` is what the heartbeat said, `daemonStale` is true if
 * the daemon is stopped or silent, or its database cannot be read.
 */
export class Truth {
  constructor(freshness) {
    this.freshness = freshness;
    this.lost = { since: null, why: "not connected yet" };
    this.daemonStale = true;
  }

  /** Return the state in which anything at best is. */
  best() {
    return this.lost || this.daemonStale || !this.freshness.current ? "stale" : "live";
  }

  /** Return {state, until, reason} of the rows of a topic that hang on a channel of an account. */
  of(account, channel, topic) {
    const row = this.freshness.get(account, channel);
    if (!row) return { state: "never", until: null, reason: null };
    const { at } = this.freshness;
    const ceiling = topic.current ? this.best() : "stale";
    return { state: worse(row[at.state], ceiling), until: row[at.covered_until], reason: row[at.reason] };
  }

  /**
   * Return how many accounts are in each state, by the worst of some channels: {live, unproved, stale, never, all},
   * with the oldest `until` of the stale ones, and of all of them (`proved`).
   */
  summary(channels, topic, accepts = () => true) {
    const accounts = new Map();
    const { at } = this.freshness;
    for (const row of this.freshness.rows.values()) {
      if (!channels.includes(row[at.channel]) || !accepts(row[at.account])) continue;
      const found = this.of(row[at.account], row[at.channel], topic);
      const known = accounts.get(row[at.account]);
      accounts.set(row[at.account], known ? worst(known, found) : found);
    }
    return summarize(accounts.values());
  }
}

/** Return the worse of two states of a number that is made of both; its `until` is the older one. */
export function worst(a, b) {
  const [first, second] = rank(a.state) >= rank(b.state) ? [a, b] : [b, a];
  return { ...first, until: older(first.until, second.until) };
}

/** Return the older of two moments; an absent one does not count. */
export const older = (a, b) => (a === null || b === null ? (a ?? b) : Math.min(a, b));

function summarize(truths) {
  const total = { live: 0, unproved: 0, stale: 0, never: 0, all: 0, oldest: null, proved: null };
  for (const { state, until } of truths) {
    total[state] += 1;
    total.all += 1;
    if (state === "stale") total.oldest = older(total.oldest, until);
    total.proved = older(total.proved, until);
  }
  return total;
}
