import type { Facet, FacetCount, ListPlace, RequestFilter, RequestList, RequestRow } from "@wheelwork/engine";
import {
  boundsOf,
  cellsSql,
  counting,
  facetColumns,
  facetName,
  facetOf,
  facetValues,
  fits,
  isLiveFacet,
  KnownFacets,
  listedRowOf,
  optionalNumber,
  rowRanges,
  storedFacetOf,
  type CellChange,
  type Counted,
  type CountStep,
  type FacetRow,
  type Row,
  type StoredFacet,
} from "@wheelwork/engine/stores";

import type { ClientBase } from "pg";

/** A statement without a name: its plan is made for its values each time, not kept from a time when the tables were empty. */
interface Statement {
  readonly text: string;
  readonly values: unknown[];
}

type Read = (statement: Statement) => Promise<Row[]>;

/** All facets that the store has: another shard may have added one. */
async function facetsOf(read: Read): Promise<KnownFacets> {
  const known = new KnownFacets();
  for (const row of await read({ text: "SELECT * FROM facet", values: [] })) known.add(storedFacetOf(row));
  return known;
}

/** A part of the list of a shard. */
export async function listRows(read: Read, shard: number, list: RequestList): Promise<RequestRow[]> {
  const known = await facetsOf(read);
  const meant = [...known.values()].filter((facet) => fits(facet, list) !== "none");
  if (meant.length === 0) return [];
  const rows = await read(listStatement(shard, meant, list));
  return rows.map((row) => {
    const facet = known.get(Number(row["facet"])) as StoredFacet;
    return isLiveFacet(facet)
      ? listedRowOf({ ...row, version: row["run_version"] }, facet)
      : listedRowOf({ ...row, version: row["request_version"], lane: null }, facet);
  });
}

/**
 * The statement of a list. For each facet it walks the index that has its rows in the order of lists, and costs as much as its page,
 * however many requests there are. The rest of the rows is read for those alone that are listed.
 */
export function listStatement(shard: number, facets: readonly StoredFacet[], list: RequestList): Statement {
  const { limit, order: of } = list;
  const values: unknown[] = [];
  const bind = (value: unknown): string => `$${values.push(value)}`;
  const direction = of === "oldest" ? "ASC" : "DESC";
  const order = `ORDER BY created_at ${direction}, key ${direction} LIMIT ${bind(limit)}`;
  const owner = bind(shard);
  const withKey = (columns: string, table: string): string =>
    `SELECT ${columns} FROM ${table} WHERE shard = ${owner} AND key BETWEEN listed.key AND listed.key ORDER BY key LIMIT 1`;
  const ranges = rowRanges(list).map(({ sql, value }) => ` AND ${sql}${bind(value)}`);
  const parts = [true, false].flatMap((isLive) => {
    const ours = facets.filter((facet) => isLiveFacet(facet) === isLive);
    if (ours.length === 0) return [];
    const bounds = ours.map((facet) => boundsOf(facet, list));
    // No text is shorter than none, and no key has a character that comes after U+FFFF.
    const columns = [
      bind(ours.map(({ id }) => id)),
      bind(bounds.map(({ from }) => from?.createdAt ?? 0)),
      bind(bounds.map(({ from }) => (from === undefined ? "" : placeAfter(from, !from.isIncluded)))),
      bind(bounds.map(({ to }) => to?.createdAt ?? Number.MAX_SAFE_INTEGER)),
      bind(bounds.map(({ to }) => (to === undefined ? "" : placeAfter(to, to.isIncluded)))),
    ];
    const [id, since, sinceKey, before, beforeKey] = columns;
    return `SELECT part.* FROM unnest(${id}::integer[], ${since}::bigint[], ${sinceKey}::text[], ${before}::bigint[], ${beforeKey}::text[])
        AS meant (id, since, since_key, before, before_key), LATERAL (
      SELECT facet, key, created_at, answered_at FROM ${isLive ? "run" : "request"}
      WHERE shard = ${owner} AND facet = meant.id AND (created_at, key) >= (meant.since, meant.since_key COLLATE "C")
        AND (created_at, key) < (meant.before, meant.before_key COLLATE "C")${ranges.join("")} ${order}) AS part`;
  });
  return {
    text: `SELECT listed.*, live.version AS run_version, live.lane, done.version AS request_version
      FROM (SELECT * FROM (${parts.join(" UNION ALL ")}) AS found ${order}) AS listed
      LEFT JOIN LATERAL (${withKey("version, lane", "run")}) AS live ON true
      LEFT JOIN LATERAL (${withKey("version", "request")}) AS done ON true
      ORDER BY created_at ${direction}, key ${direction}`,
    values,
  };
}

/** The key of a place, or the first text that comes after it. */
const placeAfter = ({ key }: ListPlace, isAfter: boolean): string => (isAfter ? `${key}\u0001` : key);

/** How many rows of a shard a filter means, by facet. */
export async function countRows(read: Read, shard: number, filter: RequestFilter): Promise<FacetCount[]> {
  const known = await facetsOf(read);
  const steps = counting(known.values(), filter);
  let step = steps.next();
  while (step.done !== true) step = steps.next(await counted(read, shard, known, filter, step.value));
  return step.value;
}

