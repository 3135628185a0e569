// docs/api.md, made of the document of a server: `npm run client`.
import { join } from "node:path";
import type { OpenAPI3 } from "openapi-typescript";

/** The page. */
export const apiPageFile = join(import.meta.dirname, "../../../docs/api.md");

interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly format?: string;
  readonly default?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly additionalProperties?: Schema | boolean;
}

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly description?: string;
  readonly schema: Schema;
}

interface Content {
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>;
}

interface Operation {
  readonly summary: string;
  readonly description?: string;
  readonly tags?: readonly string[];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: Content & { readonly required?: boolean };
  readonly responses: Readonly<Record<string, Content & { readonly description: string }>>;
}

const introduction = `<!-- Made by \`npm run client\` of the document of a server: change the routes, not this page. -->

# The HTTP API, operation by operation

This page is made of the document that each server shows at \`/openapi.json\`. [HTTP](http.md) explains how keys, waits, pages, filters and streams work, and [Security](security.md) says which role an operation needs.

Each hub has a \`POST\` route of its own, whose path and bodies its owner chooses. They are in the document of your server, and not on this page.

Errors are problem details (RFC 9457), with a stable \`code\`. All operations may also answer 401, 403 or 429 where callers must show who they are, and 431 if path, query and headers are longer than 16 KiB.
`;

/** What each operation may answer, and the introduction says. */
const common = new Set(["401", "403", "414", "429", "431"]);

/** The page as it must be. */
export function apiPage(document: OpenAPI3): string {
  const paths = (document.paths ?? {}) as Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
  );
  const byTag = Map.groupBy(operations, ({ operation }) => operation.tags?.[0] ?? "server");
  const schemas = (document.components?.schemas ?? {}) as Readonly<Record<string, Schema>>;
  return [
    introduction,
    ...Array.from(byTag, ([tag, all]) => `## ${tag}\n\n${all.map(operationText).join("\n")}`),
    "## Bodies\n",
    ...Object.entries(schemas).map(([name, schema]) => schemaText(name, schema)),
  ].join("\n");
}

function operationText(given: {
  readonly path: string;
  readonly method: string;
  readonly operation: Operation;
}): string {
  const { summary, description, parameters = [], requestBody, responses } = given.operation;
  const more = description === undefined ? "" : `\n${description}\n`;
  const taken = parameters.map(
    ({ name, in: where, description: about, schema }) =>
      `| \`${name}\` | ${where} | ${typeOf(schema)} | ${cell(about ?? schema.description)} |\n`,
  );
  const body = Object.values(requestBody?.content ?? {})[0]?.schema;
  const answers = Object.entries(responses)
    .filter(([status]) => !common.has(status))
    .map(([status, answer]) => `| ${status} | ${cell(answer.description)} | ${bodyOf(answer)} |\n`);
  return [
    `### ${given.method} ${given.path}\n\n${summary}.\n${more}`,
    taken.length === 0 ? "" : `\n| parameter | in | type | |\n| - | - | - | - |\n${taken.join("")}`,
    body === undefined
      ? ""
      : `\nBody${requestBody?.required === true ? "" : " (may be left out)"}: ${cell(body.description)}\n${alternatives(body)}`,
    `\n| status | | body |\n| - | - | - |\n${answers.join("")}`,
  ].join("");
}

/** A body that is one of several, or has fields. */
function alternatives(schema: Schema): string {
  const all = schema.oneOf ?? (schema.properties === undefined ? [] : [schema]);
  return all.length === 0
    ? ""
    : `\n${all.map((one) => `- ${typeOf(one)}${one.description === undefined ? "" : `: ${cell(one.description)}`}\n`).join("")}`;
}

function bodyOf({ content = {} }: Content): string {
  return Object.entries(content)
    .filter(([type]) => type !== "text/plain" || Object.keys(content).length === 1)
    .map(([type, { schema }]) => (type.endsWith("json") ? typeOf(schema) : `\`${type}\``))
    .join(" or ");
}

function schemaText(name: string, schema: Schema): string {
  const rows = fieldsOf(schema).map(
    ([field, one, isThere]) =>
      `| \`${field}\`${isThere ? "" : "?"} | ${outlineOf(one)} | ${cell(one.description)} |\n`,
  );
  return `### ${name}\n\n${cell(schema.description)}\n\n| field | type | |\n| - | - | - |\n${rows.join("")}`;
}

/** The fields of an object, and those of objects in it. */
function fieldsOf(schema: Schema, at = ""): (readonly [string, Schema, boolean])[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, one]) => {
    const inner = one.items ?? one;
    const field = `${at}${name}`;
    const isThere = schema.required?.includes(name) === true;
    return [
      [field, one, isThere] as const,
      ...fieldsOf(inner, `${field}${one.items === undefined ? "." : "[]."}`),
    ];
  });
}

/** The type of a field whose own fields follow. */
const outlineOf = (schema: Schema): string =>
  (schema.items ?? schema).properties === undefined
    ? typeOf(schema)
    : schema.items === undefined
      ? "object"
      : "list of objects";

function typeOf(schema: Schema): string {
  const { $ref, type, items, format, anyOf, oneOf, properties, minimum, maximum } = schema;
  if ($ref !== undefined) {
    const name = $ref.slice($ref.lastIndexOf("/") + 1);
    return `[${name}](#${name.toLowerCase()})`;
  }
  const many = anyOf ?? oneOf;
  if (many?.some((one) => one.format === "date-time") === true) return "time";
  if (many !== undefined) return many.map(typeOf).join(" or ");
  if (schema.const !== undefined) return `\`${String(schema.const)}\``;
  if (schema.enum !== undefined)
    return withDefault(schema.enum.map((one) => `\`${String(one)}\``).join(", "), schema);
  if (items !== undefined) return `list of ${typeOf(items)}`;
  if (properties !== undefined && type === "object")
    return `{ ${Object.entries(properties)
      .map(([name, one]) => `${name}${schema.required?.includes(name) === true ? "" : "?"}: ${typeOf(one)}`)
      .join(", ")} }`;
  const range =
    minimum !== undefined && maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER
      ? ` from ${minimum} to ${maximum}`
      : "";
  return withDefault(format === "date-time" ? "time" : `${type ?? "any JSON"}${range}`, schema);
}

const withDefault = (type: string, given: Schema): string =>
  given.default === undefined ? type : `${type} (${String(given.default)})`;

const cell = (text = ""): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");
