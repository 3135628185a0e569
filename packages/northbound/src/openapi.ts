import type { FastifyInstance, FastifySchema } from "fastify";
import swagger, { type SwaggerTransform } from "@fastify/swagger";
import { asDocumented, keyParameter } from "./parameters.ts";

/** A JSON schema (draft 2020-12), for the document at `/openapi.json`. */
export type JsonSchema = { readonly [keyword: string]: unknown };

/** The title of the document at `/openapi.json`, and the version of your API. */
export interface DocumentInfo {
  readonly title: string;
  readonly version: string;
  readonly description?: string;
}

/** What the document says of an operation, and Fastify does not check. The engine checks bodies. */
export interface Documented {
  readonly body?: JsonSchema;
  /** The body may be left out. */
  readonly isBodyOptional?: true;
  readonly response: Readonly<Record<number, object>>;
}

/** Marks an operation until its body is said to be optional. */
const optionalBody = "x-optional-body";

interface Operation {
  requestBody?: { required?: boolean };
  [optionalBody]?: true;
}

/** Each body of the document is compulsory at first. */
function withOptionalBodies<D extends { readonly paths?: object }>(document: D): D {
  for (const operations of Object.values(document.paths ?? {}) as Readonly<Record<string, Operation>>[])
    for (const operation of Object.values(operations)) {
      if (operation[optionalBody] === true) delete operation.requestBody?.required;
      delete operation[optionalBody];
    }
  return document;
}

/** The `config` of a route that adds these parts to the document. Fastify would check them in a route's `schema`. */
export function documented({ isBodyOptional, ...parts }: Documented): {
  readonly swaggerTransform: SwaggerTransform;
} {
  const marks = isBodyOptional === true ? { [optionalBody]: true } : {};
  return {
    swaggerTransform: (of) => {
      const { schema, url } = of;
      // A route that lets everybody in says so.
      const asks = "openapiObject" in of && of.openapiObject.security !== undefined;
      const isGuarded = asks && schema?.security === undefined;
      const response = {
        ...(isGuarded ? guardedResponses : {}),
        ...parts.response,
        ...(url.includes(":")
          ? { 414: problem("A part of the path is longer than 10,000 characters.") }
          : {}),
        431: problem("The path, the query and the headers are longer than 16 KiB together."),
      };
      return { schema: asDocumented({ ...schema, ...marks, ...parts, response }) as FastifySchema, url };
    },
  };
}

const text = { type: "string" } as const;
const time = { type: "string", format: "date-time" } as const;
const count = { type: "integer", minimum: 0 } as const;
const anything = {} as const;
const runStatus = { type: "string", enum: ["pending", "running", "incident", "ended", "lost"] } as const;

const object = (properties: Record<string, object>, optional: readonly string[] = []): JsonSchema => ({
  type: "object",
  properties,
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
});

const answer = {
  description: "The answer, as it is stored.",
  oneOf: [
    object({ kind: { const: "result" }, value: anything }, ["value"]),
    object({ kind: { const: "error" }, code: text, message: text, details: anything }, [
      "message",
      "details",
    ]),
    object({ kind: { const: "timeout" }, code: { const: "WW_TIMEOUT" }, message: text, details: anything }, [
      "message",
      "details",
    ]),
  ],
};

const activity = {
  type: "string",
  enum: ["calling", "waiting", "retrying"],
  description:
    "What a running request does: it has open calls, waits, or makes a call again that has failed.",
} as const;
const outcome = {
  type: "string",
  enum: ["result", "error", "timeout"],
  description: "How an ended request was answered.",
} as const;
const errorCode = {
  ...text,
  description: "The code of the error that was the answer of an ended request, or that has parked it.",
};

const row = {
  id: text,
  hub: text,
  version: { type: "integer", minimum: 1 },
  status: runStatus,
  state: { type: "string", description: "The state of the hub's chart that the run is in." },
  createdAt: time,
  answeredAt: time,
  lane: object({ name: text, key: text }),
  labels: {
    type: "object",
    additionalProperties: text,
    description: "What its hub has made of the request, for lists.",
  },
};