async function counted(
  read: Read,
  shard: number,
  known: KnownFacets,
  filter: RequestFilter,
  step: CountStep,
): Promise<Counted[]> {
  if (step.kind !== "rows") {
    const rows = await read(
      step.kind === "totals" ? totalsStatement(shard, step.facets) : cellsStatement(shard, step),
    );
    return rows.map(({ facet, count, cell }) => ({
      facet: Number(facet),
      count: Number(count),
      cell: optionalNumber(cell),
    }));
  }
  const counts: Counted[] = [];
  for (const isLive of [true, false]) {
    const spans = step.spans.filter(({ facet }) => isLiveFacet(known.get(facet) as StoredFacet) === isLive);
    if (spans.length === 0) continue;
    const values: unknown[] = [
      shard,
      spans.map(({ facet }) => facet),
      spans.map(({ from }) => from),
      spans.map(({ to }) => to),
    ];
    const more = rowRanges(filter).map(({ sql, value }) => `AND ${sql}$${values.push(value)}`);
    const text = `SELECT span.facet, found.count FROM unnest($2::integer[], $3::bigint[], $4::bigint[]) AS span (facet, since, before),
      LATERAL (SELECT count(*) AS count FROM ${isLive ? "run" : "request"} WHERE shard = $1 AND facet = span.facet
        AND created_at >= span.since AND created_at < span.before ${more.join(" ")}) AS found`;
    for (const { facet, count } of await read({ text, values }))
      counts.push({ facet: Number(facet), count: Number(count) });
  }
  return counts;
}

const totalsStatement = (shard: number, facets: readonly number[]): Statement => ({
  text: "SELECT facet, count FROM cell WHERE shard = $1 AND facet = ANY ($2::integer[]) AND level = 0 AND cell = 0",
  values: [shard, facets],
});

const cellSpans = `unnest($2::integer[], $3::bigint[], $4::bigint[]) AS span (facet, since, up_to)
    CROSS JOIN cell WHERE shard = $1`;

const cellsStatement = (shard: number, step: CountStep & { readonly kind: "cells" }): Statement => ({
  text: cellsSql(cellSpans, step),
  values: [
    shard,
    step.spans.map(({ facet }) => facet),
    step.spans.map(({ from }) => from),
    step.spans.map(({ to }) => to),
  ],
});

/** The facets of rows that are to be written, as far as nobody has written them yet. */
export function missingFacets(known: KnownFacets, rows: readonly FacetRow[]): Facet[] {
  const missing: Facet[] = [];
  for (const row of rows) {
    const facet = facetOf(row);
    if (facet !== undefined && known.idOf(facet) === undefined) missing.push(facet);
  }
  return missing;
}

/** Writes facets. The result has them as well as those that were known: it is true once the transaction is committed. */
export async function withFacets(
  client: ClientBase,
  known: KnownFacets,
  missing: readonly Facet[],
): Promise<KnownFacets> {
  const facets = new KnownFacets(known);
  // In one order, so that no two shards wait for each other.
  const rows = new Map(missing.map((facet) => [facetName(facet), facetValues(facet)]));
  const sorted = [...rows].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, columns]) => columns);
  const columns = facetColumns.map((_, column) => sorted.map((row) => row[column]));
  const added = await client.query<Row>(addFacets, columns);
  for (const row of added.rows) facets.add(storedFacetOf(row));
  return facets;
}

/** The number of the facet of a row; null: it has none. */
export function facetIdOf(row: FacetRow, facets: KnownFacets): number | null {
  const facet = facetOf(row);
  return facet === undefined ? null : (facets.idOf(facet) ?? null);
}

/**
 * Adds facets, or finds those that another shard has added meanwhile. It is a part of the transaction that needs them: what is lost
 * with a server is lost with them.
 */
const addFacets = `INSERT INTO facet (${facetColumns.join(", ")})
  SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::integer[])
  ON CONFLICT (${facetColumns.join(", ")}) DO UPDATE SET took = excluded.took RETURNING *`;

const cellTypes = ["integer", "integer", "bigint", "bigint", "bigint", "bigint"];

/** Changes counters, from a parameter on; `from`: what must have a row for that. */
export const changeCells = (first: number, from = ""): string => `INSERT INTO cell
    (shard, facet, level, cell, count, first_answered, last_answered)
  SELECT $1, t.* FROM ${from} unnest(${cellTypes.map((type, index) => `$${first + index}::${type}[]`).join(", ")})
    AS t (facet, level, cell, count, first_answered, last_answered)
  ON CONFLICT (shard, facet, level, cell) DO UPDATE SET count = cell.count + excluded.count,
    first_answered = least(cell.first_answered, excluded.first_answered),
    last_answered = greatest(cell.last_answered, excluded.last_answered)`;

/** Drops those of the counters that count nothing any more. */
export const dropCells = `DELETE FROM cell USING unnest($2::integer[], $3::integer[], $4::bigint[]) AS t (facet, level, cell)
  WHERE shard = $1 AND cell.facet = t.facet AND cell.level = t.level AND cell.cell = t.cell AND count = 0`;

/** Changes of counters as columns. All transactions change them in the same order, so that none waits for another in a circle. */
export function cellColumns(changes: readonly CellChange[]): unknown[][] {
  const sorted = changes.toSorted((a, b) => a.facet - b.facet || a.level - b.level || a.cell - b.cell);
  return [
    sorted.map(({ facet }) => facet),
    sorted.map(({ level }) => level),
    sorted.map(({ cell }) => cell),
    sorted.map(({ count }) => count),
    sorted.map(({ first }) => first ?? null),
    sorted.map(({ last }) => last ?? null),
  ];
}
