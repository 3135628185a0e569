import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { postgresIsInstalled } from "@wheelwork/services";
import { describe, expect, onTestFinished, test } from "vitest";
import { WheelworkError, type Answer, type Engine } from "wheelwork";
import { Flows } from "../src/flows.ts";
import { PostgresResourcePool } from "../src/resources-postgres.ts";
import { SqliteResourcePool } from "../src/resources-sqlite.ts";
import type { Held, PoolOptions, ResourcePool, Resources } from "../src/resources.ts";
import { checkMeters } from "./crash/checks.ts";
import { postgresForTests } from "./postgres.ts";

type Opened = ResourcePool & {
  close(): void | Promise<void>;
  held(): readonly Held[] | Promise<readonly Held[]>;
};

const newFolder = (): string => mkdtempSync(join(tmpdir(), "resources-"));

/** A pool with no content yet; the result opens it, and opens the same content again. */
type NewPool = (options: PoolOptions) => Promise<() => Opened>;

/** What every pool does. */
function conforms(newPool: NewPool): void {
  const open = async (options: PoolOptions = {}) => {
    const opening = await newPool(options);
    let pool = opening();
    onTestFinished(() => pool.close());
    return {
      allocate: (request: string, key = `${request}/2`) =>
        pool.allocate(key, { request, flowid: "f", path: ["sw-1"], rules: 3 }),
      release: (request: string) => pool.release(request, "f"),
      held: () => pool.held(),
      reopen: async () => {
        await pool.close();
        pool = opening();
      },
    };
  };

  test("the same key gets the same resources, also after a restart; another request gets others", async () => {
    const pool = await open();
    const [first, again, other] = await Promise.all([
      pool.allocate("a"),
      pool.allocate("a"),
      pool.allocate("b"),
    ]);
    expect(first).toMatchObject({ cookie: 1, meter: 1 });
    expect(again).toEqual(first);
    expect(other).toMatchObject({ cookie: 2, meter: 2 });
    await pool.reopen();
    expect(await pool.allocate("a")).toEqual(first);
  });

  test("whoever was told that there is no meter gets none later: an attempt may still be under way", async () => {
    const pool = await open({ meters: 1 });
    await pool.allocate("a");
    expect(await pool.allocate("b")).toBe("exhausted");
    await pool.release("a");
    expect(await pool.allocate("b")).toBe("released");
    expect(await pool.allocate("c")).toMatchObject({ meter: 1 });
  });

  test("a meter that is released is given again, a cookie never", async () => {
    const pool = await open({ meters: 3 });
    for (const request of ["a", "b", "c"]) await pool.allocate(request);
    expect(await pool.allocate("d")).toBe("exhausted");
    expect(await pool.release("b")).toBe(true);
    expect(await pool.allocate("e")).toMatchObject({ meter: 2, cookie: 4 });
    expect(await pool.allocate("g")).toBe("exhausted");
    await pool.release("c");
    await pool.release("a");
    expect(await pool.allocate("h")).toMatchObject({ meter: 1 });
    expect(await pool.allocate("i")).toMatchObject({ meter: 3 });
    expect(await pool.allocate("j")).toBe("exhausted");
  });

  test("what requests hold is known, so that their rules can be", async () => {
    const pool = await open();
    expect(await pool.held()).toEqual([]);
    for (const request of ["a", "b", "c"]) await pool.allocate(request);
    await pool.release("b");
    await pool.reopen();
    const of = (request: string): Held => ({ request, flowid: "f", rules: 3 });
    expect(await pool.held()).toEqual([of("a"), of("c")]);
  });

  test("a release can come twice, takes all that a request has, and refuses it what comes later", async () => {
    const pool = await open();
    await pool.allocate("a");
    await pool.allocate("a", "a/3");
    expect([await pool.release("a"), await pool.release("a")]).toEqual([true, false]);
    expect(await pool.allocate("a")).toBe("released");
    expect(await pool.release("late")).toBe(false);
    await pool.reopen();
    expect(await pool.allocate("late")).toBe("released");
    const [b, c] = await Promise.all([pool.allocate("b"), pool.allocate("c")]);
    expect([(b as Resources).meter, (c as Resources).meter].toSorted()).toEqual([1, 2]);
  });

  test("what was released long ago is forgotten", async () => {
    const pool = await open({ rememberMs: 0 });
    await pool.release("a");
    await expect
      .poll(async () => {
        await pool.release("b");
        return pool.allocate("a");
      })
      .toMatchObject({ meter: 1 });
  });

  test("a flow may have any name", async () => {
    const opening = await newPool({});
    const pool = opening();
    onTestFinished(() => pool.close());
    const wanted = { request: "a", flowid: "\u0000 \ud800 ' \" \\ ü", path: ["sw-1"], rules: 1 };
    expect(await pool.allocate("a/2", wanted)).toMatchObject({ meter: 1 });
    expect(await pool.release("a", wanted.flowid)).toBe(true);
  });
}

describe("the pool in a file", () => {
  conforms((options) => {
    const folder = newFolder();
    onTestFinished(() => rmSync(folder, { recursive: true }));
    return Promise.resolve(() => new SqliteResourcePool(join(folder, "resources.db"), options));
  });
});

