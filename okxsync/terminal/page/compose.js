// The form of a new plan. It writes the text of the plan, which is what is previewed: all of `docs/plans.md` can be
// written into it by hand.

import { element, setText } from "./text.js";

/** Fields [name, label, kind, hint]; a kind is a list of values, or the width of an input in characters. */
const FIELDS = [
  ["instrument", "instrument", 16, "BTC-USDT-SWAP"],
  ["side", "side", ["buy", "sell", "auto"]],
  [
    "rule",
    "size",
    "equity contracts coins quote available margin leverage split split_equity target target_equity change close".split(" "),
  ],
  ["value", "value", 8, "2%"],
  ["accounts", "accounts", 20, "group:desk, alpha"],
  ["exclude", "but not", 12, "beta"],
  ["type", "type", ["ioc", "limit", "post_only", "fok", "market"]],
  ["price", "price", 12, "mark +0.3%"],
  ["intent", "intent", ["", "open", "reduce"]],
  ["take_profit", "take profit", 7, "+4%"],
  ["stop_loss", "stop loss", 7, "-2%"],
  ["leverage", "leverage", 5, "3"],
  ["valid_for", "valid for", 6, "60s"],
  ["canary", "canary", 4, "1"],
  ["on_reject", "on reject", ["continue", "stop", "cancel"]],
];
/** Rules that decide the side from the position; and the one that needs no value. */
const AUTO = ["target", "target_equity", "change", "close"];
const FIRST = { instrument: "", side: "buy", rule: "equity", value: "", accounts: "", type: "ioc", valid_for: "60s", canary: "1", on_reject: "continue" };

const quote = (text) => JSON.stringify(text).replaceAll("\u007f", "\\u007f");
const names = (text) => `[${text.split(",").map((name) => name.trim()).filter(Boolean).map(quote).join(", ")}]`;

/** Return the TOML of a plan of one leg; fields that are empty are left out, so that the plan's defaults hold. */
export function documentOf(given) {
  const field = (name) => (given[name] ?? "").trim();
  const rule = field("rule");
  const auto = AUTO.includes(rule);
  const line = (name, key = name) => (field(name) ? [`${key} = ${quote(field(name))}`] : []);
  const title = [auto ? rule : field("side"), rule === "close" ? "" : field("value"), field("instrument")];
  const protect = [...line("take_profit"), ...line("stop_loss")];
  return [
    `title = ${quote(title.filter(Boolean).join(" "))}`,
    ...line("valid_for"),
    "",
    "[accounts]",
    `include = ${names(field("accounts"))}`,
    ...(field("exclude") ? [`exclude = ${names(field("exclude"))}`] : []),
    "",
    "[[legs]]",
    ...line("instrument"),
    ...(auto ? [] : line("side")),
    ...line("intent"),
    ...line("type"),
    ...(field("type") === "market" ? [] : line("price")),
    "[legs.size]",
    ...line("rule"),
    ...(rule === "close" ? [] : line("value")),
    ...(protect.length ? ["[legs.protect]", ...protect] : []),
    ...(field("leverage") ? ["[legs.leverage]", `require = ${quote(field("leverage"))}`] : []),
    "",
    "[failure]",
    ...(field("canary") ? [`canary = ${/^\d+$/.test(field("canary")) ? field("canary") : quote(field("canary"))}`] : []),
    ...line("on_reject"),
    "",
  ].join("\n");
}

const NAME = "okxsync.draft";

export class Compose {
  /** `on` has `preview(document, precheck)` and `leave()`. */
  constructor(model, on) {
    this.model = model;
    this.on = on;
    this.inputs = {};
    const fields = FIELDS.map(([name, label, kind, hint]) => {
      const input = Array.isArray(kind)
        ? element("select", "", ...kind.map((value) => new Option(value || "both", value)))
        : element("input");
      if (!Array.isArray(kind)) {
        input.size = kind;
        input.placeholder = hint;
        input.autocomplete = "off";
        input.spellcheck = false;
      }
      input.name = name;
      this.inputs[name] = input;
      return element("label", "", element("span", "dim", label), input);
    });
    this.instruments = element("datalist");
    this.instruments.id = "plan-instruments";
    this.inputs.instrument.setAttribute("list", this.instruments.id);
    this.text = element("textarea");
    this.text.spellcheck = false;
    this.text.setAttribute("aria-label", "The plan, TOML");
    this.precheck = element("input");
    this.precheck.type = "checkbox";
    this.again = element("button", "", "write it from the form again");
    this.again.type = "button";
    this.submit = element("button", "act", "Preview");
    this.note = element("span", "dim");
    this.form = element(
      "form",
      "compose",
      element("div", "fields", ...fields, this.instruments),
      this.text,
      element(
        "div",
        "buttons",
        this.submit,
        element("label", "", this.precheck, " let OKX check each order (modes 3 and 4)"),
        this.again,
        this.note,
      ),
    );
    this.form.setAttribute("aria-label", "New plan");
    this.form.hidden = true;
    this.restore();
    this.form.addEventListener("input", ({ target }) => this.changed(target));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      on.preview(this.text.value, this.precheck.checked);
    });
    this.form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") on.leave();
      if (event.key === "Enter" && event.ctrlKey && event.target === this.text) this.form.requestSubmit();
    });
    this.again.addEventListener("click", () => this.write());
  }

  fields() {
    return Object.fromEntries(Object.entries(this.inputs).map(([name, input]) => [name, input.value]));
  }

  restore() {
    let saved = {};
    try {
      saved = JSON.parse(sessionStorage.getItem(NAME) ?? "{}");
    } catch {
      // another version has written it
    }
    for (const [name, input] of Object.entries(this.inputs)) input.value = saved.fields?.[name] ?? FIRST[name] ?? "";
    this.byHand = saved.text !== undefined;
    this.text.value = saved.text ?? documentOf(this.fields());
    this.mark();
  }

  changed(target) {
    if (target === this.precheck) return;
    if (target === this.text) this.byHand = true;
    if (!this.byHand) this.text.value = documentOf(this.fields());
    this.save();
  }

  write() {
    this.byHand = false;
    this.text.value = documentOf(this.fields());
    this.save();
  }

  save() {
    const draft = { fields: this.fields(), ...(this.byHand ? { text: this.text.value } : {}) };
    sessionStorage.setItem(NAME, JSON.stringify(draft));
    this.mark();
  }

  mark() {
    this.again.hidden = !this.byHand;
    setText(this.note, this.byHand ? "the text is written by hand: the form no longer changes it" : "");
  }

  /** Show the form, and put the focus into it. */
  open() {
    const { groups } = this.model.trade;
    if (!this.inputs.accounts.value && !this.byHand) {
      this.inputs.accounts.value = groups.length ? `group:${groups[0]}` : "all";
      this.write();
    }
    this.form.hidden = false;
    this.inputs.instrument.focus();
  }

  paint() {
    const { instruments } = this.model.topics;
    if (this.form.hidden || this.version === instruments.version) return;
    this.version = instruments.version;
    const ids = new Set([...instruments.rows.values()].map((row) => row[instruments.at.inst_id]));
    this.instruments.replaceChildren(...[...ids].sort().map((id) => new Option("", id)));
  }
}
