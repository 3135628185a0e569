import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { RunEvent } from "@wheelwork/core";
import { seededRandom } from "@wheelwork/testing";
import { prepareWorkLog } from "./app.ts";
import {
  misanswered,
  misplaced,
  mistimed,
  mistold,
  workedIn,
  type Answered,
  type Heard,
  type ScheduleEvent,
} from "./checks.ts";
import { EventsReader } from "./events.ts";
import { misshown, watch, type Watched } from "./watching.ts";

/** Where an engine keeps what it keeps. `workLog`: where workers write when their work begins. */
export type Place = { readonly workLog: string } & (
  | { readonly kind: "sqlite"; readonly file: string }
  | ({ readonly kind: "cluster" } & Servers)
  | ({ readonly kind: "storm"; readonly inbox: string } & Servers)
);

interface Servers {
  readonly brokers: string;
  readonly databaseUrl: string;
  readonly schema: string;
  readonly shards: number;
}

/** What a process is asked. */
export type Asked = { readonly number: number } & Question;
type Question =
  | {
      readonly kind: "submit" | "call";
      readonly hub: string;
      readonly request: object;
      readonly options: { readonly key: string; readonly startAt?: number };
    }
  | { readonly kind: "view" | "history"; readonly id: string }
  | {
      readonly kind: "list";
      readonly filter: { readonly hub?: string; readonly status?: "lost" | "incident" };
    };

/** What it says. */
export interface Told {
  readonly number: number;
  readonly value?: unknown;
  readonly error?: string;
}

/** How a campaign breaks what it runs on, besides its own processes, and other ways to ask. */
export interface Around {
  /** Each breaks something, and sees to it that it is mended. */
  readonly faults: Readonly<Record<string, (random: () => number) => Promise<void>>>;
  /** Sends requests of the hub `create` otherwise, and gives their answers. */
  readonly ask?: (key: string, request: object) => Promise<unknown>;
  /** What was wrong with what came of that. */
  readonly problems?: () => readonly string[];
}

export interface Campaign {
  readonly place: Place;
  readonly processes: number;
  readonly kills: number;
  readonly seed: number;
  /** Default: only the processes are killed. */
  readonly around?: Around;
}

export interface Report {
  readonly requests: number;
  /** How often each kind of answer was given. */
  readonly answers: Readonly<Record<string, number>>;
  /** How often each fault was made. */
  readonly faults: Readonly<Record<string, number>>;
  readonly ticks: number;
  /** How long it took after the last fault until all posts and ticks had arrived. */
  readonly settledMs: number;
  /** Attempts that were begun, those of killed processes included. */
  readonly attempts: number;
  /** How many requests were watched, and how many streams that took. */
  readonly watched: number;
  readonly streams: number;
  readonly problems: readonly string[];
}

/** A campaign goes on until so much has happened. */
export const leastRequests = 50;
export const leastWatched = 10;
export const leastTicks = 4;

/** A fault is over when so many requests have been answered after it, within so many milliseconds. */
const [answersAfterFault, mendedWithinMs] = [5, 300_000];
/** How long posts and ticks may take when nothing breaks any more, in milliseconds. */
const settledWithinMs = 600_000;
/** How many requests are compared with what was told of all, and how long that may take to come, in milliseconds. */
const [maxCompared, toldWithinMs] = [100, 60_000];
/** So many requests tell one ledger: what it knows grows with each. */
const perLedger = 50;

/** A process with an engine. */
class Part {
  readonly child: ChildProcess;
  readonly ready: Promise<unknown>;
  /** Where it serves HTTP, once it is ready. */
  port: number | undefined = undefined;
  readonly #waiting = new Map<number, (told: Told | undefined) => void>();
  #number = 0;
  #isDead = false;

