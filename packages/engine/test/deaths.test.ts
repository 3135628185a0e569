import { end, hub, spoke, stay, type HistoryEvent } from "@wheelwork/core";
import { externalWorker, worker } from "@wheelwork/engine";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { Nodes, type Member } from "./nodes.ts";
import { folder, World, type WorldOptions } from "./world.ts";

/** A worker that ends its process is found, and nothing else is held up for good, or blamed. */

const work = spoke("work", {
  input: z.object({ n: z.number(), kills: z.boolean() }),
  output: z.object({}),
  timeoutMs: 1000,
  retry: { attempts: 2 },
});
/** The same, one after the other. */
const narrow = spoke("narrow", {
  input: z.object({ n: z.number(), kills: z.boolean() }),
  output: z.object({}),
  timeoutMs: 1000,
  concurrency: 1,
});

const job = hub(
  "job",
  {
    request: z.object({ n: z.number(), kills: z.boolean(), narrow: z.boolean().default(false) }),
    reply: z.object({ ok: z.boolean() }),
    deadlineMs: 600_000,
    chart: {
      Choose: { Work: "Work", Narrow: "Narrow" },
      Work: { Ok: "Done", Bad: "Failed" },
      Narrow: { Ok: "Done", Bad: "Failed" },
      Done: end,
      Failed: end,
    },
    data: (request) => request,
  },
  {
    Choose: (s) => s.pick(({ narrow: isNarrow }) => (isNarrow ? "Narrow" : "Work")),
    Work: (s) =>
      s.call(work, { input: ({ n, kills }) => ({ n, kills }), ok: "Ok", failed: "Bad", deadline: "Bad" }),
    Narrow: (s) =>
      s.call(narrow, { input: ({ n, kills }) => ({ n, kills }), ok: "Ok", failed: "Bad", deadline: "Bad" }),
    Done: () => ({ ok: true }),
    Failed: () => ({ ok: false }),
  },
);

interface Begun {
  readonly n: number;
  readonly attempt: number;
  /** How many others were under way in the process, and in which process it was. */
  readonly beside: number;
  readonly life: number;
}

/** A world whose worker kills the process where it is told to, after 30 ms. `ms`: how long others take. */
async function world(ms: (n: number) => number, options: Partial<WorldOptions> = {}) {
  const begun: Begun[] = [];
  let underWay = new Set<number>();
  let kills = true;
  const made: World = new World({
    hubs: [job],
    workers: (sleep) => {
      underWay = new Set();
      const mine = underWay;
      const life = made.crashes;
      return [work, narrow].map((one) =>
        worker(one, async ({ n, kills: isPoison }, { attempt }) => {
          begun.push({ n, attempt, beside: mine.size, life });
          mine.add(n);
          await sleep(isPoison && kills ? 30 : ms(n));
          mine.delete(n);
          if (isPoison && kills) {
            made.kill();
            await new Promise(() => {});
          }
          return {};
        }),
      );
    },
    ...options,
  });
  await made.start();
  onTestFinished(() => made.close());
  return {
    world: made,
    begun,
    heal: () => (kills = false),
    submit: (n: number, more: { kills?: boolean; narrow?: boolean } = {}) =>
      made.engine.submit(job, { n, kills: false, ...more }, { key: `r${n}` }),
    /** Starts the process again whenever it has died, until it lives for so long. */
    live: async (forMs: number): Promise<void> => {
      for (let lived = 0; lived < forMs; lived += 10) {
        if (made.store.crashed) {
          await made.restart(1);
          lived = 0;
        }
        await made.clock.advance(10);
      }
    },
    diedOf: async (n: number): Promise<number[]> =>
      (await made.engine.history(`r${n}`)).flatMap((event) =>
        event.type === "died" ? event.attempts.map(({ deaths }) => deaths) : [],
      ),
  };
}

const variants = [{}, { store: "sqlite" }, { faults: { later: true } }] as const;

