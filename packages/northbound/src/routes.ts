import { WheelworkError, type Answer, type AnyHub, type Problem, type HistoryEvent } from "@wheelwork/core";
import { type CommandOptions, type Engine, type RequestView } from "@wheelwork/engine";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { callerOf, giverOf } from "./access/gate.ts";
import type { Secrets } from "@wheelwork/core/kernel";
import type { Caller } from "./access/grants.ts";
import { render, type StatusOf } from "./answers.ts";
import { hashedId, idempotencyKey, preferredWait, prefersText, traceHeaders } from "./headers.ts";
import {
  documented,
  idempotencyHeader,
  json,
  preferHeader,
  problem,
  responseHeaders,
  type JsonSchema,
} from "./openapi.ts";
import type { FormerKeys } from "./former-keys.ts";
import { answerOutline, eventOutline, requestOutline } from "./outlines.ts";
import { errorWithout, eventWithout, requestWithout, secretsIn, secretsOf } from "./secrets.ts";
import { HttpProblem, invalid, problemDetails, retryAfter } from "./problems.ts";
import { safeHeaders } from "./protect.ts";
import { timeParameter } from "./parameters.ts";
import { timeIn } from "./times.ts";
import { eventView, requestView } from "./views.ts";
import type { Waits } from "./waits.ts";

/** A hub that clients reach by `POST <path>`. */
export interface HubRoute {
  readonly method: "POST";
  readonly path: string;
  /** A hub that the engine serves, and that has no other route. */
  readonly hub: AnyHub;
  /** One line about the operation, for the document at `/openapi.json`. */
  readonly summary?: string;
  /** The hub's request as a JSON schema, for the document. The hub's own schema checks requests. */
  readonly requestSchema?: JsonSchema;
  /** The hub's result as a JSON schema, without the request id, for the document. */
  readonly resultSchema?: JsonSchema;
  /**
   * The HTTP status of errors and timeouts. If it returns undefined: 504 for a timeout, 409 for WW_CANCELLED, WW_BUSY and WW_REPLACED, 500 for
   * everything else. It must be a pure function, since clients may ask for the same answer again after a restart.
   */
  readonly statusOf?: StatusOf;
  /** What each status means that `statusOf` may return, for the document. */
  readonly failures?: Readonly<Record<number, string>>;
}

interface HistoryQuery {
  readonly order: "oldest" | "newest";
  readonly limit: number;
  readonly cursor?: string;
}

/** What the routes work with. */
export interface Surroundings {
  readonly engine: Engine;
  readonly waits: Waits;
  /** The routes of hubs, by the name of the hub. */
  readonly routes: ReadonlyMap<string, HubRoute>;
  readonly defaultWaitMs: number;
  readonly maxWaitMs: number;
  readonly formerKeys: FormerKeys;
  readonly beginWithinMs: number;
  readonly diagram: ((hub: AnyHub, history: readonly HistoryEvent[]) => Promise<string>) | undefined;
}

/** The path of a request. */
export interface OfRequest {
  readonly Params: { readonly id: string };
}

/** Of operations that take no query. */
export const noQuery = { type: "object", properties: {}, additionalProperties: false } as const;
const startQuery = {
  type: "object",
  properties: {
    startAt: {
      ...timeParameter,
      description:
        "When the request begins: ISO 8601 with a time zone, or milliseconds since 1970. Until then it is pending. " +
        "A time that is over: now. Not a part of the body: the same key is the same request, whatever its time.",
    },
  },
  additionalProperties: false,
} as const;
const id = {
  type: "string",
  minLength: 1,
  maxLength: 4000,
  description: "The request id: its key, percent-encoded, or the id that the server made.",
} as const;
/** The path of a request, in the document. */
export const idParams = { type: "object", properties: { id }, required: ["id"] } as const;

