// The ticket: a plan is composed, previewed, confirmed and followed. The page asks, and the daemon alone sends.

import { ask } from "./ask.js";
import { Compose } from "./compose.js";
import { add, exact, parse, show } from "./decimals.js";
import { element, set, setText, visible } from "./text.js";
import { age } from "./time.js";
import { at, hasEnded, isRunning, isTooOld, planAddress, planOf, stateTone } from "./views/plans.js";

const WELL = ["canceled", "canceling", "nothing"];
/** Outcomes that the rows of the plan show. */
const SHOWN = ["previewed", "executing"];
const CENTS = { cut: 2, fill: 2 };
const words = (text) => text.trim().split(/\s+/).join(" ");
const counted = (all) => [...all].map(([name, count]) => `${count} ${name}`).join(", ");

function countBy(rows, name) {
  const found = new Map();
  for (const row of rows) found.set(name(row), (found.get(name(row)) ?? 0) + 1);
  return new Map([...found].sort(([, a], [, b]) => b - a));
}

export class Ticket {
  /** `on` has `lead(address)`, `schedule()`, `focus()` and `shown()` -> the id of the plan that is shown, or null. */
  constructor(model, on) {
    this.model = model;
    this.on = on;
    this.work = null; // {what, kind, request, plan, since}: what the daemon was asked, and has not answered
    this.compose = new Compose(model, {
      preview: (document, precheck) => this.ask("the preview", { kind: "preview", document, precheck }),
      leave: () => on.focus(),
    });
    const says = () => Object.assign(element("output", "says"), { ariaLive: "polite" });
    this.open = this.button("New plan", "p n", () => this.toggle());
    this.says = [says(), says()];
    this.list = element("div", "ticket", element("div", "buttons", this.open, this.says[0]), this.compose.form);

    this.name = element("b");
    this.title = element("span", "title");
    this.state = element("b");
    this.when = element("span");
    this.summary = element("p", "summary");
    this.notes = element("p", "attention");
    this.expected = element("b", "expected");
    this.input = element("input");
    this.input.autocomplete = "off";
    this.input.spellcheck = false;
    this.input.setAttribute("aria-label", "Confirmation");
    this.send = element("button", "act", "Send");
    this.confirm = element("form", "confirm", element("label", "", "type: ", this.expected, " ", this.input), this.send);
    this.confirm.addEventListener("submit", (event) => {
      event.preventDefault();
      this.execute();
    });
    this.input.addEventListener("input", () => this.paint());
    this.input.addEventListener("keydown", ({ key }) => {
      if (key !== "Escape") return;
      this.input.value = "";
      on.focus();
    });
    this.protection = element("input");
    this.protection.type = "checkbox";
    this.protect = element("label", "", this.protection, " take-profit and stop-loss too");
    const one = (what, kind) => () => this.ask(what, { kind, plan: this.on.shown() });
    this.again = this.button("Preview again", "p p", one("the preview", "again"));
    this.cancel = this.button("Cancel", "p x", () =>
      this.ask("the cancellation", { kind: "cancel", plan: this.on.shown(), protection: this.protection.checked }),
    );
    this.retry = this.button("Retry", "p r", one("the retry", "retry"));
    this.undo = this.button("Undo", "p u", one("the undo", "undo"));
    this.one = element(
      "div",
      "ticket",
      element("p", "", "plan ", this.name, " ", this.title, this.state, this.when),
      this.summary,
      this.notes,
      element("div", "buttons", this.confirm, this.again, this.cancel, this.protect, this.retry, this.undo, this.says[1]),
    );
  }

  button(text, keys, act) {
    const name = document.createTextNode(text);
    const made = element("button", "", name, " ", element("kbd", "", keys));
    made.type = "button";
    made.label = name;
    made.addEventListener("click", act);
    return made;
  }

  toggle() {
    if (!this.model.trade) return;
    if (this.compose.form.hidden) this.compose.open();
    else {
      this.compose.form.hidden = true;
      this.on.focus();
    }
  }

