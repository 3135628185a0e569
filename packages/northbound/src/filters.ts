import { labelPatterns } from "@wheelwork/core/kernel";
import {
  labelsOfTexts,
  statusFilters,
  type Engine,
  type RequestCounts,
  type RequestFilter,
  type RequestsOptions,
  type TimeRange,
} from "@wheelwork/engine";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { callerOf } from "./access/gate.ts";
import { documented, json, problem } from "./openapi.ts";
import { listCursor, timeParameter } from "./parameters.ts";
import { HttpProblem, problemDetails } from "./problems.ts";
import { unavailable } from "./routes.ts";
import { timeIn } from "./times.ts";
import { iso, rowView } from "./views.ts";

/** A value, or several of them: the name comes once for each. */
export const several = (
  description: string,
  items: object = { type: "string", minLength: 1, maxLength: 200 },
) => ({
  type: "array",
  items,
  maxItems: 100,
  description: `${description} Say the name once for each value that may be.`,
});

/** A parameter that is a time. */
export const time = (description: string) => ({
  ...timeParameter,
  description: `${description} ISO 8601 with a time zone, or milliseconds since 1970.`,
});

const milliseconds = (description: string) => ({
  type: "integer",
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER,
  description,
});

const attempts = (description: string) => ({
  type: "integer",
  minimum: 0,
  maximum: 1_000_000,
  description,
});

/** The parameter that names labels. */
export const labelParameter = several(
  "A label that the hub has given the request: tenant=acme. Of several values of one name, one must be; of several names, all.",
  {
    type: "string",
    pattern: `^${labelPatterns.name}=.`,
    maxLength: 251,
    documented: { pattern: `^${labelPatterns.name}=${labelPatterns.value}$` },
  },
);

/** The parameters that say which requests are meant. */
export const filterQuery = {
  hub: several("The hub."),
  status: several(
    "The status; or what a running request does (calling, waiting, retrying); or how an ended one was answered (result, error, timeout, cancelled).",
    {
      type: "string",
      enum: statusFilters,
    },
  ),
  state: several("The state."),
  code: several("The code of the error that was the answer, or that has parked the run."),
  message: several("Of incidents: the message of their group, as `GET /incidents` tells it.", {
    type: "string",
    maxLength: 200,
  }),
  createdFrom: time("Accepted at this time or later."),
  createdTo: time("Accepted before this time."),
  answeredFrom: time("Answered at this time or later."),
  answeredTo: time("Answered before this time."),
  minDurationMs: milliseconds("The answer took so many milliseconds or more."),
  maxDurationMs: milliseconds("The answer took less than so many milliseconds."),
  minAttempts: attempts("A running request of which an open call makes this attempt or a later one."),
  maxAttempts: attempts("A running request of which no open call makes a later attempt."),
  label: labelParameter,
} as const;

export interface FilterQuery extends Pick<RequestFilter, "hub" | "status" | "state" | "code" | "message"> {
  readonly createdFrom?: string;
  readonly createdTo?: string;
  readonly answeredFrom?: string;
  readonly answeredTo?: string;
  readonly minDurationMs?: number;
  readonly maxDurationMs?: number;
  readonly minAttempts?: number;
  readonly maxAttempts?: number;
  readonly label?: readonly string[];
}

/** The filter that a query means. Its schema has checked it. */
export function filterOf(query: FilterQuery): RequestFilter {
  const { hub, status, state, code, message, minDurationMs: min, maxDurationMs: max } = query;
  const createdAt = bounds("from", timeIn(query.createdFrom), "to", timeIn(query.createdTo));
  const answeredAt = bounds("from", timeIn(query.answeredFrom), "to", timeIn(query.answeredTo));
  const durationMs = bounds("min", min, "max", max);
  const tried = bounds("min", query.minAttempts, "max", query.maxAttempts);
  return {
    ...(hub === undefined ? {} : { hub }),
    ...(status === undefined ? {} : { status }),
    ...(state === undefined ? {} : { state }),
    ...(code === undefined ? {} : { code }),
    ...(message === undefined ? {} : { message }),
    ...(createdAt === undefined ? {} : { createdAt }),
    ...(answeredAt === undefined ? {} : { answeredAt }),
    ...(durationMs === undefined ? {} : { durationMs }),
    ...(tried === undefined ? {} : { attempts: tried }),
    ...(query.label === undefined ? {} : { labels: labelsOfTexts(query.label) }),
  };
}

/** The range of two parameters; undefined: there is none. */
export const rangeOf = (given: {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
}): TimeRange | undefined => bounds("from", timeIn(given.from), "to", timeIn(given.to));

/** A filter in words of a query. */
export function filterView({
  createdAt,
  answeredAt,
  durationMs,
  attempts: tries,
  labels,
  ...rest
}: RequestFilter): object {
  const times = {
    createdFrom: createdAt?.from,
    createdTo: createdAt?.to,
    answeredFrom: answeredAt?.from,
    answeredTo: answeredAt?.to,
  };
  return {
    ...rest,
    ...Object.fromEntries(
      Object.entries(times).flatMap(([name, ms]) => (ms === undefined ? [] : [[name, iso(ms)]])),
    ),
    ...(durationMs?.min === undefined ? {} : { minDurationMs: durationMs.min }),
    ...(durationMs?.max === undefined ? {} : { maxDurationMs: durationMs.max }),
    ...(tries?.min === undefined ? {} : { minAttempts: tries.min }),
    ...(tries?.max === undefined ? {} : { maxAttempts: tries.max }),
    ...(labels === undefined
      ? {}
      : {
          label: Object.entries(labels).flatMap(([name, values]) =>
            [values].flat().map((value) => `${name}=${value}`),
          ),
        }),
  };
}

