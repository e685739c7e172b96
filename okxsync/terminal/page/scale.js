// Scales of numbers, for pixels alone: what is shown as a number stays the exact text.

/** Return steps of 1, 2 or 5 that divide a range into some parts: [{value, text}]. */
export function steps(low, high, parts) {
  const least = (high - low) / parts;
  if (!(least > 0) || !Number.isFinite(least)) return [];
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= least);
  const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const made = [];
  for (let index = Math.ceil(low / step); index * step <= high; index += 1)
    made.push({ value: index * step, text: (index * step).toFixed(Math.min(places, 20)) });
  return made;
}

/** Return [low, high] around some numbers with a margin; null if there are none. */
export function around(values, margin = 0.06) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return null;
  const rest = (high - low) * margin || Math.abs(high) * 0.001 || 1;
  return [low - rest, high + rest];
}
