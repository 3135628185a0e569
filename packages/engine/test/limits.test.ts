import { end, hub, spoke, stay, type Outcome, type Spoke } from "@wheelwork/core";
import { LocalBus, silentLogger, worker, type Worker } from "@wheelwork/engine";
import { WorkerHost, type AttemptRequest } from "@wheelwork/engine/parts";
import { SimulatedClock } from "@wheelwork/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";
import { World } from "./world.ts";

/** Limits of a spoke: places and tokens, of all its attempts and of each key, in one process. */

const job = z.object({ tenant: z.string(), n: z.number() });
type Job = z.infer<typeof job>;

const limited = (limit: object): Spoke =>
  spoke("work", { input: job, output: z.object({}), timeoutMs: 1000, ...limit }) as unknown as Spoke;

const byTenant = ({ tenant }: Job): string => tenant;

/** A worker host whose attempts are settled by hand. */
class Bench {
  readonly made: string[] = [];
  readonly at: number[] = [];
  readonly failed: string[] = [];
  readonly clock: SimulatedClock;
  readonly host: WorkerHost;
  /** Attempts, by their requests, that are not to be made when they have their place. */
  readonly held = new Set<string>();
  readonly #settle = new Map<string, (outcome: Outcome) => void>();
  readonly #requests = new Map<string, AttemptRequest>();

