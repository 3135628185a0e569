import { end, hub, spoke } from "@wheelwork/core";
import { createEngine, worker, type Commit } from "@wheelwork/engine";
import { SimulatedClock } from "@wheelwork/testing";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { approved, rounds } from "./hubs.ts";
import { Machine, SlowStore } from "./slow.ts";

/** What may happen while a store over a network has not answered yet. */

test("a request is not shown before it is committed: it may never be", async () => {
  const machine = new Machine();
  const { clock, store } = machine;
  const engine = await machine.start();
  const gate = Promise.withResolvers<void>();
  store.slow.set("commit", gate.promise);
  const submitted = engine.submit(approved, { n: 1, withinMs: 10_000 }, { key: "a" }).catch(() => "refused");
  await clock.settle();
  const seen = engine.request("a").catch(({ code }: { code: string }) => code);
  expect((await engine.requests()).items).toEqual([]);
  gate.reject(new Error("the connection was lost"));
  expect(await submitted).toBe("refused");
  expect(await seen).toBe("WW_STORE_UNAVAILABLE");
  store.slow.clear();
});

test.each(["lands", "is lost", "comes when the shard is claimed anew"])(
  "what was thrown elsewhere while a commit was under way drops the memory, and no answer: the commit %s",
  async (commit) => {
    const machine = new Machine();
    const { clock, store } = machine;
    const engine = await machine.start();
    await engine.submit(approved, { n: 1, withinMs: 10_000 }, { key: "before" });
    const gate = Promise.withResolvers<void>();
    store.slow.set("commit", gate.promise);
    const told: string[] = [];
    const submit = (): Promise<unknown> =>
      engine.submit(approved, { n: 1, withinMs: 10_000 }, { key: "during" }).then(
        ({ known }) => told.push(known ? "known" : "new"),
        ({ code }: { code: string }) => told.push(code),
      );
    const submitted = submit();
    await clock.settle();
    machine.reloadFromStore(new Error("thrown by a timer"));
    machine.reloadFromStore(new Error("and again"));
    store.slow.clear();
    if (commit === "lands") gate.resolve();
    if (commit === "is lost") gate.reject(new Error("the connection was lost"));
    await submitted;
    // Nobody knows whether it is there: its sender is told to ask again, and then it is known, or new.
    expect(told).toEqual(["WW_STORE_UNAVAILABLE"]);
    await clock.advance(100);
    expect(engine.health().status).toBe("running");
    gate.resolve();
    await clock.settle();
    await submit();
    expect(told.at(-1)).toBe(commit === "lands" ? "known" : "new");
    for (const key of ["before", "during"]) {
      await engine.signal(key, "approve", { by: "me" });
      await clock.runUntil(engine.answer(key));
      expect((await engine.history(key)).filter(({ type }) => type === "ended")).toHaveLength(1);
    }
    // The same with nothing under way.
    machine.reloadFromStore(new Error("thrown by a timer"));
    expect(engine.health().status).toBe("store-lost");
    await clock.advance(100);
    expect(engine.health().status).toBe("running");
  },
);

test("a request is known while it ends, however long the store takes to tell", async () => {
  const machine = new Machine();
  const { clock, store } = machine;
  const engine = await machine.parked("a", 100_000);
  const gate = Promise.withResolvers<void>();
  store.slow.set("find", gate.promise);
  const seen = engine.request("a");
  store.slow.clear();
  // Who asks after another commit does not wait for that read.
  await clock.runUntil(engine.call(rounds, { steps: [] }));
  await engine.signal("a", "approve", { by: "me" });
  await clock.runUntil(engine.answer("a"));
  gate.resolve();
  expect((await seen).id).toBe("a");
});

test("what the store tells of before a failure does not bring runs back that have ended since", async () => {
  const machine = new Machine();
  const { clock, store, signals } = machine;
  const asked: Promise<string>[] = [];
  const due = Promise.withResolvers<void>();
  const found = Promise.withResolvers<void>();
  clock.after(995, () => {
    // The batch looks for this key, and for the runs that are due, half a horizon before they are.
    store.slow.set("dueRuns", due.promise).set("find", found.promise);
    const refused = engine
      .submit(rounds, { steps: [] }, { key: "b" })
      .catch(({ code }: { code: string }) => code);
    asked.push(refused as Promise<string>);
  });
  const engine = await machine.parked("a", 1000, { checkpointEvents: 1 });
  await clock.advance(995);
  store.slow.clear();
  found.reject(new Error("the connection was lost"));
  await clock.runUntil(engine.answer("a"));
  // Its row is deleted with the next checkpoint.
  await clock.runUntil(engine.call(rounds, { steps: [] }));
  await clock.advance(50);
  signals.length = 0;
  due.resolve();
  expect(await Promise.all(asked)).toEqual(["WW_STORE_UNAVAILABLE"]);
  await clock.advance(10_000);
  expect(signals).toEqual([]);
  expect(engine.health().liveRuns).toBe(0);
});

