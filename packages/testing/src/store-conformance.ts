import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import type { RunEvent } from "@wheelwork/core";
import type { StoredRun } from "@wheelwork/engine";
import { sound } from "@wheelwork/engine/stores";
import { auditConformance } from "./audit-conformance.ts";
import { seededRandom } from "./random.ts";
import {
  all,
  answer,
  at,
  beginning,
  enteredAt,
  none,
  nothingBegun,
  Owner,
  journalOf,
  run,
  same,
  settled,
  storedAnswer,
  storedRun,
  told,
  toldAt,
  type OpenedStore,
  type StoreTest,
  type TestRunner,
} from "./store-fixtures.ts";
import { listConformance } from "./store-lists.ts";

/**
 * The conformance suite of the Store port. Every store must pass it.
 * @param runner Your test runner, such as vitest.
 * @param name Names the store in the titles of the tests.
 * @param open Opens an empty store for one test.
 */
export function storeConformance(
  runner: TestRunner,
  name: string,
  open: () => OpenedStore | Promise<OpenedStore>,
): void {
  const { describe } = runner;
  const test: StoreTest = (title, body) =>
    runner.test(title, async () => {
      const opened = await open();
      const last = await body(opened, await new Owner(opened.store).claim());
      await (last ?? opened).close();
    });

  describe(`${name} conforms to the Store port`, () => {
    test("begins empty, and raises the epoch with each claim", async ({ store, reopen }, owner) => {
      strictEqual(owner.epoch, 1);
      strictEqual(owner.seq, 0);
      same(await all(store.journal()), []);
      same(await all(store.hotRuns()), []);
      same(await all(store.laneRuns()), []);
      same(await store.hubVersions(new Set()), []);
      same(await store.find(["none"]), [{}]);
      same(await store.dueRuns(beginning, 10, 10), { runs: [] });
      same((await all(store.history("none"))).flat(), []);
      const again = await reopen();
      strictEqual((await again.store.claim("another")).epoch, 2);
      return again;
    });

    test("returns the journal since the last checkpoint, in order", async ({ reopen }, owner) => {
      await owner.commit({ journal: [{ key: "a", events: [told(0)] }] });
      await owner.checkpoint({});
      const now = 5_000;
      const journal = [
        { key: "b", events: [told(1), settled(7, now), told(2)] },
        { key: 'c"\u{1F600}', events: [settled(1, now)] },
      ];
      const seq = await owner.commit({ now, journal });
      const again = await reopen();
      const next = await new Owner(again.store).claim();
      strictEqual(next.seq, seq);
      same(await journalOf(again.store), [{ seq, at: now, entries: journal }]);
      return again;
    });

    test("keeps the journal until all parts of a checkpoint are written, and what each row knows", async ({
      reopen,
    }, owner) => {
      const entry = { key: "a", events: [told(0)] };
      await owner.commit({ journal: [entry] });
      const first = await owner.checkpoint({ covers: 0, runs: [run("a", { hot: true, seq: 2 })] });
      same(
        (await all(owner.store.journal())).map(({ seq }) => seq),
        [1, 2],
      );
      await owner.checkpoint({ covers: first - 1 });
      await owner.checkpoint({ covers: 0 });
      const again = await reopen();
      strictEqual((await again.store.peek()).checkpoint, 1);
      strictEqual((await again.store.claim("another")).seq, 4);
      same(
        (await all(again.store.journal())).map(({ seq }) => seq),
        [2, 3, 4],
      );
      same(
        (await all(again.store.hotRuns())).map(sound).map(({ key, seq }) => [key, seq]),
        [["a", 2]],
      );
      same((await again.store.find(["a"]))[0]?.run?.snapshot, run("a").snapshot);
      return again;
    });

    test("returns a long batch unchanged, in the journal and as a history", async ({ reopen }, owner) => {
      const events = Array.from({ length: 2000 }, (_, call) =>
        call % 2 === 0 ? settled(call, at) : told(call, `\u{1F600} ${call * 7919}`),
      );
      const entry = { key: "a", events };
      await owner.checkpoint({});
      await owner.commit({ now: at, journal: [entry], answers: [answer("a", { firstSeq: 2, lastSeq: 2 })] });
      const again = await reopen();
      await again.store.claim("another");
      same(await journalOf(again.store), [{ seq: 2, at, entries: [entry] }]);
      same((await all(again.store.history("a"))).flat(), events);
      return again;
    });

    test("refuses what it can never hold, writes nothing of it, and says which part it is", async ({
      store,
      reopen,
    }, owner) => {
      const endless: Record<string, unknown> = {};
      endless["itself"] = endless;
      const sound = { key: "a", events: [told(0)] };
      const bad = { key: "b", events: [told(0, endless)] };
      const journal = [sound, bad];
      await rejects(owner.commit({ journal }), { code: "WW_STORE_REFUSED" });
      const seq = owner.seq + 1;
      const tried = { epoch: owner.epoch, seq, now: at + seq, journal, answers: [answer("a")] };
      const row = { runs: [run("b", { snapshot: endless })], ended: [], histories: [] };
      strictEqual(await store.takes?.(tried), store.takes && false);
      strictEqual(await store.takes?.({ ...tried, journal: [sound], checkpoint: row }), store.takes && false);
      strictEqual(await store.takes?.({ ...tried, journal: [sound] }), store.takes && true);
      same(await all(store.journal()), []);
      same(await store.find(["a"]), [{}]);
      await owner.commit({ journal: [sound] });
      const again = await reopen();
      await again.store.claim("another");
      same(await journalOf(again.store), [{ seq, at: at + seq, entries: [sound] }]);
      return again;
    });

    test("keeps the engine time and the number of the last batch, also right after a checkpoint", async ({
      reopen,
    }, owner) => {
      await owner.commit({ now: 70 });
      const seq = await owner.commit({ now: 77, checkpoint: { runs: [], ended: [], histories: [] } });
      const again = await reopen();
      // A store with a server also tells the time there.
      const { serverMs, ...claim } = await again.store.claim("another");
      strictEqual(serverMs === undefined || serverMs > 0, true);
      same(claim, { epoch: 2, engineTime: 77, seq });
      same(await all(again.store.journal()), []);
      return again;
    });

    test("tells the runs of lanes, however many, and lists those that wait", async ({ store }, owner) => {
      const lane = (rank: number) => ({ name: "flow", key: "a/\u0000\u00e9", rank });
      const waiting = Array.from({ length: 2500 }, (_, n) => {
        const key = `w${String(n).padStart(4, "0")}`;
        return run(key, { status: "pending", lane: lane(n + 0.5), createdAt: n });
      });
      await owner.checkpoint({ runs: [...waiting, run("plain")] });
      const stored = (await all(store.laneRuns())).toSorted((a, b) => (a.key < b.key ? -1 : 1));
      strictEqual(stored.length, 2500);
      same(stored.at(-1), { key: "w2499", hub: "h", status: "pending", lane: lane(2499.5) });
      const listed = await store.list({ status: "pending", limit: 2 });
      same(
        listed.map(({ key, lane: of }) => [key, of?.rank]),
        [
          ["w2499", 2499.5],
          ["w2498", 2498.5],
        ],
      );
      const begun = run("w0000", { status: "running", lane: { name: "flow", key: "a" } });
      await owner.checkpoint({ runs: [begun], ended: waiting.slice(1).map(({ key }) => key) });
      same(await all(store.laneRuns()), [
        { key: "w0000", hub: "h", status: "running", lane: { name: "flow", key: "a" } },
      ]);
    });

    test("keeps runs as plain JSON, replaces them, and deletes them", async ({ store, reopen }, owner) => {
      await owner.checkpoint({ runs: [run("a"), run("b", { hot: true, due: 9, root: false }), run("c")] });
      same(await storedRun(store, "a"), run("a"));
      same(await all(store.hotRuns()), [run("b", { hot: true, due: 9, root: false })]);
      const changed = run("a", { state: "B", status: "incident", version: 2, due: 5, answeredAt: 4 });
      await owner.checkpoint({ runs: [changed], ended: ["c"] });
      const again = await reopen();
      await again.store.claim("another");
      same(await storedRun(again.store, "a"), changed);
      strictEqual(await storedRun(again.store, "c"), undefined);
      return again;
    });

    test("returns all hot runs and batches, however large they are", async ({ store }, owner) => {
      const text = "x".repeat(1_500_000);
      const runs = ["a", "b", "c", "d", "e", "f"].map((key) => ({
        ...run(key),
        hot: true,
        snapshot: { ...run(key).snapshot, data: text },
      }));
      await owner.commit({ checkpoint: { runs, ended: [], histories: [] } });
      const keys = [];
      for await (const stored of store.hotRuns()) {
        const { key, snapshot } = sound(stored);
        keys.push(`${key} ${String(snapshot.data).length}`);
      }
      deepStrictEqual(
        keys,
        ["a", "b", "c", "d", "e", "f"].map((key) => `${key} ${text.length}`),
      );
      for (let number = 0; number < 5; number++)
        await owner.commit({ journal: [{ key: "a", events: [told(number), told(number)] }] });
      let batches = 0;
      for await (const batch of store.journal()) batches += sound(batch).entries.length;
      strictEqual(batches, 5);
    });

    test("keeps the longest keys", async ({ store }, owner) => {
      const random = seededRandom(1);
      const escapes = Array.from({ length: 800 }, () => `%${(256 + random.int(256)).toString(16).slice(1)}`);
      const key = `//${escapes.join("").toUpperCase()}`;
      const keys = [key, `${key}${"/1234".repeat(32)}`];
      await owner.checkpoint({ runs: keys.map((one) => run(one, { due: 5 })) });
      await owner.commit({ answers: keys.map((one) => answer(one)) });
      const found = await store.find(keys);
      same(
        found.map((one) => [one.run?.key, one.answer?.key]),
        keys.map((one) => [one, one]),
      );
      const { runs } = await store.dueRuns(beginning, 10, 10);
      same(
        runs.map((one) => one.key),
        keys,
      );
    });

    test("lists the hub versions that have runs", async ({ store }, owner) => {
      await owner.checkpoint({
        runs: [run("a"), run("b", { version: 2 }), run("c"), run("d", { hub: "g" })],
      });
      const versions = (await store.hubVersions(new Set())).map(({ hub, version }) => `${hub} ${version}`);
      same(versions.toSorted(), ["g 1", "h 1", "h 2"]);
      const others = (await store.hubVersions(new Set(["a", "b", "d"]))).map(
        ({ hub, version }) => `${hub} ${version}`,
      );
      same(others, ["h 1"]);
    });

    test("lists due runs in the order (due, key), page by page, without those that are hot", async ({
      store,
    }, owner) => {
      const runs = [
        run("d", { due: 20 }),
        run("b", { due: 10 }),
        run("a", { due: 10 }),
        run("c", { due: 10 }),
      ];
      await owner.checkpoint({
        runs: [...runs, run("hot", { due: 1, hot: true }), run("never"), run("e", { due: 30 })],
      });
      const page = async (
        after: { due: number; key: string },
        before: number,
        limit: number,
      ): Promise<string[]> => (await store.dueRuns(after, before, limit)).runs.map(({ key }) => key);
      same(await page(beginning, 30, 2), ["a", "b"]);
      same(await page({ due: 10, key: "b" }, 30, 2), ["c", "d"]);
      same(await store.dueRuns({ due: 20, key: "d" }, 30, 2), { runs: [], next: 30 });
      same(await store.dueRuns(beginning, 0, 2), { runs: [], next: 10 });
      same(await store.dueRuns(beginning, 11, 5), {
        runs: [run("a", { due: 10 }), run("b", { due: 10 }), run("c", { due: 10 })],
        next: 20,
      });
      same(await page(beginning, 31, 9), ["a", "b", "c", "d", "e"]);
      strictEqual((await store.dueRuns(beginning, 31, 9)).next, undefined);
    });

    test("keeps the first answer, and later changes of its row", async ({ store }, owner) => {
      const first = answer("a", { endedAt: undefined, status: "running", state: "CleaningUp" });
      await owner.commit({ answers: [first] });
      same(await storedAnswer(store, "a"), first);
      await owner.commit({ answers: [answer("a", { endedAt: 99, lastSeq: 2 })] });
      same(await storedAnswer(store, "a"), answer("a", { endedAt: 99, lastSeq: 2 }));
    });

    test("keeps the last data of a run, if it is given with its end", async ({ store }, owner) => {
      const data = { text: 'a "quoted" text\u0000 – \u{1F600}', none: null };
      await owner.commit({
        answers: [answer("a", { endedAt: undefined }), answer("b", { data }), answer("c")],
      });
      strictEqual((await storedAnswer(store, "a"))?.data, undefined);
      await owner.commit({ answers: [answer("a", { data })] });
      for (const key of ["a", "b"]) same((await storedAnswer(store, key))?.data, data);
      strictEqual((await storedAnswer(store, "c"))?.data, undefined);
    });

    test("returns each event of a history once and in order: from checkpoints first, then from batches", async ({
      store,
      reopen,
    }, owner) => {
      await owner.commit({ journal: [{ key: "a", events: [told(0)] }] });
      await owner.checkpoint({ runs: [run("a")], histories: [{ key: "a", events: [told(0)] }] });
      same((await all(store.history("a"))).flat(), [told(0)]);
      const firstSeq = await owner.commit({
        journal: [
          { key: "a", events: [told(1)] },
          { key: "b", events: [told(9)] },
        ],
      });
      same((await all(store.history("a"))).flat(), [told(0)]);
      const lastSeq = owner.seq + 1;
      await owner.commit({
        journal: [{ key: "a", events: [told(2)] }],
        answers: [answer("a", { firstSeq, lastSeq })],
        checkpoint: { runs: [], ended: ["a"], histories: [] },
      });
      const again = await reopen();
      await again.store.claim("another");
      same((await all(again.store.history("a"))).flat(), [told(0), told(1), told(2)]);
      return again;
    });

    listConformance(test);

    test("refuses the commits of an owner that has lost its epoch (I21)", async ({
      store,
      reopen,
    }, owner) => {
      await owner.commit({ now: 5 });
      const again = await reopen();
      const next = await new Owner(again.store).claim();
      const stale = { epoch: owner.epoch, seq: next.seq + 1, now: 9, journal: [], answers: [answer("a")] };
      await rejects(async () => again.store.commit(stale), /WW_STORE_LOCKED/);
      strictEqual(await storedAnswer(again.store, "a"), undefined);
      await next.commit({ answers: [answer("b")] });
      strictEqual((await storedAnswer(again.store, "b"))?.key, "b");
      strictEqual(store === again.store, false);
      return again;
    });

    test("finds nothing wrong with what an owner has claimed", async ({ store, reopen }, owner) => {
      await owner.commit({ now: 5 });
      await store.check?.();
      const again = await reopen();
      await new Owner(again.store).claim();
      await again.store.check?.();
      return again;
    });

    test("lets an owner claim again after a failure, unless another owner has claimed since (I21)", async ({
      store,
      reopen,
    }, owner) => {
      strictEqual((await store.claim("owner", true)).epoch, owner.epoch + 1);
      const other = await reopen();
      const { epoch, seq } = await other.store.claim("other");
      await rejects(async () => other.store.claim("owner", true), /WW_STORE_LOCKED/);
      await other.store.commit({ epoch, seq: seq + 1, now: at, journal: [], answers: [] });
      return other;
    });

    test("writes nothing of a commit that fails (I9)", async ({ store }, owner) => {
      await owner.commit({});
      const cyclic: { self?: unknown } = {};
      cyclic.self = cyclic;
      const checkpoint = { runs: [run("a", { snapshot: cyclic })], ended: [], histories: [] };
      await rejects(
        owner.commit({ answers: [answer("a")], journal: [{ key: "a", events: [told(0)] }], checkpoint }),
      );
      strictEqual(await storedAnswer(store, "a"), undefined);
      strictEqual((await all(store.journal())).length, 1);
      await owner.commit({ answers: [answer("b")] });
      strictEqual((await storedAnswer(store, "b"))?.key, "b");
    });

    test("purges what ended before a time, and nothing that has not ended", async ({ store }, owner) => {
      const old = { answeredAt: 10, endedAt: 10 };
      await owner.commit({
        answers: [answer("old", old), answer("open", { answeredAt: 11, endedAt: undefined })],
      });
      await owner.commit({ answers: [answer("late", { answeredAt: 12, endedAt: 60 })] });
      await owner.commit({
        answers: [answer("young", { answeredAt: 60, endedAt: 60, firstSeq: 3, lastSeq: 3 })],
      });
      strictEqual(await store.purge(50, 100, nothingBegun), 1);
      strictEqual(await storedAnswer(store, "old"), undefined);
      for (const key of ["open", "late", "young"]) strictEqual((await storedAnswer(store, key))?.key, key);
      strictEqual(await store.purge(61, 1, nothingBegun), 1);
      strictEqual(await store.purge(61, 100, nothingBegun), 1);
      strictEqual(await store.purge(61, 100, nothingBegun), 0);
      strictEqual((await storedAnswer(store, "open"))?.key, "open");
      await owner.commit({ answers: [answer("open", { answeredAt: 11, endedAt: 70 })] });
      strictEqual(await store.purge(100, 100, nothingBegun), 1);
    });

    test("purges an answer whose run ended late, even if many answers came after it", async ({
      store,
    }, owner) => {
      await owner.commit({ answers: [answer("late", { answeredAt: 1, endedAt: undefined })] });
      for (let batch = 2; batch < 8; batch++) {
        await owner.commit({
          answers: [answer(`young${batch}`, { answeredAt: 100 + batch, endedAt: 100 + batch })],
        });
      }
      strictEqual(await store.purge(50, 2, nothingBegun), 0);
      await owner.commit({ answers: [answer("late", { answeredAt: 1, endedAt: 20 })] });
      strictEqual(await store.purge(50, 2, nothingBegun), 1);
    });

    test("keeps a request while a run that it has begun lives", async ({ store }, owner) => {
      // Such keys lie close together: "//a%20b" is the stored key of a request, and "a-" and "a0" are others than "a".
      const keys = ["a", "//a%20b", "b", "c", "a-", "a0", "//a%20b0"];
      const old = { answeredAt: 10, endedAt: 10 };
      await owner.commit({ answers: keys.map((key) => answer(key, old)) });
      const begun = ["a/t0", "//a%20b/1/2", "c/0"];
      await owner.checkpoint({ runs: begun.map((key) => run(key, { root: false })) });
      const kept = async (): Promise<string[]> => {
        const found = await store.find([...keys, ...begun]);
        return found.flatMap(({ answer: one }) => one?.key ?? []);
      };
      const living = new Set(["b"]);
      await store.purge(50, 100, { living, ended: new Set(["c/0"]) });
      same(await kept(), ["a", "//a%20b", "b"]);
      // Its run ends later than it.
      await owner.commit({ answers: [answer("a/t0", { root: false, answeredAt: 40, endedAt: 40 })] });
      await owner.checkpoint({ ended: ["a/t0", "c/0"] });
      for (let time = 0; time < 2; time++) await store.purge(30, 1, { living, ended: none });
      same(await kept(), ["a", "//a%20b", "b", "a/t0"]);
      // What is no request goes in its time, whatever lives.
      for (let time = 0; time < 3; time++)
        await store.purge(50, 100, { living: new Set(["a", "b"]), ended: none });
      same(await kept(), ["a", "//a%20b", "b"]);
      await owner.checkpoint({ ended: ["//a%20b/1/2"] });
      await store.purge(50, 100, { living: none, ended: none });
      same(await kept(), []);
    });

    test("keeps a request until what it has begun has outlived its retention", async (opened, owner) => {
      const old = { answeredAt: 10, endedAt: 10 };
      // A schedule is no request of a caller, and its ticks are begun by it.
      const keys = ["a", "//a%20b", "schedule:s", "@~0123456789abcdef", "n", "a-", "a0"];
      const begun = ["a/1", "//a%20b/t3", "schedule:s/t7", "@~0123456789abcdef/o", "n/1/2/t0"];
      await owner.commit({
        answers: keys.map((key) => answer(key, { ...old, root: !key.startsWith("schedule:") })),
      });
      await owner.commit({
        answers: begun.map((key) => answer(key, { answeredAt: 40, endedAt: 40, root: false })),
      });
      const kept = async ({ store }: OpenedStore): Promise<string[]> => {
        const found = await store.find([...keys, ...begun]);
        return found.flatMap(({ answer: one }) => one?.key ?? []);
      };
      const purge = async ({ store }: OpenedStore, before: number): Promise<void> => {
        // What a request has begun may go with one purge, and the request with the next one.
        for (let time = 0; time < 2; time++) await store.purge(before, 100, nothingBegun);
      };
      await purge(opened, 40);
      same(await kept(opened), [...keys.slice(0, 5), ...begun]);
      const next = await opened.reopen();
      await new Owner(next.store).claim();
      await purge(next, 40);
      same(await kept(next), [...keys.slice(0, 5), ...begun]);
      await purge(next, 41);
      same(await kept(next), []);
      return next;
    });

    test("a row is wholly that of the run under its key, which may be another run by now", async ({
      store,
    }, owner) => {
      const former = run("k", {
        hub: "former",
        version: 7,
        root: false,
        createdAt: 1,
        answeredAt: 2,
        due: 3,
      });
      await owner.checkpoint({ runs: [former] });
      const lane = { name: "l", key: "a", since: 5 } as unknown as NonNullable<StoredRun["lane"]>;
      const later = run("k", { hub: "later", createdAt: 50, hot: true, lane, state: "B" });
      await owner.checkpoint({ runs: [later] });
      same(await storedRun(store, "k"), later);
      same(await store.hubVersions(none), [{ hub: "later", version: 1 }]);
      same(
        (await store.list({ hub: "later", limit: 9 })).map(({ key, createdAt }) => ({ key, createdAt })),
        [{ key: "k", createdAt: 50 }],
      );
      same(await store.list({ hub: "former", limit: 9 }), []);
    });

    test("keeps how far the shard has read its log, and where answers go", async (opened, owner) => {
      strictEqual((await opened.store.claim("owner")).logProgress, undefined);
      strictEqual((await opened.store.peek()).owner, "owner");
      await owner.claim();
      const logProgress = { log: "inbox/1", position: 7, published: 0 };
      await owner.commit({ logProgress, answers: [answer("r1", { replyTo: "nb" }), answer("r2")] });
      strictEqual((await storedAnswer(opened.store, "r1"))?.replyTo, "nb");
      strictEqual((await storedAnswer(opened.store, "r2"))?.replyTo, undefined);
      // A batch without logProgress does not change it.
      await owner.commit({});
      await owner.commit({
        logProgress: { ...logProgress, position: 9, published: 2 },
        journal: [{ key: "r3", events: [told(1)] }],
      });
      const again = await opened.reopen();
      // What the clock of a server says is no part of it.
      const { engineTime, serverMs: _serverMs, ...state } = await again.store.peek();
      strictEqual(engineTime, at + 3);
      const now = {
        owner: "owner",
        epoch: 3,
        seq: 3,
        checkpoint: 0,
        logProgress: { log: "inbox/1", position: 9, published: 2 },
      };
      same(state, now);
      same((await again.store.claim("next")).logProgress, { log: "inbox/1", position: 9, published: 2 });
      return again;
    });

    test("keeps the harms that were last written", async ({ store, reopen }, owner) => {
      const harms = [{ seq: 3, runs: [1, 4_294_967_295] }, { seq: 4 }];
      await owner.commit({ harms: [] });
      await owner.commit({ harms });
      await owner.commit({});
      same((await store.peek()).harms, harms);
      same((await store.claim("again")).harms, harms);
      const again = await reopen();
      same((await again.store.claim("next")).harms, harms);
      return again;
    });

    test("keeps the downtimes that were last written", async ({ store, reopen }, owner) => {
      const downtimes = [{ from: 1, to: 1_700_000_000_000 }];
      await owner.commit({ downtimes: [] });
      await owner.commit({ downtimes });
      await owner.commit({});
      same((await store.claim("again")).downtimes, downtimes);
      const again = await reopen();
      same((await again.store.claim("next")).downtimes, downtimes);
      return again;
    });

    test("says at a claim whether the owner before has stopped in order", async ({ store, reopen }) => {
      strictEqual((await store.claim("after a death")).afterStop, undefined);
      const { epoch, seq, engineTime } = await store.claim("that stops");
      const last = {
        epoch,
        seq: seq + 1,
        now: engineTime + 1,
        journal: [],
        answers: [],
        stops: true,
      } as const;
      await store.commit(last);
      const again = await reopen();
      strictEqual((await again.store.claim("after a stop")).afterStop, true);
      strictEqual((await again.store.claim("after a death")).afterStop, undefined);
      return again;
    });

    test("returns the journal after any batch, also after one before the last checkpoint", async ({
      store,
    }, owner) => {
      for (let number = 1; number <= 4; number++) {
        await owner.commit({
          journal: [{ key: `r${number}`, events: [told(number)] }],
          ...(number === 3 ? { checkpoint: { runs: [], ended: [], histories: [] } } : {}),
        });
      }
      const keysAfter = async (seq?: number): Promise<string[]> => {
        const keys: string[] = [];
        for await (const batch of store.journal(seq))
          keys.push(...sound(batch).entries.map(({ key }) => key));
        return keys;
      };
      same(await keysAfter(1), ["r2", "r3", "r4"]);
      same(await keysAfter(), ["r4"]);
      same(await keysAfter(4), []);
    });

    test("archives what live runs did before a time: whole parts, and the history says how many events they had", async (opened, owner) => {
      const { store, reopen } = opened;
      const part = (key: string, ...events: RunEvent[]) => ({ key, events });
      await owner.checkpoint({
        runs: [run("live"), run("other")],
        histories: [
          part("live", enteredAt("A", 10), toldAt(1, 12)),
          part("done", toldAt(0, 10)),
          part("live", toldAt(2, 14), enteredAt("B", 18)),
          part("other", toldAt(0, 15)),
          part("live", toldAt(4, 20)),
          part("live", toldAt(5, 30), toldAt(6, 40)),
        ],
      });
      await owner.commit({ answers: [answer("done", { answeredAt: 16, endedAt: 16 })] });
      // A run that lives may have its answer.
      await owner.commit({ answers: [answer("live", { answeredAt: 17, endedAt: undefined })] });
      const history = async (key: string, of = store) => (await all(of.history(key))).flat();
      const whole = await history("live");
      strictEqual(whole.length, 7);
      strictEqual(await store.archive(10, 100), false);
      same(await history("live"), whole);
      strictEqual(await store.archive(14, 100), false);
      same(await history("live"), [{ type: "archived", at: 12, events: 2, state: "A" }, ...whole.slice(2)]);
      // It takes the oldest first, so many parts at a time.
      strictEqual(await store.archive(40, 1), true);
      same(await history("other"), [{ type: "archived", at: 15, events: 1, state: "" }]);
      strictEqual(await store.archive(40, 2), true);
      strictEqual(await store.archive(40, 2), false);
      const archived = { type: "archived", at: 20, events: 5, state: "B" };
      same(await history("live"), [archived, toldAt(5, 30), toldAt(6, 40)]);
      same(await history("done"), [toldAt(0, 10)]);
      await owner.checkpoint({ histories: [part("live", toldAt(7, 50))] });
      const again = await reopen();
      same(await history("live", again.store), [archived, toldAt(5, 30), toldAt(6, 40), toldAt(7, 50)]);
      const next = await new Owner(again.store).claim();
      strictEqual(await next.store.archive(45, 100), false);
      // What a run has when it ends is kept with its answer.
      await next.checkpoint({ ended: ["live"] });
      await next.commit({ answers: [answer("live", { answeredAt: 17, endedAt: 60 })] });
      strictEqual(await next.store.archive(100, 100), false);
      const left = { type: "archived", at: 40, events: 7, state: "B" };
      same(await history("live", next.store), [left, toldAt(7, 50)]);
      for (let purged = 1; purged > 0;) purged = await next.store.purge(100, 100, nothingBegun);
      same(await history("live", next.store), []);
      // The key is free: a history under it begins anew.
      await next.checkpoint({ runs: [run("live")], histories: [part("live", toldAt(0, 70))] });
      same(await history("live", next.store), [toldAt(0, 70)]);
      return again;
    });

    test("gives a history without a gap if events are archived while it is read", async ({
      store,
    }, owner) => {
      for (let from = 0; from < 12; from += 4) {
        const histories = [0, 1, 2, 3].map((step) => ({
          key: "a",
          events: [toldAt(from + step, from + step)],
        }));
        await owner.checkpoint({ runs: [run("a")], histories });
      }
      let [count, before] = [0, 0];
      for await (const part of store.history("a")) {
        for (const event of part) {
          if (event.type === "archived") count = Math.max(count, event.events);
          else strictEqual((event as { readonly call?: number }).call, count++);
        }
        await store.archive((before += 3), 100);
      }
      strictEqual(count, 12);
    });

    test("keeps each history whole until its retention is over", async ({ store }, owner) => {
      const seqs: number[] = [];
      for (let number = 0; number < 6; number++) {
        const key = `r${number}`;
        const seq = owner.seq + 1;
        const ended = { answeredAt: number, endedAt: number, firstSeq: seq, lastSeq: seq };
        const checkpoint = number % 2 === 1 ? { runs: [], ended: [], histories: [] } : undefined;
        await owner.commit({
          journal: [{ key, events: [told(number)] }],
          answers: [answer(key, ended)],
          ...(checkpoint === undefined ? {} : { checkpoint }),
        });
        seqs.push(seq);
      }
      for (let before = 0; before <= 6; before++) {
        await store.purge(before, 100, nothingBegun);
        for (let number = 0; number < 6; number++) {
          const kept = number >= before;
          same((await all(store.history(`r${number}`))).flat(), kept ? [told(number)] : []);
        }
      }
      strictEqual(seqs.length, 6);
    });

    test("keeps the journal for as long as answers, also while nothing ends", async ({ store }, owner) => {
      const step = 7 * 3_600_000;
      const kept = async (): Promise<number[]> => (await all(store.journal(0))).map(({ seq }) => seq);
      for (let number = 0; number < 4; number++) {
        const histories = [{ key: "a", events: [toldAt(number, number * step)] }];
        await owner.commit({
          now: number * step,
          journal: [{ key: "a", events: [toldAt(number, number * step)] }],
          checkpoint: { runs: [run("a")], ended: [], histories },
        });
      }
      for (const [before, left] of [
        [0, [1, 2, 3, 4]],
        [2 * step, [3, 4]],
        [10 * step, []],
      ] as const) {
        while ((await store.purge(before, 1, nothingBegun)) > 0);
        // A store may cut its journal in periods of some hours, and keeps that of now.
        const seqs = await kept();
        ok(
          left.every((seq) => seqs.includes(seq)),
          `before ${before} ms it has ${seqs.join(", ")}`,
        );
        ok(seqs.length <= left.length + 1, `before ${before} ms it has ${seqs.join(", ")}`);
      }
    });

    auditConformance(test);
  });
}
