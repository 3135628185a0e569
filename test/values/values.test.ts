import {
  defaultCache,
  freePort,
  KafkaBroker,
  kafkaIsInstalled,
  postgresIsInstalled,
  PostgresServer,
} from "@wheelwork/services";
import { kafka } from "@wheelwork/kafka";
import { clusterTopics } from "wheelwork/cluster";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { sendValues } from "./campaign.ts";

const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);
const values = Number(process.env["WHEELWORK_VALUES"] ?? 150);
const isLong = Number(process.env["WHEELWORK_LONG"] ?? 0) > 0;
const kills = Math.ceil(values / 200);
const timeout = 120_000 + values * 50;

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "wheelwork-values-"));
  // The server runs as another user.
  chmodSync(path, 0o755);
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test(
  `${values} values through every place, over ${kills} kills: code sees what was sent, or it is refused (SQLite, seed ${seed})`,
  { timeout },
  async () => {
    const outcome = await sendValues({ store: join(folder(), "store.db"), schema: "", seed, values, kills });
    expect(outcome.problems).toEqual([]);
    expect(outcome.kills).toBe(kills);
    expect(outcome.results).toBeGreaterThan(values * 0.8);
    expect(outcome.refused).toBeGreaterThan(values * 0.05);
  },
);

test.skipIf(!postgresIsInstalled())(
  `${values} values through every place, over ${kills} kills (PostgreSQL, seed ${seed})`,
  { timeout },
  async () => {
    const server = new PostgresServer(folder(), await freePort());
    onTestFinished(async () => void (await server.stop()));
    await server.start();
    const outcome = await sendValues({ store: server.url, schema: "values", seed, values, kills });
    expect(outcome.problems).toEqual([]);
    expect(outcome.kills).toBe(kills);
    expect(outcome.results).toBeGreaterThan(values * 0.8);
  },
);

// It needs a broker, which takes longer to start than the other tests take.
const clustered = isLong ? Number(process.env["WHEELWORK_VALUES"] ?? 100_000) : 0;
const clusterKills = Math.ceil(Math.min(40, clustered / 100));

test.skipIf(!isLong || !postgresIsInstalled() || !kafkaIsInstalled(defaultCache))(
  `${clustered} values through every place of a cluster, over ${clusterKills} kills of its nodes (seed ${seed})`,
  { timeout: 600_000 + clustered * 100 },
  async () => {
    const server = new PostgresServer(folder(), await freePort());
    const broker = new KafkaBroker(folder(), await freePort(), defaultCache);
    onTestFinished(async () => {
      await broker.signal("SIGKILL");
      await server.stop();
    });
    await Promise.all([server.start(), freePort().then((port) => broker.start(port))]);
    const { brokers } = broker;
    const log = kafka({ brokers });
    const channel = { from: "values-in", to: "values-out" } as never;
    await log.ensureTopics([
      ...clusterTopics({ shards: 4, channels: [channel] }),
      ...["values-asked", "values-told"].map((name) => ({ name, partitions: 2 })),
    ]);
    await log.close();
    const campaign = { store: server.url, schema: "values", brokers, seed, processes: 2 };
    const outcome = await sendValues({ ...campaign, values: clustered, kills: clusterKills });
    expect(outcome.problems).toEqual([]);
    expect(outcome.kills).toBe(clusterKills);
    expect(outcome.results).toBeGreaterThan(clustered * 0.8);
    expect(outcome.refused).toBeGreaterThan(clustered * 0.05);
  },
);
