import type { HistoryEvent } from "@wheelwork/core";
import { createEngine, SqliteStore, worker, type Engine, type Worker } from "@wheelwork/engine";
import { SimulatedClock } from "@wheelwork/testing";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { folder } from "../world.ts";
import { fate, hour, lay, note, oldestHubs, remove } from "./hubs.ts";
import { exportPages, exported, laterHubs, laterSchedules } from "./later.ts";

/** What the writer says of a store (write.ts). */
interface About {
  readonly writtenAt: number;
  /** The ids of the requests that lived. */
  readonly live: readonly string[];
  /** By id, what had its answer. */
  readonly answers: Readonly<
    Record<string, { readonly hub: string; readonly request: object; readonly answer: object }>
  >;
  /** What workers had been asked: the idempotency key of each piece of work. */
  readonly attempts: Readonly<Record<string, string>>;
}

/** By the time at which each was written. Without WHEELWORK_LONG, only the first one and the last one are opened. */
const versions = readdirSync(import.meta.dirname, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => ({ name, about: aboutOf(name) }))
  .toSorted((a, b) => a.about.writtenAt - b.about.writtenAt)
  .filter(
    (_one, at, all) => process.env["WHEELWORK_LONG"] !== undefined || at === 0 || at === all.length - 1,
  );

function aboutOf(version: string): About {
  return JSON.parse(readFileSync(join(import.meta.dirname, version, "about.json"), "utf8")) as About;
}

/** The name of a run without its place and the mark of its lane: `holds` of `holds-row@~7`. */
const nameOf = (id: string): string => id.slice(0, id.indexOf("-"));

