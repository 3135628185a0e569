import { end, hub, spoke, stay, type AnyHub, type Answer } from "@wheelwork/core";
import { worker, type RequestView } from "@wheelwork/engine";
import type { Fault } from "@wheelwork/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { checkHistory, World, type WorldOptions } from "./world.ts";

// What runs have for one another is decided over many batches, and a process may die between any two of them.

const numbers = z.object({ n: z.number() });

/** Answers at once. */
const pong = hub(
  "pong",
  { request: numbers, reply: numbers, deadlineMs: 1000, chart: { Done: end }, data: (request) => request },
  { Done: ({ n }) => ({ n: n + 1 }) },
);

/** Calls another hub again and again, so many times. */
const ping = hub(
  "ping",
  {
    request: z.object({ rounds: z.number() }),
    reply: numbers,
    deadlineMs: 700,
    chart: { Calling: { Again: "Calling", Enough: "Done", Late: "Done" }, Done: end },
    data: ({ rounds }) => ({ rounds, n: 0 }),
  },
  {
    Calling: (s) =>
      s.call(pong, {
        input: ({ n }) => ({ n }),
        ok: ({ rounds }, { n }) => s.raise(n < rounds ? "Again" : "Enough", { n }),
        failed: "Late",
        deadline: "Late",
      }),
    Done: ({ n }) => ({ n }),
  },
);

const work = spoke("work", { input: numbers, output: z.object({}), timeoutMs: 500 });
const undo = spoke("undo", { input: numbers, output: z.object({}), timeoutMs: 500 });
const note = spoke("note", { input: z.object({ text: z.string() }), output: z.object({}), timeoutMs: 500 });

/** Works, and undoes it if it is cancelled. */
const piece = hub(
  "piece",
  {
    request: numbers,
    reply: numbers,
    errors: ["undone"],
    deadlineMs: 4000,
    chart: {
      Working: { Worked: "Done", Lost: "Undoing" },
      Undoing: { Undone: "Failed" },
      Done: end,
      Failed: end,
    },
    data: (request) => request,
  },
  {
    Working: (s) =>
      s.call(work, { input: ({ n }) => ({ n }), ok: "Worked", failed: "Lost", deadline: "Lost" }),
    Undoing: (s) =>
      s.call(undo, {
        input: ({ n }) => ({ n }),
        ok: "Undone",
        failed: "Undone",
        after: { Undone: 1000 },
      }),
    Done: ({ n }) => ({ n }),
    Failed: (_data, s) => s.fail("undone", "it was cancelled"),
  },
);

/** Calls so many hubs at once, and leaves them when one fails (`leaves`), or waits for what they undo. */
const pieces = (name: string, leaves: boolean, limit?: number): AnyHub =>
  hub(
    name,
    {
      request: z.object({ count: z.number() }),
      reply: z.object({ done: z.array(z.number()), undone: z.number() }),
      deadlineMs: 3000,
      cancel: "Lost",
      chart: { Working: { One: stay, All: "Done", Lost: "Done" }, Done: end },
      data: ({ count }) => ({ count, done: [] as number[], undone: 0 }),
    },
    {
      Working: (s) =>
        s.each(piece, {
          inputs: ({ count }) => Array.from({ length: count }, (_, n) => ({ n })),
          ok: ({ done }, { n }) => s.raise("One", { done: [...done, n] }),
          failed: ({ undone }) => s.raise(leaves ? "Lost" : "One", { undone: undone + 1 }),
          done: "All",
          deadline: "Lost",
          ...(leaves ? {} : { drain: true }),
          ...(limit === undefined ? {} : { limit }),
        }),
      Done: ({ done, undone }) => ({ done: done.toSorted((a, b) => a - b), undone }),
    },
  );
const left = pieces("left", true);
const drained = pieces("drained", false);
const limited = pieces("limited", true, 2);

