import { WheelworkError } from "./errors.ts";
import type { HubDefinition, MigratedRun } from "./hub.ts";
import { synchronous } from "./plain.ts";
import type { Run } from "./run.ts";

/**
 * What the hub's functions make of a run of an older version, one version at a time.
 * @throws WheelworkError WW_UNMAPPED_STATE when the run ends up in a state that the hub does not have.
 */
export function movedRun(definition: HubDefinition, run: Run): MigratedRun {
  let moved = { state: run.state, data: run.data as Readonly<Record<string, unknown>> };
  for (let version = run.version; version < definition.version; version++) {
    const step = definition.migrate[version];
    if (step !== undefined) moved = synchronous(step(moved), `migrate of version ${version}`) ?? moved;
  }
  if (run.version > definition.version || !definition.states.has(moved.state)) {
    throw new WheelworkError(
      "WW_UNMAPPED_STATE",
      `the run ${run.key} is in the state ${run.state} of ${definition.name} version ${run.version}. ` +
        `Version ${definition.version} of the hub does not have this state`,
      { next: `Give the hub a migrate function for version ${run.version}. Then retry the incident.` },
    );
  }
  return moved;
}
