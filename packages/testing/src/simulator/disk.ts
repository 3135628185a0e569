import { SqliteStore } from "@wheelwork/engine";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { MemoryStore } from "../memory-store.ts";

/** A store that does at once what it is asked. */
export type LocalStore = MemoryStore | SqliteStore;

/** What is durable of a simulation: it outlives the processes. */
export interface Disk {
  /** The store as the next process finds it. */
  open(): LocalStore;
  /** The process that had it open has died. */
  release(store: LocalStore): void;
  remove(): void;
}

/** A store in memory. A dead process may still own it, until the next one claims. */
export function memoryDisk(): Disk {
  let last = new MemoryStore();
  return { open: () => (last = last.reopen()), release: () => {}, remove: () => {} };
}

/** A SQLite file, in a folder that is deleted afterwards. One process has it open at a time. */
export function fileDisk(): Disk {
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-simulation-"));
  const path = join(folder, "store.db");
  let witness: DatabaseSync | undefined;
  return {
    open: () => {
      const store = new SqliteStore(path, { durability: "normal" });
      if (witness === undefined) {
        // With another connection open, a close does not move the write-ahead log into the file: neither does a death.
        witness = new DatabaseSync(path, { readOnly: true });
        witness.prepare("SELECT count(*) FROM shard").get();
      }
      return store;
    },
    release: (store) => store.close(),
    remove: () => {
      witness?.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