test.each([
  ["succeeds", "a"],
  ["fails", "WW_STORE_UNAVAILABLE"],
])(
  "an engine that stops waits for the commit under way; when it %s, its request is told so",
  async (ends, told) => {
    const machine = new Machine();
    const { clock, store } = machine;
    const engine = await machine.start();
    const gate = Promise.withResolvers<void>();
    store.slow.set("commit", gate.promise);
    const submitted = engine.submit(approved, { n: 1, withinMs: 10_000 }, { key: "a" });
    const given = submitted.then(({ id }) => id).catch(({ code }: { code: string }) => code);
    await clock.settle();
    let stopped = false;
    const stopping = engine.stop().then(() => (stopped = true));
    await clock.settle();
    expect(stopped).toBe(false);
    store.slow.clear();
    if (ends === "fails") gate.reject(new Error("the connection was lost"));
    else gate.resolve();
    await stopping;
    expect(await given).toBe(told);
    const next = await machine.start();
    expect((await next.requests()).items).toHaveLength(ends === "fails" ? 0 : 1);
  },
);

test("a callback that comes due while the last checkpoint is written waits for the next owner", async () => {
  const machine = new Machine();
  const { clock, store, signals } = machine;
  const engine = await machine.start();
  await engine.submit(approved, { n: 1, withinMs: 100 }, { key: "a" });
  const gate = Promise.withResolvers<void>();
  store.slow.set("commit", gate.promise);
  const before = store.commits;
  const stopped = engine.stop();
  await clock.settle();
  await clock.advance(1000);
  gate.resolve();
  await clock.runUntil(stopped);
  // The checkpoint alone: no batch was decided beside it.
  expect(store.commits - before).toBe(1);
  expect(signals.map(({ name }) => name)).not.toContain("store-lost");
  store.slow.clear();
  const next = await machine.start();
  expect((await next.request("a")).id).toBe("a");
});

test("no attempt is made before it is committed, though those before it were over meanwhile", async () => {
  const quick = spoke("quick", {
    input: z.object({}),
    output: z.object({}),
    timeoutMs: 5,
    retry: { attempts: 8, backoffMs: 0 },
  });
  const hurried = hub(
    "hurried",
    {
      request: z.object({}),
      reply: z.object({}),
      deadlineMs: 1_000,
      chart: { Working: { Done: "Done", Late: "Done" }, Done: end },
      data: () => ({}),
    },
    {
      Working: (s) => s.call(quick, { input: () => ({}), settled: "Done", deadline: "Late" }),
      Done: () => ({}),
    },
  );
  const made: number[] = [];
  const [clock, store] = [new SimulatedClock(), new SlowStore()];
  const engine = createEngine({
    hubs: [hurried],
    workers: [
      worker(quick, (_input, { attempt }) => {
        made.push(attempt);
        return new Promise<Record<string, never>>(() => {});
      }),
    ],
    store,
    clock,
  });
  await engine.start();
  onTestFinished(() => engine.stop({ drainMs: 0 }));
  const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  store.slow.set("commit", first.promise);
  void engine.submit(hurried, {}, { key: "k" });
  await clock.advance(8);
  // The first attempt is over before its commit is, and the second one is decided ahead.
  store.slow.set("commit", second.promise);
  first.resolve();
  await clock.settle();
  expect(made).toEqual([]);
  second.resolve();
  await clock.settle();
  expect(made).toEqual([2]);
});

test("a history has all once, while a checkpoint is written and its success was not heard of yet", async () => {
  const machine = new Machine();
  const { clock, store } = machine;
  const engine = await machine.start({ checkpointEvents: 3 });
  await engine.submit(approved, { n: 1, withinMs: 10_000 }, { key: "a" });
  const commit = store.commit.bind(store);
  const heard = Promise.withResolvers<void>();
  store.commit = ((given: Commit) =>
    (commit(given) as unknown as Promise<void>).then(() => heard.promise)) as never;
  // Its checkpoint has the other run, too.
  const submitted = engine.submit(approved, { n: 2, withinMs: 10_000 }, { key: "b" });
  await clock.settle();
  const history = engine.history("a");
  await clock.settle();
  heard.resolve();
  await submitted;
  store.commit = commit as never;
  expect((await history).map(({ type }) => type)).toEqual(["started", "entered"]);
});

test("another body under a key is refused when what has the key is committed, and not before", async () => {
  const machine = new Machine();
  const { clock, store } = machine;
  const engine = await machine.start();
  const gate = Promise.withResolvers<void>();
  store.slow.set("commit", gate.promise);
  const sent = [1, 2].map((n) =>
    engine.submit(approved, { n, withinMs: 10_000 }, { key: "a" }).then(
      () => "accepted",
      ({ code }: { code: string }) => code,
    ),
  );
  await clock.settle();
  gate.reject(new Error("the connection was lost"));
  expect(await Promise.all(sent)).toEqual(["WW_STORE_UNAVAILABLE", "WW_STORE_UNAVAILABLE"]);
  store.slow.clear();
});
