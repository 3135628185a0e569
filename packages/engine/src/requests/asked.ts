import { WheelworkError } from "@wheelwork/core";
import { plain } from "@wheelwork/core/kernel";

/**
 * What a caller asks for, as plain JSON: filters, and the options of lists. Where there are no types, callers give anything: a field whose
 * getter throws, a list without end, another value each time. Nothing that follows meets such a value, and it is read once.
 * @throws WheelworkError WW_INVALID_REQUEST, with the path.
 */
export function asked<T extends object>(given: T): T {
  const read = plain(bare(given), "WW_INVALID_REQUEST", "what is asked for");
  if (isObject(read)) return read;
  throw new WheelworkError("WW_INVALID_REQUEST", "what is asked for is not valid", {
    problems: [{ path: "", message: mustBeObject }],
  });
}

/** The query of an HTTP request, as Fastify gives it, inherits from an object that is empty. It is as plain as any other. */
export function bare<T extends object>(given: T): T {
  try {
    const prototype: unknown = Object.getPrototypeOf(given);
    if (typeof prototype !== "object" || prototype === null || prototype === Object.prototype) return given;
    const isEmpty = Object.getPrototypeOf(prototype) === null && Reflect.ownKeys(prototype).length === 0;
    return isEmpty ? { ...given } : given;
  } catch {
    // What cannot be read is refused.
    return given;
  }
}

export const mustBeObject = "must be an object";

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A text, or a list of texts. */
export const areTexts = (given: unknown): boolean =>
  typeof given === "string" || (Array.isArray(given) && given.every((one) => typeof one === "string"));

export const mustBeTexts = "must be a text, or a list of texts";
