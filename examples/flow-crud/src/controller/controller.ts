import { schedule, type AnyHub, type Schedule, type Worker } from "wheelwork";
import { eventHubs, type RestoreOptions } from "./events.ts";
import { operationHubs, type OperationHubs, type OperationOptions } from "./operations.ts";
import { controllerSpokes, type ControllerSpokeOptions } from "./spokes.ts";
import { validationHub } from "./validation.ts";
import { controllerWorkers, type WorkedSpeaker, type WorkedStore } from "./workers.ts";

/**
 * How often somebody looks which flows are due, in milliseconds. It is for what has been left in the middle: what happens in the network is
 * looked after from then on.
 */
const everyMs = 300_000;

/** What can be set of the operations on flows. */
export interface ControllerOptions extends OperationOptions, RestoreOptions, ControllerSpokeOptions {}

/** The hubs of flows, and the workers that they call. */
export interface Controller {
  readonly hubs: OperationHubs &
    ReturnType<typeof eventHubs> & { readonly validate: ReturnType<typeof validationHub> };
  /** All of them, for an engine. */
  readonly all: readonly AnyHub[];
  /** What looks after flows by itself. */
  readonly schedules: readonly Schedule[];
  workers(store: WorkedStore, speaker: WorkedSpeaker): Worker[];
}

/** Makes the hubs of flows: the same ones for every engine. */
export function createController(options: ControllerOptions = {}): Controller {
  const spokes = controllerSpokes(options);
  const operations = operationHubs(spokes, options);
  const hubs = { ...operations, validate: validationHub(spokes), ...eventHubs(spokes, operations, options) };
  return {
    hubs,
    all: Object.values(hubs),
    schedules: [
      schedule(hubs.lookAfterFlows.name, { everyMs, hub: hubs.lookAfterFlows, request: () => ({}) }),
    ],
    workers: (store, speaker) => controllerWorkers(spokes, store, speaker),
  };
}
