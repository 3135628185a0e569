import { execFileSync, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
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
  });

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
          { timeout: 120_000 },
        ),
      );
      process.kill(backend, "SIGSTOP");
      process.kill(server.pid ?? 0, "SIGKILL");
      await vi.waitUntil(() => server.pid === undefined, { timeout: 120_000 });
      const starting = server.start();
      await vi.waitUntil(
        () => readFileSync(join(folder, "postgres-3", "postgres.log"), "utf8").includes("still in use"),
        { timeout: 120_000, interval: 20 },
      );
      process.kill(backend, "SIGKILL");
      await starting;
      client.kill();
      expect(execFileSync("psql", [server.url, "-Atc", "SELECT 1"], { encoding: "utf8" })).toBe("1\n");
    } finally {
      await server.signal("SIGKILL");
    }
  });

  test("a signal reaches the processes of its connections: none works on while the server stands still, or is killed", async () => {
    const server = new PostgresServer(join(folder, "postgres-4"), await freePort());
    try {
      await server.start();
      const client = spawn("psql", [server.url, "-At"], { stdio: ["pipe", "pipe", "ignore"] });
      let said = "";
      client.stdout.on("data", (chunk: Buffer) => void (said += chunk.toString()));
      const ask = (sql: string): void => void client.stdin.write(`${sql};\n`);
      ask("SELECT pg_backend_pid()");
      const backend = await vi.waitUntil(() => Number(said), { timeout: 120_000 });
      const state = (): string | undefined =>
        existsSync(`/proc/${backend}/stat`)
          ? readFileSync(`/proc/${backend}/stat`, "utf8").split(") ")[1]?.[0]
          : undefined;
      await server.signal("SIGSTOP");
      await vi.waitUntil(() => state() === "T", { timeout: 120_000 });
      ask("SELECT 'went on'");
      expect(said).not.toContain("went on");
      await server.signal("SIGCONT");
      await vi.waitUntil(() => said.includes("went on"), { timeout: 120_000 });
      // It is busy, and would not notice the end of the server.
      ask("SELECT pg_sleep(60)");
      await server.signal("SIGKILL");
      // Whoever has its parent's children now may not have asked for its end yet.
      expect([undefined, "Z"]).toContain(state());
      client.kill();
    } finally {
      await server.signal("SIGKILL");
    }
  });

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
  });
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
  });
});
