import type { SQLInputValue } from "node:sqlite";
import {
  asksForAnswered,
  boundsOf,
  compareInList,
  durationRange,
  durationsOf,
  facetOf,
  FacetSums,
  fits,
  stuckBounds,
  type FacetCount,
  type FacetRow,
  type ListPlace,
  type StoreFilter,
  type RequestList,
} from "../ports/filter.ts";
import type { RequestRow } from "../ports/ports.ts";
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
import {
  countsByMessage,
  indexedTexts,
  labelWalk,
  messageRange,
  soughtLabels,
  type LabelTotal,
  type SoughtLabel,
} from "./labels.ts";
import { listedRowOf, optionalNumber, type Row } from "./rows.ts";
import type { Work } from "./slices.ts";

/** What facets need of their store: statements, run within the transactions of the store. */
interface FacetTables {
  run(sql: string, ...values: SQLInputValue[]): unknown;
  get(sql: string, ...values: SQLInputValue[]): Row | undefined;
  all(sql: string, ...values: SQLInputValue[]): Row[];
}

/** What the counters and the index of labels must know of a row. */
interface IndexedRow {
  /** null: no list shows it. */
  readonly facet: number | null;
  readonly key: string;
  readonly createdAt: number;
  readonly answeredAt: number | undefined;
  /** Of a run: when it is due next. */
  readonly due?: number | undefined;
  /** Of a run: see `StoredRun`. */
  readonly attempts?: number | undefined;
  /** See `labelsText`. */
  readonly labels: string | null;
  /** See `incidentText`. */
  readonly incident?: string | null;
  /** Only of a row with labels, or with an incident. */
  readonly id: number;
}

/** A part of an index, with the rows of one facet in the order of lists. */
interface Part {
  readonly facet: StoredFacet;
  /** undefined: the part has all rows of the facet. */
  readonly label?: string | undefined;
}

/** What rows must be, besides being in a part of an index. */
interface Condition {
  readonly sql: string;
  readonly values: readonly SQLInputValue[];
}

/** A part, as a list goes through it. */
interface ListedPart extends Part {
  readonly conditions: readonly Condition[];
}

/** Lists and counts of requests in a SQLite file: see counting.ts and labels.ts. Made anew after a transaction that has failed. */
export class SqliteFacets {
  readonly #tables: FacetTables;
  /** The facets that the file has. */
  readonly known: KnownFacets;
  #changes = new CellChanges();
  readonly #labelChanges = new Map<string, CellChanges>();

  /** @param known The facets that the file has, if somebody has read them. */
  constructor(tables: FacetTables, known?: KnownFacets) {
    this.#tables = tables;
    this.known = known ?? new KnownFacets();
    if (known !== undefined) return;
    for (const row of tables.all("SELECT * FROM facet")) this.known.add(storedFacetOf(row));
  }

  /** The facet of a row that is about to be written, by its number; null: no list shows it. */
  idOf(row: FacetRow): number | null {
    const facet = facetOf(row);
    if (facet === undefined) return null;
    const known = this.known.idOf(facet);
    if (known !== undefined) return known;
    const added = this.#tables.get(insertFacet, ...facetValues(facet)) as Row;
    const id = Number(added["id"]);
    this.known.add({ ...facet, id });
    return id;
  }

