/** Some three hundred years, in milliseconds. Sums of a few such times are still exact. */
export const maxMs = 10_000_000_000_000;

/** What is wrong with a time that is not a duration, for lists of problems. */
export const mustBeDuration = `must be a number of milliseconds above 0, ${maxMs} at most`;

/** Whether a time may bound a wait or an attempt (I6): it is above 0, and at most some three hundred years. */
export function isDuration(ms: number): boolean {
  // A text would be compared as a number, and added as a text.
  return typeof ms === "number" && ms > 0 && ms <= maxMs;
}

const minute = 60_000;

const units: readonly (readonly [name: string, ms: number])[] = [
  ["d", 24 * 60 * minute],
  ["h", 60 * minute],
  ["min", minute],
];

/**
 * A duration as people say it: `100 ms`, `1.5 s`, `2 min`, `1 h 30 min`, `3 d 1 h 4 min`.
 * The parts add up to the duration: whole milliseconds are kept, and fractions are rounded to three digits.
 * @param ms A finite number of milliseconds, from 0.
 */
export function durationText(ms: number): string {
  // Rounded first, so that no part reaches 60 s. What would become 0 stays as it is.
  const rounded = Number(ms.toFixed(3)) || ms;
  if (rounded < 1000) return `${rounded} ms`;
  const parts: string[] = [];
  let rest = rounded;
  for (const [name, size] of units) {
    const count = Math.floor(rest / size);
    if (count > 0) parts.push(`${count} ${name}`);
    rest -= count * size;
  }
  // A fraction of a millisecond is not exact in binary: it is rounded again after the subtractions.
  const seconds = Number((rest / 1000).toFixed(6));
  if (seconds > 0) parts.push(`${seconds} s`);
  return parts.join(" ");
}
