// Exact decimal numbers. The exchange sends numbers as text, and the text is what is shown and copied. Sums are made of
// BigInt; no amount ever becomes a float. Floats serve as a first sorting key only (`approximate`).
//
// A parsed decimal is {digits: BigInt, scale: number}: the value is digits / 10 ** scale. `null` is "unknown".

const NUMBER = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,4}))?$/;
export const THIN = "\u2009";
export const MINUS = "\u2212";
export const UNKNOWN = "-";

/** Return the decimal that a text holds; null if it is absent, empty or no number. */
export function parse(text) {
  if (text === null || text === undefined || text === "") return null;
  const match = NUMBER.exec(text);
  if (!match || (!match[2] && !match[3])) return null;
  const fraction = match[3] ?? "";
  let digits = BigInt(match[2] + fraction);
  let scale = fraction.length - Number(match[4] ?? 0);
  if (match[1] === "-") digits = -digits;
  if (scale < 0) {
    digits *= 10n ** BigInt(-scale);
    scale = 0;
  }
  return { digits, scale };
}

const at = (number, scale) =>
  number.scale === scale ? number.digits : number.digits * 10n ** BigInt(scale - number.scale);

/** Return the exact sum; an unknown part is left out, so the caller counts the unknown ones. */
export function add(a, b) {
  if (a === null) return b;
  if (b === null) return a;
  const scale = Math.max(a.scale, b.scale);
  return { digits: at(a, scale) + at(b, scale), scale };
}

export const negate = (number) => number && { digits: -number.digits, scale: number.scale };
export const absolute = (number) => (number !== null && number.digits < 0n ? negate(number) : number);

export function multiply(a, b) {
  return a === null || b === null ? null : { digits: a.digits * b.digits, scale: a.scale + b.scale };
}

/** Return a negative, zero or positive number, as `Array.sort` wants it. */
export function compare(a, b) {
  const scale = Math.max(a.scale, b.scale);
  const [left, right] = [at(a, scale), at(b, scale)];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Return a / b cut to `places` decimal places; null if either is unknown or b is zero. */
export function quotient(a, b, places) {
  if (a === null || b === null || b.digits === 0n) return null;
  const scale = Math.max(a.scale, b.scale);
  return { digits: (at(a, scale) * 10n ** BigInt(places)) / at(b, scale), scale: places };
}

export const sign = (number) => (number.digits < 0n ? -1 : number.digits > 0n ? 1 : 0);

/** Return a float for sorting and for pixels; compare exactly where two of them are equal. */
export const approximate = (number) => Number(number.digits) / 10 ** number.scale;

/** Return plain ASCII with all digits. */
export function exact(number) {
  const digits = (number.digits < 0n ? -number.digits : number.digits).toString().padStart(number.scale + 1, "0");
  const whole = digits.slice(0, digits.length - number.scale);
  const fraction = number.scale ? `.${digits.slice(-number.scale)}` : "";
  return (number.digits < 0n ? "-" : "") + whole + fraction;
}

/** Return how many decimal places a step ("0.01", "1", "1e-5") has; undefined if it is unknown. */
export function placesOf(step) {
  const number = parse(step);
  if (number === null || number.digits === 0n) return undefined;
  let { digits, scale } = number;
  while (scale > 0 && digits % 10n === 0n) {
    digits /= 10n;
    scale -= 1;
  }
  return scale;
}

function group(whole) {
  let grouped = whole;
  for (let end = whole.length - 3; end > 0; end -= 3) grouped = `${grouped.slice(0, end)}${THIN}${grouped.slice(end)}`;
  return grouped;
}

/**
 * Return a number as it is shown: "−", thin spaces between thousands, otherwise the digits of the exchange.
 *
 * cut:  show at most this many decimal places; never rounded. A number that is not zero keeps its first digit, so
 *       that it does not look like zero.
 * fill: show at least this many decimal places.
 * gain: show a "+" before positive numbers.
 * An exponent is shown as written. A text that is no number is returned as it is, and an absent one as "-".
 */
export function show(text, { cut, fill = 0, gain = false } = {}) {
  if (text === null || text === undefined || text === "") return UNKNOWN;
  const match = NUMBER.exec(text);
  if (!match || (!match[2] && !match[3])) return text;
  const negative = match[1] === "-";
  const zero = !/[1-9]/.test(match[2] + (match[3] ?? ""));
  const before = negative ? MINUS : gain && !zero ? "+" : "";
  if (match[4] !== undefined) return before + text.replace(/^[+-]/, "").replace("-", MINUS);
  const whole = match[2].replace(/^0+(?=\d)/, "") || "0";
  let fraction = match[3] ?? "";
  if (zero) return `${before}0`;
  if (cut !== undefined && fraction.length > cut) {
    const first = /[1-9]/.test(whole) ? 0 : fraction.search(/[1-9]/) + 1;
    fraction = fraction.slice(0, Math.max(cut, first));
  }
  fraction = fraction.padEnd(fill, "0");
  return before + group(whole) + (fraction ? `.${fraction}` : "");
}