/** Tells so many hubs something, in one turn. */
const teller = hub(
  "teller",
  {
    request: z.object({ count: z.number() }),
    reply: numbers,
    deadlineMs: 1000,
    chart: { Telling: { Told: "Choosing" }, Choosing: { More: "Telling", Enough: "Done" }, Done: end },
    data: ({ count }) => ({ count, n: 0 }),
  },
  {
    Telling: (s) => s.tell(note, { input: ({ n }) => ({ text: `${n}` }), next: "Told" }),
    Choosing: (s) =>
      s.pick(({ count, n }) =>
        n + 1 < count ? s.raise("More", { n: n + 1 }) : s.raise("Enough", { n: n + 1 }),
      ),
    Done: ({ n }) => ({ n }),
  },
);

/** Starts so many of them, in one turn. */
const town = hub(
  "town",
  {
    request: z.object({ count: z.number() }),
    reply: numbers,
    deadlineMs: 1000,
    chart: { Telling: { Told: "Choosing" }, Choosing: { More: "Telling", Enough: "Done" }, Done: end },
    data: ({ count }) => ({ count, n: 0 }),
  },
  {
    Telling: (s) => s.start(teller, { input: () => ({ count: 30 }), next: "Told" }),
    Choosing: (s) => s.pick(({ count, n }) => s.raise(n + 1 < count ? "More" : "Enough", { n: n + 1 })),
    Done: ({ n }) => ({ n }),
  },
);

interface Seen {
  readonly worked: Set<number>;
  readonly undone: Set<number>;
  readonly notes: Map<string, string>;
}

const seen = (): Seen => ({ worked: new Set(), undone: new Set(), notes: new Map() });

/** Batches decide one carried item each, unless a test says otherwise. */
const worldOf = (outside: Seen, options: Partial<WorldOptions> = {}): World => {
  const world = new World({
    hubs: [pong, ping, piece, left, drained, limited, teller, town],
    workers: (sleep) => [
      worker(work, async ({ n }) => {
        await sleep(50);
        outside.worked.add(n);
        return {};
      }),
      worker(undo, ({ n }) => {
        outside.undone.add(n);
        return {};
      }),
      worker(note, ({ text }, { idempotencyKey }) => {
        outside.notes.set(idempotencyKey, text);
        return {};
      }),
    ],
    limits: { batchInputs: 1, checkpointEvents: 7, openedCalls: 2 },
    ...options,
  });
  onTestFinished(() => world.close());
  return world;
};

interface Case {
  readonly name: string;
  readonly hub: AnyHub;
  readonly request: unknown;
  /** It is cancelled at this time. */
  readonly cancelAt?: number;
}

interface Played {
  readonly answer: Answer;
  readonly outside: Seen;
  readonly commits: number;
}

/** Plays a request to its end, and starts the process again whenever it dies. */
async function play(
  { hub, request, cancelAt }: Case,
  store: "memory" | "sqlite",
  faultAt: (commit: number) => Fault | undefined,
): Promise<Played> {
  const outside = seen();
  let commits = 0;
  const world = worldOf(outside, { store, faults: { faultAt: () => faultAt(++commits) } });
  await world.start();
  const sent = { submit: false, cancel: cancelAt === undefined };
  const send = async (what: keyof typeof sent, act: () => Promise<unknown>): Promise<void> => {
    while (!sent[what]) {
      act().then(
        () => (sent[what] = true),
        () => {},
      );
      await world.clock.settle();
      if (world.store.crashed) await world.restart();
      else if (!sent[what]) await world.clock.advance(15);
    }
  };
  await send("submit", () => world.engine.submit(hub, request as never, { key: "r" }));
  for (let tick = 0; ; tick++) {
    if (tick > 20_000) throw new Error("it does not end");
    if (world.store.crashed) await world.restart();
    if (tick === cancelAt) await send("cancel", () => world.engine.cancel("r", { commandId: "c" }));
    const { status, liveRuns } = world.engine.health();
    if (status === "running" && liveRuns === 0 && (await world.engine.request("r")).status === "ended") break;
    await world.clock.advance(1);
  }
  checkHistory(hub, await world.engine.history("r"));
  const answer = (await world.engine.answer("r", { waitMs: 0 })) as Answer;
  world.close();
  return { answer, outside, commits };
}

