import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, postgresIsInstalled, PostgresServer } from "@wheelwork/services";
import { Client } from "pg";
import { afterAll, beforeAll, describe, onTestFinished } from "vitest";
import { PostgresFlowStore } from "../../src/controller/flow-store-postgres.ts";
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

// `npm run services -- install postgres` gets what it needs.
describe.skipIf(!postgresIsInstalled())("the store in PostgreSQL", () => {
  let folder: string;
  let server: PostgresServer;

  beforeAll(async () => {
    folder = newFolder();
    // The server runs as a user of its own, who must reach its data.
    chmodSync(folder, 0o755);
    server = new PostgresServer(folder, await freePort());
    await server.start();
  });

  afterAll(async () => {
    await server.signal("SIGKILL");
    rmSync(folder, { recursive: true });
  });

  const query = async (sql: string): Promise<Record<string, unknown>[]> => {
    const client = new Client(server.url);
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(sql)).rows;
    } finally {
      await client.end();
    }
  };

  conforms(async (options) => {
    await query("DROP SCHEMA IF EXISTS flow_controller CASCADE");
    return () => new PostgresFlowStore(server.url, options);
  });
});
