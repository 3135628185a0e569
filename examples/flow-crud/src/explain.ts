import { WheelworkError } from "wheelwork";

/** What an error of a command says: a sentence for what the user has to set right, and a stack for what we have. */
export function explain(error: unknown): string {
  if (error instanceof WheelworkError && error.code === "WW_CONFIG" && error.message.includes("partitions"))
    return `${error.message}\n  After a try with another number, or with Storm: npm run services -- wipe forgets what it left.`;
  if (error instanceof WheelworkError || error instanceof RangeError) return error.message;
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error ? String(error.code) : "";
  if (code === "EADDRINUSE") return `${error.message}\n  Stop what listens there, or choose another --port.`;
  if (code === "EACCES" || code === "EADDRNOTAVAIL" || code.startsWith("ERR_PARSE_ARGS"))
    return error.message;
  return error.stack ?? error.message;
}
