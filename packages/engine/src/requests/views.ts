import { WheelworkError, type RunLane } from "@wheelwork/core";
import {
  countLeft,
  isError,
  plain,
  Run,
  synchronous,
  textOf,
  type Call,
  type HubDefinition,
} from "@wheelwork/core/kernel";
import { givenKey } from "../ports/keys.ts";
import { bodyOf, type RequestRecord } from "./access.ts";
import type { LaneView, OpenCallView, RequestView } from "./api.ts";

/** What the hub's own view makes of the data. It never fails: a view that throws says why instead. */
export function ownView(
  definition: HubDefinition | undefined,
  data: unknown,
): Pick<RequestView, "view" | "viewProblem"> {
  // A run that has not begun has no data.
  if (definition?.view === undefined || data === undefined || data === null) return {};
  const what = `the view of ${definition.name}`;
  try {
    return { view: plain(synchronous(definition.view(data), what), "WW_DEFECT", what) };
  } catch (error) {
    const problem = isError(error, WheelworkError) ? textOf(error) : `${what} threw: ${textOf(error)}`;
    return { viewProblem: problem };
  }
}

/** Open calls that a view shows: a run may have 100,000, and whoever reads them holds the loop. */
const maxShownCalls = 1000;
/** Inputs that a view shows of those that an incident keeps. */
const maxShownInputs = 1000;

function callView({ number, callee, attempt, due, input, progress }: Call): OpenCallView {
  const shown = { call: number, callee, attempt, due, input };
  return progress === undefined ? shown : { ...shown, progress };
}

/** A request as callers see it. `definition`: that of its hub. */
export function viewOf(record: RequestRecord, definition: HubDefinition | undefined): RequestView {
  const { known, answer } = record;
  const { hub, version, status, state, createdAt, answeredAt, endedAt } = known;
  const { labels } = known instanceof Run ? known.origin : known;
  const view = {
    id: givenKey(known.key),
    hub,
    version,
    status,
    state,
    createdAt,
    answeredAt,
    endedAt,
    request: bodyOf(known).request,
    ...(labels === undefined ? {} : { labels }),
    answer,
    ...ownView(definition, known.data),
  };
  if (!(known instanceof Run)) return view;
  const openCalls: OpenCallView[] = [];
  for (const call of known.calls.values()) {
    if (openCalls.length === maxShownCalls) break;
    openCalls.push(callView(call));
  }
  const moreCalls = known.calls.size - openCalls.length;
  const { data, incident } = known;
  const inputsLeft = countLeft(known);
  return {
    ...view,
    data,
    openCalls,
    ...(moreCalls === 0 ? {} : { moreCalls }),
    ...(inputsLeft === 0 ? {} : { inputsLeft }),
    ...(incident === undefined ? {} : { incident: incidentView(incident) }),
    ...(known.start?.at === undefined ? {} : { startAt: known.start?.at }),
    ...(known.lane === undefined || known.status === "ended"
      ? {}
      : { lane: laneView(known, known.lane, record) }),
  };
}

function incidentView({
  at,
  error,
  inputs: { list },
}: NonNullable<Run["incident"]>): NonNullable<RequestView["incident"]> {
  const moreInputs = Math.max(0, list.length - maxShownInputs);
  const shown = { at, error, inputs: list.slice(0, maxShownInputs) };
  return moreInputs === 0 ? shown : { ...shown, moreInputs };
}

function laneView({ status, due }: Run, of: RunLane, { lane }: RequestRecord): LaneView {
  const { name, key, joins } = of;
  return {
    name,
    key,
    ...(lane?.position === undefined ? {} : { position: lane.position }),
    ...(status !== "pending" || due === undefined ? {} : { waitsUntil: due }),
    ...(joins === undefined ? {} : { joins: givenKey(joins) }),
    ...(lane === undefined ? {} : { holders: lane.holders.map(givenKey) }),
  };
}