const lane = {
  description: "Of a request to a hub with lanes, while its run lives.",
  ...object(
    {
      name: text,
      key: text,
      position: { type: "integer", minimum: 1, description: "Its place in the queue." },
      waitsUntil: time,
      joins: { type: "string", description: "The request whose answer it waits for." },
      holders: { type: "array", items: text, description: "The requests that hold the places." },
    },
    ["position", "waitsUntil", "joins", "holders"],
  ),
};

const schedule = {
  name: text,
  status: { type: "string", enum: ["active", "paused", "absent", "removed", "incident"] },
  id: { type: "string", description: "The request that is the schedule: its history has all that happened." },
  lastAt: { ...time, description: "Ticks up to this instant are done, or left out." },
  nextAt: { ...time, description: "The instant of the next tick." },
  nextDue: { ...time, description: "When the next tick begins: later by its jitter." },
};

const requestFields = {
  ...row,
  endedAt: time,
  request: { description: "Only for those who may see payloads, as all values and messages." },
  answer,
  view: anything,
  viewProblem: text,
  openCalls: {
    type: "array",
    items: object(
      { call: count, callee: text, attempt: count, due: time, input: anything, progress: anything },
      ["due", "input", "progress"],
    ),
  },
  moreCalls: { ...count, description: "How many open calls `openCalls` does not show." },
  inputsLeft: { ...count, description: "How many inputs of a long round have no call yet." },
  incident: object(
    {
      at: time,
      error: object({ code: text, message: text }, ["message"]),
      inputs: { type: "array", items: { type: "object" }, description: "1,000 at most." },
      moreInputs: { ...count, description: "How many more inputs are kept." },
    },
    ["inputs", "moreInputs"],
  ),
  startAt: time,
  lane,
};
const requestMayLack = [
  "answeredAt",
  "endedAt",
  "request",
  "answer",
  "view",
  "viewProblem",
  "openCalls",
  "moreCalls",
  "inputsLeft",
  "incident",
  "startAt",
  "lane",
  "labels",
];

