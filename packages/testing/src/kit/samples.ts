import { WheelworkError, type Schema } from "@wheelwork/core";
import { canonicalJson, check } from "@wheelwork/core/kernel";

interface JsonSchema {
  readonly [keyword: string]: unknown;
}

/** Samples of one schema, at most. `explore` tries each of them at each call. */
const maxSamples = 16;
/** Levels of nesting at which making samples stops: schemas may be recursive. */
const maxDepth = 8;

/**
 * Values that a schema accepts: the given ones, or a few that are made from its JSON Schema, if its library gives one
 * (`~standard.jsonSchema`: zod, arktype). The first value is plain. Each other value differs from it in one place.
 * @param what Names the value in errors.
 * @param option The option in which the user gives samples, for errors.
 * @throws WheelworkError WW_CONFIG when a given value is not valid, or none can be made.
 */
export function samplesOf(
  schema: Schema,
  what: string,
  option: string,
  given?: readonly unknown[],
): readonly unknown[] {
  if (given !== undefined) {
    for (const value of given) demandSample(schema, value, what, option);
    return given;
  }
  const made = new Map<string, unknown>();
  for (const value of variantsOfSchema(schema)) {
    if (check(schema, value).problems === undefined) made.set(canonicalJson(value), value);
    if (made.size === maxSamples) break;
  }
  if (made.size > 0) return [...made.values()];
  throw new WheelworkError("WW_CONFIG", `no sample of ${what} can be made from its schema`, {
    next: `Give samples: ${option}.`,
  });
}

function demandSample(schema: Schema, value: unknown, what: string, option: string): void {
  const { problems } = check(schema, value);
  if (problems === undefined) return;
  throw new WheelworkError("WW_CONFIG", `a sample of ${what} is not valid`, {
    problems,
    next: `Correct it in ${option}.`,
  });
}

function variantsOfSchema(schema: Schema): readonly unknown[] {
  const { jsonSchema } = schema["~standard"] as {
    readonly jsonSchema?: { input(options: { target: "draft-2020-12" }): JsonSchema };
  };
  if (jsonSchema === undefined) return [];
  try {
    const root = jsonSchema.input({ target: "draft-2020-12" });
    return variants(root, root, 0);
  } catch {
    // The library cannot express this schema as JSON Schema.
    return [];
  }
}

/**
 * Values for a JSON Schema, the plain one first. It does not look at every keyword (patterns, for example): the schema
 * refuses wrong values later.
 */
function variants(schema: unknown, root: JsonSchema, depth: number): unknown[] {
  if (typeof schema !== "object" || schema === null) return ["a"];
  if (depth > maxDepth) return [];
  const { $ref, const: only, enum: listed, anyOf, oneOf, allOf, type } = schema as JsonSchema;
  if (typeof $ref === "string") return variants(resolved($ref, root), root, depth + 1);
  if (only !== undefined) return [only];
  if (Array.isArray(listed)) return [...listed];
  const choices = anyOf ?? oneOf;
  if (Array.isArray(choices)) {
    const each = choices.map((choice) => variants(choice, root, depth + 1));
    return [...each.flatMap((values) => values.slice(0, 1)), ...each.flatMap((values) => values.slice(1))];
  }
  if (Array.isArray(allOf)) return variants(merged(allOf as JsonSchema[]), root, depth + 1);
  if (Array.isArray(type))
    return type.flatMap((one) => ofType(one as string, schema as JsonSchema, root, depth));
  return ofType(type as string | undefined, schema as JsonSchema, root, depth);
}

function ofType(type: string | undefined, schema: JsonSchema, root: JsonSchema, depth: number): unknown[] {
  switch (type) {
    case "null":
      return [null];
    case "boolean":
      return [true, false];
    case "integer":
    case "number":
      return numbers(schema);
    case "string":
      return [textFor(schema)];
    case "array":
      return arrays(schema, root, depth);
    case "object":
      return objects(schema, root, depth);
    default:
      return schema["properties"] === undefined ? ["a"] : objects(schema, root, depth);
  }
}

