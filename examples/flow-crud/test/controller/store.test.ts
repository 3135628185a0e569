import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { DatabaseSync } from "node:sqlite";
import { postgresIsInstalled } from "@wheelwork/services";
import { Client } from "pg";
import { describe, expect, onTestFinished, test } from "vitest";
import { PostgresFlowStore } from "../../src/controller/flow-store-postgres.ts";
import { SqliteFlowStore } from "../../src/controller/flow-store-sqlite.ts";
import { isRefusal } from "../../src/controller/planning.ts";
import type { FlowStore, Plan } from "../../src/controller/store.ts";
import { build, id, linkEvent, Operator, segmentOf, specOf, square, switchEvent } from "./network.ts";
import { playRandom, playTogether, type Player } from "./store-random.ts";
import { conformsWhenLeft } from "./store-left.ts";
import { conformsWhenOthersWait } from "./store-waiting.ts";
import { conforms, remove, restore, type NewStore } from "./store.ts";
import { backUp } from "../older-backup.ts";
import { postgresForTests } from "../postgres.ts";
import { worksOverRest } from "../rest/on-postgres.ts";

const newFolder = (): string => mkdtempSync(join(tmpdir(), "flow-store-"));

const seed = Number(process.env["WHEELWORK_SEED"] ?? Math.floor(Math.random() * 1e9));
const rounds = Number(process.env["WHEELWORK_ROUNDS"] ?? 6);

/** A store in a file, that can be opened again. */
function inFile(atOnce = false): Player {
  const folder = newFolder();
  const open = (): SqliteFlowStore => new SqliteFlowStore(join(folder, "flows.db"), { durability: "normal" });
  const opened: Player = { current: open(), reopen, atOnce };
  async function reopen(): Promise<FlowStore> {
    await opened.current.close();
    return open();
  }
  onTestFinished(async () => {
    await opened.current.close();
    rmSync(folder, { recursive: true });
  });
  return opened;
}

/** What no database of the store may take. Flow a has path 1, and flow b has path 2. */
const refusedBySchema = [
  "UPDATE link SET used = bandwidth + 1",
  "UPDATE link SET used = -1",
  "INSERT INTO endpoint SELECT switch_id, port, vlan, 'b' FROM endpoint WHERE flow_id = 'a'",
  "INSERT INTO vlan SELECT switch_id, vlan, 2 FROM vlan WHERE path_id = 1",
  "INSERT INTO meter SELECT switch_id, meter, 2 FROM meter WHERE path_id = 1",
  "UPDATE meter SET meter = 31",
  "UPDATE meter SET meter = 2501",
  "UPDATE vlan SET vlan = 1",
  "UPDATE vlan SET vlan = 4095",
  "DELETE FROM flow WHERE flow_id = 'a'",
  "DELETE FROM path WHERE path_id = 1",
  "INSERT INTO path SELECT path_id, 'b' FROM path WHERE flow_id = 'a'",
];

