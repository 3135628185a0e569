import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Store } from "@wheelwork/engine";
import { clusterTopics, createClient } from "@wheelwork/engine/cluster";
import { kafka } from "@wheelwork/kafka";
import { postgresStore } from "@wheelwork/postgres";
import { seededRandom } from "@wheelwork/testing";
import { kinds, Topology, type StormServers } from "../turns/topology.ts";
import { mixedApp } from "./app.ts";
import { drive } from "./drive.ts";
import { linesOf, Steps, type Done, type Line, type MixedApp } from "./kills.ts";
import open from "./storm-app.ts";

const module = fileURLToPath(new URL("storm-app.ts", import.meta.url));
const where = { schema: "mixed_storm", shards: 3, inbox: "mixed-inbox" };

/**
 * Asks a topology for all mixtures while processes of it are killed, and while its newer version is deployed. The result is what its client
 * has found, and what all workers have done.
 */
export async function playOnStorm(
  servers: StormServers,
  app: MixedApp,
  kills: number,
  seed: number,
): Promise<Done & { readonly lines: Line[]; readonly startAt: number }> {
  const random = seededRandom(seed);
  writeFileSync(app.workLog, "");
  const log = kafka({ brokers: servers.kafka.brokers });
  const { schema, shards, inbox } = where;
  await log.ensureTopics(clusterTopics({ shards, inbox }));
  const topology = new Topology("mixed", servers, 2);
  await topology.submit({ ...where, app }, module, open);
  const newer: MixedApp = { ...app, version: 2 };
  const asked = mixedApp(newer);
  const store = (shard: number): Store =>
    postgresStore({ connectionString: servers.postgres.url, schema, shard, shards });
  const client = createClient({ hubs: asked.hubs, shards, inbox, log, store });
  try {
    await client.start();
    const steps = new Steps();
    const deployed = Promise.withResolvers<void>();
    const startAt = Date.now() + 60_000;
    const driven = drive(client, { app: asked, startAt, deployed: deployed.promise, stepped: steps.stepped });
    // It is awaited below: until then nobody hears of its end.
    driven.catch(() => undefined);
    // The first requests are made by the former version.
    await steps.further(3, driven);
    for (let kill = 0; kill < kills; kill++) {
      if (kill === Math.floor(kills / 2)) {
        await topology.leave();
        await topology.submit({ ...where, app: newer }, module, open);
        deployed.resolve();
      }
      const marks = Object.values(kinds);
      await steps.further(random.int(60), driven);
      await topology.kill(marks[random.int(marks.length)] as RegExp, random);
    }
    return { ...(await driven), lines: linesOf(app.workLog), startAt };
  } finally {
    await client.stop();
    await topology.undeploy();
    await log.close();
  }
}
