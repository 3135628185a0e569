import {
  acceptedWithin,
  asksForAnswered,
  attemptsRange,
  durationRange,
  FacetSums,
  fits,
  stuckBounds,
  type Facet,
  type FacetCount,
  type StoreFilter,
  type TimeRange,
} from "../ports/filter.ts";

// Counting by facets. A store has counters (cells) for each facet: one of all its requests, and some for those that were accepted in
// a span of time, in four sizes. A span that a filter means as a whole is its counter. Only at the ends of a range the next smaller
// spans are looked at, and of the smallest the rows. So a count costs about the same, however many requests there are.
//
// A bound on the duration that ends no class of durations is looked up in an index of durations. Which requests have no answer and are
// older than others were is told by counters, too.

/** The spans of the levels, from the largest on, as powers of two of milliseconds: 3 days, 70 minutes, 65 seconds, a second. */
const spanBits = [28, 22, 16, 10] as const;
const smallest = spanBits.length;

/** Which cell of a level has a request. Level 0 is the whole facet. */
const cellOf = (level: number, createdAt: number): number =>
  level === 0 ? 0 : Math.floor(createdAt / 2 ** (spanBits[level - 1] as number));

/** A change of a counter. */
export interface CellChange {
  readonly facet: number;
  readonly level: number;
  readonly cell: number;
  count: number;
  /** When the first and the last of those that were added got their answers; undefined: none has one. */
  first: number | undefined;
  last: number | undefined;
}

/** What a commit changes of the counters. */
export class CellChanges {
  readonly #changes = new Map<number, Map<number, CellChange>>();

  /** One request more of a facet, or one fewer. */
  add(facet: number, createdAt: number, answeredAt: number | undefined, count: 1 | -1): void {
    let cells = this.#changes.get(facet);
    if (cells === undefined) this.#changes.set(facet, (cells = new Map()));
    const cell = cellOf(smallest, createdAt);
    const known = cells.get(cell);
    const time = count < 0 ? undefined : answeredAt;
    if (known === undefined)
      cells.set(cell, { facet, level: smallest, cell, count, first: time, last: time });
    else add(known, count, time, time);
  }

  /** All levels. Counters that stay as they are may be among them. */
  all(): CellChange[] {
    const all: CellChange[] = [];
    for (const [facet, cellsOfFacet] of this.#changes) {
      let below = [...cellsOfFacet.values()];
      all.push(...below);
      for (let level = smallest - 1; level >= 0; level--) {
        const bits = level === 0 ? Number.POSITIVE_INFINITY : levelStep;
        const cells = new Map<number, CellChange>();
        for (const { cell: inner, count, first, last } of below) {
          const cell = bits === levelStep ? Math.floor(inner / 2 ** levelStep) : 0;
          const known = cells.get(cell);
          if (known === undefined) cells.set(cell, { facet, level, cell, count, first, last });
          else add(known, count, first, last);
        }
        below = [...cells.values()];
        all.push(...below);
      }
    }
    return all;
  }
}

/** How many cells of a level make one of the level above, as a power of two. */
const levelStep = 6;

function add(change: CellChange, count: number, first: number | undefined, last: number | undefined): void {
  change.count += count;
  if (first !== undefined) change.first = Math.min(first, change.first ?? first);
  if (last !== undefined) change.last = Math.max(last, change.last ?? last);
}

/** Requests of a facet that were accepted from one time on and before another. */
interface Span {
  readonly facet: number;
  readonly from: number;
  readonly to: number;
}

/** Cells of a facet, from one to another, the last included. */
interface CellSpan {
  readonly facet: number;
  readonly from: number;
  readonly to: number;
  /** Only cells that end at this time or before it are meant as a whole. */
  readonly before: number;
  /** Only cells in which no request ever had an answer are meant as a whole. */
  readonly isUnanswered: boolean;
}

/** What counting asks a store for, step by step. */
export type CountStep =
  /** How many requests each facet has. */
  | { readonly kind: "totals"; readonly facets: readonly number[] }
  /**
   * How many requests the cells of a level have: together those that are meant as a whole, and each that may be meant in part. See
   * `cellsSql`.
   */
  | {
      readonly kind: "cells";
      readonly level: number;
      /** A cell has so many milliseconds, as a power of two. */
      readonly bits: number;
      readonly spans: readonly CellSpan[];
      readonly createdAt: Required<TimeRange>;
      readonly answeredAt: Required<TimeRange>;
    }
  /** How many rows of the facets had their answers after a time from one on, and less than another, in milliseconds. */
  | {
      readonly kind: "durations";
      readonly facets: readonly number[];
      readonly durationMs: Required<TimeRange>;
    }
  /** How many rows of each span the filter means. */
  | { readonly kind: "rows"; readonly spans: readonly Span[] };

/** What a store gives for a step. */
export interface Counted {
  readonly facet: number;
  readonly count: number;
  /** The cell, if it is meant in part; undefined: it counts as a whole. */
  readonly cell?: number | undefined;
}

/**
 * What a store gives for the cells of a step. `span`: the table of spans (facet, since, up_to, before, unanswered: 0 or 1), and what the
 * cells must have besides. The cell of those that are meant as a whole is NULL.
 */
