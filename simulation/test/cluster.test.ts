import { clusterFaultKinds, describeClusterFailure, simulateCluster } from "@wheelwork/testing";
import { expect, test } from "vitest";

const seeds = Number(process.env["WHEELWORK_CLUSTER_SEEDS"] ?? 600);
const from = Number(process.env["WHEELWORK_SEED"] ?? 1);

test("no fault of nodes, log or stores breaks the promise of a cluster", { timeout: 600_000 }, async () => {
  const report = await simulateCluster({ seeds, from });
  const told = report.failures.map(
    (failure) =>
      `${describeClusterFailure(failure)}\nnpm run simulate -- --cluster --seed ${failure.seed} repeats it`,
  );
  expect(told.join("\n")).toBe("");
  // A simulator that has fallen silent shows here.
  if (report.seeds < 600) return;
  for (const kind of clusterFaultKinds) expect(report.faults.get(kind), kind).toBeGreaterThan(20);
  for (const invariant of ["I3", "I4", "I5", "I6", "I9", "I10", "I12", "I21", "position", "replies"])
    expect(report.exercised.get(invariant), invariant).toBeGreaterThan(100);
  for (const signal of ["shard-claimed", "shard-released", "shard-fenced", "known", "store-lost"])
    expect(report.signals.get(signal), signal).toBeGreaterThan(10);
});

test("the same seed plays the same", async () => {
  const [one, two] = [await simulateCluster({ seeds: 10 }), await simulateCluster({ seeds: 10 })];
  expect(two).toEqual(one);
});
