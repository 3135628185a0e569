import { end, hub } from "@wheelwork/core";
import { createEngine, systemClock, type Clock, type Engine } from "@wheelwork/engine";
import { clusterTopics, createNode, type Channel } from "@wheelwork/engine/cluster";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import { MemoryBroker, MemoryLog } from "@wheelwork/testing";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { binaries, Server } from "./server.ts";

const minute = 60_000;
const day = 24 * 60 * minute;

/** A host whose clock is wrong. */
const wrong = (byMs: number): Clock => ({ ...systemClock, wallMs: () => systemClock.wallMs() + byMs });

/** Waits for a signal for an hour, or answers at once. */
const reminder = hub(
  "reminder",
  {
    request: z.object({ waits: z.boolean() }),
    reply: z.object({ rang: z.boolean() }),
    signals: { ring: z.object({}) },
    deadlineMs: 60 * minute,
    chart: {
      Asked: { Wait: "Waiting", Next: "Silent" },
      Waiting: { Ring: "Rung", Late: "Silent" },
      Rung: end,
      Silent: end,
    },
    data: (request) => request,
  },
  {
    Asked: (s) => s.pick(({ waits }) => (waits ? "Wait" : "Next")),
    Waiting: (s) => s.wait({ on: { ring: "Ring" }, deadline: "Late" }),
    Rung: () => ({ rang: true }),
    Silent: () => ({ rang: false }),
  },
);

let server: Server;

describe.skipIf(binaries === undefined)("a host with a wrong clock takes a shard over", () => {
  beforeAll(async () => {
    server = await Server.start();
  });
  afterAll(() => server?.remove());

  const warned: object[] = [];
  const logger = {
    debug: () => {},
    info: () => {},
    warn: (fields: object) => void warned.push(fields),
    error: () => {},
  };

  async function start(schema: string, clock: Clock): Promise<Engine> {
    const store = postgresStore({ connectionString: server.url, schema });
    const engine = createEngine({ hubs: [reminder], workers: [], store, clock, logger });
    await engine.start();
    onTestFinished(async () => {
      await engine.stop();
      await store.close();
    });
    return engine;
  }

  const engineTime = async (schema: string): Promise<number> =>
    Number((await server.query(`SELECT engine_time FROM ${schema}.shard`))[0]?.["engine_time"]);

  test.each([2 * minute, 3 * day, 400 * day, -3 * day])(
    "by %i ms: nothing fires before its time, keys are known, and time goes on",
    async (byMs) => {
      const schema = server.schema();
      const first = await start(schema, systemClock);
      await first.submit("reminder", { waits: true }, { key: "waits" });
      await first.call(reminder, { waits: false }, { key: "done" });
      const before = await engineTime(schema);
      await first.stop();
      const second = await start(schema, wrong(byMs));
      expect(await second.submit("reminder", { waits: false }, { key: "done" })).toMatchObject({
        known: true,
      });
      await second.call(reminder, { waits: false }, { key: "more" });
      expect(await second.request("waits")).toMatchObject({ status: "running", state: "Waiting" });
      const after = await engineTime(schema);
      expect(after).toBeGreaterThanOrEqual(before);
      expect(after - before).toBeLessThan(minute);
      expect(warned.splice(0)).toContainEqual(
        expect.objectContaining({ aheadMs: expect.closeTo(byMs, -4) as number }),
      );
      expect(await second.signal("waits", "ring", {})).toBe("accepted");
      expect(await second.answer("waits")).toEqual({ kind: "result", value: { rang: true } });
    },
  );

  test("a first owner whose clock is ahead begins with the time of the server", async () => {
    const schema = server.schema();
    const engine = await start(schema, wrong(3 * day));
    await engine.call(reminder, { waits: false }, { key: "k" });
    expect(Math.abs((await engineTime(schema)) - Date.now())).toBeLessThan(minute);
    warned.splice(0);
  });

  test("in a cluster, requests of a channel are not too old for it, either", async () => {
    const schema = server.schema();
    const broker = new MemoryBroker({ clock: systemClock });
    const channel: Channel = {
      name: "test",
      from: "in",
      to: "out",
      hub: reminder,
      request: ({ value }) => JSON.parse(value) as unknown,
      answer: (answer) => ({ value: JSON.stringify(answer) }),
    };
    for (const { name, partitions = 1 } of clusterTopics({ shards: 2, channels: [channel] }))
      broker.createTopic(name, partitions);
    const pool = postgresPool({ connectionString: server.url, schema });
    /** The dates that nodes give to what they send. */
    const dates: number[] = [];
    const begin = async (clock: Clock) => {
      const log = new MemoryLog(broker, { clock });
      const publish = log.publish.bind(log);
      log.publish = (topic, message) => {
        if (clock !== systemClock) dates.push(message.timestampMs ?? clock.wallMs());
        return publish(topic, message);
      };
      const node = createNode({
        hubs: [reminder],
        workers: [],
        log,
        clock,
        logger,
        shards: 2,
        store: (shard) => postgresStore({ pool, shard, shards: 2 }),
        channels: [channel],
      });
      await node.start();
      await expect.poll(() => node.shards.length).toBe(2);
      const stop = async (): Promise<void> => {
        await node.stop();
        await log.close();
      };
      onTestFinished(stop);
      return { node, log, stop };
    };
    const answers = (): string[] => broker.records("out").map(({ key, value }) => `${key} ${value}`);
    const ask = (log: MemoryLog, key: string, waits: boolean): Promise<void> =>
      log.append("in", { key, value: JSON.stringify({ waits }) });
    const first = await begin(systemClock);
    await ask(first.log, "a", false);
    await ask(first.log, "waits", true);
    await expect.poll(answers).toEqual(['a {"kind":"result","value":{"rang":false}}']);
    await expect
      .poll(() => first.node.request("waits").catch(() => undefined))
      .toMatchObject({
        state: "Waiting",
      });
    await first.stop();
    const second = await begin(wrong(8 * day));
    await ask(second.log, "b", false);
    await expect.poll(answers).toContain('b {"kind":"result","value":{"rang":false}}');
    // The same key again: its answer is known, and published once more.
    await ask(second.log, "a", false);
    await expect.poll(() => answers().filter((answer) => answer.startsWith("a "))).toHaveLength(2);
    expect(broker.records("in-dlt")).toEqual([]);
    // A broker refuses what is dated an hour ahead.
    expect(dates.length).toBeGreaterThan(0);
    for (const date of dates) expect(Math.abs(date - Date.now())).toBeLessThan(minute);
    expect(await second.node.request("waits")).toMatchObject({ state: "Waiting" });
    await second.stop();
    await pool.close();
  });
});
