import { WheelworkError } from "@wheelwork/core";

/** The error of a store that never takes such content. Nothing was written. */
export function refusedContent(error: unknown): WheelworkError {
  if (error instanceof WheelworkError && error.code === "WW_STORE_REFUSED") return error;
  const message = error instanceof Error ? error.message : String(error);
  return new WheelworkError("WW_STORE_REFUSED", `the store does not take what it is given: ${message}`, {
    next: "Keep less, or something else. Then retry the incident, or send the request again.",
    cause: error,
  });
}

/** Whether a batch could not be made into texts: what is in it is too long, too deep, or no JSON. */
export const isUnstorable = (error: unknown): boolean =>
  error instanceof TypeError || error instanceof RangeError;

/**
 * Whether a body that writes a commit and then undoes it gets through. `undo` ends it: it throws.
 * @throws Error when it fails for another reason than its content.
 */
export async function isTaken(tryOut: (undo: () => never) => unknown): Promise<boolean> {
  const undone = new Error("tried out, and undone");
  try {
    await tryOut(() => {
      throw undone;
    });
    return true;
  } catch (error) {
    if (error === undone || (error instanceof WheelworkError && error.cause === undone)) return true;
    if (error instanceof WheelworkError && error.code === "WW_STORE_REFUSED") return false;
    throw error;
  }
}
