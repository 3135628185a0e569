import { renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, onTestFinished, test } from "vitest";
import { Slices, type Work } from "../src/stores/slices.ts";
import { SqliteReaders } from "../src/stores/sqlite-readers.ts";
import { SqliteStore } from "../src/stores/sqlite.ts";
import { approved, outside, rounds, workersOf } from "./hubs.ts";
import { folder, World } from "./world.ts";

/** Whoever lists or counts while requests come, move on and end, is told of the moment when it was asked. */

// Lists and counts take as many turns of the loop as they can; and a store that answers later is not pinned at all.
test.each([{ store: "sqlite", sliceMs: 0 }, { faults: { later: true } }] as const)(
  "no request is missing from a list, or doubled, because it moves on meanwhile: %o",
  async (variant) => {
    const world = new World({
      hubs: [approved, rounds],
      workers: workersOf(outside()),
      limits: { checkpointEvents: 40, checkpointRuns: 7, horizonMs: 10 },
      ...variant,
    });
    onTestFinished(() => world.close());
    await world.start();
    const sent: string[] = [];
    const submit = async (): Promise<void> => {
      const key = `k${sent.length}`;
      const steps = [[1, 2], [100], [60, 7], [7, 17, 27]][sent.length % 4] as number[];
      const submitted = world.engine.submit(rounds, { steps }, { key });
      await world.clock.advance(1);
      await submitted;
      sent.push(key);
    };
    for (let n = 0; n < 12; n++) await submit();
    for (let turn = 0; turn < 25; turn++) {
      const before = [...sent];
      const asked = Promise.all([
        world.engine.requests({ limit: 1000 }),
        world.engine.requests({ hub: "rounds", limit: 1000, order: "oldest" }),
        world.engine.count(),
        world.engine.facets({ labels: { kind: "steps" } }),
      ]);
      for (let n = 0; n < 3; n++) {
        await submit();
        await world.clock.advance(turn % 4);
      }
      await world.clock.advance(50);
      const [newest, oldest, count, facets] = await asked;
      for (const { items } of [newest, oldest]) {
        const ids = items.map(({ id }) => id);
        expect(new Set(ids).size).toBe(ids.length);
        expect(ids).toEqual(expect.arrayContaining(before));
      }
      if ("faults" in variant) continue;
      expect(count).toBe(before.length);
      expect(facets.count).toBe(before.length);
    }
  },
  60_000,
);

test("all who read have one slice of a turn together, and go on in turns", async () => {
  const log: string[] = [];
  const work = function* (name: string): Work<string> {
    for (let step = 1; step <= 3; step++) {
      log.push(`${name}${step}`);
      yield "if-pinned";
    }
    return name;
  };
  const slices = new Slices(0);
  const [a, b] = [slices.do(work("a")), slices.do(work("b"))];
  let isOver = false;
  // What else is due has its turn between two steps.
  const other = (): void => {
    log.push("|");
    if (!isOver) setImmediate(other);
  };
  setImmediate(other);
  expect(await Promise.all([a, b])).toEqual(["a", "b"]);
  isOver = true;
  const steps = log.join("").replaceAll(/^\|+|\|+$/g, "");
  expect(steps).toMatch(/^a1\|b1\|a2\|b2\|a3\|b3/);
});

test("what a slice has the time for is there at once, and what fails harms nobody else", async () => {
  const slices = new Slices(Number.POSITIVE_INFINITY);
  const steps = function* (count: number): Work<number> {
    for (let step = 0; step < count; step++) yield "if-pinned";
    return count;
  };
  expect(slices.do(steps(1000))).toBe(1000);
  const sliced = new Slices(0);
  const failing = function* (): Work<never> {
    yield "if-pinned";
    throw new Error("damaged");
  };
  const [failed, stopped] = [sliced.do(failing()), sliced.do(steps(1000))];
  await expect(failed).rejects.toThrow("damaged");
  sliced.refuse(new Error("stopped"));
  await expect(stopped).rejects.toThrow("stopped");
  expect(await sliced.do(steps(2))).toBe(2);
});

