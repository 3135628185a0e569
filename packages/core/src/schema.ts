import type { StandardSchemaV1 } from "@standard-schema/spec";
import { WheelworkError, type ErrorCode, type Problem } from "./errors.ts";

/** Any schema of the Standard Schema interface (zod, valibot, arktype, …) that validates synchronously. */
export type Schema<Input = unknown, Output = Input> = StandardSchemaV1<Input, Output>;
/** What a schema accepts. */
export type In<S extends Schema> = StandardSchemaV1.InferInput<S>;
/** What a schema yields. */
export type Out<S extends Schema> = StandardSchemaV1.InferOutput<S>;

/** The outcome of checking a value: the value as the schema yields it, or every problem that it found. */
export type Checked<T> =
  { readonly value: T; readonly problems?: never } | { readonly problems: readonly Problem[] };

/**
 * Checks a value against a schema.
 * @throws WheelworkError WW_BAD_SPOKE when the schema validates asynchronously: decisions are synchronous (I1).
 */
export function check<T>(schema: Schema<unknown, T>, value: unknown): Checked<T> {
  const result = schema["~standard"].validate(value);
  if (result instanceof Promise) {
    throw new WheelworkError(
      "WW_BAD_SPOKE",
      `a schema of ${schema["~standard"].vendor} validates asynchronously`,
      {
        next: "Use a synchronous schema, and do asynchronous checks in a worker.",
      },
    );
  }
  if (result.issues === undefined) return { value: result.value };
  return { problems: result.issues.map((issue) => ({ path: pathOf(issue.path), message: issue.message })) };
}

/** As `check`, but throws a WheelworkError of the given code that lists all problems. */
export function demand<T>(schema: Schema<unknown, T>, value: unknown, code: ErrorCode, what: string): T {
  const checked = check(schema, value);
  if (checked.problems === undefined) return checked.value;
  throw new WheelworkError(code, `${what} is not valid`, { problems: checked.problems });
}

function pathOf(path: StandardSchemaV1.Issue["path"]): string {
  return (path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join(".");
}
