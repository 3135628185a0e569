import type { Labels } from "@wheelwork/core";
import { incidentKind, type IncidentKind, type Run } from "@wheelwork/core/kernel";
import { facetOf, type Activity, type Facet, type FacetRow } from "../ports/filter.ts";
import { isRoot } from "../ports/keys.ts";

/** What a run does that goes on. It looks at all open calls: the run is about to be written, or somebody has asked. */
export function activityOf({ calls, round }: Run): Activity {
  for (const { backoff, attempt } of calls.values()) if (backoff || attempt > 1) return "retrying";
  return calls.size > 0 || round.left !== undefined ? "calling" : "waiting";
}

/** The highest attempt of the open calls of a run; 0: it has none. */
export function attemptsOf({ calls }: Run): number {
  let highest = 0;
  for (const { attempt } of calls.values()) if (attempt > highest) highest = attempt;
  return highest;
}

/** What a list must know of a run. */
export const listedRow = (run: Run): FacetRow => ({
  hub: run.hub,
  status: run.status,
  activity: run.status === "running" ? activityOf(run) : undefined,
  state: run.state,
  root: isRoot(run),
  createdAt: run.createdAt,
  answeredAt: run.answeredAt,
  endedAt: run.endedAt,
  answer: run.status === "ended" ? run.answer : undefined,
  labels: run.origin.labels,
  due: run.nextDue,
  attempts: run.status === "running" ? attemptsOf(run) : undefined,
  incident: run.incident === undefined ? undefined : incidentKind(run.incident.error),
});

/** What a stored row says of its run. */
export interface ListedAs {
  readonly facet: Facet;
  readonly createdAt: number;
  readonly answeredAt: number | undefined;
  readonly labels: Labels | undefined;
  readonly due: number | undefined;
  readonly attempts: number | undefined;
  readonly incident: IncidentKind | undefined;
}

/** The same of a row; undefined: no list shows it. */
export function listedAs(row: FacetRow): ListedAs | undefined {
  const facet = facetOf(row);
  const { createdAt, answeredAt, labels, due, attempts, incident } = row;
  return facet && { facet, createdAt, answeredAt, labels, due, attempts, incident };
}
