// A process that is killed. It runs an engine, and asks it for all mixtures under the same keys as the processes before it. So each
// request is one, however often it is sent.
import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { WheelworkError, type AnyHub, type Hub } from "@wheelwork/core";
import { createEngine, worker, type Engine, type Worker } from "@wheelwork/engine";
import { clusterTopics, createNode } from "@wheelwork/engine/cluster";
import { kafka } from "@wheelwork/kafka";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import { z } from "zod";
import { mixtures, shopOf, sweeper } from "./hubs.ts";
import type { Line, Place, Told } from "./kills.ts";

const place = JSON.parse(process.argv[2] ?? "{}") as Place;
const m = mixtures(place.unitMs);
// Without types: nothing is known of what it has.
const plain = (await import(new URL("plain.mjs", import.meta.url).href)) as {
  readonly text: Hub<{ readonly words: readonly string[] }>;
  readonly workers: Worker[];
};

const tell = (told: Told): void => void process.send?.(told);

/** Writes what a worker does, so that it is known after the process has died. */
function note(line: Omit<Line, "pid" | "at">): void {
  appendFileSync(place.workLog, `${JSON.stringify({ ...line, pid: process.pid, at: Date.now() })}\n`);
  tell({ kind: "step" });
}

/** Work that takes its time, and of which nothing may be under way beside it. */
async function alone(what: string, of: string, ms: number): Promise<void> {
  note({ what, of, step: "begins" });
  await sleep(ms);
  note({ what, of, step: "ends" });
}

const workers: Worker[] = [
  ...plain.workers,
  worker(m.sweepDisk, async ({ at }) => {
    await alone("sweep", `${at}`, 100);
    return {};
  }),
  worker(m.convert, async (_input, ctx) => {
    const seen = z.object({ part: z.number() }).safeParse(ctx.lastProgress);
    for (let part = seen.success ? seen.data.part : 0; part < 20; part++) {
      await sleep(25, undefined, { signal: ctx.signal });
      ctx.progress({ part: part + 1 });
    }
    return { parts: 20 };
  }),
  worker(m.paint, async ({ site, who }) => {
    await alone(`site ${site}`, who, 100);
    return {};
  }),
  worker(m.send, async ({ customer, name }) => {
    note({ what: `send to ${customer}`, of: name, step: "begins" });
    return {};
  }),
  // It takes for ever, unless somebody gives it up.
  worker(m.print, async (_input, ctx) => {
    await sleep(600_000, undefined, { signal: ctx.signal, ref: false }).catch(() => undefined);
    return {};
  }),
  worker(m.charge, (_input, ctx) => ctx.fail("down", "the bank is down")),
  worker(m.take, ({ step }, ctx) =>
    step === 2 ? ctx.fail("none-left", "nothing is left") : { taken: `thing ${step}` },
  ),
  worker(m.giveBack, ({ taken }) => {
    note({ what: "give back", of: taken, step: "begins" });
    return {};
  }),
];

const shop = shopOf(place.version, place.unitMs);
const hubs: readonly AnyHub[] = [...m.hubs, shop, plain.text];
const schedules = [sweeper(m, { everyMs: 1_000 })];

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

/** Does something until it works: a shard that moves refuses for a moment. */
async function surely<T>(act: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      const done = await act();
      tell({ kind: "step" });
      return done;
    } catch (error) {
      if (!(error instanceof WheelworkError && error.retryable)) throw error;
      await sleep(50);
    }
  }
}

const submit = <I>(hub: Hub<I>, key: string, request: I, startAt?: number): Promise<string> =>
  surely(async () => {
    const { id } = await engine.submit(hub, request, startAt === undefined ? { key } : { key, startAt });
    return id;
  });
const signal = (id: string, name: string, payload: object): Promise<unknown> =>
  surely(() => engine.signal(id, name, payload, { commandId: `${name} ${id}`.slice(0, 200) }));

const letters = Array.from({ length: 55 }, (_, n) => `letter ${n}`);
const ids: Record<string, string> = {};
// First of all: a process of the former version has made these before it is killed.
for (const name of ["a1", "a2", "b1"]) ids[name] = await submit<{ name: string }>(shop, name, { name });
ids["conversion"] = await submit(m.conversion, "conversion", { name: "film" });
await signal(ids["conversion"], "extend", { by: 5_000 });
ids["building"] = await submit(m.building, "building", { site: "a" });
ids["later"] = await submit(m.building, "later", { site: "b" }, place.startAt);
ids["past"] = await submit(m.building, "past", { site: "c" }, 1);
await Promise.all(
  letters.map(async (name) => {
    ids[name] = await submit(m.letter, name, { customer: "ada", name });
  }),
);
ids["sale"] = await submit(m.sale, "sale", { name: "sale" });
ids["saga"] = await submit(m.saga, "saga", { name: "saga" });
ids["leg-3"] = await submit(m.leg, "leg-3", { next: null });
ids["leg-2"] = await submit(m.leg, "leg-2", { next: "leg-3" });
ids["leg-1"] = await submit(m.leg, "leg-1", { next: "leg-2" });
ids["text"] = await submit(plain.text, "text", { words: ["eins", "zwei", "Unübersetzbares"] });
await signal("leg-1", "baton", { ran: 0 });
await signal("sale", "withdraw", { why: "too late" });
// Of the former version nobody goes.
if (place.version === 2) for (const name of ["a1", "a2", "b1"]) await signal(ids[name] as string, "go", {});
await Promise.all(letters.map((name) => signal(ids[name] as string, "hurry", {})));

const answers: Record<string, unknown> = {};
const answer = async (name: string): Promise<void> => {
  answers[name] = await surely(() => engine.answer(ids[name] as string));
};
for (const name of Object.keys(ids)) if (place.version === 2 || !/^[ab]\d$/.test(name)) await answer(name);

// It has ended, so that the signal to it is lost, and listed.
ids["leg-4"] = await submit(m.leg, "leg-4", { next: "leg-3" });
await signal("leg-4", "baton", { ran: 0 });
await answer("leg-4");
ids["inspection"] = await submit(m.inspection, "inspection of a", { site: "a" });
await answer("inspection");

async function lists(): Promise<{
  readonly lost: string[];
  readonly sweeps: string[];
  readonly bad: string[];
}> {
  const list = async (filter: Parameters<Engine["requests"]>[0]): Promise<string[]> =>
    (await surely(() => engine.requests({ ...filter, limit: 1_000 }))).items.map(({ id }) => id);
  return {
    lost: await list({ status: "lost" }),
    sweeps: await list({ hub: "sweep" }),
    bad: await list({ status: "incident" }),
  };
}
let found = await lists();
while (found.lost.length === 0) {
  await sleep(50);
  found = await lists();
}
tell({ kind: "done", answers, ...found });
