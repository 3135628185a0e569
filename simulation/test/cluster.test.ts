import { describeFailure, requestBodies, requestWays, simulate } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { simulatedIn } from "../src/worlds.ts";

const seeds = Number(process.env["WHEELWORK_CLUSTER_SEEDS"] ?? 25);
const from = Number(process.env["WHEELWORK_SEED"] ?? 1);

test("no fault of nodes, log or stores breaks the promise of a cluster", { timeout: 600_000 }, async () => {
  const report = await simulate({ ...(await simulatedIn("cluster")), seeds, from });
  const told = report.failures.map(
    (failure) =>
      `${describeFailure(failure)}\nnpm run simulate -- --cluster --seed ${failure.seed} repeats it`,
  );
  expect(told.join("\n")).toBe("");
  // A simulator that has fallen silent shows here, in a longer run: WHEELWORK_CLUSTER_SEEDS=600.
  if (report.seeds < 600) return;
  const { happened, exercised, signals } = report;
  const untilNow = (name: string): number | undefined => happened.get(name);
  for (const [kind, times] of report.faults) {
    // An operator must look after each cut, and a roll-back needs an upgrade before it.
    const few = kind === "cut" || kind === "roll-back";
    expect(times, kind).toBeGreaterThan(few ? 2 : 20);
  }
  for (const way of requestWays) expect(untilNow(`request by ${way}`), way).toBeGreaterThan(300);
  for (const body of requestBodies) expect(untilNow(`request ${body}`), body).toBeGreaterThan(30);
  for (const what of [
    "request of another body",
    "accepted",
    "accepted elsewhere",
    "answer",
    "answer elsewhere",
  ])
    expect(untilNow(what), what).toBeGreaterThan(100);
  for (const kind of ["cancel", "signal"])
    for (const where of ["", " elsewhere"])
      expect(untilNow(`${kind} accepted${where}`), kind + where).toBeGreaterThan(20);
  for (const result of ["WW_NOT_INCIDENT", "ended", "WW_NOT_INCIDENT elsewhere", "ended elsewhere"])
    for (const kind of ["retry", "resolve"])
      expect(untilNow(`${kind} ${result}`), `${kind} ${result}`).toBeGreaterThan(10);
  for (const read of ["view", "history", "view elsewhere", "history elsewhere", "list", "replay"])
    expect(untilNow(read), read).toBeGreaterThan(20);
  for (const what of [
    "told of events",
    "events WW_EVENTS_GONE",
    "bulk accepted",
    "bulk pause accepted",
    "bulk cancel accepted",
  ])
    expect(untilNow(what), what).toBeGreaterThan(10);
  // Most changes of a log need no operator any more.
  expect(untilNow("repaired")).toBeGreaterThan(2);
  const numbered = [
    "I3",
    "I4",
    "I5",
    "I6",
    "I7",
    "I8",
    "I9",
    "I10",
    "I11",
    "I12",
    "I14",
    "I17",
    "I20",
    "I21",
    "I34",
    "I35",
    "I36",
    "I38",
    "I39",
  ];
  const others = ["position", "routed", "replies", "order", "reads", "dead-letter", "short way", "inbox way"];
  for (const invariant of [...numbered, ...others])
    expect(exercised.get(invariant), invariant).toBeGreaterThan(100);
  // What relays were told while the owner was away.
  expect(exercised.get("kept")).toBeGreaterThan(20);
  for (const signal of ["shard-claimed", "shard-released", "known", "store-lost", "migrated", "dead-letter"])
    expect(signals.get(signal), signal).toBeGreaterThan(20);
  for (const signal of ["shard-fenced", "shard-refused", "log-lost", "purged", "incident"])
    expect(signals.get(signal), signal).toBeGreaterThan(4);
});

test("the same seed plays the same", async () => {
  const [one, two] = [
    await simulate({ ...(await simulatedIn("cluster")), seeds: 5 }),
    await simulate({ ...(await simulatedIn("cluster")), seeds: 5 }),
  ];
  expect(two).toEqual(one);
});