/** The response of an engine that takes nothing. */
export const unavailable = problem(
  "The engine takes no requests now. Send the request again later.",
  responseHeaders.retryAfter,
);
/** The response to a POST that a page of another site could have sent. */
export const unsupported = problem("There is neither Content-Type: application/json nor an Idempotency-Key.");
const unknownRequest = problem("There is no such request, or its retention is over.");
const pending = json("There is no answer yet. The request goes on.", "Pending", responseHeaders.pending);

/** `POST <path>`: sends a request to its hub, and waits for the answer. */
export function routeHub(app: FastifyInstance, route: HubRoute, around: Surroundings): void {
  const { engine, defaultWaitMs } = around;
  const hub = route.hub.name;
  app.route({
    method: route.method,
    url: route.path,
    schema: {
      summary: route.summary ?? `Send a request to ${hub}`,
      operationId: hub,
      tags: ["hubs"],
      querystring: startQuery,
      headers: { type: "object", properties: { ...idempotencyHeader, ...preferHeader } },
    },
    config: {
      permission: { submitTo: hub },
      ...documented({
        body: route.requestSchema ?? { type: "object" },
        response: {
          ...answerResponses(route),
          202: pending,
          400: problem("The request is not valid. Every problem is listed."),
          413: problem("The body is too large."),
          415: problem("The body is not application/json."),
          422: problem("The key belongs to a request with another body."),
          503: unavailable,
        },
      }),
    },
    handler: async (request, reply) => {
      const began = performance.now();
      const key = idempotencyKey(request);
      const body = objectBody(request);
      // A time that is over means now, also one before 1970.
      const startAt = timeIn((request.query as { readonly startAt?: string }).startAt);
      const known = key === undefined ? {} : { key: await around.formerKeys.keyOf(hub, key) };
      const later = startAt === undefined ? {} : { startAt };
      const options = {
        ...known,
        ...later,
        ...traceHeaders(request),
        ...giverOf(request),
        beginWithinMs: around.beginWithinMs,
      };
      const { id: requestId } = await engine.submit(hub, body, options).catch((error: unknown) => {
        throw errorWithout(secretsOf(engine, hub, [body]), error);
      });
      // The engine has a copy. While the client waits, perhaps for long, nobody needs another one.
      request.body = undefined;
      // Nobody waits for what begins after the wait is over.
      const otherwiseMs = (startAt ?? 0) - Date.now() > defaultWaitMs ? 0 : defaultWaitMs;
      const waitMs = grantWait(request, reply, around, otherwiseMs) - (performance.now() - began);
      return answerOrPending(request, reply, around, { id: requestId, hub, accepted: true }, waitMs);
    },
  });
}

const diagramPolicy = `${safeHeaders["content-security-policy"]}; style-src 'unsafe-inline'; sandbox`;

/** The body of a resolve. */
export const messageBody = {
  type: "object",
  properties: {
    message: { type: "string", minLength: 1, maxLength: 8000, description: "The message of the answer." },
  },
  required: ["message"],
  additionalProperties: false,
} as const;
/** The path of a signal. */
export const signalParams = { name: { type: "string", pattern: "^[!-~]+$", maxLength: 200 } } as const;