describe.each(variants)("a worker that ends its process (%o)", (variant) => {
  test("is parked at the fifth death, and the work beside it goes on", async () => {
    const { world: made, begun, submit, live, diedOf } = await world(() => 400, variant);
    for (let n = 0; n < 6; n++) await submit(n, { kills: n === 2 });
    await live(3000);
    expect(made.crashes).toBe(5);
    expect(await diedOf(2)).toEqual([1, 2, 3, 4, 5]);
    expect(await made.engine.request("r2")).toMatchObject({
      status: "incident",
      incident: {
        error: {
          code: "WW_WORKER_DIED",
          message: expect.stringMatching(/ended 5 times while the worker of work made attempt 1 of call 0/),
        },
      },
    });
    for (const n of [0, 1, 3, 4, 5]) {
      expect(await made.answer(`r${n}`)).toEqual({ kind: "result", value: { ok: true } });
      expect((await diedOf(n)).length).toBeLessThan(5);
      expect(begun.filter((one) => one.n === n).every(({ attempt }) => attempt === 1)).toBe(true);
    }
    // After two deaths, suspects are made one after the other.
    expect(begun.filter(({ life }) => life >= 2).every(({ beside }) => beside === 0)).toBe(true);
    expect(made.counted("incident")).toBe(1);
    // Others come, and go on: the process does not die any more.
    await submit(7);
    await live(500);
    expect(made.crashes).toBe(5);
    expect(await made.answer("r2")).toMatchObject({
      kind: "timeout",
      details: { incident: { code: "WW_WORKER_DIED" } },
    });
  });

  test("is tried alone when the incident is retried, and parked again unless it is mended", async () => {
    const { world: made, begun, submit, live, heal } = await world(() => 10, variant);
    await submit(0, { kills: true });
    await live(200);
    expect(made.crashes).toBe(5);
    await made.engine.retry("r0");
    await live(200);
    expect(made.crashes).toBe(8);
    expect((await made.engine.request("r0")).status).toBe("incident");
    heal();
    await made.engine.retry("r0");
    expect(await made.answer("r0")).toEqual({ kind: "result", value: { ok: true } });
    expect(begun).toHaveLength(9);
  });
});

test("a stop in order is no death, however often, and whatever it aborts", async () => {
  const { world: made, submit, diedOf } = await world(() => 900);
  await submit(0);
  await submit(1);
  for (let times = 0; times < 8; times++) {
    await made.clock.advance(20);
    await made.engine.stop();
    await made.restart(1);
  }
  expect(await diedOf(0)).toEqual([]);
  // A death after that is one.
  await made.clock.advance(20);
  await made.restart(1);
  expect(await diedOf(0)).toEqual([1]);
  expect(await made.answer("r0")).toEqual({ kind: "result", value: { ok: true } });
});

test("bystanders of two kills from outside are made one after the other, and none fails for it", async () => {
  const { world: made, begun, submit } = await world(() => 700);
  for (let n = 0; n < 6; n++) await submit(n);
  for (const _ of [1, 2]) {
    await made.clock.advance(50);
    await made.restart(1);
  }
  const began = made.clock.monotonicMs();
  for (let n = 0; n < 6; n++) {
    expect(await made.answer(`r${n}`)).toEqual({ kind: "result", value: { ok: true } });
    expect(made.clock.monotonicMs() - began).toBe(700 * (n + 1));
  }
  expect(begun.every(({ attempt }) => attempt === 1)).toBe(true);
  expect(made.counted("incident")).toBe(0);
});

test("many bystanders need not all wait for each other", async () => {
  const { world: made, submit } = await world(() => 100);
  for (let n = 0; n < 200; n++) await submit(n);
  for (const _ of [1, 2]) {
    await made.clock.advance(50);
    await made.restart(1);
  }
  const began = made.clock.monotonicMs();
  for (let n = 0; n < 200; n++) expect((await made.answer(`r${n}`)).kind).toBe("result");
  expect(made.clock.monotonicMs() - began).toBeLessThan(6000);
});

test("an attempt that waited for a place was not under way", async () => {
  const { world: made, submit, live, diedOf } = await world(() => 10);
  for (let n = 0; n < 4; n++) await submit(n, { kills: n === 1, narrow: true });
  await live(500);
  expect(made.crashes).toBe(5);
  expect(await diedOf(1)).toEqual([1, 2, 3, 4, 5]);
  for (const n of [2, 3]) expect(await diedOf(n)).toEqual([]);
  for (const n of [0, 2, 3]) expect((await made.answer(`r${n}`)).kind).toBe("result");
});

