import { setTimeout as sleep } from "node:timers/promises";
import { seeded } from "../../src/floodlight/faults.ts";
import { checkAnswers, checkFiles, checkRequests } from "./checks.ts";
import { Client, type Told, type Wish } from "./client.ts";
import { System } from "./system.ts";

/** What is to be done to the system. */
export interface CrashPlan {
  readonly kills: number;
  /** No more kills after so many milliseconds. Default: no limit. */
  readonly forMs?: number;
  /** Of all that is drawn. What the processes make of it depends on the machine. */
  readonly seed: number;
  /** The folder of the system's files. */
  readonly data: string;
  /** Requests at a time. */
  readonly clients: number;
  /** Is told how it goes. */
  readonly progress?: (line: string) => void;
}

/** What came of it. */
export interface CrashReport {
  readonly kills: number;
  /** Of these: while the system started. */
  readonly early: number;
  readonly requests: number;
  /** Requests by the status of their answer. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Cancels that were accepted. */
  readonly cancels: number;
  /** How often an answer was given in all. */
  readonly told: number;
  /** Milliseconds from the start of the process until it took requests, in order of size. */
  readonly readyMs: readonly number[];
  /** Rules that stayed on a switch after a failure, each named by the answer. */
  readonly zombies: number;
  /** Everything that breaks the promise; empty is good. */
  readonly problems: readonly string[];
}

/** Messages between workers and switches take time, and some are lost, doubled or late. */
const troubles = ["--latency", "1", "--loss", "0.001", "--duplicates", "0.01", "--reorder", "0.01"];

/**
 * Kills the system with SIGKILL at random moments under load, start-ups included, with clients that insist on their
 * answers; then compares what they were told with what the system says, what its files hold and what is on the switches.
 */
export async function crash(plan: CrashPlan): Promise<CrashReport> {
  const { kills: most, forMs = Number.POSITIVE_INFINITY, seed, data, clients, progress } = plan;
  const random = seeded(seed);
  const system = await System.on(data, [...troubles, "--seed", `${seed}`]);
  const readyMs: number[] = [];
  const start = async (): Promise<void> => {
    const began = performance.now();
    system.launch();
    await system.ready();
    readyMs.push(performance.now() - began);
  };
  const told: Told[] = [];
  let [kills, early, sent] = [0, 0, 0];
  const load = { on: true };
  const work = async (): Promise<void> => {
    const client = new Client(system.url);
    while (load.on) told.push(await client.create(wishOf(seed, sent++, random)));
  };
  try {
    await start();
    const working = Promise.all(Array.from({ length: clients }, work));
    // It is awaited below; until then it must not end the process.
    working.catch(() => {});
    const end = performance.now() + forMs;
    for (let reported = 0; kills < most && performance.now() < end;) {
      // Mostly so soon that no long flow can end; now and then late enough for it.
      await sleep(random() * (random() < 0.8 ? 700 : 3000));
      await system.kill("SIGKILL");
      kills++;
      // Until one start is let through: while it loads its code, reads its files, or goes on with what was open.
      while (kills < most && random() < 0.3) {
        system.launch();
        await sleep(random() * 1.2 * median(readyMs));
        await system.kill("SIGKILL");
        kills++;
        early++;
      }
      await start();
      if (kills - reported < 20) continue;
      reported = kills;
      progress?.(`${kills} kills, ${told.length} requests answered`);
    }
    // On a slow machine few requests are answered between two kills.
    while (told.length <= kills) await sleep(20);
    load.on = false;
    await working;
    progress?.(`${told.length} requests answered; now everything is compared`);

    const problems = [...(await checkAnswers(system.url, told)), ...(await checkRequests(system.url, told))];
    const code = await system.kill("SIGTERM");
    if (code !== 0) problems.push(`SIGTERM ended the system with ${code}, not with 0`);
    const files = checkFiles(data, told);
    problems.push(...files.problems);
    const statuses: Record<string, number> = {};
    for (const { status } of told) statuses[status] = (statuses[status] ?? 0) + 1;
    return {
      kills,
      early,
      requests: told.length,
      statuses,
      cancels: told.filter(({ cancelled }) => cancelled).length,
      told: told.reduce((sum, request) => sum + request.told, 0),
      readyMs: readyMs.toSorted((a, b) => a - b),
      zombies: files.zombies,
      problems,
    };
  } finally {
    load.on = false;
    // What went wrong before is what the caller must see.
    await system.kill("SIGKILL").catch(() => null);
  }
}

/** The flow that the next client wants: of any length up to 1000, short ones more often; some fail, some are cancelled. */
function wishOf(seed: number, number: number, random: () => number): Wish {
  const draw = random();
  return {
    key: `key-${seed}-${number}`,
    flowid: `flow-${number}`,
    length: Math.floor(1001 ** random()),
    error: draw < 0.7 ? null : draw < 0.8 ? 0 : draw < 0.9 ? 1 : 2,
    cancelAfterMs: random() < 0.1 ? random() * 100 : undefined,
  };
}

/** The value in the middle; 0 of none. */
export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
