import type { ListPlace } from "@wheelwork/engine";
import { CellChanges, indexedTexts, type CellChange, type Row } from "@wheelwork/engine/stores";
import { arraysOf, cellTypes, columnsOfCells } from "./lists.ts";

// What the store writes of labels: an index of the rows that have each of them, and counters.

/** What the counters and the index of labels must know of a row. */
interface IndexedRow extends ListPlace {
  /** null: no list shows it. */
  readonly facet: number | null;
  readonly answeredAt: number | undefined;
  /** Of a run: when it is due next. */
  readonly due?: number | undefined;
  /** Of a run: see `StoredRun`. */
  readonly attempts?: number | undefined;
  /** See `labelsText`. */
  readonly labels: string | null;
  /** See `incidentText`. */
  readonly incident?: string | null;
}

/** A row of the table `labelled`. */
interface Labelled extends Omit<IndexedRow, "labels"> {
  readonly label: string;
  readonly labels: string | null;
}

/** What a transaction changes of the counters, and of the index of labels. */
export class IndexChanges {
  readonly #cells = new CellChanges();
  readonly #labelCells = new Map<string, CellChanges>();
  readonly #come: Labelled[] = [];
  readonly #gone: Labelled[] = [];

  /** A row comes to a facet. */
  add(row: IndexedRow): void {
    const { facet, createdAt, answeredAt, labels, incident } = row;
    if (facet === null) return;
    this.#cells.add(facet, createdAt, answeredAt, 1);
    for (const label of indexedTexts({ labels, incident })) {
      this.#come.push({ ...row, label });
      this.#cellsOf(label).add(facet, createdAt, answeredAt, 1);
    }
  }

  /** A row goes. It has the columns key, facet, created_at, labels, and of a run incident. */
  remove(row: Row): void {
    if (row["facet"] === null) return;
    const [facet, createdAt] = [Number(row["facet"]), Number(row["created_at"])];
    this.#cells.add(facet, createdAt, undefined, -1);
    for (const label of indexedTexts(row)) {
      this.#gone.push({
        label,
        facet,
        createdAt,
        key: String(row["key"]),
        answeredAt: undefined,
        labels: null,
      });
      this.#cellsOf(label).add(facet, createdAt, undefined, -1);
    }
  }

  #cellsOf(label: string): CellChanges {
    let cells = this.#labelCells.get(label);
    if (cells === undefined) this.#labelCells.set(label, (cells = new CellChanges()));
    return cells;
  }

  /** Changes of counters. */
  cells(): CellChange[] {
    return this.#cells.all();
  }

  /** Those of the counters of labels. */
  labelCells(): LabelCellChange[] {
    return [...this.#labelCells].flatMap(([label, cells]) => cells.all().map((cell) => ({ ...cell, label })));
  }

  /** Rows that come to the index of labels. */
  get come(): readonly Labelled[] {
    return this.#come;
  }

  /** Rows that go from there. */
  get gone(): readonly Labelled[] {
    return this.#gone;
  }
}

type LabelCellChange = CellChange & { readonly label: string };

const labelledTypes = ["text", "integer", "bigint", "text", "bigint", "bigint", "integer", "text"];

/** Rows of the table `labelled` as columns. */
export const labelledColumns = (rows: readonly Labelled[]): unknown[][] => [
  rows.map(({ label }) => label),
  rows.map(({ facet }) => facet),
  rows.map(({ createdAt }) => createdAt),
  rows.map(({ key }) => key),
  rows.map(({ answeredAt }) => answeredAt ?? null),
  rows.map(({ due }) => due ?? null),
  rows.map(({ attempts }) => attempts ?? null),
  rows.map(({ labels }) => labels ?? "{}"),
];

/** Adds rows to the index of labels, from a parameter on; `from`: what must have a row for that. */
export const addLabelled = (first: number, from = ""): string => `INSERT INTO labelled
    (shard, label, facet, created_at, key, answered_at, due, attempts, labels)
  SELECT $1, t.* FROM ${from} unnest(${arraysOf(labelledTypes, first)}) AS t (label, facet, created_at, key, answered_at, due, attempts, labels)
  ON CONFLICT (shard, label, facet, created_at, key) DO NOTHING`;

/** How many parameters `addLabelled` has. */
export const labelledCount = labelledTypes.length;

/** Takes rows from the index of labels. */
export const dropLabelled = `DELETE FROM labelled USING unnest(${arraysOf(labelledTypes.slice(0, 4), 2)}) AS t (label, facet, created_at, key)
  WHERE shard = $1 AND labelled.label = t.label AND labelled.facet = t.facet AND labelled.created_at = t.created_at
    AND labelled.key = t.key`;

/** Changes counters of labels, from a parameter on; `from`: what must have a row for that. */
export const changeLabelCells = (first: number, from = ""): string => `INSERT INTO label_cell
    (shard, label, facet, level, cell, count, first_answered, last_answered)
  SELECT $1, t.* FROM ${from} unnest(${arraysOf(["text", ...cellTypes], first)})
    AS t (label, facet, level, cell, count, first_answered, last_answered)
  ON CONFLICT (shard, label, level, facet, cell) DO UPDATE SET count = label_cell.count + excluded.count,
    first_answered = least(label_cell.first_answered, excluded.first_answered),
    last_answered = greatest(label_cell.last_answered, excluded.last_answered)`;

/** Drops those of the counters that count nothing any more. */
export const dropLabelCells = `DELETE FROM label_cell
  USING unnest(${arraysOf(["text", "integer", "integer", "bigint"], 2)}) AS t (label, facet, level, cell)
  WHERE shard = $1 AND label_cell.label = t.label AND label_cell.facet = t.facet AND label_cell.level = t.level
    AND label_cell.cell = t.cell AND count = 0`;

/** Changes of counters of labels as columns, in an order that all transactions have. */
export function labelCellColumns(changes: readonly LabelCellChange[]): unknown[][] {
  const sorted = changes.toSorted(
    (a, b) =>
      (a.label < b.label ? -1 : a.label > b.label ? 1 : 0) ||
      a.level - b.level ||
      a.facet - b.facet ||
      a.cell - b.cell,
  );
  return [sorted.map(({ label }) => label), ...columnsOfCells(sorted)];
}
