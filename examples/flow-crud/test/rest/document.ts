import * as z from "zod";

interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly parameters?: readonly { readonly in: string; readonly name: string }[];
  readonly responses: Readonly<
    Record<
      string,
      {
        readonly description: string;
        readonly content?: Readonly<Record<string, { readonly schema: object }>>;
      }
    >
  >;
}

/** The document at /openapi.json. */
export interface ApiDocument {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

/** All servers of a test run have the same document: its schemas are read once. */
const checks = new Map<string, z.ZodType>();

function checkOf(name: string, schema: object): z.ZodType {
  const known = checks.get(name);
  if (known !== undefined) return known;
  const made = z.fromJSONSchema(schema as never);
  checks.set(name, made);
  return made;
}

/** What a reply is that the document does not say; undefined: nothing. */
export function undocumented(
  document: ApiDocument,
  method: string,
  url: string,
  reply: { readonly status: number; readonly type: string; readonly json: unknown },
): string | undefined {
  const path = new URL(url, "http://localhost").pathname;
  const found = Object.entries(document.paths)
    .filter(([template]) => new RegExp(`^${template.replaceAll(/\{[^}]+\}/g, "[^/]+")}$`).test(path))
    // A path without parameters is meant before one that has some.
    .toSorted(([one], [other]) => one.split("{").length - other.split("{").length)
    .map(([, methods]) => methods[method.toLowerCase()])
    .find((operation) => operation !== undefined);
  if (found === undefined) return `${method} ${path} is not documented`;
  const response = found.responses[String(reply.status)];
  if (response === undefined) return `${method} ${path}: ${reply.status} is not documented`;
  const mediaType = reply.type.split(";", 1)[0] ?? "";
  // What guards the server has answers of its own.
  if (mediaType === "application/problem+json") return undefined;
  const content = response.content?.[mediaType];
  if (content === undefined) return `${method} ${path}: ${reply.status} as ${mediaType} is not documented`;
  if (!mediaType.includes("json")) return undefined;
  const name = `${found.operationId} ${reply.status} ${mediaType}`;
  const result = checkOf(name, content.schema).safeParse(reply.json);
  return result.success ? undefined : `${method} ${path}: ${reply.status}: ${z.prettifyError(result.error)}`;
}
