// Times. All are integers of microseconds since 1970, as in the database, and "now" is the server's clock, because the
// clock of the machine with the browser may be wrong.

const SECOND = 1e6;
export const ZONES = ["UTC", "local", "UTC+8"];
const SHIFT_MS = { UTC: 0, "UTC+8": 8 * 3600e3 };

let zone = "UTC";
export const currentZone = () => zone;
export function setZone(name) {
  zone = ZONES.includes(name) ? name : "UTC";
}

const two = (number) => String(number).padStart(2, "0");

function parts(us) {
  const ms = Math.floor(us / 1000);
  if (zone === "local") {
    const date = new Date(ms);
    return [
      date.getFullYear(),
      date.getMonth() + 1,
      date.getDate(),
      date.getHours(),
      date.getMinutes(),
      date.getSeconds(),
      date.getMilliseconds(),
    ];
  }
  const date = new Date(ms + SHIFT_MS[zone]);
  return [
    date.getUTCFullYear(),
    date.getUTCMonth() + 1,
    date.getUTCDate(),
    date.getUTCHours(),
    date.getUTCMinutes(),
    date.getUTCSeconds(),
    date.getUTCMilliseconds(),
  ];
}

/** Return the name of the zone at a moment: "UTC", "UTC+8", "UTC-3:30". */
export function zoneName(us) {
  if (zone !== "local") return zone;
  const minutes = -new Date(us / 1000).getTimezoneOffset();
  if (!minutes) return "UTC";
  const rest = Math.abs(minutes) % 60;
  return `UTC${minutes < 0 ? "-" : "+"}${Math.floor(Math.abs(minutes) / 60)}${rest ? `:${two(rest)}` : ""}`;
}

/** Return by how many microseconds the clocks of the chosen zone are ahead of UTC at a moment. */
export function offset(us) {
  return zone === "local" ? -new Date(us / 1000).getTimezoneOffset() * 60e6 : SHIFT_MS[zone] * 1000;
}

/** Return a moment as files and other programs want it: "2026-11-30T19:24:52.000001Z". */
export const iso = (us) => `${new Date(Math.floor(us / 1000)).toISOString().slice(0, -1)}${String(us % 1000).padStart(3, "0")}Z`;

export function clock(us) {
  const [, , , hour, minute, second] = parts(us);
  return `${two(hour)}:${two(minute)}:${two(second)}`;
}

export const clockMs = (us) => `${clock(us)}.${String(parts(us)[6]).padStart(3, "0")}`;

export function date(us) {
  const [year, month, day] = parts(us);
  return `${year}-${two(month)}-${two(day)}`;
}

/** Return date, time and zone, to the millisecond. */
export const full = (us) => `${date(us)} ${clockMs(us)} ${zoneName(us)}`;

/** Return the time alone if it is of the day of `now`, otherwise with its date. */
export function moment(us, now) {
  return date(us) === date(now) ? clock(us) : `${date(us)} ${clock(us)}`;
}

/** Return an age with one unit, cut: "0.4 s", "41 min", "19 h", "3 d". */
export function age(us) {
  const seconds = Math.max(0, us) / SECOND; // a clock may be corrected between two readings
  if (seconds < 10) return `${(Math.floor(seconds * 10) / 10).toFixed(1)} s`;
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

const UNITS = { ms: 1e3, s: SECOND, min: 60 * SECOND, m: 60 * SECOND, h: 3600 * SECOND, d: 86400 * SECOND };

/** Return the microseconds of "1h", "0.5s", "10min"; null if it is no duration. */
export function duration(text) {
  const match = /^(\d+(?:\.\d+)?)(ms|s|min|m|h|d)$/.exec(text);
  return match ? Number(match[1]) * UNITS[match[2]] : null;
}