export const cellsSql = (
  span: string,
  { level, bits, createdAt, answeredAt }: CountStep & { readonly kind: "cells" },
): string => {
  const isWhole = `cell.cell << ${bits} >= ${createdAt.from} AND (cell.cell + 1) << ${bits} <= ${createdAt.to}
      AND (cell.cell + 1) << ${bits} <= span.before AND (span.unanswered = 0 OR last_answered IS NULL)
      AND coalesce(first_answered, 0) >= ${answeredAt.from} AND coalesce(last_answered, 0) < ${answeredAt.to}`;
  return `SELECT cell.facet, CASE WHEN ${isWhole} THEN NULL ELSE cell.cell END AS cell, sum(cell.count) AS count
    FROM ${span} AND cell.facet = span.facet AND cell.level = ${level} AND cell.cell BETWEEN span.since AND span.up_to
      AND coalesce(last_answered, 0) >= ${answeredAt.from} AND coalesce(first_answered, 0) < ${answeredAt.to}
    GROUP BY 1, 2`;
};

/** Later than every time that a request may have. */
const endOfTime = 2 ** 52;

/** A facet with its number in a store. */
export interface StoredFacet extends Facet {
  readonly id: number;
}

/** What is counted in parts of an index. */
export interface CountedParts {
  /** The parts have the rows of one label. The index of durations has those of all. */
  readonly hasLabel?: boolean;
  /** The counters do not tell which requests are meant: the filter means more than one label of each. */
  readonly byRow?: boolean;
}

/** Counts the requests that a filter means, by facet. What it yields is a question, and it wants the answer. */
export function* counting(
  facets: Iterable<StoredFacet>,
  filter: StoreFilter,
  { hasLabel = false, byRow = false }: CountedParts = {},
): Generator<CountStep, FacetCount[], readonly Counted[]> {
  const sums = new FacetSums();
  const known = new Map<
    number,
    { readonly facet: StoredFacet; readonly from: number; readonly to: number }
  >();
  const at = (id: number) => known.get(id) as { facet: StoredFacet; from: number; to: number };
  const add = ({ facet, count }: Counted): void => sums.add(at(facet).facet, count);
  const createdAt = { from: 0, to: endOfTime, ...filter.createdAt };
  const answeredAt = { from: 0, to: endOfTime, ...filter.answeredAt };
  const durationMs = { from: 0, to: endOfTime, ...durationRange(filter) };
  const hasRange = filter.createdAt !== undefined || filter.answeredAt !== undefined;
  const totals: number[] = [];
  const durations: number[] = [];
  const rows: Span[] = [];
  const isUnanswered = new Map<number, boolean>();
  let spans: CellSpan[] = [];
  const addSpan = (level: number, id: number, from: number, to: number): void => {
    const ofCells = { from: cellOf(level, from), to: cellOf(level, to - 1) };
    const unanswered = isUnanswered.get(id) === true;
    spans.push({
      facet: id,
      ...ofCells,
      before: unanswered ? at(id).to : endOfTime,
      isUnanswered: unanswered,
    });
  };
  for (const facet of facets) {
    const fit = fits(facet, filter);
    const { from = 0, to = endOfTime } = acceptedWithin(facet, filter);
    if (fit === "none" || from >= to) continue;
    const { id, took } = facet;
    known.set(id, { facet, from, to });
    const older = byRow || asksForAnswered(filter) ? undefined : stuckBounds(facet, filter)?.acceptedBefore;
    if (older !== undefined && filter.attempts === undefined && older > from) {
      // Those that are older and have no answer are stuck, whatever else their rows say.
      const end = Math.min(older, to);
      known.set(id, { facet, from, to: end });
      isUnanswered.set(id, true);
      addSpan(1, id, from, end);
      if (end < to) rows.push({ facet: id, from: end, to });
      continue;
    }
    const isOfClass = took !== undefined && fit === "some" && !hasLabel && !hasRange && !byRow;
    // Not all that live have an answer.
    const isByRow = byRow || fit === "some" || (took === undefined && filter.answeredAt !== undefined);
    if (isOfClass) durations.push(id);
    else if (isByRow) rows.push({ facet: id, from, to });
    else if (hasRange) addSpan(1, id, from, to);
    else totals.push(id);
  }
  if (totals.length > 0) for (const counted of yield { kind: "totals", facets: totals }) add(counted);
  if (durations.length > 0)
    for (const counted of yield { kind: "durations", facets: durations, durationMs }) add(counted);
  for (let level = 1; spans.length > 0; level++) {
    const bits = spanBits[level - 1] as number;
    const asked = spans;
    spans = [];
    for (const counted of yield { kind: "cells", level, bits, spans: asked, createdAt, answeredAt }) {
      const { facet, cell } = counted;
      if (cell === undefined) {
        add(counted);
        continue;
      }
      const from = Math.max(at(facet).from, cell * 2 ** bits);
      const to = Math.min(at(facet).to, (cell + 1) * 2 ** bits);
      if (from >= to) continue;
      if (level === smallest) rows.push({ facet, from, to });
      else addSpan(level + 1, facet, from, to);
    }
  }
  if (rows.length > 0) for (const counted of yield { kind: "rows", spans: rows }) add(counted);
  return sums.counts();
}

/** The ranges of a filter that rows must be in, beside that of the time when they were accepted. */
export function rowRanges(filter: StoreFilter): readonly { readonly sql: string; readonly value: number }[] {
  const { answeredAt } = filter;
  const took = durationRange(filter);
  const attempts = attemptsRange(filter);
  const ranges: { readonly sql: string; readonly value: number }[] = [];
  const add = (sql: string, value: number | undefined): void => {
    if (value !== undefined) ranges.push({ sql, value });
  };
  add("answered_at >= ", answeredAt?.from);
  add("answered_at < ", answeredAt?.to);
  // Not as an index of durations has it: no plan is to take that index for rows that are asked for in the order of another one.
  add("answered_at >= created_at + ", took?.from);
  add("answered_at < created_at + ", took?.to);
  add("coalesce(attempts, 0) >= ", attempts?.from);
  add("coalesce(attempts, 0) < ", attempts?.to);
  return ranges;
}
