import { compareInList, durationBegins, type RequestFilter, type RequestList } from "../ports/filter.ts";
import type { RequestRow } from "../ports/ports.ts";
import type { RequestPage, RequestsOptions } from "./api.ts";
import { listOf, pageOf, refuseCursor } from "./filters.ts";

/** The orders by a value, the largest first. */
export type ValueOrder = "duration" | "attempts";

/** What a list by a value works with: counts and lists of all shards. */
export interface Counted {
  count(filter: RequestFilter): Promise<number>;
  /** The first rows of a part of a list, in its order. */
  rows(list: RequestList): Promise<readonly RequestRow[]>;
}

/** So many requests are sorted at once. */
const maxSorted = 1000;
/** Beyond all values. */
const endless = Number.MAX_SAFE_INTEGER;

/** A place in a list by a value: a request with this value. */
interface ValuePlace {
  readonly value: number;
  readonly createdAt: number;
  readonly key: string;
}

/** Values of one kind. */
interface Values {
  /** Values from which counts cost little, rising. */
  readonly begins: readonly number[];
  /** What a row has; undefined: rows do not tell. */
  readonly of: ((row: RequestRow) => number) | undefined;
  /** The filter for the values from one on and below another one. */
  within(filter: RequestFilter, from: number, to: number): RequestFilter;
  /** The values that a filter means. */
  bounds(filter: RequestFilter): { readonly least: number; readonly end: number };
}

const bounded = (from: number, to: number): { readonly min: number; readonly max?: number } =>
  to >= endless ? { min: from } : { min: from, max: to };

const kinds: { readonly [order in ValueOrder]: Values } = {
  duration: {
    begins: durationBegins,
    of: ({ createdAt, answeredAt = createdAt }) => answeredAt - createdAt,
    within: (filter, from, to) => ({ ...filter, durationMs: bounded(from, to) }),
    bounds: ({ durationMs: { min = 0, max = endless } = {} }) => ({ least: min, end: max }),
  },
  attempts: {
    begins: Array.from({ length: 21 }, (_, power) => 2 ** power),
    of: undefined,
    within: (filter, from, to) => ({ ...filter, attempts: bounded(from, to >= endless ? endless : to - 1) }),
    bounds: ({ attempts: { min = 1, max = endless } = {} }) => ({
      least: Math.max(1, min),
      end: max >= endless ? endless : max + 1,
    }),
  },
};

/**
 * A page of the requests that a filter means, those with the largest values first, and of equal ones the newest. No index has this order.
 * But counts by classes of values cost little, and a count between two classes looks at the rows of one. So it halves the values until
 * few enough requests are left to sort.
 */
export async function largestFirst(
  { order, cursor, ...options }: RequestsOptions & { readonly order: ValueOrder },
  counted: Counted,
): Promise<RequestPage> {
  const { limit, order: _newest, ...filter } = listOf(options);
  const values = kinds[order];
  const { least, end } = values.bounds(filter);
  const after = cursor === undefined ? undefined : placeOf(cursor);
  const walk = new Walk(filter, values, least, counted);
  const found: { readonly row: RequestRow; readonly value: number }[] = [];
  let below = Math.min(after?.value ?? endless, end);
  if (after !== undefined && after.value < end)
    for (const row of await walk.equal(after.value, limit + 1, after))
      found.push({ row, value: after.value });
  // One more than the page holds says that there is another page.
  while (found.length <= limit && below > least) {
    const from = await walk.begin(below, limit + 1 - found.length);
    found.push(...(await walk.rows(from, below, limit + 1 - found.length)));
    below = from;
  }
  const page = found.slice(0, limit);
  const last = page.at(-1);
  const { items } = pageOf(
    page.map(({ row }) => row),
    { limit, order: "as given" },
  );
  if (found.length <= limit || last === undefined) return { items };
  return { items, cursor: `${last.value}.${last.row.createdAt}.${last.row.key}` };
}

class Walk {
  readonly #filter: RequestFilter;
  readonly #values: Values;
  readonly #least: number;
  readonly #counted: Counted;

