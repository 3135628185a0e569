import type { Answer, Labels } from "@wheelwork/core";
import type { IncidentKind } from "@wheelwork/core/kernel";
import type { RequestStatus } from "./ports.ts";

/** What a run that goes on does: it has open calls, waits for a signal or a time, or makes a call again that has failed. */
export type Activity = "calling" | "waiting" | "retrying";

/**
 * What a filter says of a status: a status, what a running request does, or how an ended request was answered. `cancelled` is an
 * ended request with the error WW_CANCELLED, and one of those with an error. `stuck` is a running request that somebody should look
 * at: it is retrying, or it is over its time by more than 10 s and nobody has called it back, or it has no answer yet and is older
 * than 99 % of the requests of its hub were when they got theirs.
 */
export type StatusFilter = RequestStatus | Activity | Answer["kind"] | "cancelled" | "stuck";

/** All of them. */
export const statusFilters = [
  "pending",
  "running",
  "calling",
  "waiting",
  "retrying",
  "stuck",
  "incident",
  "ended",
  "result",
  "error",
  "timeout",
  "cancelled",
  "lost",
] as const satisfies readonly StatusFilter[];

/** Times from one on and before another, in milliseconds since 1970. */
export interface TimeRange {
  readonly from?: number;
  readonly to?: number;
}

/** Which requests are meant. All that is given must hold. Of several values of one field, one must. */
export interface RequestFilter {
  readonly hub?: string | readonly string[];
  /** Of incidents, those of calls of hubs and of tells are meant too: somebody must look after them. Only tells are lost. */
  readonly status?: StatusFilter | readonly StatusFilter[];
  readonly state?: string | readonly string[];
  /** The code of the error that was the answer, or that has parked the run. */
  readonly code?: string | readonly string[];
  /** Of incidents: what the messages of a group have in common, as `incidents` tells it. */
  readonly message?: string | readonly string[];
  /** When the request was accepted. */
  readonly createdAt?: TimeRange;
  /** When it got its answer. */
  readonly answeredAt?: TimeRange;
  /** How long its answer took, in milliseconds: at least, and less than. Requests without an answer are not meant. */
  readonly durationMs?: { readonly min?: number; readonly max?: number };
  /** The highest attempt of the open calls of a running request: at least, and at most. Others are not meant. */
  readonly attempts?: { readonly min?: number; readonly max?: number };
  /** What the hub has made of the request, by name: `{ tenant: "acme", region: ["eu", "us"] }`. */
  readonly labels?: Readonly<Record<string, string | readonly string[]>>;
}

/** The labels that texts such as `tenant=acme` say. Of several values of one name, one is meant. */
export function labelsOfTexts(given: readonly string[]): Record<string, readonly string[]> {
  const byName = Map.groupBy(given, (label) => label.slice(0, label.indexOf("=")));
  return Object.fromEntries(
    Array.from(byName, ([name, labels]) => [name, labels.map((label) => label.slice(name.length + 1))]),
  );
}

/** A place in a list. */
export interface ListPlace {
  readonly createdAt: number;
  readonly key: string;
}

/** Which requests a store means: as above, with what the status `stuck` depends on. */
export interface StoreFilter extends RequestFilter {
  /** Absent: only those that are retrying are stuck. */
  readonly stuck?: StuckBounds;
  /** Counts tell the messages of incidents apart. The filter means incidents only, and has neither ranges nor labels. */
  readonly byMessage?: true;
}

/** Which runs are stuck at a moment, besides those that are retrying. */
interface StuckBounds {
  /** Those that were due before this time. */
  readonly dueBefore: number;
  /** By hub: those that were accepted before this time, and have no answer. */
  readonly acceptedBefore: Readonly<Record<string, number>>;
}

/** A part of a list of requests. */
export interface RequestList extends StoreFilter {
  /** The order of the list, by the time at which requests were accepted. Default: `newest` first. */
  readonly order?: "newest" | "oldest";
  readonly limit: number;
  /** List only requests that come after this place; `isIncluded`: what is there as well. */
  readonly after?: ListPlace & { readonly isIncluded?: boolean };
}

/**
 * What requests have in common that are alike for lists: a store has an index and counters for each facet. Requests that no list
 * shows have none.
 */
export interface Facet {
  readonly hub: string;
  readonly status: RequestStatus;
  /** Only of a running one. */
  readonly activity?: Activity | undefined;
  readonly state: string;
  readonly root: boolean;
  /** How an ended one was answered. */
  readonly outcome?: Answer["kind"] | undefined;
  /** The code of the error that was the answer, or that has parked the run. */
  readonly code?: string | undefined;
  /** The class of the time that its answer took, only of an ended one: see `tookClass`. */
  readonly took?: number | undefined;
}