/** `/requests/{id}`: reads requests, and sends them commands. */
export function routeRequests(app: FastifyInstance, around: Surroundings): void {
  const { engine, diagram, routes } = around;
  const tags = ["requests"];
  const statuses = Array.from(routes.values(), ({ failures = {} }) => Object.keys(failures)).flat();
  const failures = Object.fromEntries(
    statuses.map((status) => [status, "The hub has answered with an error."]),
  );

  app.get<OfRequest>(
    "/requests/:id",
    {
      schema: {
        summary: "Get a request",
        operationId: "getRequest",
        tags,
        querystring: noQuery,
        params: idParams,
      },
      config: documented({ response: { 200: json("The request.", "Request"), ...refusals } }),
    },
    async (request, _reply) => {
      const view = await engine.request(request.params.id);
      if (!callerOf(request).payloads) return requestOutline(view);
      return requestWithout(secretsIn(engine, view), requestView(view));
    },
  );

  app.get<OfRequest>(
    "/requests/:id/answer",
    {
      schema: {
        summary: "Get the answer to a request",
        description:
          "Status, headers and body are those of the POST. Without a `Prefer` header it does not wait.",
        operationId: "getAnswer",
        tags,
        querystring: noQuery,
        params: idParams,
        headers: { type: "object", properties: preferHeader },
      },
      config: documented({
        response: { ...answerResponses(undefined, failures), 202: pending, ...refusals },
      }),
    },
    async (request, reply) => {
      const view = await engine.request(request.params.id);
      const waitMs = grantWait(request, reply, around, 0);
      // Who sends requests to the hub gets what the hub answers. Others look at it.
      const secrets = callerOf(request).sends(view.hub) ? undefined : secretsIn(engine, view);
      return answerOrPending(request, reply, around, { ...view, secrets }, waitMs);
    },
  );

  app.get<OfRequest & { Querystring: HistoryQuery }>(
    "/requests/:id/history",
    {
      schema: {
        summary: "Get the events of a request, in either direction, from any event on",
        operationId: "getHistory",
        tags,
        querystring: {
          type: "object",
          properties: {
            order: {
              type: "string",
              enum: ["oldest", "newest"],
              default: "oldest",
              description: "Which events come first.",
            },
            limit: { type: "integer", minimum: 1, maximum: 10_000, default: 1000 },
            cursor: {
              type: "string",
              pattern: "^\\d{1,15}$",
              description:
                "From the previous page. Or the number of an event, from 0: the page begins with it, or with `newest` before it.",
            },
          },
          additionalProperties: false,
        },
        params: idParams,
      },
      config: documented({ response: { 200: json("The history.", "History"), ...refusals } }),
    },
    async (request, _reply) => {
      const { params, query } = request;
      const { order, limit, cursor: given } = query;
      const from = given === undefined ? {} : { from: Number(given) };
      const page = await engine.historyPage(params.id, { order, limit, ...from });
      const { first, next, hasEarlier, hasLater } = page;
      const [more, place] = order === "newest" ? [hasEarlier, first] : [hasLater, next];
      const events = order === "newest" ? page.events.toReversed() : page.events;
      const secrets = callerOf(request).payloads
        ? secretsIn(engine, await engine.request(params.id))
        : undefined;
      return {
        requestId: params.id,
        first,
        events: events.map((event) =>
          secrets === undefined ? eventOutline(event) : eventWithout(secrets, eventView(event)),
        ),
        ...(more ? { cursor: String(place) } : {}),
      };
    },
  );

  app.get<{ Params: OfRequest["Params"] & { readonly event: number } }>(
    "/requests/:id/history/:event",
    {
      schema: {
        summary: "Get a request as it was after one of its events, with its data",
        description: "If the first events are archived, what it was is not known.",
        operationId: "getRequestAt",
        tags,
        querystring: noQuery,
        params: {
          ...idParams,
          properties: {
            id,
            event: {
              type: "integer",
              minimum: 0,
              maximum: Number.MAX_SAFE_INTEGER,
              description: "The number of the event, from 0.",
            },
          },
          required: ["id", "event"],
        },
      },
      config: documented({ response: { 200: json("The request as it was.", "RequestAt"), ...refusals } }),
    },
    async (request, _reply) => {
      const view = await engine.requestAt(request.params.id, request.params.event);
      if (!callerOf(request as FastifyRequest).payloads) return requestOutline(view);
      return requestWithout(secretsIn(engine, view), { ...requestView(view), data: view.data });
    },
  );

  app.get<OfRequest>(
    "/requests/:id/diagram.svg",
    {
      schema: {
        summary: "Get the chart of the hub with the path of the request",
        operationId: "getDiagram",
        tags,
        querystring: noQuery,
        params: idParams,
      },
      config: documented({
        response: {
          200: { description: "The diagram.", content: { "image/svg+xml": { schema: { type: "string" } } } },
          ...refusals,
          501: problem("This server draws no diagrams."),
        },
      }),
    },
    async ({ params }, reply) => {
      const view = await engine.request(params.id);
      if (diagram === undefined) {
        throw new HttpProblem(
          problemDetails(501, "WW_NOT_SUPPORTED", "this server draws no diagrams", {
            next: "Give northbound the option diagram.",
          }),
        );
      }
      const hub = engine.hubs.get(view.hub);
      if (hub === undefined) {
        const detail = `this engine does not serve the hub ${view.hub}, so it has no chart to draw`;
        throw new HttpProblem(problemDetails(404, "WW_HUB_UNKNOWN", detail));
      }
      // A diagram has styles of its own, and loads nothing.
      reply.header("content-security-policy", diagramPolicy);
      return reply.type("image/svg+xml").send(await diagram(hub, await engine.history(params.id)));
    },
  );

  command(app, around, {
    path: "cancel",
    operationId: "cancelRequest",
    summary: "Ask a request to end early",
    run: (requestId, options) => engine.cancel(requestId, options),
  });
  command(app, around, {
    path: "signals/:name",
    operationId: "signalRequest",
    summary: "Send a signal to a request",
    params: signalParams,
    body: { description: "The payload of the signal. Without it, it is null." },
    isBodyOptional: true,
    responses: {
      404: problem("There is no such request, or its hub has no such signal."),
      422: problem("The key belongs to a signal with another body."),
    },
    run: (requestId, options, { params, body }) =>
      // Without a body there is no payload. JSON has no undefined, so it is null.
      engine.signal(requestId, params["name"] as string, body ?? null, options),
  });
  command(app, around, {
    path: "retry",
    operationId: "retryRequest",
    summary: "Retry a parked request",
    responses: {
      409: problem("It is not parked by an incident (WW_NOT_INCIDENT), or it has ended (WW_ENDED)."),
    },
    run: (requestId, options) => engine.retry(requestId, options),
  });
  command(app, around, {
    path: "resolve",
    operationId: "resolveRequest",
    summary: "End a parked request with an error",
    body: messageBody,
    responses: {
      409: problem("It is not parked by an incident (WW_NOT_INCIDENT), or it has ended (WW_ENDED)."),
    },
    run: (requestId, options, request) => engine.resolve(requestId, messageOf(request), options),
  });
}

