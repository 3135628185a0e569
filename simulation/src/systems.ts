import { flowCrudSimulation } from "@wheelwork/example-flow-crud/simulation";
import type { SimulatedSystem } from "@wheelwork/testing";
import { randomHubs } from "./random-hubs.ts";

/** What is simulated, in turns. */
export const systems: readonly SimulatedSystem[] = [
  randomHubs("quick", 500),
  randomHubs("slow", 600_000),
  flowCrudSimulation,
];