const bulk = object(
  {
    id: text,
    requestId: {
      ...text,
      description: "The request that is the bulk: its history has all that has happened.",
    },
    command: object(
      {
        kind: { type: "string", enum: ["cancel", "signal", "retry", "resolve"] },
        name: { ...text, description: "The name of the signal." },
        message: { ...text, description: "The message of a resolve, for those who may see payloads." },
      },
      ["name", "message"],
    ),
    filter: { type: "object", description: "Which requests are meant, in words of the query." },
    by: { ...text, description: "Who gave it." },
    status: {
      type: "string",
      enum: ["running", "paused", "incident", "done", "cancelled", "failed"],
    },
    createdAt: { ...time, description: "Only requests that were accepted until then get the command." },
    endedAt: time,
    matched: { ...count, description: "How many requests the filter meant when the bulk began." },
    done: count,
    gone: { ...count, description: "Those that had ended before their turn." },
    refused: {
      type: "object",
      description: "How many have refused it, by the code of the error.",
      additionalProperties: count,
    },
  },
  ["by", "endedAt", "matched"],
);

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
        next: { type: "string", description: "What to do next." },
        requestId: text,
        problems: {
          type: "array",
          description: "Everything that is wrong with the input.",
          items: object({ path: text, message: text }),
        },
        details: { description: "The details of the error." },
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
    ...object(requestFields, requestMayLack),
  },
  {
    $id: "RequestAt",
    description: "A request as it was after one of its events.",
    ...object(
      { ...requestFields, data: { description: "The data of the run, for those who may see payloads." } },
      [...requestMayLack, "data"],
    ),
  },
  {
    $id: "RequestPage",
    description: "Requests in the order that was asked for.",
    ...object(
      {
        requests: {
          type: "array",
          items: object({ ...row, activity, outcome, code: errorCode }, [
            "answeredAt",
            "lane",
            "labels",
            "activity",
            "outcome",
            "code",
          ]),
        },
        cursor: { type: "string", description: "Send it with the next call to get the next page." },
      },
      ["cursor"],
    ),
  },
  {
    $id: "Counts",
    description: "How many requests there are: all that were asked for, and how they are made up.",
    ...object({
      count,
      states: {
        type: "array",
        description: "By hub, status and state.",
        items: object({ hub: text, status: runStatus, activity, state: text, count }, ["activity"]),
      },
      outcomes: {
        type: "array",
        description: "Those that have ended, by hub and answer.",
        items: object({ hub: text, outcome, code: errorCode, count }, ["code"]),
      },
    }),
  },
  {
    $id: "Incidents",
    description: "Parked runs in groups: by hub, state, code and message.",
    ...object({
      incidents: {
        type: "array",
        items: object(
          {
            hub: text,
            state: text,
            code: { ...text, description: "The code of the error that has parked them." },
            message: {
              ...text,
              description:
                "What the messages of the errors have in common. A caller without the scope `payloads` does not see it.",
            },
            count,
          },
          ["code", "message"],
        ),
      },
    }),
  },
  {
    $id: "WhatIf",
    description: "What would happen to a request. Nothing of it has.",
    ...object(
      {
        events: {
          type: "array",
          description:
            "The events that would follow: with the next states, what changes in the data, and the calls.",
          items: { ...object({ type: text, at: time }), additionalProperties: true },
        },
        ignored: { ...text, description: "Why it would change nothing." },
        isCut: { type: "boolean", description: "There would be more events than are computed at once." },
        answerBy: { ...time, description: "By when it would be answered. Absent: it would have its answer." },
        request: { $ref: "Request#" },
      },
      ["ignored", "isCut", "answerBy"],
    ),
  },
  {
    $id: "Bulk",
    description: "A command to all requests that a filter means.",
    ...bulk,
  },
  {
    $id: "Bulks",
    ...object(
      {
        bulks: { type: "array", description: "The newest first.", items: bulk },
        cursor: { type: "string", description: "Send it with the next call to get the next page." },
      },
      ["cursor"],
    ),
  },
  {
    $id: "BulkItems",
    description: "What came of the command to each request, in the order in which that was settled.",
    ...object(
      {
        items: {
          type: "array",
          items: object(
            {
              id: { ...text, description: "The request." },
              outcome: {
                type: "string",
                enum: ["done", "refused", "gone"],
                description: "`gone`: it had ended before its turn, or is no longer known.",
              },
              code: { ...text, description: "Why it was refused." },
              at: time,
            },
            ["code"],
          ),
        },
        cursor: {
          type: "string",
          description:
            "Send it with the next call to get the next page. Absent: the bulk has ended, and there are no more.",
        },
      },
      ["cursor"],
    ),
  },
  {
    $id: "History",
    description:
      "What happened to a request. If its first events are archived, one event `archived` stands for them: `events` is how many they are.",
    ...object(
      {
        requestId: text,
        first: {
          ...count,
          description: "The number of the earliest event of the page: they are counted from 0.",
        },
        events: {
          type: "array",
          items: { ...object({ type: text, at: time }), additionalProperties: true },
        },
        cursor: { type: "string", description: "Send it with the next call to get the next page." },
      },
      ["cursor"],
    ),
  },
  {
    $id: "AuditPage",
    description: "Commands, newest first.",
    ...object(
      {
        commands: {
          type: "array",
          items: object(
            {
              at: time,
              by: { type: "string", description: "Who gave it, such as `token:ci`." },
              command: { type: "string", enum: ["submit", "signal", "cancel", "retry", "resolve"] },
              id: { type: "string", description: "The request. Of a command to a schedule: that schedule." },
              hub: text,
              signal: {
                type: "string",
                description: "The name of the signal, or of the command to a schedule.",
              },
            },
            ["signal"],
          ),
        },
        cursor: { type: "string", description: "Send it with the next call to get the next page." },
      },
      ["cursor"],
    ),
  },
  {
    $id: "Refusals",
    ...object({
      refusals: {
        type: "array",
        items: object(
          {
            at: { ...time, description: "When the last one came." },
            by: { ...text, description: "Who has sent it. Absent: nobody knows." },
            address: text,
            method: text,
            path: { ...text, description: "Without the query, 200 characters at most." },
            code: text,
            count: { ...count, description: "How many of the same came one after the other." },
          },
          ["by"],
        ),
      },
    }),
  },
  {
    $id: "Schedule",
    description: "A schedule: it makes a request at each of its ticks.",
    ...object(
      {
        ...schedule,
        next: { type: "array", items: time, description: "The instants of the ticks that come next." },
      },
      ["nextAt", "nextDue", "next"],
    ),
  },
  {
    $id: "Schedules",
    ...object({ schedules: { type: "array", items: object(schedule, ["nextAt", "nextDue"]) } }),
  },
  {
    $id: "Triggered",
    ...object({
      key: {
        type: "string",
        description: "The key of the request. It is its id, if its hub has no lane.",
      },
    }),
  },
  {
    $id: "Hubs",
    ...object({
      hubs: {
        type: "array",
        items: object(
          {
            name: text,
            version: { type: "integer", minimum: 1 },
            answerBy: { ...text, description: "By when a request is answered, in one sentence." },
            path: { ...text, description: "Where to send requests to it. Absent: it takes none over HTTP." },
            summary: text,
          },
          ["path", "summary"],
        ),
      },
    }),
  },
  {
    $id: "Chart",
    description: "The chart of a hub.",
    ...object({
      hub: text,
      version: { type: "integer", minimum: 1 },
      answerBy: text,
      initial: { ...text, description: "The state that a run enters first." },
      states: {
        type: "array",
        items: object({
          name: text,
          does: { type: "array", items: text },
          end: { type: "boolean", description: "A run ends in it." },
          late: { type: "boolean", description: "It is a part of the clean-up." },
          edges: {
            type: "array",
            items: object(
              { event: text, to: text, by: { type: "string", enum: ["deadline", "timer", "cancel"] } },
              ["by"],
            ),
          },
        }),
      },
    }),
  },
  {
    $id: "Lanes",
    ...object({
      lanes: {
        type: "array",
        items: object(
          {
            name: text,
            key: text,
            places: { ...count, description: "How many requests may work in it at once." },
            held: { ...count, description: "How many places are taken." },
            waiting: { ...count, description: "How many requests wait for their turn." },
            holders: { type: "array", items: text, description: "The requests that hold the places." },
          },
          ["places"],
        ),
      },
      total: { ...count, description: "How many lanes there are, also those that are not listed." },
    }),
  },
  {
    $id: "Shards",
    ...object({
      shards: {
        type: "array",
        items: object(
          {
            shard: count,
            isHere: { type: "boolean", description: "The process that answers works on it." },
            owner: text,
            epoch: count,
            batches: count,
            lastCommitAt: time,
            position: count,
            lag: { ...count, description: "How many records of its inbox it has not read." },
            unpublished: { ...count, description: "Answers that are not known to be published, up to 1000." },
            lost: { ...count, description: "Committed batches that the server of the store has lost." },
            storeBytes: count,
            problem: text,
          },
          [
            "owner",
            "epoch",
            "batches",
            "lastCommitAt",
            "position",
            "lag",
            "unpublished",
            "lost",
            "storeBytes",
            "problem",
          ],
        ),
      },
    }),
  },
  {
    $id: "DeadLetters",
    ...object({
      topic: text,
      hasMore: { type: "boolean", description: "There are older ones, too." },
      letters: {
        type: "array",
        items: object(
          {
            place: { ...text, description: "Partition and offset in the topic of the dead letters." },
            at: time,
            key: text,
            reason: text,
            origin: object({ topic: text, partition: count, offset: count }),
            value: text,
            isShort: { type: "boolean", description: "Its value is only at `origin`." },
          },
          ["reason", "value"],
        ),
      },
    }),
  },
  { $id: "Replayed", ...object({ place: text }) },
  {
    $id: "Health",
    ...object(
      {
        ready: { type: "boolean" },
        status: { type: "string", enum: ["starting", "running", "store-lost", "stopping", "stopped"] },
        reason: { ...text, description: "Why it takes no requests, if nobody has stopped it." },
        warnings: {
          type: "array",
          items: text,
          description: "What somebody must look after although it takes requests.",
        },
        liveRuns: count,
        openAttempts: count,
        queued: count,
      },
      ["reason", "warnings", "liveRuns", "openAttempts", "queued"],
    ),
  },
];

