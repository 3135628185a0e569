// Writes a store for former.test.ts, with the version that this file is checked out with, in SQLite or in PostgreSQL:
//
//   node --conditions=wheelwork-source packages/engine/test/former/write.ts <folder> [postgres://…]
//
// The store is that of a process that was killed: half of the runs are in rows of a checkpoint, half in the journal after it.
import { createEngine, worker, type Clock, type Engine, type Store } from "@wheelwork/engine";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliCompressSync } from "node:zlib";
import { fate, lay, note, oldestHubs, remove } from "./hubs.ts";
import { beginLater, exporter, laterHubs, laterSchedules } from "./later.ts";

const [, , folder = "", store = "", place = ""] = process.argv;
if (place === "") {
  const name = spawnSync("git", ["rev-parse", "--short=8", "HEAD"], { encoding: "utf8" }).stdout.trim();
  const at = mkdtempSync(join(tmpdir(), "wheelwork-former-"));
  const written: Record<string, unknown>[] = [];
  for (const each of ["row", "journal"]) {
    const to = store === "" ? join(at, "store.db") : store;
    const args = [...process.execArgv, import.meta.filename, folder, to, each];
    const { stdout, stderr, signal } = spawnSync(process.execPath, args, { encoding: "utf8" });
    if (signal !== "SIGKILL") throw new Error(`the writer failed: ${stdout}${stderr}`);
    written.push(JSON.parse(stdout) as Record<string, unknown>);
  }
  const merged = (field: string): object => Object.assign({}, ...written.map((one) => one[field])) as object;
  const to = join(folder, name);
  mkdirSync(to, { recursive: true });
  for (const file of ["store.db", "store.db-wal"])
    if (existsSync(join(at, file)))
      writeFileSync(join(to, `${file}.br`), brotliCompressSync(readFileSync(join(at, file))));
  if (store !== "") {
    const { stdout, status } = spawnSync("pg_dump", ["--inserts", "--no-owner", store], { encoding: "utf8" });
    if (status !== 0) throw new Error("pg_dump has failed");
    writeFileSync(join(to, "postgres.sql.br"), brotliCompressSync(stdout));
  }
  const about = {
    writtenAt: now(),
    live: written.flatMap(({ live }) => live as string[]),
    answers: merged("answers"),
    attempts: merged("attempts"),
  };
  writeFileSync(
    join(to, store === "" ? "about.json" : "about-postgres.json"),
    JSON.stringify(about, undefined, 2),
  );
  rmSync(at, { recursive: true });
}

/**
 * The time of the writer: that of yesterday in PostgreSQL. Engine time follows the earlier one of two clocks there, and the test that
 * opens the store makes the other one show some hours later.
 */
function now(): number {
  return Date.now() - (store.startsWith("postgres:") ? 86_400_000 : 0);
}

const clock: Clock = {
  wallMs: now,
  monotonicMs: () => performance.now(),
  after: (delayMs, task) => {
    const timer = setTimeout(task, Math.min(delayMs, 2 ** 31 - 1));
    return () => clearTimeout(timer);
  },
  soon: (task) => void setImmediate(task),
};

/** The file, or the store in the database. The tests of the engine do not depend on the package. */
async function opened(): Promise<string | Store> {
  if (!store.startsWith("postgres:")) return store;
  const name = "@wheelwork/postgres";
  const { postgresStore } = (await import(name)) as {
    readonly postgresStore: (options: { readonly connectionString: string }) => Store;
  };
  return postgresStore({ connectionString: store });
}

async function write(): Promise<void> {
  /** What the workers have been asked: the idempotency key by `run what`. */
  const attempts: Record<string, string> = {};
  const hang = new Promise<never>(() => {});
  // Timers keep the process alive while workers hang.
  setTimeout(() => {}, 1e9);
  const engine = createEngine({
    hubs: [...oldestHubs("then"), ...laterHubs],
    ...(laterSchedules.length > 0 ? { schedules: laterSchedules } : {}),
    workers: [
      worker(lay, async ({ run, what }, ctx) => {
        attempts[`${run} ${what}`] = ctx.idempotencyKey;
        const will = fate(what);
        if (will === "hangs") return hang;
        // The others of its round are done first.
        if (will === "refused") await new Promise((later) => setTimeout(later, 300));
        if (will !== "done") return ctx.fail(will, `${what} is ${will}`);
        return { laid: what };
      }),
      ...(laterHubs.length > 0 ? [exporter((run, key) => void (attempts[`${run} export`] = key))] : []),
      ...[remove, note].map((told) =>
        worker(told, ({ run, what }, ctx) => {
          attempts[`${run} ${told.name} ${what}`] = ctx.idempotencyKey;
          return fate(what) === "hangs" ? hang : Promise.resolve({});
        }),
      ),
    ],
    store: await opened(),
    clock,
    limits: { checkpointEvents: place === "row" ? 1 : 1_000_000 },
  });
  await engine.start();
  const live: string[] = [];
  const answers: Record<string, unknown> = {};
  const submit = async (hub: string, key: string, request: object = {}): Promise<string> => {
    const run = `${key}-${place}`;
    await engine.submit(hub, { run, ...request }, { key: run });
    return run;
  };
  const begin = async (hub: string, key: string, request?: object): Promise<string> => {
    const run = await submit(hub, key, request);
    live.push(run);
    return run;
  };
  const finish = async (hub: string, key: string, request?: object): Promise<void> => {
    const run = await submit(hub, key, request);
    answers[run] = { hub, request: { run, ...request }, answer: await engine.answer(run) };
  };
  const rules = ["busy a", "b", "c", "hang d", "hang e", "hang f", "g", "h"];
  await begin("laying", "round", { rules });
  await begin("laying", "undoing", { rules: ["b", "c", "bad d", "hang e"] });
  await begin("asking", "asks");
  const kept = await begin("asking", "keeps");
  await engine.signal(kept, "later", { text: "kept" });
  const went = await begin("asking", "went");
  await engine.signal(went, "go", { text: "once" }, { commandId: "c1" });
  await begin("timing", "times");
  await begin("parking", "parks", { n: -2 });
  await begin("parking", "resolved", { n: -4 });
  await begin("fetching", "fetches");
  await begin("parent", "calls");
  await begin("handling", "handles");
  await begin("moving", "moves");
  await finish("laying", "laid", { rules: ["x", "y"] });
  await finish("parking", "error", { n: 3 });
  await finish("parking", "result", { n: 4 });
  await finish("short", "late");
  const cancelled = await submit("asking", "cancelled");
  await engine.cancel(cancelled);
  answers[cancelled] = { hub: "asking", request: { run: cancelled }, answer: await engine.answer(cancelled) };
  live.push(...(await beginLater(engine, place, now())));
  await settled(engine);
  process.stdout.write(JSON.stringify({ live, answers, attempts }), () =>
    process.kill(process.pid, "SIGKILL"),
  );

  /** All that can happen without time has happened: the last history has not grown for a while. */
  async function settled(of: Engine): Promise<void> {
    const grown = async (): Promise<number> =>
      (await Promise.all(live.map((id) => of.history(id)))).reduce((sum, { length }) => sum + length, 0);
    for (let before = -1, now = await grown(); before !== now;) {
      await new Promise((later) => setTimeout(later, 500));
      [before, now] = [now, await grown()];
    }
  }
}

if (place !== "") await write();
