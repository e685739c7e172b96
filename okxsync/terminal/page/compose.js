// The form of a new plan. It writes the text of the plan, which is what is previewed: all of `docs/plans.md` can be
// written into it by hand.

import { element } from "./text.js";

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

export class Compose {
  /** `on` has `preview(document, precheck)` and `leave()`. */
  constructor(model, on) {
    this.model = model;
    this.inputs = {};
    const fields = FIELDS.map(([name, label, kind, hint]) => {
      const isList = Array.isArray(kind);
      const input = element(isList ? "select" : "input", "", ...(isList ? kind.map((one) => new Option(one || "both", one)) : []));
      if (!isList) Object.assign(input, { size: kind, placeholder: hint, autocomplete: "off", spellcheck: false });
      input.name = name;
      input.value = FIRST[name] ?? "";
      this.inputs[name] = input;
      return element("label", "", element("span", "dim", label), input);
    });
    this.text = element("textarea");
    this.text.spellcheck = false;
    this.text.setAttribute("aria-label", "The plan, TOML");
    const precheck = Object.assign(element("input"), { type: "checkbox" });
    this.again = Object.assign(element("button", "", "write it from the form again"), { type: "button" });
    this.form = element(
      "form",
      "compose",
      element("div", "fields", ...fields),
      this.text,
      element(
        "div",
        "buttons",
        element("button", "act", "Preview"),
        element("label", "", precheck, " let OKX check each order (modes 3 and 4)"),
        this.again,
      ),
    );
    this.form.hidden = true;
    this.write();
    this.form.addEventListener("input", ({ target }) => {
      if (target === this.text) this.again.hidden = false; // from now on the form does not change it
      else if (this.again.hidden) this.write();
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      on.preview(this.text.value, precheck.checked);
    });
    this.form.addEventListener("keydown", ({ key, ctrlKey, target }) => {
      if (key === "Escape") on.leave();
      if (key === "Enter" && ctrlKey && target === this.text) this.form.requestSubmit();
    });
    this.again.addEventListener("click", () => this.write());
  }

  write() {
    const given = Object.entries(this.inputs).map(([name, { value }]) => [name, value]);
    this.text.value = documentOf(Object.fromEntries(given));
    this.again.hidden = true;
  }

  /** Show the form, and put the focus into it. */
  open() {
    const [group] = this.model.trade.groups;
    const { accounts, instrument } = this.inputs;
    accounts.value ||= group ? `group:${group}` : "all";
    if (this.again.hidden) this.write();
    this.form.hidden = false;
    instrument.focus();
  }
}
