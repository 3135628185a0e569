import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  defaultCache,
  freePort,
  KafkaBroker,
  kafkaIsInstalled,
  postgresIsInstalled,
  PostgresServer,
  stormIsInstalled,
} from "@wheelwork/services";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { attackCluster } from "../hostile/cluster.ts";
import { leastRequests, leastTicks, leastWatched, takeTurns, type Report } from "./campaign.ts";
import { operate } from "./operating.ts";
import { TurnsOnStorm } from "./storm.ts";
import { withStorm } from "./topology.ts";

// Lanes, posts and schedules over real kills. WHEELWORK_KILLS asks for more of them.

const asked = Number(process.env["WHEELWORK_KILLS"] ?? 0);
const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "wheelwork-turns-"));
  chmodSync(folder, 0o755);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What must be so, whatever the seed. The figures tell what was done. */
const sound = {
  requests: expect.toSatisfy((count: number) => count >= leastRequests) as number,
  watched: expect.toSatisfy((count: number) => count >= leastWatched) as number,
  streams: expect.any(Number) as number,
  ticks: expect.toSatisfy((count: number) => count >= leastTicks) as number,
  attempts: expect.any(Number) as number,
  settledMs: expect.any(Number) as number,
  answers: expect.any(Object) as object,
  faults: expect.any(Object) as object,
  problems: [],
};

async function play(campaign: Parameters<typeof takeTurns>[0]): Promise<Report> {
  const report = await takeTurns(campaign);
  console.log(`seed ${campaign.seed}: ${JSON.stringify(report)}`);
  return report;
}

test(
  `no place is doubled, and nothing is lost, over kills on SQLite (seed ${seed})`,
  { timeout: 3_600_000 },
  async () => {
    const kills = asked || 1;
    const place = {
      kind: "sqlite",
      file: join(folder, "turns.db"),
      workLog: join(folder, "sqlite.log"),
    } as const;
    expect(await play({ place, processes: 1, kills, seed })).toEqual(sound);
  },
);

describe.skipIf(!kafkaIsInstalled(defaultCache) || !postgresIsInstalled())("on Kafka and PostgreSQL", () => {
  let database: PostgresServer;
  let broker: KafkaBroker;
  beforeAll(async () => {
    database = new PostgresServer(join(folder, "postgres"), await freePort());
    broker = new KafkaBroker(join(folder, "kafka"), await freePort(), defaultCache);
    await Promise.all([database.start(), broker.start(await freePort())]);
  });
  afterAll(async () => {
    await broker.signal("SIGKILL");
    await database.signal("SIGKILL");
  });

  test(
    `no place is doubled, and nothing is lost, over kills of two nodes (seed ${seed})`,
    { timeout: 3_600_000 },
    async () => {
      const kills = asked || 1;
      const place = {
        kind: "cluster",
        brokers: broker.brokers,
        databaseUrl: database.url,
        schema: "turns",
        shards: 3,
        workLog: join(folder, "cluster.log"),
      } as const;
      expect(await play({ place, processes: 2, kills, seed })).toEqual(sound);
    },
  );

  // It is here since the servers are: to start them takes longer than the attack.
  const isLong = Number(process.env["WHEELWORK_LONG"] ?? 0) > 0;
  test(
    `what functions of users give and throw harms their own run alone, and stays so over a take-over (seed ${seed})`,
    { timeout: 3_600_000 },
    async () => {
      const share = isLong ? 1 : 0.04;
      const attack = { brokers: broker.brokers, databaseUrl: database.url, share, seed };
      const { attacks, parked } = await attackCluster(attack);
      console.log(`seed ${seed}: ${attacks} attacks, ${parked} runs are parked`);
      expect(parked).toBeGreaterThan(attacks / 5);
    },
  );
});

/** What every fault needs of a Storm takes minutes: only when it is asked for. A short form is played in flow-crud's Storm. */
test.skipIf(
  asked === 0 || !stormIsInstalled(defaultCache) || !kafkaIsInstalled(defaultCache) || !postgresIsInstalled(),
)(
  `no place is doubled, and nothing is lost, over kills of a topology on Storm (seed ${seed})`,
  { timeout: 3_600_000 },
  async () => {
    await withStorm(folder, async (servers) => {
      const turns = new TurnsOnStorm(servers, join(folder, "storm.log"), 2);
      try {
        await turns.start();
        const { place } = turns;
        const client = turns.client();
        await client.start();
        await operate(client, place.workLog);
        await client.stop();
        expect(await play({ place, processes: 1, kills: asked, seed, around: turns.around() })).toEqual(
          sound,
        );
      } finally {
        await turns.stop();
      }
    });
  },
);
