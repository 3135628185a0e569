import {
  describeFailure,
  requestBodies,
  requestWays,
  simulate,
  type SimulatedSystem,
} from "@wheelwork/testing";
import { expect, test } from "vitest";
import { calmTuples, type StormPlan } from "../src/storm/plan.ts";
import { simulatedIn } from "../src/worlds.ts";

const seeds = Number(process.env["WHEELWORK_STORM_SEEDS"] ?? 30);
const from = Number(process.env["WHEELWORK_SEED"] ?? 1);

test(
  "no fault of tasks, workers, tuples, log or stores breaks the promise on Storm",
  { timeout: 600_000 },
  async () => {
    const report = await simulate({ ...(await simulatedIn("storm")), seeds, from });
    const told = report.failures.map(
      (failure) =>
        `${describeFailure(failure)}\nnpm run simulate -- --storm --seed ${failure.seed} repeats it`,
    );
    expect(told.join("\n")).toBe("");
    // A simulator that has fallen silent shows here.
    if (report.seeds < 200) return;
    const { happened, exercised, signals } = report;
    for (const [kind, times] of report.faults) expect(times, kind).toBeGreaterThan(0);
    for (const what of [
      "tuple lost",
      "tuple doubled",
      "tuple delayed",
      "tuple timed out",
      "tuple sent again",
    ])
      expect(happened.get(what), what).toBeGreaterThan(100);
    for (const what of ["ack lost", "zombie"]) expect(happened.get(what), what).toBeGreaterThan(30);
    for (const way of requestWays) expect(happened.get(`request by ${way}`), way).toBeGreaterThan(100);
    for (const body of requestBodies) expect(happened.get(`request ${body}`), body).toBeGreaterThan(10);
    for (const what of ["request of another body", "accepted elsewhere", "answer elsewhere"])
      expect(happened.get(what), what).toBeGreaterThan(50);
    for (const what of ["cancel accepted elsewhere", "signal accepted elsewhere", "list", "replay"])
      expect(happened.get(what), what).toBeGreaterThan(10);
    const numbered = [
      "I3",
      "I4",
      "I5",
      "I6",
      "I7",
      "I8",
      "I9",
      "I11",
      "I12",
      "I14",
      "I17",
      "I20",
      "I21",
      "I34",
      "I35",
      "I36",
    ];
    for (const invariant of [...numbered, "acked", "tuples", "replies", "reads", "dead-letter"])
      expect(exercised.get(invariant), invariant).toBeGreaterThan(50);
    for (const signal of ["known", "store-lost", "dead-letter"])
      expect(signals.get(signal), signal).toBeGreaterThan(20);
    for (const signal of ["migrated", "incident", "purged"])
      expect(signals.get(signal), signal).toBeGreaterThan(0);
  },
);

test("a hub that an older process has taken over claims again when that one is ended", async () => {
  const { stormWorld } = await import("../src/storm/world.ts");
  const { systems } = await simulatedIn("storm");
  const slow = systems.find(({ name }) => name === "slow") as SimulatedSystem;
  // The older process waits for its store while Storm starts another one, claims last, and is ended then.
  const plan: StormPlan = {
    ...stormWorld.plan(107, slow.scaleMs),
    workers: 3,
    workerTasks: 0,
    shards: 1,
    netMs: 0,
    storeMs: 100,
    tuples: calmTuples,
    requests: [{ at: 39_204, key: "6b-3", seed: 120_867_139, by: "client", body: "sound", again: [] }],
    commands: [],
    reads: [],
    replays: [],
    rates: { silent: 0, slow: 0, fails: 0, broken: 0, deaf: 0, lost: 0, doubled: 0, delayed: 0 },
    faults: [
      { kind: "rebalance", at: 36_882, forMs: 0, task: 35 },
      { kind: "store-gone", at: 37_346, forMs: 3_242, task: 48 },
      { kind: "rebalance", at: 39_356, forMs: 0, task: 36 },
    ],
  };
  const play = await stormWorld.play(slow, plan);
  expect(play.violations).toEqual([]);
  const lines = play.lines();
  const lost = lines.findIndex((line) => line.includes("node=7") && line.includes("has lost its shard"));
  expect(lost).toBeGreaterThan(0);
  expect(lines.slice(lost).some((line) => line.includes("node=7") && line.includes("is claimed"))).toBe(true);
});

test("the same seed plays the same", async () => {
  const [one, two] = [
    await simulate({ ...(await simulatedIn("storm")), seeds: 4 }),
    await simulate({ ...(await simulatedIn("storm")), seeds: 4 }),
  ];
  expect(two).toEqual(one);
});
