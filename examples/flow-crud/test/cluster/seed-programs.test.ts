import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { defaultCache, kafkaIsInstalled, postgresIsInstalled } from "@wheelwork/services";
import { postgresStore } from "@wheelwork/postgres";
import { shardOf } from "wheelwork/cluster";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Cluster, Process } from "./processes.ts";

// `pip install --target .services/cache/python kafka-python` gets what it needs, besides a broker and a database server.
const modules = join(defaultCache, "python");
const canRun =
  kafkaIsInstalled(defaultCache) &&
  postgresIsInstalled() &&
  existsSync(modules) &&
  spawnSync("python3", ["-c", "import kafka"], {
    env: { ...process.env, PYTHONPATH: modules },
    stdio: "ignore",
  }).status === 0;

const shards = 4;
const happy = "all operation is successful";
const byTimeout = "error in hub by timeout";
const inWorker = "error in worker on rule install";
/** What the proof of concept's rest-api.http sends, and the answers. */
const requests = [
  { error: undefined, text: happy },
  { error: 0, text: byTimeout },
  { error: 1, text: inWorker },
  { error: 2, text: inWorker },
];
const texts = requests.map(({ text }) => text);

/** Starts a program whose client of Kafka does not always come into its group: it ends then, and is started again. */
async function begin(part: Process): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await part.start();
    } catch (error) {
      if (tries === 3) throw error;
    }
  }
}

describe.skipIf(!canRun)("programs that speak as those of the proof of concept do", () => {
  let folder: string;
  let cluster: Cluster;
  /** Ours, and those that speak as the proof of concept's do. */
  let [ourNorthbound, northbound, floodlight]: Process[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "wheelwork-cluster-"));
    // The database server runs as a user of its own, who must reach its data.
    chmodSync(folder, 0o755);
    // Patient: whether a broker that has just started is quick, is not what is tested.
    const patient = ["--worker-timeout", "1000", "--deadline", "5000"];
    cluster = await Cluster.start(folder, shards, [
      "--session-timeout",
      "2000",
      "--log",
      "error",
      ...patient,
    ]);
    await cluster.addNode().start();
    await cluster.addNode().start();
    const program = fileURLToPath(new URL("seed.py", import.meta.url));
    const seedProgram = (name: string): Process =>
      new Process(name, [name], ["python3", program], {
        PYTHONPATH: modules,
        KAFKA_BROKERS: cluster.kafka.brokers,
      });
    [northbound, floodlight] = [seedProgram("northbound"), seedProgram("floodlight")];
    ourNorthbound = cluster.part("northbound", "--port", "0");
    await Promise.all([begin(northbound), begin(floodlight), ourNorthbound.start()]);
  });

  afterAll(async () => {
    await Promise.all([northbound, floodlight, ourNorthbound].map((part) => part?.end("SIGKILL")));
    await cluster?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const urlOf = (part: Process | undefined): string =>
    /^ready: northbound (.*)$/m.exec(part?.output ?? "")?.[1] ?? "";

  /** Sends one of the four requests; the key under which it went, and its answer. */
  const post = async (to: Process | undefined, error?: number): Promise<[key: string, text: string]> => {
    const body = JSON.stringify({ flowid: "test-01", length: 10, error });
    const response = await fetch(`${urlOf(to)}/flow`, { method: "POST", body });
    return [response.headers.get("request-id") ?? "", await response.text()];
  };

  const four = async (to: Process | undefined): Promise<string[]> => {
    const answers = await Promise.all(requests.map(({ error }) => post(to, error)));
    return answers.map(([, text]) => text);
  };

  test("Northbound and Floodlight: the four texts, also after a node was killed", async () => {
    expect(await four(northbound)).toEqual(texts);
    const underWay = Promise.all(
      requests.flatMap(({ error }) => [post(northbound, error), post(northbound, error)]),
    );
    const [node] = cluster.nodes;
    await node?.end("SIGKILL");
    for (const [, text] of await underWay) expect([happy, byTimeout, inWorker]).toContain(text);
    await node?.start();
    expect(await four(northbound)).toEqual(texts);
  });

  test("a Floodlight that knows no removal: the rules that may be left are named", async () => {
    const [key, text] = await post(northbound, 2);
    expect(text).toBe(inWorker);
    const store = postgresStore({
      connectionString: cluster.postgres.url,
      shard: shardOf(key, shards),
      shards,
    });
    const [found] = await store.find([key]);
    await store.close();
    expect(found?.answer?.answer).toMatchObject({ details: { zombies: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] } });
  });

  test("our Northbound with their Floodlight, their Northbound with ours", async () => {
    expect(await four(ourNorthbound)).toEqual(texts);
    const rules = await fetch(`${urlOf(ourNorthbound)}/switches/rules`);
    expect([rules.status, await rules.text()]).toEqual([
      504,
      expect.stringContaining("original proof of concept") as string,
    ]);
    await floodlight?.end("SIGKILL");
    await cluster.floodlight.start();
    expect(await four(northbound)).toEqual(texts);
  });
});
