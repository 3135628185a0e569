import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** One line of the results: the name of the bench, and what was measured. */
export interface Figure {
  readonly bench: string;
  readonly [name: string]: string | number | undefined;
}

/** What a bench gets. */
interface BenchContext {
  /** Measure the full size, however long it takes. */
  readonly full: boolean;
  /** Where stores are made; it must be on the disk that is to be measured. */
  readonly dir: string;
  report(figure: Figure): void;
  /** Tells the person who waits what is going on. */
  note(text: string): void;
}

/** A benchmark: what `npm run bench -- <name>` runs. */
export interface Bench {
  readonly name: string;
  /** What it measures, for the help text. */
  readonly about: string;
  run(context: BenchContext): Promise<void>;
}

/** A folder of its own for the time of `body`. */
export async function withFolder<T>(parent: string, body: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(parent, "wheelwork-bench-"));
  try {
    return await body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export const defaultFolder = tmpdir();

/** What has been measured of some workflows: how long each took, and how long all together. */
export class Measured {
  readonly #latencies: number[] = [];
  #seconds = 0;

  get count(): number {
    return this.#latencies.length;
  }

  /** Workflows a second. */
  get rate(): number {
    return this.#latencies.length / this.#seconds;
  }

  add(milliseconds: number): void {
    this.#latencies.push(milliseconds);
  }

  /** Adds the time in which the latencies that were added since were measured. */
  elapsed(milliseconds: number): void {
    this.#seconds += milliseconds / 1000;
  }

  percentile(share: number): number {
    return percentile(this.#latencies, share);
  }

  /** The figures that every bench of workflows has. */
  figures(callsEach: number): { workflows_s: number; calls_s: number; p50_ms: number; p99_ms: number } {
    return {
      workflows_s: Math.round(this.rate),
      calls_s: Math.round(this.rate * callsEach),
      p50_ms: rounded(this.percentile(0.5)),
      p99_ms: rounded(this.percentile(0.99)),
    };
  }
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Three digits are as much as a noisy machine gives. */
export function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

/** Runs `work` again and again, `inFlight` at the same time, for so many milliseconds and until what began has ended. */
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

export const memoryMb = (): number => Math.round(process.memoryUsage().rss / 1e6);

/** What runs in a process of its own, so that neither memory nor garbage of another part is measured with it. */
export interface Phase<A, R> {
  readonly module: string;
  readonly name: string;
  readonly "~types"?: { readonly argument: (argument: A) => void; readonly result: R };
}

const phases = new Map<string, (argument: never) => Promise<unknown>>();

/** Declares a phase at the top level of a module. */
export function phase<A, R>(module: string, name: string, body: (argument: A) => Promise<R>): Phase<A, R> {
  phases.set(name, body);
  return { module, name };
}

/** How a phase ends: by itself, or, for benches of a restart after a crash, killed when its result is there. */
export type Ending = "exit" | "kill";

/** Runs a phase in a process of its own. */
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

/** The other side of `inChild`. */
export async function runPhase(module: string, name: string, argument: string): Promise<void> {
  await import(module);
  const body = phases.get(name);
  if (body === undefined) throw new Error(`${module} has no phase ${name}`);
  const result = await body(JSON.parse(argument) as never);
  // A phase without a result sends null: IPC has no undefined.
  process.send?.(result ?? null);
}