const cases: readonly Case[] = [
  { name: "calls of a hub that answers at once", hub: ping, request: { rounds: 6 } },
  { name: "a round of hubs", hub: left, request: { count: 5 } },
  { name: "a round of hubs that is cancelled", hub: left, request: { count: 5 }, cancelAt: 20 },
  {
    name: "a round of hubs that drains, and is cancelled",
    hub: drained,
    request: { count: 5 },
    cancelAt: 20,
  },
  { name: "a round of hubs with a limit", hub: limited, request: { count: 5 } },
  { name: "tells in one turn", hub: teller, request: { count: 5 } },
];

describe.each(["memory", "sqlite"] as const)("what is carried over survives a crash (%s)", (store) => {
  test.each(cases)("$name", async (given) => {
    const calm = await play(given, store, () => undefined);
    expect(calm.commits).toBeGreaterThan(5);
    for (const fault of ["crash-before", "crash-after", "fail", "unseen"] as const) {
      for (let commit = 1; commit <= calm.commits; commit++) {
        const where = `${fault} commit ${commit} of ${calm.commits}`;
        const played = await play(given, store, (number) => (number === commit ? fault : undefined));
        expect(played.answer, where).toEqual(calm.answer);
        expect(played.outside, where).toEqual(calm.outside);
      }
    }
  });
});

describe("work without end", () => {
  /** Its store is across a network, so that time passes. */
  async function remote(outside = seen()): Promise<World> {
    const world = worldOf(outside, { faults: { later: 1 }, limits: { batchInputs: 50 } });
    await world.clock.runUntil(world.start());
    return world;
  }

  test("hubs that answer each other at once are cut by their deadline, and others go on meanwhile", async () => {
    const world = await remote();
    await submit(world, ping, { rounds: 1e9 }, "p");
    const began = world.clock.monotonicMs();
    await submit(world, left, { count: 3 }, "o");
    const other = await world.answer("o");
    expect(other).toMatchObject({ kind: "result", value: { done: [0, 1, 2] } });
    expect(world.clock.monotonicMs() - began).toBeLessThan(300);
    const answer = await world.answer("p");
    expect(answer).toMatchObject({ kind: "result" });
    expect(world.clock.monotonicMs() - began).toBeGreaterThanOrEqual(700);
    expect(world.clock.monotonicMs() - began).toBeLessThan(800);
  });

  test("a shard stops while it carries, and the next start goes on", async () => {
    const world = await remote();
    await submit(world, ping, { rounds: 1e9 }, "p");
    await world.clock.advance(100);
    await world.clock.runUntil(world.engine.stop(), 1000);
    await world.clock.runUntil(world.start());
    const before = await historyOf(world, "p");
    await world.clock.advance(100);
    expect((await historyOf(world, "p")).length).toBeGreaterThan(before.length);
  });

  test("hubs that tell hubs begin over many batches", async () => {
    const outside = seen();
    const world = await remote(outside);
    await submit(world, town, { count: 100 }, "c");
    await submit(world, ping, { rounds: 5 }, "p");
    expect(await world.answer("p")).toEqual({ kind: "result", value: { n: 5 } });
    expect(outside.notes.size).toBeLessThan(1000);
    await world.clock.runUntil(() => outside.notes.size === 3000);
  });

  test("calls that nobody waits for any more begin nothing", async () => {
    const world = await remote();
    await submit(world, left, { count: 10_000 }, "p");
    await world.clock.advance(10);
    await world.clock.runUntil(world.engine.cancel("p"));
    await world.answer("p");
    await world.clock.advance(10_000);
    expect(world.engine.health().liveRuns).toBe(0);
    expect((await historyOf(world, "p/0")).map(({ type }) => type)).toContain("cancelling");
    await expect(historyOf(world, "p/9999")).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
  });
});

