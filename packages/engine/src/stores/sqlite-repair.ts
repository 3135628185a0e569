import { WheelworkError } from "@wheelwork/core";
import { existsSync } from "node:fs";
import { isDamaged } from "../ports/damage.ts";
import { readBatch } from "./journal.ts";
import { harmsOf, type Row } from "./rows.ts";
import { openError, SqliteFile } from "./sqlite-file.ts";
import { migrateSchema } from "./sqlite-schema.ts";

/**
 * Lets a store go on without a batch of its journal that is damaged, and of which nobody knows which runs it was about. Those who are
 * responsible for the store decide that. From then on all runs that were there, and have not been written since, are refused
 * (WW_STORE_CORRUPT). No engine may work on the file.
 * @throws WheelworkError WW_CONFIG when there is no such batch, or no need to give it up; WW_STORE_LOCKED, WW_STORE_NEWER,
 * WW_STORE_CORRUPT, WW_STORE_UNAVAILABLE.
 */
export function giveUpBatch(path: string, seq: number): void {
  if (!existsSync(path))
    throw new WheelworkError("WW_CONFIG", `there is no file ${path}`, {
      next: "Name the file that the engine has as its store.",
    });
  const file = new SqliteFile(path);
  const { db } = file;
  try {
    migrateSchema(db, path);
    const shard = db.prepare("SELECT checkpoint, harms FROM shard WHERE id = 0").get() as Row | undefined;
    const row = db.prepare("SELECT record, runs FROM journal WHERE seq = ?").get(seq) as Row | undefined;
    const { harms = [] } = shard === undefined ? {} : harmsOf(shard);
    const refusal = reasonAgainst();
    if (refusal !== undefined)
      throw new WheelworkError("WW_CONFIG", `batch ${seq} of ${path} is not given up: ${refusal}`, {
        next: "Name the batch that the engine has named at its start.",
      });
    db.prepare("UPDATE shard SET harms = ? WHERE id = 0").run(JSON.stringify([...harms, { seq }]));

    function reasonAgainst(): string | undefined {
      if (row === undefined) return "the journal has no such batch";
      if (harms.some((known) => known.seq === seq))
        return "it is known to be damaged, and nothing waits for it";
      if (seq <= Number(shard?.["checkpoint"])) return "a checkpoint covers it, so that no start needs it";
      const batch = readBatch(seq, row["record"], row["runs"]);
      if (!isDamaged(batch)) return "it is sound";
      return "runs" in batch ? "its runs are known, and a start goes on without them by itself" : undefined;
    }
  } catch (error) {
    throw error instanceof WheelworkError ? error : openError(error, path);
  } finally {
    file.close();
  }
}
