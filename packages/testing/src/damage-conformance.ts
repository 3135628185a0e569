import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { end, hub, spoke, type Answer, type Exclusive, type Schema } from "@wheelwork/core";
import { schedule, systemClock, type EventsPage, worker, type Store } from "@wheelwork/engine";
import { clusterTopics, createNode, type Channel, type ClusterNode } from "@wheelwork/engine/cluster";
import { FaultyStore } from "./faulty-store.ts";
import { MemoryBroker, MemoryLog } from "./memory-log.ts";
import type { TestRunner } from "./store-fixtures.ts";

/** A row of a store, and the column that is to be damaged. */
export interface DamagedColumn {
  readonly table: "run" | "request" | "history" | "journal" | "audit";
  readonly column: string;
  /** The key of the row, without what names its lane. Absent: all rows. */
  readonly key?: string;
  /** The number of the row, of a batch. */
  readonly seq?: number;
}

/** A store of one shard whose rows a test can damage. */
export interface DamageableStore {
  /** Opens what is stored. The one before is closed. */
  readonly store: () => Store;
  /** Changes a text so that it is no JSON, or bytes. */
  readonly damage: (what: DamagedColumn) => void | Promise<void>;
  /** What an operator does who gives a batch up. */
  readonly giveUp: (seq: number) => void | Promise<void>;
  readonly close: () => void | Promise<void>;
}

/** A schema that takes any value. */
const anything = <T>(): Schema<T> => ({
  "~standard": { version: 1, vendor: "wheelwork", validate: (value) => ({ value: value as T }) },
});

interface Wait {
  readonly withinMs: number;
}

/** A hub whose runs wait until a signal comes, or their time is over. */
const waitingHub = (
  name: string,
  more: { readonly labels?: () => { readonly tenant: string }; readonly exclusive?: Exclusive<Wait> } = {},
) =>
  hub(
    name,
    {
      request: anything<Wait>(),
      reply: anything<{ ended: string }>(),
      deadlineMs: ({ withinMs }) => withinMs,
      ...more,
      signals: { go: anything<{ on: string }>() },
      chart: { Waiting: { Went: "Done", Late: "Done" }, Done: end },
      data: () => ({ ended: "late" }),
    },
    {
      Waiting: (s) =>
        s.wait({ on: { go: (_data, { on }) => s.raise("Went", { ended: on }) }, deadline: "Late" }),
      Done: ({ ended }) => ({ ended }),
    },
  );

/** A hub whose runs wait for two signals. */
const stepping = hub(
  "stepping",
  {
    request: anything<object>(),
    reply: anything<{ ended: string }>(),
    deadlineMs: hourMs(),
    signals: { go: anything<{ on: string }>() },
    chart: {
      First: { Went: "Second", Late: "Done" },
      Second: { Went: "Done", Late: "Done" },
      Done: end,
    },
    data: () => ({ ended: "late" }),
  },
  {
    First: (s) => s.wait({ on: { go: (_data, { on }) => s.raise("Went", { ended: on }) }, deadline: "Late" }),
    Second: (s) =>
      s.wait({ on: { go: (_data, { on }) => s.raise("Went", { ended: on }) }, deadline: "Late" }),
    Done: ({ ended }) => ({ ended }),
  },
);

const waiting = waitingHub("waiting", { labels: () => ({ tenant: "a" }) });
const inLane = waitingHub("in-lane", { exclusive: { lane: "one", by: () => "key", whenBusy: "queue" } });

/** A hub that calls another one. */
const callingHub = (name: string, callee: typeof stepping | typeof waiting) =>
  hub(
    name,
    {
      request: anything<object>(),
      reply: anything<{ ended: string }>(),
      deadlineMs: hourMs(),
      chart: { Calling: { Next: "Done" }, Done: end },
      data: () => ({ ended: "" }),
    },
    {
      Calling: (s) =>
        s.call(callee as typeof waiting, {
          input: () => ({ withinMs: hourMs() }),
          ok: (_data, { ended }) => s.raise("Next", { ended }),
          failed: (_data, failure) =>
            s.raise("Next", { ended: failure.kind === "error" ? failure.code : failure.kind }),
          deadline: "Next",
        }),
      Done: ({ ended }) => ({ ended }),
    },
  );

const calling = callingHub("calling", waiting);
const callingSteps = callingHub("calling-steps", stepping);

