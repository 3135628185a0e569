import { end, hub, spoke } from "@wheelwork/core";
import { createEngine, relay, systemClock, worker, type Engine } from "@wheelwork/engine";
import { clusterTopics, createClient, createNode } from "@wheelwork/engine/cluster";
import { northbound } from "@wheelwork/northbound";
import { MemoryBroker, MemoryLog, MemoryStore } from "@wheelwork/testing";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";

// The id of a request is one text, wherever somebody sees it: the key that its sender gave, and for a hub with a lane the mark of the lane
// behind it. Whoever has seen it finds the request by it.

const keys = [
  "plain",
  "a b",
  "a/b",
  "/",
  "//",
  "//a%20b",
  "//a/1",
  "a/1",
  "50%",
  "%2F",
  "@",
  "a@~b",
  "a@~0123456789abcdeg",
  "..",
  ".",
  "a?b=c&d#e",
  "é\u0301 😀",
  "\u2028\u00a0",
  "quote\"'\\",
  "line\nbreak",
  "tell:x",
  "{}",
  "__proto__",
  "constructor",
  "k".repeat(200),
  "😀".repeat(200),
];

/** Where ids were seen, by the key of the request. */
class Sightings {
  readonly #seen = new Map<string, Map<string, Set<string>>>();

  see(key: string, where: string, id: string): void {
    const places = this.#seen.get(key) ?? new Map<string, Set<string>>();
    this.#seen.set(key, places.set(where, (places.get(where) ?? new Set()).add(id)));
  }