  /** A row comes to a facet, with the present transaction. */
  add({ facet, key, createdAt, answeredAt, due, attempts, labels, incident = null, id }: IndexedRow): void {
    if (facet === null) return;
    this.#changes.add(facet, createdAt, answeredAt, 1);
    if (labels === null && incident === null) return;
    for (const label of indexedTexts({ labels, incident })) {
      this.#tables.run(
        insertLabelled,
        label,
        facet,
        createdAt,
        key,
        answeredAt ?? null,
        due ?? null,
        attempts ?? null,
        id,
        labels ?? "{}",
      );
      this.#changesOf(label).add(facet, createdAt, answeredAt, 1);
    }
  }

  /** A row goes, with the present transaction. It has the columns key, facet, created_at, labels, and of a run incident. */
  remove(row: Row): void {
    if (row["facet"] === null) return;
    const [facet, createdAt] = [Number(row["facet"]), Number(row["created_at"])];
    this.#changes.add(facet, createdAt, undefined, -1);
    for (const label of indexedTexts(row)) {
      this.#tables.run(deleteLabelled, label, facet, createdAt, row["key"] as string);
      this.#changesOf(label).add(facet, createdAt, undefined, -1);
    }
  }

  #changesOf(label: string): CellChanges {
    let changes = this.#labelChanges.get(label);
    if (changes === undefined) this.#labelChanges.set(label, (changes = new CellChanges()));
    return changes;
  }

  /** Writes what has been counted. */
  write(): void {
    this.#write(this.#changes, [changeCell, dropCell], []);
    this.#changes = new CellChanges();
    for (const [label, changes] of this.#labelChanges)
      this.#write(changes, [changeLabelCell, dropLabelCell], [label]);
    this.#labelChanges.clear();
  }

  #write(changes: CellChanges, [change, drop]: readonly [string, string], of: readonly string[]): void {
    for (const { facet, level, cell, count, first = null, last = null } of changes.all()) {
      if (count !== 0) this.#tables.run(change, ...of, facet, level, cell, count, first, last);
      if (count < 0) this.#tables.run(drop, ...of, facet, level, cell);
    }
  }

  /** The facets that a filter means. Of those that live, most have no answer: their counters say so. */
  #meant(filter: StoreFilter): StoredFacet[] {
    const meant = [...this.known.values()].filter((facet) => fits(facet, filter) !== "none");
    if (!asksForAnswered(filter)) return meant;
    const live = meant.filter(isLiveFacet).map(({ id }) => id);
    const answered = new Set(
      this.#tables.all(answeredFacets, JSON.stringify(live)).map(({ facet }) => Number(facet)),
    );
    return meant.filter((facet) => !isLiveFacet(facet) || answered.has(facet.id));
  }

  /** The parts of the index that have what a filter means, and which labels their rows must have besides. */
  #walk(filter: StoreFilter): { readonly parts: readonly Part[]; readonly others: readonly SoughtLabel[] } {
    const sought = soughtLabels(filter);
    const meant = this.#meant(filter);
    if (sought.length === 0) {
      return { parts: meant.map((facet) => ({ facet })), others: [] };
    }
    const totals = this.#tables
      .all(labelTotals, JSON.stringify(sought.flatMap(({ labels }) => labels)))
      .map((row) => ({
        label: String(row["label"]),
        facet: Number(row["facet"]),
        count: Number(row["count"]),
      }))
      .filter(({ facet }) => meant.includes(this.known.get(facet) as StoredFacet));
    const { parts, others } = labelWalk(sought, totals);
    return {
      parts: parts.map(({ label, facet }) => ({ label, facet: this.known.get(facet) as StoredFacet })),
      others,
    };
  }

  *list(list: RequestList): Work<RequestRow[]> {
    const { parts: walked, others } = this.#walk(list);
    const parts = walked.map((part) => ({ ...part, conditions: conditionsOf(part.facet, list, others) }));
    if (parts.every(({ conditions }) => conditions.length === 0)) return yield* this.#listParts(parts, list);
    yield "if-pinned";
    const few = yield* this.#fewOfDurations(parts, list);
    if (few === undefined) return yield* this.#listInWindows(parts, list);
    return yield* this.#listWithFew(few, parts.filter(isLivePart), list);
  }

  /** The rows of ended requests in a list by duration, if the index of durations says that they are few; undefined: they are not. */
  *#fewOfDurations(parts: readonly ListedPart[], list: RequestList): Work<Place[] | undefined> {
    const { from, to = Number.MAX_SAFE_INTEGER } = durationRange(list) ?? {};
    if (from === undefined || parts.some(({ label }) => label !== undefined)) return undefined;
    const ended = parts.filter((part) => !isLivePart(part));
    let left = maxFew;
    for (const { facet } of ended) {
      left -= Number(this.#tables.get(countOfFew, facet.id, from, to, left + 1)?.["count"]);
      if (left < 0) return undefined;
      yield "if-pinned";
    }
    const few: Place[] = [];
    for (const { facet, conditions } of ended) {
      const { where, values } = whereOf(facet, list, conditions);
      const rows = this.#tables.all(`${fewOfDurations}${where}`, facet.id, from, to, ...values);
      for (const row of rows) few.push(placeOf(row, facet));
      yield "if-pinned";
    }
    return few;
  }

  /** A list of few rows of ended requests, and of what is left of live ones. */
  *#listWithFew(few: readonly Place[], live: readonly ListedPart[], list: RequestList): Work<RequestRow[]> {
    const { limit, order } = list;
    const first = few.toSorted((a, b) => compareInList(a, b, order)).slice(0, limit);
    const rows = [
      ...(yield* this.#rowsOf(first)),
      ...(live.length > 0 ? yield* this.#listInWindows(live, list) : []),
    ];
    return rows.toSorted((a, b) => compareInList(a, b, order)).slice(0, limit);
  }

  /** The first rows of a list in some parts of the index. `until`: the last place that is looked at. */
  *#listParts(parts: readonly ListedPart[], list: RequestList, until?: ListPlace): Work<RequestRow[]> {
    const { limit, order = "newest" } = list;
    let places: Place[] = [];
    for (const part of parts) {
      // Once there are enough, only those are looked for that go before the last one.
      const last = places.length < limit ? until : places[limit - 1];
      const { sql, values } = listStatement(part, list, part.conditions, last);
      const found = this.#tables.all(sql, ...values).map((row) => placeOf(row, part.facet));
      if (found.length > 0)
        places = [...places, ...found].toSorted((a, b) => compareInList(a, b, order)).slice(0, limit);
      yield "if-pinned";
    }
    return yield* this.#rowsOf(places);
  }

  *#rowsOf(places: readonly Place[]): Work<RequestRow[]> {
    const rows: RequestRow[] = [];
    for (const { id, facet, ...place } of places) {
      const sql = isLiveFacet(facet) ? runRow : requestRow;
      rows.push(listedRowOf({ ...place.row, ...this.#tables.get(sql, id) }, facet));
      yield "if-pinned";
    }
    return rows;
  }

  /**
   * The same of a list that may pass over many rows of the index: from place to place, so many rows in each turn. All parts are looked
   * at up to the same place, so that a request that moves on meanwhile is listed once: its place stays.
   */
  *#listInWindows(parts: readonly ListedPart[], list: RequestList): Work<RequestRow[]> {
    const { limit } = list;
    const rows: RequestRow[] = [];
    const each = Math.max(minWindowRows, Math.ceil(maxCountedRows / Math.max(1, parts.length)));
    for (let { after } = list; ;) {
      const from = after === undefined ? list : { ...list, after };
      let until: ListPlace | undefined;
      for (const part of parts) {
        const { sql, values } = listStatement(part, { ...from, limit: 1 }, [], until, each);
        const end = this.#tables.get(sql, ...values);
        if (end !== undefined) until = placeOf(end, part.facet);
        yield "if-pinned";
      }
      rows.push(...(yield* this.#listParts(parts, { ...from, limit: limit - rows.length }, until)));
      if (rows.length === limit || until === undefined) return rows;
      after = { createdAt: until.createdAt, key: until.key };
      yield "always";
    }
  }

  *counts(filter: StoreFilter): Work<FacetCount[]> {
    const counts = yield* this.#count(filter);
    if (filter.byMessage !== true) return counts;
    const totals: LabelTotal[] = [];
    for (const total of this.#messageTotals()) {
      totals.push(total);
      yield "if-pinned";
    }
    return countsByMessage(counts, totals, (id) => this.known.get(id));
  }

  /** How many incidents have each message. */
  *#messageTotals(): Generator<LabelTotal> {
    const [from, to] = messageRange;
    let next = this.#tables.get(nextLabel, from, to);
    while (next !== undefined) {
      const label = next["label"] as string;
      for (const row of this.#tables.all(totalsOfLabel, label))
        yield { label, facet: Number(row["facet"]), count: Number(row["count"]) };
      next = this.#tables.get(nextLabel, label, to);
    }
  }

  /** Counts. It rests when it has read so many rows that others should have their turn. */
  *#count(filter: StoreFilter): Work<FacetCount[]> {
    const { parts, others } = this.#walk(filter);
    const sums = new FacetSums();
    for (const [label, ofLabel] of Map.groupBy(parts, (part) => part.label)) {
      const facets = ofLabel.map(({ facet }) => facet);
      const steps = counting(facets, filter, { hasLabel: label !== undefined, byRow: others.length > 0 });
      let step = steps.next();
      while (step.done !== true) {
        yield "if-pinned";
        step = steps.next(
          step.value.kind === "rows"
            ? yield* this.#countRows(step.value, label, (facet) => conditionsOf(facet, filter, others))
            : step.value.kind === "durations"
              ? yield* this.#countDurations(step.value)
              : step.value.kind === "cells"
                ? yield* this.#countCells(step.value, label)
                : this.#countTotals(step.value.facets, label),
        );
      }
      for (const { count, ...facet } of step.value) sums.add(facet, count);
    }
    return sums.counts();
  }

  #countTotals(facets: readonly number[], label: string | undefined): Counted[] {
    const of = label === undefined ? [] : [label];
    const sql = label === undefined ? totalsOf : labelTotalsOf;
    return this.#tables.all(sql, JSON.stringify(facets), ...of).map(countedOf);
  }

  *#countCells(step: CountStep & { readonly kind: "cells" }, label: string | undefined): Work<Counted[]> {
    const sql = cellsSql(label === undefined ? cellSpans : labelCellSpans, step);
    const of = label === undefined ? [] : [label];
    const counts: Counted[] = [];
    for (let from = 0; from < step.spans.length; from += maxSpans) {
      const spans = step.spans
        .slice(from, from + maxSpans)
        .map(({ facet, from: since, to, before, isUnanswered }) => [
          facet,
          since,
          to,
          before,
          isUnanswered ? 1 : 0,
        ]);
      for (const row of this.#tables.all(sql, JSON.stringify(spans), ...of)) counts.push(countedOf(row));
      yield "if-pinned";
    }
    return counts;
  }

  *#countDurations({ facets, durationMs }: CountStep & { readonly kind: "durations" }): Work<Counted[]> {
    const counts: Counted[] = [];
    let left = maxCountedDurations;
    for (const facet of facets) {
      const ofClass = durationsOf(this.known.get(facet)?.took ?? 0);
      const end = Math.min(durationMs.to, ofClass.to);
      // Nobody knows beforehand how many rows some milliseconds have: after many, fewer milliseconds are looked at next.
      let from = Math.max(durationMs.from, ofClass.from);
      for (let width = Math.ceil((end - from) / 8); from < end;) {
        const to = Math.min(end, from + width);
        const count = Number(this.#tables.get(countOfDurations, facet, from, to)?.["count"]);
        counts.push({ facet, count });
        from = to;
        width = Math.max(1, count > maxCountedDurations ? Math.ceil(width / 4) : 2 * width);
        left -= count;
        yield left > 0 ? "if-pinned" : "always";
        if (left <= 0) left = maxCountedDurations;
      }
    }
    return counts;
  }

  *#countRows(
    step: CountStep & { readonly kind: "rows" },
    label: string | undefined,
    conditionsFor: (facet: StoredFacet) => readonly Condition[],
  ): Work<Counted[]> {
    const counts: Counted[] = [];
    let left = maxCountedRows;
    for (const { facet, from, to } of step.spans) {
      const stored = this.known.get(facet) as StoredFacet;
      const conditions = conditionsFor(stored);
      const where = conditions.map(({ sql }) => `AND ${sql}`).join(" ");
      const bounds = conditions.flatMap(({ values }) => values);
      const { sql: part, values } = partOf({ facet: stored, label });
      let place: ListPlace = { createdAt: from, key: "" };
      for (let isOver = false; !isOver;) {
        const end = this.#tables.get(
          `SELECT created_at, key FROM ${part} AND (created_at, key) >= (?, ?) AND created_at < ?
            ORDER BY created_at, key LIMIT 1 OFFSET ?`,
          ...values,
          ...valuesOf(place),
          to,
          left,
        );
        isOver = end === undefined;
        // The key counts only where more rows than these are of one instant: to compare it costs as much as all else.
        const createdAt = end === undefined ? to : Number(end["created_at"]);
        const key = createdAt > place.createdAt ? "" : String(end?.["key"] ?? "");
        const until = { createdAt, key };
        const isByTime = place.key === "" && key === "";
        const [since, before] = isByTime
          ? ["created_at >= ?", "created_at < ?"]
          : ["(created_at, key) >= (?, ?)", "(created_at, key) < (?, ?)"];
        const limits = isByTime ? [place.createdAt, createdAt] : [...valuesOf(place), ...valuesOf(until)];
        const sql = `SELECT count(*) AS count, count(*) FILTER (WHERE true ${where}) AS meant FROM ${part}
          AND ${since} AND ${before}`;
        const found = this.#tables.get(sql, ...bounds, ...values, ...limits);
        counts.push({ facet, count: Number(found?.["meant"]) });
        place = until;
        left -= Number(found?.["count"]);
        yield left > 0 ? "if-pinned" : "always";
        if (left <= 0) left = maxCountedRows;
      }
    }
    return counts;
  }
}

