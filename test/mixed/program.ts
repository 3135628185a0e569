// A process that is killed. It runs an engine, and asks it for all mixtures.
import { createEngine, type Engine } from "@wheelwork/engine";
import { clusterTopics, createNode } from "@wheelwork/engine/cluster";
import { kafka } from "@wheelwork/kafka";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import { mixedApp } from "./app.ts";
import { drive } from "./drive.ts";
import type { Place, Told } from "./kills.ts";

const place = JSON.parse(process.argv[2] ?? "{}") as Place;
const tell = (told: Told): void => void process.send?.(told);
const stepped = (): void => tell({ kind: "step" });
const app = mixedApp(place, stepped);
const { hubs, workers, schedules } = app;

async function open(): Promise<Engine> {
  if (place.kind === "sqlite") return createEngine({ hubs, workers, schedules, store: place.file });
  const { brokers, databaseUrl, schema, shards } = place;
  const log = kafka({ brokers });
  await log.ensureTopics(clusterTopics({ shards }));
  const pool = postgresPool({ connectionString: databaseUrl, schema });
  return createNode({
    hubs,
    workers,
    schedules,
    shards,
    log,
    store: (shard: number) => postgresStore({ pool, shard, shards }),
  });
}

const engine = await open();
await engine.start();

const { startAt, version } = place;
const deployed = version === 2 ? Promise.resolve() : undefined;
tell(await drive(engine, { app, startAt, deployed, stepped }));
