import type { SQLInputValue } from "node:sqlite";
import {
  boundsOf,
  compareInList,
  facetOf,
  fits,
  type FacetCount,
  type FacetRow,
  type RequestFilter,
  type RequestList,
} from "../ports/filter.ts";
import type { RequestRow } from "../ports/ports.ts";
import { CellChanges, counting, rowRanges, type Cell, type CountStep, type StoredFacet } from "./counting.ts";
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
    const rows: RequestRow[] = [];
    for (const facet of this.#known.values()) {
      if (fits(facet, list) === "none") continue;
      const { sql, values } = listStatement(isLiveFacet(facet), facet.id, list);
      for (const row of this.#tables.all(sql, ...values)) rows.push(listedRowOf(row, facet));
    }
    return rows.toSorted((a, b) => compareInList(a, b, order)).slice(0, limit);
  }

  counts(filter: RequestFilter): FacetCount[] {
    const steps = counting(this.#known.values(), filter);
    let step = steps.next();
    while (step.done !== true) step = steps.next(this.#counted(step.value, filter));
    return step.value;
  }

  #counted(step: CountStep, filter: RequestFilter): Cell[] {
    if (step.kind === "cells") {
      return step.spans.flatMap(({ facet, level, from, to }) =>
        this.#tables.all(cellsIn, facet, level, from, to).map((row) => ({
          facet,
          cell: Number(row["cell"]),
          count: Number(row["count"]),
          first: optionalNumber(row["first_answered"]),
          last: optionalNumber(row["last_answered"]),
        })),
      );
    }
    const ranges = rowRanges(filter);
    const where = ranges.map(({ sql }) => `AND ${sql}?`).join(" ");
    return step.spans.map(({ facet, from, to }) => {
      const table = tableOf(isLiveFacet(this.#known.get(facet) as StoredFacet));
      const sql = `SELECT count(*) AS count FROM ${table} INDEXED BY ${table}_facet
        WHERE facet = ? AND created_at >= ? AND created_at < ? ${where}`;
      const count = Number(
        this.#tables.get(sql, facet, from, to, ...ranges.map(({ value }) => value))?.["count"],
      );
      return { facet, cell: 0, count, first: undefined, last: undefined };
    });
  }
}

/**
 * The statement of a list, for one facet. It walks the index that has the rows of the facet in the order of lists, so that a list
 * costs as much as its page, however many requests there are. The index is named, so that a wrong one is an error.
 */
export function listStatement(
  isLive: boolean,
  facet: number,
  list: RequestList,
): { readonly sql: string; readonly values: readonly SQLInputValue[] } {
  const { limit, order } = list;
  const { from, to } = boundsOf(list);
  const values: SQLInputValue[] = [facet];
  let where = "";
  const add = (sql: string, ...more: SQLInputValue[]): void => {
    where += ` AND ${sql}`;
    values.push(...more);
  };
  if (from !== undefined)
    add(`(created_at, key) >${from.isIncluded ? "=" : ""} (?, ?)`, from.createdAt, from.key);
  if (to !== undefined) add(`(created_at, key) <${to.isIncluded ? "=" : ""} (?, ?)`, to.createdAt, to.key);
  for (const { sql, value } of rowRanges(list)) add(`${sql}?`, value);
  const table = tableOf(isLive);
  const direction = order === "oldest" ? "ASC" : "DESC";
  return {
    sql: `SELECT key, version, created_at, answered_at, ${isLive ? "lane" : "NULL AS lane"}
      FROM ${table} INDEXED BY ${table}_facet WHERE facet = ?${where}
      ORDER BY created_at ${direction}, key ${direction} LIMIT ?`,
    values: [...values, limit],
  };
}

const insertFacet = `INSERT INTO facet (${facetColumns.join(", ")}) VALUES (${facetColumns.map(() => "?").join(", ")})
  RETURNING id`;
const changeCell = `INSERT INTO cell (facet, level, cell, count, first_answered, last_answered) VALUES (?, ?, ?, ?, ?, ?)
  ON CONFLICT (facet, level, cell) DO UPDATE SET count = count + excluded.count,
    first_answered = min(coalesce(first_answered, excluded.first_answered), coalesce(excluded.first_answered, first_answered)),
    last_answered = max(coalesce(last_answered, excluded.last_answered), coalesce(excluded.last_answered, last_answered))`;
const dropCell = "DELETE FROM cell WHERE facet = ? AND level = ? AND cell = ? AND count = 0";
const cellsIn =
  "SELECT cell, count, first_answered, last_answered FROM cell WHERE facet = ? AND level = ? AND cell BETWEEN ? AND ?";
