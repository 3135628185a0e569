import {
  systemClock,
  type Claim,
  type Commit,
  type RequestList,
  type Store,
  type StoredAnswer,
} from "@wheelwork/engine";
import { clusterTopics, createNode } from "@wheelwork/engine/cluster";
import { postgresPool, postgresStore, type PostgresOptions, type PostgresPool } from "@wheelwork/postgres";
import { sound } from "@wheelwork/engine/stores";
import {
  damageConformance,
  MemoryBroker,
  MemoryLog,
  storeConformance,
  type OpenedStore,
} from "@wheelwork/testing";
import { createHash } from "node:crypto";
import { inspect } from "node:util";
import { Client } from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { listStatement } from "../src/lists.ts";
import { flowCreate, workers } from "./flow.ts";
import { binaries, Server } from "./server.ts";

const nothingBegun = { living: new Set<string>(), ended: new Set<string>() };

let server: Server;

const opened: Store[] = [];
const pools: PostgresPool[] = [];

function open(options: PostgresOptions): Store {
  const store = postgresStore({ connectionString: server.url, ...options });
  opened.push(store);
  return store;
}

const commitOf = (epoch: number, seq: number, part: Partial<Commit> = {}): Commit => ({
  epoch,
  seq,
  now: seq,
  journal: [],
  answers: [],
  ...part,
});

const hour = 3_600_000;

const answerOf = (key: string, value: unknown = 1): StoredAnswer => ({
  key,
  hub: "h",
  version: 1,
  hash: "x",
  state: "Done",
  status: "ended",
  createdAt: 1,
  answeredAt: 2,
  endedAt: 2,
  root: true,
  answer: { kind: "result", value },
  request: { value },
  firstSeq: 1,
  lastSeq: 1,
});