describe("the store in a file", () => {
  const newStore: NewStore = (options) => {
    const folder = newFolder();
    onTestFinished(() => rmSync(folder, { recursive: true }));
    return Promise.resolve(() => new SqliteFlowStore(join(folder, "flows.db"), options));
  };
  conforms(newStore);
  conformsWhenLeft(newStore);
  conformsWhenOthersWait(newStore);

  test("on a switch that takes no more flows, those that are there can move all the same", async () => {
    const store = (await newStore({}))();
    onTestFinished(() => store.close());
    await build(store, 5, square);
    const operator = new Operator(store);
    await operator.create(specOf("mover", 4_000));
    const end = (vlan: number) => ({ switchId: id(1), port: 9, vlan });
    const onOne = (index: number) =>
      specOf(`f${index}`, 0, { source: end(2 * index), destination: end(2 * index + 1) });
    const room = (2_500 - 32 + 1 - 64 - 1) / 2;
    await Promise.all(
      Array.from({ length: Math.floor(room) }, (_, index) =>
        store
          .plan(`f${index}`, { fence: 1, step: 1 }, { kind: "create", spec: onOne(index) }, { switches: [] })
          .then(() => store.commit(`f${index}`, { fence: 1, step: 2 }, { info: null })),
      ),
    );
    const full = await operator.refused("f2000", { kind: "create", spec: onOne(2_000) });
    expect(full).toMatchObject({
      code: "conflict",
      message: expect.stringContaining("kept for flows that move"),
    });
    // To have more than before is refused, too.
    const protectedPath = { kind: "update", changes: { protectedPath: true } } as const;
    expect((await operator.refused("mover", protectedPath)).code).toBe("conflict");
    await store.note(linkEvent({ ends: [1, 2] }, false));
    await operator.run("mover", restore);
    expect([await operator.ways("mover"), await operator.status("mover")]).toEqual([[[1, 3, 4]], "UP"]);
    expect(await store.audit()).toEqual([]);
  });

  test("any operations in any order, late and repeated: nothing is lost, doubled or over-booked", async () => {
    const refusals = new Set<string>();
    let plans = 0;
    for (let round = 0; round < rounds; round++) {
      const played = await playRandom([inFile(), inFile(true)], seed + round, 600);
      plans += played.plans;
      for (const code of played.refusals) refusals.add(code);
    }
    // Otherwise this shows little.
    expect(plans).toBeGreaterThan(rounds * 10);
    expect([...refusals]).toEqual(
      expect.arrayContaining(["superseded", "exists", "conflict", "unknown", "no-path", "invalid"]),
    );
  });
});

