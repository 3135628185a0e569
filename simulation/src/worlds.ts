import { flowCrudSimulation } from "@wheelwork/example-flow-crud/simulation";
import { clusterWorld, engineWorld, type SimulatedSystem, type World } from "@wheelwork/testing";
import { orders } from "./orders.ts";
import { randomHubs } from "./random-hubs.ts";
import { stormWorld } from "./storm/world.ts";

/** It takes seconds until others go on with the work of a process that has died. */
const patient: readonly SimulatedSystem[] = [
  orders,
  randomHubs("quick", 3_000),
  flowCrudSimulation,
  randomHubs("slow", 40_000),
];

/** A world, and what is simulated in it, in turns. */
export interface Simulated {
  readonly world: World;
  readonly systems: readonly SimulatedSystem[];
}

/** All that is simulated, by the names of the worlds. */
export const simulated = {
  engine: {
    world: engineWorld,
    systems: [randomHubs("quick", 500), randomHubs("slow", 600_000), flowCrudSimulation],
  },
  cluster: { world: clusterWorld, systems: patient },
  storm: { world: stormWorld, systems: patient },
} as const satisfies Record<string, Simulated>;

/** The name of a world. */
export type WorldName = keyof typeof simulated;