/** `/health`: the process runs. `/ready`: it takes requests. */
export function routeHealth(app: FastifyInstance, engine: Engine): void {
  app.get(
    "/health",
    {
      schema: {
        summary: "Tell whether the process runs",
        operationId: "getHealth",
        tags: ["health"],
        security: [],
        querystring: noQuery,
      },
      config: documented({ response: { 200: json("It runs.", "Health") } }),
    },
    (request) => healthView(engine, request),
  );
  app.get(
    "/ready",
    {
      schema: {
        summary: "Tell whether the engine takes requests",
        operationId: "getReadiness",
        tags: ["health"],
        security: [],
        querystring: noQuery,
      },
      config: documented({ response: { 200: json("It takes them.", "Health"), 503: unavailable } }),
    },
    (request) => {
      const health = engine.health();
      if (health.ready) return healthView(engine, request);
      const { reason } = callerOf(request).may("read") ? health : {};
      const because = reason === undefined ? "" : `. ${reason}`;
      const code = health.status === "store-lost" ? "WW_STORE_UNAVAILABLE" : "WW_STOPPING";
      throw new HttpProblem(
        problemDetails(503, code, `the engine is not ready: it is ${health.status}${because}`),
        {
          "retry-after": retryAfter,
        },
      );
    },
  );
}

/** How the engine is. Figures and reasons are for those who may read. */
function healthView(engine: Engine, request: FastifyRequest): object {
  const health = engine.health();
  return callerOf(request).may("read") ? health : { ready: health.ready, status: health.status };
}

