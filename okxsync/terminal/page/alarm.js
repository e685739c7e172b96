// A sound and a notification when more is in trouble than before. Both are off until the reader asks for them.

const AGAIN_MS = 5000; // not more often
const SOUND_S = 0.25;
const TONES_HZ = [880, 660];

export class Alarm {
  /** `settings.get` has "sound" and "notice". */
  constructor(settings, nowMs = () => performance.now()) {
    this.settings = settings;
    this.nowMs = nowMs;
    this.level = null; // null: all was never well or known, so nothing got worse
    this.raisedAt = -Infinity;
  }

  /** Take how much is in trouble; `words` say it. */
  look(level, words) {
    const worse = this.level !== null && level > this.level;
    if (this.level === null && level === Infinity) return; // not connected yet
    if (worse && this.nowMs() - this.raisedAt < AGAIN_MS) return; // it is raised later, if it lasts
    this.level = level;
    if (!worse) return;
    this.raisedAt = this.nowMs();
    if (this.settings.get("sound") === "sound on") this.play();
    if (this.settings.get("notice") === "notification on") this.notify(words);
  }

  play() {
    this.audio ??= new AudioContext();
    this.audio.resume();
    TONES_HZ.forEach((hertz, index) => {
      const tone = this.audio.createOscillator();
      const gain = this.audio.createGain();
      const begin = this.audio.currentTime + index * SOUND_S;
      tone.frequency.value = hertz;
      gain.gain.setValueAtTime(0.15, begin);
      gain.gain.exponentialRampToValueAtTime(0.001, begin + SOUND_S);
      tone.connect(gain).connect(this.audio.destination);
      tone.start(begin);
      tone.stop(begin + SOUND_S);
    });
  }

  notify(words) {
    if (Notification.permission !== "granted") return;
    const shown = new Notification("okxsync", { body: words, tag: "okxsync" }); // it replaces the one before
    shown.onclick = () => {
      window.focus();
      shown.close();
    };
  }
}

/** Ask the browser whether notifications may be shown; returns whether they may. */
export async function mayNotify() {
  return "Notification" in window && (await Notification.requestPermission()) === "granted";
}