/** A response whose body has one of the shared schemas. */
export const json = (description: string, schema: string, headers: object = {}): object => ({
  description,
  headers,
  content: { "application/json": { schema: { $ref: `${schema}#` } } },
});

/** A response with problem details. A client that prefers plain text gets their text. */
export const problem = (description: string, headers: object = {}): object => ({
  description,
  headers,
  content: {
    "application/problem+json": { schema: { $ref: "Problem#" } },
    "text/plain": { schema: { type: "string" } },
  },
});

const header = (description: string): object => ({ type: "string", description });

/** The headers of responses that several operations have. */
export const responseHeaders = {
  retryAfter: { "Retry-After": header("Seconds to wait before the next try.") },
  pending: {
    Location: header("The request: /requests/{id}."),
    "Retry-After": header("Seconds to wait before the next try."),
    "Preference-Applied": header("The wait that the server granted, if the client asked for one."),
  },
  answer: {
    "Content-Location": header("Where to get the same answer again: /requests/{id}/answer."),
    "Preference-Applied": header("The wait that the server granted, if the client asked for one."),
  },
} as const;

/** The request header that makes a request idempotent. */
export const idempotencyHeader = {
  "Idempotency-Key": {
    ...keyParameter,
    description:
      "Any text of 1 to 200 characters, percent-encoded. It is the id of the request. The same key is the same request " +
      "and gets the same answer. With another body it is refused (422).",
  },
} as const;

