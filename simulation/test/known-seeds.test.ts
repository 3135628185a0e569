import { describeFailure, simulate } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { simulatedIn, type WorldName } from "../src/worlds.ts";

/** Seeds that have failed once: each is played with its system, however many systems there are by now. */
const known: readonly [world: WorldName, system: string, seed: number, what: string][] = [
  ["engine", "fan-outs", 2201, "events are archived long after the last commit, and somebody watches again"],
  [
    "cluster",
    "flow-crud",
    335,
    "an owner begins while its store hangs, and waits for a relay of a dead node",
  ],
];

test.each(known)("%s, %s, seed %i: %s", async (world, name, seed) => {
  const { world: played, systems } = await simulatedIn(world);
  const system = systems.filter((one) => one.name === name);
  const { failures } = await simulate({ world: played, systems: system, from: seed, seeds: 1 });
  expect(failures.map(describeFailure).join("\n")).toBe("");
});