function objects(schema: JsonSchema, root: JsonSchema, depth: number): unknown[] {
  const required = new Set((schema["required"] ?? []) as readonly string[]);
  const properties = Object.entries((schema["properties"] ?? {}) as Record<string, unknown>).map(
    ([name, inner]) => ({ name, values: variants(inner, root, depth + 1) }),
  );
  const plain = Object.fromEntries(
    properties.flatMap(({ name, values }) => (values.length === 0 ? [] : [[name, values[0]]])),
  );
  const others = properties.flatMap(({ name, values }) => {
    const varied: object[] = values.slice(1).map((value) => ({ ...plain, [name]: value }));
    const { [name]: _left, ...without } = plain as Record<string, unknown>;
    return required.has(name) ? varied : [...varied, without];
  });
  const more = schema["additionalProperties"];
  if (typeof more === "object" && more !== null && properties.length === 0) {
    const [value] = variants(more, root, depth + 1);
    return [{ a: value }, {}];
  }
  return [plain, ...others];
}

function arrays(schema: JsonSchema, root: JsonSchema, depth: number): unknown[] {
  const fixed = schema["prefixItems"];
  if (Array.isArray(fixed)) return [fixed.map((inner) => variants(inner, root, depth + 1)[0])];
  const least = numberIn(schema, "minItems") ?? 0;
  const most = numberIn(schema, "maxItems") ?? Number.POSITIVE_INFINITY;
  const items = variants(schema["items"] ?? {}, root, depth + 1);
  if (items.length === 0) return [[]];
  const lengths = [Math.max(1, least), Math.max(2, least), least].filter((length) => length <= most);
  return lengths.map((length) => Array.from({ length }, (_, index) => items[index % items.length]));
}

function numbers(schema: JsonSchema): unknown[] {
  const step = numberIn(schema, "multipleOf") ?? 1;
  const above = numberIn(schema, "exclusiveMinimum");
  const least = numberIn(schema, "minimum") ?? (above === undefined ? undefined : above + step);
  const most = numberIn(schema, "maximum") ?? numberIn(schema, "exclusiveMaximum");
  const low = least ?? Math.min(0, (most ?? step) - step);
  const first = Math.ceil(low / step) * step;
  return [first, first + step];
}

/** A bound. Libraries bound every integer by the safe integers: such a bound says nothing. */
function numberIn(schema: JsonSchema, keyword: string): number | undefined {
  const value = schema[keyword];
  return typeof value === "number" && Math.abs(value) < Number.MAX_SAFE_INTEGER ? value : undefined;
}

const texts: { readonly [format: string]: string } = {
  email: "a@example.com",
  uri: "https://example.com/",
  url: "https://example.com/",
  uuid: "00000000-0000-4000-8000-000000000000",
  "date-time": "2026-01-01T00:00:00Z",
  date: "2026-01-01",
  time: "00:00:00Z",
  duration: "PT1S",
  ipv4: "192.0.2.1",
  ipv6: "2001:db8::1",
  hostname: "example.com",
};

function textFor(schema: JsonSchema): string {
  const known = texts[String(schema["format"])];
  return known ?? "a".repeat(Math.max(1, numberIn(schema, "minLength") ?? 1));
}

function resolved(reference: string, root: JsonSchema): unknown {
  let found: unknown = root;
  for (const part of reference.split("/").slice(1)) {
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~");
    found = (found as Record<string, unknown> | undefined)?.[name];
  }
  return found;
}

/** The schemas of an `allOf` as one: their keywords together, with all properties and all required names. */
function merged(all: readonly JsonSchema[]): JsonSchema {
  const properties = Object.assign({}, ...all.map((one) => one["properties"])) as object;
  const required = all.flatMap((one) => (one["required"] ?? []) as string[]);
  return Object.assign({}, ...all, { properties, required }) as JsonSchema;
}
