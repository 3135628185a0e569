import type { SQLInputValue } from "node:sqlite";
import {
  boundsOf,
  compareInList,
  facetOf,
  fits,
  type FacetCount,
  type FacetRow,
  type ListPlace,
  type RequestFilter,
  type RequestList,
} from "../ports/filter.ts";
import type { MaybePromise, RequestRow } from "../ports/ports.ts";
import {
  CellChanges,
  cellsSql,
  counting,
  rowRanges,
  type Counted,
  type CountStep,
  type StoredFacet,
} from "./counting.ts";
import { facetColumns, facetValues, isLiveFacet, KnownFacets, storedFacetOf } from "./facets.ts";
import { listedRowOf, optionalNumber, type Row } from "./rows.ts";

/** What facets need of their store: statements, run within the transactions of the store. */
interface FacetTables {
  run(sql: string, ...values: SQLInputValue[]): unknown;
  get(sql: string, ...values: SQLInputValue[]): Row | undefined;
  all(sql: string, ...values: SQLInputValue[]): Row[];
}

const tableOf = (isLive: boolean): string => (isLive ? "run" : "request");

/** Lists and counts of requests in a SQLite file: see counting.ts. Made anew after a transaction that has failed. */
export class SqliteFacets {
  readonly #tables: FacetTables;
  readonly #known = new KnownFacets();
  #changes = new CellChanges();

  constructor(tables: FacetTables) {
    this.#tables = tables;
    for (const row of tables.all("SELECT * FROM facet")) this.#known.add(storedFacetOf(row));
  }

  /** The facet of a row that is about to be written, by its number; null: no list shows it. */
  idOf(row: FacetRow): number | null {
    const facet = facetOf(row);
    if (facet === undefined) return null;
    const known = this.#known.idOf(facet);
    if (known !== undefined) return known;
    const added = this.#tables.get(insertFacet, ...facetValues(facet)) as Row;
    const id = Number(added["id"]);
    this.#known.add({ ...facet, id });
    return id;
  }

  /** A row comes to a facet, or goes, with the present transaction. */
  count(facet: unknown, createdAt: unknown, answeredAt: number | undefined, count: 1 | -1): void {
    if (facet !== null) this.#changes.add(Number(facet), Number(createdAt), answeredAt, count);
  }

  /** Writes what has been counted. */
  write(): void {
    const changes = this.#changes.all();
    if (changes.length === 0) return;
    this.#changes = new CellChanges();
    for (const { facet, level, cell, count, first = null, last = null } of changes) {
      if (count !== 0) this.#tables.run(changeCell, facet, level, cell, count, first, last);
      if (count < 0) this.#tables.run(dropCell, facet, level, cell);
    }
  }

  list(list: RequestList): RequestRow[] {
    const { limit, order = "newest" } = list;
    let places: Place[] = [];
    for (const facet of this.#known.values()) {
      if (fits(facet, list) === "none") continue;
      // Once there are enough, only those are looked for that go before the last one.
      const last = places.length < limit ? undefined : places[limit - 1];
      const { sql, values } = listStatement(facet, list, last?.createdAt);
      const found = this.#tables.all(sql, ...values).map((row) => placeOf(row, facet));
      if (found.length === 0) continue;
      places = [...places, ...found].toSorted((a, b) => compareInList(a, b, order)).slice(0, limit);
    }
    return places.map(({ id, facet, ...place }) => {
      const sql = isLiveFacet(facet) ? runRow : requestRow;
      return listedRowOf({ ...place.row, ...this.#tables.get(sql, id) }, facet);
    });
  }

  counts(filter: RequestFilter): MaybePromise<FacetCount[]> {
    const work = this.#count(filter);
    const first = work.next();
    return first.done === true ? first.value : goOn(work);
  }

  /** Counts. It pauses when it has read so many rows that others should have their turn. */
  *#count(filter: RequestFilter): Generator<void, FacetCount[]> {
    const steps = counting(this.#known.values(), filter);
    let step = steps.next();
    while (step.done !== true)
      step = steps.next(
        step.value.kind === "rows"
          ? yield* this.#countRows(step.value, filter)
          : this.#countCells(step.value),
      );
    return step.value;
  }

  #countCells(step: Exclude<CountStep, { readonly kind: "rows" }>): Counted[] {
    const rows =
      step.kind === "totals"
        ? this.#tables.all(totalsOf, JSON.stringify(step.facets))
        : this.#tables.all(
            cellsSql(cellSpans, step),
            JSON.stringify(step.spans.map(({ facet, from, to }) => [facet, from, to])),
          );
    return rows.map(({ facet, count, cell }) => ({
      facet: Number(facet),
      count: Number(count),
      cell: optionalNumber(cell),
    }));
  }

