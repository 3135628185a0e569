import type { BulkCommand, BulkView, Engine } from "@wheelwork/engine";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { callerOf, giverOf } from "./access/gate.ts";
import {
  filterOf,
  filterQuery,
  filterView,
  listValues,
  withoutPayloads,
  type FilterQuery,
} from "./filters.ts";
import { hashedId, idempotencyKey } from "./headers.ts";
import { commandIdHeader, documented, json, problem, type JsonSchema } from "./openapi.ts";
import { itemsCursor, listCursor } from "./parameters.ts";
import { messageBody, messageOf, noQuery, signalParams, unavailable, unsupported } from "./routes.ts";
import { errorWithout, secretsOf } from "./secrets.ts";
import { iso } from "./views.ts";

interface OfBulk {
  readonly Params: { readonly id: string };
}

const tags = ["bulks"];
const idParams = {
  type: "object",
  properties: { id: { type: "string", minLength: 1, maxLength: 1000 } },
  required: ["id"],
} as const;
const headers = { type: "object", properties: commandIdHeader } as const;

const refusals = {
  400: problem("The request is not valid. Every problem is listed."),
  404: problem("There is no such bulk, or its retention is over."),
  503: unavailable,
};
const commandRefusals = {
  ...refusals,
  415: unsupported,
  422: problem("Another command has had this Idempotency-Key."),
};

/** A bulk over HTTP. */
function bulkView(view: BulkView, payloads: boolean): object {
  const { command, filter, createdAt, endedAt, isPaused: _paused, isCancelled: _cancelled, ...rest } = view;
  const { message: _message, ...outline } = command;
  // A message may repeat what is in a payload.
  const { message: _kind, ...filterOutline } = filter;
  return {
    ...rest,
    command: payloads ? command : outline,
    filter: filterView(payloads ? filter : filterOutline),
    createdAt: iso(createdAt),
    ...(endedAt === undefined ? {} : { endedAt: iso(endedAt) }),
  };
}

/** `/bulks`: one command to all requests that a filter means. */
export function routeBulks(app: FastifyInstance, engine: Engine): void {
  const shown = (request: FastifyRequest, view: BulkView): object =>
    bulkView(view, callerOf(request).payloads);

  bulk(app, engine, {
    path: "cancel",
    operationId: "cancelAll",
    summary: "Ask all requests that a filter means to end early",
    command: () => ({ kind: "cancel" }),
  });
  bulk(app, engine, {
    path: "retry",
    operationId: "retryAll",
    summary: "Retry all parked requests that a filter means",
    command: () => ({ kind: "retry" }),
  });
  bulk(app, engine, {
    path: "resolve",
    operationId: "resolveAll",
    summary: "End all parked requests that a filter means with an error",
    body: messageBody,
    command: (request) => ({ kind: "resolve", message: messageOf(request) }),
  });
  bulk(app, engine, {
    path: "signals/:name",
    operationId: "signalAll",
    summary: "Send a signal to all requests that a filter means",
    params: signalParams,
    body: { description: "The payload of the signal. Without it, it is null." },
    isBodyOptional: true,
    command: ({ params, body }) => ({
      kind: "signal",
      name: (params as { readonly name: string }).name,
      payload: body ?? null,
    }),
  });

  app.get<{ Querystring: { readonly limit: number; readonly cursor?: string } }>(
    "/bulks",
    {
      schema: {
        summary: "List bulks, newest first",
        operationId: "listBulks",
        tags,
        querystring: pageQuery(listCursor),
      },
      config: documented({
        response: { 200: json("A page.", "Bulks"), 400: refusals[400], 503: unavailable },
      }),
    },
    async (request, _reply) => {
      const { items, cursor } = await engine.bulks(request.query);
      return {
        bulks: items.map((view) => shown(request as FastifyRequest, view)),
        ...(cursor === undefined ? {} : { cursor }),
      };
    },
  );

  app.get<OfBulk>(
    "/bulks/:id",
    {
      schema: {
        summary: "Get a bulk: how far it is, and what came of it",
        operationId: "getBulk",
        tags,
        querystring: noQuery,
        params: idParams,
      },
      config: documented({ response: { 200: json("The bulk.", "Bulk"), ...refusals } }),
    },
    async (request, _reply) => shown(request as FastifyRequest, await engine.bulk(request.params.id).view()),
  );

  app.get<OfBulk & { Querystring: { readonly limit: number; readonly cursor?: string } }>(
    "/bulks/:id/items",
    {
      schema: {
        summary: "List what came of the command to each request",
        description: "A page may have few items, or none. As long as it has a cursor, there may be more.",
        operationId: "listBulkItems",
        tags,
        querystring: pageQuery(itemsCursor),
        params: idParams,
      },
      config: documented({ response: { 200: json("A page.", "BulkItems"), ...refusals } }),
    },
    async ({ params, query }) => {
      const { items, cursor } = await engine.bulk(params.id).items(query);
      return {
        items: items.map((item) => ({ ...item, at: iso(item.at) })),
        ...(cursor === undefined ? {} : { cursor }),
      };
    },
  );

  for (const [command, summary] of [
    ["pause", "Pause a bulk: it gives no more commands"],
    ["resume", "Resume a bulk"],
    ["cancel", "End a bulk: requests that have not got the command get none"],
  ] as const) {
    app.post<OfBulk>(
      `/bulks/:id/${command}`,
      {
        schema: {
          summary,
          operationId: `${command}Bulk`,
          tags,
          querystring: noQuery,
          params: idParams,
          headers,
        },
        config: documented({ response: { 202: json("It is accepted.", "Bulk"), ...commandRefusals } }),
      },
      async (request, reply) => {
        const { id } = request.params;
        const key = idempotencyKey(request);
        const path = `/bulks/${encodeURIComponent(id)}/${command}`;
        const given = key === undefined ? {} : { commandId: hashedId(path, key.sent) };
        const of = engine.bulk(id);
        await of[command]({ ...given, ...giverOf(request as FastifyRequest) });
        return reply.code(202).send(shown(request as FastifyRequest, await of.view()));
      },
    );
  }
}

