// Tabs of one colour follow each other: a filter for accounts or instruments in one of them holds in all.

export const COLOURS = ["", "blue", "violet", "amber"];
const NAME = "okxsync.link";
const FOLLOWED = /^(acct|inst):/;

const terms = (filter) => filter.match(/(?:[^\s"]|"[^"]*")+/g) ?? [];

export class Link {
  /** `follow(change)` is called with a function from this tab's filter to the one that the other tab asks for. */
  constructor(follow) {
    this.colour = sessionStorage.getItem(NAME) ?? "";
    this.last = "";
    this.channel = new BroadcastChannel(NAME);
    this.channel.onmessage = ({ data: { colour, followed } }) => {
      if (!colour || colour !== this.colour || followed === this.last) return;
      this.last = followed;
      follow((filter) => [...terms(followed), ...terms(filter).filter((term) => !FOLLOWED.test(term))].join(" "));
    };
  }

  turn() {
    this.colour = COLOURS[(COLOURS.indexOf(this.colour) + 1) % COLOURS.length];
    sessionStorage.setItem(NAME, this.colour);
  }

  /** Tell the other tabs what this one shows. */
  tell(filter) {
    const followed = terms(filter)
      .filter((term) => FOLLOWED.test(term))
      .join(" ");
    if (!this.colour || followed === this.last) return;
    this.last = followed;
    this.channel.postMessage({ colour: this.colour, followed });
  }
}