  *#countRows(
    step: CountStep & { readonly kind: "rows" },
    filter: RequestFilter,
  ): Generator<void, Counted[]> {
    const ranges = rowRanges(filter);
    const where = ranges.map(({ sql }) => `AND ${sql}?`).join(" ");
    const bounds = ranges.map(({ value }) => value);
    const counts: Counted[] = [];
    let left = maxCountedRows;
    for (const { facet, from, to } of step.spans) {
      const table = tableOf(isLiveFacet(this.#known.get(facet) as StoredFacet));
      const rows = `FROM ${table} INDEXED BY ${table}_facet WHERE facet = ? AND (created_at, key) >= (?, ?)`;
      let place: SQLInputValue[] = [from, ""];
      for (let isOver = false; !isOver;) {
        const end = this.#tables.get(
          `SELECT created_at, key ${rows} AND created_at < ? ORDER BY created_at, key LIMIT 1 OFFSET ?`,
          facet,
          ...place,
          to,
          left,
        );
        isOver = end === undefined;
        const until = end === undefined ? [to, ""] : [end["created_at"] as number, end["key"] as string];
        const sql = `SELECT count(*) AS count, count(*) FILTER (WHERE true ${where}) AS meant ${rows}
          AND (created_at, key) < (?, ?)`;
        const found = this.#tables.get(sql, ...bounds, facet, ...place, ...until);
        counts.push({ facet, count: Number(found?.["meant"]) });
        place = until;
        left -= Number(found?.["count"]);
        if (left > 0) continue;
        left = maxCountedRows;
        yield;
      }
    }
    return counts;
  }
}

/** Rows that a count reads at once: the loop stands still meanwhile. */
const maxCountedRows = 10_000;

async function goOn<T>(work: Generator<void, T>): Promise<T> {
  for (;;) {
    await new Promise((resolve) => setImmediate(resolve));
    const next = work.next();
    if (next.done === true) return next.value;
  }
}

/** A line of a list, as far as the index knows it. */
interface Place extends ListPlace {
  readonly id: number;
  readonly facet: StoredFacet;
  readonly row: Row;
}

const placeOf = (row: Row, facet: StoredFacet): Place => ({
  id: Number(row["id"]),
  facet,
  row,
  createdAt: Number(row["created_at"]),
  key: String(row["key"]),
});

/**
 * The statement of a list, for one facet. It reads the index that has the rows of the facet in the order of lists, and nothing else,
 * so that a list costs as much as its page, however many requests there are. The index is named, so that a wrong one is an error.
 * @param last Only those are looked for that were accepted at this time or go before it.
 */
export function listStatement(
  facet: StoredFacet,
  list: RequestList,
  last?: number,
): { readonly sql: string; readonly values: readonly SQLInputValue[] } {
  const { limit, order } = list;
  const { from, to } = boundsOf(facet, list);
  const values: SQLInputValue[] = [facet.id];
  let where = "";
  const add = (sql: string, ...more: SQLInputValue[]): void => {
    where += ` AND ${sql}`;
    values.push(...more);
  };
  // The later one of two lower bounds, and the earlier one of two upper bounds: an index goes by one of each.
  const isCut = (place: ListPlace | undefined): boolean =>
    last !== undefined &&
    (place === undefined || (order === "oldest" ? last < place.createdAt : last > place.createdAt));
  if (order !== "oldest" && isCut(from)) add("created_at >= ?", last as number);
  else if (from !== undefined)
    add(`(created_at, key) >${from.isIncluded ? "=" : ""} (?, ?)`, from.createdAt, from.key);
  if (order === "oldest" && isCut(to)) add("created_at <= ?", last as number);
  else if (to !== undefined)
    add(`(created_at, key) <${to.isIncluded ? "=" : ""} (?, ?)`, to.createdAt, to.key);
  for (const { sql, value } of rowRanges(list)) add(`${sql}?`, value);
  const table = tableOf(isLiveFacet(facet));
  const direction = order === "oldest" ? "ASC" : "DESC";
  return {
    sql: `SELECT id, key, created_at, answered_at FROM ${table} INDEXED BY ${table}_facet WHERE facet = ?${where}
      ORDER BY created_at ${direction}, key ${direction} LIMIT ?`,
    values: [...values, limit],
  };
}

const runRow = "SELECT version, lane FROM run WHERE id = ?";
const requestRow = "SELECT version FROM request WHERE id = ?";
const insertFacet = `INSERT INTO facet (${facetColumns.join(", ")}) VALUES (${facetColumns.map(() => "?").join(", ")})
  RETURNING id`;
const changeCell = `INSERT INTO cell (facet, level, cell, count, first_answered, last_answered) VALUES (?, ?, ?, ?, ?, ?)
  ON CONFLICT (facet, level, cell) DO UPDATE SET count = count + excluded.count,
    first_answered = min(coalesce(first_answered, excluded.first_answered), coalesce(excluded.first_answered, first_answered)),
    last_answered = max(coalesce(last_answered, excluded.last_answered), coalesce(excluded.last_answered, last_answered))`;
const dropCell = "DELETE FROM cell WHERE facet = ? AND level = ? AND cell = ? AND count = 0";
const totalsOf =
  "SELECT facet, count FROM json_each(?) AS meant CROSS JOIN cell ON facet = meant.value AND level = 0 AND cell = 0";
const cellSpans = `(SELECT value ->> 0 AS facet, value ->> 1 AS since, value ->> 2 AS up_to FROM json_each(?)) AS span
    CROSS JOIN cell WHERE true`;