/** How many requests have a facet. */
export interface FacetCount extends Facet {
  readonly count: number;
  /** Only with `byMessage`. undefined: an earlier version has parked them, and stored no message for lists. */
  readonly message?: string | undefined;
}

/** A facet with its count, and nothing else. */
const counted = (facet: Facet, message: string | undefined, count: number): FacetCount => {
  const { hub, status, activity, state, root, outcome, code, took } = facet;
  const of = { hub, status, activity, state, root, outcome, code, took, count };
  return message === undefined ? of : { ...of, message };
};

/** What a facet is made of: a row of a run, or of an answer. */
export interface FacetRow {
  readonly hub: string;
  readonly status: RequestStatus;
  readonly activity?: Activity | undefined;
  readonly state: string;
  readonly root: boolean;
  readonly createdAt: number;
  readonly answeredAt?: number | undefined;
  readonly endedAt?: number | undefined;
  /** Only of a row of an answer. */
  readonly answer?: Answer | undefined;
  readonly labels?: Labels | undefined;
  /** Only of a row of a run that is parked. */
  readonly incident?: IncidentKind | undefined;
  /** When a run is due next. */
  readonly due?: number | undefined;
  /** Of a running one: the highest attempt of its open calls. */
  readonly attempts?: number | undefined;
}

/**
 * The facet of a row; undefined: no list shows it. A request whose run goes on after its answer is listed by the row of its run.
 */
export function facetOf(row: FacetRow): Facet | undefined {
  const { hub, status, activity, state, root, createdAt, answeredAt, answer, incident } = row;
  if (status === "ended" || status === "lost") {
    if (row.endedAt === undefined || !(root || status === "lost")) return undefined;
    const took = tookClass((answeredAt ?? createdAt) - createdAt);
    const code = answer?.kind === "error" ? answer.code : undefined;
    return { hub, status, state, root, outcome: answer?.kind, code, took };
  }
  if (answer !== undefined || !(root || status === "incident")) return undefined;
  const { code } = (status === "incident" ? incident : undefined) ?? {};
  return {
    hub,
    status,
    activity: status === "running" ? (activity ?? "calling") : undefined,
    state,
    root,
    code,
  };
}

const [millisecond, second, minute, hour, day] = [1, 1000, 60_000, 3_600_000, 86_400_000];

/**
 * From when on durations have the next class, in milliseconds. These are the times that people ask for: a count of those that took
 * less than a second, or five minutes or longer, then needs no row.
 */
export const durationBegins: readonly number[] = [
  ...[0, 1, 5, 10, 20, 50, 100, 200, 500].map((count) => count * millisecond),
  ...[1, 2, 5, 10, 30].map((count) => count * second),
  ...[1, 2, 5, 10, 15, 30].map((count) => count * minute),
  ...[1, 2, 6, 12].map((count) => count * hour),
  ...[1, 2, 7, 30, 90, 365].map((count) => count * day),
];

/** The number of the first of these classes. Rows that earlier versions have written have lower ones: see `durationsOf`. */
const firstClass = 100;

/** The class of a duration. */
function tookClass(ms: number): number {
  let [from, to] = [0, durationBegins.length];
  while (to - from > 1) {
    const middle = (from + to) >> 1;
    if (ms < (durationBegins[middle] as number)) to = middle;
    else from = middle;
  }
  return firstClass + from;
}

/** From when on durations have a class of an earlier version: each ends at four times the time of the one before. */
export const beginOfFormerClass = (took: number): number => (took === 0 ? 0 : 4 ** (took - 1));

/** The durations of a class, in milliseconds: from one on, and less than another. */
export function durationsOf(took: number): { readonly from: number; readonly to: number } {
  if (took < firstClass) return { from: beginOfFormerClass(took), to: beginOfFormerClass(took + 1) };
  const from = durationBegins[took - firstClass] ?? Number.POSITIVE_INFINITY;
  return { from, to: durationBegins[took - firstClass + 1] ?? Number.POSITIVE_INFINITY };
}

/** What a filter means of a facet: nothing, all of it but for time ranges, or what its rows say. */
export type Fit = "none" | "all" | "some";

