import type { FastifyInstance } from "fastify";
import swagger, { type SwaggerTransform } from "@fastify/swagger";

/** A JSON schema (draft 2020-12), for the document at `/openapi.json`. */
export type JsonSchema = { readonly [keyword: string]: unknown };

/** What heads the document at `/openapi.json`. */
export interface DocumentInfo {
  readonly title: string;
  readonly version: string;
  readonly description?: string;
}

/** The parts of an operation that are documented, but not enforced by Fastify: bodies are the engine's to judge. */
export interface Documented {
  readonly body?: JsonSchema;
  readonly response: Readonly<Record<number, object>>;
}

/** For a route's `config`: adds to its operation what Fastify itself is not to see. */
export function documented(parts: Documented): { readonly swaggerTransform: SwaggerTransform } {
  return { swaggerTransform: ({ schema, url }) => ({ schema: { ...schema, ...parts }, url }) };
}

const text = { type: "string" } as const;
const time = { type: "string", format: "date-time" } as const;
const count = { type: "integer", minimum: 0 } as const;
const anything = {} as const;
const runStatus = { type: "string", enum: ["running", "incident", "ended"] } as const;

const object = (properties: Record<string, object>, optional: readonly string[] = []): JsonSchema => ({
  type: "object",
  properties,
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
});

const answer = {
  description: "The answer, as it is stored.",
  oneOf: [
    object({ kind: { const: "result" }, value: anything }),
    object({ kind: { const: "error" }, code: text, message: text, details: anything }, ["details"]),
    object({ kind: { const: "timeout" }, code: { const: "WW_TIMEOUT" }, message: text }),
  ],
};

const row = {
  id: text,
  hub: text,
  version: { type: "integer", minimum: 1 },
  status: runStatus,
  state: { type: "string", description: "The state of the hub's chart that the run is in." },
  createdAt: time,
  answeredAt: time,
};

const schemas: readonly (JsonSchema & { readonly $id: string })[] = [
  {
    $id: "Problem",
    description: "What went wrong (RFC 9457). Programs match on `code`.",
    ...object(
      {
        type: { type: "string", format: "uri-reference" },
        title: text,
        status: { type: "integer", minimum: 400, maximum: 599 },
        code: {
          type: "string",
          description: "Stable: an error code of the hub, or one that begins with WW_.",
        },
        detail: text,
        next: { type: "string", description: "What to do about it." },
        requestId: text,
        problems: {
          type: "array",
          description: "Everything that is wrong with the input.",
          items: object({ path: text, message: text }),
        },
        details: { description: "What the hub's error carries." },
        answer,
      },
      ["next", "requestId", "problems", "details", "answer"],
    ),
  },
  {
    $id: "Pending",
    description: "A request that has no answer yet.",
    ...object({ requestId: text, status: runStatus }),
  },
  {
    $id: "Request",
    description: "A request and its run.",
    ...object(
      {
        ...row,
        endedAt: time,
        request: anything,
        answer,
        openCalls: {
          type: "array",
          items: object({ call: count, callee: text, attempt: count, due: time, input: anything }, ["due"]),
        },
        incident: object({
          at: time,
          error: object({ code: text, message: text }),
          inputs: { type: "array", items: { type: "object" } },
        }),
      },
      ["answeredAt", "endedAt", "answer", "openCalls", "incident"],
    ),
  },
  {
    $id: "RequestPage",
    description: "Requests, newest first.",
    ...object(
      {
        requests: { type: "array", items: object(row, ["answeredAt"]) },
        cursor: { type: "string", description: "Give it to the next call to get the next page." },
      },
      ["cursor"],
    ),
  },
  {
    $id: "History",
    description: "All that happened to a request, oldest first.",
    ...object({
      requestId: text,
      events: {
        type: "array",
        items: { ...object({ type: text, at: time }), additionalProperties: true },
      },
    }),
  },
  {
    $id: "Health",
    ...object({
      ready: { type: "boolean" },
      status: { type: "string", enum: ["starting", "running", "store-lost", "stopping", "stopped"] },
      liveRuns: count,
      openAttempts: count,
      queued: count,
    }),
  },
];

/** A response with a body of one of the shared schemas. */
export const json = (description: string, schema: string, headers: object = {}): object => ({
  description,
  headers,
  content: { "application/json": { schema: { $ref: `${schema}#` } } },
});

/** A response with problem details, or their text for a client that prefers that. */
export const problem = (description: string, headers: object = {}): object => ({
  description,
  headers,
  content: {
    "application/problem+json": { schema: { $ref: "Problem#" } },
    "text/plain": { schema: { type: "string" } },
  },
});

const header = (description: string): object => ({ type: "string", description });

/** The headers of responses, as several operations document them. */
export const responseHeaders = {
  retryAfter: { "Retry-After": header("Seconds after which to come again.") },
  pending: {
    Location: header("Where the request can be looked at: /requests/{id}."),
    "Retry-After": header("Seconds after which to come again."),
    "Preference-Applied": header("The wait that was granted, if one was asked for."),
  },
  answer: {
    "Content-Location": header("Where the same answer can be had again: /requests/{id}/answer."),
    "Preference-Applied": header("The wait that was granted, if one was asked for."),
  },
} as const;

/** The header of requests that makes them idempotent. */
export const idempotencyHeader = {
  "Idempotency-Key": {
    type: "string",
    description:
      "1 to 255 printable ASCII characters. The same key is the same request and gets the same answer; " +
      "with another body it is refused (422). Taken word for word.",
  },
} as const;

/** The header of requests that says how long to wait. */
export const preferHeader = {
  Prefer: { type: "string", description: "`wait=N`: wait at most N seconds for the answer (RFC 7240)." },
} as const;

/** Serves the document at `/openapi.json`; what is routed after this is in it. */
export async function serveDocument(app: FastifyInstance, info: DocumentInfo): Promise<void> {
  await app.register(swagger, {
    mode: "dynamic",
    openapi: { openapi: "3.1.0", info },
    refResolver: {
      buildLocalReference: (schema, _base, _fragment, index) => String(schema.$id ?? `def-${index}`),
    },
  });
  for (const schema of schemas) app.addSchema(schema);
  app.get("/openapi.json", { schema: { hide: true } }, () => app.swagger());
}
