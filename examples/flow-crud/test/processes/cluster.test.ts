import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultCache, freePort, kafkaIsInstalled, postgresIsInstalled } from "@wheelwork/services";
import { postgresStore } from "@wheelwork/postgres";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Cluster } from "../cluster/processes.ts";
import { listsProcesses, Npm, processesWith } from "./npm.ts";

const canRun = listsProcesses && kafkaIsInstalled(defaultCache) && postgresIsInstalled();
const happy = "all operation is successful";

describe.skipIf(!canRun)("npm run cluster", () => {
  let folder: string;
  let cluster: Cluster;
  let port: number;
  let flags: readonly string[];
  /** Whether a process belongs to the cluster of this test tells its folder. */
  const left = (): Map<number, readonly string[]> => processesWith(cluster.data);
  const pidsOf = (only: string | undefined): number[] =>
    [...left()].flatMap(([pid, command]) =>
      (only === undefined ? !command.includes("--only") : command.includes(only)) ? pid : [],
    );

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "wheelwork-npm-cluster-"));
    chmodSync(folder, 0o755);
    cluster = await Cluster.start(folder, 2, []);
    port = await freePort();
    const { kafka, postgres, data } = cluster;
    const places = { brokers: kafka.brokers, database: postgres.url, data, shards: 2, port };
    // Patient: whether a broker that has just started is quick, is not what is tested.
    const patient = { "worker-timeout": 2000, deadline: 8000, "session-timeout": 2000 };
    const servers = { "api-port": 0, "network-port": 0 };
    flags = Object.entries({ ...places, ...patient, ...servers, nodes: 2 }).flatMap(([flag, value]) => [
      `--${flag}`,
      `${value}`,
    ]);
  });

  afterEach(() => {
    for (const pid of left().keys()) process.kill(pid, "SIGKILL");
  });

  afterAll(async () => {
    await cluster?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const run = (...more: string[]): Promise<Npm> =>
    Npm.run("cluster", [...flags, ...more], "flow-crud is running on Kafka and PostgreSQL");

  const post = async (key: string): Promise<string> => {
    const headers = { "idempotency-key": key };
    const body = '{"flowid": "f", "length": 3}';
    return (await fetch(`http://127.0.0.1:${port}/flow`, { method: "POST", headers, body })).text();
  };

  /** Whether each shard ended with a checkpoint, so that its next owner has nothing to replay. */
  const endedInOrder = async (): Promise<boolean> => {
    const connectionString = cluster.postgres.url;
    for (const shard of [0, 1]) {
      const store = postgresStore({ connectionString, shard, shards: 2 });
      try {
        const { checkpoint } = await store.peek();
        for await (const batch of store.journal(checkpoint))
          if (!("entries" in batch) || batch.entries.length > 0) return false;
      } finally {
        await store.close();
      }
    }
    return true;
  };

  /** A key of its own for each test, in the form of the wire. */
  const keyOf = (name: string): string => Buffer.from(name.padEnd(16, "-").slice(0, 16)).toString("hex");

  const few = ["SIGKILL", "Ctrl+C"] as const;
  const ends =
    process.env["WHEELWORK_LONG"] === undefined ? few : ([...few, "SIGTERM", "SIGINT", "SIGHUP"] as const);

  test.each(ends)(
    "leaves no process when npm gets %s, and its nodes have stopped in good order",
    async (end) => {
      const npm = await run();
      expect(await post(keyOf(end))).toBe(happy);
      const underWay = post(keyOf(`${end} 2`)).catch(() => {});
      await (end === "Ctrl+C" ? npm.interrupt() : npm.end(end));
      await expect.poll(() => left().size).toBe(0);
      await underWay;
      expect(await endedInOrder()).toBe(true);
    },
  );

  test("its parts stop in good order when the process that looks after them is killed", async () => {
    const npm = await run();
    // What the starts before have left is whole: each request has its one answer. That of a request which was under way may
    // be a timeout.
    for (const end of ends) {
      expect(await post(keyOf(end))).toBe(happy);
      const answer = await post(keyOf(`${end} 2`));
      expect(answer).toMatch(/^(all operation is successful|error in (hub|worker) )/);
      expect(await post(keyOf(`${end} 2`))).toBe(answer);
    }
    const [middle] = pidsOf(undefined);
    process.kill(middle as number, "SIGKILL");
    await expect.poll(() => left().size).toBe(0);
    expect(await endedInOrder()).toBe(true);
    await npm.end("SIGKILL");
  });

  test("kills what does not stop in time", async () => {
    const npm = await run("--stop-within", "1000");
    expect(await post(keyOf("middle"))).toBe(happy);
    const [node] = pidsOf("node-1");
    process.kill(node as number, "SIGSTOP");
    await npm.end("SIGTERM");
    await expect.poll(() => left().size).toBe(0);
  });

  test("a node that dies is started again", async () => {
    const npm = await run();
    // Each node serves flows, and Floodlight has the network.
    const urls = Array.from(npm.output.matchAll(/^ +(?:node \S+|floodlight) (http:\S+)/gm), ([, url]) => url);
    expect(urls).toHaveLength(3);
    const paths = ["/v2/flows", "/v2/flows", "/network/links"];
    for (const [index, path] of paths.entries())
      expect((await fetch(`${urls[index]}${path}`)).status).toBe(200);
    const [node] = pidsOf("node-2");
    process.kill(node as number, "SIGKILL");
    await expect.poll(() => npm.output).toContain("node-2 has died, and is started again");
    await expect.poll(() => pidsOf("node-2").length).toBe(1);
    expect(await post(keyOf("again"))).toBe(happy);
    await npm.end("SIGTERM");
    expect(left().size).toBe(0);
  });
});