/** Rows that a count or a list reads at once: the loop stands still meanwhile. */
const maxCountedRows = 5000;
/** The same of a count that reads nothing but durations. */
const maxCountedDurations = 10_000;
/** So many rows of a list are few: they are read and sorted, whichever of them the page has. */
const maxFew = 2000;
/** Rows of a part that a list reads at once at least. */
const minWindowRows = 100;

/** Spans whose cells are counted by one statement. */
const maxSpans = 16;

const countedOf = ({ facet, count, cell }: Row): Counted => ({
  facet: Number(facet),
  count: Number(count),
  cell: optionalNumber(cell),
});

/** What a filter says of the rows of a facet that no index of them does. */
function conditionsOf(facet: StoredFacet, filter: StoreFilter, others: readonly SoughtLabel[]): Condition[] {
  const conditions: Condition[] = rowRanges(filter).map(({ sql, value }) => ({
    sql: `${sql}?`,
    values: [value],
  }));
  for (const { parts } of others)
    conditions.push({
      sql: `(${parts.map(() => "instr(labels, ?) > 0").join(" OR ") || "false"})`,
      values: parts,
    });
  const stuck = stuckBounds(facet, filter);
  if (stuck !== undefined)
    conditions.push({
      sql: "(due < ? OR (answered_at IS NULL AND created_at < ?))",
      values: [stuck.dueBefore, stuck.acceptedBefore],
    });
  return conditions;
}