/** A store with some answers, and what writes more of them. */
function stored(sliceMs?: number) {
  const path = join(folder(), "store.db");
  const store = new SqliteStore(path, {
    durability: "normal",
    ...(sliceMs === undefined ? {} : { sliceMs }),
  });
  onTestFinished(() => store.close());
  const { epoch } = store.claim("owner");
  let seq = 0;
  const commit = (textBytes = 1): void => {
    seq++;
    store.commit({
      epoch,
      seq,
      now: seq,
      journal: [],
      answers: [
        {
          key: `k${seq}`,
          hub: "h",
          version: 1,
          hash: "",
          state: "Done",
          status: "ended",
          createdAt: seq,
          answeredAt: seq,
          endedAt: seq,
          root: true,
          answer: { kind: "result", value: {} },
          request: "x".repeat(textBytes),
          firstSeq: seq,
          lastSeq: seq,
        },
      ],
    });
  };
  return { path, store, commit };
}

test("those who read all the time do not make the log grow without an end", () => {
  const path = join(folder(), "log.db");
  const owner = new DatabaseSync(path);
  onTestFinished(() => owner.close());
  owner.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 20");
  owner.exec("CREATE TABLE shard (text)");
  const readers = new SqliteReaders({ path, verify: () => {} }, 50);
  const write = owner.prepare("INSERT INTO shard VALUES (?)");
  let pinned: ReturnType<SqliteReaders["pin"]>;
  let pauses = 0;
  // One is always open, as far as that is permitted.
  for (let n = 0; n < 600; n++) {
    write.run("x".repeat(3000));
    readers.changed();
    const next = readers.pin();
    if (next === undefined) pauses++;
    pinned?.unpin();
    pinned = next;
  }
  pinned?.unpin();
  readers.close();
  // Each of these commits writes a page of 4 KB at least: without a pause, these are 2.4 MB.
  expect(statSync(`${path}-wal`).size).toBeLessThan(800_000);
  expect(pauses).toBeGreaterThan(0);
  expect(pauses).toBeLessThan(100);
});

test("no other file is read than the one that the owner has open", async () => {
  const { path, store, commit } = stored();
  commit();
  renameSync(path, `${path}.moved`);
  writeFileSync(path, "another file");
  expect(store.pin()).toBeUndefined();
  // The owner's own connection reads it still.
  expect(await store.list({ limit: 10 })).toHaveLength(1);
  renameSync(`${path}.moved`, path);
  const pinned = store.pin();
  expect(await pinned?.list({ limit: 10 })).toHaveLength(1);
  pinned?.end();
});

test("more moments than may be pinned are refused, and all between two commits are one", async () => {
  const { store, commit } = stored();
  const open = [];
  for (let n = 0; n < 4; n++) {
    commit();
    open.push(store.pin(), store.pin());
  }
  expect(open).not.toContain(undefined);
  commit();
  expect(store.pin()).toBeUndefined();
  for (const [index, pinned] of open.entries())
    expect(await pinned?.list({ limit: 10 })).toHaveLength(1 + (index >> 1));
  open[0]?.end();
  expect(store.pin()).toBeUndefined();
  open[1]?.end();
  expect(await store.pin()?.list({ limit: 10 })).toHaveLength(5);
});

test("a store that is closed refuses what is being read, and leaves no log behind", async () => {
  const { path, store, commit } = stored(0);
  for (let n = 0; n < 30; n++) commit();
  const pinned = store.pin();
  const [list, counts] = [pinned?.list({ limit: 100 }), pinned?.facets({})];
  store.close();
  await expect(list).rejects.toMatchObject({ code: "WW_STOPPING", retryable: true });
  await expect(counts).rejects.toMatchObject({ code: "WW_STOPPING", retryable: true });
  pinned?.end();
  expect(statSync(`${path}-wal`, { throwIfNoEntry: false })).toBeUndefined();
});