  constructor(filter: RequestFilter, values: Values, least: number, counted: Counted) {
    this.#filter = filter;
    this.#values = values;
    this.#least = least;
    this.#counted = counted;
  }

  /** The value from which on so many requests have a value below an end, or few more: as many as are sorted at once. */
  async begin(end: number, wanted: number): Promise<number> {
    let [low, high] = await this.#class(end, wanted);
    const most = this.#values.of === undefined ? 0 : maxSorted;
    const least = most === 0 ? 1 : wanted;
    // Near the end first: a count that looks at rows looks at those from the value on.
    let count: number | undefined;
    for (let width = Math.ceil((high - low) / 64); high - width > low; width *= 4) {
      const above = await this.#count(high - width, end);
      if (above < least) {
        high -= width;
        continue;
      }
      [low, count] = [high - width, above];
      break;
    }
    count ??= await this.#count(low, end);
    if (count === 0) return this.#least;
    while (high - low > 1 && count > most) {
      const middle = low + Math.floor((high - low) / 2);
      const above = await this.#count(middle, end);
      if (above >= least) [low, count] = [middle, above];
      else high = middle;
    }
    return low;
  }

  /** The values between which the one lies from which on so many requests have a value: the begin of a class, and its end. */
  async #class(end: number, wanted: number): Promise<[low: number, high: number]> {
    const begins = [
      this.#least,
      ...this.#values.begins.filter((begin) => begin > this.#least && begin < end),
    ];
    const least = this.#values.of === undefined ? 1 : wanted;
    // Only the class of the end may be cut by it.
    const last = begins.at(-1) as number;
    const inLast = await this.#count(last, end);
    if (inLast >= least || begins.length === 1) return [last, end];
    let [from, to] = [0, begins.length - 1];
    while (to - from > 1) {
      const middle = (from + to) >> 1;
      if (inLast + (await this.#count(begins[middle] as number, last)) >= least) from = middle;
      else to = middle;
    }
    return [begins[from] as number, begins[to] as number];
  }

  #count(from: number, to: number): Promise<number> {
    return this.#counted.count(this.#values.within(this.#filter, from, to));
  }

  /** The first rows with a value from one on and below another one. */
  async rows(
    from: number,
    to: number,
    limit: number,
  ): Promise<{ readonly row: RequestRow; readonly value: number }[]> {
    const { of } = this.#values;
    const isOne = of === undefined || (await this.#count(from, to)) > maxSorted;
    // So many have the same value: they are listed as they are, behind those with larger ones.
    const larger = isOne ? from + 1 : from;
    const rows = isOne && of === undefined ? [] : await this.#sorted(larger, to);
    const first = rows.slice(0, limit);
    if (!isOne || first.length === limit) return first;
    const equal = await this.equal(from, limit - first.length);
    return [...first, ...equal.map((row) => ({ row, value: from }))];
  }

  async #sorted(from: number, to: number): Promise<{ readonly row: RequestRow; readonly value: number }[]> {
    const { of = () => 0, within } = this.#values;
    if (from >= to) return [];
    const rows = await this.#counted.rows({ ...within(this.#filter, from, to), limit: 2 * maxSorted });
    return rows
      .map((row) => ({ row, value: of(row) }))
      .toSorted((a, b) => b.value - a.value || compareInList(a.row, b.row));
  }

  /** Those with a value, the newest first. */
  equal(value: number, limit: number, after?: ValuePlace): Promise<readonly RequestRow[]> {
    const filter = this.#values.within(this.#filter, value, value + 1);
    const place = after === undefined ? {} : { after: { createdAt: after.createdAt, key: after.key } };
    return this.#counted.rows({ ...filter, limit, ...place });
  }
}

/** @throws WheelworkError WW_INVALID_REQUEST when a list by a value has not given it. */
function placeOf(cursor: string): ValuePlace {
  const [, value, createdAt, key] = /^(\d{1,16})\.(\d{1,16})\.(.+)$/.exec(cursor) ?? [];
  if (key === undefined) throw refuseCursor();
  return { value: Number(value), createdAt: Number(createdAt), key };
}
