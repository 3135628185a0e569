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

const levels: readonly unknown[] = ["debug", "info", "warn", "error", "silent"];
let given: Logger | undefined = undefined;

/**
 * The logger of engines that are given none: warnings and errors go to standard error. The environment variable
 * WHEELWORK_LOG_LEVEL sets another level.
 */
export function defaultLogger(): Logger {
  const level = process.env["WHEELWORK_LOG_LEVEL"];
  given ??= consoleLogger({ level: levels.includes(level) ? (level as "warn") : "warn" });
  return given;
}

/** A logger that logs nothing. */
export const silentLogger: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
