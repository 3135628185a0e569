import { isError, stackOf, textOf } from "@wheelwork/core/kernel";
import { writeSync } from "node:fs";
import { hostname } from "node:os";
import { isatty } from "node:tty";
import type { Logger } from "./ports.ts";

// It is written here, and not taken from a package: so an engine has one dependency fewer, and a bundler makes one file of a program
// with an engine. Its lines are those of pino, whose tools read them. Any logger of pino can take its place.

/** The levels of log lines, with the numbers that pino gives them. */
const levels = { debug: 20, info: 30, warn: 40, error: 50 } as const;

type Level = keyof typeof levels;

/** Options of `consoleLogger`. */
export interface LoggerOptions {
  /** Default `info`. */
  readonly level?: Level | "silent";
  readonly name?: string;
  /** `text` is for people, `json` is a line of JSON each. Default: `text` on a terminal, and else `json`. */
  readonly format?: "json" | "text";
}

const standardError = 2;

/** A logger that writes to standard error, where it is in nobody's way. A line is written when the call returns. */
export function consoleLogger({ level = "info", name = "wheelwork", format }: LoggerOptions = {}): Logger {
  const least = level === "silent" ? Number.POSITIVE_INFINITY : levels[level];
  const isText = (format ?? (isatty(standardError) ? "text" : "json")) === "text";
  const head = { pid: process.pid, hostname: hostname() };
  const at =
    (own: Level): Logger[Level] =>
    (fields, message) => {
      if (levels[own] < least) return;
      const now = Date.now();
      const line = isText
        ? textLine(own, now, fields, message)
        : jsonLine({ level: levels[own], time: now, ...head, name, ...fields, msg: message });
      write(`${line}\n`);
    };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

/** How often a pipe that is full is tried again, and the pause, in milliseconds. */
const [writeTries, writePauseMs] = [200, 5];
const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** What nobody takes is dropped: a log must not end a program, nor hold it up for ever. */
function write(text: string): void {
  let left: Uint8Array = Buffer.from(text);
  for (let attempt = 0; attempt < writeTries && left.length > 0; attempt++) {
    try {
      left = left.subarray(writeSync(standardError, left));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
      Atomics.wait(sleeper, 0, 0, writePauseMs);
    }
  }
}

/** An error as a log line has it: JSON has nothing of one by itself. */
function plainError({ name, message, stack, cause, ...more }: Error): object {
  const chain = cause === undefined ? {} : { cause };
  return { type: name, message, ...(stack === undefined ? {} : { stack }), ...more, ...chain };
}

function replacer(_key: string, value: unknown): unknown {
  if (isError(value, Error)) return plainError(value);
  return typeof value === "bigint" ? String(value) : value;
}

function jsonOf(value: unknown): string {
  try {
    return JSON.stringify(value, replacer) ?? "null";
  } catch (error) {
    return JSON.stringify(`(cannot be written: ${textOf(error)})`);
  }
}

function jsonLine(fields: Readonly<Record<string, unknown>>): string {
  try {
    return JSON.stringify(fields, replacer);
  } catch {
    // One of them is at fault, and the others are worth a line.
    const all = Object.entries(fields).map(([name, value]) => `${JSON.stringify(name)}:${jsonOf(value)}`);
    return `{${all.join(",")}}`;
  }
}

/** A line for people: time, level, message and fields. A stack follows on lines of its own. */
function textLine(level: Level, now: number, fields: object, message: string): string {
  const time = new Date(now).toTimeString().slice(0, 8);
  const stacks: string[] = [];
  const shown = Object.entries(fields).flatMap(([name, value]: [string, unknown]) => {
    if (value === undefined) return [];
    if (isError(value, Error)) {
      const text = textOf(value);
      stacks.push(stackOf(value) ?? text);
      return [`${name}=${word(text)}`];
    }
    if (name === "stack" && typeof value === "string") {
      stacks.push(value);
      return [];
    }
    return [`${name}=${word(value)}`];
  });
  const first = [`${time} ${level.toUpperCase().padEnd(5)} ${safe(message)}`, ...shown].join("  ");
  const rest = stacks.flatMap((stack) => stack.split("\n")).map((line) => `    ${safe(line.trim())}`);
  return [first, ...rest].join("\n");
}

const word = (value: unknown): string =>
  typeof value === "string" && /^[^\s"=]+$/.test(value) ? safe(value) : safe(jsonOf(value));

/** Keys and messages are texts of others: none of them controls a terminal. */
const safe = (text: string): string =>
  // eslint-disable-next-line no-control-regex
  text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (char) =>
    char === "\t" ? " " : `\\u${(char.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`,
  );

const known: readonly unknown[] = [...Object.keys(levels), "silent"];
let given: Logger | undefined = undefined;

/**
 * The logger of engines that are given none: warnings and errors go to standard error. The environment variable
 * WHEELWORK_LOG_LEVEL sets another level.
 */
export function defaultLogger(): Logger {
  const level = process.env["WHEELWORK_LOG_LEVEL"];
  given ??= consoleLogger({ level: known.includes(level) ? (level as Level | "silent") : "warn" });
  return given;
}

/** A logger that logs nothing. */
export const silentLogger: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