const work = spoke("work", { input: anything<object>(), output: anything<object>(), timeoutMs: hourMs() });

const working = hub(
  "working",
  {
    request: anything<object>(),
    reply: anything<{ ended: string }>(),
    deadlineMs: hourMs(),
    chart: { Working: { Next: "Done", Failed: "Done" }, Done: end },
    data: () => ({ ended: "worked" }),
  },
  {
    Working: (s) => s.call(work, { input: () => ({}), ok: "Next", failed: "Failed", deadline: "Failed" }),
    Done: ({ ended }) => ({ ended }),
  },
);

function hourMs(): number {
  return 3_600_000;
}

const channel: Channel = {
  name: "test",
  from: "in",
  to: "out",
  hub: waiting as never,
  request: ({ value }) => JSON.parse(value) as unknown,
  answer: (answer) => ({ value: JSON.stringify(answer) }),
};

const shards = 1;
/** For what must come, and a time that is not over while a test goes on, in milliseconds. */
const [waitMs, soonMs] = [40_000, 50_000];

/** Looks again and again. */
async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  const before = Date.now() + waitMs;
  while (!(await what())) {
    ok(Date.now() < before, `${String(what)} did not come true`);
    await new Promise((resolve) => void setTimeout(resolve, 5));
  }
}

/** The first page of all events, or the first one with events after a position. */
async function firstPage(node: ClusterNode, after?: string): Promise<EventsPage> {
  for await (const page of node.events(after === undefined ? {} : { after }))
    if (after === undefined || page.events.length > 0) return page;
  throw new Error("the events have ended");
}

const damaged = { code: "WW_STORE_CORRUPT" };
const result = (ended: string): Answer => ({ kind: "result", value: { ended } });

/**
 * The suite of what a store with checksums makes of damaged rows: a node works on with all that is sound, and tells what is not.
 * @param runner Your test runner, such as vitest.
 * @param name Names the store in the titles of the tests.
 */
