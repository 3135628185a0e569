import type { AnyHub, Worker } from "wheelwork";
import { eventHubs } from "./events.ts";
import { operationHubs, type OperationHubs, type OperationOptions } from "./operations.ts";
import { controllerSpokes, type ControllerSpokeOptions } from "./spokes.ts";
import { validationHub } from "./validation.ts";
import { controllerWorkers, type WorkedSpeaker, type WorkedStore } from "./workers.ts";

/** What can be set of the operations on flows. */
export interface ControllerOptions extends OperationOptions, ControllerSpokeOptions {}

/** The hubs of flows, and the workers that they call. */
export interface Controller {
  readonly hubs: OperationHubs & {
    readonly validate: ReturnType<typeof validationHub>;
    readonly handleEvent: ReturnType<typeof eventHubs>["handleEvent"];
    readonly restoreFlows: ReturnType<typeof eventHubs>["restoreFlows"];
  };
  /** All of them, for an engine. */
  readonly all: readonly AnyHub[];
  workers(store: WorkedStore, speaker: WorkedSpeaker): Worker[];
}

/** Makes the hubs of flows: the same ones for every engine. */
export function createController(options: ControllerOptions = {}): Controller {
  const spokes = controllerSpokes(options);
  const operations = operationHubs(spokes, options);
  const hubs = { ...operations, validate: validationHub(spokes), ...eventHubs(spokes, operations) };
  return {
    hubs,
    all: Object.values(hubs),
    workers: (store, speaker) => controllerWorkers(spokes, store, speaker),
  };
}
