// A process that is killed: it runs an engine, or is a client of those of a Storm.
import { WheelworkError } from "@wheelwork/core";
import { createEngine, type Engine } from "@wheelwork/engine";
import { clusterTopics, createClient, createNode } from "@wheelwork/engine/cluster";
import { kafka } from "@wheelwork/kafka";
import { northbound } from "@wheelwork/northbound";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import { hubs, schedulesOf, workersOf } from "./app.ts";
import type { Asked, Place, Told } from "./campaign.ts";

const place = JSON.parse(process.argv[2] ?? "{}") as Place;
const workers = workersOf(place.workLog);
const schedules = schedulesOf(1000);

function open(): Engine {
  if (place.kind === "sqlite") return createEngine({ hubs, workers, schedules, store: place.file });
  const { brokers, databaseUrl, schema, shards } = place;
  const pool = postgresPool({ connectionString: databaseUrl, schema });
  const common = {
    hubs,
    shards,
    log: kafka({ brokers }),
    store: (shard: number) => postgresStore({ pool, shard, shards }),
  };
  return place.kind === "storm"
    ? createClient({ ...common, inbox: place.inbox })
    : createNode({ ...common, workers, schedules });
}

const engine = open();
if (place.kind === "cluster") {
  const log = kafka({ brokers: place.brokers });
  await log.ensureTopics(clusterTopics({ shards: place.shards }));
  await log.close();
}
await engine.start();

const http = await northbound({ engine, routes: [] });
const url = await http.listen({ port: 0, host: "127.0.0.1" });

const tell = (told: Told): void => void process.send?.(told);

async function answer(asked: Asked): Promise<unknown> {
  switch (asked.kind) {
    case "submit":
    case "call": {
      try {
        const { id } = await engine.submit(asked.hub, asked.request, asked.options);
        return asked.kind === "submit" ? id : await engine.answer(id);
      } catch (error) {
        // Where it is known at once, it is no answer that is stored.
        if (error instanceof WheelworkError && error.code === "WW_BUSY")
          return { kind: "refused", code: error.code };
        throw error;
      }
    }
    case "view":
      return (await engine.request(asked.id)).view;
    case "history":
      return engine.history(asked.id);
    case "list": {
      const found: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await engine.requests({
          ...asked.filter,
          limit: 500,
          ...(cursor === undefined ? {} : { cursor }),
        });
        found.push(...page.items.map(({ id }) => id));
        cursor = page.cursor;
      } while (cursor !== undefined);
      return found;
    }
  }
}

// Nobody asks any more.
process.once("disconnect", () => process.exit());
process.on("message", (asked: Asked) => {
  answer(asked).then(
    (value) => tell({ number: asked.number, value }),
    (error: unknown) =>
      tell({ number: asked.number, error: error instanceof WheelworkError ? error.code : String(error) }),
  );
});
tell({ number: -1, value: Number(new URL(url).port) });
