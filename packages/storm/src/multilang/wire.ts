import { Console } from "node:console";
import { write } from "node:fs";

/** The two pipes of a component to Storm, and its process. */
export interface Wire {
  /** Calls back with what Storm sends, chunk by chunk, and with undefined at the end. */
  read(take: (chunk: Buffer | undefined) => void): void;
  pause(): void;
  resume(): void;
  /** Writes all of it, in order; it calls back when the pipe has taken it. */
  write(data: Buffer, done: (error?: Error) => void): void;
  /** Calls back with what is thrown where nobody catches it, promises included. */
  uncaught(take: (error: unknown) => void): void;
  /** Calls back after a time, in milliseconds, if the process is still there; it does not keep the process there. */
  after(ms: number, task: () => void): void;
  /** Ends the process. */
  exit(code: number): void;
}

const retryMs = 1;

/**
 * The wire of this process. Its standard output belongs to Storm from now on: what the program prints goes to standard
 * error, since one stray line would kill the worker and all its components.
 */
export function processWire(): Wire {
  globalThis.console = new Console(process.stderr, process.stderr);
  process.stdout.write = process.stderr.write.bind(process.stderr) as typeof process.stdout.write;
  return {
    read: (take) => {
      process.stdin.on("data", take);
      process.stdin.on("end", () => take(undefined));
      process.on("SIGTERM", () => take(undefined));
    },
    pause: () => void process.stdin.pause(),
    resume: () => void process.stdin.resume(),
    write: writeAll,
    uncaught: (take) => void process.on("uncaughtException", take),
    after: (ms, task) => void setTimeout(task, ms).unref(),
    exit: (code) => process.exit(code),
  };
}

/** Not through `process.stdout`: it blocks the process while the pipe is full. */
function writeAll(data: Buffer, done: (error?: Error) => void): void {
  write(1, data, (error, written) => {
    const rest = error === null ? data.subarray(written) : data;
    if (error !== null && error.code !== "EAGAIN") done(error);
    else if (rest.length === 0) done();
    else if (error === null) writeAll(rest, done);
    else setTimeout(writeAll, retryMs, rest, done);
  });
}
