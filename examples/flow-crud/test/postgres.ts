import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, PostgresServer } from "@wheelwork/services";
import { Client } from "pg";
import { afterAll, beforeAll } from "vitest";

/** A server of PostgreSQL for the tests of a `describe`: it is started before them, and killed after them. */
export function postgresForTests() {
  let folder: string;
  let started: PostgresServer;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "flow-crud-postgres-"));
    // The server runs as a user of its own, who must reach its data.
    chmodSync(folder, 0o755);
    started = new PostgresServer(folder, await freePort());
    await started.start();
  });

  afterAll(async () => {
    await started.signal("SIGKILL");
    rmSync(folder, { recursive: true });
  });

  return {
    server: (): PostgresServer => started,
    /** The rows of a statement, over a connection of its own. */
    query: async (sql: string): Promise<Record<string, unknown>[]> => {
      const client = new Client(started.url);
      await client.connect();
      try {
        return (await client.query<Record<string, unknown>>(sql)).rows;
      } finally {
        await client.end();
      }
    },
  };
}
