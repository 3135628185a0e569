import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { seededRandom } from "@wheelwork/testing";

/** Where an engine keeps what it keeps. `workLog`: where workers write when their work begins and ends. */
export type Place = { readonly workLog: string } & (
  | { readonly kind: "sqlite"; readonly file: string }
  | {
      readonly kind: "cluster";
      readonly brokers: string;
      readonly databaseUrl: string;
      readonly schema: string;
      readonly shards: number;
    }
);

/** What a process is asked. */
export type Asked = { readonly number: number } & Question;
type Question =
  | { readonly kind: "call"; readonly hub: string; readonly request: object; readonly key: string }
  | { readonly kind: "view" | "answer"; readonly id: string }
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

export interface Campaign {
  readonly place: Place;
  readonly processes: number;
  readonly kills: number;
  readonly seed: number;
}

export interface Report {
  readonly requests: number;
  readonly ticks: number;
  /** Attempts that were begun, those of killed processes included. */
  readonly attempts: number;
  readonly problems: readonly string[];
}

const slots: Readonly<Record<string, number>> = { single: 1, double: 2 };
const hubNames = [...Object.keys(slots), "pair"];

/** A campaign goes on until so much has happened. */
export const leastRequests = 50;
export const leastTicks = 4;

/** A process with an engine. */
class Part {
  readonly child: ChildProcess;
  readonly ready: Promise<unknown>;
  readonly #waiting = new Map<number, (told: Told | undefined) => void>();
  #number = 0;
  #isDead = false;

  constructor(place: Place) {
    const execArgv = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    this.child = fork(join(import.meta.dirname, "program.ts"), [JSON.stringify(place)], { execArgv });
    this.ready = Promise.race([
      new Promise<void>((resolve) => {
        this.child.on("message", (told: Told) => {
          if (told.number < 0) return resolve();
          this.#waiting.get(told.number)?.(told);
          this.#waiting.delete(told.number);
        });
      }),
      once(this.child, "exit"),
    ]);
    this.child.once("exit", () => {
      this.#isDead = true;
      // What was under way in it has ended.
      appendFileSync(place.workLog, `death ${this.child.pid}\n`);
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

/**
 * Operations of a few lanes, and runs that call them, over processes that are killed again and again. In the end each has its answer, what each has started and
 * signalled is there once, no place was ever doubled, and the schedule has made each tick.
 */
export async function takeTurns({ place, processes, kills, seed }: Campaign): Promise<Report> {
  const random = seededRandom(seed);
  const problems: string[] = [];
  writeFileSync(place.workLog, "");
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
  await insist({ kind: "call", hub: "ledger", request: {}, key: "ledger" });
  let requests = 0;
  const operations: string[] = [];
  const killing = new AbortController();
  const client = async (): Promise<void> => {
    while (!killing.signal.aborted) {
      const id = `r${requests++}`;
      const hub = random.pick(hubNames);
      const ids = hub === "pair" ? [`${id}-a`, `${id}-b`] : [id];
      operations.push(...ids);
      const request = { id, key: random.pick(["a", "b"]), ms: 5 + random.int(40) };
      const answer = await insist({ kind: "call", hub, request, key: id });
      const told = JSON.stringify(answer);
      const wanted = JSON.stringify({ kind: "result", value: hub === "pair" ? { ids } : { id } });
      if (told !== wanted) problems.push(`${id} is answered with ${told}`);
    }
  };
  const clients = Promise.all(Array.from({ length: 12 }, client));
  for (let killed = 0; killed < kills; killed++) {
    await sleep(200 + random.int(1500));
    const index = random.int(parts.length);
    await parts[index]?.kill();
    const started = new Part(place);
    parts[index] = started;
    await started.ready;
  }
  const ticksUntilNow = async (): Promise<number[]> =>
    ((await insist({ kind: "list", filter: { hub: "note" } })) as string[])
      .filter((id) => id.startsWith("tick@"))
      .map((id) => Date.parse(id.slice("tick@".length)))
      .toSorted((one, other) => one - other);
  // On a slow machine little has happened by now.
  const isEnough = async (): Promise<boolean> =>
    requests >= leastRequests && (await ticksUntilNow()).length >= leastTicks;
  do await sleep(500);
  while (!(await isEnough()));
  killing.abort();
  await clients;
  await settled(insist, operations, problems);
  const ticks = await ticksUntilNow();
  for (const [index, at] of ticks.entries())
    if (index > 0 && at - (ticks[index - 1] ?? 0) !== 1000)
      problems.push(
        `no tick is between ${new Date(ticks[index - 1] ?? 0).toISOString()} and ${new Date(at).toISOString()}`,
      );
  for (const status of ["lost", "incident"] as const) {
    const found = (await insist({ kind: "list", filter: { status } })) as string[];
    if (found.length > 0) problems.push(`${status}: ${found.join(", ")}`);
  }
  await Promise.all(parts.map((part) => part.kill()));
  const lines = readFileSync(place.workLog, "utf8").trim().split("\n");
  problems.push(...misplaced(lines));
  const attempts = lines.filter((line) => line.startsWith("begin")).length;
  return { requests, ticks: ticks.length, attempts, problems };
}

/** Waits until the ledger has heard of each operation, and each note is there. */
async function settled(
  insist: (question: Question) => Promise<unknown>,
  operations: readonly string[],
  problems: string[],
): Promise<void> {
  const heard = async (): Promise<readonly string[]> =>
    (await insist({ kind: "view", id: "ledger" })) as readonly string[];
  for (
    const until = performance.now() + 240_000;
    (await heard()).length < operations.length;
    await sleep(100)
  )
    if (performance.now() > until) break;
  const all = await heard();
  for (const id of operations) {
    const times = all.filter((one) => one === id).length;
    if (times !== 1) problems.push(`the ledger has heard of ${id} ${times} times`);
    const answer = (await insist({ kind: "answer", id: `note-${id}` })) as { value?: { of?: string } };
    if (answer?.value?.of !== id) problems.push(`the note of ${id} is ${JSON.stringify(answer)}`);
  }
}

/** What is wrong with the order in which work has begun and ended: more in a lane than it has places, or a fence that falls. */
function misplaced(lines: readonly string[]): string[] {
  const problems: string[] = [];
  const open = new Map<string, Map<string, { readonly pid: string }>>();
  const fences = new Map<string, { readonly fence: number; readonly id: string }>();
  for (const line of lines) {
    const [what, lane = "", fence = "", pid = "", id = ""] = line.split(" ");
    if (what === "death") {
      for (const works of open.values())
        for (const [key, { pid: of }] of works) if (of === lane) works.delete(key);
      continue;
    }
    const works = open.get(lane) ?? new Map<string, { readonly pid: string }>();
    open.set(lane, works);
    if (what === "end") {
      works.delete(`${id} ${pid}`);
      continue;
    }
    works.set(`${id} ${pid}`, { pid });
    const most = slots[lane.slice(0, lane.indexOf("/"))] ?? 0;
    if (works.size > most)
      problems.push(`${[...works.keys()].join(", ")} work in ${lane}, which has ${most} places`);
    const last = fences.get(lane);
    const isKnown = Number(fence) > 0;
    if (!isKnown) problems.push(`${id} works in ${lane} without a fence`);
    // Of two places the one that was granted later may begin first.
    if (most === 1 && last !== undefined && Number(fence) <= last.fence && id !== last.id)
      problems.push(`${id} has the fence ${fence} in ${lane}, after ${last.fence} of ${last.id}`);
    fences.set(lane, { fence: Number(fence), id });
  }
  return problems;
}
