import { pino } from "pino";
import type { Logger } from "./ports.ts";

/** Options of `consoleLogger`. */
export interface LoggerOptions {
  /** Default `info`. */
  readonly level?: "debug" | "info" | "warn" | "error" | "silent";
  readonly name?: string;
}

/** A logger that writes a line of JSON each to standard error, where it is in nobody's way. */
export function consoleLogger(options: LoggerOptions = {}): Logger {
  return pino(
    { level: options.level ?? "info", name: options.name ?? "wheelwork" },
    pino.destination({ dest: 2, sync: true }),
  );
}

/** Logs nothing. */
export const silent: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
