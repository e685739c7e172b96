// The list of plans, the newest first. Above it a plan is composed.

import { ages, count, number, truths, words } from "../columns.js";
import { moment } from "../time.js";
import { formatAddress } from "../address.js";
import { CENTS, fieldsOf, makeView } from "./view.js";

export const planAddress = (id) => formatAddress({ view: "plan", filter: `plan:${id}` });

/** Plans to which nothing more happens. */
const ENDED = ["done", "stopped", "expired", "discarded"];
export const hasEnded = (plan) => ENDED.includes(plan.state);
/** Plans that the daemon is carrying out. */
export const isRunning = (plan) => ["approved", "executing", "paused"].includes(plan.state);

/** Return the columns of a plan by name; null if it is not known. */
export function planOf(model, id) {
  const topic = model.topics.plans;
  const row = id && topic.get(id);
  return row ? Object.fromEntries(topic.columns.map((name, index) => [name, row[index]])) : null;
}

/** Whether a preview can no longer be approved: it is too old, or its document cannot be read. */
export const isTooOld = (model, plan) =>
  plan.state === "previewed" && (plan.expires_at === null || model.now() === null || model.now() > plan.expires_at);

export const stateTone = (state) =>
  ({ executing: "state-live", paused: "wrong", stopped: "attention", expired: "attention" })[state] ?? "";

/** What is believed of plans: no more than of the daemon that writes them. */
export function daemonTruth(model, topic) {
  const state = topic.current ? model.truth.best() : "stale";
  const until = state === "live" ? model.now() : (model.truth.lost?.since ?? model.daemonSilentSince() ?? null);
  return { state, until: until || null, reason: null };
}

export function plansView(model) {
  const topic = model.topics.plans;
  const field = fieldsOf(topic);
  const tooOld = (row) => isTooOld(model, { state: field("state")(row), expires_at: field("expires_at")(row) });
  const rowTruth = (row) => (tooOld(row) ? { state: "stale", until: field("preview_at")(row) } : daemonTruth(model, topic));
  const usd = (id, head, name) => number(id, head, 112, field(name), { format: () => CENTS });
  const trouble = (id, head, width, name) =>
    count(id, head, width, field(name), { tone: (row) => (field(name)(row) ? "wrong" : "") });
  const columns = [
    words("plan", "plan", 108, field("plan_id"), { href: (row) => planAddress(field("plan_id")(row)) }),
    words("status", "plan is", 96, (row) => (tooOld(row) ? "too old" : field("state")(row)), {
      tone: (row) => stateTone(field("state")(row)),
    }),
    words("outcome", "outcome", 72, field("outcome"), { dim: true, blank: true }),
    ...truths(model, rowTruth),
    ages("age", "previewed", 80, model, field("preview_at")),
    words("title", "title", 300, field("title")),
    words("kind", "kind", 52, field("kind"), { dim: true }),
    count("accounts", "accounts", 64, field("accounts")),
    count("ready", "ready", 50, field("ready")),
    count("skipped", "skipped", 66, field("skipped"), { tone: (row) => (field("skipped")(row) ? "attention" : "") }),
    count("accepted", "accepted", 74, field("accepted")),
    trouble("rejected", "rejected", 72, "rejected"),
    trouble("unknown", "unknown", 72, "unknown"),
    usd("planned", "planned USD", "planned_usd"),
    usd("filled", "filled USD", "filled_usd"),
    words("by", "approved by", 130, field("approved_by"), { dim: true, blank: true }),
    words("site", "site", 112, field("site_modes"), { dim: true }),
    words("note", "note", 200, (row) => field("pause_reason")(row) || field("note")(row), { blank: true, grow: true }),
  ];
  return makeView(model, {
    name: "plans",
    title: "Plans",
    nouns: "plans",
    channels: [],
    others: ["requests"],
    columns,
    rowTruth,
    changed: field("ended_at"),
    times: (row) => ({ changed: field("ended_at")(row) ?? field("approved_at")(row) ?? field("preview_at")(row) }),
    leads: (row) => planAddress(field("plan_id")(row)),
    rules: [{ value: (row) => (isRunning({ state: field("state")(row) }) ? 0 : 1) }, { value: field("preview_at"), down: true }],
    footer: (rows) => [{ text: `${rows.length} plans`, tone: "" }],
    coverage: () => [],
    nothing: () => ({ text: "No plan yet.", kind: "" }),
  });
}

export const at = (model, us) => (us === null || us === undefined ? "-" : moment(us, model.now() ?? us));
