import type { Labels } from "@wheelwork/core";
import type { FacetRow, RequestFilter } from "../ports/filter.ts";
import type { Row } from "./rows.ts";

// Lists and counts by labels. A store has an index of the rows with each label, which is a text: `name=value`. Within it the rows are
// by facet and in the order of lists, as in the index of all rows; and there are the same counters (counting.ts). So a list or a
// count by one name costs as much as one without. Of several names, the one with the fewest rows is walked, and each row is held
// against the others.

/** The labels of a row, for its column; null: it has none. */
export const labelsText = ({ labels }: Pick<FacetRow, "labels">): string | null =>
  labels === undefined ? null : JSON.stringify(labels);

/** The labels that `labelsText` has written. */
export const labelsIn = ({ labels }: Row): { readonly labels?: Labels } =>
  typeof labels === "string" ? { labels: JSON.parse(labels) as Labels } : {};

/** How the index calls the labels of a row, by their column. */
export const labelsOfText = (text: unknown): string[] =>
  typeof text === "string" ? Object.entries(JSON.parse(text) as Labels).map(labelText) : [];

const labelText = ([name, value]: readonly [name: string, value: string]): string => `${name}=${value}`;

/** A name that a filter has, and the values of which one is meant. */
export interface SoughtLabel {
  readonly name: string;
  readonly values: readonly string[];
  /** The same, as the index calls them. */
  readonly labels: readonly string[];
}

/** What a filter means by labels; empty: it says nothing of them. */
export const soughtLabels = ({ labels = {} }: RequestFilter): SoughtLabel[] =>
  Object.entries(labels).map(([name, given]) => {
    const values = [...new Set(typeof given === "string" ? [given] : given)];
    return { name, values, labels: values.map((value) => labelText([name, value])) };
  });

/** How many rows of a facet have a label. */
export interface LabelTotal {
  readonly label: string;
  readonly facet: number;
  readonly count: number;
}

/** Which parts of the index a list or a count walks, and which labels each row must have besides. */
export interface LabelWalk {
  readonly parts: readonly Pick<LabelTotal, "label" | "facet">[];
  readonly others: readonly SoughtLabel[];
}

/** The walk with the fewest rows. */
export function labelWalk(sought: readonly SoughtLabel[], totals: readonly LabelTotal[]): LabelWalk {
  const walks = sought.map((one) => {
    const parts = totals.filter(({ label }) => one.labels.includes(label));
    return { one, parts, rows: parts.reduce((sum, { count }) => sum + count, 0) };
  });
  const least = walks.toSorted((a, b) => a.rows - b.rows)[0];
  return { parts: least?.parts ?? [], others: sought.filter((one) => one !== least?.one) };
}
