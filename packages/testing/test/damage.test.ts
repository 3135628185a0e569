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
    damage: ({ table, column, key }) => {
      const db = new DatabaseSync(path);
      const value = column === "record" ? "x'5b7b'" : `${column} || 'x'`;
      const where = key === undefined ? "" : ` WHERE key = '${key}' OR key LIKE '${key}@~%'`;
      if (Number(db.prepare(`UPDATE ${table} SET ${column} = ${value}${where}`).run().changes) === 0)
        throw new Error(`${table} has no ${key ?? "row"}`);
      db.close();
    },
    close: () => rmSync(folder, { recursive: true }),
  };
});
