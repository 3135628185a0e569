import { WheelworkError } from "wheelwork";

/** The text for an error of a command: a sentence if the user can correct it, and a stack if only we can. */
export function explain(error: unknown): string {
  if (error instanceof WheelworkError && error.code === "WW_CONFIG" && error.message.includes("partitions"))
    return `${error.message}\n  If you have tried another number of shards: npm run services -- wipe deletes what it left.`;
  if (error instanceof WheelworkError || error instanceof RangeError) return error.message;
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error ? String(error.code) : "";
  if (code === "EADDRINUSE") return `${error.message}\n  Stop what listens there, or choose another --port.`;
  if (code === "EACCES" || code === "EADDRNOTAVAIL" || code.startsWith("ERR_PARSE_ARGS"))
    return error.message;
  return error.stack ?? error.message;
}
