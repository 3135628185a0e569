import { execFileSync, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  defaultCache,
  freePort,
  KafkaBroker,
  kafkaIsInstalled,
  postgresIsInstalled,
  PostgresServer,
} from "@wheelwork/services";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "wheelwork-services-"));
  chmodSync(folder, 0o755);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(!postgresIsInstalled())("PostgreSQL", () => {
  test("starts, keeps its data over a kill, and stops", async () => {
    const server = new PostgresServer(join(folder, "postgres"), await freePort());
    const ask = (sql: string): string =>
      execFileSync("psql", [server.url, "-Atc", sql], { encoding: "utf8" }).trim();
    try {
      await server.start();
      const { pid } = server;
      expect(ask("SHOW fsync")).toBe("on");
      ask("CREATE TABLE kept AS SELECT 7 AS n");
      // It runs already: nothing happens.
      await server.start();
      expect(server.pid).toBe(pid);
      await server.signal("SIGKILL");
      expect(server.pid).toBeUndefined();
      await server.start();
      expect(ask("SELECT n FROM kept")).toBe("7");
      expect(await server.stop()).toBe(true);
      expect(server.pid).toBeUndefined();
      expect(await server.stop()).toBe(false);
    } finally {
      await server.signal("SIGKILL");
    }
  }, 60_000);

  test("starts again after a kill, though processes of its own live on for a moment", async () => {
    const server = new PostgresServer(join(folder, "postgres-3"), await freePort());
    try {
      await server.start();
      // A process of the server that does not notice its end: it is frozen, and let go later.
      const client = spawn("psql", [server.url, "-Atc", "SELECT pg_sleep(60)"], { stdio: "ignore" });
      const sleeping = "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'";
      const backend = Number(
        await vi.waitUntil(
          () => execFileSync("psql", [server.url, "-Atc", sleeping], { encoding: "utf8" }).trim(),
          { timeout: 30_000 },
        ),
      );
      process.kill(backend, "SIGSTOP");
      await server.signal("SIGKILL");
      const starting = server.start();
      await vi.waitUntil(
        () => readFileSync(join(folder, "postgres-3", "postgres.log"), "utf8").includes("still in use"),
        { timeout: 30_000, interval: 20 },
      );
      process.kill(backend, "SIGKILL");
      await starting;
      client.kill();
      expect(execFileSync("psql", [server.url, "-Atc", "SELECT 1"], { encoding: "utf8" })).toBe("1\n");
    } finally {
      await server.signal("SIGKILL");
    }
  }, 60_000);

  test("says so when its port is in use", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const address = other.address();
    const port = typeof address === "object" ? (address?.port ?? 0) : 0;
    const server = new PostgresServer(join(folder, "postgres-2"), port);
    await expect(server.start()).rejects.toMatchObject({
      code: "WW_CONFIG",
      message: expect.stringContaining(`the port ${port} for PostgreSQL is in use`) as string,
    });
    other.close();
  }, 60_000);
});

describe.skipIf(!kafkaIsInstalled(defaultCache))("Kafka", () => {
  test("starts, comes back after a kill, and stops", async () => {
    const broker = new KafkaBroker(join(folder, "kafka"), await freePort(), defaultCache);
    try {
      await broker.start(await freePort());
      const { pid } = broker;
      expect(pid).toBeGreaterThan(1);
      await broker.start();
      expect(broker.pid).toBe(pid);
      await broker.signal("SIGKILL");
      expect(broker.pid).toBeUndefined();
      await broker.start(await freePort());
      expect(await broker.stop()).toBe(true);
      expect(broker.pid).toBeUndefined();
    } finally {
      await broker.signal("SIGKILL");
    }
  }, 90_000);
});