  of(key: string): Record<string, readonly string[]> {
    return Object.fromEntries([...(this.#seen.get(key) ?? [])].map(([where, ids]) => [where, [...ids]]));
  }
}

const asked = z.object({ key: z.string(), call: z.string() });
const done = z.object({ call: z.string() });
const work = spoke("work", { input: asked, output: done, timeoutMs: 20_000 });
const mail = spoke("mail", { input: asked, output: done, timeoutMs: 20_000 });

const seeing = (name: string, sightings: Sightings, inLane: boolean) =>
  hub(
    name,
    {
      request: z.object({ key: z.string() }),
      reply: z.object({ id: z.string() }),
      errors: ["lost"],
      deadlineMs: 60_000,
      ...(inLane
        ? { exclusive: { lane: "l", by: () => "one", slots: 1000, whenBusy: "queue" as const } }
        : {}),
      chart: { Work: { Ok: "Mail", Late: "Lost" }, Mail: { Ok: "Done", Late: "Lost" }, Done: end, Lost: end },
      data: ({ key }: { key: string }, run) => {
        sightings.see(key, "data", run.id);
        sightings.see(key, "the key in data", run.key);
        return { key, id: run.id };
      },
      view: ({ id }) => ({ id }),
    },
    {
      Work: (s) =>
        s.call(work, {
          input: ({ key }) => ({ key, call: "work" }),
          ok: "Ok",
          failed: "Late",
          deadline: "Late",
        }),
      Mail: (s) =>
        s.call(mail, {
          input: ({ key }) => ({ key, call: "mail" }),
          ok: "Ok",
          failed: "Late",
          deadline: "Late",
        }),
      Done: ({ id }) => ({ id }),
      Lost: (_data, s) => s.fail("lost", "an outcome has not come back"),
    },
  );

/** What goes out of a relay comes back at once, and names the request by its id. */
const parts = (sightings: Sightings) => ({
  workers: [
    worker(work, async ({ key, call }, { requestId }) => {
      sightings.see(key, "worker", requestId);
      return { call };
    }),
    relay(mail, {
      to: "out",
      from: "back",
      send: ({ key }, { requestId, idempotencyKey }) => {
        sightings.see(key, "relay", requestId);
        return { key: idempotencyKey, value: JSON.stringify({ id: requestId }) };
      },
      receive: ({ key }) => ({ correlation: key, outcome: { kind: "ok", output: { call: "mail" } } }),
      request: ({ value }) => (JSON.parse(value) as { id: string }).id,
    }),
  ],
});

/** Sends a request under each key, and demands that each place has shown its id, and no other. */
async function walk(
  engine: Engine,
  name: string,
  sightings: Sightings,
  byHttp: boolean,
): Promise<readonly string[]> {
  const app = byHttp ? await northbound({ engine, routes: [] }) : undefined;
  const start = await now(engine);
  const ids = await Promise.all(
    keys.map(async (key) => (await engine.submit(name, { key } as never, { key })).id),
  );
  for (const [index, id] of ids.entries()) {
    const key = keys[index] as string;
    expect(await engine.answer(id, { waitMs: 60_000 }), id).toEqual({ kind: "result", value: { id } });
    const {
      worker: seenByWorker,
      relay: seenByRelay,
      data,
      "the key in data": keyInData,
    } = sightings.of(key);
    const seen = { seenByWorker, seenByRelay, data, keyInData };
    expect(seen).toEqual({ seenByWorker: [id], seenByRelay: [id], data: [id], keyInData: [key] });
    expect(await engine.request(id)).toMatchObject({ id, view: { id } });
    // Whoever follows a URL takes these for parts of its path.
    if (app === undefined || id === "." || id === "..") continue;
    const response = await app.inject({ url: `/requests/${encodeURIComponent(id)}` });
    expect(response.json(), key).toMatchObject({ id });
  }
  const listed: string[] = [];
  for await (const { id } of pages(engine, name)) listed.push(id);
  expect(listed.toSorted()).toEqual(ids.toSorted());
  const told = new Set<string>();
  for await (const page of engine.events({ after: start, hub: name })) {
    for (const { id } of page.events) told.add(id);
    if (told.size === ids.length) break;
  }
  expect([...told].toSorted()).toEqual(ids.toSorted());
  await app?.close();
  return ids;
}

/** The position behind all events so far. */
async function now(engine: Engine): Promise<string> {
  for await (const { position } of engine.events()) return position;
  throw new Error("the events have ended");
}

async function* pages(engine: Engine, name: string) {
  let cursor: string | undefined;
  do {
    const page = await engine.requests({ hub: name, ...(cursor === undefined ? {} : { cursor }) });
    yield* page.items;
    ({ cursor } = page);
  } while (cursor !== undefined);
}

test.each([
  ["without a lane", false],
  ["with a lane", true],
])("an id is one text on an embedded engine: a hub %s", async (_name, inLane) => {
  const sightings = new Sightings();
  const { workers } = parts(sightings);
  const bus = new MemoryBroker({ clock: systemClock });
  bus.createTopic("out", 1);
  bus.createTopic("back", 1);
  const log = new MemoryLog(bus, { clock: systemClock });
  log.subscribe("out", (message) => void log.publish("back", message));
  const engine = createEngine({
    hubs: [seeing("seeing", sightings, inLane)],
    workers,
    store: new MemoryStore(),
    bus: log,
  });
  await engine.start();
  onTestFinished(() => engine.stop());
  const ids = await walk(engine, "seeing", sightings, true);
  expect(ids.every((id, index) => inLane === (id !== keys[index]))).toBe(true);
});

test("an id is one text in a cluster, and relays bring answers back to it", async () => {
  const shards = 3;
  const broker = new MemoryBroker({ clock: systemClock });
  for (const { name, partitions = shards } of clusterTopics({ shards })) broker.createTopic(name, partitions);
  for (const topic of ["out", "back"]) broker.createTopic(topic, 2);
  const sightings = new Sightings();
  const disks = Array.from({ length: shards }, () => new MemoryStore());
  const common = {
    hubs: [seeing("seeing", sightings, false)],
    shards,
    store: (shard: number) => (disks[shard] as MemoryStore).reopen(),
  };
  const log = new MemoryLog(broker, { clock: systemClock });
  log.subscribe("out", (message) => void log.publish("back", message));
  const node = createNode({ ...common, log, workers: parts(sightings).workers });
  await node.start();
  onTestFinished(() => node.stop({ drainMs: 0 }));
  const client = createClient({ ...common, log: new MemoryLog(broker, { clock: systemClock }) });
  await client.start();
  onTestFinished(() => client.stop());
  expect(await walk(client, "seeing", sightings, false)).toEqual(keys);
});
