import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

const program = join(import.meta.dirname, "program.ts");

export interface Campaign {
  /** The path of a SQLite file, or the address of a PostgreSQL server. */
  readonly store: string;
  /** The schema on the server; empty: `store` is a file. */
  readonly schema: string;
  readonly seed: number;
  readonly values: number;
  readonly kills: number;
}

export interface Outcome {
  readonly kills: number;
  /** Runs that ended with a result, and those whose value was refused somewhere. */
  readonly results: number;
  readonly refused: number;
  readonly problems: readonly string[];
}

/**
 * Sends random values through an engine whose process is killed again and again, and then asks for all answers once more. In
 * each process, whatever code sees is compared with what was sent.
 */
export async function sendValues({ store, schema, seed, values, kills }: Campaign): Promise<Outcome> {
  const done = new Set<number>();
  const problems: string[] = [];
  let killed = 0;
  let ended: readonly string[] = [];

  const runFrom = async (from: number, killAfter: number): Promise<void> => {
    const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    const args = [...flags, program, store, schema, String(seed), String(from), String(values)];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
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
    if (code !== 0 && code !== null) problems.push(`the process ended with ${code}`);
  };

  const firstOpen = (): number => {
    let n = 0;
    while (done.has(n)) n++;
    return n;
  };
  const share = Math.max(1, Math.floor(values / (kills + 1)));
  for (let kill = 0; kill < kills; kill++)
    await runFrom(firstOpen(), 1 + Math.floor(share / 2) + ((kill * 7919) % share));
  await runFrom(firstOpen(), Number.POSITIVE_INFINITY);
  // All answers, as the store has them now.
  await runFrom(0, Number.POSITIVE_INFINITY);
  const [results = "0", refused = "0"] = ended;
  return { kills: killed, results: Number(results), refused: Number(refused), problems };
}
