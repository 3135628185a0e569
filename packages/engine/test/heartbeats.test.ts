import { end, hub, spoke, type Spoke } from "@wheelwork/core";
import { externalWorker, relay, worker, type WorkerContext } from "@wheelwork/engine";
import { correlationHeader } from "../src/delivery/inbox.ts";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";
import { World, type WorldOptions } from "./world.ts";

/** Long attempts say that they go on, and how far they are: one that is silent fails, and the next one goes on from there. */

const long = spoke("long", {
  input: z.object({}),
  output: z.object({}),
  timeoutMs: 600_000,
  heartbeatMs: 5000,
  retry: { attempts: 4 },
});

const job = hub(
  "job",
  {
    request: z.object({}),
    reply: z.object({ why: z.string() }),
    deadlineMs: 3_600_000,
    chart: { Work: { Ok: "Done", Bad: "Done", Late: "Done" }, Done: end },
    data: () => ({ why: "late" }),
  },
  {
    Work: (s) =>
      s.call(long, {
        input: () => ({}),
        ok: () => s.raise("Ok", { why: "ok" }),
        failed: (_data, failure) =>
          s.raise("Bad", { why: failure.kind === "error" ? failure.code : failure.kind }),
        deadline: "Late",
      }),
    Done: ({ why }) => ({ why }),
  },
);

type Work = (
  context: WorkerContext,
  sleep: (ms: number) => Promise<void>,
  from: readonly unknown[],
) => Promise<void>;

/** A world whose worker does this, and answers with what each attempt has begun from. */
async function world(work: Work, options: Partial<WorldOptions> = {}) {
  const from: unknown[] = [];
  const made: World = new World({
    hubs: [job],
    workers: (sleep) => [
      worker(long, async (_input, context) => {
        from.push(context.lastProgress ?? null);
        await work(context, sleep, from);
        return {};
      }),
    ],
    ...options,
  });
  await made.start();
  onTestFinished(() => made.close());
  await made.engine.submit(job, {}, { key: "a" });
  const saved = async () =>
    (await made.engine.history("a")).flatMap((event) =>
      event.type === "progressed" ? [[event.at - started, event.value]] : [],
    );
  const [{ at: started = 0 } = {}] = await made.engine.history("a");
  return { world: made, from, saved };
}

const variants = [{}, { store: "sqlite" }, { faults: { later: true } }] as const;

describe.each(variants)("a long attempt (%o)", (variant) => {
  test("goes on as long as it says so", async () => {
    const { world: made, from } = await world(async (context, sleep) => {
      for (let n = 0; n < 100; n++) {
        await sleep(4999);
        context.progress(n);
      }
    }, variant);
    expect(await made.answer("a")).toMatchObject({ value: { why: "ok" } });
    expect(from).toHaveLength(1);
  });

  test("that falls silent fails early, and the next one gets its last value", async () => {
    const { world: made, from } = await world(async (context, sleep, { length }) => {
      for (let n = 0; n < 3; n++) {
        await sleep(2000);
        context.progress({ attempt: length, n });
      }
      if (length < 3) await sleep(1_000_000);
    }, variant);
    const began = made.clock.monotonicMs();
    expect(await made.answer("a")).toMatchObject({ value: { why: "ok" } });
    expect(from).toEqual([null, { attempt: 1, n: 2 }, { attempt: 2, n: 2 }]);
    expect(made.clock.monotonicMs() - began).toBeLessThan(2 * 11_000 + 6100);
    const failures = (await made.engine.history("a")).flatMap((event) =>
      event.type === "failed" ? [event.failure] : [],
    );
    expect(failures).toHaveLength(2);
    expect(failures[0]).toMatchObject({
      code: "WW_NO_HEARTBEAT",
      message: "the worker of long has said nothing for 5000 ms",
    });
  });

  test("that fails leaves its last value, too; and values are stored once in the time of a heartbeat", async () => {
    const {
      world: made,
      from,
      saved,
    } = await world(async (context, sleep, { length }) => {
      if (length > 1) return;
      for (let n = 0; n < 120; n++) {
        await sleep(100);
        context.progress(n);
      }
      throw new Error("as planned");
    }, variant);
    expect(await made.answer("a")).toMatchObject({ value: { why: "ok" } });
    expect(from).toEqual([null, 119]);
    expect(await saved()).toEqual([
      [100, 0],
      [5100, 50],
      [10_100, 100],
      [12_000, 119],
    ]);
  });

  test("that dies with its process leaves a value that is at most a heartbeat old", async () => {
    const { world: made, from } = await world(async (context, sleep) => {
      for (let n = 0; n < 120; n++) {
        await sleep(100);
        context.progress({ n });
      }
    }, variant);
    await made.clock.advance(7550);
    await made.restart(1000);
    expect(await made.answer("a")).toMatchObject({ value: { why: "ok" } });
    expect(from).toEqual([null, { n: 50 }]);
  });
});

test("a value that cannot be kept fails its attempt, and says why", async () => {
  const values = [new Date(0), "x".repeat(20_000), () => 1, 17n];
  const { world: made } = await world(async (context, _sleep, { length }) =>
    context.progress(values[length - 1] as never),
  );
  expect(await made.answer("a")).toMatchObject({ value: { why: "WW_WORKER_FAILED" } });
  const messages = (await made.engine.history("a")).flatMap((event) =>
    event.type === "failed" && event.failure.kind === "error" ? [event.failure.message] : [],
  );
  expect(messages[0]).toMatch(/^WW_INVALID_OUTPUT: .*progress/);
  expect(messages[1]).toMatch(/^WW_TOO_LARGE: .*20002 characters/);
});

