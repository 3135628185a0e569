import { engineWorld, type EngineFaultKind, type EnginePlan, type SimulatedSystem } from "@wheelwork/testing";
import { describe, expect, test } from "vitest";
import { simulatedIn } from "../src/worlds.ts";

const { systems } = await simulatedIn("engine");

/**
 * How many plans with commands: each is played once for every commit, effect and read of it. Unless somebody asks for a number, one
 * plan is played for every twelfth of them.
 */
const asked = Number(process.env["WHEELWORK_PLANS"] ?? 0);
const [most, each] = asked > 0 ? [asked, 1] : [1, 12];

/** Lets a fault happen at every so many operations of its kind, one play each, and gives back how many of them there are. */
async function atEach(
  system: SimulatedSystem,
  plan: EnginePlan,
  kind: EngineFaultKind,
  every = 1,
  before: EnginePlan["faults"] = [],
): Promise<number> {
  for (let at = 1; ; at += every) {
    const faults = [...before, { kind, at, forMs: 0 }];
    const played = await engineWorld.play(system, { ...plan, faults });
    expect(played.violations, `${kind} at ${at}, seed ${plan.seed}`).toEqual([]);
    // So many operations there are not.
    if (!played.faults.has(kind)) return at - 1;
  }
}

/** Back at once; small batches are for random simulations: here they would only make many of the same kind. */
const simpler = (plan: EnginePlan): EnginePlan => ({
  ...plan,
  downMs: 0,
  limits: { ...plan.limits, batchInputs: 5_000 },
});

describe.each(systems.map((system) => [system.name, system] as const))("%s", (_name, system) => {
  test(
    "a crash at each commit, and at each effect, changes no answer and no way (I10)",
    { timeout: 600_000 },
    async () => {
      let crashes = 0;
      for (let seed = 1; seed <= 2; seed++) {
        const plan = simpler(engineWorld.plan(seed * 8, system.scaleMs));
        expect(plan.compares).toBe(true);
        for (const kind of ["crash-before-commit", "crash-after-commit", "crash-before-effect"] as const)
          crashes += await atEach(system, plan, kind);
      }
      expect(crashes).toBeGreaterThan(10);
    },
  );

  test(
    "with commands, and whatever workers do: no fault at any commit, effect or read breaks the promise",
    { timeout: 600_000 },
    async () => {
      const plans = Array.from({ length: 400 }, (_, place) =>
        engineWorld.plan(place + 1, system.scaleMs),
      ).filter(({ commands, requests, file }) => commands.length > 3 && requests.length < 3 && !file);
      const crash = { kind: "crash-after-commit", at: 2, forMs: 0 } as const;
      for (const plan of plans.slice(0, most)) {
        const kinds = ["crash-before-commit", "crash-after-commit", "commit-fails", "commit-unseen"] as const;
        for (const kind of [...kinds, "crash-before-effect", "read-fails"] as const)
          expect(await atEach(system, simpler(plan), kind, each), kind).toBeGreaterThan(0);
        expect(await atEach(system, simpler(plan), "crash-in-recovery", each, [crash])).toBeGreaterThan(5);
      }
    },
  );
});
