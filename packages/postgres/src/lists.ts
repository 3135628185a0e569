import type { Facet, FacetCount, ListPlace, StoreFilter, RequestList, RequestRow } from "@wheelwork/engine";
import {
  asksForAnswered,
  boundsOf,
  cellsSql,
  counting,
  countsByMessage,
  durationRange,
  facetColumns,
  facetName,
  facetOf,
  FacetSums,
  facetValues,
  fits,
  labelWalk,
  messageRange,
  isLiveFacet,
  KnownFacets,
  listedRowOf,
  optionalNumber,
  rowRanges,
  soughtLabels,
  stuckBounds,
  storedFacetOf,
  type CellChange,
  type Counted,
  type CountStep,
  type FacetRow,
  type LabelTotal,
  type LabelWalk,
  type SoughtLabel,
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

/** The facets that a filter means. Of those that live, most have no answer: their counters say so. */
async function meantFacets(
  read: Read,
  shard: number,
  known: KnownFacets,
  filter: StoreFilter,
): Promise<StoredFacet[]> {
  const meant = [...known.values()].filter((facet) => fits(facet, filter) !== "none");
  const live = meant.filter(isLiveFacet).map(({ id }) => id);
  if (!asksForAnswered(filter) || live.length === 0) return meant;
  const rows = await read({
    text: `SELECT facet FROM cell WHERE shard = $1 AND facet = ANY ($2::integer[]) AND level = 0 AND cell = 0
      AND last_answered IS NOT NULL`,
    values: [shard, live],
  });
  const answered = new Set(rows.map(({ facet }) => Number(facet)));
  return meant.filter((facet) => !isLiveFacet(facet) || answered.has(facet.id));
}

/** The parts of the index of labels that have what a filter means; undefined: it means no labels. */
async function walkOf(
  read: Read,
  shard: number,
  facets: readonly StoredFacet[],
  filter: StoreFilter,
): Promise<LabelWalk | undefined> {
  const sought = soughtLabels(filter);
  if (sought.length === 0) return undefined;
  const totals = await read({
    text: "SELECT label, facet, count FROM label_cell WHERE shard = $1 AND label = ANY ($2::text[]) AND level = 0",
    values: [shard, sought.flatMap(({ labels }) => labels)],
  });
  const meant = totals
    .map(({ label, facet, count }) => ({ label: String(label), facet: Number(facet), count: Number(count) }))
    .filter(({ facet }) => facets.some(({ id }) => id === facet));
  return labelWalk(sought, meant);
}

/** A part of the list of a shard. */
export async function listRows(read: Read, shard: number, list: RequestList): Promise<RequestRow[]> {
  const known = await facetsOf(read);
  const meant = await meantFacets(read, shard, known, list);
  const walk = await walkOf(read, shard, meant, list);
  const parts: readonly Part[] =
    walk === undefined
      ? meant.map((facet) => ({ facet }))
      : walk.parts.map(({ label, facet }) => ({ label, facet: known.get(facet) as StoredFacet }));
  if (parts.length === 0) return [];
  const isFew = walk === undefined && (await areFew(read, shard, meant, list));
  const rows = await read(listStatement(shard, parts, list, walk?.others, isFew));
  return rows.map((row) => {
    const facet = known.get(Number(row["facet"])) as StoredFacet;
    const { run_version, request_version, run_labels, request_labels } = row;
    return isLiveFacet(facet)
      ? listedRowOf({ ...row, version: run_version, labels: run_labels }, facet)
      : listedRowOf({ ...row, version: request_version, labels: request_labels, lane: null }, facet);
  });
}

/** What rows of the index of durations are: it is looked at by statements that say so, and by no others. */
const ofDurations = (least: string, end: string): string =>
  `answered_at - created_at >= 0 AND answered_at - created_at >= ${least}::bigint AND answered_at - created_at < ${end}::bigint`;

/** So many rows of a list are few: they are read and sorted, whichever of them the page has. */
const maxFew = 2000;

/** Whether a list by duration has few rows of ended requests, as the index of durations says. */
async function areFew(
  read: Read,
  shard: number,
  facets: readonly StoredFacet[],
  list: RequestList,
): Promise<boolean> {
  const { from, to = Number.MAX_SAFE_INTEGER } = durationRange(list) ?? {};
  if (from === undefined) return false;
  const ended = facets.filter((facet) => !isLiveFacet(facet)).map(({ id }) => id);
  const [row] = await read({
    text: `SELECT count(*) AS count FROM (SELECT 1 FROM unnest($2::integer[]) AS meant (id), LATERAL (
        SELECT 1 FROM request WHERE shard = $1 AND facet = meant.id
          AND ${ofDurations("$3", "$4")} LIMIT $5) AS one LIMIT $5) AS few`,
    values: [shard, ended, from, to, maxFew + 1],
  });
  return Number(row?.["count"]) <= maxFew;
}

/** A part of an index, with the rows of one facet in the order of lists. */
interface Part {
  readonly facet: StoredFacet;
  /** Absent: the part has all rows of the facet. All parts of a list have one, or none. */
  readonly label?: string;
}

/** The tables that have the rows of parts, and the parts in each. */
function tablesOf(parts: readonly Part[]): [table: string, parts: readonly Part[]][] {
  const byTable = Map.groupBy(parts, ({ facet, label }) =>
    label !== undefined ? "labelled" : isLiveFacet(facet) ? "run" : "request",
  );
  return [...byTable];
}

/** The labels of a row of the index of labels: the index has those that are short, and the row is read only for the others. */
const labelsOfRow = `coalesce(brief, (SELECT long.labels FROM labelled AS long WHERE long.shard = labelled.shard
  AND long.label = labelled.label AND long.facet = labelled.facet AND long.created_at = labelled.created_at
  AND long.key = labelled.key))`;

/** What rows must be, besides being in a part of an index. */
const conditionsOf = (
  filter: StoreFilter,
  others: readonly SoughtLabel[],
  bind: (value: unknown) => string,
): string =>
  [
    ...rowRanges(filter).map(({ sql, value }) => ` AND ${sql}${bind(value)}`),
    ...others.map(({ parts }) => {
      const hasOne = parts.map((part) => `strpos(${labelsOfRow}, ${bind(part)}) > 0`).join(" OR ");
      return ` AND (${hasOne || "false"})`;
    }),
  ].join("");

/** Which rows of parts are stuck, if a filter asks for it: columns of the parts, their names, and what rows must be. */
function stuckOf(facets: readonly StoredFacet[], filter: StoreFilter, bind: (value: unknown) => string) {
  const bounds = facets.map((facet) => stuckBounds(facet, filter));
  if (bounds.every((one) => one === undefined)) return { columns: "", names: "", where: "" };
  const dueBefore = bind(bounds.map((one) => one?.dueBefore ?? 0));
  const acceptedBefore = bind(bounds.map((one) => one?.acceptedBefore ?? 0));
  return {
    columns: `, ${bind(bounds.map((one) => one === undefined))}::boolean[], ${dueBefore}::bigint[], ${acceptedBefore}::bigint[]`,
    names: ", is_meant, due_before, accepted_before",
    where: " AND (is_meant OR due < due_before OR (answered_at IS NULL AND created_at < accepted_before))",
  };
}

/**
 * The statement of a list. For each facet it walks the index that has its rows in the order of lists, and costs as much as its page,
 * however many requests there are. The rest of the rows is read for those alone that are listed.
 * @param isFew The index of durations has few rows of ended requests: they are found there.
 */
export function listStatement(
  shard: number,
  of: readonly Part[],
  list: RequestList,
  others: readonly SoughtLabel[] = [],
  isFew = false,
): Statement {
  const { limit, order: given } = list;
  const values: unknown[] = [];
  const bind = (value: unknown): string => `$${values.push(value)}`;
  const direction = given === "oldest" ? "ASC" : "DESC";
  const order = `ORDER BY created_at ${direction}, key ${direction} LIMIT ${bind(limit)}`;
  const owner = bind(shard);
  const withKey = (columns: string, table: string): string =>
    `SELECT ${columns} FROM ${table} WHERE shard = ${owner} AND key BETWEEN listed.key AND listed.key ORDER BY key LIMIT 1`;
  const conditions = conditionsOf(list, others, bind);
  const found = tablesOf(of).map(([table, parts]) => {
    const bounds = parts.map(({ facet }) => boundsOf(facet, list));
    // No text is shorter than none, and no key has a character that comes after U+FFFF.
    const columns = [
      bind(parts.map(({ facet }) => facet.id)),
      bind(parts.map(({ label = "" }) => label)),
      bind(bounds.map(({ from }) => from?.createdAt ?? 0)),
      bind(bounds.map(({ from }) => (from === undefined ? "" : placeAfter(from, !from.isIncluded)))),
      bind(bounds.map(({ to }) => to?.createdAt ?? Number.MAX_SAFE_INTEGER)),
      bind(bounds.map(({ to }) => (to === undefined ? "" : placeAfter(to, to.isIncluded)))),
    ];
    const [id, label, since, sinceKey, before, beforeKey] = columns;
    const stuck = stuckOf(
      parts.map(({ facet }) => facet),
      list,
      bind,
    );
    const { from: least, to: end = Number.MAX_SAFE_INTEGER } = durationRange(list) ?? {};
    // OFFSET 0: the bounds of the list do not choose the index.
    const rows =
      isFew && table === "request"
        ? `(SELECT * FROM request WHERE shard = ${owner} AND facet = meant.id
            AND ${ofDurations(bind(least), bind(end))} OFFSET 0) AS request`
        : table;
    return `SELECT part.* FROM unnest(${id}::integer[], ${label}::text[], ${since}::bigint[], ${sinceKey}::text[], ${before}::bigint[],
        ${beforeKey}::text[]${stuck.columns}) AS meant (id, label, since, since_key, before, before_key${stuck.names}), LATERAL (
      SELECT facet, key, created_at, answered_at FROM ${rows}
      WHERE shard = ${owner}${table === "labelled" ? ` AND label = meant.label COLLATE "C"` : ""} AND facet = meant.id
        AND (created_at, key) >= (meant.since, meant.since_key COLLATE "C")
        AND (created_at, key) < (meant.before, meant.before_key COLLATE "C")${conditions}${stuck.where} ${order}) AS part`;
  });
  return {
    text: `SELECT listed.*, live.version AS run_version, live.labels AS run_labels, live.lane,
        done.version AS request_version, done.labels AS request_labels
      FROM (SELECT * FROM (${found.join(" UNION ALL ")}) AS found ${order}) AS listed
      LEFT JOIN LATERAL (${withKey("version, labels, lane", "run")}) AS live ON true
      LEFT JOIN LATERAL (${withKey("version, labels", "request")}) AS done ON true
      ORDER BY created_at ${direction}, key ${direction}`,
    values,
  };
}

/** The key of a place, or the first text that comes after it. */
const placeAfter = ({ key }: ListPlace, isAfter: boolean): string => (isAfter ? `${key}\u0001` : key);

/** How many rows of a shard a filter means, by facet. */
export async function countRows(read: Read, shard: number, filter: StoreFilter): Promise<FacetCount[]> {
  const known = await facetsOf(read);
  const meant = await meantFacets(read, shard, known, filter);
  const walk = await walkOf(read, shard, meant, filter);
  if (walk === undefined) {
    const counts = await countParts(read, shard, meant, filter, undefined, []);
    return filter.byMessage === true
      ? countsByMessage(counts, await messageTotals(read, shard), (id) => known.get(id))
      : counts;
  }
  const sums = new FacetSums();
  for (const [label, parts] of Map.groupBy(walk.parts, (part) => part.label)) {
    const facets = parts.map(({ facet }) => known.get(facet) as StoredFacet);
    for (const { count, ...facet } of await countParts(read, shard, facets, filter, label, walk.others))
      sums.add(facet, count);
  }
  return sums.counts();
}

/** How many incidents have each message. It goes from one message to the next, however many incidents have it. */
async function messageTotals(read: Read, shard: number): Promise<LabelTotal[]> {
  const next = (after: string): string =>
    `(SELECT label FROM label_cell WHERE shard = $1 AND label > ${after} AND label < $3 ORDER BY label LIMIT 1)`;
  const rows = await read({
    text: `WITH RECURSIVE known AS (
        SELECT ${next("$2")} AS label
        UNION ALL
        SELECT ${next("known.label")} FROM known WHERE label IS NOT NULL
      )
      SELECT label, facet, count FROM known, LATERAL (
        SELECT facet, count FROM label_cell WHERE shard = $1 AND label = known.label AND level = 0) AS total`,
    values: [shard, ...messageRange],
  });
  return rows.map(({ label, facet, count }) => ({
    label: String(label),
    facet: Number(facet),
    count: Number(count),
  }));
}

/** How many rows of some parts of an index a filter means, by facet. */
async function countParts(
  read: Read,
  shard: number,
  facets: Iterable<StoredFacet>,
  filter: StoreFilter,
  label: string | undefined,
  others: readonly SoughtLabel[],
): Promise<FacetCount[]> {
  const known = new Map(Array.from(facets, (facet) => [facet.id, facet]));
  const steps = counting(known.values(), filter, {
    hasLabel: label !== undefined,
    byRow: others.length > 0,
  });
  let step = steps.next();
  while (step.done !== true) {
    const { value } = step;
    step = steps.next(
      value.kind === "rows"
        ? await countRowsOf(read, shard, known, filter, value, label, others)
        : await countCells(
            read,
            value.kind === "durations"
              ? durationsStatement(shard, value)
              : cellsOrTotals(shard, value, label),
          ),
    );
  }
  return step.value;
}

async function countCells(read: Read, statement: Statement): Promise<Counted[]> {
  const rows = await read(statement);
  return rows.map(({ facet, count, cell }) => ({
    facet: Number(facet),
    count: Number(count),
    cell: optionalNumber(cell),
  }));
}

const cellsOrTotals = (
  shard: number,
  step: CountStep & { readonly kind: "totals" | "cells" },
  label: string | undefined,
): Statement =>
  step.kind === "totals" ? totalsStatement(shard, step.facets, label) : cellsStatement(shard, step, label);

/** Each facet is looked up by itself, so that the index of durations is gone through from one bound to the other. */
const durationsStatement = (
  shard: number,
  { facets, durationMs }: CountStep & { readonly kind: "durations" },
): Statement => ({
  text: `SELECT asked.facet, found.count FROM unnest($2::integer[]) AS asked (facet), LATERAL (
      SELECT count(*) AS count FROM request WHERE shard = $1 AND facet = asked.facet
        AND ${ofDurations("$3", "$4")}) AS found`,
  values: [shard, facets, durationMs.from, durationMs.to],
});

async function countRowsOf(
  read: Read,
  shard: number,
  known: ReadonlyMap<number, StoredFacet>,
  filter: StoreFilter,
  step: CountStep & { readonly kind: "rows" },
  label: string | undefined,
  others: readonly SoughtLabel[],
): Promise<Counted[]> {
  const counts: Counted[] = [];
  const parts = step.spans.map((span) => ({
    span,
    facet: known.get(span.facet) as StoredFacet,
    ...(label === undefined ? {} : { label }),
  }));
  for (const [table, ours] of tablesOf(parts)) {
    const spans = (ours as typeof parts).map(({ span }) => span);
    const facets = ours.map(({ facet }) => facet);
    const values: unknown[] = [
      shard,
      spans.map(({ facet }) => facet),
      spans.map(({ from }) => from),
      spans.map(({ to }) => to),
    ];
    const bind = (value: unknown): string => `$${values.push(value)}`;
    const ofLabel = label === undefined ? "" : ` AND label = ${bind(label)}`;
    const stuck = stuckOf(facets, filter, bind);
    const text = `SELECT span.facet, found.count FROM unnest($2::integer[], $3::bigint[], $4::bigint[]${stuck.columns})
        AS span (facet, since, before${stuck.names}),
      LATERAL (SELECT count(*) AS count FROM ${table} WHERE shard = $1${ofLabel} AND facet = span.facet
        AND created_at >= span.since AND created_at < span.before${conditionsOf(filter, others, bind)}${stuck.where}) AS found`;
    for (const { facet, count } of await read({ text, values }))
      counts.push({ facet: Number(facet), count: Number(count) });
  }
  return counts;
}

/** The table of counters, and what a statement must say and be given besides. The label is the last value. */
const cellsOf = (label: string | undefined, next: number) =>
  label === undefined
    ? { table: "cell", where: "", values: [] }
    : { table: "label_cell AS cell", where: ` AND cell.label = $${next}`, values: [label] };

function totalsStatement(shard: number, facets: readonly number[], label: string | undefined): Statement {
  const { table, where, values } = cellsOf(label, 3);
  return {
    text: `SELECT facet, count FROM ${table} WHERE shard = $1 AND facet = ANY ($2::integer[]) AND level = 0 AND cell = 0${where}`,
    values: [shard, facets, ...values],
  };
}

function cellsStatement(
  shard: number,
  step: CountStep & { readonly kind: "cells" },
  label: string | undefined,
): Statement {
  const { table, where, values } = cellsOf(label, 7);
  const spans = `unnest($2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::integer[])
      AS span (facet, since, up_to, before, unanswered)
    CROSS JOIN ${table} WHERE shard = $1${where}`;
  return {
    text: cellsSql(spans, step),
    values: [
      shard,
      step.spans.map(({ facet }) => facet),
      step.spans.map(({ from }) => from),
      step.spans.map(({ to }) => to),
      step.spans.map(({ before }) => before),
      step.spans.map(({ isUnanswered }) => (isUnanswered ? 1 : 0)),
      ...values,
    ],
  };
}

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

/** The types of the columns of changes of counters. */
export const cellTypes = ["integer", "integer", "bigint", "bigint", "bigint", "bigint"];

/** Parameters that are arrays of these types, from the number `first` on. */
export const arraysOf = (types: readonly string[], first: number): string =>
  types.map((type, index) => `$${first + index}::${type}[]`).join(", ");

/** Changes counters, from a parameter on; `from`: what must have a row for that. */
export const changeCells = (first: number, from = ""): string => `INSERT INTO cell
    (shard, facet, level, cell, count, first_answered, last_answered)
  SELECT $1, t.* FROM ${from} unnest(${arraysOf(cellTypes, first)})
    AS t (facet, level, cell, count, first_answered, last_answered)
  ON CONFLICT (shard, facet, level, cell) DO UPDATE SET count = cell.count + excluded.count,
    first_answered = least(cell.first_answered, excluded.first_answered),
    last_answered = greatest(cell.last_answered, excluded.last_answered)`;

/** Drops those of the counters that count nothing any more. */
export const dropCells = `DELETE FROM cell USING unnest($2::integer[], $3::integer[], $4::bigint[]) AS t (facet, level, cell)
  WHERE shard = $1 AND cell.facet = t.facet AND cell.level = t.level AND cell.cell = t.cell AND count = 0`;

/** Changes of counters as columns. All transactions change them in the same order, so that none waits for another in a circle. */
export const cellColumns = (changes: readonly CellChange[]): unknown[][] =>
  columnsOfCells(changes.toSorted((a, b) => a.facet - b.facet || a.level - b.level || a.cell - b.cell));

/** Changes of counters as columns, in the order that they have. */
export const columnsOfCells = (changes: readonly CellChange[]): unknown[][] => [
  changes.map(({ facet }) => facet),
  changes.map(({ level }) => level),
  changes.map(({ cell }) => cell),
  changes.map(({ count }) => count),
  changes.map(({ first }) => first ?? null),
  changes.map(({ last }) => last ?? null),
];
