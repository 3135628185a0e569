import { end, hub, stay } from "@wheelwork/core";
import {
  createEngine,
  schedule,
  silentLogger,
  systemClock,
  type AuditEntry,
  type AuditPage,
  type Engine,
  type Store,
} from "@wheelwork/engine";
import { createClient } from "@wheelwork/engine/cluster";
import { MemoryLog, MemoryStore } from "@wheelwork/testing";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import type { ShardAccess } from "../src/requests/access.ts";
import { auditPage } from "../src/requests/audit.ts";
import { SqliteStore } from "../src/stores/sqlite.ts";
import { Nodes } from "./nodes.ts";

const faults = { broken: true };

/** Counts signals; throws at its end while `faults.broken`. A cancel ends it at once. */
const counter = hub(
  "counter",
  {
    request: z.object({}),
    reply: z.number(),
    deadlineMs: 3_600_000,
    signals: { add: z.number(), stop: z.null() },
    cancel: end,
    chart: { Counting: { Added: stay, Stopped: "Done", Late: "Done" }, Done: end },
    data: () => ({ sum: 0 }),
  },
  {
    Counting: (s) =>
      s.wait({
        on: { add: ({ sum }, n) => s.raise("Added", { sum: sum + n }), stop: "Stopped" },
        deadline: "Late",
      }),
    Done: ({ sum }) => {
      if (faults.broken) throw new Error("the counter is broken");
      return sum;
    },
  },
);
const yearly = schedule("yearly", { cron: "0 0 29 2 *", hub: counter, request: () => ({}) });

async function embedded(store: Store | string): Promise<Engine> {
  const engine = createEngine({
    hubs: [counter],
    workers: [],
    schedules: [yearly],
    store,
    logger: silentLogger,
  });
  await engine.start();
  onTestFinished(() => engine.stop());
  return engine;
}

const shown = ({ items }: AuditPage): string[] =>
  items.map(
    ({ by, command, id, signal }) => `${by} ${command} ${id}${signal === undefined ? "" : ` ${signal}`}`,
  );

/** Gives each command once, and some that change nothing. */
async function giveAll(engine: Engine): Promise<void> {
  faults.broken = true;
  await engine.submit("counter", {}, { key: "a", by: "token:ann" });
  await engine.submit("counter", {}, { key: "a", by: "token:eve" });
  await engine.submit("counter", {}, { key: "quiet" });
  await engine.signal("a", "add", 1, { by: "token:bob", commandId: "once" });
  await engine.signal("a", "add", 1, { by: "token:eve", commandId: "once" });
  await engine.signal("quiet", "add", 1);
  await expect(engine.retry("a", { by: "token:eve" })).rejects.toMatchObject({ code: "WW_NOT_INCIDENT" });
  await engine.signal("a", "stop", null, { by: "token:bob" });
  await expect.poll(async () => (await engine.request("a")).status).toBe("incident");
  faults.broken = false;
  await engine.retry("a", { by: "token:cat" });
  await expect.poll(async () => (await engine.request("a")).status).toBe("ended");
  expect(await engine.cancel("a", { by: "token:eve" })).toBe("ended");
  await engine.cancel("quiet", { by: "token:dan" });
  await expect.poll(async () => (await engine.request("quiet")).status).toBe("ended");
  faults.broken = true;
  await engine.submit("counter", {}, { key: "b" });
  await engine.signal("b", "stop", null);
  await expect.poll(async () => (await engine.request("b")).status).toBe("incident");
  await engine.resolve("b", "given up", { by: "token:dan" });
  await expect.poll(async () => (await engine.request("b")).status).toBe("ended");
}

const expected = [
  "token:dan resolve b",
  "token:dan cancel quiet",
  "token:cat retry a",
  "token:bob signal a stop",
  "token:bob signal a add",
  "token:ann submit a",
];

