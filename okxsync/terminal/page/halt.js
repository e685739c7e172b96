// The kill switch, always on the line on top. It works while the daemon is dead: it is a file that the terminal makes.

import { ask } from "./ask.js";
import { element, set, setText, visible } from "./text.js";
import { moment } from "./time.js";

export class Halt {
  constructor(model, schedule) {
    this.model = model;
    this.schedule = schedule;
    this.button = element("button", "halt", "HALT");
    this.says = element("span", "says");
    this.says.setAttribute("role", "alert");
    this.root = element("span", "switch", this.button, this.says);
    this.root.hidden = true;
    this.button.addEventListener("click", () => (this.model.halted ? this.show() : this.halt()));
    this.dialog = element("dialog", "halted");
    this.dialog.setAttribute("aria-label", "Trading is halted");
    document.body.append(this.dialog);
  }

  /** Halt at once: what was withheld can be planned again, what was sent cannot be called back. */
  halt(more = {}) {
    const otherwise = "NOT HALTED, run `okxsync halt`";
    if (this.model.trade) this.tell({ kind: "halt", reason: "from the terminal", ...more }, otherwise);
  }

  /** Ask for it, and say beside the button what did not happen. */
  async tell(message, otherwise) {
    setText(this.says, "\u2026");
    const { error, note } = await ask(message);
    setText(this.says, visible(error ? `${otherwise}: ${error}` : (note ?? "")));
    this.says.className = `says ${error ? "wrong" : "dim"}`;
    this.schedule();
  }

  show() {
    const { halt } = this.model.head ?? {};
    const now = this.model.now();
    const since = halt ? `Since ${moment(halt.at, now)}, by ${halt.by}. ${halt.reason}` : "No daemon has recorded it.";
    const acts = {
      Resume: () => this.tell({ kind: "resume" }, "NOT RESUMED"),
      "Cancel resting orders of plans": () => this.halt({ cancel_orders: true }),
      Close: () => {},
    };
    const buttons = Object.entries(acts).map(([text, act]) => {
      const made = element("button", "", text);
      made.addEventListener("click", () => {
        this.dialog.close();
        act();
      });
      return made;
    });
    this.dialog.replaceChildren(
      element("h2", "", "Trading is halted: no order of a plan leaves."),
      element("p", "", visible(since)),
      element("p", "dim", "What was withheld is not sent after a resumption: preview a new plan."),
      element("div", "buttons", ...buttons),
    );
    this.dialog.showModal();
    buttons[2].focus();
  }

  paint() {
    const { trade, halted, truth } = this.model;
    set(this.root, { hidden: trade === null && !halted });
    const title = halted ? "no order of a plan leaves" : "H H: stop all sending of plans at once";
    set(this.button, { disabled: trade === null, title });
    setText(this.button, halted ? (truth.lost ? "HALTED?" : "HALTED") : "HALT");
    this.button.classList.toggle("on", halted);
  }
}