export const refusals = {
  400: problem("The request is not valid. Every problem is listed."),
  404: unknownRequest,
  503: unavailable,
};

/** The responses that carry an answer: a result, an error or a timeout. */
function answerResponses(route: HubRoute | undefined, known = route?.failures): Record<number, object> {
  const failures: Record<number, string> = {
    409: "The request was cancelled.",
    500: "The request failed with an error that has no other status, or it was an incident.",
    504: "The hub gave no answer in time.",
    ...known,
  };
  return {
    200: {
      description: "The result.",
      headers: responseHeaders.answer,
      content: {
        "application/json": { schema: bodySchema(route?.resultSchema) },
        "text/plain": { schema: { type: "string" } },
      },
    },
    ...Object.fromEntries(
      Object.entries(failures).map(([status, description]) => [
        status,
        problem(description, responseHeaders.answer),
      ]),
    ),
  };
}

/** The body that `render` makes of a result, as a JSON schema. */
function bodySchema(result: JsonSchema | undefined): JsonSchema {
  const requestId = { type: "string" };
  const base = { type: "object", properties: { requestId }, required: ["requestId"] };
  switch (result?.["type"]) {
    case "object": {
      const { properties = {}, required = [] } = result as {
        readonly properties?: object;
        readonly required?: readonly string[];
      };
      // It is one schema, not two under `allOf`: a result schema without additional properties would forbid the request
      // id.
      return { ...result, properties: { requestId, ...properties }, required: ["requestId", ...required] };
    }
    case undefined:
      return result === undefined ? base : { allOf: [base, result] };
    default:
      return { ...base, properties: { requestId, result }, required: ["requestId", "result"] };
  }
}

/** An operation that sends a command to a request. */
interface Command {
  /** The path after `/requests/{id}/`. */
  readonly path: string;
  readonly operationId: string;
  readonly summary: string;
  readonly params?: Readonly<Record<string, JsonSchema>>;
  readonly body?: JsonSchema;
  readonly isBodyOptional?: true;
  readonly responses?: Readonly<Record<number, object>>;
  readonly run: (
    requestId: string,
    options: CommandOptions,
    request: { readonly params: Readonly<Record<string, string>>; readonly body: unknown },
  ) => ReturnType<Engine["cancel"]>;
}

/** `POST /requests/{id}/…`: 202 if the command is accepted, 409 with the answer if the request has ended. */
function command(app: FastifyInstance, around: Surroundings, spec: Command): void {
  const { engine } = around;
  app.post<{ Params: OfRequest["Params"] & Readonly<Record<string, string>> }>(
    `/requests/:id/${spec.path}`,
    {
      schema: {
        summary: spec.summary,
        operationId: spec.operationId,
        tags: ["commands"],
        querystring: noQuery,
        params: { ...idParams, properties: { id, ...spec.params } },
        headers: { type: "object", properties: idempotencyHeader },
      },
      config: documented({
        ...(spec.body === undefined ? {} : { body: spec.body }),
        ...(spec.isBodyOptional === undefined ? {} : { isBodyOptional: spec.isBodyOptional }),
        response: {
          202: json("The command is accepted.", "Pending", { Location: responseHeaders.pending.Location }),
          409: problem("The request has ended. Its answer is in `answer`."),
          415: unsupported,
          ...refusals,
          ...spec.responses,
        },
      }),
    },
    async (request, reply) => {
      const { params, body } = request;
      const key = idempotencyKey(request);
      // However the client has written the path.
      const path = Object.entries(params).reduce(
        (url, [name, value]) => url.replace(`:${name}`, () => encodeURIComponent(value)),
        `/requests/:id/${spec.path}`,
      );
      const given = {
        ...(key === undefined ? {} : { commandId: hashedId(path, key.sent) }),
        ...giverOf(request),
      };
      const result = await spec.run(params.id, given, { params, body }).catch(async (error: unknown) => {
        const { hub } = await engine.request(params.id);
        throw errorWithout(secretsOf(engine, hub, [body]), error);
      });
      const view = await engine.request(params.id);
      if (result === "ended") throw ended(engine, view, callerOf(request));
      return pendingReply(reply, view.id, view.status);
    },
  );
}