describe("a long round", () => {
  test("is opened in parts, a batch for each, and others begin meanwhile", async () => {
    const world = worldOf(seen(), { faults: { later: 1 }, limits: { openedCalls: 50 } });
    await world.clock.runUntil(world.start());
    await submit(world, left, { count: 3_000 }, "p");
    await submit(world, ping, { rounds: 1 }, "o");
    expect(await world.answer("o")).toMatchObject({ kind: "result" });
    const { openCalls = [], inputsLeft } = await viewOf(world, "p");
    expect(openCalls.length).toBeLessThan(1_000);
    expect(openCalls.length + (inputsLeft ?? 0)).toBe(3_000);
    const answer = await world.answer("p");
    const history = await historyOf(world, "p");
    const opened = history.flatMap((event) => ("calls" in event ? (event.calls ?? []) : []));
    expect(Math.max(...opened.map(({ inputs }) => inputs.length))).toBe(50);
    expect(opened.reduce((sum, { inputs }) => sum + inputs.length, 0)).toBe(3_000);
    expect(answer).toMatchObject({ kind: "result", value: { undone: 0 } });
    checkHistory(left, history);
  });

  test("without a limit has more open calls than a view shows", async () => {
    const world = worldOf(seen(), { limits: {} });
    await world.start();
    await submit(world, left, { count: 1_200 }, "p");
    const { openCalls, moreCalls } = await viewOf(world, "p");
    expect([openCalls?.length, openCalls?.at(-1)?.call, moreCalls]).toEqual([1_000, 999, 200]);
  });

  test("with a limit holds as many calls as it needs, whatever its length", async () => {
    const world = worldOf(seen(), { limits: { openedCalls: 10 } });
    await world.start();
    await submit(world, limited, { count: 1_000 }, "p");
    let most = 0;
    for (let tick = 0; tick < 200; tick++) {
      const { openCalls = [], inputsLeft = 0 } = await world.engine.request("p");
      most = Math.max(most, openCalls.length);
      expect(openCalls.length + inputsLeft).toBeLessThanOrEqual(1_000);
      await world.clock.advance(10);
    }
    expect(most).toBeLessThanOrEqual(12);
    expect((await world.engine.request("p")).inputsLeft).toBeGreaterThan(0);
  });
});

describe("a claim", () => {
  test("decides what it finds over several batches, and then makes attempts again, some at once", async () => {
    const world = worldOf(seen(), { limits: { batchInputs: 100 } });
    await world.start();
    await submit(world, left, { count: 1_200 }, "p");
    await world.clock.advance(20);
    expect(world.counted("attempt")).toBe(1_200);
    world.signals.length = 0;
    // Attempts that begin in one turn of the loop of Node.
    const together: number[] = [];
    let over = false;
    const count = (): void => {
      together.push(world.counted("attempt"));
      if (!over) setImmediate(count);
    };
    count();
    await world.restart();
    await world.clock.advance(20);
    over = true;
    const names = world.signals.map(({ name }) => name);
    expect(world.counted("attempt-died")).toBe(1_200);
    expect(world.counted("attempt")).toBe(1_200);
    expect(names.indexOf("attempt")).toBeGreaterThan(names.lastIndexOf("attempt-died"));
    const inputs = world.signals.map((signal) => (signal.name === "batch" ? signal.inputs : 0));
    expect(Math.max(...inputs)).toBeLessThanOrEqual(100);
    const most = together.map((begun, turn) => begun - (together[turn - 1] ?? 0));
    expect(Math.max(...most)).toBeLessThanOrEqual(500);
    expect(await world.answer("p")).toMatchObject({ kind: "result", value: { undone: 0 } });
  });
});

/** Lets time pass until a request is accepted. */
async function submit(world: World, hub: AnyHub, request: unknown, key: string): Promise<void> {
  await world.clock.runUntil(world.engine.submit(hub, request as never, { key }));
}

async function viewOf(world: World, key: string): Promise<RequestView> {
  const view = world.engine.request(key);
  await world.clock.runUntil(view);
  return view;
}

async function historyOf(world: World, key: string) {
  const history = world.engine.history(key);
  await world.clock.runUntil(history);
  return history;
}