describe("the file", () => {
  const opened = async () => {
    const folder = newFolder();
    const path = join(folder, "flows.db");
    const store = new SqliteFlowStore(path);
    onTestFinished(async () => {
      await store.close();
      rmSync(folder, { recursive: true });
    });
    await build(store, 5, square);
    return { store, path, operator: new Operator(store) };
  };

  test("the schema refuses what does not fit, and the audit tells what does not", async () => {
    const { store, path, operator } = await opened();
    await operator.create(specOf("a", 10));
    await operator.create(specOf("b", 11));
    const db = new DatabaseSync(path);
    onTestFinished(() => db.close());
    for (const statement of [...refusedBySchema, "UPDATE state SET next_path = 1"]) {
      expect(() => db.exec(statement), statement).toThrow(/constraint|never given again/);
    }
    db.exec("DELETE FROM meter WHERE path_id = 1; UPDATE link SET used = used + 1");
    expect((await store.audit()).length).toBe(2 + square.length);
  });

  test("a file of an earlier version is taken over with all that flows have", async () => {
    const { store, path, operator } = await opened();
    for (const [index, flowId] of ["a", "b"].entries()) await operator.create(specOf(flowId, 10 + index));
    await store.close();
    const db = new DatabaseSync(path);
    db.exec(`
      ALTER TABLE share RENAME TO present;
      CREATE TABLE share (link_key TEXT NOT NULL REFERENCES link, flow_id TEXT NOT NULL REFERENCES flow,
        kbps INTEGER NOT NULL CHECK (kbps >= 0), PRIMARY KEY (link_key, flow_id)) WITHOUT ROWID;
      INSERT INTO share SELECT * FROM present;
      DROP TABLE present;
      CREATE INDEX share_flow ON share (flow_id)`);
    for (let start = 0; start < 2; start++) {
      const again = new SqliteFlowStore(path);
      expect([await again.audit(), await again.counts()]).toEqual([
        [],
        { UP: 2 + start, DOWN: 0, DEGRADED: 0 },
      ]);
      await new Operator(again).create(specOf(`new${start}`, 20 + start));
      await again.close();
    }
    expect(
      db.prepare("SELECT name FROM sqlite_schema WHERE tbl_name LIKE '%share' AND type <> 'table'").all(),
    ).toEqual([]);
    for (const statement of refusedBySchema)
      expect(() => db.exec(statement), statement).toThrow(/constraint/);
    db.close();
  });

  test("it notices what another process writes", async () => {
    const { store, path, operator } = await opened();
    await operator.create(specOf("a", 10));
    const other = new SqliteFlowStore(path);
    onTestFinished(() => other.close());
    const elsewhere = new Operator(other);
    await elsewhere.create(specOf("b", 11));
    expect((await store.flows({ limit: 9 })).map(({ spec }) => spec.flowId)).toEqual(["a", "b"]);
    expect((await operator.create(specOf("c", 12))).after?.paths).toMatchObject([{ id: 3, vlan: 4 }]);
    expect(await other.flow("c")).toMatchObject({ status: "UP" });
  });

  test("a write that fails loses nothing of what was said to be done, and the others of its group are not to blame", async () => {
    const { store, path, operator } = await opened();
    await operator.create(specOf("a", 10));
    const db = new DatabaseSync(path);
    onTestFinished(() => db.close());
    const together = async (how: string, table = "path"): Promise<string[]> => {
      db.exec(`CREATE TRIGGER failing BEFORE INSERT ON ${table} BEGIN SELECT RAISE(${how}, 'no'); END`);
      const answers = await Promise.allSettled([
        operator.plan("a", { kind: "delete" }),
        operator.plan("b", { kind: "create", spec: specOf("b", 11) }),
        operator.plan("a", { kind: "sync" }),
      ]);
      db.exec("DROP TRIGGER failing");
      expect(await store.audit()).toEqual([]);
      return answers.map(({ status }) => status);
    };
    expect(await together("ABORT")).toEqual(["fulfilled", "rejected", "fulfilled"]);
    // Sometimes the whole transaction is gone.
    expect(await together("ROLLBACK")).toEqual(["fulfilled", "rejected", "fulfilled"]);
    // As when the disk is full.
    expect(await together("ROLLBACK", "flow")).toEqual(["rejected", "rejected", "rejected"]);
    expect([await store.flow("b"), await operator.used(1, 2)]).toEqual([undefined, 100]);
    await operator.create(specOf("b", 11));
    expect(await store.counts()).toEqual({ UP: 2, DOWN: 0, DEGRADED: 0 });
  });

  test("what else is to be done gets its turn between many operations that take long", async () => {
    const folder = newFolder();
    const turns: (() => void)[] = [];
    const store = new SqliteFlowStore(join(folder, "flows.db"), {
      turnMs: 0,
      durability: "normal",
      soon: (task) => void turns.push(task),
    });
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const next = async (): Promise<void> => {
      turns.shift()?.();
      await Promise.resolve();
    };
    const done: number[] = [];
    for (const number of [1, 2, 3]) void store.note(switchEvent(number)).then(() => done.push(number));
    await expect.poll(() => turns.length).toBe(1);
    const seen: number[] = [];
    while (turns.length > 0) {
      await next();
      seen.push((await store.switches()).length);
    }
    expect([seen, done]).toEqual([
      [1, 2, 3],
      [1, 2, 3],
    ]);
    const closed = store.close();
    while (turns.length > 0) await next();
    await closed;
  });

  test("how many flows a second it creates", async () => {
    const { store } = await opened();
    for (const { ends } of square) await store.changeLink(segmentOf({ ends }), { bandwidth: 1e9 });
    const count = 1_500;
    const begin = performance.now();
    await Promise.all(
      Array.from({ length: count }, async (_, index) => {
        const spec = specOf(`f${index}`, 1 + (index % 4_000), { bandwidth: 64 });
        const operator = new Operator(store);
        await operator.create(spec);
      }),
    );
    const seconds = (performance.now() - begin) / 1_000;
    console.info(
      `${Math.round(count / seconds)} flows a second are planned, committed and settled in a file`,
    );
    expect(await store.counts()).toEqual({ UP: count, DOWN: 0, DEGRADED: 0 });
    const failed = performance.now();
    expect((await store.note(linkEvent({ ends: [1, 2] }, false))).length).toBe(count);
    console.info(`a link of ${count} flows fails: ${Math.round(performance.now() - failed)} ms`);
    expect(await store.audit()).toEqual([]);
  });
});

