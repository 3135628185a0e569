import { demandsOf, WheelworkError, type Problem } from "./errors.ts";
import type { HubDefinition } from "./hub.ts";
import { plain, synchronous, textOf } from "./plain.ts";
import type { Run } from "./run.ts";

/** The labels of a request, by their names. */
export type Labels = Readonly<Record<string, string>>;

/** Makes the labels of a request. One that is undefined is left out. It must be a pure function. */
export type LabelsOf<Request> = (request: Request) => { readonly [name: string]: string | undefined };

/** How many labels a request may have. Each is an entry of an index, and some counters. */
const maxLabels = 8;
/** Of a value, in characters. */
const maxLength = 200;

/** A character may be two in a text of JavaScript. */
const isShort = (text: string): boolean =>
  text.length <= maxLength || (text.length <= 2 * maxLength && Array.from(text).length <= maxLength);

/** What a name of a label is, and what a value is, as far as a pattern can say it: for documents, too. */
export const labelPatterns = {
  name: "[A-Za-z][A-Za-z0-9_-]{0,49}",
  value: `[^\\p{Cc}]{1,${maxLength}}`,
} as const;
const namePattern = new RegExp(`^${labelPatterns.name}$`);

/** Whether a text may be the name of a label. */
export const isLabelName = (name: string): boolean => namePattern.test(name);

/** Whether a value may be that of a label. */
export const isLabelValue = (value: unknown): value is string =>
  typeof value === "string" &&
  value !== "" &&
  isShort(value) &&
  value.isWellFormed() &&
  !/\p{Cc}/u.test(value);

/** What names must be, and values. */
export const mustBeLabelName = "must be a letter, then letters, digits, _ or -, 50 characters at most";
export const mustBeLabelValue = `must be a text of 1 to ${maxLength} characters, without control characters`;

/**
 * The labels of a request; undefined: it has none.
 * @throws WheelworkError WW_DEFECT with every problem, when `labels` throws, or does not give labels.
 */
export function labelsOf({ name, labels }: HubDefinition, request: unknown): Labels | undefined {
  if (labels === undefined) return undefined;
  const next = `Let \`labels\` make ${maxLabels} texts at most of each request that the hub's schema accepts.`;
  let given: unknown;
  try {
    given = synchronous(labels(request), "labels");
  } catch (cause) {
    const message = `labels of the hub ${name} threw: ${textOf(cause)}`;
    throw new WheelworkError("WW_DEFECT", message, { next, cause });
  }
  // It may be anything: a map, or what cannot be read.
  given = plain(given, "WW_DEFECT", `what labels of the hub ${name} returned`);
  const problems: Problem[] = [];
  const demand = demandsOf(problems, "labels");
  const isRecord = typeof given === "object" && given !== null && !Array.isArray(given);
  demand(isRecord, "", "must be an object");
  // In one order, so that equal labels are equal texts.
  const entries = isRecord
    ? Object.entries(given as object)
        .filter(([, value]) => value !== undefined)
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
    : [];
  demand(entries.length <= maxLabels, "", `must be ${maxLabels} labels at most`);
  for (const [label, value] of entries) {
    demand(isLabelName(label), `.${label}`, mustBeLabelName);
    demand(isLabelValue(value), `.${label}`, mustBeLabelValue);
  }
  if (problems.length === 0) return entries.length === 0 ? undefined : Object.fromEntries(entries);
  throw new WheelworkError("WW_DEFECT", `labels of the hub ${name} did not return labels`, {
    problems,
    next,
  });
}

/**
 * The labels of a request that has none, although its run has not begun: its hub could not give them, or had none before.
 * @throws WheelworkError WW_DEFECT
 */
export const missingLabels = (
  definition: HubDefinition,
  { origin }: Pick<Run, "origin">,
  request: unknown,
): Labels | undefined => (origin.labels === undefined ? labelsOf(definition, request) : undefined);