/** Where the rows of a part are. The index is named, so that a wrong one is an error. */
function partOf({ facet, label }: Part): Condition {
  if (label !== undefined)
    return { sql: "labelled WHERE label = ? AND facet = ?", values: [label, facet.id] };
  const table = isLiveFacet(facet) ? "run" : "request";
  return { sql: `${table} INDEXED BY ${table}_facet WHERE facet = ?`, values: [facet.id] };
}

const isLivePart = ({ facet }: Part): boolean => isLiveFacet(facet);

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
 * The statement of a list, for one part of an index. It reads the index that has the rows of the part in the order of lists, and
 * nothing else, so that a list without conditions costs as much as its page, however many requests there are.
 * @param last Only those are looked for that are at this place or go before it.
 * @param skipped So many are passed over.
 */
export function listStatement(
  part: Part,
  list: RequestList,
  conditions: readonly Condition[] = [],
  last?: ListPlace,
  skipped = 0,
): { readonly sql: string; readonly values: readonly SQLInputValue[] } {
  const { limit, order } = list;
  const { sql: rows, values: of } = partOf(part);
  const { where, values: more } = whereOf(part.facet, list, conditions, last);
  const values = [...of, ...more];
  const direction = order === "oldest" ? "ASC" : "DESC";
  return {
    sql: `SELECT id, key, created_at, answered_at FROM ${rows}${where}
      ORDER BY created_at ${direction}, key ${direction} LIMIT ?${skipped === 0 ? "" : " OFFSET ?"}`,
    values: skipped === 0 ? [...values, limit] : [...values, limit, skipped],
  };
}

