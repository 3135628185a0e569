import type { HistoryEvent } from "@wheelwork/core";
import type {
  DeadLetterView,
  LaneView,
  OpenCallView,
  RequestPage,
  RequestView,
  ScheduleView,
} from "@wheelwork/engine";

const latest = 8.64e15;

/** A time as an ISO string. A deadline may be later than the last day that a Date can hold. Then it shows that day. */
export const iso = (ms: number): string => new Date(Math.min(ms, latest)).toISOString();

const isoIf = <K extends string>(name: K, ms: number | undefined): { readonly [name in K]?: string } =>
  (ms === undefined ? {} : { [name]: iso(ms) }) as { readonly [name in K]?: string };

/** A request as `GET /requests/{id}` shows it. */
export function requestView(view: RequestView): object {
  const { answer, openCalls, incident, viewProblem } = view;
  return {
    ...rowView(view),
    ...isoIf("endedAt", view.endedAt),
    request: view.request,
    ...(answer === undefined ? {} : { answer }),
    ...(view.view === undefined ? {} : { view: view.view }),
    ...(viewProblem === undefined ? {} : { viewProblem }),
    ...(openCalls === undefined ? {} : { openCalls: openCalls.map(callView) }),
    ...(view.moreCalls === undefined ? {} : { moreCalls: view.moreCalls }),
    ...(view.inputsLeft === undefined ? {} : { inputsLeft: view.inputsLeft }),
    ...(incident === undefined
      ? {}
      : { incident: { ...incident, at: iso(incident.at), error: withoutStack(incident.error) } }),
    ...isoIf("startAt", view.startAt),
    ...(view.lane === undefined ? {} : { lane: laneView(view.lane) }),
  };
}

const laneView = ({ waitsUntil, ...lane }: LaneView): object => ({
  ...lane,
  ...isoIf("waitsUntil", waitsUntil),
});

/** A request as `GET /requests` lists it. */
export function rowView(row: RequestPage["items"][number]): object {
  return {
    id: row.id,
    hub: row.hub,
    version: row.version,
    status: row.status,
    state: row.state,
    createdAt: iso(row.createdAt),
    ...isoIf("answeredAt", row.answeredAt),
    ...(row.activity === undefined ? {} : { activity: row.activity }),
    ...(row.outcome === undefined ? {} : { outcome: row.outcome }),
    ...(row.code === undefined ? {} : { code: row.code }),
    ...(row.lane === undefined ? {} : { lane: row.lane }),
    ...(row.labels === undefined ? {} : { labels: row.labels }),
  };
}

/** A schedule, with its times as ISO strings. */
export const scheduleView = ({ name, status, id, lastAt, nextAt, nextDue }: ScheduleView): object => ({
  name,
  status,
  id,
  lastAt: iso(lastAt),
  ...isoIf("nextAt", nextAt),
  ...isoIf("nextDue", nextDue),
});

function callView({ call, callee, attempt, due, input, progress }: OpenCallView): object {
  const shown = { call, callee, attempt, ...isoIf("due", due), input };
  return progress === undefined ? shown : { ...shown, progress };
}

const times: ReadonlySet<string> = new Set(["at", "due", "deadline", "answerBy", "startAt"]);

/** An event of a history, with its times as ISO strings. */
export function eventView(event: HistoryEvent): object {
  const view = withIsoTimes(event);
  if ("calls" in event && event.calls !== undefined) view["calls"] = event.calls.map(withIsoTimes);
  if (event.type === "incident") view["error"] = withoutStack(event.error);
  return view;
}

function withIsoTimes(fields: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]: [string, unknown]) => [
      name,
      times.has(name) && typeof value === "number" ? iso(value) : value,
    ]),
  );
}

/** Stacks belong in the log. Over HTTP they would show internals of the server. */
function withoutStack(error: object): object {
  return Object.fromEntries(Object.entries(error).filter(([name]) => name !== "stack"));
}

/** A record that could not be processed. */
export const letterView = ({ at, ...letter }: DeadLetterView): object => ({ ...letter, at: iso(at) });
