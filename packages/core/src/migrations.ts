import { WheelworkError, type Problem } from "./errors.ts";
import type { HubDefinition, MigratedRun } from "./hub.ts";
import type { StateLogic } from "./logic.ts";
import { abandonWithin, demandFields, plain, synchronous } from "./plain.ts";
import type { Run } from "./run.ts";

/** What is wrong with `migrate` of a hub: a function that is never called is a mistake, such as a version that was not raised. */
export function problemsOfMigrate(migrate: unknown, version: unknown): Problem[] {
  if (migrate === undefined) return [];
  if (typeof migrate !== "object" || migrate === null)
    return [{ path: "migrate", message: "must be an object with a function for each former version" }];
  const problems: Problem[] = [];
  for (const [from, move] of Object.entries(migrate)) {
    const path = `migrate.${from}`;
    if (!/^[1-9]\d{0,14}$/.test(from)) problems.push({ path, message: "is no version" });
    else if (Number.isInteger(version) && Number(from) >= Number(version))
      problems.push({
        path,
        message: `is no version before ${String(version)}: raise the version of the hub`,
      });
    if (typeof move !== "function") problems.push({ path, message: "must be a function of the run" });
  }
  return problems;
}

/**
 * What the hub's functions make of a run of an older version, one version at a time. `data`: that of the run, or what it was when
 * the run entered its state.
 * @throws WheelworkError WW_UNMAPPED_STATE when the run ends up in a state that the hub does not have.
 */
export function movedRun(definition: HubDefinition, run: Run, data = run.data): MigratedRun {
  let moved = { state: run.state, data: data as Readonly<Record<string, unknown>> };
  for (let version = run.version; version < definition.version; version++) {
    const step = definition.migrate[version];
    if (step !== undefined) moved = movedBy(step, moved, `what migrate of version ${version} returned`);
  }
  if (run.version > definition.version || !definition.states.has(moved.state)) {
    abandonWithin(moved.data);
    throw new WheelworkError(
      "WW_UNMAPPED_STATE",
      `the run ${run.key} is in the state ${run.state} of ${definition.name} version ${run.version}. ` +
        `Version ${definition.version} of the hub does not have this state`,
      { next: `Give the hub a migrate function for version ${run.version}. Then retry the incident.` },
    );
  }
  return moved;
}

/** What one function makes of a run. One that gives nothing leaves it as it is. @throws WheelworkError WW_DEFECT when it gives no run. */
function movedBy(step: (run: MigratedRun) => MigratedRun, run: MigratedRun, what: string): MigratedRun {
  const given = synchronous<MigratedRun | null | undefined>(step(run), what);
  if (given === undefined || given === null) return run;
  demandFields(given, what);
  const { state, data, ...rest } = given;
  abandonWithin(rest);
  if (typeof state === "string") return { state, data };
  abandonWithin([state, data]);
  throw new WheelworkError("WW_DEFECT", `${what} has no state, which is a text`, {
    next: "Return { state, data }. Then retry the incident.",
  });
}

/** How many inputs the round of a migrated run has, if some have no call yet, and the data of which they are made, unless it is that of the run. */
export function movedRound(
  definition: HubDefinition,
  run: Run,
  logic: StateLogic,
  data: unknown,
): { readonly of: number; readonly data?: unknown } | undefined {
  const { left } = run.round;
  if (left === undefined || logic.count === undefined) return undefined;
  if (left.data === run.data) return { of: logic.count(data) };
  const before = plain(
    movedRun(definition, run, left.data).data,
    "WW_DEFECT",
    `what migrate of ${definition.name} returned`,
  );
  return { of: logic.count(before), data: before };
}
