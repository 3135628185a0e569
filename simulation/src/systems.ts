import { flowCrudSimulation } from "@wheelwork/example-flow-crud/simulation";
import type { SimulatedSystem } from "@wheelwork/testing";
import { orders } from "./orders.ts";
import { randomHubs } from "./random-hubs.ts";

/** What is simulated, in turns. */
export const systems: readonly SimulatedSystem[] = [
  randomHubs("quick", 500),
  randomHubs("slow", 600_000),
  flowCrudSimulation,
];

/** What is simulated on clusters, in turns: it takes seconds until others go on with the work of a node that has died. */
export const clusterSystems: readonly SimulatedSystem[] = [
  orders,
  randomHubs("quick", 3_000),
  flowCrudSimulation,
  randomHubs("slow", 40_000),
];
