import { createEngine, SqliteStore, type StoredAnswer } from "@wheelwork/engine";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { outside, rounds, workersOf } from "./hubs.ts";
import { folder } from "./world.ts";

const nothingBegun = { living: new Set<string>(), ended: new Set<string>() };

const keyOf = (number: number): string => createHash("md5").update(String(number)).digest("hex");

const answer = (key: string, seq: number, part: Partial<StoredAnswer> = {}): StoredAnswer => ({
  key,
  hub: "h",
  version: 1,
  hash: `hash of ${key}`,
  state: "Done",
  status: "ended",
  createdAt: seq,
  answeredAt: seq,
  endedAt: seq,
  root: true,
  answer: { kind: "result", value: key },
  request: null,
  firstSeq: seq,
  lastSeq: seq,
  ...part,
});

/** A store with the answers of so many requests, written some at a time. */
class Written {
  readonly path = join(folder(), "store.db");
  store = new SqliteStore(this.path, { durability: "normal" });
  #epoch = this.store.claim("me").epoch;
  #seq = 0;

  write(answers: readonly Partial<StoredAnswer>[]): void {
    const seq = ++this.#seq;
    const rows = answers.map((part) => answer(part.key ?? "", seq, part));
    this.store.commit({ epoch: this.#epoch, seq, now: seq, journal: [], answers: rows });
  }

  writeMany(from: number, to: number): void {
    for (let number = from; number < to; number += 500)
      this.write(
        Array.from({ length: Math.min(500, to - number) }, (_, index) => ({ key: keyOf(number + index) })),
      );
  }

  reopen(): void {
    this.store.close();
    this.store = new SqliteStore(this.path, { durability: "normal" });
    this.#epoch = this.store.claim("me").epoch;
  }

  /** How many keys are filed in the index, and up to which row all are. */
  filed(): { keys: number; keyed: number } {
    const db = new DatabaseSync(this.path, { readOnly: true });
    const keys = db.prepare("SELECT count(*) AS n FROM request_key").get()?.["n"];
    const keyed = db.prepare("SELECT keyed FROM shard").get()?.["keyed"];
    db.close();
    return { keys: Number(keys), keyed: Number(keyed) };
  }

  /** Those of the keys that are found, each with its own answer. */
  found(from: number, to: number): number {
    const keys = Array.from({ length: to - from }, (_, index) => keyOf(from + index));
    const found = this.store.find(keys).flatMap(({ answer: given }) => given ?? []);
    const wrong = found.find((given) => given.answer.kind !== "result" || given.answer.value !== given.key);
    if (wrong !== undefined) throw new Error(`the answer of ${wrong.key} is another one's`);
    return found.length;
  }
}

test("every key is found while keys are filed, after that, and after a restart in between", () => {
  const written = new Written();
  written.writeMany(0, 32_000);
  expect(written.filed()).toEqual({ keys: 0, keyed: 0 });
  expect(written.found(0, 33_000)).toBe(32_000);
  written.writeMany(32_000, 40_000);
  const { keys, keyed } = written.filed();
  expect(keys).toBeGreaterThan(10_000);
  expect(keyed).toBe(0);
  expect(written.found(0, 41_000)).toBe(40_000);
  // What was filed in part is filed again: nobody has noted how far it was.
  written.reopen();
  expect(written.found(0, 41_000)).toBe(40_000);
  written.writeMany(40_000, 70_000);
  expect(written.filed().keyed).toBeGreaterThan(32_000);
  expect(written.found(0, 71_000)).toBe(70_000);
  written.reopen();
  expect(written.found(0, 71_000)).toBe(70_000);
  written.store.close();
});

test("a key keeps its first answer, whether it is filed or not", async () => {
  const written = new Written();
  written.write([{ key: "early", endedAt: undefined, status: "running" }]);
  written.writeMany(0, 60_000);
  expect(written.filed().keyed).toBeGreaterThan(0);
  written.write([{ key: "late", endedAt: undefined, status: "running" }]);
  const again = {
    answer: { kind: "result" as const, value: "another" },
    endedAt: 7,
    status: "ended" as const,
  };
  written.write([
    { key: "early", ...again },
    { key: "late", ...again },
  ]);
  const [early, late] = written.store.find(["early", "late"]);
  expect(early?.answer).toMatchObject({ answer: { value: "early" }, endedAt: 7, status: "ended" });
  expect(late?.answer).toMatchObject({ answer: { value: "late" }, endedAt: 7, status: "ended" });
  expect((await written.store.list({ limit: 3 })).map(({ key }) => key)).toContain("late");
  written.store.close();
});

test("what is purged is found no more, and its key may come again", () => {
  const written = new Written();
  written.writeMany(0, 40_000);
  while (written.store.purge(1_000_000, 5000, nothingBegun) > 0);
  expect(written.found(0, 40_000)).toBe(0);
  written.writeMany(0, 10);
  expect(written.found(0, 20)).toBe(10);
  written.reopen();
  expect(written.found(0, 20)).toBe(10);
  // Row numbers are not used again: the keys of the first rows are filed, and those of others would pass for it.
  written.writeMany(10, 35_000);
  written.writeMany(50_000, 80_000);
  written.reopen();
  expect(written.found(0, 35_000)).toBe(35_000);
  expect(written.found(50_000, 80_000)).toBe(30_000);
  written.store.close();
});

test("a request stays while what it has begun is stored, whether those keys are filed or not", () => {
  const written = new Written();
  const late = { root: false, answeredAt: 900_000, endedAt: 900_000 };
  const kept = (): string[] =>
    written.store.find(["filed", "half", "recent", "gone"]).flatMap(({ answer: given }) => given?.key ?? []);
  const purge = (before: number): void => {
    while (written.store.purge(before, 5000, nothingBegun) > 0);
  };
  written.write(["filed", "half", "recent", "gone"].map((key) => ({ key })));
  written.write([
    { ...late, key: "filed/t1" },
    { ...late, key: "half/1" },
  ]);
  written.writeMany(0, 60_000);
  expect(written.filed().keyed).toBeGreaterThan(8);
  written.write([
    { ...late, key: "half/1/t2" },
    { ...late, key: "recent/t1", endedAt: undefined, status: "running" },
  ]);
  written.write([{ ...late, key: "recent/t1" }]);
  purge(800_000);
  expect(kept()).toEqual(["filed", "half", "recent"]);
  written.reopen();
  purge(800_000);
  expect(kept()).toEqual(["filed", "half", "recent"]);
  purge(1_000_000);
  expect(kept()).toEqual([]);
  written.store.close();
});

test("a commit that fails leaves no key behind", () => {
  const written = new Written();
  written.writeMany(0, 10);
  const cyclic: { self?: unknown } = {};
  cyclic.self = cyclic;
  expect(() => written.write([{ key: keyOf(10) }, { key: keyOf(11), request: cyclic }])).toThrow(
    /WW_STORE_REFUSED/,
  );
  expect(written.found(0, 20)).toBe(10);
  written.reopen();
  written.writeMany(10, 12);
  expect(written.found(0, 20)).toBe(12);
  written.store.close();
});

test("a file of schema 2 is brought up to date, and its runs go on", async () => {
  const path = join(folder(), "store.db");
  const old = new DatabaseSync(path);
  old.exec(readFileSync(join(import.meta.dirname, "schema-2.sql"), "utf8"));
  old.close();
  const sleep = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));
  const engine = createEngine({ hubs: [rounds], workers: workersOf(outside())(sleep), store: path });
  await engine.start();
  expect(await engine.answer("first")).toEqual({ kind: "result", value: { log: ["1", "2"] } });
  expect(await engine.submit(rounds, { steps: [3] }, { key: "second" })).toEqual({
    id: "second",
    known: true,
  });
  await expect(engine.submit(rounds, { steps: [4] }, { key: "second" })).rejects.toThrow(/WW_KEY_REUSED/);
  expect((await engine.history("second")).at(-1)).toMatchObject({ type: "ended" });
  expect(await engine.answer("live")).toMatchObject({ kind: "error", code: "failed" });
  await engine.stop();
});
