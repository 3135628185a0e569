import { end, hub, spoke } from "@wheelwork/core";
import { createEngine, worker, type Clock, type Engine } from "@wheelwork/engine";
import { MemoryStore, seededRandom } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { z } from "zod";
import { BusyTurns } from "../src/ports/clock.ts";
import { sortInTurns } from "../src/shard/sorted.ts";

// A shard may have a million open calls. Its start takes them up some at a time, and the loop goes on meanwhile.

const none = z.object({});
const work = spoke("work", { input: none, output: none, timeoutMs: 60_000 });
const job = hub(
  "job",
  {
    request: none,
    reply: none,
    deadlineMs: 600_000,
    chart: { Working: { Worked: "Done", Late: "Done" }, Done: end },
    data: () => ({}),
  },
  {
    Working: (s) => s.call(work, { input: () => ({}), ok: "Worked", failed: "Late", deadline: "Late" }),
    Done: () => ({}),
  },
);

/** Time stands still, so that only what was done ends a turn. It counts the turns. */
class StillClock implements Clock {
  turns = 0;

  wallMs(): number {
    return Date.UTC(2026, 0, 1);
  }

  monotonicMs(): number {
    return 1;
  }

  after(): () => void {
    return () => {};
  }

  soon(task: () => void): void {
    this.turns++;
    setImmediate(task);
  }
}

/** How many attempts were made in each turn of the loop of Node. */
class AttemptsInTurns {
  most = 0;
  all = 0;
  #now = 0;
  #isCounting = false;

  add(): void {
    this.all++;
    this.most = Math.max(this.most, ++this.#now);
    if (this.#isCounting) return;
    this.#isCounting = true;
    setImmediate(() => {
      this.#isCounting = false;
      this.#now = 0;
    });
  }
}

const open = (store: MemoryStore, clock: Clock, attempts: AttemptsInTurns): Engine =>
  createEngine({
    hubs: [job],
    workers: [
      worker(work, () => {
        attempts.add();
        return new Promise<never>(() => {});
      }),
    ],
    store,
    clock,
    drainMs: 0,
    limits: { openedCalls: 50 },
  });

/** The turns that a start takes with so many runs that have an open call, and the attempts that it makes again. */
async function turnsOfStart(runs: number): Promise<{ turns: number; attempts: AttemptsInTurns }> {
  const store = new MemoryStore();
  const former = open(store, new StillClock(), new AttemptsInTurns());
  await former.start();
  await Promise.all(Array.from({ length: runs }, (_, n) => former.submit(job, {}, { key: `${n}` })));
  await former.stop();
  const clock = new StillClock();
  const attempts = new AttemptsInTurns();
  const engine = open(store.reopen(), clock, attempts);
  await engine.start();
  const { turns } = clock;
  while (attempts.all < runs) await new Promise((resolve) => setImmediate(resolve));
  await engine.stop();
  return { turns, attempts };
}

test("a start takes up so many runs in a turn, and makes so many attempts again", async () => {
  const [runs, atOnce] = [600, 50];
  const few = await turnsOfStart(1);
  const many = await turnsOfStart(runs);
  // Each run, and each of its calls.
  expect(many.turns - few.turns).toBeGreaterThanOrEqual((2 * runs) / atOnce);
  expect(many.attempts.most).toBeLessThanOrEqual(500);
});

test("attempts of all spokes are made again in the order in which they were begun", async () => {
  const [slow, quick] = [60_000, 1_000].map((timeoutMs, place) =>
    spoke(place === 0 ? "slow" : "quick", { input: none, output: none, timeoutMs }),
  ) as [typeof work, typeof work];
  const both = hub(
    "both",
    {
      request: none,
      reply: none,
      deadlineMs: 600_000,
      chart: { Working: { Worked: "Done", Late: "Done" }, Done: end },
      data: () => ({}),
    },
    {
      Working: (s) =>
        s.all(
          { first: s.part(slow, { input: () => ({}) }), second: s.part(quick, { input: () => ({}) }) },
          { done: "Worked", failed: "Late", deadline: "Late" },
        ),
      Done: () => ({}),
    },
  );
  const store = new MemoryStore();
  const made: string[] = [];
  const start = async (on: MemoryStore): Promise<Engine> => {
    const workers = [slow, quick].map((of) =>
      worker(of, () => {
        made.push(of.name);
        return new Promise<never>(() => {});
      }),
    );
    const engine = createEngine({ hubs: [both], workers, store: on, clock: new StillClock(), drainMs: 0 });
    await engine.start();
    return engine;
  };
  const former = await start(store);
  await former.submit(both, {}, { key: "a" });
  await former.stop();
  const engine = await start(store.reopen());
  while (made.length < 4) await new Promise((resolve) => setImmediate(resolve));
  await engine.stop();
  expect(made).toEqual(["slow", "quick", "slow", "quick"]);
});

test("a long list is sorted in turns as it would be at once", async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const random = seededRandom(seed);
  for (const length of [0, 1, 4_096, 4_097, 13_000]) {
    const list = Array.from({ length }, (_, place) => ({ at: random.int(1_000), place }));
    const sorted = list.toSorted((a, b) => a.at - b.at);
    const clock = new StillClock();
    await sortInTurns(list, (a, b) => a.at - b.at, new BusyTurns(clock));
    expect(list, `seed ${seed}, ${length} items`).toEqual(sorted);
    expect(clock.turns).toBeGreaterThanOrEqual(Math.floor((length - 1) / 4_096));
  }
});
