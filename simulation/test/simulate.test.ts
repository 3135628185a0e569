import { describeFailure, simulate } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { simulatedIn } from "../src/worlds.ts";

const seeds = Number(process.env["WHEELWORK_SEEDS"] ?? 150);
const from = Number(process.env["WHEELWORK_SEED"] ?? 1);

test(
  "no fault breaks the promise, and the simulation reaches all that it should",
  { timeout: 600_000 },
  async () => {
    const report = await simulate({ ...(await simulatedIn("engine")), seeds, from });
    const told = report.failures.map(
      (failure) => `${describeFailure(failure)}\nnpm run simulate -- --seed ${failure.seed} repeats it`,
    );
    expect(told.join("\n")).toBe("");
    const hours = report.simulatedMs / 3_600_000;
    console.log(
      `${report.seeds} seeds, ${hours.toFixed(0)} simulated hours, ${report.requests} requests, ${report.attempts} attempts`,
    );
    // A simulator that has fallen silent shows here.
    if (report.seeds < 600) return;
    // Two systems of nine play for hours at a time.
    expect(hours).toBeGreaterThan(40);
    for (const [kind, times] of report.faults) expect(times, kind).toBeGreaterThan(8);
    for (const invariant of [
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
      "I16",
      "I17",
      "I20",
      "I21",
      "I23",
      "I25",
      "I26",
      "I27",
      "I28",
      "I32",
      "I33",
      "I34",
      "I35",
      "I38",
      "I39",
    ])
      expect(report.exercised.get(invariant), invariant).toBeGreaterThan(50);
    for (const store of ["memory", "network", "file"])
      expect(report.happened.get(`store ${store}`), store).toBeGreaterThan(50);
    for (const signal of ["purged", "migrated", "checkpoint", "incident", "store-lost"])
      expect(report.signals.get(signal), signal).toBeGreaterThan(5);
    for (const kind of ["result", "error", "timeout"])
      expect(report.happened.get(`answer ${kind}`), kind).toBeGreaterThan(5);
    for (const what of [
      "told of events",
      "events WW_EVENTS_GONE",
      "bulk accepted",
      "bulk pause accepted",
      "bulk cancel accepted",
    ])
      expect(report.happened.get(what), what).toBeGreaterThan(5);
    for (const reason of ["late", "stale", "ended"])
      expect(report.happened.get(`ignored ${reason}`), reason).toBeGreaterThan(5);
    const untaken = [...report.declared].filter(
      (edge) => edge.startsWith("flow-create: ") && !report.edges.has(edge),
    );
    expect(untaken).toEqual([]);
  },
);
