import { end, hub, spoke } from "@wheelwork/core";
import { createEngine, LocalBus, worker, type Engine } from "@wheelwork/engine";
import { collectHubs, ShardHost, type Reply } from "@wheelwork/engine/parts";
import { expect, onTestFinished, test, vi } from "vitest";
import * as z from "zod";
import type { RequestItem } from "../src/shard/items.ts";
import { approved, outside, workersOf } from "./hubs.ts";
import { Machine } from "./slow.ts";

/** What two batches share that are on their way at once: one is being committed, and one was decided ahead of it. */

/**
 * A commit of two inputs is under way, a third one is decided ahead, and the store is asked for the runs that are due. Then
 * the commits land, the second one with a checkpoint, before the store tells of those runs.
 */
async function checkpointBesideScan(ahead: (engine: Engine) => void) {
  const machine = new Machine();
  const { clock, store } = machine;
  const engine = await machine.parked("a", 1000, { checkpointEvents: 5 });
  await clock.advance(993);
  const [commit, due] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  store.slow.set("commit", commit.promise).set("dueRuns", due.promise);
  for (const key of ["x", "y"]) void engine.submit(approved, { n: 1, withinMs: 10_000 }, { key });
  await clock.settle();
  ahead(engine);
  await clock.advance(3);
  machine.signals.length = 0;
  store.slow.clear();
  return { machine, engine, commit, due };
}

test("a run that has ended does not come back with what the store told of before that", async () => {
  const { machine, engine, commit, due } = await checkpointBesideScan((ahead) => {
    void ahead.cancel("a");
  });
  const { clock, signals } = machine;
  commit.resolve();
  await clock.settle();
  expect(signals.filter(({ name }) => name === "checkpoint")).toHaveLength(1);
  expect(await engine.answer("a")).toMatchObject({ kind: "result" });
  due.resolve();
  await clock.advance(5000);
  expect(signals.filter((signal) => signal.name === "answered" && signal.key === "a")).toHaveLength(1);
  expect(engine.health().liveRuns).toBe(0);
  expect((await engine.history("a")).filter(({ type }) => type === "ended")).toHaveLength(1);
});

test("a run that leaves the memory while the store is asked what is due comes back in time", async () => {
  const { machine, engine, commit, due } = await checkpointBesideScan((ahead) => {
    void ahead.submit(approved, { n: 1, withinMs: 20_000 }, { key: "z" });
  });
  const { clock, signals } = machine;
  commit.resolve();
  await clock.settle();
  expect(signals.filter(({ name }) => name === "checkpoint")).toHaveLength(1);
  due.resolve();
  for (const key of ["a", "x", "y", "z"]) await clock.runUntil(engine.answer(key), 30_000);
});

test("a run that is due soon stays in memory, however long ago its batch was decided", async () => {
  const { machine, engine, commit, due } = await checkpointBesideScan((ahead) => {
    void ahead.submit(approved, { n: 1, withinMs: 11 }, { key: "z" });
  });
  const { clock, store, signals } = machine;
  const checkpoint = Promise.withResolvers<void>();
  store.slow.set("commit", checkpoint.promise);
  commit.resolve();
  await clock.settle();
  due.resolve();
  await clock.settle();
  store.slow.clear();
  checkpoint.resolve();
  await clock.settle();
  expect(signals.filter(({ name }) => name === "checkpoint")).toHaveLength(1);
  await clock.runUntil(engine.answer("z"), 1000);
});

test.each([
  [12, 11],
  [25, 12],
  [25, 24],
  [400, 30],
])(
  "deadlines come though requests never cease, commits take %i ms and reads %i",
  async (commitMs, findMs) => {
    const machine = new Machine();
    const { clock, store } = machine;
    const engine = await machine.start();
    await engine.submit(approved, { n: 1, withinMs: 300 }, { key: "a" });
    const takes = { commit: commitMs, find: findMs, dueRuns: findMs };
    const gates = vi
      .spyOn(store.slow, "get")
      .mockImplementation((name) => clock.process().sleep(takes[name]));
    const sending: Promise<unknown>[] = [];
    let ceases = false;
    const send = (sent: number): void => {
      if (ceases) return;
      sending.push(engine.submit(approved, { n: 1, withinMs: 1_000_000 }, { key: `b${sent}` }));
      clock.after(1, () => send(sent + 1));
    };
    send(0);
    // What waits goes first, as ever, and what is decided is told when it is committed.
    const told = clock.runUntil(engine.answer("a"), 300 + 6 * commitMs).finally(() => {
      ceases = true;
      gates.mockRestore();
    });
    await expect(told).resolves.toBeUndefined();
    // A slow store refuses nobody.
    await clock.runUntil(Promise.all(sending), 20 * commitMs);
  },
);

