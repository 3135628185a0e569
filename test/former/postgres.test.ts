import type { AnyHub, Spoke, WorkerTypes } from "@wheelwork/core";
import { createEngine, worker, type Clock, type Schedule, type Worker } from "@wheelwork/engine";
import { postgresStore } from "@wheelwork/postgres";
import { freePort, postgresIsInstalled, PostgresServer } from "@wheelwork/services";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { brotliDecompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";

/*
 * Stores in PostgreSQL that earlier versions have written before they were killed: the same runs as in the files of
 * packages/engine/test/former. WHEELWORK_LONG=1 asks for it.
 */

type Work<I> = Spoke<I, object> & WorkerTypes<I, object>;

const former = join(import.meta.dirname, "../../packages/engine/test/former");
const { oldestHubs, lay, note, remove } = (await import(pathToFileURL(join(former, "hubs.ts")).href)) as {
  readonly oldestHubs: (when: "now") => readonly AnyHub[];
} & Readonly<Record<"lay" | "note" | "remove", Work<{ readonly run: string; readonly what: string }>>>;
const { exportPages, laterHubs, laterSchedules } = (await import(
  pathToFileURL(join(former, "later.ts")).href
)) as {
  readonly exportPages: Work<{ readonly run: string }>;
  readonly laterHubs: readonly AnyHub[];
  readonly laterSchedules: readonly Schedule[];
};

interface About {
  readonly writtenAt: number;
  readonly live: readonly string[];
  readonly answers: Readonly<
    Record<string, { readonly hub: string; readonly request: object; readonly answer: object }>
  >;
  readonly attempts: Readonly<Record<string, string>>;
}

const hour = 3_600_000;
const nameOf = (id: string): string => id.slice(0, id.indexOf("-"));
/** By the time at which each was written. */
const versions = readdirSync(former, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => ({ name, about: aboutOf(name) }))
  .toSorted((a, b) => a.about.writtenAt - b.about.writtenAt);

function aboutOf(version: string): About {
  return JSON.parse(readFileSync(join(former, version, "about-postgres.json"), "utf8")) as About;
}

describe.skipIf(!postgresIsInstalled() || process.env["WHEELWORK_LONG"] === undefined)(
  "in PostgreSQL,",
  () => {
    let folder: string;
    let server: PostgresServer;
    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), "wheelwork-former-"));
      chmodSync(folder, 0o755);
      server = new PostgresServer(folder, await freePort());
      await server.start();
    }, 120_000);
    afterAll(async () => {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    });

    /** Real time, but the wall clock shows a time soon after the store was written. */
    function soonAfter(at: number): Clock {
      const ahead = at - performance.now();
      return {
        wallMs: () => ahead + performance.now(),
        monotonicMs: () => performance.now(),
        after: (delayMs, task) => {
          const timer = setTimeout(task, delayMs);
          return () => clearTimeout(timer);
        },
        soon: (task) => void setImmediate(task),
      };
    }

    test.each(versions)("the live runs of version $name go on, and what has ended is known", async (one) => {
      const { name: version, about } = one;
      const input = brotliDecompressSync(readFileSync(join(former, version, "postgres.sql.br")));
      const psql = ["--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null", server.url];
      const drop = "DROP SCHEMA IF EXISTS wheelwork CASCADE; SET client_min_messages = warning;";
      const loaded = spawnSync("psql", psql, { input: `${drop}\n${input.toString()}`, encoding: "utf8" });
      expect(loaded).toMatchObject({ status: 0 });

      const isLater = about.live.some((id) => nameOf(id) === "holds");
      const asked: { readonly work: string; readonly key: string }[] = [];
      const told = (spoke: typeof lay, named: string): Worker =>
        worker(spoke, ({ run, what }, ctx) => {
          asked.push({ work: `${run} ${named}${what}`, key: ctx.idempotencyKey });
          return Promise.resolve(named === "" ? { laid: what } : {});
        });
      const pages = worker(exportPages, ({ run }, ctx) => {
        asked.push({ work: `${run} export`, key: ctx.idempotencyKey });
        return Promise.resolve({ from: (ctx.lastProgress as { readonly page: number }).page });
      });
      const engine = createEngine({
        hubs: [...oldestHubs("now"), ...(isLater ? laterHubs : [])],
        ...(isLater ? { schedules: laterSchedules } : {}),
        workers: [told(lay, ""), told(remove, "remove "), told(note, "note "), ...(isLater ? [pages] : [])],
        store: postgresStore({ connectionString: server.url }),
        clock: soonAfter(about.writtenAt + 5.5 * hour),
      });
      await engine.start();
      onTestFinished(() => engine.stop());

      const each = async (names: readonly string[], act: (id: string) => Promise<unknown>): Promise<void> => {
        for (const id of about.live) if (names.includes(nameOf(id))) await act(id);
      };
      await each(["asks", "keeps", "moves", "started"], (id) => engine.signal(id, "go", { text: "go" }));
      await each(["went"], (id) => engine.signal(id, "go", { text: "once" }, { commandId: "c1" }));
      await each(["asks", "went", "started", "delayed"], (id) =>
        engine.signal(id, "later", { text: "later" }),
      );
      await each(["parks"], (id) => engine.retry(id));
      await each(["resolved"], (id) => engine.resolve(id, "somebody has done it"));
      await each(["handles"], async (id) => {
        const got = async (): Promise<unknown> => (await engine.request(id)).data;
        await expect.poll(got, { timeout: 30_000 }).toMatchObject({ got: ["now: ok", "hang on: ok"] });
        await engine.signal(id, "enough", {});
      });
      await each(["account"], (id) => engine.cancel(id));
      await each(["parts"], async (id) => {
        const state = async (): Promise<string> => (await engine.request(id)).state;
        await expect.poll(state, { timeout: 30_000 }).toBe("Waiting");
        await engine.signal(id, "enough", {});
      });
      const result = (value: unknown) => ({ kind: "result", value });
      const right: Readonly<Record<string, (id: string) => unknown>> = {
        round: () => result({ laid: ["b", "busy a", "c", "g", "h", "hang d", "hang e", "hang f"] }),
        undoing: () => ({ kind: "error", code: "not-laid", message: "bad d is refused" }),
        asks: () => result({ heard: ["go", "later"] }),
        keeps: () => result({ heard: ["go", "kept"] }),
        went: () => result({ heard: ["once", "later"] }),
        parks: () => result(-2),
        resolved: () => expect.objectContaining({ code: "WW_INCIDENT", message: "somebody has done it" }),
        fetches: () => result({ fetched: ["one", "hang two", "three"] }),
        calls: () => result({ child: ["one", "hang two", "three"] }),
        handles: () => result({ got: ["now: ok", "hang on: ok"] }),
        moves: (id) => result({ text: `was ${id}, go` }),
        holds: () => result({ laid: "hang" }),
        queues: () => result({ laid: "hang" }),
        urgent: () => result({ laid: "hang" }),
        account: () => result({ opened: true }),
        // Its timer has come due meanwhile. The outcome of the attempt may come before it.
        parts: () => result({ got: ["now", "later"], reminded: expect.any(Number) as number }),
        delayed: () => result({ heard: ["posted", "later"] }),
        started: () => result({ heard: ["go", "later"] }),
        exports: () => result({ from: 3 }),
      };
      // Its second timer has three hours anew.
      const all = about.live.filter((id) => nameOf(id) !== "times");
      expect(all.length).toBeGreaterThan(20);
      for (const id of all) {
        expect({ id, answer: await engine.answer(id) }).toEqual({ id, answer: right[nameOf(id)]?.(id) });
        await expect.poll(async () => (await engine.request(id)).status, { timeout: 30_000 }).toBe("ended");
        const types = (await engine.history(id)).map(({ type }) => type);
        expect(types.filter((type) => type === "ended")).toHaveLength(1);
      }
      for (const { work, key } of asked)
        expect({ work, key }).toEqual({ work, key: about.attempts[work] ?? key });
      const works = asked.map(({ work }) => work);
      expect(works.toSorted()).toEqual([...new Set(works)].toSorted());

      for (const [id, { hub, request, answer }] of Object.entries(about.answers)) {
        expect(await engine.answer(id)).toEqual(answer);
        expect(await engine.submit(hub, request, { key: id })).toEqual({ id, known: true });
        await expect(engine.submit(hub, { ...request, run: "another" }, { key: id })).rejects.toThrow(
          /WW_KEY_REUSED/,
        );
      }
      const { items } = await engine.requests({ limit: 1_000 });
      expect(items.map(({ id }) => id)).toEqual(
        expect.arrayContaining([...about.live, ...Object.keys(about.answers)]),
      );
      expect(await engine.count()).toBe(items.length);
    });
  },
);
