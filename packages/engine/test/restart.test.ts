import type { AnyHub, Answer, HistoryEvent } from "@wheelwork/core";
import type { Fault } from "@wheelwork/testing";
import { describe, expect, test } from "vitest";
import { approved, outside, parent, rounds, workersOf, type Outside } from "./hubs.ts";
import { checkHistory, World } from "./world.ts";

interface Case {
  readonly name: string;
  readonly hub: AnyHub;
  readonly request: unknown;
  /** What comes from outside while it runs: at this time, once. */
  readonly later?: { readonly at: number; readonly act: (world: World) => Promise<unknown> };
}

const signal = {
  at: 40,
  act: (world: World) => world.engine.signal("r", "approve", { by: "me" }, { commandId: "s" }),
};
const cases: readonly Case[] = [
  { name: "a round that succeeds", hub: rounds, request: { steps: [1, 2, 3, 7, 4] } },
  { name: "a round that fails, and is undone", hub: rounds, request: { steps: [1, 2, 3, 4, 105, 6] } },
  { name: "a round whose workers hang", hub: rounds, request: { steps: [1, 52, 3] } },
  { name: "a signal, then a sequence", hub: approved, request: { n: 17, withinMs: 1000 }, later: signal },
  { name: "a signal that never comes", hub: approved, request: { n: 1, withinMs: 100 } },
  {
    name: "a cancel",
    hub: rounds,
    request: { steps: [1, 52, 3] },
    later: { at: 20, act: (world) => world.engine.cancel("r", { commandId: "c" }) },
  },
  { name: "hubs that call hubs", hub: parent, request: { children: [[1, 2], [3]] } },
  {
    name: "hubs that call hubs, of which one fails",
    hub: parent,
    request: { children: [[1, 52, 2], [105]] },
  },
];

interface Played {
  readonly answer: Answer | undefined;
  readonly history: readonly HistoryEvent[];
  readonly outside: Outside;
  readonly commits: number;
  readonly took: number;
}

/**
 * Plays a request to its end, also across crashes: whoever sent something sends it again with the same key when the
 * process dies before it said that it has it.
 */
async function play(
  { hub, request, later }: Case,
  store: "memory" | "sqlite",
  faultAt: (commit: number) => Fault | undefined,
  downMs: number,
  limits = {},
): Promise<Played> {
  const done = outside();
  const world = new World({ hubs: [hub], workers: workersOf(done), store, limits });
  let commits = 0;
  let down = 0;
  const faults = { faultAt: () => faultAt(++commits) };
  await world.start(faults);
  const began = world.clock.monotonicMs();
  const insist = async (act: () => Promise<unknown>): Promise<void> => {
    for (let tries = 0; tries < 10; tries++) {
      let came = false;
      const acting = act().then(
        () => (came = true),
        () => (came = false),
      );
      await world.clock.settle();
      void acting;
      if (came && !world.store.crashed) return;
      if (world.store.crashed) await restart();
      else await world.clock.advance(15);
    }
    throw new Error("not accepted");
  };
  const restart = async (): Promise<void> => {
    down += downMs;
    await world.restart(downMs, faults);
  };
  await insist(() => world.engine.submit(hub, request as never, { key: "r" }));
  let acted = later === undefined;
  for (let tick = 0; ; tick++) {
    if (tick > 20_000) throw new Error("it does not end");
    if (world.store.crashed) await restart();
    if (later !== undefined && !acted && world.clock.monotonicMs() - began - down >= later.at) {
      acted = true;
      await insist(() => later.act(world));
    }
    if (
      world.engine.health().status !== "store-lost" &&
      (await world.engine.request("r")).status === "ended"
    ) {
      // Tells may outlive the run.
      if (world.engine.health().liveRuns === 0 && !world.store.crashed) break;
    }
    await world.clock.advance(1);
  }
  const took = world.clock.monotonicMs() - began - down;
  const history = await world.engine.history("r");
  checkHistory(hub, history);
  const answer = await world.engine.answer("r", { waitMs: 0 });
  expect((await world.engine.requests()).items.map(({ id, status }) => [id, status])).toEqual([
    ["r", "ended"],
  ]);
  world.close();
  // Answers, like the rest, must still be there for the next process.
  await world.start({});
  expect(await world.engine.answer("r", { waitMs: 0 })).toEqual(answer);
  expect(await world.engine.history("r")).toEqual(history);
  world.close();
  return { answer, history, outside: done, commits, took };
}

