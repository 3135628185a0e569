import { WheelworkError, type AnyHub } from "@wheelwork/core";
import { isError, movedRun, Run, textOf } from "@wheelwork/core/kernel";
import type { Engine } from "./api.ts";

/** Live runs of one hub and version that stand in one state. */
export interface StandingRuns {
  readonly hub: string;
  readonly version: number;
  readonly state: string;
  readonly count: number;
  /** One of them, by its id and its data. */
  readonly such: string;
  readonly data: unknown;
}

/** Where the live runs of an engine stand. It reads all of them, page by page. */
export async function standingRuns(engine: Engine): Promise<readonly StandingRuns[]> {
  const found = new Map<string, StandingRuns>();
  for (const status of ["pending", "running", "incident"] as const) {
    let cursor: string | undefined;
    do {
      const page = await engine.requests({
        status,
        limit: 1000,
        ...(cursor === undefined ? {} : { cursor }),
      });
      for (const { id, hub, version, state } of page.items) {
        // Hubs that no user defines are in each engine.
        if (!engine.hubs.has(hub)) continue;
        const name = JSON.stringify([hub, version, state]);
        const known = found.get(name) ?? { hub, version, state, count: 0, such: id, data: undefined };
        found.set(name, { ...known, count: known.count + 1 });
      }
      cursor = page.cursor;
    } while (cursor !== undefined);
  }
  return Promise.all(
    [...found.values()].map(async (runs) => ({ ...runs, data: await dataOf(engine, runs.such) })),
  );
}

async function dataOf(engine: Engine, id: string): Promise<unknown> {
  try {
    return (await engine.request(id)).data;
  } catch (error) {
    // It has ended meanwhile, and its retention is over.
    if (error instanceof WheelworkError && error.code === "WW_NOT_FOUND") return undefined;
    throw error;
  }
}

/** What other hubs could not go on with, in sentences that say what to do; empty: they go on with all of it. */
export function unfitRuns(
  hubs: ReadonlyMap<string, AnyHub>,
  standing: readonly StandingRuns[],
): readonly string[] {
  return standing.flatMap((runs) => {
    const { hub, version, state, count, such } = runs;
    const of = `${count} live ${count === 1 ? "run" : "runs"} of ${hub} version ${version}, such as ${such}`;
    const definition = hubs.get(hub)?.definition;
    if (definition === undefined)
      return [`the hub ${hub} is gone, and there are ${of}. Bring it back, or end them.`];
    if (definition.version < version)
      return [`the hub ${hub} has version ${definition.version}, and there are ${of}. Raise its version.`];
    // A run that waits for its turn has entered no state.
    if (state === "") return [];
    try {
      movedRun(definition, Object.assign(new Run(such), { hub, version, state, data: runs.data }));
      return [];
    } catch (error) {
      if (isError(error, WheelworkError) && error.code === "WW_UNMAPPED_STATE")
        return [
          `the chart of ${hub} lacks the state ${state}, and in it stand ${of}. Bring the state back, or raise the version of the hub, and say in \`migrate\` what such a run becomes.`,
        ];
      return [`migrate of ${hub} failed for ${of}: ${textOf(error)}`];
    }
  });
}
