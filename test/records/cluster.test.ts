import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock, type EngineEvent } from "@wheelwork/engine";
import { clusterTopics, createNode, readDeadLetter, shardOf } from "@wheelwork/engine/cluster";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import { freePort, postgresIsInstalled, PostgresServer } from "@wheelwork/services";
import { MemoryBroker, MemoryLog } from "@wheelwork/testing";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { channel, hostileRecords, hubs, inbox, workers } from "./hostile.ts";

const shards = 2;
let server: PostgresServer;
let folder: string;
let schemas = 0;

describe.skipIf(!postgresIsInstalled())("records that no part of ours wrote", () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "wheelwork-records-"));
    chmodSync(folder, 0o755);
    server = new PostgresServer(folder, await freePort());
    await server.start();
  });
  afterAll(async () => {
    await server.signal("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  /** A node that has met hostile records, with a run that waits, and what it told. */
  async function begin() {
    const schema = `cluster_${++schemas}`;
    const broker = new MemoryBroker({ clock: systemClock });
    for (const { name, partitions = shards } of clusterTopics({ shards, channels: [channel] }))
      broker.createTopic(name, partitions);
    for (const name of ["questions", "asked"]) broker.createTopic(name);
    broker.createTopic("told", shards);
    const pool = postgresPool({ connectionString: server.url, schema });
    const log = new MemoryLog(broker, { clock: systemClock });
    const events: EngineEvent[] = [];
    const failures: Error[] = [];
    const node = createNode({
      hubs,
      workers,
      shards,
      log,
      channels: [channel],
      store: (shard) => postgresStore({ pool, shard, shards }),
      observe: (event) => void events.push(event),
      onFailure: (error) => void failures.push(error),
    });
    await node.start();
    onTestFinished(async () => {
      await node.stop({ drainMs: 0 });
      await log.close();
      await pool.close();
    });
    await expect.poll(() => node.shards.map(({ status }) => status)).toEqual(["running", "running"]);
    await node.submit("external", { n: 1 }, { key: "live" });
    return { broker, log, node, events, failures };
  }

  test("each is done, refused to its sender, or a dead letter; no shard is stopped or claimed again", async () => {
    const { broker, log, node, events, failures } = await begin();
    const all = hostileRecords(800);
    for (const { topic, partition, ...message } of all) await log.append(topic, message, partition);
    // One more for each place, so that all before it has been read.
    for (const shard of Array.from({ length: shards }).keys()) {
      for (let number = 0; ; number++) {
        const last = `last-${shard}-${number}`;
        if (shardOf(last, shards) !== shard) continue;
        const value = JSON.stringify({ type: "request", hub: "own", request: { n: 7 }, replyTo: "test" });
        await log.append(inbox, { key: last, value }, shard);
        await expect
          .poll(() => node.answer(last, { waitMs: 0 }).catch(() => undefined))
          .toEqual({
            kind: "result",
            value: { n: 8 },
          });
        break;
      }
      const key = `channel-${shard}`;
      await log.append("in", { key, value: '{"n":1}' }, shard);
      await expect.poll(() => broker.records("out").some((record) => record.key === key)).toBe(true);
    }
    const told = new Set(events.map(({ name }) => name));
    expect([...told].filter((name) => ["store-lost", "shard-fenced", "incident"].includes(name))).toEqual([]);
    expect(events.filter(({ name }) => name === "shard-claimed")).toHaveLength(shards);
    expect(failures).toEqual([]);
    // All is settled: nothing comes again for ever.
    const ends = await Promise.all([0, 1].map((partition) => log.end(inbox, partition)));
    await expect.poll(() => node.shards.map(({ position }) => position)).toEqual(ends);
    for (const topic of ["in", "told"])
      for (const partition of [0, 1])
        await expect
          .poll(() => broker.committed("wheelwork", topic, partition))
          .toBe(await log.end(topic, partition));
    await expect.poll(() => node.shards.map(({ unpublished }) => unpublished)).toEqual([0, 0]);
    // A dead letter for each record at most, which is what it was.
    for (const topic of [inbox, "in"]) {
      const letters = broker.records(`${topic}-dlt`).map((letter) => ({ letter, ...readDeadLetter(letter) }));
      expect(letters.length).toBeGreaterThan(20);
      const places = letters.map(({ origin }) => `${origin.topic} ${origin.partition} ${origin.offset}`);
      expect(new Set(places).size).toBe(places.length);
      for (const { origin, letter } of letters) {
        const found = broker
          .records(origin.topic)
          .find(({ partition, offset }) => partition === origin.partition && offset === origin.offset);
        expect([letter.key, letter.value]).toEqual([found?.key, found?.value]);
      }
    }
    // Each record of the channel is answered under its own key, or a dead letter.
    const dead = new Set(
      broker
        .records("in-dlt")
        .map((letter) => readDeadLetter(letter).origin)
        .map(({ partition, offset }) => `${partition} ${offset}`),
    );
    const answered = new Set(broker.records("out").map((record) => record.key));
    const silent = broker
      .records("in")
      .filter(({ key, partition, offset }) => !dead.has(`${partition} ${offset}`) && !answered.has(key));
    expect(silent).toEqual([]);
  });

  test("a command for what cannot be a run reaches no store", async () => {
    const { node, events } = await begin();
    for (const id of ["live/\0", "\0", "live/x", "\ud800", ""]) {
      await expect(node.cancel(id)).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
      await expect(node.request(id)).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
    }
    expect(events.filter(({ name }) => name === "store-lost")).toEqual([]);
    expect(await node.cancel("live")).toBe("accepted");
  });
});
