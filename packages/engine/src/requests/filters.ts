import { WheelworkError, type Answer, type Problem } from "@wheelwork/core";
import { isLabelName, isLabelValue, mustBeLabelName, mustBeLabelValue } from "@wheelwork/core/kernel";
import {
  compareInList,
  statusFilters,
  type Activity,
  type FacetCount,
  type ListPlace,
  type RequestFilter,
  type RequestList,
  type StatusFilter,
  type StoreFilter,
  type TimeRange,
} from "../ports/filter.ts";
import { areTexts, isObject, mustBeObject, mustBeTexts } from "./asked.ts";
import { givenKey } from "../ports/keys.ts";
import type { RequestRow } from "../ports/ports.ts";
import type { IncidentGroup, RequestCounts, RequestPage, RequestsOptions } from "./api.ts";

const statuses: ReadonlySet<StatusFilter> = new Set(statusFilters);

/** All that a filter may say, and what only the engine says. */
const filterFields: ReadonlySet<string> = new Set<keyof StoreFilter>([
  "hub",
  "status",
  "state",
  "code",
  "message",
  "createdAt",
  "answeredAt",
  "durationMs",
  "attempts",
  "labels",
  "stuck",
  "byMessage",
]);
const rangeFields = {
  createdAt: ["from", "to"],
  answeredAt: ["from", "to"],
  durationMs: ["min", "max"],
  attempts: ["min", "max"],
} as const;
const isUnknown = "is not known";

/** What is wrong with a filter. */
export function problemsOf(filter: RequestFilter): Problem[] {
  const problems: Problem[] = [];
  const add = (path: string, message: string): void => void problems.push({ path, message });
  for (const path of ["hub", "status", "state", "code", "message"] as const) {
    const given = filter[path] as unknown;
    if (given === undefined) continue;
    if (!areTexts(given)) add(path, mustBeTexts);
    else if (path === "status" && ![given].flat().every((value) => statuses.has(value as StatusFilter)))
      add(path, `must be one of ${[...statuses].join(", ")}`);
  }
  // A filter that says something else would mean more than its author thinks.
  for (const path of Object.keys(filter)) if (!filterFields.has(path)) add(path, isUnknown);
  for (const [path, ends] of Object.entries(rangeFields)) {
    const range: unknown = filter[path as keyof typeof rangeFields];
    if (range === undefined) continue;
    if (!isObject(range)) add(path, mustBeObject);
    else
      for (const name of Object.keys(range))
        if (!(ends as readonly string[]).includes(name)) add(`${path}.${name}`, isUnknown);
  }
  if (filter.labels !== undefined && !isObject(filter.labels)) add("labels", mustBeObject);
  for (const [name, value] of Object.entries(isObject(filter.labels) ? filter.labels : {})) {
    if (!isLabelName(name)) add(`labels.${name}`, mustBeLabelName);
    const values: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (!values.every(isLabelValue)) add(`labels.${name}`, mustBeLabelValue);
  }
  for (const path of ["createdAt", "answeredAt"] as const) {
    const { from, to }: TimeRange = filter[path] ?? {};
    if (!isTime(from)) add(`${path}.from`, mustBeMs);
    if (!isTime(to)) add(`${path}.to`, mustBeMs);
  }
  for (const end of ["min", "max"] as const) {
    const given = filter.attempts?.[end];
    if (given !== undefined && !(Number.isSafeInteger(given) && given >= 0))
      add(`attempts.${end}`, "must be a whole number, 0 or more");
  }
  const { min, max } = filter.durationMs ?? {};
  if (!isTime(min)) add("durationMs.min", mustBeMs);
  if (!isTime(max)) add("durationMs.max", mustBeMs);
  return problems;
}

const mustBeMs = "must be a whole number of milliseconds, 0 or more";

const isTime = (value: unknown): boolean =>
  value === undefined || (Number.isSafeInteger(value) && Number(value) >= 0);

function refuse(problems: readonly Problem[]): void {
  if (problems.length === 0) return;
  const names = problems.map(({ path }) => path).join(", ");
  // A caller may name a field as long as a book.
  const what = names.length <= 1000 ? names : "what is asked for";
  throw new WheelworkError(
    "WW_INVALID_REQUEST",
    `${what} ${problems.length === 1 ? "is" : "are"} not valid`,
    {
      problems,
    },
  );
}

/** @throws WheelworkError WW_INVALID_REQUEST with every problem. */
export const checkFilter = (filter: RequestFilter): void => refuse(problemsOf(filter));

