import { SqliteStore } from "@wheelwork/engine";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "vitest";
import { FaultyStore, MemoryStore, storeConformance, type OpenedStore } from "../src/index.ts";

const inMemory = (store: MemoryStore): OpenedStore => ({
  store,
  reopen: () => inMemory(store.reopen()),
  close: () => store.close(),
});

const inFile = (folder: string): OpenedStore => {
  // What is pinned is read in as many turns of the loop as it can be.
  const store = new SqliteStore(join(folder, "store.db"), { sliceMs: 0 });
  return {
    store,
    reopen: () => {
      store.close();
      return inFile(folder);
    },
    close: () => {
      store.close();
      rmSync(folder, { recursive: true });
    },
  };
};

const faulty = (store: MemoryStore): OpenedStore => ({
  store: new FaultyStore(store, { later: setImmediate }),
  reopen: () => faulty(store.reopen()),
  close: () => store.close(),
});

storeConformance({ describe, test }, "MemoryStore", () => inMemory(new MemoryStore()));
storeConformance({ describe, test }, "SqliteStore", () => inFile(mkdtempSync(join(tmpdir(), "wheelwork-"))));
storeConformance({ describe, test }, "FaultyStore that commits later", () => faulty(new MemoryStore()));
