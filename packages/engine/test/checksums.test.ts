import { createEngine, LocalBus, readStore, SqliteStore, type Engine } from "@wheelwork/engine";
import { collectHubs, offer, ShardHost } from "@wheelwork/engine/parts";
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { decodeBatch, encodeBatch } from "../src/stores/journal.ts";
import { sealed, unsealed } from "../src/stores/checksums.ts";
import type { PostOffice } from "../src/requests/posts.ts";
import { approved, outside, rounds, workersOf } from "./hubs.ts";
import { folder } from "./world.ts";

const sleep = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

async function startedOn(path: string): Promise<Engine> {
  const engine = createEngine({
    hubs: [rounds, approved],
    workers: workersOf(outside())(sleep),
    store: path,
    limits: { checkpointEvents: 4 },
  });
  onTestFinished(() => engine.stop().catch(() => {}));
  await engine.start();
  return engine;
}

/** A store with two answers, a run that waits, and its histories. */
async function written(): Promise<string> {
  const path = join(folder(), "store.db");
  const engine = await startedOn(path);
  await engine.submit(approved, { n: 7, withinMs: 3_600_000 }, { key: "waits" });
  await engine.signal("waits", "note", "first");
  await engine.call(rounds, { steps: [1, 2] }, { key: "sound" });
  await engine.call(rounds, { steps: [1, 3] }, { key: "hurt" });
  await engine.signal("waits", "note", "second");
  await engine.stop();
  return path;
}

function change(path: string, sql: string): void {
  const db = new DatabaseSync(path);
  expect(Number(db.prepare(sql).run().changes)).toBeGreaterThan(0);
  db.close();
}

test.each([
  ["its answer", "answer = replace(answer, '3', '4')"],
  ["its request", "request = replace(request, '3', '4')"],
  ["its hash", "hash = 'f' || substr(hash, 2)"],
  ["when it was answered", "answered_at = answered_at + 1"],
])("a changed row of an answer is not taken for the answer, and harms no other: %s", async (_what, set) => {
  const path = await written();
  change(path, `UPDATE request SET ${set} WHERE key = 'hurt'`);
  const engine = await startedOn(path);
  const damaged = /WW_STORE_CORRUPT[\s\S]*the answer to hurt/;
  await expect(engine.answer("hurt")).rejects.toThrow(damaged);
  await expect(engine.request("hurt")).rejects.toThrow(damaged);
  await expect(engine.submit(rounds, { steps: [1, 3] }, { key: "hurt" })).rejects.toThrow(damaged);
  expect(await engine.answer("sound")).toEqual({ kind: "result", value: { log: ["1", "2"] } });
  expect((await engine.call(rounds, { steps: [1] })).kind).toBe("result");
  expect(engine.health()).toMatchObject({ ready: true, status: "running" });
});

// As after a crash: the journal is read since the first checkpoint.
const replayed = "UPDATE shard SET checkpoint = 0";
const changed = "UPDATE journal SET record = replace(record, 'note', 'nute') WHERE seq > 0";

test("a changed batch after the checkpoint harms no run whose row was written after it", async () => {
  const path = await written();
  change(path, replayed);
  change(path, changed);
  const engine = await startedOn(path);
  expect(engine.health().warnings).toContainEqual(expect.stringMatching(/batch \d+ of the journal/));
  expect(await engine.request("waits")).toMatchObject({ status: "running" });
  expect(await engine.answer("sound")).toEqual({ kind: "result", value: { log: ["1", "2"] } });
});

test("a changed batch after the checkpoint harms a run whose row is older", async () => {
  const path = await written();
  change(path, replayed);
  change(path, changed);
  change(path, "DELETE FROM run");
  const reader = readStore(path);
  await expect(reader.request("waits")).rejects.toThrow(/WW_STORE_CORRUPT[\s\S]*the run waits/);
  expect(await reader.answer("sound")).toEqual({ kind: "result", value: { log: ["1", "2"] } });
  expect((await reader.requests({})).items.map(({ id }) => id).toSorted()).toEqual(["hurt", "sound"]);
  await reader.close();
  const engine = await startedOn(path);
  await expect(engine.request("waits")).rejects.toThrow(/WW_STORE_CORRUPT[\s\S]*the run waits/);
  expect(await engine.answer("sound")).toEqual({ kind: "result", value: { log: ["1", "2"] } });
  expect((await engine.call(rounds, { steps: [1] })).kind).toBe("result");
});

