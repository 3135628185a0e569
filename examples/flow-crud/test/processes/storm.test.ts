import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  defaultCache,
  freePort,
  kafkaIsInstalled,
  postgresIsInstalled,
  stormIsInstalled,
} from "@wheelwork/services";
import { kafka } from "@wheelwork/kafka";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { originalTopics } from "../../src/topics.ts";
import { askHttp } from "../ask.ts";
import { flowBody } from "../cluster/flows.ts";
import { listsProcesses, Npm, processesWith } from "./npm.ts";

// It takes two minutes, most of which Storm needs to start: WHEELWORK_LONG=1 asks for it.
const canRun =
  process.env["WHEELWORK_LONG"] !== undefined &&
  listsProcesses &&
  kafkaIsInstalled(defaultCache) &&
  postgresIsInstalled() &&
  stormIsInstalled(defaultCache);
const happy = "all operation is successful";
const key = "0123456789abcdef".repeat(2);

describe.skipIf(!canRun)("npm run cluster and npm run storm, on the servers of npm run services", () => {
  let folder: string;
  let port: string;
  let apiPort: string;
  let brokers: string;
  let env: Record<string, string>;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "wheelwork-npm-storm-"));
    chmodSync(folder, 0o755);
    const ports: number[] = [];
    while (ports.length < 8) ports.push(await freePort());
    const [kafkaPort, postgresPort, northbound, api, ...storm] = ports;
    port = `${northbound}`;
    apiPort = `${api}`;
    brokers = `127.0.0.1:${kafkaPort}`;
    env = {
      WHEELWORK_SERVICES: join(folder, "services"),
      KAFKA_PORT: `${kafkaPort}`,
      POSTGRES_PORT: `${postgresPort}`,
      STORM_PORTS: storm.join(),
    };
  });

  afterAll(async () => {
    await Npm.output("storm", ["stop"], env).catch(() => {});
    await Npm.output("services", ["wipe"], env);
    for (const pid of processesWith(folder).keys()) process.kill(pid, "SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  const patient = ["--deadline", "8000", "--worker-timeout", "3000"];
  const cluster = (): Promise<Npm> =>
    Npm.run(
      "cluster",
      ["--port", port, "--api-port", "0", "--data", join(folder, "cluster"), "--shards", "4", ...patient],
      "flow-crud is running on Kafka",
      env,
    );
  const storm = (): Promise<string> =>
    Npm.output(
      "storm",
      ["start", "--port", port, "--api-port", apiPort, "--data", join(folder, "storm"), ...patient],
      env,
    );
  /** Whether there is a flow in the end. Its switches must be found first. */
  const flow = async (url: string): Promise<number> =>
    (await askHttp(() => [url], "POST", "/v2/flows", flowBody("life", 1, 3, 10))).status;
  const post = async (): Promise<string> => {
    const headers = { "idempotency-key": key };
    const body = '{"flowid": "f", "length": 3}';
    return (await fetch(`http://127.0.0.1:${port}/flow`, { method: "POST", headers, body })).text();
  };
  /** How many messages there are in the topics of the original proof of concept. */
  const messages = async (): Promise<number> => {
    const log = kafka({ brokers });
    try {
      const { requests, answers, commands, commandReplies } = originalTopics;
      let count = 0;
      for (const topic of [requests, answers, commands, commandReplies]) {
        const { partitions } = await log.topic(topic);
        for (let partition = 0; partition < partitions; partition++) count += await log.end(topic, partition);
      }
      return count;
    } finally {
      await log.close();
    }
  };

  test("work one after the other, and do not answer each other's requests", async () => {
    await Npm.output("services", ["start"], env);
    const first = await cluster();
    expect(await post()).toBe(happy);
    const urls = Array.from(first.output.matchAll(/node node-\d (http:\S+)/g), ([, url]) => url ?? "");
    expect(urls).toHaveLength(2);
    await expect.poll(() => flow(urls[1] ?? "")).toBe(200);
    await first.end("SIGTERM");
    const before = await messages();
    await storm();
    // The key is new to Storm, which has a store of its own.
    expect(await post()).toBe(happy);
    expect(await messages()).toBe(before);
    // So is its store of flows.
    await expect.poll(() => flow(`http://127.0.0.1:${apiPort}`)).toBe(200);
    expect(await Npm.output("storm", ["status"], env)).toMatch(/^api: runs/m);
    // `wheelwork storm` finds the Nimbus that is running here, and the topology's own store.
    const cli = (...args: string[]): Promise<string> => Npm.output("wheelwork", ["storm", ...args], env);
    expect(await cli("list")).toMatch(/^flow-crud {2}ACTIVE/m);
    const status = await cli("status", "--name", "flow-crud");
    expect(status).toMatch(/shard 0 {2}owner \S+ {2}epoch \d+/);
    expect(status).toMatch(/shard 1 {2}owner \S+ {2}epoch \d+/);
    expect(status).not.toContain("shard 2");
    expect(await Npm.output("storm", ["stop"], env)).toContain("Kafka: runs on");
    await expect(cli("list")).rejects.toThrow(/Nimbus cannot be reached at 127\.0\.0\.1:6627/);
    expect(await Npm.output("services", ["status"], env)).toContain("Kafka: runs at");
  }, 600_000);
});