describe.skipIf(binaries === undefined)("on a PostgreSQL server", () => {
  beforeAll(async () => {
    server = await Server.start();
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((store) => store.close()));
    await Promise.all(pools.splice(0).map((pool) => pool.close()));
  });
  afterAll(() => server?.remove());

  const conforming = (schema: string): OpenedStore => {
    const store = open({ schema });
    // The old one goes on: whoever has claimed last is the owner.
    return { store, reopen: () => conforming(schema), close: () => {} };
  };
  storeConformance({ describe, test }, "postgresStore", () => conforming(server.schema()));

  damageConformance({ describe, test }, "postgresStore", () => {
    const schema = server.schema();
    return {
      store: () => open({ schema }),
      giveUp: async (seq) => {
        const harms = `(coalesce(harms, '[]')::jsonb || '[{"seq": ${seq}}]')::text`;
        await server.query(`UPDATE ${schema}.shard SET harms = ${harms}`);
      },
      damage: async ({ table, column, key, seq }) => {
        const name = `${schema}.${table === "journal" ? "journal_0" : table}`;
        const value = table === "journal" ? "'\\x5b7b'::bytea" : `${column} || 'x'`;
        const ofKey = key === undefined ? "" : ` WHERE key = '${key}' OR key LIKE '${key}@~%'`;
        const where = seq === undefined ? ofKey : ` WHERE seq = ${seq}`;
        const changed = await server.query(`UPDATE ${name} SET ${column} = ${value}${where} RETURNING 1`);
        if (changed.length === 0) throw new Error(`${name} has no ${key ?? "row"}`);
      },
      close: () => {},
    };
  });

  const lists: RequestList[] = (["newest", "oldest"] as const).flatMap((order) =>
    [undefined, { createdAt: 7, key: "k" }].flatMap((after) =>
      [undefined, { from: 3, to: 9 }].map((createdAt) => ({
        limit: 50,
        order,
        ...(after === undefined ? {} : { after }),
        ...(createdAt === undefined ? {} : { createdAt }),
      })),
    ),
  );

  test("a list walks indexes of its own rows, and looks at no others", async () => {
    const schema = server.schema();
    await open({ schema }).claim("node");
    const client = new Client({ connectionString: server.url, options: `-c search_path=${schema}` });
    await client.connect();
    // Most requests are of one hub and have ended well, as a rule.
    await client.query(`INSERT INTO request (shard, key, hub, version, hash, state, status, created_at, answered_at, ended_at, root, answer,
        request, first_seq, last_seq, checkpoint, facet)
      SELECT 0, 'k' || n, 'most', 1, 'x', 'Done', 'ended', n, n, n, true, '{}', '{}', 1, 1, 1, 1
      FROM generate_series(1, 20000) AS n`);
    await client.query(`INSERT INTO run (shard, key, hub, version, status, state, created_at, hot, root, snapshot, facet)
      SELECT 0, 'r' || n, 'most', 1, 'running', 'S', n, true, true, '{}', 2 FROM generate_series(1, 20000) AS n`);
    await client.query("ANALYZE");
    const facet = { id: 1, hub: "most", status: "ended", state: "Done", root: true, took: 0 } as const;
    const facets = [facet, { ...facet, id: 2, status: "running", took: undefined } as const];
    for (const list of lists) {
      const { text, values } = listStatement(
        0,
        facets.map((facet) => ({ facet })),
        list,
      );
      const plan = await client.query<{ "QUERY PLAN": string }>(`EXPLAIN (COSTS off) ${text}`, values);
      const lines = plan.rows.map((row) => row["QUERY PLAN"]);
      const scans = lines.filter((line) => / Scan .* on /.test(line) && !line.includes("Function Scan"));
      const way = list.order === "newest" ? " Backward" : "";
      const walks = scans.filter((line) => line.includes("_facet"));
      expect(walks).toHaveLength(2);
      for (const line of walks)
        expect(line, JSON.stringify(list)).toMatch(
          new RegExp(`Index (Only )?Scan${way} using (run|request)_facet on`),
        );
      // What is listed is read by its key.
      const reads = scans.filter((line) => !line.includes("_facet"));
      expect(reads).toHaveLength(2);
      for (const line of reads) expect(line).toMatch(/Index Scan using (run|request)_pkey/);
      expect(lines.filter((line) => line.includes("Filter:"))).toEqual([]);
    }
    await client.end();
  });

  const sharing = (
    schema: string,
    pool = postgresPool({ connectionString: server.url, schema }),
  ): OpenedStore => {
    pools.push(pool);
    const store = postgresStore({ pool });
    opened.push(store);
    return { store, reopen: () => sharing(schema, pool), close: () => {} };
  };
  // What is sent is the same. WHEELWORK_LONG=1 asks for it over shared connections, too.
  if (process.env["WHEELWORK_LONG"] !== undefined)
    storeConformance({ describe, test }, "postgresStore with a pool", () => sharing(server.schema()));

  test("shards tell how large they are, and together no more than the schema", async () => {
    const schema = server.schema();
    const [first, second] = [0, 1].map((shard) => open({ schema, shard, shards: 2 })) as [Store, Store];
    const { epoch } = await first.claim("node");
    await second.claim("node");
    const [before, other] = [await first.sizeBytes?.(), await second.sizeBytes?.()] as [number, number];
    expect(before).toBeGreaterThan(0);
    // Texts that no compression makes small.
    const text = Array.from({ length: 2000 }, (_, n) =>
      createHash("sha256").update(`${n}`).digest("hex"),
    ).join("");
    for (let seq = 1; seq <= 20; seq++)
      await first.commit(
        commitOf(epoch, seq, {
          journal: [{ key: "k", events: [{ type: "resumed", at: seq, text: `${seq}${text}` } as never] }],
        }),
      );
    const after = (await first.sizeBytes?.()) ?? 0;
    expect(after - before).toBeGreaterThan(500_000);
    // The other shard has none of it.
    expect(await second.sizeBytes?.()).toBe(other);
    const client = new Client({ connectionString: server.url });
    await client.connect();
    const { rows } = await client.query<{ bytes: string }>(
      "SELECT sum(pg_total_relation_size(oid)) AS bytes FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r'",
      [schema],
    );
    await client.end();
    expect(Math.abs(after + other - Number(rows[0]?.bytes))).toBeLessThan(100_000);
  });

  test("who reads a shard that no process has claimed yet is told so", async () => {
    const schema = server.schema();
    const [first, second] = [0, 1].map((shard) =>
      postgresStore({ connectionString: server.url, schema, shard, shards: 2 }),
    );
    opened.push(...[first, second].filter((store) => store !== undefined));
    const unclaimed = (shard: number) => ({
      code: "WW_STORE_UNAVAILABLE",
      retryable: true,
      message: expect.stringContaining(`no process has claimed shard ${shard} yet`) as string,
    });
    // Before the schema is there, and after that.
    await expect(first?.peek()).rejects.toMatchObject(unclaimed(0));
    await first?.claim("one");
    expect(await first?.peek()).toMatchObject({ owner: "one" });
    await expect(second?.peek()).rejects.toMatchObject(unclaimed(1));
  });

  test("64 shards share the connections of a pool, and all commit at once", async () => {
    const schema = server.schema();
    const pool = postgresPool({ connectionString: server.url, schema });
    pools.push(pool);
    const stores = Array.from({ length: 64 }, (_, shard) => postgresStore({ pool, shard, shards: 64 }));
    opened.push(...stores);
    const claims = await Promise.all(stores.map((store, shard) => store.claim(`node ${shard}`)));
    for (let seq = 1; seq <= 3; seq++)
      await Promise.all(stores.map((store, shard) => store.commit(commitOf(claims[shard]?.epoch ?? 0, seq))));
    const states = await Promise.all(stores.map((store) => store.peek()));
    expect(states.map(({ seq, owner }) => [seq, owner])).toEqual(
      Array.from({ length: 64 }, (_, shard) => [3, `node ${shard}`]),
    );
    const client = new Client({ connectionString: server.url });
    await client.connect();
    const { rows } = await client.query<{ count: string }>(
      `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'wheelwork'`,
    );
    await client.end();
    expect(Number(rows[0]?.count)).toBeLessThanOrEqual(16);
    // A store that is closed leaves the pool to the others.
    await stores[0]?.close();
    expect((await stores[1]?.peek())?.seq).toBe(3);
    expect(() => postgresStore({ pool, schema })).toThrow(
      /the pool has connections, and the store is given others/,
    );
  });

  test("nodes that start at once make the schema once", async () => {
    const schema = server.schema();
    const stores = Array.from({ length: 6 }, (_, shard) => open({ schema, shard, shards: 6 }));
    const claims = await Promise.all(stores.map((store, index) => store.claim(`node ${index}`)));
    expect(claims.map(({ epoch }) => epoch)).toEqual([1, 1, 1, 1, 1, 1]);
  });

  test.each(["alone", "with a checkpoint"])(
    "refuses a text that it cannot hold, and says whose it is, %s",
    async (how) => {
      const store = open({ schema: server.schema() });
      const { epoch } = await store.claim("node");
      const common = { version: 1, createdAt: 1, answeredAt: 2, endedAt: 2, firstSeq: 1, lastSeq: 1 };
      const answerOf = (key: string, state: string): StoredAnswer => ({
        ...common,
        key,
        state,
        hub: "h",
        hash: "x",
        status: "ended",
        root: true,
        request: {},
        answer: { kind: "result", value: 1 },
      });
      const checkpoint = { runs: [], ended: [], histories: [] };
      const part = how === "alone" ? {} : { checkpoint };
      const [sound, bad] = [answerOf("a", "Done"), answerOf("b", "Done\u0000")];
      const mixed = commitOf(epoch, 1, { answers: [sound, bad], ...part });
      await expect(store.commit(mixed)).rejects.toMatchObject({ code: "WW_STORE_REFUSED", retryable: false });
      expect(await store.takes?.(mixed)).toBe(false);
      expect(await store.takes?.({ ...mixed, answers: [bad] })).toBe(false);
      expect(await store.takes?.({ ...mixed, answers: [sound] })).toBe(true);
      expect((await store.find(["a"]))[0]?.answer).toBeUndefined();
      await store.commit({ ...mixed, answers: [sound] });
      expect((await store.find(["a"]))[0]?.answer).toMatchObject({ key: "a" });
    },
  );

  test("never reads a whole table, though its plans were made when it was empty", async () => {
    const schema = server.schema();
    const store = open({ schema, readers: 1 });
    const { epoch } = await store.claim("node");
    const client = new Client({ connectionString: server.url });
    await client.connect();
    await client.query(`ALTER TABLE ${schema}.request SET (autovacuum_enabled = off)`);
    for (let seq = 1; seq <= 12; seq++) {
      const keys = Array.from({ length: 100 }, (_, index) => `${seq}-${index}`);
      await store.find(keys);
      await store.list({ limit: 10 });
      await store.dueRuns({ due: 0, key: "" }, 100, 10);
      for await (const events of store.history(`${seq - 1}-7`)) expect(events).toBeDefined();
      // None of them has a row of its own: they ended before a checkpoint could write one.
      const checkpoint = { runs: [], ended: keys, histories: [] };
      await store.commit(commitOf(epoch, seq, { answers: keys.map(answerOf), checkpoint }));
    }
    expect((await store.find(["3-7"]))[0]?.answer?.key).toBe("3-7");
    // The statistics of other sessions are told when they have nothing to do.
    await store.close();
    const written =
      "SELECT n_tup_ins::int AS rows FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = 'request'";
    const read =
      "SELECT sum(idx_tup_read)::int AS rows FROM pg_stat_user_indexes WHERE schemaname = $1 AND relname = 'request'";
    const ask = async (sql: string): Promise<number> =>
      (await client.query<{ rows: number }>(sql, [schema])).rows[0]?.rows ?? -1;
    await expect.poll(() => ask(written), { timeout: 120_000 }).toBe(1200);
    // The lists read some, and the looks for keys only what they found; twelve readings of the whole table are 6,600 rows.
    expect(await ask(read)).toBeLessThan(1200);
    // Lists may use other indexes, keys not: without their place in the order, an index is gone through whole for each key.
    const scans = await client.query<{ name: string; scans: number }>(
      `SELECT indexrelname AS name, idx_scan::int AS scans FROM pg_stat_user_indexes
        WHERE schemaname = $1 AND relname IN ('run', 'request')`,
      [schema],
    );
    const others = scans.rows.filter(({ name, scans }) => !name.endsWith("_pkey") && scans > 0);
    const mayBe = { run_facet: 12, request_facet: 12, request_ended: 12, run_due: 24 };
    for (const { name, scans } of others)
      expect(scans, name).toBeLessThanOrEqual(mayBe[name as keyof typeof mayBe] ?? 0);
    await client.end();
  });

  test("shards share the tables, and know nothing of each other", async () => {
    const schema = server.schema();
    const [first, second] = [0, 1].map((shard) => open({ schema, shard, shards: 2 })) as [Store, Store];
    for (const [index, store] of [first, second].entries()) {
      const { epoch } = await store.claim("node");
      const run = {
        key: "a",
        hub: `hub ${index}`,
        version: 1,
        status: "running" as const,
        state: "A",
        createdAt: 1,
        answeredAt: undefined,
        hot: true,
        due: undefined,
        root: true,
        snapshot: {},
      };
      await store.commit(commitOf(epoch, 1, { checkpoint: { runs: [run], ended: [], histories: [] } }));
      await store.commit(commitOf(epoch, 2, { journal: [{ key: `of ${index}`, events: [] }] }));
    }
    expect(await first.hubVersions(new Set())).toEqual([{ hub: "hub 0", version: 1 }]);
    expect((await second.list({ limit: 9 })).map(({ hub }) => hub)).toEqual(["hub 1"]);
    expect(await first.purge(9, 9, nothingBegun)).toBe(0);
    const replayed = [];
    for await (const batch of second.journal()) replayed.push(batch);
    expect(replayed).toMatchObject([{ seq: 2, at: 2, entries: [{ key: "of 1", events: [] }] }]);
  });

  test("another number of shards, a newer schema and a bad shard are refused", async () => {
    const schema = server.schema();
    await open({ schema, shards: 4 }).claim("node");
    await expect(open({ schema, shards: 3 }).claim("node")).rejects.toThrow(
      /WW_CONFIG: .* has 4 shards, not 3\n/,
    );
    expect(() => open({ shard: 4, shards: 4 })).toThrow(/WW_CONFIG/);
    expect(() => open({ schema: 'x"; DROP' })).toThrow(/WW_CONFIG/);
    expect(() => open({ connectionString: `${server.url}?options=-c%20a=b` })).toThrow(/WW_CONFIG/);
    await server.query(`UPDATE ${schema}.settings SET value = 99 WHERE name = 'schema'`);
    await expect(open({ schema, shards: 4 }).claim("node")).rejects.toThrow(/WW_STORE_NEWER/);
  });

  /** A database with an encoding of its own. */
  const encoded = async (encoding: string): Promise<string> => {
    const database = encoding.toLowerCase();
    const how = `TEMPLATE template0 ENCODING '${encoding}' LC_COLLATE 'C' LC_CTYPE 'C'`;
    await server.query(`CREATE DATABASE ${database} ${how}`);
    return server.url.replace(/[^/]*$/, database);
  };

  test("a database that takes bytes as they are (SQL_ASCII) holds any text", async () => {
    const connectionString = await encoded("SQL_ASCII");
    const { epoch, seq } = await open({ connectionString }).claim("node");
    expect([epoch, seq]).toEqual([1, 0]);
    const store = open({ connectionString });
    const owned = await store.claim("another");
    const text = "Ωmega 漢字 İı 🦉 \u0000 \ud800";
    const answer = answerOf("k", text);
    await store.commit(commitOf(owned.epoch, 1, { answers: [answer] }));
    expect((await store.find(["k"]))[0]?.answer).toEqual(answer);
  });

  test.each(["LATIN1", "EUC_JP"])(
    "a database with the encoding %s is refused at the start",
    async (encoding) => {
      const connectionString = await encoded(encoding);
      const refused = {
        code: "WW_CONFIG",
        message: expect.stringMatching(new RegExp(`${encoding}.*\n.*UTF8`)),
      };
      const store = open({ connectionString });
      await expect(store.claim("node")).rejects.toMatchObject(refused);
      const clock = systemClock;
      const broker = new MemoryBroker({ clock });
      for (const { name, partitions = 1 } of clusterTopics({ shards: 1 }))
        broker.createTopic(name, partitions);
      const node = createNode({
        hubs: [flowCreate],
        workers,
        log: new MemoryLog(broker, { clock }),
        shards: 1,
        store: () => open({ connectionString }),
      });
      await expect(node.start()).rejects.toMatchObject(refused);
      await node.stop();
    },
  );

  test("errors say what to do, and never hold the password", async () => {
    const refusals = [
      postgresStore({ connectionString: server.url.replace("/postgres", "/nowhere") }),
      postgresStore({ connectionString: "postgres://me:pa55word@127.0.0.1:1/x", timeoutMs: 1000 }),
    ];
    opened.push(...refusals);
    const errors = await Promise.all(
      refusals.map(async (store) => Promise.resolve(store.claim("node")).catch((error: unknown) => error)),
    );
    expect(errors).toMatchObject([
      { code: "WW_CONFIG", retryable: false },
      { code: "WW_STORE_UNAVAILABLE", retryable: true },
    ]);
    const invalid = (): Store => postgresStore({ connectionString: "postgres://me:pa55word@:x:y/%" });
    expect(invalid).toThrow(/WW_CONFIG/);
    try {
      invalid();
    } catch (error) {
      errors.push(error);
    }
    for (const error of errors) expect(inspect(error, { depth: 9 })).not.toContain("pa55word");
  });

  test("an owner that has been fenced writes nothing, not even a part of a checkpoint (I21)", async () => {
    const schema = server.schema();
    const zombie = open({ schema });
    const { epoch } = await zombie.claim("zombie");
    await open({ schema }).claim("next");
    const checkpoint = { runs: [], ended: [], histories: [{ key: "a", events: [] }] };
    for (const part of [{}, { checkpoint }])
      await expect(zombie.commit(commitOf(epoch, 1, part))).rejects.toThrow(/WW_STORE_LOCKED/);
    await expect(zombie.check?.()).rejects.toThrow(/WW_STORE_LOCKED/);
    await expect(zombie.claim("zombie", true)).rejects.toThrow(/WW_STORE_LOCKED/);
    expect(await server.query(`SELECT * FROM ${schema}.history`)).toEqual([]);
    expect(await server.query(`SELECT * FROM ${schema}.journal_0`)).toEqual([]);
  });

  describe("when the server has lost commits, as after a failover", () => {
    /** A store that has committed three batches, of which the server then has but one. */
    async function losing(
      options: PostgresOptions,
    ): Promise<{ store: Store; schema: string; epoch: number }> {
      const schema = server.schema();
      const store = open({ schema, ...options });
      const { epoch } = await store.claim("node");
      for (let seq = 1; seq <= 3; seq++) await store.commit(commitOf(epoch, seq));
      await server.query(`UPDATE ${schema}.shard SET seq = 1`);
      await server.query(`DELETE FROM ${schema}.journal_0 WHERE seq > 1`);
      return { store, schema, epoch };
    }

    test("the batch after the lost ones is refused, and nobody claims the shard until the loss is accepted", async () => {
      const { store, schema, epoch } = await losing({});
      await expect(store.commit(commitOf(epoch, 4))).rejects.toThrow(/WW_STORE_UNAVAILABLE.* lost commits/);
      const lost = {
        code: "WW_COMMITS_LOST",
        retryable: false,
        next: expect.stringContaining("until you accept the loss") as string,
      };
      await expect(store.claim("node", true)).rejects.toMatchObject(lost);
      const next = open({ schema });
      await expect(next.claim("next")).rejects.toMatchObject(lost);
      expect(await next.peek()).toMatchObject({ seq: 1, lost: 2 });
      await server.query(`UPDATE ${schema}.shard SET lost = NULL`);
      expect(await store.claim("node", true)).toMatchObject({ seq: 1 });
    });

    test("whoever works on the shard by then is stopped, though it has not seen them", async () => {
      const { store, schema } = await losing({});
      const next = open({ schema });
      const claim = await next.claim("next");
      await next.commit(commitOf(claim.epoch, 2));
      await expect(store.claim("node", true)).rejects.toMatchObject({ code: "WW_COMMITS_LOST" });
      await expect(next.commit(commitOf(claim.epoch, 3))).rejects.toMatchObject({ code: "WW_COMMITS_LOST" });
    });

    test("a pool knows what it has seen of all its shards, also after their stores are closed", async () => {
      const schema = server.schema();
      const pool = postgresPool({ connectionString: server.url, schema });
      pools.push(pool);
      const first = postgresStore({ pool, shard: 0, shards: 2 });
      const { epoch } = await first.claim("node");
      await first.commit(commitOf(epoch, 1));
      await first.close();
      await server.query(`UPDATE ${schema}.shard SET seq = 0`);
      await postgresStore({ pool, shard: 1, shards: 2 }).claim("node");
      expect(await server.query(`SELECT id, lost::int FROM ${schema}.shard ORDER BY id`)).toEqual([
        { id: 0, lost: 1 },
        { id: 1, lost: null },
      ]);
    });

    test("a store that may lose some goes on, and says how many", async () => {
      const { store, epoch } = await losing({ durability: "normal" });
      await expect(store.commit(commitOf(epoch, 4))).rejects.toThrow(/WW_STORE_UNAVAILABLE/);
      expect(await store.claim("node", true)).toMatchObject({ seq: 1, lost: 2 });
      expect((await store.claim("node", true)).lost).toBeUndefined();
    });
  });

  test("reads and claims go on after the server was killed; a commit meanwhile is refused retryably", async () => {
    const store = open({ schema: server.schema(), timeoutMs: 2000 });
    const { epoch } = await store.claim("node");
    await store.commit(commitOf(epoch, 1));
    await store.find(["a"]);
    await server.kill();
    await expect(store.commit(commitOf(epoch, 2))).rejects.toMatchObject({
      code: "WW_STORE_UNAVAILABLE",
      retryable: true,
    });
    await expect(store.find(["a"])).rejects.toMatchObject({ code: "WW_STORE_UNAVAILABLE" });
    await server.resume();
    expect(await store.find(["a"])).toEqual([{ run: undefined, answer: undefined }]);
    expect(await store.claim("node", true)).toMatchObject({ seq: 1 });
  });

  test("a server that is frozen fails what waits for it in time; what it carries out late changes nothing", async () => {
    const store = open({ schema: server.schema(), timeoutMs: 300 });
    const { epoch } = await store.claim("node");
    await store.commit(commitOf(epoch, 1));
    await store.find(["a"]);
    const thaw = server.freeze();
    const failed = Promise.allSettled([
      store.commit(commitOf(epoch, 2)),
      store.find(["a"]),
      store.claim("node", true),
      store.claim("node", true),
    ]);
    try {
      const codes = (await failed).map((settled) => settled.status === "rejected" && settled.reason.code);
      expect(new Set(codes)).toEqual(new Set(["WW_STORE_UNAVAILABLE"]));
    } finally {
      thaw();
    }
    const again = await claimed(store);
    await store.commit(commitOf(again.epoch, again.seq + 1));
    await expect(store.commit(commitOf(epoch, again.seq + 2))).rejects.toThrow(/WW_STORE_LOCKED/);
  });

  test("a damaged record is called so", async () => {
    const schema = server.schema();
    const store = open({ schema });
    const { epoch } = await store.claim("node");
    await store.commit(commitOf(epoch, 1));
    for (const damage of ["\\x5b7b", "\\x28b52ffd00"]) {
      await server.query(`UPDATE ${schema}.journal_0 SET record = $1::bytea`, damage);
      const batches = [];
      for await (const batch of store.journal()) batches.push(batch);
      expect(batches).toHaveLength(1);
      expect(batches[0]).toMatchObject({ seq: 1, damage: { code: "WW_STORE_CORRUPT" } });
    }
  });

  test("a checkpoint too large for one statement is written whole", async () => {
    const schema = server.schema();
    const store = open({ schema });
    const { epoch } = await store.claim("node");
    const snapshot = { text: "x".repeat(900_000) };
    const runs = Array.from({ length: 30 }, (_, index) => ({
      key: `run ${index}`,
      hub: "h",
      version: 1,
      status: "running" as const,
      state: "A",
      createdAt: 1,
      answeredAt: undefined,
      hot: true,
      due: undefined,
      root: true,
      snapshot,
    }));
    await store.commit(commitOf(epoch, 1, { checkpoint: { runs, ended: [], histories: [] } }));
    let found = 0;
    for await (const run of store.hotRuns())
      found += Number(JSON.stringify(sound(run).snapshot) === JSON.stringify(snapshot));
    expect(found).toBe(30);
  });

  test("what has outlived its retention leaves the journal with its partition, though a dump may hold it up", async () => {
    const schema = server.schema();
    const store = open({ schema });
    const { epoch } = await store.claim("node");
    const parts = async (): Promise<number> =>
      (await server.query(`SELECT 1 FROM pg_inherits WHERE inhparent = '${schema}.journal_0'::regclass`))
        .length;
    for (let seq = 1; seq <= 4; seq++) {
      const now = seq * 10 * hour;
      const times = { createdAt: now, answeredAt: now, endedAt: now, firstSeq: seq, lastSeq: seq };
      const key = `request ${seq}`;
      await store.commit(
        commitOf(epoch, seq, {
          now,
          journal: [{ key, events: [{ type: "told", at: now, call: seq, spoke: "s", input: null }] }],
          answers: [
            {
              ...times,
              key,
              hub: "h",
              version: 1,
              hash: "",
              state: "Done",
              status: "ended",
              root: true,
              answer: { kind: "result", value: seq },
              request: null,
            },
          ],
          checkpoint: { runs: [], ended: [], histories: [] },
        }),
      );
    }
    expect(await parts()).toBe(4);
    await store.purge(25 * hour, 100, nothingBegun);
    expect(await parts()).toBe(2);
    const told: object[] = [];
    for await (const events of store.history("request 3")) told.push(...events);
    expect(told).toHaveLength(1);
    const dump = new Client(server.url);
    await dump.connect();
    await dump.query(`BEGIN; LOCK TABLE ${schema}.journal_0 IN ACCESS SHARE MODE`);
    expect(await store.purge(35 * hour, 100, nothingBegun)).toBe(1);
    // Nor does it hold up a commit that needs a new partition.
    await store.commit(commitOf(epoch, 5, { now: 50 * hour }));
    expect(await parts()).toBe(3);
    await dump.end();
    await store.purge(45 * hour, 100, nothingBegun);
    expect(await parts()).toBe(1);
  });
});

/** Claims again until the server takes it, as an engine does. */
async function claimed(store: Store): Promise<Claim> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await store.claim("node", true);
    } catch (error) {
      if (attempt === 20) throw error;
    }
  }
}
