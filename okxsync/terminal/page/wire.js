// The WebSocket to the server: subscribes, receives, acknowledges what was painted, and comes back when it is lost.

/** A handshake that takes longer meets a server that accepts and does not answer. */
const CONNECT_WITHIN_MS = 5000;
/** An open connection that is silent for as long is given up; the page has been grey since 2.5 s. */
const SILENT_MS = 6000;
const FIRST_DELAY_MS = 500;
const LAST_DELAY_MS = 5000;
/** The server closes with this code if the session is gone. */
const NO_SESSION = 4401;

export class Wire {
  /**
   * `on` has `message(parts)`, `open()`, `lost(why)` and `refused()`; `wanted()` returns {epoch, sub}, and `painted()`
   * the last number of each topic.
   */
  constructor(url, on) {
    this.url = url;
    this.on = on;
    this.key = null;
    this.socket = null;
    this.delay = FIRST_DELAY_MS;
    this.timer = null;
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
  }

  /** Connect, in place of the connection that there is. */
  start(key) {
    this.key = key;
    this.socket?.close();
    this.connect();
  }

  /** Try at once: the network or the reader has come back. */
  hurry() {
    if (this.key !== null && this.socket === null) this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.patience(CONNECT_WITHIN_MS);
    socket.onopen = () => {
      this.send({ key: this.key, ...this.on.wanted() });
      this.patience(SILENT_MS);
      this.on.open();
    };
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return;
      this.delay = FIRST_DELAY_MS;
      this.patience(SILENT_MS);
      this.on.message(JSON.parse(data));
    };
    socket.onclose = ({ code, reason }) => socket === this.socket && this.close(code, reason);
  }

  patience(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.close(0, "no answer"), ms);
  }

  close(code, reason) {
    const { socket } = this;
    this.socket = null;
    clearTimeout(this.timer);
    if (socket !== null && socket.readyState < WebSocket.CLOSING) socket.close();
    this.on.lost(reason || "the connection to the terminal is closed");
    if (code === NO_SESSION) {
      this.key = null;
      this.on.refused();
      return;
    }
    this.timer = setTimeout(() => this.connect(), this.delay * (0.5 + Math.random() / 2));
    this.delay = Math.min(this.delay * 2, LAST_DELAY_MS);
  }

  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  /** Subscribe to what is wanted now, in place of what was before. */
  subscribe() {
    this.send(this.on.wanted());
  }

  acknowledge() {
    this.send({ ack: this.on.painted() });
  }
}