// `npm run services -- install postgres` gets what it needs.
describe.skipIf(!postgresIsInstalled())("the store in PostgreSQL", () => {
  const { server, query } = postgresForTests();

  const newStore: NewStore = async (options) => {
    await query("DROP SCHEMA IF EXISTS flow_controller CASCADE");
    return () => new PostgresFlowStore(server().url, options);
  };
  conforms(newStore);
  conformsWhenLeft(newStore);
  conformsWhenOthersWait(newStore);
  worksOverRest(() => server().url);

  const openProcesses = async (count: number): Promise<PostgresFlowStore[]> => {
    await query("DROP SCHEMA IF EXISTS flow_controller CASCADE");
    return openOthers(count);
  };

  const openOthers = async (count: number): Promise<PostgresFlowStore[]> => {
    const processes = Array.from({ length: count }, () => new PostgresFlowStore(server().url));
    onTestFinished(() => Promise.all(processes.map((one) => one.close())).then(() => {}));
    return processes;
  };

  test("it notices that the database was restored from an older backup while it runs", async () => {
    const [store] = (await openProcesses(1)) as [PostgresFlowStore];
    await build(store, 5, square);
    const operator = new Operator(store);
    await operator.create(specOf("old", 10));
    const goBack = await backUp(query, "flow_controller");
    await operator.create(specOf("new", 11));
    await operator.run("old", remove);
    await goBack();
    expect((await store.flows({ limit: 10 })).map(({ spec }) => spec.flowId)).toEqual(["old"]);
    await new Operator(store, 100).create(specOf("new", 11));
    // Another one has gone on meanwhile, so that no number is lower than before.
    const [other] = (await openOthers(1)) as [PostgresFlowStore];
    await goBack();
    for (let round = 0; round < 6; round++)
      await other.changeLink(segmentOf({ ends: [1, 2] }), { cost: 1 + round });
    expect((await store.flows({ limit: 10 })).map(({ spec }) => spec.flowId)).toEqual(["old"]);
    await new Operator(store, 200).create(specOf("new", 11));
    expect(await store.audit()).toEqual([]);
    expect(await store.counts()).toMatchObject({ UP: 2 });
  });

  test("it answers as the store in a file does, also to calls at once", async () => {
    const [first] = (await openProcesses(1)) as [PostgresFlowStore];
    const player: Player = { current: first, reopen: () => Promise.resolve(first), atOnce: true };
    const { plans } = await playRandom([inFile(), player], seed, 400);
    expect(plans).toBeGreaterThan(0);
  });

  test("it answers as the store in a file does, also when two processes take turns", async () => {
    const processes = await openProcesses(2);
    let turn = 0;
    const takingTurns = new Proxy({} as FlowStore, {
      get: (_, name: keyof FlowStore | "then") => {
        // A promise looks whether it is one.
        if (name === "then") return undefined;
        const store = processes[turn++ % 2] as FlowStore;
        return (store[name] as (...all: unknown[]) => unknown).bind(store);
      },
    });
    const player: Player = { current: takingTurns, reopen: () => Promise.resolve(takingTurns) };
    const { plans } = await playRandom([inFile(), player], seed, 300);
    expect(plans).toBeGreaterThan(0);
  });

  test("any operations on several processes at the same time: nothing is lost, doubled or over-booked", async () => {
    const processes = await openProcesses(3);
    await playTogether(processes, seed, 400);
    expect(await processes[0]?.audit()).toEqual([]);
  });

  test("processes that begin at the same time, and want the same: one of them has it", async () => {
    const processes = await openProcesses(3);
    const [first] = processes as [PostgresFlowStore];
    await Promise.all(processes.map((one) => one.counts()));
    await build(first, 5, square);
    const answers = await Promise.all(
      Array.from({ length: 90 }, async (_, index) => {
        // Three want each id, and three others each endpoint. There is room for twenty.
        const flowId = `f${index % 30}`;
        const spec = specOf(flowId, 1 + (index % 45), { bandwidth: 100 });
        const store = processes[index % 3] as FlowStore;
        const guard = (step: number) => ({ fence: 1 + index, step });
        const plan = (step: number) =>
          store.plan(flowId, guard(step), { kind: "create", spec }, { switches: [] });
        let planned = await plan(1);
        if ("abandoned" in planned) {
          await store.closePlan(flowId, guard(2));
          planned = await plan(3);
        }
        if (isRefusal(planned)) return planned.code;
        // Who comes later has closed this plan, unless it is committed.
        const done = await store.commit(flowId, guard(4), { info: null });
        return done === "done" ? done : done.code;
      }),
    );
    expect(await first.audit()).toEqual([]);
    const flows = await first.flows({ limit: 100 });
    // A plan that is closed by the next one may have kept others away.
    const ups = flows.filter(({ status }) => status === "UP").length;
    expect(ups).toBeGreaterThan(10);
    expect(ups).toBeLessThanOrEqual(20);
    expect(answers.filter((answer) => answer === "done").length).toBeGreaterThanOrEqual(ups);
    expect(new Set(flows.map(({ spec }) => spec.source.vlan)).size).toBe(flows.length);
    for (const one of processes) expect(await one.flows({ limit: 100 })).toEqual(flows);
  });

  test("the schema refuses what does not fit, and the audit tells what does not", async () => {
    const [store] = (await openProcesses(1)) as [PostgresFlowStore];
    await build(store, 5, square);
    const operator = new Operator(store);
    await operator.create(specOf("a", 10));
    await operator.create(specOf("b", 11));
    for (const statement of refusedBySchema) {
      await expect(query(`SET search_path = flow_controller; ${statement}`), statement).rejects.toThrow(
        /constraint/,
      );
    }
    await query(
      "SET search_path = flow_controller; DELETE FROM meter WHERE path_id = 1; UPDATE link SET used = used + 1",
    );
    expect((await store.audit()).length).toBe(2 + square.length);
  });

  test("a process that opens the store waits for no one who writes", async () => {
    const [first] = (await openProcesses(1)) as [PostgresFlowStore];
    await build(first, 5, square);
    const writer = new Client(server().url);
    await writer.connect();
    onTestFinished(() => writer.end());
    await writer.query(
      "BEGIN; SET search_path = flow_controller; UPDATE link SET cost = cost; UPDATE state SET version = version",
    );
    const second = new PostgresFlowStore(server().url);
    onTestFinished(() => second.close());
    expect(await second.links()).toHaveLength(2 * square.length);
    await writer.query("ROLLBACK");
  });

  test("a lost server is an error that can be tried again; nothing is done twice", async () => {
    const [store] = (await openProcesses(1)) as [PostgresFlowStore];
    await build(store, 5, square);
    const operator = new Operator(store);
    await operator.create(specOf("a", 10));
    const intent = { kind: "create", spec: specOf("b", 11) } as const;
    const guard = { fence: 9, step: 1 };
    // It dies while the operation is under way: it waits for another writer.
    const other = new Client(server().url);
    other.on("error", () => {});
    await other.connect();
    await other.query("BEGIN; SELECT * FROM flow_controller.state FOR UPDATE");
    const lost = store.plan("b", guard, intent, { switches: [] }).catch((error: unknown) => error);
    const waiting =
      "SELECT 1 FROM pg_stat_activity WHERE application_name = 'flow-crud' AND wait_event_type = 'Lock'";
    await expect.poll(() => query(waiting)).toHaveLength(1);
    await server().signal("SIGKILL");
    expect(await lost).toMatchObject({ retryable: true });
    const away = store.plan("b", guard, intent, { switches: [] });
    await expect(away).rejects.toMatchObject({ retryable: true });
    await server().start();
    const [first, second] = await Promise.all(
      [1, 2].map(() => store.plan("b", guard, intent, { switches: [] })),
    );
    expect([first, isRefusal(first as Plan)]).toEqual([second, false]);
    await query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'flow-crud'",
    );
    await expect
      .poll(() => store.commit("b", { fence: 9, step: 2 }, null).catch((error: unknown) => String(error)))
      .toBe("done");
    expect(await store.counts()).toEqual({ UP: 2, DOWN: 0, DEGRADED: 0 });
    expect(await store.audit()).toEqual([]);
  });

  test("what the server cannot store fails alone", async () => {
    const [store] = (await openProcesses(1)) as [PostgresFlowStore];
    await build(store, 5, square);
    const create = (flowId: string, vlan: number) => {
      const intent = { kind: "create", spec: specOf("a", vlan) } as const;
      return store.plan(
        flowId,
        { fence: 1, step: 1 },
        { ...intent, spec: { ...intent.spec, flowId } },
        { switches: [] },
      );
    };
    const answers = await Promise.allSettled([
      create("a", 1),
      create("\u0000", 2),
      create("c", 3),
      store.counts(),
    ]);
    expect(answers.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled"]);
    expect(await store.counts()).toEqual({ UP: 0, DOWN: 2, DEGRADED: 0 });
  });
});