test("each command that somebody gave is in the history and in the audit list, with who gave it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-audit-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "a.db");
  const engine = await embedded(file);
  await giveAll(engine);
  await engine.schedule("yearly").pause({ by: "token:dan" });
  await engine.schedule("yearly").remove({ by: "token:dan" });
  const list = [
    "token:dan signal schedule:yearly remove",
    "token:dan signal schedule:yearly pause",
    ...expected,
  ];
  expect(shown(await engine.audit())).toEqual(list);
  const given = async (of: Engine) =>
    (await of.history("a")).flatMap((event) =>
      "givenBy" in event ? [`${event.type} ${event.givenBy}`] : [],
    );
  const givers = ["started token:ann", "signalled token:bob", "incident token:bob", "resumed token:cat"];
  expect(await given(engine)).toEqual(givers);
  await engine.stop();
  // A restart reads the same, and pages say it once.
  const again = await embedded(file);
  expect(await given(again)).toEqual(givers);
  const pages: string[] = [];
  let cursor: string | undefined;
  do {
    const page: AuditPage = await again.audit({ limit: 3, ...(cursor === undefined ? {} : { cursor }) });
    pages.push(...shown(page));
    cursor = page.cursor;
  } while (cursor !== undefined);
  expect(pages).toEqual(list);
});

test("commands are found by who gave them, by what they are, and by when", async () => {
  const engine = await embedded(new MemoryStore());
  await giveAll(engine);
  expect(shown(await engine.audit({ by: "token:dan" }))).toEqual([
    "token:dan resolve b",
    "token:dan cancel quiet",
  ]);
  expect(shown(await engine.audit({ command: "signal", id: "a" }))).toHaveLength(2);
  expect(shown(await engine.audit({ hub: "other" }))).toEqual([]);
  const { items } = await engine.audit();
  const [newest] = items;
  const at = newest?.at ?? 0;
  expect(shown(await engine.audit({ at: { to: at } }))).toEqual(
    shown({ items: items.filter((item) => item.at < at) }),
  );
  expect(shown(await engine.audit({ at: { from: at } }))).toEqual(
    shown({ items: items.filter((item) => item.at >= at) }),
  );
});

test("a filter that means little looks at a part of a long list for each page, and finds it all", async () => {
  // Three shards, and much in the same millisecond.
  const entry = (n: number): AuditEntry => ({
    at: Math.floor(n / 7),
    by: n % 30_011 === 0 ? "token:rare" : "token:ann",
    command: "cancel",
    key: `k${n}`,
    hub: "counter",
  });
  const all = Array.from({ length: 90_000 }, (_, n) => entry(n));
  let most = 0;
  const shardOf = (shard: number): Pick<ShardAccess, "audit"> => {
    const batches = all
      .filter((_entry, n) => n % 3 === shard)
      .map((one, seq) => ({ at: one.at, seq, entries: [one] }))
      .toReversed();
    let read = 0;
    return {
      audit: async (before, limit) => {
        const from = batches.findIndex(
          ({ at, seq }) => at < before.at || (at === before.at && seq < before.seq),
        );
        const some = from < 0 ? [] : batches.slice(from, from + limit);
        most = Math.max(most, (read += some.length));
        return some;
      },
    };
  };
  const found: string[] = [];
  let pages = 0;
  let cursor: string | undefined;
  do {
    const asked = { by: "token:rare", ...(cursor === undefined ? {} : { cursor }) };
    const page = await auditPage([shardOf(0), shardOf(1), shardOf(2)], asked, systemClock);
    found.push(...page.items.map(({ id }) => id));
    cursor = page.cursor;
    pages++;
  } while (cursor !== undefined);
  expect(found).toEqual(["k60022", "k30011", "k0"]);
  expect(pages).toBeGreaterThan(1);
  expect(most).toBeLessThan(21_000);
});