/** The request header that makes a command to a schedule count once. */
export const commandIdHeader = {
  "Idempotency-Key": {
    ...keyParameter,
    description:
      "Any text of 1 to 200 characters, percent-encoded. The same command under the same key counts once. " +
      "Another one is refused (422).",
  },
} as const;

/** The request header that says how long to wait. */
export const preferHeader = {
  Prefer: { type: "string", description: "`wait=N`: wait at most N seconds for the answer (RFC 7240)." },
} as const;

const guardedResponses = {
  401: problem("Nobody has shown who it is (WW_UNAUTHENTICATED).", {
    "WWW-Authenticate": header("How to show who one is: `Bearer`."),
  }),
  403: problem("The caller lacks a role (WW_FORBIDDEN), or a page of another site asks (WW_ORIGIN_REFUSED)."),
  429: problem("There are too many requests of this caller, or of this address without a valid token."),
};

/** What the document says of a server that asks who sends a request. */
const guardedDocument = {
  components: {
    securitySchemes: {
      token: {
        type: "http" as const,
        scheme: "bearer",
        description:
          "A token of `wheelwork token create`, or one of an OpenID provider that the server trusts.",
      },
    },
  },
  security: [{ token: [] as string[] }],
};

/** Serves the document at `/openapi.json`. It holds the routes that are added after this call. */
export async function serveDocument(
  app: FastifyInstance,
  info: DocumentInfo,
  isGuarded: boolean,
): Promise<void> {
  await app.register(swagger, {
    mode: "dynamic",
    openapi: { openapi: "3.1.0", info, ...(isGuarded ? guardedDocument : {}) },
    transformObject: (made) =>
      "openapiObject" in made ? withOptionalBodies(made.openapiObject) : made.swaggerObject,
    refResolver: {
      buildLocalReference: (schema, _base, _fragment, index) => String(schema.$id ?? `def-${index}`),
    },
  });
  for (const schema of schemas) app.addSchema(schema);
  app.get("/openapi.json", { schema: { hide: true } }, () => app.swagger());
}