function bounds<A extends string, B extends string>(
  lower: A,
  from: number | undefined,
  upper: B,
  to: number | undefined,
): { readonly [name in A | B]?: number } | undefined {
  if (from === undefined && to === undefined) return undefined;
  return {
    ...(from === undefined ? {} : { [lower]: from }),
    ...(to === undefined ? {} : { [upper]: to }),
  } as { readonly [name in A | B]?: number };
}

interface ListQuery extends FilterQuery, Pick<RequestsOptions, "order" | "limit" | "cursor"> {
  readonly text?: string;
  readonly value?: readonly string[];
}

type Value = string | number | boolean | null;

/** A path and the value that is sought there. */
function valueAt(given: string): [path: string, value: Value] {
  const end = given.indexOf("=");
  const text = given.slice(end + 1);
  let value: unknown = text;
  try {
    value = JSON.parse(text);
  } catch {
    // It is a text.
  }
  return [given.slice(0, end), typeof value === "object" && value !== null ? text : (value as Value)];
}

const responses = { 400: problem("The query is not valid. Every problem is listed."), 503: unavailable };

/** `/requests` and `/counts`: finds requests, and counts them. */
export function routeFilters(app: FastifyInstance, engine: Engine): void {
  const tags = ["requests"];
  app.get<{ Querystring: ListQuery }>(
    "/requests",
    {
      schema: {
        summary: "List requests",
        operationId: "listRequests",
        tags,
        querystring: {
          type: "object",
          properties: {
            ...filterQuery,
            order: {
              type: "string",
              enum: ["newest", "oldest", "duration", "attempts"],
              default: "newest",
              description:
                "`newest` and `oldest`: by the time at which requests were accepted. `duration`: those whose answer took longest first, answered ones only. `attempts`: those with the highest attempt of an open call first, running ones only. A search takes `newest` and `oldest`.",
            },
            limit: { type: "integer", minimum: 1, maximum: 1000, default: 50 },
            cursor: listCursor,
            text: {
              type: "string",
              minLength: 1,
              maxLength: 1000,
              description:
                "A part of a field's name or of a value, anywhere in the request or the view. A page may have few requests, or none: as long as it has a cursor, there are more to look at.",
            },
            value: several(
              "A value and its path, which begins with request or view: request.customer.id=42. It is JSON, or a text.",
              { type: "string", pattern: "^(request|view)(\\.[^=]+)?=", maxLength: 1000 },
            ),
          },
          additionalProperties: false,
        },
      },
      preValidation: listValues,
      config: documented({ response: { 200: json("A page.", "RequestPage"), ...responses } }),
    },
    async (asked) => {
      const { order, limit, cursor, text, value, ...filter } = asked.query;
      const options = {
        ...(order === undefined ? {} : { order }),
        ...(limit === undefined ? {} : { limit }),
      };
      const page = cursor === undefined ? options : { ...options, cursor };
      const listed = { ...filterOf(filter), ...page };
      const looksInside = text !== undefined || value !== undefined;
      if ((looksInside || filter.message !== undefined) && !callerOf(asked).payloads) throw withoutPayloads();
      const { items, cursor: next } = looksInside
        ? await engine.search({
            ...listed,
            ...(text === undefined ? {} : { text }),
            ...(value === undefined ? {} : { values: Object.fromEntries(value.map(valueAt)) }),
          })
        : await engine.requests(listed);
      return { requests: items.map(rowView), ...(next === undefined ? {} : { cursor: next }) };
    },
  );

  app.get<{ Querystring: FilterQuery }>(
    "/counts",
    {
      schema: {
        summary: "Count requests exactly, by state and by answer",
        operationId: "countRequests",
        tags,
        querystring: { type: "object", properties: filterQuery, additionalProperties: false },
      },
      preValidation: listValues,
      config: documented({ response: { 200: json("The counts.", "Counts"), ...responses } }),
    },
    async (asked): Promise<RequestCounts> => {
      if (asked.query.message !== undefined && !callerOf(asked).payloads) throw withoutPayloads();
      return engine.facets(filterOf(asked.query));
    },
  );
}

/** A search tells what is inside of requests, and a message may repeat it. */
export const withoutPayloads = (): HttpProblem =>
  new HttpProblem(
    problemDetails(
      403,
      "WW_FORBIDDEN",
      "text, value and message look at payloads, which the caller may not see",
      {
        next: "Use a token with the scope payloads, or leave these parameters out.",
      },
    ),
  );

/** One value of a parameter that may have several is a list of one. */
export function listValues({ query }: FastifyRequest, _reply: FastifyReply, done: () => void): void {
  const parameters = query as Record<string, unknown>;
  for (const name of ["hub", "status", "state", "code", "message", "label", "value", "type", "request"])
    if (typeof parameters[name] === "string") parameters[name] = [parameters[name]];
  done();
}