const keysOf = (map: ReadonlyMap<string, unknown>): string[] => [...map.keys()].toSorted();

/** What a call did may land earlier or later when its attempt is made again; what happened must be the same. */
const story = (history: readonly HistoryEvent[]): string[] =>
  history.flatMap((event) => {
    if (event.type === "entered") return [`${event.by ?? ""} > ${event.state}`];
    if (event.type === "ended") return [`ended ${JSON.stringify(event.answer)}`];
    return event.type === "answered" ? [`answered ${JSON.stringify(event.answer)}`] : [];
  });

describe.each(["memory", "sqlite"] as const)("restart equals no restart (%s)", (store) => {
  test.each(cases)("$name", async (given) => {
    const calm = await play(given, store, () => undefined, 0);
    expect(calm.answer).toBeDefined();
    expect(calm.commits).toBeGreaterThan(1);
    for (const fault of ["crash-before", "crash-after", "fail", "unseen"] as const) {
      for (let commit = 1; commit <= calm.commits; commit++) {
        const where = `${fault} commit ${commit} of ${calm.commits}`;
        const played = await play(given, store, (number) => (number === commit ? fault : undefined), 0);
        expect(played.answer, where).toEqual(calm.answer);
        expect(story(played.history), where).toEqual(story(calm.history));
        expect(keysOf(played.outside.steps), where).toEqual(keysOf(calm.outside.steps));
        expect(keysOf(played.outside.undone), where).toEqual(keysOf(calm.outside.undone));
        expect(keysOf(played.outside.notes), where).toEqual(keysOf(calm.outside.notes));
      }
    }
  });
});

describe("a restart with downtime gives one answer, and a clean end", () => {
  test.each(cases)("$name", async (given) => {
    const calm = await play(given, "memory", () => undefined, 0);
    for (const fault of ["crash-before", "crash-after"] as const) {
      for (let commit = 1; commit <= calm.commits; commit++) {
        for (const downMs of [130, 5000]) {
          const played = await play(
            given,
            "memory",
            (number) => (number === commit ? fault : undefined),
            downMs,
          );
          expect(played.answer).toBeDefined();
          // What has landed and is known of is undone.
          const undoing = story(played.history).some((line) => line.endsWith("> Undoing"));
          const undoable = undoing ? played.outside.steps.size : Number.POSITIVE_INFINITY;
          expect(played.outside.undone.size).toBeLessThanOrEqual(undoable);
        }
      }
    }
  });
});

describe("checkpoints and evictions at every turn change nothing", () => {
  test.each(cases)("$name", async (given) => {
    const calm = await play(given, "memory", () => undefined, 0);
    for (const store of ["memory", "sqlite"] as const) {
      for (const limits of [
        { checkpointEvents: 1, horizonMs: 1 },
        { checkpointEvents: 5, horizonMs: 30 },
        { checkpointEvents: 2, horizonMs: 100_000, batchInputs: 1 },
      ]) {
        const played = await play(given, store, () => undefined, 0, limits);
        expect(story(played.history)).toEqual(story(calm.history));
        const crashing = await play(
          given,
          store,
          (number) =>
            number % 3 === 0 && number < 15
              ? "crash-after"
              : number % 7 === 0 && number < 25
                ? "unseen"
                : undefined,
          0,
          limits,
        );
        expect(crashing.answer).toEqual(calm.answer);
        expect(story(crashing.history)).toEqual(story(calm.history));
      }
    }
  });
});