test("an attempt is handed out before it times out, however long its commit takes", async () => {
  const { clock, store, signals } = new Machine();
  const hasty = spoke("hasty", {
    input: z.null(),
    output: z.null(),
    timeoutMs: 100,
    retry: { attempts: 3, backoffMs: 10 },
  });
  const asking = hub(
    "asking",
    {
      request: z.null(),
      reply: z.null(),
      errors: ["failed"],
      deadlineMs: 10_000,
      chart: { Asking: { Next: "Done", Failed: "Late", TimeUp: "Late" }, Done: end, Late: end },
      data: () => ({}),
    },
    {
      Asking: (s) => s.call(hasty, { input: () => null, ok: "Next", failed: "Failed", deadline: "TimeUp" }),
      Done: () => null,
      Late: (_data, s) => s.fail("failed", "too late"),
    },
  );
  const engine = createEngine({
    hubs: [asking],
    workers: [worker(hasty, () => Promise.resolve(null))],
    store,
    clock,
    observe: (signal) => void signals.push(signal),
  });
  onTestFinished(() => engine.stop());
  await engine.start();
  const gates = vi.spyOn(store.slow, "get").mockImplementation(() => clock.process().sleep(250));
  void engine.submit(asking, null, { key: "a" });
  await clock.advance(1000);
  gates.mockRestore();
  expect(await engine.answer("a")).toMatchObject({ kind: "result" });
  expect(signals.filter(({ name }) => name === "attempt")).toEqual([expect.objectContaining({ attempt: 1 })]);
});

/** A feed that says what is asked of it. */
class Feed {
  readonly log = "log";
  readonly published: Reply[] = [];
  reading = false;
  begins: Promise<void> = Promise.resolve();

  async begin(position = 0): Promise<{ from: number; end: number }> {
    await this.begins;
    this.reading = true;
    return { from: position, end: position };
  }

  end(): void {
    this.reading = false;
  }

  publish(reply: Reply): Promise<void> {
    this.published.push(reply);
    return Promise.resolve();
  }
}

const nobody = (): Promise<never> => Promise.reject(new Error("nobody"));

/** A shard over a log, on the machine's store. */
function fed({ clock, store, signals }: Machine, feed: Feed): ShardHost {
  const host = new ShardHost({
    hubs: collectHubs([approved]),
    workers: workersOf(outside())((ms) => clock.process().sleep(ms)),
    store,
    bus: new LocalBus(),
    replies: { kind: "process" },
    posts: {
      start: nobody,
      signal: nobody,
      call: nobody,
      withdraw: nobody,
      outcome: nobody,
      bulk: nobody,
      matched: nobody,
      page: nobody,
      give: nobody,
    },
    clock,
    observe: (signal) => void signals.push(signal),
    feed,
  });
  onTestFinished(() => host.stop());
  return host;
}

/** A request that came with a record of the log. */
const record = (key: string, offset: number): RequestItem & { readonly offset: number } => ({
  kind: "request",
  key,
  hub: approved.name,
  request: { n: 1, withinMs: 100 },
  hash: "hash",
  isSame: (stored) => stored === "hash",
  fresh: false,
  replyTo: "answers",
  offset,
  accept: () => {},
  refuse: () => {},
});

test.each(["dueRuns", "begin"] as const)(
  "an engine that stops while it reads its shard back does nothing after it: %s is under way",
  async (asked) => {
    const machine = new Machine();
    const { clock, store } = machine;
    const feed = new Feed();
    const host = fed(machine, feed);
    await host.start();
    host.shard.feed(record("a", 0));
    await clock.advance(200);
    expect(feed.published.map(({ key }) => key)).toEqual(["a"]);
    const gate = Promise.withResolvers<void>();
    if (asked === "begin") feed.begins = gate.promise;
    else store.slow.set("dueRuns", gate.promise);
    host.shard.reloadFromStore(new Error("thrown by a timer"));
    await clock.advance(20);
    const published = feed.published.length;
    await host.stop();
    gate.resolve();
    await clock.advance(1000);
    expect(feed.reading).toBe(false);
    expect(feed.published).toHaveLength(published);
  },
);
