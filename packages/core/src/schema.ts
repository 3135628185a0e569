import type { StandardSchemaV1 } from "@standard-schema/spec";
import { WheelworkError, type ErrorCode, type Problem } from "./errors.ts";
import { abandon, abandonWithin, isThenable, textOf } from "./plain.ts";

/**
 * A schema of any library with the Standard Schema interface (zod, valibot, arktype, …). It must validate
 * synchronously.
 */
export type Schema<Input = unknown, Output = Input> = StandardSchemaV1<Input, Output>;
/** The type that a schema accepts. */
export type In<S extends Schema> = StandardSchemaV1.InferInput<S>;
/** The type that a schema returns, after its transforms and defaults. */
export type Out<S extends Schema> = StandardSchemaV1.InferOutput<S>;

/** What checking a value came to: the value as the schema returns it, or every problem. */
export type Checked<T> =
  { readonly value: T; readonly problems?: never } | { readonly problems: readonly Problem[] };

/** So many problems of a value are told. A list of 100,000 values may have as many, and each failed attempt keeps them. */
const maxProblems = 100;

/**
 * Checks a value against a schema. It never throws. If the schema throws or returns a promise, the value is not valid:
 * decisions are synchronous (I1). zod also returns a promise when a refinement or a transform throws.
 */
export function check<T>(schema: Schema<unknown, T>, value: unknown): Checked<T> {
  const checked = validated(schema, value);
  // An `await` may have been forgotten: nobody waits for what is within.
  if (checked.problems !== undefined) abandonWithin(value);
  return checked;
}

/**
 * Why a schema refuses a value; undefined: it accepts it. What it makes of the value is dropped, and nobody waits for promises within that.
 */
export function refusalOf(schema: Schema, value: unknown): readonly Problem[] | undefined {
  const checked = check(schema, value);
  if (checked.problems === undefined && checked.value !== value) abandonWithin(checked.value);
  return checked.problems;
}

/** Whether a schema accepts a value. What it makes of the value is dropped. */
export const accepts = (schema: Schema, value: unknown): boolean => refusalOf(schema, value) === undefined;

function validated<T>(schema: Schema<unknown, T>, value: unknown): Checked<T> {
  try {
    const result = schema["~standard"].validate(value);
    if (isThenable(result)) {
      abandon(result);
      return unchecked("its schema has thrown, or is asynchronous. Do asynchronous checks in a worker");
    }
    // One that returns something else has not said that the value is valid.
    if (typeof result !== "object" || result === null) return unchecked(gaveNothing);
    const { issues } = result;
    if (issues === undefined) {
      if ("value" in result) return { value: result.value };
      abandonWithin(result);
      return unchecked(gaveNothing);
    }
    const problems = issues
      .slice(0, maxProblems)
      .map((issue) => ({ path: pathOf(issue.path), message: textOf(issue.message) }));
    const more = issues.length - problems.length;
    return { problems: more > 0 ? [...problems, { path: "", message: `and ${more} more` }] : problems };
  } catch (error) {
    return unchecked(`its schema has thrown: ${textOf(error)}`);
  }
}

const gaveNothing = "its schema has returned neither a value nor issues";

const unchecked = (why: string): Checked<never> => ({
  problems: [{ path: "", message: `cannot be checked: ${why}` }],
});

/**
 * Like `check`, but returns the value.
 * @param what Names the value in the error, such as "the reply of order".
 * @throws WheelworkError with the given code and all problems when the value does not match the schema.
 */
export function demand<T>(schema: Schema<unknown, T>, value: unknown, code: ErrorCode, what: string): T {
  const checked = check(schema, value);
  if (checked.problems === undefined) return checked.value;
  throw new WheelworkError(code, `${what} is not valid`, { problems: checked.problems });
}

function pathOf(path: StandardSchemaV1.Issue["path"]): string {
  return (path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join(".");
}