/** What a list says of the rows of a facet, besides where they are. */
function whereOf(
  facet: StoredFacet,
  list: RequestList,
  conditions: readonly Condition[],
  last?: ListPlace,
): { readonly where: string; readonly values: readonly SQLInputValue[] } {
  const { order } = list;
  const { from, to } = boundsOf(facet, list);
  const values: SQLInputValue[] = [];
  let where = "";
  const add = (sql: string, ...more: SQLInputValue[]): void => {
    where += ` AND ${sql}`;
    values.push(...more);
  };
  // The later one of two lower bounds, and the earlier one of two upper bounds: an index goes by one of each.
  const isCut = (place: ListPlace | undefined): boolean =>
    last !== undefined && (place === undefined || compareInList(last, place, order) < 0);
  if (order !== "oldest" && isCut(from)) add("(created_at, key) >= (?, ?)", ...valuesOf(last));
  else if (from !== undefined)
    add(`(created_at, key) >${from.isIncluded ? "=" : ""} (?, ?)`, from.createdAt, from.key);
  if (order === "oldest" && isCut(to)) add("(created_at, key) <= (?, ?)", ...valuesOf(last));
  else if (to !== undefined)
    add(`(created_at, key) <${to.isIncluded ? "=" : ""} (?, ?)`, to.createdAt, to.key);
  for (const condition of conditions) add(condition.sql, ...condition.values);
  return { where, values };
}

