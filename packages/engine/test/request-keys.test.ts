import * as fc from "fast-check";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { RequestKeys } from "../src/request-keys.ts";

type Step =
  | { readonly kind: "commit"; readonly keys: readonly number[]; readonly fails: boolean }
  | { readonly kind: "purge"; readonly most: number }
  | { readonly kind: "restart" };

const steps = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant("commit" as const),
        keys: fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 5 }),
        fails: fc.integer({ min: 0, max: 5 }).map((drawn) => drawn === 0),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant("purge" as const), most: fc.integer({ min: 1, max: 8 }) }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const) }) },
  ),
  { maxLength: 60 },
);

test("finds every request by its key, over failed commits, purges and restarts", () => {
  fc.assert(fc.property(steps, behavesAsModel), { numRuns: 300 });
});

function behavesAsModel(list: readonly Step[]): void {
  const db = new DatabaseSync(":memory:");
  db.exec(`
    CREATE TABLE shard (id INTEGER PRIMARY KEY, indexed INTEGER NOT NULL DEFAULT 0);
    INSERT INTO shard (id) VALUES (0);
    CREATE TABLE request (id INTEGER PRIMARY KEY, key TEXT NOT NULL);
    CREATE TABLE request_key (key_hash INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (key_hash, id)) WITHOUT ROWID;`);
  const insert = db.prepare("INSERT INTO request (id, key) VALUES (?, ?)");
  const model = new Map<string, number>();
  let keys = new RequestKeys(db, 7);
  let next = 1;
  for (const step of list) {
    if (step.kind === "restart") {
      keys = new RequestKeys(db, 7);
      keys.load();
    } else if (step.kind === "purge") {
      for (const [key, id] of [...model].slice(0, step.most)) {
        db.prepare("DELETE FROM request WHERE id = ?").run(id);
        keys.remove(key, id);
        model.delete(key);
      }
    } else {
      const fresh = [...new Set(step.keys.map((key) => `key-${key}`))].filter((key) => !model.has(key));
      db.exec("BEGIN");
      const added = fresh.map((key) => [key, next++] as const);
      for (const [key, id] of added) {
        insert.run(id, key);
        keys.add(key, id);
      }
      keys.merge(2 * added.length);
      db.exec(step.fails ? "ROLLBACK" : "COMMIT");
      if (step.fails) {
        // What is on the disk is found at once; the owner reads the keys back before it goes on.
        check();
        keys.load();
      } else {
        for (const [key, id] of added) model.set(key, id);
      }
    }
    check();
  }

  function check(): void {
    const row = db.prepare("SELECT id FROM request WHERE id = ? AND key = ?");
    for (let number = 0; number <= 60; number++) {
      const key = `key-${number}`;
      const id = keys.find(key);
      expect(id === undefined ? undefined : row.get(id, key)?.["id"]).toBe(model.get(key));
    }
  }
}
