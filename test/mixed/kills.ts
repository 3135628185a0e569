import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "@wheelwork/testing";

/** What the hubs and the workers of the mixtures are made with. */
export interface MixedApp {
  readonly workLog: string;
  readonly unitMs: number;
  readonly version: 1 | 2;
}

/** Where a process keeps what it keeps, and which version of the program it is. */
export type Place = MixedApp & {
  /** When the request begins that is to begin later. */
  readonly startAt: number;
} & (
    | { readonly kind: "sqlite"; readonly file: string }
    | {
        readonly kind: "cluster";
        readonly brokers: string;
        readonly databaseUrl: string;
        readonly schema: string;
        readonly shards: number;
      }
  );

/** What a worker has done. */
export interface Line {
  readonly what: string;
  readonly of: string;
  readonly step: "begins" | "ends";
  readonly pid: number;
  readonly at: number;
}

/** What a process has found when all have their answers. */
export interface Done {
  readonly kind: "done";
  readonly answers: Readonly<Record<string, unknown>>;
  readonly lost: readonly string[];
  readonly sweeps: readonly string[];
  readonly bad: readonly string[];
}

/** What a process says: it has come a step further, or it is done. */
export type Told = { readonly kind: "step" } | Done;

/** How far something has come. */
export class Steps {
  #count = 0;
  #reached: { readonly count: number; readonly resolve: () => void } | undefined;

  /** It has come a step further. */
  readonly stepped = (): void => {
    this.#count++;
    if (this.#reached !== undefined && this.#count >= this.#reached.count) this.#reached.resolve();
  };

  /** Resolves when it has come so many steps further, or is done. */
  further(steps: number, done: Promise<unknown>): Promise<void> {
    return new Promise((resolve) => {
      this.#reached = { count: this.#count + steps, resolve };
      done.then(() => resolve(), resolve);
    });
  }

  /** It comes no further. */
  end(): void {
    this.#reached?.resolve();
  }
}

/** A process that runs the program. */
class Part {
  readonly child: ChildProcess;
  readonly done: Promise<Done>;
  readonly #steps = new Steps();

  constructor(place: Place) {
    const execArgv = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    this.child = fork(join(import.meta.dirname, "program.ts"), [JSON.stringify(place)], { execArgv });
    this.done = new Promise((resolve, reject) => {
      this.child.on("message", (told: Told) => {
        if (told.kind === "done") resolve(told);
        this.#steps.stepped();
      });
      this.child.once("exit", (code, signal) => {
        if (signal !== "SIGKILL") reject(new Error(`the process has ended with ${code ?? signal}`));
        this.#steps.end();
      });
    });
    this.done.catch(() => undefined);
  }

  /** Resolves when the process has come so many steps further. */
  reach(steps: number): Promise<void> {
    return this.#steps.further(steps, this.done);
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exit = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await exit;
  }
}

/** How a campaign goes: so many processes, of which one is killed at a random step again and again. */
export interface Campaign {
  readonly place: Place;
  readonly processes: number;
  readonly kills: number;
  readonly seed: number;
}

/**
 * Kills processes of the former version, and starts those of the newer one instead. The result is what a process has found that
 * was not killed, and what all workers have done.
 */
export async function playKills({
  place,
  processes,
  kills,
  seed,
}: Campaign): Promise<Done & { readonly lines: Line[] }> {
  const random = seededRandom(seed);
  writeFileSync(place.workLog, "");
  const parts = Array.from({ length: processes }, () => new Part({ ...place, version: 1 }));
  try {
    // Each process of the former version is killed once, at least.
    for (let kill = 0; kill < Math.max(kills, processes); kill++) {
      const at = kill % processes;
      await parts[at]?.reach(5 + random.int(200));
      await parts[at]?.kill();
      parts[at] = new Part({ ...place, version: 2 });
    }
    const done = await Promise.all(parts.map((part) => part.done));
    return { ...(done[0] as Done), lines: linesOf(place.workLog) };
  } finally {
    for (const part of parts) await part.kill();
  }
}

/** What all workers have written down. */
export const linesOf = (workLog: string): Line[] =>
  readFileSync(workLog, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);

/** Work on one thing that began while other work on it was under way, in a process that lived on. */
export function overlaps(lines: readonly Line[]): string[] {
  const open = new Map<string, Line>();
  const problems: string[] = [];
  for (const line of lines) {
    if (!/^(sweep|site )/.test(line.what)) continue;
    const other = open.get(line.what);
    if (line.step === "ends") {
      if (other?.pid === line.pid && other.of === line.of) open.delete(line.what);
      continue;
    }
    if (other !== undefined && other.pid === line.pid && other.of !== line.of)
      problems.push(`${line.of} begins with ${line.what} while ${other.of} is at it`);
    open.set(line.what, line);
  }
  return problems;
}