describe.each(versions)("the store of a process of version $name that was killed", ({ name, about }) => {
  const from = join(import.meta.dirname, name);
  const isLater = about.live.some((id) => nameOf(id) === "holds");

  /** A copy of its files. */
  function copy(): string {
    const at = folder();
    for (const file of ["store.db", "store.db-wal"])
      if (existsSync(join(from, `${file}.br`)))
        writeFileSync(join(at, file), brotliDecompressSync(readFileSync(join(from, `${file}.br`))));
    return join(at, "store.db");
  }

  /** An engine of today on it, ten minutes later. `hangs`: its workers do nothing, so that all stays as it is. */
  async function open({
    path = copy(),
    clock = new SimulatedClock({ wallMs: about.writtenAt + 600_000 }),
    hangs = false,
  }: { readonly path?: string; readonly clock?: SimulatedClock; readonly hangs?: boolean } = {}) {
    const done = <T>(output: T): Promise<T> => (hangs ? new Promise(() => {}) : Promise.resolve(output));
    const asked: { readonly work: string; readonly key: string }[] = [];
    const process = clock.process();
    const store = new SqliteStore(path, { durability: "normal" });
    const told = (spoke: typeof remove): Worker =>
      worker(spoke, ({ run, what }, ctx) => {
        asked.push({ work: `${run} ${spoke.name} ${what}`, key: ctx.idempotencyKey });
        return done({});
      });
    const engine = createEngine({
      hubs: [...oldestHubs("now"), ...(isLater ? laterHubs : [])],
      ...(isLater ? { schedules: laterSchedules } : {}),
      workers: [
        worker(lay, async ({ run, what }, ctx) => {
          asked.push({ work: `${run} ${what}`, key: ctx.idempotencyKey });
          if (what === "hang part") await process.sleep(7 * hour);
          return done({ laid: what });
        }),
        told(remove),
        told(note),
        ...(isLater
          ? [
              worker(exportPages, ({ run }, ctx) => {
                asked.push({ work: `${run} export`, key: ctx.idempotencyKey });
                return done({ from: exported.parse(ctx.lastProgress).page });
              }),
            ]
          : []),
      ],
      store,
      clock: process,
      drainMs: 0,
    });
    await engine.start();
    const close = async (): Promise<void> => {
      const stopped = engine.stop();
      await clock.advance(1_000);
      await stopped;
      await store.close();
    };
    return { engine, clock, asked, path, close };
  }

  /** The ids of all requests, from page to page. */
  async function listed(engine: Engine): Promise<string[]> {
    const ids: string[] = [];
    for (let cursor: string | undefined; ;) {
      const page = await engine.requests({ limit: 7, ...(cursor === undefined ? {} : { cursor }) });
      ids.push(...page.items.map(({ id }) => id));
      if (page.cursor === undefined) return ids;
      cursor = page.cursor;
    }
  }

  test("its live runs go on, and each ends once, with the right answer", async () => {
    const { engine, clock, asked, close } = await open();
    for (const id of about.live) {
      const { status } = await engine.request(id);
      const waits = ["queues", "urgent", "delayed"].includes(nameOf(id));
      const parked = ["parks", "resolved"].includes(nameOf(id));
      expect({ id, status }).toEqual({ id, status: waits ? "pending" : parked ? "incident" : "running" });
    }
    const each = async (names: readonly string[], act: (id: string) => Promise<unknown>): Promise<void> => {
      for (const id of about.live) if (names.includes(nameOf(id))) await act(id);
    };
    await each(["asks", "keeps", "moves", "started"], (id) => engine.signal(id, "go", { text: "go" }));
    // It has come before the process was killed.
    await each(["went"], (id) => engine.signal(id, "go", { text: "once" }, { commandId: "c1" }));
    await each(["asks", "went", "started", "delayed"], (id) => engine.signal(id, "later", { text: "later" }));
    await each(["parks"], (id) => engine.retry(id));
    await each(["resolved"], (id) => engine.resolve(id, "somebody has done it"));
    await each(["account"], async (id) => {
      await engine.signal(id, "deposit", { cents: 5 }, { commandId: "d1" });
      await engine.signal(id, "deposit", { cents: 7 });
    });
    await clock.advance(12 * hour);
    await clock.settle();
    await each(["handles"], (id) => engine.signal(id, "enough", {}));
    await each(["parts"], (id) => engine.signal(id, "enough", {}));
    await each(["account"], async (id) => {
      expect(await engine.request(id)).toMatchObject({ status: "running", view: { cents: 12 } });
      await engine.cancel(id);
    });
    await clock.advance(1_000);
    await clock.settle();

    const result = (value: unknown) => ({ kind: "result", value });
    const run = (id: string): string => id.replace(/@.*/, "");
    const right: Readonly<Record<string, (id: string) => object>> = {
      round: () => result({ laid: ["b", "busy a", "c", "g", "h", "hang d", "hang e", "hang f"] }),
      undoing: () => ({ kind: "error", code: "not-laid", message: "bad d is refused" }),
      asks: () => result({ heard: ["go", "later"] }),
      keeps: () => result({ heard: ["go", "kept"] }),
      went: () => result({ heard: ["once", "later"] }),
      times: () => result({ said: ["no answer", "too late"] }),
      parks: () => result(-2),
      resolved: () => ({ kind: "error", code: "WW_INCIDENT", message: "somebody has done it" }),
      fetches: () => result({ fetched: ["one", "hang two", "three"] }),
      calls: () => result({ child: ["one", "hang two", "three"] }),
      handles: () => result({ got: ["now: ok", "hang on: ok"] }),
      moves: (id) => result({ text: `was ${run(id)}, go` }),
      holds: () => result({ laid: "hang" }),
      queues: () => result({ laid: "hang" }),
      urgent: () => result({ laid: "hang" }),
      account: () => result({ opened: true }),
      parts: () => result({ got: ["now", "later"], reminded: 2 }),
      delayed: () => result({ heard: ["posted", "later"] }),
      started: () => result({ heard: ["go", "later"] }),
      exports: () => result({ from: 3 }),
    };
    for (const id of about.live) {
      const { status, answer } = await engine.request(id);
      expect({ id, status, answer }).toEqual({
        id,
        status: "ended",
        answer: expect.objectContaining(right[nameOf(id)]?.(id) ?? {}) as object,
      });
      const types = (await engine.history(id)).map(({ type }: HistoryEvent) => type);
      expect(types.filter((type) => type === "ended")).toHaveLength(1);
      expect(types.at(-1)).toBe("ended");
    }
    // Two timers, of 2 h and of 3 h.
    for (const id of ["times-row", "times-journal"]) {
      const { createdAt, endedAt = 0 } = await engine.request(id);
      expect((endedAt - createdAt) / hour).toBeCloseTo(5, 4);
    }
    // Nothing is asked twice, and what was under way has the key that it had. What was done is not asked again.
    const works = asked.map(({ work }) => work);
    expect(works.toSorted()).toEqual([...new Set(works)].toSorted());
    for (const { work, key } of asked)
      expect({ work, key }).toEqual({ work, key: about.attempts[work] ?? key });
    const done = Object.keys(about.attempts).filter(
      (work) => fate(work.slice(work.indexOf(" ") + 1)) === "done",
    );
    expect(done).toContain("round-row b");
    expect(works.filter((work) => done.includes(work) && !/ (export|note|remove)/.test(work))).toEqual([]);
    // The urgent one has come last.
    for (const place of ["row", "journal"]) {
      const turns = works.filter((work) => work.endsWith(`-${place} hang`)).map(nameOf);
      const held = turns.filter((name) => ["holds", "queues", "urgent"].includes(name));
      expect(held).toEqual(isLater ? ["holds", "urgent", "queues"] : []);
    }
    // A tick each hour since the first process has started, each once.
    const ticks = (await engine.requests({ hub: "ticked", limit: 100 })).items
      .map(({ id }) => Date.parse(id.slice("hourly@".length)))
      .toSorted();
    expect(ticks).toHaveLength(isLater ? 12 : 0);
    expect(ticks.map((at) => at - (ticks[0] ?? 0))).toEqual(ticks.map((_at, n) => n * hour));
    await close();
  });

  test("what has ended has the answer that it had, under its key, and no other", async () => {
    const { engine, close } = await open();
    expect(Object.keys(about.answers).length).toBeGreaterThan(0);
    for (const [id, { hub, request, answer }] of Object.entries(about.answers)) {
      expect(await engine.answer(id)).toEqual(answer);
      expect(await engine.submit(hub, request, { key: id })).toEqual({ id, known: true });
      const other = { ...request, run: "another" };
      await expect(engine.submit(hub, other, { key: id })).rejects.toThrow(/WW_KEY_REUSED/);
      expect((await engine.history(id)).at(-1)).toMatchObject({ type: "ended", answer });
    }
    await close();
  });

  test("lists, counts and histories have all, and a second start finds what the first has left", async () => {
    const first = await open({ hangs: true });
    const { engine } = first;
    const posts = isLater ? ["posts-row", "posts-journal"] : [];
    const all = [...about.live, ...Object.keys(about.answers), ...posts].toSorted();
    const seen = async (of: Engine): Promise<unknown> => {
      expect((await listed(of)).toSorted()).toEqual(all);
      expect(await of.count()).toBe(all.length);
      const { items } = await of.requests({ limit: 1_000 });
      for (const status of ["pending", "running", "incident", "ended"] as const)
        expect(await of.count({ status })).toBe(items.filter((item) => item.status === status).length);
      for (const hub of new Set(items.map((item) => item.hub)))
        expect(await of.count({ hub })).toBe(items.filter((item) => item.hub === hub).length);
      for (const flow of new Set(
        items.map(({ labels }) => labels?.["flow"]).filter((label) => label !== undefined),
      ))
        expect(await of.count({ labels: { flow } })).toBe(
          items.filter(({ labels }) => labels?.["flow"] === flow).length,
        );
      return items;
    };
    const before = await seen(engine);
    for (const id of all) expect((await engine.history(id)).length).toBeGreaterThan(0);
    await first.close();
    // It has nothing left to bring up to date.
    const file = readFileSync(first.path);
    await new SqliteStore(first.path).close();
    expect(readFileSync(first.path).equals(file)).toBe(true);
    const second = await open({ path: first.path, clock: first.clock, hangs: true });
    expect(await seen(second.engine)).toEqual(before);
    await second.close();
  });
});
