/**
 * Why a value cannot be a key, or an id; undefined: it can. A character that takes two units of a JavaScript text counts once.
 * @param max How many characters it may have.
 */
export function textProblem(given: unknown, max: number): string | undefined {
  if (typeof given !== "string") return "must be a text";
  if (!given.isWellFormed()) return "has half of a surrogate pair: it was cut in the middle of a character";
  // Each character is one unit, or two. What is much longer is not counted.
  const length = given.length <= max || given.length > 2 * max ? given.length : Array.from(given).length;
  return length === 0 || length > max ? `must be 1 to ${max} characters` : undefined;
}

/** What the name of a hub or a spoke may be. Names become parts of keys, topics and file names. */
export const namePattern = /^[A-Za-z][A-Za-z0-9_.-]{0,99}$/;

/** What is wrong with another name, for lists of problems. */
export const mustBeName = "must be a letter, then letters, digits, '_', '.' or '-', 100 characters at most";

/** Whether a value may be the name of a hub or a spoke. */
export const isName = (value: unknown): value is string =>
  typeof value === "string" && namePattern.test(value);