test("the audit list of a cluster has the commands of all shards, whoever is asked", async () => {
  const options = { hubs: [counter] };
  const nodes = new Nodes({
    shards: 3,
    hub: counter,
    workers: () => [],
    options: { ...options, logger: silentLogger },
  });
  const { node } = await nodes.node(1);
  const client = createClient({
    ...options,
    shards: 3,
    store: (shard) => (nodes.disks[shard] as MemoryStore).reopen(),
    log: new MemoryLog(nodes.broker, { clock: nodes.clock }),
    clock: nodes.clock,
  });
  await nodes.clock.runUntil(client.start());
  const done: string[] = [];
  for (let number = 0; number < 20; number++) {
    const submitted = client.submit("counter", {}, { key: `k${number}`, by: "token:ann" });
    await nodes.clock.runUntil(submitted);
    await nodes.clock.runUntil(client.cancel(`k${number}`, { by: "jwt:bob" }));
    await nodes.clock.runUntil(client.answer(`k${number}`));
    done.unshift(`token:ann submit k${number}`, `jwt:bob cancel k${number}`);
  }
  for (const engine of [client, node]) {
    const found: string[] = [];
    let cursor: string | undefined;
    do {
      const asked: Promise<AuditPage> = engine.audit({
        limit: 7,
        ...(cursor === undefined ? {} : { cursor }),
      });
      await nodes.clock.runUntil(asked);
      const page = await asked;
      found.push(...shown(page));
      cursor = page.cursor;
    } while (cursor !== undefined);
    expect(found.toSorted()).toEqual(done.toSorted());
    expect(new Set(found).size).toBe(40);
  }
});

test("a name that is none is refused, and so are pages that are none", async () => {
  const engine = await embedded(new MemoryStore());
  await expect(engine.submit("counter", {}, { by: "" })).rejects.toMatchObject({
    problems: [{ path: "by" }],
  });
  await engine.submit("counter", {}, { key: "a" });
  for (const by of ["", "a\nb", "x".repeat(301), "\ud800"])
    await expect(engine.cancel("a", { by })).rejects.toMatchObject({ problems: [{ path: "by" }] });
  await expect(engine.audit({ limit: 0 })).rejects.toMatchObject({ problems: [{ path: "limit" }] });
  for (const cursor of ["", "1", "1.2.3", "x.1.2.k"])
    await expect(engine.audit({ cursor })).rejects.toMatchObject({ problems: [{ path: "cursor" }] });
});

test("commands that an earlier version has kept are found beside those of this one", async () => {
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-audit-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "store.db");
  const open = (): SqliteStore => new SqliteStore(path, { durability: "normal" });
  const entry = (by: string, n: number): AuditEntry => ({
    at: 1000 + n,
    by,
    command: "cancel",
    key: `k${n}`,
    hub: "h",
  });
  const former = open();
  const { epoch } = former.claim("owner");
  const commit = { epoch, journal: [], answers: [] };
  for (let seq = 1; seq <= 9; seq++)
    former.commit({ ...commit, seq, now: 1000 + seq, audit: [entry(seq % 3 === 0 ? "ann" : "bob", seq)] });
  await former.close();
  // It had no index.
  const db = new DatabaseSync(path);
  db.exec("UPDATE audit SET indexed = 0; DELETE FROM audit_term");
  db.close();
  const store = open();
  onTestFinished(() => store.close());
  const { epoch: next } = store.claim("owner");
  for (let seq = 10; seq <= 12; seq++)
    store.commit({
      ...commit,
      epoch: next,
      seq,
      now: 1000 + seq,
      audit: [entry(seq % 2 === 0 ? "ann" : "bob", seq)],
    });
  const shard = { audit: async (...asked: Parameters<Store["audit"]>) => store.audit(...asked) };
  const found = async (filter: Parameters<typeof auditPage>[1]): Promise<string[]> =>
    (await auditPage([shard], filter, systemClock)).items.map(({ id }) => id);
  expect(await found({ by: "ann" })).toEqual(["k12", "k10", "k9", "k6", "k3"]);
  expect(await found({ id: "k6" })).toEqual(["k6"]);
  expect(await found({ by: "ann", command: "submit" })).toEqual([]);
  expect(store.purgeAudit(1100, 100)).toBe(false);
  expect(await found({ by: "ann" })).toEqual([]);
});
