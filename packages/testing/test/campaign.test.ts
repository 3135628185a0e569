import { expect, test } from "vitest";
import {
  describeFailure,
  lineOf,
  simulate,
  type Play,
  type SimulatedSystem,
  type World,
} from "../src/index.ts";

interface SomePlan {
  readonly seed: number;
  readonly faults: readonly string[];
}

const nothing: Omit<Play, "violations" | "faults" | "lines"> = {
  simulatedMs: 1_000,
  requests: 2,
  attempts: 3,
  commits: 4,
  happened: new Map([["answer result", 2]]),
  signals: new Map(),
  exercised: new Map([["I5", 2]]),
  edges: new Set(),
  hubs: [],
};

/** A world in which a flood breaks a promise, and rain does not. Every third seed has both. */
const weather: World<SomePlan> = {
  name: "weather",
  faultKinds: ["rain", "flood", "frost"],
  plan: (seed) => ({ seed, faults: seed % 3 === 0 ? ["rain", "flood", "rain"] : ["rain"] }),
  play: async ({ name }, { faults }) => ({
    ...nothing,
    violations: faults.includes("flood") ? [{ invariant: "I1", message: `${name} is under water` }] : [],
    faults: new Map(faults.map((kind) => [kind, faults.filter((other) => other === kind).length])),
    lines: () => faults.map((kind) => `there is ${kind}`),
  }),
  *smaller(plan) {
    for (const place of plan.faults.keys()) yield { ...plan, faults: plan.faults.toSpliced(place, 1) };
  },
  describe: ({ faults }) => faults,
};

const system = (name: string): SimulatedSystem => ({
  name,
  scaleMs: 1,
  open: () => {
    throw new Error("this world does not open its systems");
  },
});
const systems = [system("a"), system("b")];

test("a failing plan is made smaller for as long as it fails in the same way", async () => {
  const { failures } = await simulate({ world: weather, systems, seeds: 10 });
  expect(failures).toHaveLength(1);
  expect(failures[0]).toEqual({
    world: "weather",
    system: "b",
    seed: 3,
    violations: [{ invariant: "I1", message: "b is under water" }],
    plan: ["flood"],
    trace: ["there is flood"],
  });
  expect(describeFailure(failures[0] as never).split("\n")).toEqual([
    "seed 3 of b in the weather world fails:",
    "  I1: b is under water",
    "the smallest plan that was found:",
    "  flood",
    "what happened:",
    "there is flood",
  ]);
});

test("a report adds up what was reached, and says what never happened", async () => {
  const report = await simulate({ world: weather, systems, seeds: 6, failures: 9, shrinks: false });
  expect(report).toMatchObject({ seeds: 6, simulatedMs: 6_000, requests: 12, attempts: 18, commits: 24 });
  expect(Object.fromEntries(report.faults)).toEqual({ rain: 8, flood: 2, frost: 0 });
  expect(report.happened.get("answer result")).toBe(12);
  expect(report.exercised.get("I5")).toBe(12);
  expect(report.failures.map(({ seed, plan }) => [seed, plan.length])).toEqual([
    [3, 3],
    [6, 3],
  ]);
});

test("seeds are played from where one wants, each with its own system, until there are enough failures", async () => {
  const { seeds, failures } = await simulate({ world: weather, systems, from: 4, seeds: 10, failures: 2 });
  expect(seeds).toBe(6);
  expect(failures.map(({ seed, system }) => `${seed} ${system}`)).toEqual(["6 a", "9 b"]);
  await expect(simulate({ world: weather, systems: [], seeds: 1 })).rejects.toThrow(RangeError);
});

test("a line of a trace shows what workers give that JSON does not have", () => {
  const outcome = { kind: "ok", output: 17n } as const;
  const entry = { type: "outcome", node: 1, request: "a", call: 0, attempt: 1, outcome, at: 5 } as const;
  expect(lineOf(entry)).toContain('outcome={"kind":"ok","output":"17n"}');
});
