import type { Labels } from "@wheelwork/core";
import type { IncidentKind } from "@wheelwork/core/kernel";
import {
  facetName,
  FacetSums,
  type Facet,
  type FacetCount,
  type FacetRow,
  type RequestFilter,
} from "../ports/filter.ts";
import type { Row } from "./rows.ts";

// Lists and counts by labels. A store has an index of the rows with each label, which is a text: `name=value`. Within it the rows are
// by facet and in the order of lists, as in the index of all rows; and there are the same counters (counting.ts). So a list or a
// count by one name costs as much as one without. Of several names, the one with the fewest rows is walked, and each row is held
// against the others.

/** The labels of a row, for its column; null: it has none. */
export const labelsText = ({ labels }: Pick<FacetRow, "labels">): string | null =>
  labels === undefined ? null : JSON.stringify(labels);

/**
 * The JSON of a column that only lists need; undefined if it is NULL or damaged. One such row must not keep a list from being read, nor a
 * batch from being committed.
 */
export function jsonOf<T>(text: unknown): T | undefined {
  if (typeof text !== "string") return undefined;
  try {
    return (JSON.parse(text) as T | null) ?? undefined;
  } catch {
    return undefined;
  }
}

/** The labels that `labelsText` has written. */
export const labelsIn = (row: Row): { readonly labels?: Labels } => {
  const labels = jsonOf<Labels>(row["labels"]);
  return labels === undefined ? {} : { labels };
};

/** The incident of a row, for its column; null: it has none. */
export const incidentText = ({ incident }: Pick<FacetRow, "incident">): string | null =>
  incident === undefined ? null : JSON.stringify(incident);

/** The incident that `incidentText` has written. */
export const incidentIn = (row: Row): { readonly incident?: IncidentKind } => {
  const incident = jsonOf<IncidentKind>(row["incident"]);
  return incident === undefined ? {} : { incident };
};

/** What the index has of a row, by its columns: its labels, and what the message of its incident says. */
export function indexedTexts(row: Row): string[] {
  const texts = Object.entries(labelsIn(row).labels ?? {}).map(labelText);
  const { incident } = incidentIn(row);
  if (incident !== undefined) texts.push(messageText(incident.message));
  return texts;
}

/** How the index calls a message. No name of a label begins like that. JSON has each text, with all its characters. */
const messageText = (message: string): string => `${messageMark}${JSON.stringify(message)}`;
const messageMark = "!";

/** Messages are in the index from the first of these texts on, and before the other one. */
export const messageRange = [messageMark, '"'] as const;

/** The message that `messageText` calls so. */
const messageOfText = (text: string): string => JSON.parse(text.slice(messageMark.length)) as string;

const labelText = ([name, value]: readonly [name: string, value: string]): string => `${name}=${value}`;

/** A name that a filter has, and the values of which one is meant. */
export interface SoughtLabel {
  /** undefined: the messages of incidents. */
  readonly name: string | undefined;
  /** Each of them, as the index calls it. */
  readonly labels: readonly string[];
  /** Each of them, as a part of what `labelsText` writes. No other labels have it: in JSON, a quotation mark within a text is escaped. */
  readonly parts: readonly string[];
}

/** What a filter means by labels, and by messages of incidents; empty: it says nothing of them. */
export function soughtLabels({ labels = {}, message }: RequestFilter): SoughtLabel[] {
  const sought: SoughtLabel[] = Object.entries(labels).map(([name, given]) => {
    const values = valuesOf(given);
    return {
      name,
      labels: values.map((value) => labelText([name, value])),
      parts: values.map((value) => `${JSON.stringify(name)}:${JSON.stringify(value)}`),
    };
  });
  if (message === undefined) return sought;
  return [{ name: undefined, labels: valuesOf(message).map(messageText), parts: [] }, ...sought];
}

const valuesOf = (given: string | readonly string[]): string[] => [...new Set([given].flat())];

/** How many rows of a facet have a label. */
export interface LabelTotal {
  readonly label: string;
  readonly facet: number;
  readonly count: number;
}

/** Counts by message: how many rows of each facet have each, and those that have none. */
export function countsByMessage(
  counts: readonly FacetCount[],
  totals: readonly LabelTotal[],
  facetOf: (id: number) => Facet | undefined,
): FacetCount[] {
  const sums = new FacetSums();
  const meant = new Set(counts.map(facetName));
  for (const { count, ...facet } of counts) sums.add(facet, count);
  for (const { label, facet: id, count } of totals) {
    const facet = facetOf(id);
    if (facet === undefined || !meant.has(facetName(facet))) continue;
    sums.add(facet, count, messageOfText(label));
    sums.add(facet, -count);
  }
  return sums.counts();
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
  // The rows of the index do not say what their messages are.
  const byMessage = walks.find(({ one }) => one.name === undefined);
  const least = byMessage ?? walks.toSorted((a, b) => a.rows - b.rows)[0];
  return { parts: least?.parts ?? [], others: sought.filter((one) => one !== least?.one) };
}
