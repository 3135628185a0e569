import { WheelworkError, type RunLane } from "@wheelwork/core";
import {
  countLeft,
  plain,
  Run,
  synchronous,
  textOf,
  type Call,
  type HubDefinition,
} from "@wheelwork/core/kernel";
import { givenKey } from "../ports/keys.ts";
import type { RequestRow, RequestStatus } from "../ports/ports.ts";
import { bodyOf, type RequestRecord } from "./access.ts";
import type { LaneView, OpenCallView, RequestPage, RequestView } from "./api.ts";

/** Where a page begins: after the request of this time and key. */
interface Cursor {
  readonly createdAt: number;
  readonly key: string;
}

/** Whether `a` comes after `b` in a list that begins with the newest. */
export function isBefore(a: Cursor, b: Cursor): boolean {
  return a.createdAt < b.createdAt || (a.createdAt === b.createdAt && a.key < b.key);
}

const statuses: ReadonlySet<RequestStatus> = new Set(["pending", "running", "incident", "ended", "lost"]);

/** Where a page begins, and how long it is. @throws WheelworkError WW_INVALID_REQUEST. */
export function pageBounds({
  status,
  cursor,
  limit = 50,
}: {
  readonly status?: RequestStatus;
  readonly cursor?: string;
  readonly limit?: number;
}): {
  readonly limit: number;
  readonly before: Cursor | undefined;
} {
  if (status !== undefined && !statuses.has(status)) {
    throw new WheelworkError("WW_INVALID_REQUEST", "status is not valid", {
      problems: [{ path: "status", message: `must be one of ${[...statuses].join(", ")}` }],
    });
  }
  if (!Number.isInteger(limit) || limit < 1 || limit > 1000) {
    throw new WheelworkError("WW_INVALID_REQUEST", "limit is not valid", {
      problems: [{ path: "limit", message: "must be an integer from 1 to 1000" }],
    });
  }
  return { limit, before: cursor === undefined ? undefined : readCursor(cursor) };
}

/** The first rows of a list as a page, newest first; there may be more of them than one page holds. */
export function pageOf(rows: Iterable<RequestRow>, limit: number): RequestPage {
  const items = [...rows].toSorted((a, b) => (isBefore(a, b) ? 1 : -1)).slice(0, limit + 1);
  const page = items.slice(0, limit).map((row) => ({
    id: givenKey(row.key),
    hub: row.hub,
    version: row.version,
    status: row.status,
    state: row.state,
    createdAt: row.createdAt,
    answeredAt: row.answeredAt,
    ...(row.lane === undefined ? {} : { lane: { name: row.lane.name, key: row.lane.key } }),
  }));
  const last = items[page.length - 1];
  return items.length > limit && last !== undefined
    ? { items: page, cursor: `${last.createdAt}.${last.key}` }
    : { items: page };
}

function readCursor(cursor: string): Cursor {
  const [, createdAt, key] = /^(\d{1,16})\.(.+)$/.exec(cursor) ?? [];
  if (createdAt === undefined || key === undefined) {
    throw new WheelworkError("WW_INVALID_REQUEST", "cursor is not valid", {
      problems: [{ path: "cursor", message: "is not one that a list gave" }],
    });
  }
  return { createdAt: Number(createdAt), key };
}

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
    const problem = error instanceof WheelworkError ? error.message : `${what} threw: ${textOf(error)}`;
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
