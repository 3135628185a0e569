import {
  acceptedWithin,
  durationRange,
  FacetSums,
  fits,
  type Facet,
  type FacetCount,
  type RequestFilter,
  type TimeRange,
} from "../ports/filter.ts";

// Counting by facets. A store has counters (cells) for each facet: one of all its requests, and some for those that were accepted in
// a span of time, in four sizes. A span that a filter means as a whole is its counter. Only at the ends of a range the next smaller
// spans are looked at, and of the smallest the rows. So a count costs about the same, however many requests there are.

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

/** Cells of a level, from one to another, the last included. */
interface CellSpan {
  readonly facet: number;
  readonly level: number;
  readonly from: number;
  readonly to: number;
}

/** A cell as it is stored. */
export interface Cell {
  readonly facet: number;
  readonly cell: number;
  readonly count: number;
  readonly first: number | undefined;
  readonly last: number | undefined;
}

/** What counting asks a store for, step by step. */
export type CountStep =
  | { readonly kind: "cells"; readonly spans: readonly CellSpan[] }
  /** How many rows of each span the filter means. */
  | { readonly kind: "rows"; readonly spans: readonly Span[] };

/** What a store gives for a step. Of rows `cell` and the times say nothing. */
export type Counted = readonly Cell[];

/** Later than every time that a request may have. */
const endOfTime = 2 ** 52;

/** A facet with its number in a store. */
export interface StoredFacet extends Facet {
  readonly id: number;
}

/** Counts the requests that a filter means, by facet. What it yields is a question, and it wants the answer. */
export function* counting(
  facets: Iterable<StoredFacet>,
  filter: RequestFilter,
): Generator<CountStep, FacetCount[], Counted> {
  const sums = new FacetSums();
  const known = new Map<number, { readonly facet: StoredFacet } & Required<TimeRange>>();
  const at = (id: number) => known.get(id) as { facet: StoredFacet; from: number; to: number };
  const count = (id: number, number: number): void => sums.add(at(id).facet, number);
  const { createdAt, answeredAt } = filter;
  const isLive = ({ took }: Facet): boolean => took === undefined;
  const rows: Span[] = [];
  let cells: CellSpan[] = [];
  for (const facet of facets) {
    const fit = fits(facet, filter);
    const { from = 0, to = endOfTime } = acceptedWithin(facet, filter);
    if (fit === "none" || from >= to) continue;
    const { id } = facet;
    known.set(id, { facet, from, to });
    if (fit === "some" || (isLive(facet) && answeredAt !== undefined)) rows.push({ facet: id, from, to });
    else if (createdAt === undefined && answeredAt === undefined)
      cells.push({ facet: id, level: 0, from: 0, to: 0 });
    else cells.push({ facet: id, level: 1, from: cellOf(1, from), to: cellOf(1, to - 1) });
  }
  for (let level = cells[0]?.level ?? 0; cells.length > 0; level++) {
    const inner: CellSpan[] = [];
    for (const cell of yield { kind: "cells", spans: cells }) {
      const { from, to } = at(cell.facet);
      const size = level === 0 ? endOfTime : 2 ** (spanBits[level - 1] as number);
      const begin = Math.max(from, cell.cell * size);
      const end = Math.min(to, (cell.cell + 1) * size);
      const isWhole = level === 0 || (begin === cell.cell * size && end === (cell.cell + 1) * size);
      const [first, last] = [cell.first ?? 0, cell.last ?? 0];
      const after = answeredAt?.from ?? Number.NEGATIVE_INFINITY;
      const before = answeredAt?.to ?? Number.POSITIVE_INFINITY;
      if (answeredAt !== undefined && (last < after || first >= before)) continue;
      const isAnswered = answeredAt === undefined || (first >= after && last < before);
      if (isWhole && isAnswered) count(cell.facet, cell.count);
      else if (level < smallest)
        inner.push({
          facet: cell.facet,
          level: level + 1,
          from: cellOf(level + 1, begin),
          to: cellOf(level + 1, end - 1),
        });
      else rows.push({ facet: cell.facet, from: begin, to: end });
    }
    cells = inner;
  }
  if (rows.length > 0)
    for (const { facet, count: number } of yield { kind: "rows", spans: rows }) count(facet, number);
  return sums.counts();
}

/** The ranges of a filter that the rows of a facet must be in, beside that of the time when they were accepted. */
export function rowRanges(
  filter: RequestFilter,
): readonly { readonly sql: string; readonly value: number }[] {
  const { answeredAt } = filter;
  const took = durationRange(filter);
  const ranges: { readonly sql: string; readonly value: number }[] = [];
  const add = (sql: string, value: number | undefined): void => {
    if (value !== undefined) ranges.push({ sql, value });
  };
  add("answered_at >= ", answeredAt?.from);
  add("answered_at < ", answeredAt?.to);
  add("answered_at - created_at >= ", took?.from);
  add("answered_at - created_at < ", took?.to);
  return ranges;
}