  /** Do what the second key of "p" says. */
  key(letter) {
    if (!this.model.trade) return;
    const id = this.on.shown();
    if (letter === "n") {
      if (id) this.on.lead("#plans");
      this.compose.form.hidden = true;
      this.toggle();
      return;
    }
    const button = { p: this.again, x: this.cancel, r: this.retry, u: this.undo }[letter];
    if (letter === "c" && !this.confirm.hidden) this.input.focus();
    else if (id && button && !button.hidden && !button.disabled) button.click();
  }

  say(text, tone = "") {
    for (const one of this.says) {
      setText(one, visible(text));
      one.className = `says ${tone}`;
    }
    this.on.schedule();
  }

  /** Why a plan cannot be approved now; null if it can. */
  obstacle(plan) {
    const { model } = this;
    if (model.truth.best() !== "live") return "no daemon is known to run";
    if (model.halted) return "trading is halted";
    if (isTooOld(model, plan)) return "the preview is too old";
    if (!plan.typed) return plan.ready ? "its orders are being read" : "no account has an order";
    return null;
  }

  confirms(plan) {
    const given = words(this.input.value);
    return given !== "" && [plan.typed, plan.confirm].includes(given);
  }

  execute() {
    const plan = planOf(this.model, this.on.shown());
    if (!plan || this.work?.kind === "execute") return;
    const obstacle = plan.state === "previewed" ? this.obstacle(plan) : `the plan is ${plan.state}`;
    if (obstacle) this.say(`not sent: ${obstacle}`, "wrong");
    else if (!this.confirms(plan)) this.say(`not sent: type ${plan.typed}`, "wrong");
    else {
      const { plan_id: id, preview_hash: hash } = plan;
      const confirm = words(this.input.value);
      this.input.value = "";
      this.on.focus();
      this.ask("the approval", { kind: "execute", plan: id, preview_hash: hash, confirm });
    }
  }

  async ask(what, message) {
    const work = { what, kind: message.kind, since: performance.now(), request: null, from: location.hash };
    this.work = work;
    this.say(`${what} is asked for \u2026`);
    const answer = await ask(message);
    if (this.work !== work) return;
    if (answer.error) {
      this.work = null;
      this.say(answer.error, "wrong");
      return;
    }
    work.request = answer.request;
    work.plan = answer.plan;
    this.paint();
  }

  /** Look whether the daemon has answered. */
  look() {
    const { work, model } = this;
    if (!work?.request) return;
    const topic = model.topics.requests;
    const row = topic.rows.get(String(work.request));
    const outcome = row?.[topic.at.outcome] ?? null;
    if (outcome === null) {
      const waited = Math.floor((performance.now() - work.since) / 1000);
      const dead = model.truth.best() !== "live";
      const why = dead ? ", and no daemon is known to run: it is not carried out later than 30 s after it was asked for" : "";
      this.say(`${work.what} waits for the daemon, ${waited} s${why}`, dead ? "wrong" : "");
      return;
    }
    this.work = null;
    const detail = row[topic.at.detail];
    if (SHOWN.includes(outcome)) this.say("");
    else if (WELL.includes(outcome)) this.say(`${outcome}: ${detail}`);
    else this.say(`refused: ${outcome}: ${detail}`, "wrong");
    const stayed = location.hash === work.from;
    if (outcome === "previewed" && stayed) {
      this.compose.form.hidden = true;
      this.on.lead(planAddress(work.plan));
    }
  }

  paint() {
    this.look();
    const { model } = this;
    const trades = model.trade !== null;
    set(this.list, { hidden: !trades });
    const id = this.on.shown();
    set(this.one, { hidden: !id });
    if (!id) return;
    if (id !== this.id) {
      this.id = id;
      this.input.value = "";
      this.protection.checked = false;
      if (!this.work) this.say("");
    }
    const plan = planOf(model, id);
    setText(this.name, id);
    setText(this.title, plan ? `${visible(plan.title)} (${visible(plan.site_modes)})` : "is not known");
    for (const node of [this.confirm, this.again, this.cancel, this.protect, this.retry, this.undo]) node.hidden = true;
    if (!plan) {
      for (const node of [this.state, this.when, this.summary, this.notes]) setText(node, "");
      return;
    }
    this.paintState(plan);
    this.paintSummary(plan);
    if (trades) this.paintButtons(plan);
  }