export function damageConformance(
  { describe, test }: TestRunner,
  name: string,
  open: () => DamageableStore | Promise<DamageableStore>,
): void {
  /** Starts a node on the store. In its first life a worker never ends. */
  class World {
    readonly broker = new MemoryBroker({ clock: systemClock });
    readonly log = new MemoryLog(this.broker, { clock: systemClock });
    readonly opened: DamageableStore;
    readonly failures: { readonly code?: string; readonly message: string }[] = [];
    readonly events: string[] = [];
    /** What its nodes have committed: the keys of each batch. */
    readonly batches = new Map<number, readonly string[]>();
    /** Nothing more is committed: what the node knows is lost, as if its process had been killed. */
    isCut = false;
    node!: ClusterNode;

    constructor(opened: DamageableStore) {
      this.opened = opened;
      for (const { name: topic, partitions = 1 } of clusterTopics({ shards, channels: [channel] }))
        this.broker.createTopic(topic, partitions);
    }

    async start(isFirst = false, isStuck = false): Promise<void> {
      this.failures.length = 0;
      this.events.length = 0;
      const never = new Promise<object>(() => {});
      this.node = createNode({
        hubs: [waiting, stepping, inLane, calling, callingSteps, working],
        workers: [worker(work, async () => (isFirst ? never : {}))],
        schedules: ["hurt", "sound"].map((one) =>
          schedule(one, { everyMs: 24 * hourMs(), hub: working, request: () => ({}) } as never),
        ),
        shards,
        store: () =>
          new FaultyStore(this.opened.store(), {
            faultAt: (_number, { seq, journal }) => {
              if (this.isCut) return "fail";
              this.batches.set(
                seq,
                journal.map(({ key }) => key),
              );
              return undefined;
            },
          }),
        log: this.log,
        channels: [channel],
        drainMs: 0,
        logger: { debug() {}, info() {}, warn() {}, error() {} },
        observe: (event) => {
          if (event.name === "damaged") this.events.push(event.message);
        },
        onFailure: (error) => void this.failures.push(error),
      });
      this.isCut = false;
      await this.node.start();
      await until(() => (isStuck ? this.failures.length > 0 : this.node.shards[0]?.status === "running"));
    }

    async kill(): Promise<void> {
      this.isCut = true;
      await this.node.stop();
    }

    /** Does things to runs, and gives the batches that were about them. */
    async batchesOf(body: () => Promise<unknown>): Promise<number[]> {
      const before = Math.max(0, ...this.batches.keys());
      await body();
      const since = [...this.batches].filter(([seq, keys]) => seq > before && keys.length > 0);
      return since.map(([seq]) => seq);
    }

    async submitWaiting(key: string, withinMs = hourMs()): Promise<string> {
      return (await this.node.submit(waiting, { withinMs }, { key })).id;
    }

    async go(key: string): Promise<Answer | undefined> {
      await this.node.signal(key, "go", { on: key }, { commandId: key });
      return this.node.answer(key, { waitMs });
    }

    /** What is published on the channel under a key. */
    answers(key: string): readonly Answer[] {
      const records = this.broker.records("out").filter((record) => record.key === key);
      return records.map(({ value }) => JSON.parse(value) as Answer);
    }
  }

  describe(`${name}: damaged rows harm nobody else`, () => {
    const it = (title: string, body: (world: World) => Promise<void>): void =>
      test(title, async () => {
        const world = new World(await open());
        try {
          await world.start(true);
          await body(world);
        } finally {
          await world.node.stop();
          await world.opened.close();
        }
      });

    /** Damages rows of a node that has stopped, and starts another. What is damaged is told, each place once. */
    const damage = async (world: World, columns: readonly DamagedColumn[], places: readonly string[]) => {
      await world.node.stop();
      for (const column of columns) await world.opened.damage(column);
      await world.start();
      return async (): Promise<void> => {
        await until(() => world.events.length >= places.length);
        deepStrictEqual(
          world.events.map((message) => /WW_\w+: (.*) is damaged/.exec(message)?.[1]).toSorted(),
          [...places].toSorted(),
        );
        deepStrictEqual(
          world.failures.map(({ code }) => code),
          places.map(() => "WW_STORE_CORRUPT"),
        );
        const { ready, warnings = [] } = world.node.health();
        strictEqual(ready, true);
        strictEqual(warnings.length, places.length);
        for (const place of places) ok(warnings.some((warning) => warning.includes(place)));
      };
    };

    it("runs: those that wait, work, are called, call, and wait in a lane", async (world) => {
      const { node: first } = world;
      for (const key of ["waits", "hurts", "labelled"]) await world.submitWaiting(key);
      // They are read at the next start, since they are due soon.
      for (const key of ["due-hurts", "due"]) await world.submitWaiting(key, soonMs);
      for (const key of ["works-hurts", "works"]) await first.submit(working, {}, { key });
      for (const key of ["calls-hurt", "calls", "lost"]) await first.submit(calling, {}, { key });
      const lane: string[] = [];
      for (const key of ["lane-holds", "lane-hurts", "lane-next"])
        lane.push((await first.submit(inLane, { withinMs: hourMs() }, { key })).id);
      const [holds = "", hurts = "", next = ""] = lane;
      await until(async () => (await first.request("lost/0")).status === "running");
      const storedHurts = hurts;
      const rows = ["hurts", "due-hurts", "works-hurts", "calls-hurt/0", "lane-hurts", "schedule:hurt"];
      const told = await damage(
        world,
        [
          ...[...rows, "lost"].map((key) => ({ table: "run", column: "snapshot", key }) as const),
          { table: "run", column: "labels", key: "labelled" },
        ],
        [...rows, "lost"].map((key) => `the run ${key === "lane-hurts" ? storedHurts : key}`),
      );
      const { node } = world;
      // Each gets what it would have got.
      deepStrictEqual(await world.go("waits"), result("waits"));
      deepStrictEqual(await world.go("due"), result("due"));
      deepStrictEqual(await node.answer("works", { waitMs }), result("worked"));
      deepStrictEqual(await world.go("calls/0"), result("calls/0"));
      deepStrictEqual(await node.answer("calls", { waitMs }), result("calls/0"));
      // The call of one that is damaged fails, and its caller goes on.
      deepStrictEqual(await node.answer("calls-hurt", { waitMs }), result("WW_STORE_CORRUPT"));
      // A callee goes on without its caller.
      deepStrictEqual(await world.go("lost/0"), result("lost/0"));
      // One that waits for a place does not keep those behind it from it.
      deepStrictEqual(await world.go(holds), result(holds));
      deepStrictEqual(await world.go(next), result(next));
      strictEqual((await node.schedule("sound").view()).status, "active");
      await rejects(node.schedule("hurt").view(), damaged);
      // An answer needs no run.
      strictEqual((await node.answer("schedule:hurt"))?.kind, "result");
      // Lists have all of them, and a damaged label ends in no other harm than not being shown.
      const { items } = await node.requests({ hub: ["waiting"], limit: 100 });
      ok(items.some(({ id }) => id === "hurts") && items.some(({ id }) => id === "labelled"));
      deepStrictEqual(await world.go("labelled"), result("labelled"));
      // Who asks for a damaged one is told so, whatever it asks.
      for (const key of ["hurts", "due-hurts", "works-hurts", hurts]) {
        await rejects(node.request(key), damaged, key);
        await rejects(node.answer(key), damaged, key);
        await rejects(node.cancel(key), damaged, key);
      }
      await rejects(world.submitWaiting("hurts"), damaged);
      await rejects(node.signal("hurts", "go", { on: "x" }), damaged);
      await told();
      // It stays so over another start, and what was answered stays answered.
      await node.stop();
      await world.start();
      await rejects(world.node.request("hurts"), damaged);
      deepStrictEqual(await world.node.answer("calls-hurt"), result("WW_STORE_CORRUPT"));
      deepStrictEqual(await world.submitWaiting("new").then(() => world.go("new")), result("new"));
    });

    it("answers, those among them that are to be published, and the journal before the checkpoint", async (world) => {
      const { node: first, broker, log } = world;
      for (const key of ["asked", "asked-hurts"]) await world.submitWaiting(key).then(() => world.go(key));
      broker.deleteTopic("out");
      for (const key of ["owed", "owed-hurts", "owed-last"])
        await log.append("in", { key, value: JSON.stringify({ withinMs: 1 }) });
      for (const key of ["owed", "owed-hurts", "owed-last"])
        await until(async () => (await first.answer(key).catch(() => undefined)) !== undefined);
      const told = await damage(
        world,
        [
          { table: "request", column: "answer", key: "asked-hurts" },
          { table: "request", column: "answer", key: "owed-hurts" },
        ],
        ["the answer to asked-hurts", "the answer to owed-hurts"],
      );
      const { node } = world;
      broker.createTopic("out", 1);
      for (const key of ["owed", "owed-last"]) {
        await until(() => world.answers(key).length > 0);
        deepStrictEqual(world.answers(key), [result("late")]);
      }
      // Its reader waits for it, and gets what can be given.
      await until(() => world.answers("owed-hurts").length > 0);
      const [said] = world.answers("owed-hurts");
      strictEqual(said?.kind === "error" && said.code, "WW_STORE_CORRUPT");
      match(JSON.stringify(said), /the answer to owed-hurts is damaged/);
      deepStrictEqual(await node.answer("asked"), result("asked"));
      await rejects(node.answer("asked-hurts"), damaged);
      await told();
      await until(() => node.shards[0]?.unpublished === 0);
      const { position } = await firstPage(node);
      await node.submit(waiting, { withinMs: hourMs() }, { key: "told", by: "ada" });
      await node.stop();
      await world.opened.damage({ table: "audit", column: "entries" });
      await world.opened.damage({ table: "journal", column: "record" });
      await world.start();
      deepStrictEqual(await world.node.answer("asked"), result("asked"));
      await rejects(world.node.history("asked"), damaged);
      // Who reads all events is told that it has missed some, and goes on from the end.
      await rejects(firstPage(world.node, position), { code: "WW_EVENTS_GONE" });
      await firstPage(world.node);
      deepStrictEqual(await world.submitWaiting("new").then(() => world.go("new")), result("new"));
      strictEqual(world.answers("owed").length, 1);
      // Of the commands, those that can be read are listed.
      await world.node.submit(waiting, { withinMs: hourMs() }, { key: "later", by: "bob" });
      deepStrictEqual(
        (await world.node.audit()).items.map(({ by }) => by),
        ["bob"],
      );
      ok(world.events.some((message) => message.includes("the commands of batch")));
    });

    const step = (world: World, key: string, number: number): Promise<unknown> =>
      world.node.signal(key, "go", { on: `${key} ${number}` }, { commandId: `${key} ${number}` });

    /** Begins runs in several ways, and gives the batches that harm some of them. */
    const beginHarmed = async (world: World): Promise<number[]> => {
      await world.submitWaiting("stored-ends");
      for (const key of ["steps-hurts", "steps-ends", "steps"])
        await world.node.submit(stepping, {}, { key });
      await world.node.submit(callingSteps, {}, { key: "calls-hurt" });
      for (const key of ["calls", "waits"]) await world.submitWaiting(key);
      await until(async () => (await world.node.request("calls-hurt/0")).state === "First");
      // The rows know all that has happened so far.
      await world.node.stop();
      await world.start(true);
      await world.submitWaiting("sound");
      await step(world, "steps", 1);
      const harmed = await world.batchesOf(async () => {
        await world.submitWaiting("begun-hurts");
        await world.go("stored-ends");
        await world.submitWaiting("begun-ends").then(() => world.go("begun-ends"));
        for (const key of ["steps-hurts", "steps-ends", "calls-hurt/0"]) await step(world, key, 1);
      });
      await world.submitWaiting("later");
      await step(world, "steps-ends", 2);
      await step(world, "steps", 2);
      await world.kill();
      return harmed;
    };

    it("a batch of the journal after the checkpoint harms the runs that it was about, and no others", async (world) => {
      const harmed = await beginHarmed(world);
      ok(harmed.length > 0);
      for (const seq of harmed) await world.opened.damage({ table: "journal", column: "record", seq });
      // What is found is known also after the next checkpoint, which covers the batch, and after another kill.
      for (const life of ["first", "killed", "later", "last"]) {
        await world.start();
        const { node } = world;
        strictEqual(node.health().ready && node.shards[0]?.status, "running", life);
        for (const key of ["stored-ends", "begun-ends"]) deepStrictEqual(await node.answer(key), result(key));
        for (const key of ["steps-ends", "steps"])
          deepStrictEqual(await node.answer(key), result(`${key} 2`));
        deepStrictEqual(await node.answer("calls-hurt", { waitMs }), result("WW_STORE_CORRUPT"));
        for (const key of ["steps-hurts", "begun-hurts", "calls-hurt/0"]) {
          await rejects(node.request(key), damaged, key);
          await rejects(node.answer(key), damaged, key);
          await rejects(node.cancel(key), damaged, key);
          await rejects(node.signal(key, "go", { on: "x" }), damaged, key);
        }
        await rejects(node.submit(stepping, {}, { key: "steps-hurts" }), damaged);
        await rejects(world.submitWaiting("begun-hurts"), damaged);
        ok(world.events.some((message) => message.includes("the run steps-hurts")));
        ok((node.health().warnings ?? []).length > 0);
        deepStrictEqual(await world.submitWaiting(life).then(() => world.go(life)), result(life));
        if (life === "first") {
          for (const seq of harmed)
            ok(world.events.some((message) => message.includes(`batch ${seq} of the journal`)));
          await world.kill();
        } else await node.stop();
      }
      await world.start();
      for (const key of ["waits", "calls", "sound", "later"])
        deepStrictEqual(await world.go(key), result(key));
    });

    it("a batch whose runs nobody knows stops its shard, until somebody gives it up", async (world) => {
      const harmed = await beginHarmed(world);
      for (const seq of harmed)
        for (const column of ["record", "runs"]) await world.opened.damage({ table: "journal", column, seq });
      for (const seq of harmed) {
        await world.start(false, true);
        const text = new RegExp(`batch ${seq} of the journal is damaged[^]*repair --give-up ${seq}\\.`);
        await until(() => world.failures.some(({ message }) => text.test(message)));
        ok(world.failures.every(({ code }) => code === "WW_STORE_CORRUPT"));
        const { warnings = [] } = world.node.health();
        ok(warnings.some((warning) => warning.includes(`batch ${seq} of the journal`)));
        await world.node.stop();
        await world.opened.giveUp(seq);
      }
      for (const life of ["first", "later"]) {
        await world.start();
        const { node } = world;
        strictEqual(node.shards[0]?.status, "running", life);
        // What has ended is known, and what was there and may have gone on is not.
        for (const key of ["stored-ends", "begun-ends"]) deepStrictEqual(await node.answer(key), result(key));
        for (const key of ["steps-hurts", "waits"]) {
          await rejects(node.request(key), damaged, key);
          await rejects(node.signal(key, "go", { on: "x" }), damaged, key);
        }
        deepStrictEqual(await world.submitWaiting(life).then(() => world.go(life)), result(life));
        await node.stop();
      }
      await world.start();
      deepStrictEqual(await world.go("later"), result("later"));
    });
  });
}