test("a value without news only says that the work goes on", async () => {
  const { world: made, saved } = await world(async (context, sleep) => {
    for (let n = 0; n < 50; n++) {
      await sleep(4000);
      context.progress();
    }
  });
  expect(await made.answer("a")).toMatchObject({ value: { why: "ok" } });
  expect(await saved()).toEqual([]);
});

test("a timeout leaves the last value, too", async () => {
  const short = spoke("short", {
    input: z.object({}),
    output: z.object({}),
    timeoutMs: 3000,
    heartbeatMs: 2000,
    retry: { attempts: 2 },
  });
  const from: unknown[] = [];
  const made: World = new World({
    hubs: [jobOf(short)],
    workers: (sleep) => [
      worker(short, async (_input, context) => {
        from.push(context.lastProgress);
        for (let n = 0; from.length === 1; n++) {
          await sleep(700);
          context.progress(n);
        }
        return {};
      }),
    ],
  });
  await made.start();
  onTestFinished(() => made.close());
  await made.engine.submit("of", {}, { key: "a" });
  expect(await made.answer("a")).toEqual({ kind: "result", value: {} });
  expect(from).toEqual([undefined, 3]);
});

test("a process that stood still does not blame its workers", async () => {
  const { world: made, from } = await world(async (context, sleep) => {
    for (let n = 0; n < 10; n++) {
      await sleep(4000);
      context.progress(n);
    }
  });
  await made.clock.advance(9000);
  made.freeze();
  await made.clock.advance(60_000);
  made.thaw();
  expect(await made.answer("a")).toMatchObject({ value: { why: "ok" } });
  expect(from).toEqual([null]);
});

test("a spoke without heartbeats hears nothing, and a relay cannot say anything", async () => {
  const quiet = spoke("quiet", { input: z.object({}), output: z.object({}), timeoutMs: 1000 });
  const seen: unknown[] = [];
  const made: World = new World({
    hubs: [jobOf(quiet)],
    workers: () => [
      worker(quiet, (_input, context) => {
        context.progress(1);
        seen.push(context.lastProgress);
        return {};
      }),
    ],
  });
  await made.start();
  onTestFinished(() => made.close());
  await made.engine.submit("of", {}, { key: "a" });
  expect(await made.answer("a")).toEqual({ kind: "result", value: {} });
  expect(seen).toEqual([undefined]);
  const send = () => ({ key: "", value: "" });
  expect(() => relay(long, { to: "a", from: "b", send, receive: () => undefined })).toThrow(
    /WW_CONFIG.*long/,
  );
});

function jobOf(served: Spoke<never, unknown, never>) {
  return hub(
    "of",
    {
      request: z.object({}),
      reply: z.object({}),
      errors: ["bad"],
      deadlineMs: 3_600_000,
      chart: { Work: { Ok: "Done", Bad: "Failed" }, Done: end, Failed: end },
      data: () => ({}),
    },
    {
      Work: (s) =>
        s.call(served as unknown as Spoke<object>, {
          input: () => ({}),
          ok: "Ok",
          failed: "Bad",
          deadline: "Bad",
        }),
      Done: () => ({}),
      Failed: (_data, s) => s.fail("bad", "it has failed"),
    },
  );
}

test("an external worker says in the inbox how far it is, and is told where the last attempt was", async () => {
  const far = spoke("far", {
    input: z.object({}),
    output: z.object({}),
    timeoutMs: 600_000,
    heartbeatMs: 5000,
    retry: { attempts: 2 },
  });
  const nodes = new Nodes({
    shards: 1,
    hub: jobOf(far),
    workers: () => [externalWorker(far, { topic: "far" })],
    topics: { far: 1 },
  });
  let member = await nodes.node(0);
  await nodes.ask("a", {});
  const asked = () => nodes.broker.records("far");
  await nodes.clock.runUntil(() => asked().length === 1, 60_000);
  const say = async (value: object): Promise<void> => {
    const headers: Readonly<Record<string, string>> = asked().at(-1)?.headers ?? {};
    const correlation = { [correlationHeader]: headers[correlationHeader] };
    const record = { key: "a", value: JSON.stringify({ ...correlation, ...value }) };
    await nodes.clock.runUntil(nodes.outside.append(`${headers["reply-to"]}`, record, 0));
  };
  for (let n = 0; n < 6; n++) {
    await nodes.clock.advance(3000);
    await say({ type: "progress", progress: { page: n } });
  }
  expect(asked()).toHaveLength(1);
  // The node dies. The next one asks again, and says where it was.
  member.process.kill();
  member = await nodes.node(0);
  await nodes.clock.runUntil(() => asked().length === 2, 60_000);
  const known = JSON.parse(asked().at(-1)?.headers["progress"] ?? "null") as { page: number };
  expect(known.page).toBeGreaterThanOrEqual(3);
  // It falls silent.
  await nodes.clock.runUntil(() => asked().length === 3, 60_000);
  expect(asked().at(-1)?.headers).toMatchObject({ attempt: "2" });
  await say({ type: "response", output: {} });
  expect((await nodes.answered("a"))[0]).toContain("result");
});