const pageQuery = (cursor: object) =>
  ({
    type: "object",
    properties: {
      limit: { type: "integer", minimum: 1, maximum: 1000, default: 50 },
      cursor,
    },
    additionalProperties: false,
  }) as const;

/** An operation that gives a command to many requests. */
interface BulkRoute {
  /** The path after `/bulks/`. */
  readonly path: string;
  readonly operationId: string;
  readonly summary: string;
  readonly params?: Readonly<Record<string, JsonSchema>>;
  readonly body?: JsonSchema;
  readonly isBodyOptional?: true;
  readonly command: (request: FastifyRequest) => BulkCommand;
}

/** `POST /bulks/…?hub=…`: 202 with the bulk, or with `dryRun` 200 with the exact counts of what it would mean. */
function bulk(app: FastifyInstance, engine: Engine, route: BulkRoute): void {
  app.post<{ Querystring: FilterQuery & { readonly dryRun?: boolean } }>(
    `/bulks/${route.path}`,
    {
      schema: {
        summary: route.summary,
        description:
          "The query says which requests are meant, as in `GET /requests`: only those that are accepted by now. The same " +
          "`Idempotency-Key` is the same bulk.",
        operationId: route.operationId,
        tags,
        querystring: {
          type: "object",
          properties: {
            ...filterQuery,
            dryRun: { type: "boolean", description: "Only count the requests that are meant." },
          },
          additionalProperties: false,
        },
        ...(route.params === undefined
          ? {}
          : { params: { type: "object", properties: route.params, required: Object.keys(route.params) } }),
        headers,
      },
      preValidation: listValues,
      config: documented({
        ...(route.body === undefined ? {} : { body: route.body }),
        ...(route.isBodyOptional === undefined ? {} : { isBodyOptional: route.isBodyOptional }),
        response: {
          200: json("`dryRun`: the requests that are meant, by state.", "Counts"),
          202: json("The bulk is accepted.", "Bulk", {
            Location: { type: "string", description: "The bulk: /bulks/{id}." },
          }),
          ...commandRefusals,
          404: problem("A hub of the filter has no such signal."),
        },
      }),
    },
    async (request, reply) => {
      const { dryRun, ...query } = request.query;
      const asked = request as FastifyRequest;
      if (query.message !== undefined && !callerOf(asked).payloads) throw withoutPayloads();
      const filter = filterOf(query);
      const command = route.command(asked);
      const hide = (error: unknown): never => {
        throw errorWithout(secretsOf(engine, "", [asked.body]), error);
      };
      const key = idempotencyKey(asked);
      if (dryRun === true) return engine.previewBulk(command, filter).catch(hide);
      const options = {
        ...(key === undefined ? {} : { key: hashedId("/bulks", key.sent) }),
        ...giverOf(asked),
      };
      const { id } = await engine.startBulk(command, filter, options).catch(hide);
      const view = await engine.bulk(id).view();
      return reply
        .code(202)
        .header("location", `/bulks/${encodeURIComponent(id)}`)
        .send(bulkView(view, callerOf(asked).payloads));
    },
  );
}
