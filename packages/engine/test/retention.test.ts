import { end, hub, spoke } from "@wheelwork/core";
import { SqliteStore, worker, type StoredAnswer } from "@wheelwork/engine";
import { MemoryStore } from "@wheelwork/testing";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { folder, World } from "./world.ts";

/** Retention never forgets a request while a run that it has begun lives. */

const worlds: World[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.close();
});

const mail = spoke("mail", {
  input: z.string(),
  output: z.null(),
  timeoutMs: 1_000,
  retry: { attempts: 10, backoffMs: 50_000, maxBackoffMs: 100_000 },
});

const sending = hub(
  "sending",
  {
    request: z.string(),
    reply: z.string(),
    deadlineMs: 1_000,
    chart: { Telling: { Next: "Done" }, Done: end },
    data: (text) => ({ text }),
  },
  { Telling: (s) => s.tell(mail, { input: ({ text }) => text, next: "Next" }), Done: () => "sent" },
);

test.each([
  ["memory", "killed"],
  ["memory", "stopped"],
  ["sqlite", "killed"],
  ["sqlite", "stopped"],
] as const)("a request is known while its tell is retried (%s, %s)", async (store, how) => {
  const attempts: string[] = [];
  let isDown = true;
  const world = new World({
    hubs: [sending],
    workers: () => [
      worker(mail, (_input, { idempotencyKey }) => {
        attempts.push(idempotencyKey);
        if (isDown) throw new Error("the mail server is down");
        return null;
      }),
    ],
    store,
    retentionMs: 10_000,
  });
  worlds.push(world);
  await world.start();
  const submit = () => world.engine.submit(sending, "news", { key: "a b" });
  expect((await submit()).known).toBe(false);
  for (let minute = 0; minute < 8; minute++) {
    await world.clock.advance(60_000);
    if (minute === 3) {
      // A stop writes the row of the tell, which is still there when the tell has ended.
      if (how === "stopped") await world.engine.stop();
      await world.restart();
    }
    expect((await submit()).known).toBe(true);
  }
  const failed = attempts.length;
  expect(failed).toBeGreaterThan(3);
  expect(new Set(attempts).size).toBe(1);
  isDown = false;
  await world.clock.advance(100_000);
  expect(attempts).toHaveLength(failed + 1);
  // The tell has ended. The purge runs once a minute.
  await world.clock.advance(130_000);
  await expect(world.engine.request("a b")).rejects.toThrow(/WW_NOT_FOUND/);
  expect((await submit()).known).toBe(false);
  await world.clock.advance(1_000);
  expect(attempts).toHaveLength(failed + 2);
  expect(await world.answer("a b")).toEqual({ kind: "result", value: "sent" });
});

const answer: StoredAnswer = {
  key: "k",
  hub: "h",
  version: 1,
  hash: "x",
  state: "Done",
  status: "ended",
  createdAt: 1,
  answeredAt: 1,
  endedAt: 1,
  root: true,
  answer: { kind: "result", value: 1 },
  request: null,
  firstSeq: 1,
  lastSeq: 1,
};
const nothingBegun = { living: new Set<string>(), ended: new Set<string>() };

describe("an owner that another one has replaced deletes nothing", () => {
  test("in memory", () => {
    const store = new MemoryStore();
    const { epoch } = store.claim("owner");
    store.commit({ epoch, seq: 1, now: 1, journal: [], answers: [answer] });
    const next = store.reopen();
    next.claim("next");
    expect(store.purge(9, 9, nothingBegun)).toBe(0);
    expect(next.purge(9, 9, nothingBegun)).toBe(1);
  });

  test("in a file", () => {
    const path = join(folder(), "store.db");
    const store = new SqliteStore(path);
    const { epoch } = store.claim("owner");
    store.commit({ epoch, seq: 1, now: 1, journal: [], answers: [answer] });
    const next = new DatabaseSync(path);
    next.exec("UPDATE shard SET epoch = epoch + 1");
    next.close();
    expect(store.purge(9, 9, nothingBegun)).toBe(0);
    expect(store.find(["k"])[0]?.answer?.key).toBe("k");
    store.claim("next");
    expect(store.purge(9, 9, nothingBegun)).toBeGreaterThan(0);
    store.close();
  });
});
