import { systemClock } from "@wheelwork/engine";
import { clusterTopics, createNode } from "@wheelwork/engine/cluster";
import { end, hub } from "@wheelwork/core";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import { MemoryBroker, MemoryLog } from "@wheelwork/testing";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { binaries, Server } from "./server.ts";

const eventually = { timeout: 60_000, interval: 20 };
const echo = hub(
  "echo",
  {
    request: z.object({ text: z.string(), at: z.number() }),
    reply: z.object({ text: z.string(), at: z.number() }),
    deadlineMs: 60_000,
    chart: { Asked: { Next: "Done" }, Done: end },
    data: (request) => request,
  },
  { Asked: "Next", Done: (data) => data },
);

/** What an administrator may set for a role, in the middle of the work. */
const settings = [
  "bytea_output = 'escape'",
  "default_transaction_isolation = 'serializable'",
  "lock_timeout = '1ms'",
  "statement_timeout = '1ms'",
  "idle_session_timeout = '200ms'",
  "datestyle = 'German, DMY'",
  "intervalstyle = 'iso_8601'",
  "timezone = 'Asia/Kathmandu'",
  "quote_all_identifiers = on",
  "extra_float_digits = 0",
  "standard_conforming_strings = off",
  "client_encoding = 'LATIN1'",
  "plan_cache_mode = 'force_generic_plan'",
];

describe.skipIf(binaries === undefined)("a role whose administrator changes it", () => {
  let server: Server;
  beforeAll(async () => {
    server = await Server.start();
  });
  afterAll(() => server?.remove());

  /** A node that works with a role of its own, whose connections the administrator can end. */
  async function begin(role: string) {
    await server.query(`CREATE ROLE ${role} LOGIN`);
    await server.query(`CREATE SCHEMA ${role} AUTHORIZATION ${role}`);
    const url = new URL(server.url);
    url.username = role;
    const pool = postgresPool({ connectionString: url.href, schema: role });
    const broker = new MemoryBroker({ clock: systemClock });
    for (const { name, partitions = 1 } of clusterTopics({ shards: 1 })) broker.createTopic(name, partitions);
    const node = createNode({
      hubs: [echo],
      workers: [],
      shards: 1,
      log: new MemoryLog(broker, { clock: systemClock }),
      store: (shard) => postgresStore({ pool, shard, shards: 1 }),
    });
    await node.start();
    onTestFinished(async () => {
      await node.stop({ drainMs: 0 });
      await pool.close();
    });
    const isOwner = (): unknown => node.shards.map(({ status }) => status);
    await expect.poll(isOwner, eventually).toEqual(["running"]);
    /** A request under a key, sent again until it is accepted; then its answer, also as the store has it. */
    const ask = async (key: string): Promise<void> => {
      const request = { text: `Ωmega 漢字 İı 🦉 \\ ' \u0000 \ud800 ${key}`, at: 0.1 + 0.2 };
      const submitted = (): Promise<unknown> =>
        node.submit(echo, request, { key }).then(({ id }) => id, String);
      await expect.poll(submitted, eventually).toBe(key);
      expect(await node.answer(key, { waitMs: 60_000 })).toEqual({ kind: "result", value: request });
      expect((await node.history(key)).filter(({ type }) => type === "ended")).toHaveLength(1);
    };
    const change = async (sql: string): Promise<void> => {
      await server.query(`ALTER ROLE ${role} ${sql}`);
      await server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role);
    };
    return { node, ask, change };
  }

  test("may set what changes how values are written, how long statements take, and how they are planned", async () => {
    const { node, ask, change } = await begin("changed");
    await ask("before");
    for (const setting of settings) {
      await change(`SET ${setting}`);
      await ask(setting);
    }
    await change("RESET ALL");
    await ask("after");
    expect((await node.requests({ limit: 100 })).items).toHaveLength(settings.length + 2);
  });

  test.each([
    ["may not come in", "NOLOGIN", "LOGIN"],
    ["may only read", "SET default_transaction_read_only = on", "RESET ALL"],
    ["gets no connection", "CONNECTION LIMIT 0", "CONNECTION LIMIT -1"],
  ])("goes on by itself, and has lost nothing, after it %s for a while", async (_what, take, give) => {
    const { node, ask, change } = await begin(`r${take.length}`);
    await ask("before");
    await change(take);
    const request = { text: "", at: 1 };
    await expect(node.submit(echo, request, { key: "during" })).rejects.toMatchObject({ retryable: true });
    await change(give);
    await ask("after");
    expect(await node.answer("before")).toMatchObject({ kind: "result" });
  });
});
