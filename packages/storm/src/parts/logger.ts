import type { Logger } from "@wheelwork/engine";

/** Writes to the log of Storm's worker; errors are shown beside the component, too. */
export function stormLogger(output: {
  log(message: string, level?: "debug" | "info" | "warn" | "error"): void;
  error(message: string): void;
}): Logger {
  const line = (fields: object, message: string): string =>
    Object.keys(fields).length === 0 ? message : `${message} ${JSON.stringify(fields)}`;
  return {
    debug: () => {},
    info: (fields, message) => output.log(line(fields, message), "info"),
    warn: (fields, message) => output.log(line(fields, message), "warn"),
    error: (fields, message) => output.error(line(fields, message)),
  };
}