/** The list that is asked for. @throws WheelworkError WW_INVALID_REQUEST with every problem. */
export function listOf({ cursor, limit = 50, order = "newest", ...filter }: RequestsOptions): RequestList {
  const problems = problemsOf(filter);
  if (!isLimit(limit)) problems.push(badLimit);
  if (order !== "newest" && order !== "oldest")
    throw new WheelworkError("WW_INVALID_REQUEST", "order is not valid", {
      problems: [
        {
          path: "order",
          message: "must be newest, oldest, duration or attempts; of a search newest or oldest",
        },
      ],
    });
  const after = cursor === undefined ? undefined : readCursor(cursor);
  if (cursor !== undefined && after === undefined) problems.push(badCursor);
  refuse(problems);
  return { ...filter, limit, order, ...(after === undefined ? {} : { after }) };
}

const badCursor = { path: "cursor", message: "is not one that a list gave" };

/** The cursor of another list. */
export const refuseCursor = (): WheelworkError =>
  new WheelworkError("WW_INVALID_REQUEST", "cursor is not valid", { problems: [badCursor] });

const isLimit = (limit: number): boolean => Number.isInteger(limit) && limit >= 1 && limit <= 1000;
const badLimit = { path: "limit", message: "must be an integer from 1 to 1000" };

/** How many things a page has at most. @throws WheelworkError WW_INVALID_REQUEST. */
export function limitOf(limit = 50): number {
  refuse(isLimit(limit) ? [] : [badLimit]);
  return limit;
}

function readCursor(cursor: unknown): ListPlace | undefined {
  const [, createdAt, key] = /^(\d{1,16})\.(.+)$/.exec(typeof cursor === "string" ? cursor : "") ?? [];
  return createdAt === undefined || key === undefined ? undefined : { createdAt: Number(createdAt), key };
}

/** The first rows of a list as a page; there may be more of them than one page holds. */
export function pageOf(
  rows: Iterable<RequestRow>,
  { limit, order }: Pick<RequestList, "limit"> & { readonly order?: RequestList["order"] | "as given" },
): RequestPage {
  const all = [...rows];
  const sorted = order === "as given" ? all : all.toSorted((a, b) => compareInList(a, b, order));
  const items = sorted.slice(0, limit + 1);
  const page = items.slice(0, limit).map((row) => ({
    id: givenKey(row.key),
    hub: row.hub,
    version: row.version,
    status: row.status,
    state: row.state,
    createdAt: row.createdAt,
    answeredAt: row.answeredAt,
    ...(row.activity === undefined ? {} : { activity: row.activity }),
    ...(row.outcome === undefined ? {} : { outcome: row.outcome }),
    ...(row.code === undefined ? {} : { code: row.code }),
    ...(row.lane === undefined ? {} : { lane: { name: row.lane.name, key: row.lane.key } }),
    ...(row.labels === undefined ? {} : { labels: row.labels }),
  }));
  const last = items[page.length - 1];
  return items.length > limit && last !== undefined
    ? { items: page, cursor: `${last.createdAt}.${last.key}` }
    : { items: page };
}

/** Counts of incidents by facet and message, as callers see them. */
export function incidentGroups(counts: readonly FacetCount[]): IncidentGroup[] {
  const sums = new Sums<Omit<IncidentGroup, "count">>();
  for (const { hub, state, code, message, count } of counts)
    sums.add({ hub, state, ...given("code", code), ...given("message", message) }, count);
  return sums.all().toSorted((a, b) => b.count - a.count);
}

/** Counts by facet, as callers see them. */
export function requestCounts(counts: readonly FacetCount[]): RequestCounts {
  const states = new Sums<Omit<RequestCounts["states"][number], "count">>();
  const outcomes = new Sums<Omit<RequestCounts["outcomes"][number], "count">>();
  let all = 0;
  for (const { hub, status, activity, state, outcome, code, count } of counts) {
    all += count;
    states.add({ hub, status, ...given("activity", activity), state }, count);
    if (outcome !== undefined) outcomes.add({ hub, outcome, ...given("code", code) }, count);
  }
  return { count: all, states: states.all(), outcomes: outcomes.all() };
}

const given = <K extends string, V extends Activity | Answer["kind"] | string>(
  name: K,
  value: V | undefined,
): { readonly [name in K]?: V } =>
  (value === undefined ? {} : { [name]: value }) as { readonly [name in K]?: V };

/** Sums by what is counted, in the order of that. */
class Sums<T extends object> {
  readonly #sums = new Map<string, T & { count: number }>();

  add(of: T, count: number): void {
    const name = JSON.stringify(of);
    const known = this.#sums.get(name);
    if (known === undefined) this.#sums.set(name, { ...of, count });
    else known.count += count;
  }

  all(): (T & { readonly count: number })[] {
    return [...this.#sums].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, sum]) => sum);
  }
}