test("a changed batch of an earlier version stops the start, and is named: nobody knows which runs it was about", async () => {
  const path = await written();
  change(path, replayed);
  change(path, changed);
  change(path, "UPDATE journal SET runs = NULL");
  await expect(startedOn(path)).rejects.toThrow(/WW_STORE_CORRUPT[\s\S]*batch \d+ of the journal/);
});

test("a changed run that was in memory stops no start, and an embedded engine tells of it, too", async () => {
  const path = await written();
  change(path, "UPDATE run SET snapshot = replace(snapshot, 'first', 'fyrst'), hot = 1");
  const engine = await startedOn(path);
  await expect(engine.request("waits")).rejects.toThrow(/WW_STORE_CORRUPT[\s\S]*the run waits/);
  expect(engine.health()).toMatchObject({
    ready: true,
    warnings: [expect.stringContaining("the run waits") as string],
  });
  expect(await engine.answer("sound")).toEqual({ kind: "result", value: { log: ["1", "2"] } });
});

// As on Storm, where a tuple that fails comes again.
test("a command for a changed run is not offered again and again: it becomes a dead letter", async () => {
  const path = await written();
  change(path, "UPDATE run SET snapshot = replace(snapshot, 'first', 'fyrst')");
  const store = new SqliteStore(path);
  const hubs = collectHubs([rounds, approved], []);
  const host = new ShardHost({
    hubs,
    workers: workersOf(outside())(sleep),
    store,
    bus: new LocalBus(),
    replies: { kind: "process" },
    posts: {} as PostOffice,
    drainMs: 0,
  });
  onTestFinished(async () => {
    await host.stop();
    store.close();
  });
  await host.start();
  const offered = (key: string) =>
    offer({ shard: host.shard, hubs }, key, { type: "command", input: { kind: "cancel", id: "c" } });
  expect(await offered("waits")).toEqual({ reason: expect.stringContaining("the run waits") as string });
  expect(await offered("sound")).toBe("durable");
});

test("a changed history is not shown", async () => {
  const path = await written();
  change(path, "UPDATE history SET events = replace(events, 'first', 'fyrst')");
  const engine = await startedOn(path);
  await expect(engine.history("waits")).rejects.toThrow(/WW_STORE_CORRUPT[\s\S]*the history of waits/);
});

test("what earlier versions wrote has no checksums, and is read", async () => {
  const path = await written();
  change(path, "UPDATE request SET checksum = NULL");
  change(path, "UPDATE run SET snapshot = substr(snapshot, 10)");
  change(path, "UPDATE history SET events = substr(events, 10)");
  change(
    path,
    "UPDATE journal SET record = CAST(substr(record, 10) AS TEXT) WHERE substr(record, 1, 1) = x'7e'",
  );
  const engine = await startedOn(path);
  expect(await engine.answer("hurt")).toEqual({ kind: "result", value: { log: ["1", "3"] } });
  expect((await engine.history("waits")).filter(({ type }) => type === "signalled")).toHaveLength(2);
  expect((await engine.history("hurt")).at(-1)?.type).toBe("ended");
});

function readOrCode(record: Uint8Array): unknown {
  try {
    return decodeBatch(1, record);
  } catch (error) {
    return (error as { code: string }).code;
  }
}

// Some bits in the header of a compressed frame say nothing: the batch is the same then.
test("no changed byte of a record is read as something else, compressed or not", () => {
  const event = (text: string) =>
    ({ type: "signalled", at: 5, id: "1", signal: "s", payload: text }) as never;
  for (const text of ["short", "long ".repeat(4000)]) {
    const batch = [{ key: "k", events: [event(text)] }];
    const record = Buffer.from(encodeBatch(5, batch));
    expect(decodeBatch(1, record)).toEqual(batch);
    for (let place = 0; place < record.length; place++) {
      for (const bit of [1, 32, 128]) {
        const changed = Buffer.from(record);
        changed[place] = (changed[place] as number) ^ bit;
        expect([batch, "WW_STORE_CORRUPT"]).toContainEqual(readOrCode(changed));
      }
    }
  }
});

test("a text that has come to another key is found", () => {
  expect(unsealed(sealed("{}", "a"), "a")).toBe("{}");
  expect(() => unsealed(sealed("{}", "a"), "b")).toThrow(/checksum/);
});

test("answers stay readable with SQL", async () => {
  const path = await written();
  new SqliteStore(path).close();
  const db = new DatabaseSync(path);
  const row = db
    .prepare("SELECT json_extract(answer, '$.value.log[1]') AS step FROM request WHERE key = 'hurt'")
    .get();
  expect(row).toMatchObject({ step: "3" });
  db.close();
});
