import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

const program = join(import.meta.dirname, "program.ts");

/** Where the values go. */
interface Place {
  /** The path of a SQLite file, or the address of a PostgreSQL server. */
  readonly store: string;
  /** The schema on the server; empty: `store` is a file. */
  readonly schema: string;
  /** The brokers of a cluster. Absent: it is an embedded engine. */
  readonly brokers?: string;
  readonly seed: number;
}

/** Which values a process sends. */
export interface ProgramOptions extends Place {
  readonly from: number;
  readonly to: number;
  readonly step: number;
}

export interface Campaign extends Place {
  readonly values: number;
  readonly kills: number;
  /** How many processes share the values. Default 1. */
  readonly processes?: number;
}

export interface Outcome {
  readonly kills: number;
  /** Runs that ended with a result, and those whose value was refused somewhere. */
  readonly results: number;
  readonly refused: number;
  readonly problems: readonly string[];
}

/**
 * Sends random values through engines whose processes are killed again and again, and then asks for all answers once more. In
 * each process, whatever code sees is compared with what was sent.
 */
export async function sendValues(campaign: Campaign): Promise<Outcome> {
  const { values, kills, processes = 1, ...place } = campaign;
  const done = new Set<number>();
  const problems: string[] = [];
  const children = new Set<ChildProcess>();
  let killed = 0;
  let ended: readonly string[] = [];

  const runFrom = async (from: number, step: number, killAfter: number): Promise<void> => {
    const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    const options: ProgramOptions = { ...place, from, to: values, step };
    const child = spawn(process.execPath, [...flags, program, JSON.stringify(options)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    children.add(child);
    const closed = once(child, "close");
    let lines = 0;
    for await (const line of createInterface({ input: child.stdout })) {
      const [word = "", ...rest] = line.split(" ");
      if (word === "problem") problems.push(rest.join(" "));
      else if (word === "end") ended = rest;
      else done.add(Number(rest[0]));
      // It is killed in the middle of what follows.
      if (++lines === killAfter && child.kill("SIGKILL")) killed++;
    }
    const [code] = (await closed) as [number | null];
    children.delete(child);
    if (code !== 0 && code !== null) problems.push(`the process ended with ${code}`);
  };

  /** One of the processes, over all its lives. */
  const send = async (first: number, ownKills: number): Promise<void> => {
    const firstOpen = (): number => {
      let n = first;
      while (done.has(n)) n += processes;
      return n;
    };
    const share = Math.max(1, Math.floor(values / processes / (ownKills + 1)));
    for (let kill = 0; kill < ownKills; kill++)
      await runFrom(firstOpen(), processes, 1 + Math.floor(share / 2) + ((kill * 7919) % share));
    await runFrom(firstOpen(), processes, Number.POSITIVE_INFINITY);
  };
  try {
    const all = Array.from({ length: processes }, (_, first) =>
      send(first, Math.floor((kills + processes - 1 - first) / processes)),
    );
    await Promise.all(all);
    // All answers, as the store has them now.
    await runFrom(0, 1, Number.POSITIVE_INFINITY);
  } finally {
    for (const child of children) child.kill("SIGKILL");
  }
  const [results = "0", refused = "0"] = ended;
  return { kills: killed, results: Number(results), refused: Number(refused), problems };
}