/** What the filter means of a facet. `some`: it depends on what each row says, such as how long its answer took. */
export function fits(facet: Facet, filter: StoreFilter): Fit {
  const { hub, status, state, code, durationMs, attempts } = filter;
  const isMeant =
    isOneOf(facet.hub, hub) &&
    isOneOf(facet.state, state) &&
    isOneOf(facet.code, code) &&
    hasStatus(facet, status);
  if (!isMeant) return "none";
  const stuck = stuckBounds(facet, filter);
  if (attempts !== undefined) {
    const isRetried = facet.activity === "retrying" || (attempts.min ?? 0) <= 1;
    return facet.status === "running" && isRetried ? "some" : "none";
  }
  if (stuck !== undefined) return "some";
  if (durationMs === undefined) return "all";
  const { min = 0, max = Number.POSITIVE_INFINITY } = durationMs;
  if (facet.took === undefined) return "some";
  const { from, to } = durationsOf(facet.took);
  if (to <= min || from >= max) return "none";
  return min <= from && to <= max ? "all" : "some";
}

function isOneOf<T>(value: T | undefined, given: T | readonly T[] | undefined): boolean {
  if (given === undefined) return true;
  return Array.isArray(given) ? given.includes(value) : value === given;
}

function hasStatus(facet: Facet, given: RequestFilter["status"]): boolean {
  if (given === undefined) return facet.root;
  return typeof given === "string" ? isStatus(facet, given) : given.some((one) => isStatus(facet, one));
}

function isStatus({ status, activity, root, outcome, code }: Facet, given: StatusFilter): boolean {
  switch (given) {
    case "incident":
    case "lost":
      return status === given;
    case "calling":
    case "waiting":
    case "retrying":
      return root && activity === given;
    case "result":
    case "error":
    case "timeout":
      return status === "ended" && outcome === given;
    case "cancelled":
      return status === "ended" && code === "WW_CANCELLED";
    case "stuck":
      return root && status === "running";
    default:
      return root && status === given;
  }
}

/** When rows of a facet are stuck. */
export interface FacetStuck {
  readonly dueBefore: number;
  readonly acceptedBefore: number;
}

/** When a filter means rows of a facet, if only because they are stuck; undefined: each for another reason, or none. */
export function stuckBounds(facet: Facet, { status = [], stuck }: StoreFilter): FacetStuck | undefined {
  const given = typeof status === "string" ? [status] : status;
  if (!given.includes("stuck") || facet.status !== "running" || facet.activity === "retrying")
    return undefined;
  if (given.some((one) => one !== "stuck" && isStatus(facet, one))) return undefined;
  return { dueBefore: stuck?.dueBefore ?? 0, acceptedBefore: stuck?.acceptedBefore[facet.hub] ?? 0 };
}

/** Whether a row is stuck. */
function isStuck(
  { createdAt, answeredAt, due }: Pick<FacetRow, "createdAt" | "answeredAt" | "due">,
  { dueBefore, acceptedBefore }: FacetStuck,
): boolean {
  return (due !== undefined && due < dueBefore) || (answeredAt === undefined && createdAt < acceptedBefore);
}

/** Whether a time is in a range; undefined is in none but the one without bounds. */
function isWithin(time: number | undefined, range: TimeRange | undefined): boolean {
  if (range === undefined) return true;
  if (time === undefined) return range.from === undefined && range.to === undefined;
  return time >= (range.from ?? Number.NEGATIVE_INFINITY) && time < (range.to ?? Number.POSITIVE_INFINITY);
}

/** The duration that a filter means, as a range of times. */
export const durationRange = ({ durationMs }: RequestFilter): TimeRange | undefined =>
  durationMs === undefined
    ? undefined
    : {
        from: durationMs.min ?? 0,
        ...(durationMs.max === undefined ? {} : { to: durationMs.max }),
      };

/** The attempts that a filter means, as a range. */
export const attemptsRange = ({ attempts }: RequestFilter): TimeRange | undefined =>
  attempts === undefined
    ? undefined
    : { from: attempts.min ?? 0, ...(attempts.max === undefined ? {} : { to: attempts.max + 1 }) };

/** Whether a filter means requests that have their answer only. */
export const asksForAnswered = ({ answeredAt, durationMs }: RequestFilter): boolean =>
  answeredAt !== undefined || durationMs !== undefined;

/** Whether a filter means a request with this row. */
export function isMeant(row: FacetRow, filter: StoreFilter): boolean {
  const facet = facetOf(row);
  return facet !== undefined && isOfFacet(row, facet, filter);
}

