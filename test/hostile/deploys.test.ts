import { end, hub, hubByHandlers, spoke, type AnyHub } from "@wheelwork/core";
import { createEngine, schedule, silentLogger, worker, type Engine, type Schedule } from "@wheelwork/engine";
import { MemoryStore, seededRandom } from "@wheelwork/testing";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { again, Witness } from "./attack.ts";
import { give, lightNames } from "./values.ts";

// What a deploy brings along and an engine calls by itself: `request` of a schedule, and `migrate`. Whatever it gives or throws parks that
// schedule, or that run, alone and once, and a deploy that mends it lets it go on.

const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);
const isLong = Number(process.env["WHEELWORK_LONG"] ?? 0) > 0;
const eventually = { timeout: isLong ? 400_000 : 60_000, interval: 20 };

/** Some of the values, or all that are light: to look through one that is heavy takes the loop the longer the more others it has with it. */
function drawn(share: number): readonly string[] {
  const random = seededRandom(seed);
  return lightNames.filter(() => isLong || random() < share);
}

const anything = z.unknown();

/** An engine on a store that others have worked on. */
async function open(
  witness: Witness,
  store: MemoryStore,
  options: { readonly hubs: readonly AnyHub[]; readonly schedules?: readonly Schedule[] },
  workers: Parameters<typeof createEngine>[0]["workers"] = [],
): Promise<Engine> {
  const engine = createEngine({
    workers,
    store: store.reopen(),
    drainMs: 0,
    logger: silentLogger,
    observe: witness.observe,
    ...options,
  });
  await engine.start();
  onTestFinished(() => engine.stop());
  return engine;
}

const job = hub(
  "job",
  {
    request: anything,
    reply: anything,
    deadlineMs: 60_000,
    chart: { Doing: { Next: "Done" }, Done: end },
    data: () => ({}),
  },
  { Doing: "Next", Done: () => ({}) },
);

test(
  `what the request of a schedule gives stops that schedule alone (seed ${seed})`,
  { timeout: 600_000 },
  async () => {
    const values = ["sound", ...drawn(0.5)];
    const made = (mended: boolean): Schedule[] =>
      values.map((value, number) =>
        schedule(`s${number}`, {
          everyMs: 1_000_000_000_000,
          hub: job as never,
          request: () => (mended || value === "sound" ? {} : give(value)),
        }),
      );
    const witness = new Witness();
    const store = new MemoryStore();
    const first = await open(witness, store, { hubs: [job], schedules: made(false) });
    await Promise.all(values.map((_, number) => again(() => first.schedule(`s${number}`).trigger(), true)));
    const begun = async (engine: Engine): Promise<number> => engine.count({ hub: "job" });
    await expect.poll(async () => (await begun(first)) + witness.parked(), eventually).toBe(values.length);
    const before = await begun(first);
    expect(before).toBeGreaterThan(0);
    expect(witness.parked()).toBeGreaterThan(values.length / 4);
    await first.stop();
    const second = await open(witness, store, { hubs: [job], schedules: made(false) });
    // The sound one ticks, and nothing of the others comes again.
    await again(() => second.schedule("s0").trigger(), true);
    await expect.poll(() => begun(second), eventually).toBe(before + 1);
    expect(witness.parkedAgain()).toEqual([]);
    expect(witness.harms).toEqual([]);
    await second.stop();
    const third = await open(witness, store, { hubs: [job], schedules: made(true) });
    const incidents = await third.requests({ status: "incident", limit: 500 });
    for (const { id } of incidents.items) await third.retry(id);
    await expect.poll(() => begun(third), eventually).toBe(values.length + 1);
  },
);

const work = spoke("work", { input: anything, output: anything, timeoutMs: 3_600_000 });
const never = worker(work, () => new Promise<never>(() => {}));
const go = { go: anything };

interface Moving {
  readonly place: string;
  readonly value: string;
}

/** What `migrate` gives of a run: what the run has asked for. */
function moved(run: { readonly state: string; readonly data: object }): never {
  const { place, value } = run.data as Moving;
  if (place === "run") return give(value) as never;
  if (place === "state") return { ...run, state: give(value) } as never;
  if (place === "data") return { ...run, data: give(value) } as never;
  return run as never;
}