  paintState(plan) {
    const { model } = this;
    const old = isTooOld(model, plan);
    const stale = model.truth.best() !== "live";
    const outcome = plan.outcome ? `, ${plan.outcome}` : "";
    setText(this.state, old ? "TOO OLD" : `${plan.state}${outcome}${stale ? " STALE" : ""}`);
    this.state.className = old ? "wrong" : stale ? "state-stale" : stateTone(plan.state);
    this.one.classList.toggle("old", old || stale);
    const since = (us) => age(model.age(us) ?? 0);
    let text = `previewed ${at(model, plan.preview_at)}, ${since(plan.preview_at)} old`;
    if (plan.state === "previewed") {
      const left = plan.expires_at === null ? null : plan.expires_at - (model.now() ?? plan.expires_at);
      text += left === null ? "" : old ? ", cannot be approved" : `, can be approved for ${age(left)}`;
    } else if (plan.approved_at !== null) {
      text = `approved ${at(model, plan.approved_at)} by ${visible(plan.approved_by ?? "-")}`;
      if (plan.ended_at !== null) text += `, ended ${at(model, plan.ended_at)}`;
      else if (plan.valid_until !== null) text += `, nothing is sent after ${at(model, plan.valid_until)}`;
    }
    if (plan.parent_id) text += `, ${plan.kind} of ${plan.parent_id}`;
    setText(this.when, text);
    const note = [plan.pause_reason && `paused: ${plan.pause_reason}`, plan.note].filter(Boolean).join("; ");
    setText(this.notes, visible(note));
    this.notes.hidden = note === "";
  }

  paintSummary(plan) {
    const { plan_orders: topic } = this.model.topics;
    const value = (name) => (row) => row[topic.at[name]];
    const rows = [...topic.rows.values()].filter((row) => value("plan_id")(row) === plan.plan_id);
    const sum = (name) => rows.map((row) => parse(value(name)(row))).reduce(add, null);
    const planned = `planned ${show(plan.planned_usd, CENTS)} USD`;
    if (plan.state === "previewed" || plan.state === "discarded") {
      const skipped = rows.filter((row) => value("state")(row) === "skipped");
      const ready = rows.filter((row) => value("state")(row) === "ready");
      const accounts = (those) => new Set(those.map(value("account"))).size;
      const why = skipped.length ? `: ${counted(countBy(skipped, value("reason")))}` : "";
      const warned = rows.filter(value("warnings")).length;
      const parts = [
        `${accounts(ready)} of ${plan.accounts} accounts send ${ready.length} orders`,
        `${skipped.length} skipped${why}`,
        warned ? `${warned} with a warning` : "",
        planned,
      ];
      setText(this.summary, rows.length ? parts.filter(Boolean).join("   ") : "its orders are being read \u2026");
      return;
    }
    const filled = sum("filled_usd");
    const states = counted(countBy(rows, value("state")));
    setText(this.summary, `${states}   ${planned}, filled ${filled === null ? "-" : show(exact(filled), CENTS)} USD`);
  }

  paintButtons(plan) {
    const previewed = plan.state === "previewed";
    const obstacle = previewed ? this.obstacle(plan) : null;
    this.confirm.hidden = !previewed;
    setText(this.expected, plan.typed ?? "-");
    const blocked = obstacle !== null || this.work?.kind === "execute";
    this.input.disabled = blocked;
    this.input.placeholder = obstacle ?? "";
    this.input.title = obstacle ?? "";
    this.send.disabled = blocked || !this.confirms(plan);
    this.again.hidden = !previewed && !hasEnded(plan);
    this.cancel.hidden = plan.state === "discarded";
    this.cancel.label.data = previewed ? "Discard" : hasEnded(plan) ? "Cancel what rests" : "Cancel";
    this.protect.hidden = previewed || plan.state === "discarded";
    this.retry.hidden = this.undo.hidden = !hasEnded(plan) || plan.state === "discarded";
    for (const one of [this.again, this.cancel, this.retry, this.undo]) one.disabled = this.work !== null;
    if (isRunning(plan)) this.cancel.disabled = false; // whatever else is being asked for
  }
}