function ended(engine: Engine, view: RequestView, { payloads }: Caller): HttpProblem {
  const { id: requestId, answer } = view;
  const shown =
    answer === undefined || !payloads
      ? answer && answerOutline(answer)
      : secretsIn(engine, view).hide(answer);
  const extras = { requestId, ...(shown === undefined ? {} : { answer: shown }) };
  return new HttpProblem(problemDetails(409, "WW_ENDED", "the request has ended", extras));
}

/** Waits for an answer: responds with it, or with 202 if it does not come in time. */
async function answerOrPending(
  request: FastifyRequest,
  reply: FastifyReply,
  around: Surroundings,
  of: {
    readonly id: string;
    readonly hub: string;
    readonly accepted?: true;
    readonly secrets?: Secrets | undefined;
  },
  waitMs: number,
): Promise<FastifyReply> {
  const { engine, waits, routes } = around;
  const answer = await waits.answer(engine, of.id, waitMs).catch(isAwayFor(of));
  reply.header("vary", "Accept, Prefer");
  if (answer === undefined) {
    reply.header("retry-after", retryAfter);
    const { status } = await engine.request(of.id).catch((error: unknown) => {
      isAwayFor(of)(error);
      return { status: "running" };
    });
    return pendingReply(reply, of.id, status);
  }
  const shown = of.secrets === undefined ? answer : (of.secrets.hide(answer) as Answer);
  const { status, type, body, text } = render(of.id, shown, routes.get(of.hub)?.statusOf);
  reply.code(status).header("content-location", `${locationOf(of.id)}/answer`);
  if (text !== undefined && prefersText(request)) return reply.type("text/plain; charset=utf-8").send(text);
  return reply.type(type).send(body);
}

/** A request that was accepted goes on, though the engine stops or its store is away: its client is told where to ask. */
const isAwayFor =
  ({ accepted }: { readonly accepted?: true }) =>
  (error: unknown): undefined => {
    if (accepted !== true || !(error instanceof WheelworkError) || !error.retryable) throw error;
  };

function pendingReply(reply: FastifyReply, requestId: string, status: string): FastifyReply {
  return reply.code(202).header("location", locationOf(requestId)).send({ requestId, status });
}

const locationOf = (requestId: string): string => `/requests/${encodeURIComponent(requestId)}`;

/** How long to wait, in milliseconds. If the client asked for a time, a header says what it got. */
function grantWait(
  request: FastifyRequest,
  reply: FastifyReply,
  around: Surroundings,
  otherwiseMs: number,
): number {
  const seconds = preferredWait(request.headers["prefer"]);
  if (seconds === undefined) return otherwiseMs;
  const granted = Math.min(seconds, Math.floor(around.maxWaitMs / 1000));
  reply.header("preference-applied", `wait=${granted}`);
  return granted * 1000;
}

function objectBody({ body }: FastifyRequest): object {
  if (typeof body === "object" && body !== null && !Array.isArray(body)) return body;
  throw invalid("the body", [{ path: "", message: "must be a JSON object" }]);
}

/** The message of a resolve. @throws WheelworkError WW_INVALID_REQUEST with every problem. */
export function messageOf({ body }: { readonly body: unknown }): string {
  const problems: Problem[] = [];
  const { message, ...unknown } = (
    typeof body === "object" && body !== null && !Array.isArray(body) ? body : {}
  ) as {
    readonly message?: unknown;
  };
  if (typeof message !== "string" || message === "")
    problems.push({ path: "message", message: "must be a string that is not empty" });
  for (const path of Object.keys(unknown)) problems.push({ path, message: "is not known" });
  if (problems.length > 0)
    throw new WheelworkError("WW_INVALID_REQUEST", "the body is not valid", { problems });
  return message as string;
}
