// A process that runs an engine, and is killed: operations that exclude one another, runs that start others and signal them, a schedule.
import { answered, end, hub, spoke, stay, WheelworkError, type Exclusive } from "@wheelwork/core";
import { createEngine, schedule, worker, type Engine } from "@wheelwork/engine";
import { clusterTopics, createNode } from "@wheelwork/engine/cluster";
import { kafka } from "@wheelwork/kafka";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import { appendFileSync } from "node:fs";
import { z } from "zod";
import type { Asked, Place, Told } from "./campaign.ts";

const place = JSON.parse(process.argv[2] ?? "{}") as Place;
const request = z.object({ id: z.string(), key: z.string(), ms: z.number() });
const nothing = z.object({});

const work = spoke("work", {
  input: request.extend({ lane: z.string() }),
  output: nothing,
  timeoutMs: 60_000,
  retry: { attempts: 5, backoffMs: 10 },
});

/** What each operation starts when it has worked. */
const note = hub(
  "note",
  {
    request: z.object({ of: z.string() }),
    reply: z.object({ of: z.string() }),
    deadlineMs: 60_000,
    chart: { Done: end },
    data: (given) => given,
  },
  { Done: (data) => data },
);

/** It lives for ever, and is told of each operation. */
const ledger = hub(
  "ledger",
  {
    request: nothing,
    reply: nothing,
    deadlineMs: 60_000,
    cancel: "Closed",
    signals: { did: z.object({ of: z.string() }) },
    chart: {
      Opening: { Next: "Open" },
      Open: { Did: stay, Closed: "Closed" },
      Closed: end,
    },
    data: () => ({ did: [] as readonly string[] }),
    view: ({ did }) => did,
  },
  {
    Opening: (s) => s.answer(() => ({}), { next: "Next" }),
    Open: (s) =>
      s.wait({ on: { did: ({ did }, { of }) => s.raise("Did", { did: [...did, of] }) }, idle: true }),
    Closed: answered,
  },
);

const operation = (lane: string, exclusive: Pick<Exclusive<never>, "slots" | "whenBusy">) =>
  hub(
    lane,
    {
      request,
      reply: z.object({ id: z.string() }),
      errors: ["failed"],
      deadlineMs: 600_000,
      deadline: "Failed",
      exclusive: { lane, by: ({ key }) => key, ...exclusive },
      chart: {
        Working: { Worked: "Noting", Failed: "Failed" },
        Noting: { Noted: "Telling" },
        Telling: { Told: "Done" },
        Done: end,
        Failed: end,
      },
      data: (given) => given,
    },
    {
      Working: (s) => s.call(work, { input: (data) => ({ ...data, lane }), ok: "Worked", failed: "Failed" }),
      Noting: (s) =>
        s.start(note, { input: ({ id }) => ({ of: id }), key: ({ id }) => `note-${id}`, next: "Noted" }),
      Telling: (s) =>
        s.signalRun(ledger, {
          id: () => "ledger",
          signal: "did",
          payload: ({ id }) => ({ of: id }),
          next: "Told",
        }),
      Done: ({ id }) => ({ id }),
      Failed: (_data, s) => s.fail("failed", "its time is over"),
    },
  );

const single = operation("single", { whenBusy: "queue" });

/** Two operations, each in a lane of its own: in a cluster, at least one of them is in another shard than this. */
const pair = hub(
  "pair",
  {
    request,
    reply: z.object({ ids: z.array(z.string()) }),
    errors: ["failed"],
    deadlineMs: 600_000,
    deadline: "Failed",
    exclusive: { lane: "pair", by: ({ key }) => key, slots: 3, whenBusy: "queue" },
    chart: { Calling: { One: stay, All: "Done", Failed: "Failed" }, Done: end, Failed: end },
    data: (given) => ({ ...given, ids: [] as readonly string[] }),
  },
  {
    Calling: (s) =>
      s.each(single, {
        inputs: ({ id, ms }) => ["a", "b"].map((key) => ({ id: `${id}-${key}`, key, ms })),
        ok: ({ ids }, { id }) => s.raise("One", { ids: [...ids, id] }),
        failed: "Failed",
        done: "All",
      }),
    Done: ({ ids }) => ({ ids: ids.toSorted() }),
    Failed: (_data, s) => s.fail("failed", "its time is over"),
  },
);

const hubs = [single, pair, operation("double", { slots: 2, whenBusy: "queue" }), note, ledger];
const workers = [
  worker(work, async ({ id, lane, key, ms }, { fence }) => {
    appendFileSync(place.workLog, `begin ${lane}/${key} ${fence} ${process.pid} ${id}\n`);
    await new Promise((resolve) => void setTimeout(resolve, ms));
    appendFileSync(place.workLog, `end ${lane}/${key} ${fence} ${process.pid} ${id}\n`);
    return {};
  }),
];
const schedules = [
  schedule("tick", {
    everyMs: 1000,
    catchUp: "all",
    hub: note,
    request: ({ at }) => ({ of: `${at}` }),
  }),
];

function open(): Engine {
  if (place.kind === "sqlite") return createEngine({ hubs, workers, schedules, store: place.file });
  const { brokers, databaseUrl, schema, shards } = place;
  const pool = postgresPool({ connectionString: databaseUrl, schema });
  return createNode({
    hubs,
    workers,
    schedules,
    shards,
    log: kafka({ brokers }),
    store: (shard) => postgresStore({ pool, shard, shards }),
  });
}

const engine = open();
if (place.kind === "cluster") {
  const log = kafka({ brokers: place.brokers });
  await log.ensureTopics(clusterTopics({ shards: place.shards }));
  await log.close();
}
await engine.start();

const tell = (told: Told): void => void process.send?.(told);

async function answer(asked: Asked): Promise<unknown> {
  switch (asked.kind) {
    case "call": {
      const { id } = await engine.submit(asked.hub, asked.request, { key: asked.key });
      return engine.answer(id);
    }
    case "view":
      return (await engine.request(asked.id)).view;
    case "answer":
      return engine.answer(asked.id, { waitMs: 0 });
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

process.on("message", (asked: Asked) => {
  answer(asked).then(
    (value) => tell({ number: asked.number, value }),
    (error: unknown) =>
      tell({ number: asked.number, error: error instanceof WheelworkError ? error.code : String(error) }),
  );
});
tell({ number: -1, value: "ready" });
