import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import type { AuditAbout, AuditBatch, AuditEntry, AuditPlace, Commit, Store } from "@wheelwork/engine";
import { isAbout } from "@wheelwork/engine/stores";
import { seededRandom } from "./random.ts";
import type { OpenedStore } from "./store-fixtures.ts";

/** A test of a store that is open, and claimed with the epoch 1. */
type AuditTest = (title: string, body: (opened: OpenedStore) => Promise<void | OpenedStore>) => void;

const latest: AuditPlace = { at: Number.MAX_SAFE_INTEGER, seq: Number.MAX_SAFE_INTEGER };

const given = (by: string, at: number): AuditEntry => ({
  at,
  by,
  command: "submit",
  key: `${by}-key`,
  hub: "h",
});

/** The part of the conformance suite of stores that is about the audit list. */
export function auditConformance(test: AuditTest): void {
  const commit = async (store: Store, seq: number, now: number, part: Partial<Commit> = {}): Promise<void> =>
    store.commit({ epoch: 1, seq, now, journal: [], answers: [], ...part });

  test("keeps the commands that somebody gave, and gives them newest first, page by page", async ({
    store,
    reopen,
  }) => {
    const named = { ...given('ann "\u{1F600}"', 1001), command: "signal", signal: "go" } as const;
    await commit(store, 1, 1001, { audit: [given("ann", 1000), named] });
    await commit(store, 2, 1001);
    await commit(store, 3, 1001, { audit: [given("bob", 1001)], stops: true });
    await commit(store, 4, 1009, {
      audit: [given("cat", 1009)],
      checkpoint: { runs: [], ended: [], histories: [] },
    });
    const batches = [
      { at: 1009, seq: 4, entries: [given("cat", 1009)] },
      { at: 1001, seq: 3, entries: [given("bob", 1001)] },
      { at: 1001, seq: 1, entries: [given("ann", 1000), named] },
    ];
    deepStrictEqual(await store.audit(latest, 10), batches);
    deepStrictEqual(await store.audit(latest, 2), batches.slice(0, 2));
    deepStrictEqual(await store.audit({ at: 1001, seq: 3 }, 2), batches.slice(2));
    deepStrictEqual(await store.audit({ at: 1001, seq: 1 }, 2), []);
    const again = await reopen();
    deepStrictEqual(await again.store.audit(latest, 10), batches);
    return again;
  });

  test("finds the batches with commands of somebody, of a kind, to a hub and to a request, in pages", async ({
    store,
    reopen,
  }) => {
    const seed = 1 + Math.floor(1e6 * Math.random());
    const random = seededRandom(seed);
    const names = ["ann", "bob", 'c "\u{1F600}"\u0000'];
    const commands = ["submit", "cancel", "retry"] as const;
    const batches: AuditBatch[] = Array.from({ length: 30 }, (_, index) => ({
      at: 1000 + Math.floor(index / 3),
      seq: index + 1,
      entries: Array.from({ length: 1 + random.int(3) }, () => ({
        at: 1000,
        by: random.pick(names),
        command: random.pick(commands),
        hub: random.pick(["h", "g"]),
        key: random.pick(["k1", "k2", "k3/1"]),
      })),
    }));
    for (const { at, seq, entries } of batches) await commit(store, seq, at, { audit: entries });
    const some = <T>(values: readonly T[]): T | undefined =>
      random.chance(0.5) ? undefined : random.pick(values);
    const finds = async (of: Store, from: number): Promise<void> => {
      for (let round = 0; round < 25; round++) {
        const given = { by: some([...names, "none"]), command: some(commands), hub: some(["h", "g"]) };
        const id = random.chance(0.2) ? random.pick(["k1", "k3/1"]) : undefined;
        const about = Object.fromEntries(
          Object.entries({ ...given, id }).filter(([, value]) => value !== undefined),
        ) as AuditAbout;
        const has = ({ entries }: AuditBatch): boolean => entries.some((entry) => isAbout(entry, about));
        const found: number[] = [];
        for (let place = latest; ;) {
          const page = await of.audit(place, 3, about);
          found.push(...page.filter(has).map(({ seq }) => seq));
          const last = page.at(-1);
          if (last === undefined) break;
          place = last;
        }
        const wanted = batches.filter((batch) => batch.seq >= from && has(batch)).map(({ seq }) => seq);
        deepStrictEqual(found, wanted.toReversed(), `seed ${seed}: ${JSON.stringify(about)}`);
      }
    };
    await finds(store, 1);
    strictEqual(await store.purgeAudit(1003, 100), false);
    await finds(store, 10);
    const again = await reopen();
    await finds(again.store, 10);
    return again;
  });

  test("deletes commands before a time, unless another owner has replaced it", async ({ store, reopen }) => {
    for (const [at, seq] of [
      [1000, 1],
      [1001, 2],
      [1002, 3],
    ] as const)
      await commit(store, seq, at, { audit: [given("ann", at)] });
    const left = async (of: Store): Promise<number[]> => (await of.audit(latest, 10)).map(({ seq }) => seq);
    strictEqual(await store.purgeAudit(1002, 1), true);
    deepStrictEqual(await left(store), [3, 2]);
    strictEqual(await store.purgeAudit(1002, 2), false);
    deepStrictEqual(await left(store), [3]);
    const again = await reopen();
    await again.store.claim("another");
    await rejects(async () => commit(again.store, 4, 2000, { audit: [given("ann", 2000)] }));
    deepStrictEqual(await left(again.store), [3]);
    strictEqual(await again.store.purgeAudit(2000, 10), false);
    deepStrictEqual(await left(again.store), []);
    return again;
  });
}
