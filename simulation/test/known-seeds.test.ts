import { describeFailure, simulate } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { simulatedIn, type WorldName } from "../src/worlds.ts";

/** Seeds that have failed once: each is played with its system, however many systems there are by now. */
const known: readonly [world: WorldName, system: string, seed: number, what: string][] = [
  ["engine", "fan-outs", 2201, "events are archived long after the last commit, and somebody watches again"],
  ["engine", "flow-crud", 11306, "the outcome of an attempt waits behind its request, which is sent again"],
  ["engine", "quick", 12064, "attempts of spokes with other times are made again in another order"],
  ["engine", "slow", 11257, "a signal is sent again whose id its run has forgotten, and not its history"],
  ["engine", "slow", 41005, "a store that hangs commits the end of a run late"],
  ["engine", "slow", 41887, "somebody watches a run again that has answered, while the store is lost"],
  ["engine", "slow", 32633, "a retry brings the signal that has parked a run, before those that it keeps"],
  ["engine", "quick", 700839, "the row of a run that has ended goes while the store is asked for its answer"],
  ["engine", "fan-outs", 852, "the store refuses a child, and then what its caller makes of that"],
  [
    "engine",
    "local-times",
    50669,
    "a schedule is deployed twice at one instant, and ticks of the past are asked for",
  ],
  ["engine", "lanes", 1003441, "an owner that is taken over has nothing to commit, and somebody watches"],
  ["engine", "lanes", 1006490, "events are read at an owner that does not know yet that it was taken over"],
  [
    "cluster",
    "flow-crud",
    335,
    "an owner begins while its store hangs, and waits for a relay of a dead node",
  ],
  ["cluster", "flow-crud", 881, "a batch waits for a commit that hangs, and what it has decided times out"],
];

test.each(known)("%s, %s, seed %i: %s", async (world, name, seed) => {
  const { world: played, systems } = await simulatedIn(world);
  const system = systems.filter((one) => one.name === name);
  const { failures } = await simulate({ world: played, systems: system, from: seed, seeds: 1 });
  expect(failures.map(describeFailure).join("\n")).toBe("");
});