const valuesOf = (place: ListPlace | undefined): SQLInputValue[] =>
  place === undefined ? [] : [place.createdAt, place.key];

const runRow = "SELECT version, lane, labels FROM run WHERE id = ?";
const requestRow = "SELECT version, labels FROM request WHERE id = ?";
const insertFacet = `INSERT INTO facet (${facetColumns.join(", ")}) VALUES (${facetColumns.map(() => "?").join(", ")})
  RETURNING id`;
const insertLabelled = `INSERT OR REPLACE INTO labelled (label, facet, created_at, key, answered_at, due, attempts, id, labels)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const deleteLabelled = "DELETE FROM labelled WHERE label = ? AND facet = ? AND created_at = ? AND key = ?";
const added = `DO UPDATE SET count = count + excluded.count,
    first_answered = min(coalesce(first_answered, excluded.first_answered), coalesce(excluded.first_answered, first_answered)),
    last_answered = max(coalesce(last_answered, excluded.last_answered), coalesce(excluded.last_answered, last_answered))`;
const changeCell = `INSERT INTO cell (facet, level, cell, count, first_answered, last_answered) VALUES (?, ?, ?, ?, ?, ?)
  ON CONFLICT (facet, level, cell) ${added}`;
const changeLabelCell = `INSERT INTO label_cell (label, facet, level, cell, count, first_answered, last_answered)
  VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (label, level, facet, cell) ${added}`;
const dropCell = "DELETE FROM cell WHERE facet = ? AND level = ? AND cell = ? AND count = 0";
const dropLabelCell =
  "DELETE FROM label_cell WHERE label = ? AND facet = ? AND level = ? AND cell = ? AND count = 0";
const totalsOf =
  "SELECT facet, count FROM json_each(?) AS meant CROSS JOIN cell ON facet = meant.value AND level = 0 AND cell = 0";
const answeredFacets = `SELECT facet FROM json_each(?) AS meant CROSS JOIN cell ON facet = meant.value AND level = 0 AND cell = 0
  WHERE last_answered IS NOT NULL`;
const labelTotalsOf = `SELECT facet, count FROM json_each(?) AS meant CROSS JOIN label_cell
  ON label = ? AND level = 0 AND facet = meant.value AND cell = 0`;
const ofDurations =
  "FROM request INDEXED BY request_took WHERE facet = ? AND answered_at - created_at >= ? AND answered_at - created_at < ?";
const countOfDurations = `SELECT count(*) AS count ${ofDurations}`;
const countOfFew = `SELECT count(*) AS count FROM (SELECT 1 ${ofDurations} LIMIT ?)`;
const fewOfDurations = `SELECT id, key, created_at, answered_at ${ofDurations}`;
const nextLabel = "SELECT label FROM label_cell WHERE label > ? AND label < ? ORDER BY label LIMIT 1";
const totalsOfLabel = "SELECT facet, count FROM label_cell WHERE label = ? AND level = 0";
const labelTotals = `SELECT label, facet, count FROM json_each(?) AS meant CROSS JOIN label_cell
  ON label = meant.value AND level = 0`;
const spans = `(SELECT value ->> 0 AS facet, value ->> 1 AS since, value ->> 2 AS up_to, value ->> 3 AS before, value ->> 4 AS unanswered
    FROM json_each(?)) AS span`;
const cellSpans = `${spans} CROSS JOIN cell WHERE true`;
const labelCellSpans = `${spans} CROSS JOIN label_cell AS cell WHERE cell.label = ?`;