test("an attempt that ends, also by failing, is no suspect any more", async () => {
  const tries: number[] = [];
  const flaky = spoke("flaky", {
    input: z.object({}),
    output: z.object({}),
    timeoutMs: 1000,
    retry: { attempts: 4 },
  });
  const round = hub(
    "round",
    {
      request: z.object({}),
      reply: z.object({}),
      deadlineMs: 60_000,
      chart: { Work: { One: stay, All: "Done" }, Done: end },
      data: () => ({}),
    },
    {
      Work: (s) => s.each(flaky, { inputs: () => [{}], settled: "One", done: "All", deadline: "All" }),
      Done: () => ({}),
    },
  );
  const made: World = new World({
    hubs: [round],
    workers: (sleep) => [
      worker(flaky, async (_input, { attempt }) => {
        tries.push(attempt);
        await sleep(30);
        // Each attempt but the last dies with the process twice, and fails then.
        if (tries.filter((one) => one === attempt).length < 3) {
          made.kill();
          await new Promise(() => {});
        }
        if (attempt < 4) throw new Error("as planned");
        return {};
      }),
    ],
  });
  await made.start();
  onTestFinished(() => made.close());
  await made.engine.submit(round, {}, { key: "a" });
  for (let times = 0; times < 60; times++) {
    if (made.store.crashed) await made.restart(1);
    await made.clock.advance(10);
  }
  expect(await made.answer("a")).toEqual({ kind: "result", value: {} });
  expect(tries).toEqual([1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
  const deaths = (await made.engine.history("a")).filter((event: HistoryEvent) => event.type === "died");
  expect(deaths).toHaveLength(8);
});

test("real processes: a worker that exits, and the file that tells the next process", () => {
  const path = join(folder(), "store.db");
  const script = `
    import { end, hub, spoke } from "@wheelwork/core";
    import { createEngine, worker } from "@wheelwork/engine";
    import { z } from "zod";
    const parse = spoke("parse", { input: z.object({ text: z.string() }), output: z.object({}), timeoutMs: 600_000 });
    const doc = hub("doc",
      { request: z.object({ text: z.string() }), reply: z.object({}), deadlineMs: 7_200_000, data: (r) => r,
        chart: { Parsing: { Ok: "Done", Bad: "Done" }, Done: end } },
      { Parsing: (s) => s.call(parse, { input: ({ text }) => ({ text }), ok: "Ok", failed: "Bad", deadline: "Bad" }), Done: () => ({}) });
    const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const engine = createEngine({ store: ${JSON.stringify(path)}, hubs: [doc], workers: [worker(parse, async ({ text }) => {
      await sleep(30);
      if (text === "exits") process.exit(3);
      return {};
    })] });
    await engine.start();
    for (const text of ["exits", "good"]) await engine.submit(doc, { text }, { key: text });
    const { kind } = await engine.answer("good");
    while ((await engine.requests({ status: "incident" })).items.length < 1) await sleep(20);
    await engine.stop();
    console.log(kind);`;
  const ends: unknown[] = [];
  while (ends.length < 10 && ends.at(-1) !== "result") {
    const { status, stdout } = spawnSync(
      process.execPath,
      [
        "--disable-warning=ExperimentalWarning",
        "--conditions=wheelwork-source",
        "--input-type=module",
        "-e",
        script,
      ],
      { encoding: "utf8", cwd: import.meta.dirname },
    );
    ends.push(status === 0 ? stdout.trim() : status);
  }
  expect(ends).toEqual([3, 3, 3, 3, 3, "result"]);
});

describe("in a cluster", () => {
  test("the count goes with the shard from node to node", async () => {
    const nodes = new Nodes({
      shards: 2,
      hub: job,
      workers: (process) =>
        [work, narrow].map((one) =>
          worker(one, async ({ kills }) => {
            await process.sleep(30);
            if (!kills) return {};
            process.kill();
            return await new Promise<never>(() => {});
          }),
        ),
    });
    const members = [await nodes.node(0), await nodes.node(0)];
    await nodes.ask("poison", { n: 0, kills: true });
    for (let n = 1; n < 8; n++) await nodes.ask(`good${n}`, { n, kills: false });
    let deaths = 0;
    for (let times = 0; times < 200; times++) {
      for (const [place, { process }] of members.entries()) {
        if (process.alive) continue;
        deaths++;
        members[place] = await nodes.node(0);
      }
      await nodes.clock.advance(1000);
    }
    expect(deaths).toBe(5);
    const { node } = members[0] as Member;
    const view = node.request("poison");
    await nodes.clock.runUntil(view);
    expect(await view).toMatchObject({ incident: { error: { code: "WW_WORKER_DIED" } } });
    for (let n = 1; n < 8; n++) expect(new Set(await nodes.answered(`good${n}`)).size).toBe(1);
  });

  test("the death of a node says nothing of the work of other processes", async () => {
    const far = spoke("far", { input: z.object({}), output: z.object({}), timeoutMs: 30_000 });
    const asks = hub(
      "asks",
      {
        request: z.object({}),
        reply: z.object({}),
        deadlineMs: 60_000,
        chart: { Ask: { Ok: "Done", Bad: "Done" }, Done: end },
        data: () => ({}),
      },
      {
        Ask: (s) => s.call(far, { input: () => ({}), ok: "Ok", failed: "Bad", deadline: "Bad" }),
        Done: () => ({}),
      },
    );
    const nodes = new Nodes({
      shards: 1,
      hub: asks,
      workers: () => [externalWorker(far, { topic: "far" })],
      topics: { far: 1 },
    });
    let member = await nodes.node(0);
    await nodes.ask("a", {});
    for (let times = 0; times < 6; times++) {
      await nodes.clock.advance(100);
      member.process.kill();
      member = await nodes.node(0);
    }
    const history = member.node.history("a");
    await nodes.clock.runUntil(history);
    expect((await history).map(({ type }) => type)).not.toContain("died");
  });
});
