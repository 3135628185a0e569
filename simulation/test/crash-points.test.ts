import { planOf, simulatePlan, type FaultKind, type Plan, type TraceEntry } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { systems } from "../src/systems.ts";

/** A plan without faults; it is compared with itself, so that each fault must change nothing (I10). */
function calmPlan(seed: number, scaleMs: number): Plan {
  const plan = planOf(seed * 8, scaleMs);
  return { ...plan, faults: [], limits: { ...plan.limits, batchInputs: 5_000 } };
}

const counted = (trace: readonly TraceEntry[], type: TraceEntry["type"]): number =>
  trace.filter((entry) => entry.type === type).length;

const points: readonly [FaultKind, TraceEntry["type"]][] = [
  ["crash-before-commit", "committed"],
  ["crash-after-commit", "committed"],
  ["crash-before-effect", "attempt"],
];

test.each(systems.map((system) => [system.name, system] as const))(
  "%s: a crash at each commit, and at each effect, changes no answer and no way (I10)",
  { timeout: 120_000 },
  async (_name, system) => {
    let crashes = 0;
    for (let seed = 1; seed <= 6; seed++) {
      const plan = calmPlan(seed, system.scaleMs);
      const { played, checked } = await simulatePlan(system, plan);
      expect(checked.violations).toEqual([]);
      for (const [kind, type] of points) {
        for (let at = 1; at <= counted(played.trace, type); at++) {
          const crashed = await simulatePlan(system, { ...plan, faults: [{ kind, at, forMs: 0 }] });
          expect(crashed.checked.violations, `${kind} at ${at}, seed ${seed}`).toEqual([]);
          crashes += counted(crashed.played.trace, "fault");
        }
      }
    }
    expect(crashes).toBeGreaterThan(50);
  },
);