const byChart = (version: number, migrate: (run: never) => never) =>
  hub(
    "chart",
    {
      request: z.object({ place: z.string(), value: z.string() }),
      reply: anything,
      deadlineMs: 3_600_000,
      version,
      ...(version === 1 ? {} : { migrate: { 1: migrate as never } }),
      exclusive: { lane: "l", by: () => "one", slots: 100_000, whenBusy: "queue" },
      signals: go,
      chart: {
        Begin: { Wait: "Waiting", Call: "Calling" },
        Waiting: { Rung: "Done", Over: "Done" },
        Calling: { Over: "Done" },
        Done: end,
      },
      data: (request: Moving): Moving => request,
    },
    {
      Begin: (s) => s.pick(({ value }) => (value.length % 2 === 0 ? "Wait" : "Call")),
      Waiting: (s) => s.wait({ on: { go: "Over" }, after: { Rung: 1_800_000 }, deadline: "Over" }),
      Calling: (s) =>
        s.call(work, {
          input: (data: Moving) => data,
          settled: "Over",
          deadline: "Over",
          on: { go: "Over" },
        } as never),
      Done: () => ({}),
    },
  ) as AnyHub;

const byHandlers = (version: number, migrate: (data: never) => never) =>
  hubByHandlers(
    "handlers",
    {
      request: z.object({ place: z.string(), value: z.string() }),
      reply: anything,
      deadlineMs: 3_600_000,
      cleanUpMs: 1000,
      version,
      ...(version === 1 ? {} : { migrate: { 1: migrate as never } }),
      signals: go,
      calls: [work],
      data: (request: Moving): Moving => request,
    },
    {
      request: (s) => {
        s.call(work, {});
        s.after("t", 1_800_000);
      },
      response: () => {},
      timer: () => {},
      timeout: () => {},
      signal: (s) => s.reply({}),
    },
  ) as AnyHub;

test(
  `what a migration gives parks its run alone, and a deploy that mends it lets it go on (seed ${seed})`,
  { timeout: 600_000 },
  async () => {
    const witness = new Witness();
    const store = new MemoryStore();
    const hubs = (version: number, isMended = false): AnyHub[] => [
      byChart(version, isMended ? (run) => run : (moved as never)),
      byHandlers(version, ((data: Moving) =>
        isMended || data.place === "" ? data : give(data.value)) as never),
    ];
    const asked: (Moving & { readonly hub: string })[] = [
      { hub: "chart", place: "", value: "" },
      { hub: "chart", place: "", value: "odd" },
      { hub: "handlers", place: "", value: "" },
    ];
    for (const value of drawn(0.4)) {
      for (const place of ["run", "state", "data"]) asked.push({ hub: "chart", place, value });
      asked.push({ hub: "handlers", place: "data", value });
    }
    const first = await open(witness, store, { hubs: hubs(1) }, [never]);
    const ids = await Promise.all(
      asked.map(async ({ hub: of, ...request }, index) =>
        again(async () => (await first.submit(of, request as never, { key: `k${index}` })).id),
      ),
    );
    const statuses = async (engine: Engine): Promise<string[]> =>
      Promise.all(ids.map(async (id) => (await again(() => engine.request(id))).status));
    await expect.poll(async () => new Set(await statuses(first)), eventually).toEqual(new Set(["running"]));
    await first.stop();

    const second = await open(witness, store, { hubs: hubs(2) }, [never]);
    // A run migrates at its next turn.
    for (const id of ids) await again(() => second.signal(id, "go", {}));
    const settled = async (): Promise<boolean> => !(await statuses(second)).includes("running");
    await expect.poll(settled, eventually).toBe(true);
    const then = await statuses(second);
    expect(then.slice(0, 3)).toEqual(["ended", "ended", "ended"]);
    expect(witness.parked()).toBeGreaterThan(asked.length / 4);
    await second.stop();
    const third = await open(witness, store, { hubs: hubs(2) }, [never]);
    expect(await statuses(third)).toEqual(then);
    expect(witness.parkedAgain()).toEqual([]);
    expect(witness.harms).toEqual([]);
    await third.stop();
    const fourth = await open(witness, store, { hubs: hubs(2, true) }, [never]);
    for (const [index, id] of ids.entries())
      if (then[index] === "incident") await again(() => fourth.retry(id));
    await expect.poll(async () => new Set(await statuses(fourth)), eventually).toEqual(new Set(["ended"]));
  },
);
