import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, onTestFinished } from "vitest";
import { SqliteFlowStore } from "../../src/controller/flow-store-sqlite.ts";
import { conforms } from "./store.ts";

const newFolder = (): string => mkdtempSync(join(tmpdir(), "flow-store-"));

describe("the store in a file", () => {
  conforms((options) => {
    const folder = newFolder();
    onTestFinished(() => rmSync(folder, { recursive: true }));
    return Promise.resolve(() => new SqliteFlowStore(join(folder, "flows.db"), options));
  });
});
