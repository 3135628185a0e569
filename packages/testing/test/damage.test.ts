import { SqliteStore } from "@wheelwork/engine";
import { mkdtempSync, rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "vitest";
import { damageConformance } from "../src/index.ts";

damageConformance({ describe, test }, "SqliteStore", () => {
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-"));
  const path = join(folder, "store.db");
  return {
    store: () => new SqliteStore(path),
    giveUp: (seq) => {
      const db = new DatabaseSync(path);
      const harms = "json_insert(coalesce(harms, '[]'), '$[#]', json_object('seq', ?))";
      db.prepare(`UPDATE shard SET harms = ${harms}`).run(seq);
      db.close();
    },
    damage: ({ table, column, key, seq }) => {
      const db = new DatabaseSync(path);
      const value = table === "journal" ? "x'5b7b'" : `${column} || 'x'`;
      const ofKey = key === undefined ? "" : ` WHERE key = '${key}' OR key LIKE '${key}@~%'`;
      const where = seq === undefined ? ofKey : ` WHERE seq = ${seq}`;
      if (Number(db.prepare(`UPDATE ${table} SET ${column} = ${value}${where}`).run().changes) === 0)
        throw new Error(`${table} has no ${key ?? "row"}`);
      db.close();
    },
    close: () => rmSync(folder, { recursive: true }),
  };
});