  constructor(served: Spoke, clock = new SimulatedClock()) {
    this.clock = clock;
    const attempt: Worker["attempt"] = (input, { requestId }) => {
      const name = `${requestId}:${(input as Job).tenant}${(input as Job).n}`;
      this.made.push(name);
      this.at.push(this.clock.monotonicMs());
      return new Promise((resolve) => void this.#settle.set(name, resolve));
    };
    this.host = new WorkerHost({
      workers: [{ spoke: served, attempt }],
      ports: { bus: new LocalBus(), replies: { kind: "process" } },
      report: (_attempt, outcome) => {
        if (outcome.kind === "error") this.failed.push(outcome.message);
      },
      clock,
      logger: silentLogger,
      holds: ({ run }) => this.held.has(run.key),
    });
  }

  /** An attempt that was held is to be made. */
  release(name: string): void {
    const request = this.#requests.get(name) as AttemptRequest;
    this.held.delete(request.run.key);
    this.host.begin(request);
  }

  /** Begins attempts, named `request:tenant number`. */
  begin(...names: readonly string[]): this {
    for (const name of names) {
      const [, key = "", tenant = "", n = "0", late] = /^(\w+):([a-z]+)(\d+)( late)?$/.exec(name) ?? [];
      const request: AttemptRequest = {
        run: { key, epoch: 1, createdAt: 1, late: late !== undefined },
        number: this.#requests.size,
        callee: "work",
        attempt: 1,
        input: { tenant, n: Number(n) },
        key: undefined,
        due: 1000,
        work: undefined,
      };
      this.#requests.set(name, request);
      this.host.begin(request);
    }
    return this;
  }

  end(...names: readonly string[]): void {
    this.host.end(names.map((name) => this.#requests.get(name) as AttemptRequest));
  }

  /** The work of an attempt ends. */
  async ok(name: string): Promise<void> {
    this.#settle.get(name)?.({ kind: "ok", output: {} });
    for (let turn = 0; turn < 3; turn++) await Promise.resolve();
  }

  /** What was begun since this was asked last. */
  next(): string[] {
    return this.made.splice(0);
  }
}

describe("turns", () => {
  test("a key with a backlog holds back no other", async () => {
    const bench = new Bench(limited({ limit: { concurrent: 1, by: byTenant } }));
    bench.begin("r:a1", "r:a2", "r:a3", "r:b1", "r:c1", "r:b2");
    expect(bench.next()).toEqual(["r:a1", "r:b1", "r:c1"]);
    await bench.ok("r:b1");
    expect(bench.next()).toEqual(["r:b2"]);
    await bench.ok("r:a1");
    expect(bench.next()).toEqual(["r:a2"]);
  });

  test("keys take turns for the places of all", async () => {
    const bench = new Bench(limited({ concurrency: 2, limit: { concurrent: 2, by: byTenant } }));
    bench.begin("r:a1", "r:a2", "r:a3", "r:a4", "r:a5", "r:b1", "r:b2", "r:c1");
    expect(bench.next()).toEqual(["r:a1", "r:a2"]);
    for (const name of ["r:a1", "r:a2", "r:b1", "r:c1", "r:a3", "r:b2"]) await bench.ok(name);
    expect(bench.next()).toEqual(["r:b1", "r:c1", "r:a3", "r:b2", "r:a4", "r:a5"]);
  });

  test("requests take turns, also without a key", async () => {
    const bench = new Bench(limited({ concurrency: 1 }));
    bench.begin("one:a1", "one:a2", "one:a3", "two:a4", "two:a5", "three:a6");
    const order: string[] = [];
    for (let [name] = bench.next(); name !== undefined; [name] = bench.next()) {
      order.push(name);
      await bench.ok(name);
    }
    expect(order).toEqual(["one:a1", "one:a2", "two:a4", "three:a6", "one:a3", "two:a5"]);
  });

  test("clean-up goes first", async () => {
    const bench = new Bench(limited({ concurrency: 1, limit: { concurrent: 1, by: byTenant } }));
    bench.begin("one:a1", "one:a2", "two:b1", "three:c1 late", "four:a3 late");
    const order: string[] = [];
    for (let [name] = bench.next(); name !== undefined; [name] = bench.next()) {
      order.push(name);
      await bench.ok(name);
    }
    expect(order).toEqual(["one:a1", "three:c1", "four:a3", "two:b1", "one:a2"]);
  });

  test("an attempt without a key fails, and holds up nothing", () => {
    const by = ({ tenant }: Job): string => {
      if (tenant === "x") throw new Error("no such tenant");
      return tenant === "y" ? (undefined as never) : tenant;
    };
    const bench = new Bench(limited({ limit: { concurrent: 1, by } })).begin("r:x1", "r:y1", "r:a1");
    expect(bench.next()).toEqual(["r:a1"]);
    expect(bench.failed).toEqual(["no such tenant", "limit.by gave undefined, and no text or number"]);
    expect(bench.host.size).toBe(1);
  });
});

describe("a rate", () => {
  test("is kept for each key, from an empty bucket on", async () => {
    const bench = new Bench(limited({ limit: { perSecond: 50, by: byTenant } }));
    bench.begin("r:a1", "r:a2", "r:a3", "r:b1");
    expect(bench.next()).toEqual([]);
    await bench.clock.advance(60);
    expect(bench.next()).toEqual(["r:a1", "r:b1", "r:a2", "r:a3"]);
    expect(bench.at).toEqual([20, 20, 40, 60]);
    expect(bench.clock.armed).toBe(0);
    // Nothing is saved up beyond the burst.
    await bench.clock.advance(10_000);
    bench.begin("r:a4", "r:a5", "r:c1", "r:c2");
    expect(bench.next()).toEqual(["r:a4", "r:c1"]);
    await bench.clock.advance(20);
    expect(bench.next()).toEqual(["r:a5", "r:c2"]);
  });

  test("one that has waited for its turn begins with a token of then, before those that wait", async () => {
    const bench = new Bench(limited({ limit: { perSecond: 1 } }));
    bench.held.add("s");
    bench.begin("s:a0", "o:a1", "o:a2", "o:a3", "o:a4", "o:a5");
    await bench.clock.advance(3_500);
    expect(bench.at).toEqual([2_000, 3_000]);
    bench.release("s:a0");
    // Asked once more, it is made once.
    bench.release("s:a0");
    await bench.clock.advance(3_000);
    expect(bench.made).toEqual(["o:a1", "o:a2", "s:a0", "o:a3", "o:a4"]);
    expect(bench.at).toEqual([2_000, 3_000, 4_000, 5_000, 6_000]);
    // One that is not wanted any more leaves its turn to the next one.
    const other = new Bench(limited({ limit: { perSecond: 1 } }));
    other.held.add("s");
    other.begin("s:a0", "o:a1", "o:a2");
    await other.clock.advance(2_500);
    other.release("s:a0");
    other.end("s:a0");
    await other.clock.advance(1_000);
    expect(other.made).toEqual(["o:a1", "o:a2"]);
  });

  test("lets a burst begin at once after a pause", async () => {
    const bench = new Bench(limited({ limit: { perSecond: 10, burst: 3 } }));
    await bench.clock.advance(200);
    const names = Array.from({ length: 6 }, (_, n) => `r:a${n}`);
    bench.begin(...names);
    expect(bench.next()).toHaveLength(2);
    await bench.clock.advance(100);
    expect(bench.next()).toHaveLength(1);
    await bench.clock.advance(2000);
    expect(bench.next()).toHaveLength(3);
    bench.begin(...names.map((name) => `${name}0`));
    expect(bench.next()).toHaveLength(3);
  });

  test("needs a place, too, and takes its token only then", async () => {
    const bench = new Bench(limited({ limit: { perSecond: 10, concurrent: 1 } })).begin(
      "r:a1",
      "r:a2",
      "r:a3",
    );
    await bench.clock.advance(1000);
    expect(bench.next()).toEqual(["r:a1"]);
    await bench.ok("r:a1");
    expect(bench.next()).toEqual(["r:a2"]);
    await bench.ok("r:a2");
    expect(bench.next()).toEqual([]);
    await bench.clock.advance(100);
    expect(bench.next()).toEqual(["r:a3"]);
  });

  test("forgets keys whose buckets are full", async () => {
    const bench = new Bench(limited({ limit: { perSecond: 1, burst: 2, by: byTenant } }));
    await bench.clock.advance(10_000);
    bench.begin("r:a1", "r:a2");
    expect(bench.next()).toEqual(["r:a1", "r:a2"]);
    for (const name of ["r:a1", "r:a2"]) await bench.ok(name);
    await bench.clock.advance(1000);
    // Others come and go.
    bench.begin("r:b1", "r:a3", "r:a4");
    expect(bench.next()).toEqual(["r:b1", "r:a3"]);
    for (const name of ["r:b1", "r:a3"]) await bench.ok(name);
    await bench.clock.advance(60_000);
    bench.begin("r:c1", "r:a5", "r:a6", "r:a7");
    expect(bench.next()).toEqual(["r:a4", "r:c1", "r:a5", "r:a6"]);
  });
});

describe("what a limit outlives", () => {
  test("the loss of memory, and the engine: the work goes on, and has its place", async () => {
    const served = limited({ concurrency: 2 });
    const clock = new SimulatedClock();
    const first = new Bench(served, clock).begin("r:a1", "r:a2", "r:a3");
    first.host.endAll();
    first.begin("r:a4");
    expect(first.next()).toEqual(["r:a1", "r:a2"]);
    first.host.endAll();
    first.host.detach();
    expect(clock.armed).toBe(0);
    const second = new Bench(served, clock).begin("q:a5", "q:a6");
    expect(second.next()).toEqual([]);
    await first.ok("r:a1");
    expect(second.next()).toEqual(["q:a5"]);
    // The other one never ends: it is abandoned, for somebody waits.
    await clock.advance(9999);
    expect(second.next()).toEqual([]);
    await clock.advance(1);
    expect(second.next()).toEqual(["q:a6"]);
    expect(clock.armed).toBe(0);
  });

  test("its places are those of all shards of a process", async () => {
    const clock = new SimulatedClock();
    const served = limited({ concurrency: 2, limit: { concurrent: 1, by: byTenant } });
    const shards = [new Bench(served, clock), new Bench(served, clock)] as const;
    shards[0].begin("r:a1");
    shards[1].begin("q:a2", "q:b1", "q:c1");
    expect([shards[0].next(), shards[1].next()]).toEqual([["r:a1"], ["q:b1"]]);
    await shards[0].ok("r:a1");
    expect(shards[1].next()).toEqual(["q:c1"]);
    shards[1].end("q:a2");
    await shards[1].ok("q:b1");
    shards[0].begin("r:d1");
    expect([shards[0].next(), shards[1].next()]).toEqual([["r:d1"], []]);
  });

  test("work that is abandoned does so after the time that its spoke says", async () => {
    const bench = new Bench(limited({ concurrency: 1, abandonAfterMs: 1500 })).begin("r:a1", "r:a2");
    await bench.clock.advance(1000);
    bench.end("r:a1");
    await bench.clock.advance(499);
    expect(bench.next()).toEqual(["r:a1"]);
    await bench.clock.advance(1);
    expect(bench.next()).toEqual(["r:a2"]);
  });
});

test("limits that cannot be meant are named when the spoke is declared", () => {
  const wrong = [
    { limit: {} },
    { limit: { perSecond: 0 } },
    { limit: { concurrent: 1.5 } },
    { limit: { burst: 2 } },
    { concurrency: 2, limit: { concurrent: 3 } },
    { abandonAfterMs: 10 },
  ];
  for (const limit of wrong)
    expect(() => limited(limit)).toThrow(/WW_BAD_SPOKE[^]*(limit|concurrency|abandonAfterMs)/);
});

const each = (served: Spoke) =>
  hub(
    "each",
    {
      request: z.object({ tenants: z.array(z.string()) }),
      reply: z.object({ ok: z.number(), failed: z.number() }),
      deadlineMs: 600_000,
      chart: { Work: { One: stay, All: "Done", Late: "Done" }, Done: end },
      data: ({ tenants }) => ({ tenants, ok: 0, failed: 0 }),
    },
    {
      Work: (s) =>
        s.each(served, {
          inputs: ({ tenants }) => tenants.map((tenant, n) => ({ tenant, n })),
          ok: ({ ok }) => s.raise("One", { ok: ok + 1 }),
          failed: ({ failed }) => s.raise("One", { failed: failed + 1 }),
          done: "All",
          deadline: "Late",
        }),
      Done: ({ ok, failed }) => ({ ok, failed }),
    },
  );

test.each([{}, { store: "sqlite" }, { faults: { later: true } }] as const)(
  "an engine makes 50 attempts a second of one tenant, whatever the others have (%o)",
  async (options) => {
    const served = limited({ limit: { perSecond: 50, by: byTenant } });
    const begun = new Map<string, number[]>();
    const made: World = new World({
      hubs: [each(served)],
      workers: () => [
        worker(served as never, ({ tenant }: Job) => {
          begun.set(tenant, [...(begun.get(tenant) ?? []), made.clock.monotonicMs()]);
          return {};
        }),
      ],
      ...options,
    });
    await made.start();
    onTestFinished(() => made.close());
    const tenants = Array.from({ length: 220 }, (_, n) => (n < 200 ? "big" : `small${n % 2}`));
    await made.engine.submit("each", { tenants }, { key: "a" });
    expect(await made.answer("a")).toEqual({ kind: "result", value: { ok: 220, failed: 0 } });
    expect(begun.get("big")?.at(-1)).toBe(4000);
    expect([begun.get("small0")?.at(-1), begun.get("small1")?.at(-1)]).toEqual([200, 200]);
  },
);

test("a node makes as many attempts of all its shards as the limit says", async () => {
  const served = limited({ concurrency: 3 });
  let running = 0;
  let most = 0;
  const nodes = new Nodes({
    shards: 4,
    hub: each(served),
    workers: (process) => [
      worker(served as never, async () => {
        most = Math.max(most, ++running);
        await process.sleep(50);
        running--;
        return {};
      }),
    ],
  });
  await nodes.node(0);
  const keys = Array.from({ length: 8 }, (_, n) => `k${n}`);
  for (const key of keys) await nodes.ask(key, { tenants: Array.from({ length: 5 }, () => "a") });
  for (const key of keys) expect(new Set(await nodes.answered(key)).size).toBe(1);
  expect(most).toBe(3);
});