  constructor(place: Place) {
    const execArgv = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    this.child = fork(join(import.meta.dirname, "program.ts"), [JSON.stringify(place)], { execArgv });
    this.ready = Promise.race([
      new Promise<void>((resolve) => {
        this.child.on("message", (told: Told) => {
          if (told.number < 0) {
            this.port = told.value as number;
            return resolve();
          }
          this.#waiting.get(told.number)?.(told);
          this.#waiting.delete(told.number);
        });
      }),
      once(this.child, "exit"),
    ]);
    this.child.once("exit", () => {
      this.#isDead = true;
      for (const settle of this.#waiting.values()) settle(undefined);
    });
  }

  /** undefined: it has died. */
  ask(question: Question): Promise<Told | undefined> {
    if (this.#isDead) return Promise.resolve(undefined);
    const number = ++this.#number;
    return new Promise((resolve) => {
      this.#waiting.set(number, resolve);
      this.child.send({ number, ...question }, (error) => {
        if (error !== null) resolve(undefined);
      });
    });
  }

  async kill(): Promise<void> {
    if (this.#isDead) return;
    const gone = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await gone;
  }
}

/** What the operations of a request came to: a pair has two of them. */
function answersOf(one: Answered): Answered[] {
  const { did } = (one.answer.value ?? {}) as {
    did?: readonly { readonly id: string; readonly fence: number }[];
  };
  if (did === undefined) return [one];
  return ["a", "b"].map((laneKey) => {
    const id = `${one.id}-${laneKey}`;
    const value = did.find((each) => each.id === id) ?? { id: "none", fence: 0 };
    return { ...one, hub: "create", laneKey, id, answer: { kind: "result", value } };
  });
}

/** What requests do that come while others work, and what is in it. Requests to `verify` have equal bodies, and join one another. */
const hubNames = ["create", "create", "update", "reroute", "verify", "ping", "report", "report"] as const;

/**
 * Operations of a few lanes, over processes that are killed again and again. In the end each has its answer, what each has started and
 * signalled is there once and in its order, no place was ever doubled, and the schedule has made each tick once.
 */
export async function takeTurns({ place, processes, kills, seed, around }: Campaign): Promise<Report> {
  const random = seededRandom(seed);
  const problems: string[] = [];
  prepareWorkLog(place.workLog);
  const parts: Part[] = Array.from({ length: processes }, () => new Part(place));
  await Promise.all(parts.map(({ ready }) => ready));
  /** Asks one process after the other until one answers. */
  const insist = async (question: Question): Promise<unknown> => {
    for (;;) {
      const told = await random.pick(parts).ask(question);
      if (told !== undefined && told.error === undefined) return told.value;
      await sleep(50);
    }
  };

  const portOf = (): number | undefined => random.pick(parts).port;
  const watched: (Watched & { readonly startAt?: number })[] = [];
  const watching: Promise<void>[] = [];
  /** Somebody watches a request, which may be refused at once. */
  const watchOne = async (id: unknown, startAt?: number): Promise<void> => {
    if (typeof id !== "string") return;
    try {
      const seen = await watch(id, portOf, random.chance(0.7) ? 0 : undefined);
      watched.push(startAt === undefined ? seen : { ...seen, startAt });
    } catch (error) {
      problems.push(String(error));
    }
  };

  const readers = [
    new EventsReader(portOf, () => 3_600_000),
    new EventsReader(portOf, () => 50 + random.int(1000)),
  ];
  await Promise.all(readers.map(({ begun }) => begun));

  const answered: Answered[] = [];
  let requests = 0;
  const killing = new AbortController();
  const client = async (): Promise<void> => {
    while (!killing.signal.aborted) {
      const number = requests++;
      // Calls into lanes of other shards.
      const isPair = random.chance(0.15);
      const [key, hub] = [`r${number}`, isPair ? "pair" : random.pick(hubNames)];
      const laneKey = random.pick(["a", "b"]);
      const group = Math.floor(number / perLedger);
      const isEqual = hub === "verify";
      const id = isEqual ? `v${group}${laneKey}` : key;
      const ms = isEqual ? 30 : 5 + random.int(40);
      const ledger = `ledger-${group}`;
      const request = { id, key: laneKey, ms, ledger };
      const startAt = random.chance(0.1) ? Date.now() + random.int(2000) : undefined;
      const options = startAt === undefined ? { key } : { key, startAt };
      const isElsewhere = around?.ask !== undefined && hub === "create" && random.chance(0.7);
      if (!isElsewhere && (startAt !== undefined || random.chance(0.3)))
        watching.push(watchOne(await insist({ kind: "submit", hub, request, options }), startAt));
      const answer = isElsewhere
        ? await around.ask(key, request)
        : await insist({ kind: "call", hub, request, options });
      answered.push(...answersOf({ key, hub, laneKey, id, ledger, answer: answer as Answered["answer"] }));
    }
  };
  const clients = Promise.all(Array.from({ length: 12 }, client));

  /** Whether requests are answered (again). */
  const works = async (): Promise<boolean> => {
    const before = answered.length;
    for (const until = performance.now() + mendedWithinMs; performance.now() < until; await sleep(20))
      if (answered.length >= before + answersAfterFault) return true;
    return false;
  };
  const killPart = async (): Promise<void> => {
    const index = random.int(parts.length);
    await parts[index]?.kill();
    const started = new Part(place);
    parts[index] = started;
    await started.ready;
  };
  const faults = Object.entries<Around["faults"][string]>({
    ...around?.faults,
    "kill a process": killPart,
  });
  const made: Record<string, number> = {};
  let isSound = await works();
  for (let killed = 0; killed < kills && isSound; killed++) {
    await sleep(200 + random.int(1500));
    // Each of them, and then any.
    const [name, fault] = faults[killed] ?? random.pick(faults);
    made[name] = (made[name] ?? 0) + 1;
    await fault(random);
    isSound = await works();
    if (!isSound) problems.push(`nothing is answered any more after: ${name}`);
  }
  // On a slow machine little has happened by now.
  if (isSound) while (answered.length < leastRequests || watching.length < leastWatched) await sleep(100);
  killing.abort();
  let ticks: readonly string[] = [];
  let settledMs = 0;
  if (isSound) {
    await clients;
    const look = async (): Promise<string[]> => {
      const heard = await heardOf(insist, answered);
      const notes = (await insist({ kind: "list", filter: { hub: "note" } })) as string[];
      const ofRuns = new Set(notes.filter((id) => id.startsWith("note-")));
      ticks = notes.filter((id) => id.startsWith("tick@"));
      const history = (await insist({ kind: "history", id: "schedule:tick" })) as ScheduleEvent[];
      const few = ticks.length < leastTicks ? [`there are ${ticks.length} ticks`] : [];
      return [...few, ...mistold(answered, heard, ofRuns), ...mistimed(history, ticks)];
    };
    const from = performance.now();
    let unsettled = await look();
    // A post that has failed often is sent again after half a minute.
    for (; unsettled.length > 0 && performance.now() < from + settledWithinMs; unsettled = await look())
      await sleep(500);
    settledMs = Math.round(performance.now() - from);
    // Each of them has its answer.
    await Promise.all(watching);
    for (const one of watched) {
      const { updates } = await watch(one.id, portOf, 0);
      const history = (await insist({ kind: "history", id: one.id })) as RunEvent[];
      problems.push(...misshown(one, updates, history, one.startAt));
    }
    const operations = watched.slice(0, maxCompared).map(({ id }) => id);
    for (const reader of readers)
      problems.push(...(await reader.problems([...operations, "ledger-0"], toldWithinMs)));
    problems.push(...misanswered(answered), ...unsettled);
    for (const status of ["lost", "incident"] as const) {
      const found = (await insist({ kind: "list", filter: { status } })) as string[];
      if (found.length > 0) problems.push(`${status}: ${found.join(", ")}`);
    }
  }
  await Promise.all(readers.map((reader) => reader.leave()));
  problems.push(...(around?.problems?.() ?? []));
  await Promise.all(parts.map((part) => part.kill()));
  const lines = readFileSync(place.workLog, "utf8").trim().split("\n");
  problems.push(...misplaced(lines));
  const kinds = Object.groupBy(answered, ({ answer }) => answer.code ?? answer.kind);
  return {
    requests,
    answers: Object.fromEntries(Object.entries(kinds).map(([kind, all]) => [kind, all?.length ?? 0])),
    faults: made,
    ticks: ticks.length,
    settledMs,
    attempts: lines.length,
    watched: watched.length,
    streams: [...watched, ...readers].reduce((sum, { streams }) => sum + streams, 0),
    problems,
  };
}

/** What the ledgers have heard. */
async function heardOf(
  insist: (question: Question) => Promise<unknown>,
  answered: readonly Answered[],
): Promise<ReadonlyMap<string, readonly Heard[]>> {
  const heard = new Map<string, readonly Heard[]>();
  for (const id of new Set(workedIn(answered).values()))
    heard.set(id, (await insist({ kind: "view", id })) as readonly Heard[]);
  return heard;
}
