import { spoke, type Outcome, type Spoke } from "@wheelwork/core";
import { LocalBus, silentLogger, type Worker } from "@wheelwork/engine";
import { WorkerHost, type AttemptRequest } from "@wheelwork/engine/parts";
import { seededRandom, SimulatedClock } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { z } from "zod";

/*
 * After a death of the process, nothing but the open attempts tells which of them were under way. All that were must be found: one
 * that is not would end each process, for ever. Those that waited should not be, where that can be known.
 */

const timeoutMs = 100;
const limits = [
  { concurrency: 3 },
  { limit: { concurrent: 2, by: ({ key }: { key: number }) => key } },
  { concurrency: 4, limit: { concurrent: 2, by: ({ key }: { key: number }) => key } },
  { limit: { perSecond: 100, burst: 2 } },
  { concurrency: 2, limit: { perSecond: 200, by: ({ key }: { key: number }) => key } },
];

/** An open attempt, as its run has it. */
interface Open extends AttemptRequest {
  due: number;
  firstDue: number | undefined;
  attempt: number;
  readonly deaths: number;
  readonly alone: boolean;
}

/** A process in which attempts begin, wait, end, time out and are retried at random. */
class World {
  readonly clock = new SimulatedClock();
  readonly random;
  readonly runs: { readonly run: Open["run"]; calls: number }[] = [];
  /** In the order in which they were decided. */
  readonly open = new Set<Open>();
  /** What is really under way. */
  readonly begun = new Set<Open>();
  readonly host: WorkerHost;
  readonly #settle = new Map<Open, (outcome: Outcome) => void>();

  constructor(seed: number) {
    this.random = seededRandom(seed);
    const served = spoke("work", {
      input: z.object({ key: z.number() }),
      output: z.object({}),
      timeoutMs,
      ...this.random.pick(limits),
    }) as unknown as Spoke;
    const attempt: Worker["attempt"] = (_input, { requestId, call }) => {
      const one = [...this.open].find(({ run, number }) => run.key === requestId && number === call);
      if (one === undefined) throw new Error("it is not open");
      this.begun.add(one);
      return new Promise((resolve) => void this.#settle.set(one, resolve));
    };
    this.host = new WorkerHost({
      workers: [{ spoke: served, attempt }],
      ports: { bus: new LocalBus(), replies: { kind: "process" } },
      report: () => {},
      clock: this.clock,
      logger: silentLogger,
    });
  }

  /** The open attempts as the runs have them: by their runs and numbers. */
  get stored(): readonly Open[] {
    return this.runs.flatMap(({ run }) =>
      [...this.open].filter((one) => one.run === run).toSorted((a, b) => a.number - b.number),
    );
  }

  async step(): Promise<void> {
    const { random, clock } = this;
    switch (random.int(5)) {
      case 0:
      case 1:
        return this.#call();
      case 2:
        return this.#end();
      case 3:
        return this.#retry();
      default:
        await clock.advance(random.int(30));
        this.#callBack();
    }
  }

  #call(): void {
    const { random } = this;
    const isNew = this.runs.length === 0 || random.chance(0.4);
    // Some are runs that a request has begun.
    const parent = isNew && this.runs.length > 0 && random.chance(0.2) ? random.pick(this.runs) : undefined;
    if (isNew) {
      const key = parent === undefined ? `r${this.runs.length}` : `${parent.run.key}/${this.runs.length}`;
      this.runs.push({ run: { key, epoch: 1, createdAt: 1, late: random.chance(0.2) }, calls: 0 });
    }
    const one = isNew ? this.runs.at(-1) : random.pick(this.runs);
    if (one === undefined) return;
    for (let count = 1 + random.int(5); count > 0; count--) {
      const open: Open = {
        run: one.run,
        number: one.calls++,
        callee: "work",
        attempt: 1,
        input: { key: random.int(3) },
        key: undefined,
        due: this.clock.monotonicMs() + timeoutMs,
        firstDue: undefined,
        deaths: 0,
        alone: false,
        work: undefined,
      };
      this.open.add(open);
      this.host.begin(open);
    }
  }

  /** The work of an attempt has ended. */
  #end(): void {
    const ended = this.#one();
    if (ended === undefined) return;
    this.#close(ended);
    if (this.random.chance(0.8)) this.#settle.get(ended)?.({ kind: "ok", output: {} });
  }

  /** An attempt has failed, and another one of its call is begun. */
  #retry(): void {
    const failed = this.#one();
    if (failed === undefined || !this.begun.has(failed)) return;
    this.#close(failed);
    this.#settle.get(failed)?.({ kind: "ok", output: {} });
    const due = this.clock.monotonicMs() + timeoutMs;
    const again: Open = { ...failed, attempt: failed.attempt + 1, due, firstDue: undefined, work: undefined };
    this.open.add(again);
    this.host.begin(again);
  }

  #one(): Open | undefined {
    return this.open.size === 0 ? undefined : this.random.pick([...this.open]);
  }

  #close(one: Open): void {
    this.open.delete(one);
    this.begun.delete(one);
    this.host.end([one]);
  }

  /** The deadlines that have passed. */
  #callBack(): void {
    const now = this.clock.monotonicMs();
    for (const one of this.open) {
      if (one.due > now) continue;
      const due = this.host.dueAfterWait(one, now);
      if (due !== undefined && due > now) {
        one.firstDue ??= one.due;
        one.due = due;
      } else this.#close(one);
    }
  }
}

test("all attempts that were under way are found, whatever waited, ended and was retried", async () => {
  let [found, begun, open] = [0, 0, 0];
  for (let seed = 1; seed <= 300; seed++) {
    const world = new World(seed);
    for (let step = 0; step < 60; step++) {
      await world.step();
      const underWay = new Set(world.host.underWay(world.stored));
      const missed = [...world.begun].filter((one) => !underWay.has(one));
      expect(missed, `seed ${seed}, step ${step}`).toEqual([]);
      found += underWay.size;
      begun += world.begun.size;
      open += world.open.size;
    }
  }
  // Many of those that waited are told apart, though requests have many turns here.
  expect(begun).toBeGreaterThan(10_000);
  expect(found - begun).toBeLessThan(0.7 * (open - begun));
});
