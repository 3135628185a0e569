import { flowCrudSimulation, flowLifeSimulation } from "@wheelwork/example-flow-crud/simulation";
import { clusterWorld, engineWorld, type SimulatedSystem, type World } from "@wheelwork/testing";
import { calls } from "./calls.ts";
import { fanOuts } from "./fan-outs.ts";
import { lanes } from "./lanes.ts";
import { posts } from "./posts.ts";
import { orders } from "./orders.ts";
import { randomHubs } from "./random-hubs.ts";
import { sizes } from "./sizes.ts";
import { schedules } from "./schedules.ts";

/** It takes seconds until others go on with the work of a process that has died. */
const patient: readonly SimulatedSystem[] = [
  orders,
  randomHubs("quick", 3_000),
  flowCrudSimulation,
  randomHubs("slow", 40_000),
  fanOuts,
  lanes("lanes", 10_000),
  posts("posts", 10_000),
  schedules("schedules", 10_000, { minMs: 4_000, maxMs: 40_000 }),
  calls("calls", 10_000),
  flowLifeSimulation,
];

/** A world, and what is simulated in it, in turns. */
export interface Simulated {
  readonly world: World;
  readonly systems: readonly SimulatedSystem[];
}

/** What is simulated in each of the worlds. That of Storm is loaded when it is asked for: it brings its adapters along. */
const simulated = {
  engine: async () => ({
    world: engineWorld,
    systems: [
      randomHubs("quick", 500),
      randomHubs("slow", 600_000),
      flowCrudSimulation,
      fanOuts,
      lanes("lanes", 5_000),
      posts("posts", 1_000),
      schedules("schedules", 2_000, { minMs: 2_000, maxMs: 40_000 }),
      flowLifeSimulation,
      // The hours in which clocks change: what is wrong with a local time shows when it comes again.
      schedules("local-times", 1_800_000, { minMs: 600_000, maxMs: 7_200_000, isSeldom: true }),
    ],
  }),
  flows: async () => ({ world: engineWorld, systems: [flowLifeSimulation] }),
  sizes: async () => ({ world: engineWorld, systems: [sizes] }),
  cluster: async () => ({ world: clusterWorld, systems: patient }),
  storm: async () => ({ world: (await import("./storm/world.ts")).stormWorld, systems: patient }),
} as const satisfies Record<string, () => Promise<Simulated>>;

/** The name of a world. */
export type WorldName = keyof typeof simulated;

/** A world, and what is simulated in it. */
export const simulatedIn = (name: WorldName): Promise<Simulated> => simulated[name]();
