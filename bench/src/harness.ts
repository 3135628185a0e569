import { fork, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";

/** One line of the results: the name of the benchmark, and what it measured. */
export interface Figure {
  readonly bench: string;
  readonly [name: string]: string | number | undefined;
}

/** What a benchmark gets. */
interface BenchContext {
  /** Measure the full size, even if it takes hours. */
  readonly full: boolean;
  /** The folder for stores. It must be on the disk that you want to measure. */
  readonly dir: string;
  /** Adds a line to the results. */
  report(figure: Figure): void;
  /** Shows progress on standard error. */
  note(text: string): void;
}

/** A benchmark. `npm run bench -- <name>` runs it. */
export interface Bench {
  readonly name: string;
  /** What it measures, for the help text. */
  readonly about: string;
  run(context: BenchContext): Promise<void>;
}

/** Gives `body` a folder in `parent`, which is made if need be, and removes it afterwards. */
export async function withFolder<T>(parent: string, body: (folder: string) => Promise<T>): Promise<T> {
  mkdirSync(parent, { recursive: true });
  const folder = mkdtempSync(join(parent, "wheelwork-bench-"));
  try {
    return await body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The folder for stores, if the user names no other. */
export const defaultFolder = tmpdir();

/** The times of some workflows: the latency of each, and the time of all together. */
export class Measured {
  readonly #latencies: number[] = [];
  #seconds = 0;

  /** How many workflows were measured. */
  get count(): number {
    return this.#latencies.length;
  }

  /** Workflows per second. */
  get rate(): number {
    return this.#latencies.length / this.#seconds;
  }

  /** Adds the latency of one workflow. */
  add(milliseconds: number): void {
    this.#latencies.push(milliseconds);
  }

  /** Adds the time that a series of workflows took together. */
  elapsed(milliseconds: number): void {
    this.#seconds += milliseconds / 1000;
  }

  /** The latency that this share of the workflows did not exceed, in milliseconds. */
  percentile(share: number): number {
    return percentile(this.#latencies, share);
  }

  /** The figures that every benchmark of workflows reports. `callsEach`: durable calls of one workflow. */
  figures(callsEach: number): { workflows_s: number; calls_s: number; p50_ms: number; p99_ms: number } {
    return {
      workflows_s: Math.round(this.rate),
      calls_s: Math.round(this.rate * callsEach),
      p50_ms: rounded(this.percentile(0.5)),
      p99_ms: rounded(this.percentile(0.99)),
    };
  }
}

/** The value that this share of the values does not exceed. `share`: 0 to 1. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** A number with three digits: a noisy machine gives no more. */
export function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

/** Repeats `work` for so many milliseconds, `inFlight` at the same time, and waits for the last ones. */
export async function drive(
  inFlight: number,
  milliseconds: number,
  measured: Measured,
  work: () => Promise<void>,
): Promise<void> {
  const began = performance.now();
  const client = async (): Promise<void> => {
    for (let start = performance.now(); start < began + milliseconds;) {
      await work();
      const end = performance.now();
      measured.add(end - start);
      start = end;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, client));
  measured.elapsed(performance.now() - began);
}

/** Runs `work` `count` times, `inFlight` at the same time. */
export async function repeat(
  inFlight: number,
  count: number,
  work: (index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const client = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: Math.min(inFlight, count) }, client));
}

/** The resident memory of this process, in megabytes. */
export const memoryMb = (): number => Math.round(process.memoryUsage().rss / 1e6);

/**
 * A part of a benchmark that runs in its own process. So it is measured without the memory and garbage of other parts.
 */
export interface Phase<A, R> {
  readonly module: string;
  readonly name: string;
  readonly "~types"?: { readonly argument: (argument: A) => void; readonly result: R };
}

const phases = new Map<string, (argument: never) => Promise<unknown>>();

/** Declares a phase. Call it at the top level of a module. */
export function phase<A, R>(module: string, name: string, body: (argument: A) => Promise<R>): Phase<A, R> {
  phases.set(name, body);
  return { module, name };
}

/** How a phase ends: by itself, or killed as soon as it has its result, to measure a restart after a crash. */
export type Ending = "exit" | "kill";

/** Runs a phase in its own process. @throws Error when the process ends without a result. */
export async function inChild<A, R>(what: Phase<A, R>, argument: A, ending: Ending = "exit"): Promise<R> {
  const child = fork(
    new URL("./child.ts", import.meta.url),
    [what.module, what.name, JSON.stringify(argument)],
    {
      execArgv: process.execArgv,
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    },
  );
  const result = await new Promise<R>((resolve, reject) => {
    child.once("message", (message) => resolve(message as R));
    child.once("error", reject);
    child.once("exit", (code, signal) =>
      reject(new Error(`the phase ${what.name} ended early (${signal ?? code})`)),
    );
  });
  const over = child.exitCode === null && child.signalCode === null ? once(child, "exit") : undefined;
  if (ending === "kill") child.kill("SIGKILL");
  else child.disconnect();
  await over;
  return result;
}

/**
 * Gives this process one processor of its own, so that the load of another one does not take from it what it is measured by. The result is
 * whether it could: on Linux with `taskset`, and with two processors at least.
 */
export function pinTo(processor: 0 | 1): boolean {
  if (cpus().length < 2) return false;
  return spawnSync("taskset", ["-a", "-p", "-c", String(processor), String(process.pid)]).status === 0;
}

/** Runs a phase in this process, which `inChild` has started. */
export async function runPhase(module: string, name: string, argument: string): Promise<void> {
  await import(module);
  const body = phases.get(name);
  if (body === undefined) throw new Error(`${module} has no phase ${name}`);
  const result = await body(JSON.parse(argument) as never);
  // A phase without a result sends null: IPC has no undefined.
  process.send?.(result ?? null);
}
