import { deepStrictEqual, ok } from "node:assert/strict";
import type { RunEvent } from "@wheelwork/core";
import { sound } from "@wheelwork/engine/stores";
import type { Batch, Commit, Rows, Store, StoredAnswer, StoredRun } from "@wheelwork/engine";

// What the conformance suite of stores is made of.

/** The two functions that a suite needs of a test runner, such as vitest or node:test. */
export interface TestRunner {
  readonly describe: (name: string, body: () => void) => void;
  readonly test: (name: string, body: () => Promise<void>) => void;
}

/** A store under test. */
export interface OpenedStore {
  readonly store: Store;
  /** Ends the present owner, as a crash does, and opens the same durable content again. */
  readonly reopen: () => OpenedStore | Promise<OpenedStore>;
  readonly close: () => void | Promise<void>;
}

export const none: ReadonlySet<string> = new Set();
export const nothingBegun = { living: none, ended: none };

/** Where a list of due runs begins. */
export const beginning = { due: 0, key: "" };

export const at = 1_000;

export function run(key: string, part: Partial<StoredRun> = {}): StoredRun {
  const snapshot = { hub: "h", data: { text: 'a "quoted" text\u0000 – \u{1F600}', none: null } };
  const plain = { key, hub: "h", version: 1, status: "running" as const, state: "A", createdAt: at };
  return { ...plain, answeredAt: undefined, hot: false, due: undefined, root: true, snapshot, ...part };
}

export function answer(key: string, part: Partial<StoredAnswer> = {}): StoredAnswer {
  const plain = {
    key,
    hub: "h",
    version: 1,
    hash: "x",
    state: "Done",
    status: "ended" as const,
    createdAt: at,
  };
  const times = { answeredAt: at + 5, endedAt: at + 5, firstSeq: 1, lastSeq: 1 };
  return {
    ...plain,
    ...times,
    root: true,
    answer: { kind: "result", value: { ok: [1, null] } },
    request: { n: 1 },
    ...part,
  };
}

/** Compares two values as JSON: a field that is undefined may be missing. */
export function same(actual: unknown, expected: unknown, message?: string): void {
  deepStrictEqual(JSON.parse(JSON.stringify(actual)), JSON.parse(JSON.stringify(expected)), message);
}

export async function all<T>(rows: Rows<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const row of rows) list.push(row);
  return list;
}

/** The journal since the last checkpoint. How long a record is, is the business of the store. */
export const journalOf = async (store: Store): Promise<Omit<Batch, "bytes">[]> =>
  (await all(store.journal())).map(sound).map(({ bytes, ...batch }) => {
    ok(bytes > 0, `batch ${batch.seq} has a record of ${bytes} bytes`);
    return batch;
  });

export const storedRun = async (store: Store, key: string): Promise<StoredRun | undefined> =>
  (await store.find([key]))[0]?.run;

export const storedAnswer = async (store: Store, key: string): Promise<StoredAnswer | undefined> =>
  (await store.find([key]))[0]?.answer;

export const told = (call: number, input: unknown = { call }): RunEvent => ({
  type: "told",
  at,
  call,
  spoke: "s",
  input,
});
export const toldAt = (call: number, when: number): RunEvent => ({ ...told(call), at: when }) as RunEvent;
export const enteredAt = (state: string, when: number): RunEvent => ({ type: "entered", at: when, state });
/** A store may have a compact form for this event. */
export const settled = (call: number, now: number): RunEvent => ({
  type: "settled",
  at: now,
  call,
  outcome: "ok",
  by: "Next",
});

/** Writes batches one after the other, as an owner does. */
export class Owner {
  readonly store: Store;
  epoch = 0;
  seq = 0;

  constructor(store: Store) {
    this.store = store;
  }

  async claim(): Promise<this> {
    const claim = await this.store.claim("owner");
    this.epoch = claim.epoch;
    this.seq = claim.seq;
    return this;
  }

  async commit(part: Partial<Omit<Commit, "epoch" | "seq">>): Promise<number> {
    const seq = this.seq + 1;
    await this.store.commit({ epoch: this.epoch, seq, now: at + seq, journal: [], answers: [], ...part });
    this.seq = seq;
    return seq;
  }

  checkpoint(part: Partial<NonNullable<Commit["checkpoint"]>>): Promise<number> {
    return this.commit({ checkpoint: { runs: [], ended: [], histories: [], ...part } });
  }
}

/** A test of a store: its owner has claimed it. What it returns is closed in place of what was opened. */
export type StoreTest = (
  title: string,
  body: (opened: OpenedStore, owner: Owner) => Promise<void | OpenedStore>,
) => void;