// `npm run services -- install postgres` gets what it needs.
describe.skipIf(!postgresIsInstalled())("the pool in PostgreSQL", () => {
  const { server, query } = postgresForTests();
  const newPool = async (options: PoolOptions = {}): Promise<() => PostgresResourcePool> => {
    await query("DROP SCHEMA IF EXISTS flow_crud CASCADE");
    return () => new PostgresResourcePool(server().url, options);
  };
  conforms(newPool);

  test("many processes never give the same, whoever asks, allocates and releases at the same time", async () => {
    const opening = await newPool();
    const pools = [opening(), opening(), opening()];
    onTestFinished(() => Promise.all(pools.map((pool) => pool.close())).then(() => {}));
    const wanted = (request: string) => ({ request, flowid: "f", path: ["sw-1"], rules: 3 });
    const requests = Array.from({ length: 300 }, (_, number) => `r${number}`);
    await Promise.all(
      requests.map(async (request, number) => {
        const given = await Promise.all(pools.map((pool) => pool.allocate(`${request}/2`, wanted(request))));
        expect(new Set(given.map((one) => JSON.stringify(one))).size).toBe(1);
        if (number % 3 !== 0) return;
        // An attempt that is still under way elsewhere, while the request gives back what it has.
        const [late] = await Promise.all([
          pools[0]?.allocate(`${request}/2`, wanted(request)),
          pools[1]?.release(request, "f"),
        ]);
        expect([given[0], "released"]).toContainEqual(late);
      }),
    );
    const [held] = await query(
      "SELECT count(*)::int AS count, count(DISTINCT cookie)::int AS cookies, count(*) FILTER (WHERE substr(request, 2)::int % 3 = 0)::int AS released FROM flow_crud.allocation",
    );
    expect(held).toEqual({ count: 200, cookies: 200, released: 0 });
    const meters = await query(
      "SELECT meter::int FROM flow_crud.allocation UNION ALL SELECT meter::int FROM flow_crud.free_meter",
    );
    expect(checkMeters(meters.map(({ meter }) => Number(meter)))).toEqual([]);
  });

  test("the server may die at any moment: what is asked again under its key is given once", async () => {
    const opening = await newPool();
    const pool = opening();
    onTestFinished(() => pool.close());
    const wanted = (request: string) => ({ request, flowid: "f", path: ["sw-1"], rules: 3 });
    const failures: unknown[] = [];
    const insist = async (request: string): Promise<unknown> => {
      for (;;) {
        try {
          return await pool.allocate(`${request}/2`, wanted(request));
        } catch (error) {
          failures.push(error);
          await sleep(5);
        }
      }
    };
    const load = { on: true, asked: 0 };
    const keepAsking = async (): Promise<unknown[]> => {
      const given = [];
      while (load.on) given.push(await insist(`r${load.asked++}`));
      return given;
    };
    const asking = Promise.all(Array.from({ length: 5 }, keepAsking));
    onTestFinished(() => void (load.on = false));
    await expect.poll(() => load.asked).toBeGreaterThan(20);
    await server().signal("SIGKILL");
    await server().start();
    load.on = false;
    const given = (await asking).flat() as Resources[];
    expect(failures[0]).toMatchObject({ code: "WW_STORE_UNAVAILABLE", retryable: true });
    expect(new Set(given.map(({ meter }) => meter)).size).toBe(load.asked);
    expect(await query("SELECT count(*)::int AS count FROM flow_crud.allocation")).toEqual([
      { count: load.asked },
    ]);
  });
});

test("whether a flow is up is what its request was answered", async () => {
  const folder = newFolder();
  const pool = new SqliteResourcePool(join(folder, "resources.db"));
  onTestFinished(() => {
    pool.close();
    rmSync(folder, { recursive: true });
  });
  const allocate = (request: string) =>
    pool.allocate(`${request}/2`, { request, flowid: "f", path: ["sw-1"], rules: 3 });
  const answers = new Map<string, Answer>();
  const known = new Set(["a", "b"]);
  let asked = 0;
  const engine = {
    answer: (id: string) => {
      asked++;
      if (known.has(id)) return Promise.resolve(answers.get(id));
      return Promise.reject(new WheelworkError("WW_NOT_FOUND", `there is no request ${id}`));
    },
  } as unknown as Engine;
  const flows = new Flows(engine, pool);
  const stateOf = async () => (await flows.get("f"))?.state;

  expect(await stateOf()).toBeUndefined();
  await allocate("a");
  expect(await stateOf()).toBe("IN_PROGRESS");
  answers.set("a", { kind: "error", code: "worker-error", message: "not released" });
  expect(await stateOf()).toBe("DOWN");
  await allocate("b");
  expect(await flows.get("f")).toMatchObject({ state: "IN_PROGRESS", requestId: "b" });
  answers.set("b", { kind: "result", value: {} });
  await flows.catchUp();
  asked = 0;
  known.clear();
  // The engine has forgotten both: the one that was up is still known to be.
  expect(await flows.get("f")).toMatchObject({ state: "UP", requestId: "b" });
  await pool.release("b", "f");
  expect(await flows.get("f")).toMatchObject({ state: "DOWN", requestId: "a" });
  await pool.release("a", "f");
  expect(await stateOf()).toBe("DOWN");
  expect(asked).toBe(2);
});