/** The same of a row whose facet is known. */
export function isOfFacet(
  row: Pick<FacetRow, "createdAt" | "answeredAt" | "labels" | "due" | "attempts" | "incident">,
  facet: Facet,
  filter: StoreFilter,
): boolean {
  if (fits(facet, filter) === "none") return false;
  const stuck = stuckBounds(facet, filter);
  if (stuck !== undefined && !isStuck(row, stuck)) return false;
  const { createdAt, answeredAt } = row;
  const took = answeredAt === undefined ? undefined : answeredAt - createdAt;
  return (
    isWithin(createdAt, filter.createdAt) &&
    isWithin(answeredAt, filter.answeredAt) &&
    isWithin(took, durationRange(filter)) &&
    hasLabels(row, filter) &&
    isWithin(row.attempts ?? 0, attemptsRange(filter)) &&
    isOneOf(row.incident?.message, filter.message)
  );
}

/** Whether a row has the labels that a filter means. */
function hasLabels({ labels = {} }: Pick<FacetRow, "labels">, filter: RequestFilter): boolean {
  const sought = Object.entries(filter.labels ?? {});
  return sought.every(([name, value]) => Object.hasOwn(labels, name) && isOneOf(labels[name], value));
}

/**
 * When requests of a facet were accepted that a filter may mean: from when on, and before when. A request has its answer after it was
 * accepted, and as much later as the class of its duration says at most.
 */
export function acceptedWithin({ took }: Facet, { createdAt, answeredAt }: RequestFilter): TimeRange {
  const longest = took === undefined ? Number.POSITIVE_INFINITY : durationsOf(took).to;
  const from = Math.max(createdAt?.from ?? 0, (answeredAt?.from ?? 0) - longest);
  const to = Math.min(createdAt?.to ?? Number.POSITIVE_INFINITY, answeredAt?.to ?? Number.POSITIVE_INFINITY);
  return { ...(from > 0 ? { from } : {}), ...(to === Number.POSITIVE_INFINITY ? {} : { to }) };
}

/** Compares two places of a list in its order. */
export function compareInList(a: ListPlace, b: ListPlace, order: RequestList["order"] = "newest"): number {
  const rising = a.createdAt - b.createdAt || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
  return order === "newest" ? -rising : rising;
}

/** Whether a list has this place in the part that is asked for. */
export function isListedAfter(place: ListPlace, { after, order }: RequestList): boolean {
  if (after === undefined) return true;
  const compared = compareInList(place, after, order);
  return after.isIncluded === true ? compared >= 0 : compared > 0;
}

/** From which place to which one a list goes. `isIncluded`: what is there is a part of it. */
export interface ListBounds {
  readonly from?: ListPlace & { readonly isIncluded: boolean };
  readonly to?: ListPlace & { readonly isIncluded: boolean };
}

/** The bounds of a list as places, for one facet: an index that has these in their order goes from one to the other. */
export function boundsOf(facet: Facet, list: RequestList): ListBounds {
  const { after, order } = list;
  const { from: since, to: before } = acceptedWithin(facet, list);
  // No key is shorter.
  let from = since === undefined ? undefined : { createdAt: since, key: "", isIncluded: true };
  let to = before === undefined ? undefined : { createdAt: before, key: "", isIncluded: false };
  if (after !== undefined) {
    const place = { ...after, isIncluded: after.isIncluded === true };
    if (order === "oldest") {
      if (from === undefined || compareInList(place, from, "oldest") > 0) from = place;
    } else if (to === undefined || compareInList(place, to, "oldest") < 0) to = place;
  }
  return { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) };
}

/** The sums of counts by facet. */
export class FacetSums {
  readonly #sums = new Map<string, { facet: Facet; message: string | undefined; count: number }>();

  /** @param message Only with `byMessage`. */
  add(facet: Facet, count: number, message?: string): void {
    const name = message === undefined ? facetName(facet) : `${facetName(facet)}\n${message}`;
    const known = this.#sums.get(name);
    if (known === undefined) this.#sums.set(name, { facet, message, count });
    else known.count += count;
  }

  counts(): FacetCount[] {
    return [...this.#sums.values()]
      .filter(({ count }) => count !== 0)
      .map(({ facet, message, count }) => counted(facet, message, count));
  }
}

/** A name that only equal facets have. No part of it has a line break, but perhaps names that hubs make up. */
export const facetName = ({ hub, status, activity, state, root, outcome, code, took }: Facet): string =>
  `${hub}\n${status}\n${activity ?? ""}\n${state}\n${root ? 1 : 0}\n${outcome ?? ""}\n${took ?? 0}\n${code ?? ""}`;
