import type { Found } from "@wheelwork/engine";
import { expect, test } from "vitest";
import { ColdReads } from "../../src/shard/cold-reads.ts";

const answer = { key: "a" } as Found["answer"];

test("the row of a run that has ended is not taken for a run, and that of another run under its key is", async () => {
  const row = { key: "a", createdAt: 5 } as Found["run"];
  const under = async (more: object): Promise<boolean> => {
    const found = { run: row, answer: { ...answer, createdAt: 5, ...more } } as Found;
    const read = await new ColdReads({ find: () => Promise.resolve([found]) }).read("a", 1);
    return read.run !== undefined;
  };
  expect(await under({ endedAt: 6 })).toBe(false);
  // It has answered, and goes on.
  expect(await under({ endedAt: undefined })).toBe(true);
  expect(await under({ createdAt: 1, endedAt: 2 })).toBe(true);
});

test("those who ask at once share one read, until something is committed", async () => {
  const asked: ((found: readonly Found[]) => void)[] = [];
  const reads = new ColdReads({ find: () => new Promise((resolve) => asked.push(resolve)) });
  const first = reads.read("a", 1);
  expect(reads.read("a", 1)).toBe(first);
  const later = reads.read("a", 2);
  expect(later).not.toBe(first);
  expect(asked).toHaveLength(2);
  asked[0]?.([]);
  expect(await first).toEqual({});
  // The end of the first read is not the end of the second one.
  expect(reads.read("a", 2)).toBe(later);
  asked[1]?.([{ answer } as Found]);
  expect(await later).toEqual({ answer });
  expect(reads.read("a", 2)).not.toBe(later);
});

test.each([
  [
    "at once",
    () => {
      throw new Error("away");
    },
  ],
  ["later", () => Promise.reject(new Error("away"))],
])("a read that fails %s fails those who share it, and nobody after them", async (_when, find) => {
  let isAway = true;
  const reads = new ColdReads({ find: () => (isAway ? find() : Promise.resolve([])) });
  const failed = [reads.read("a", 1), reads.read("a", 1)];
  expect(await Promise.allSettled(failed)).toMatchObject([{ status: "rejected" }, { status: "rejected" }]);
  isAway = false;
  expect(await reads.read("a", 1)).toEqual({});
});
