import { WheelworkError } from "@wheelwork/core";
import type { Secrets } from "@wheelwork/core/kernel";
import type { Engine, RunUpdate } from "@wheelwork/engine";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { Readable } from "node:stream";
import { callerOf, mayRead } from "./access/gate.ts";
import type { Caller } from "./access/grants.ts";
import { arrivalOf } from "./event-stream.ts";
import { documented } from "./openapi.ts";
import { updateOutline } from "./outlines.ts";
import { invalid } from "./problems.ts";
import { eventWithout, secretsIn } from "./secrets.ts";
import { idParams, refusals, type OfRequest } from "./routes.ts";
import type { Waits } from "./waits.ts";

/** After this time without an update, a comment is sent, so that nobody takes the connection for dead. In milliseconds. */
const silentMs = 15_000;
/** So often is looked whether the client may still read, while nothing happens. In milliseconds. */
const idleCheckMs = 2500;
const comment = ":\n\n";

const lastEventId = {
  "Last-Event-ID": {
    type: "string",
    description:
      "The `id` of the last event that was seen: the stream goes on after it. `0` begins with the first state.",
  },
} as const;

/** `GET /requests/{id}/updates`: tells how a request goes, as server-sent events. */
export function routeUpdates(app: FastifyInstance, engine: Engine, waits: Waits): void {
  app.get<OfRequest & { Querystring: { readonly until: "answer" | "end" } }>(
    "/requests/:id/updates",
    {
      schema: {
        summary: "Watch a request: its state, its view and its answer, as server-sent events",
        description:
          "An event for each committed change, from now on or after `Last-Event-ID`. Its `id` is a number, and its `data` is JSON.",
        operationId: "watchRequest",
        tags: ["requests"],
        querystring: {
          type: "object",
          properties: {
            until: {
              type: "string",
              enum: ["answer", "end"],
              default: "answer",
              description: "With what the stream ends: the answer, or the end of the run.",
            },
          },
          additionalProperties: false,
        },
        params: idParams,
        headers: { type: "object", properties: lastEventId },
      },
      config: documented({
        response: {
          200: {
            description: "The updates.",
            content: { "text/event-stream": { schema: { type: "string" } } },
          },
          204: { description: "There is nothing after `Last-Event-ID`: do not ask again." },
          ...refusals,
        },
      }),
    },
    async (request, reply) => {
      const { params, query, headers } = request;
      const { id } = params;
      const { until } = query;
      const after = seen(headers);
      const view = await engine.request(id);
      const { answer, status } = view;
      const leave = new AbortController();
      const forget = waits.onClose(() => leave.abort());
      reply.raw.once("close", () => {
        forget();
        leave.abort();
      });
      const options = { until, signal: leave.signal, ...(after === undefined ? {} : { after }) };
      const updates = engine.watch(id, options)[Symbol.asyncIterator]();
      let next = updates.next();
      next.catch(() => {});
      if (after !== undefined && (until === "answer" ? answer !== undefined : status === "ended")) {
        const first = await next;
        // An EventSource connects again when a stream has ended, unless it is told not to.
        if (first.done === true) return reply.code(204).send();
        next = Promise.resolve(first);
      }
      // A server that closes does not wait for the connection of a stream that has ended.
      reply.headers({ "cache-control": "no-store", "x-accel-buffering": "no", connection: "close" });
      return reply
        .type("text/event-stream")
        .send(
          Readable.from(
            events(updates, next, shownTo(callerOf(request), secretsIn(engine, view)), mayRead(request)),
          ),
        );
    },
  );
}

function seen(headers: FastifyRequest["headers"]): number | undefined {
  const sent = headers["last-event-id"];
  if (sent === undefined) return undefined;
  if (typeof sent === "string" && /^\d{1,15}$/.test(sent)) return Number(sent);
  throw invalid("the request", [{ path: "Last-Event-ID", message: "must be the `id` of an event" }]);
}

/** Updates as server-sent events, and comments while there are none. Nothing is read ahead of the client. */
async function* events(
  updates: AsyncIterator<RunUpdate>,
  first: Promise<IteratorResult<RunUpdate>>,
  shown: (update: RunUpdate) => object,
  isAllowed: () => Promise<boolean>,
): AsyncGenerator<string> {
  yield comment;
  let silentSince = performance.now();
  for (let next = arrivalOf(first); ;) {
    try {
      const update = await next(idleCheckMs);
      if (update?.done === true || !(await isAllowed())) return;
      if (update === undefined && performance.now() - silentSince < silentMs) continue;
      silentSince = performance.now();
      yield update === undefined ? comment : eventOf(update.value.event, shown(update.value));
      if (update !== undefined) next = arrivalOf(updates.next());
    } catch (error) {
      // The client connects again, and perhaps to another node.
      if (error instanceof WheelworkError && error.retryable) return;
      throw error;
    }
  }
}

/** What a caller sees of an update. */
const shownTo =
  ({ payloads }: Caller, secrets: Secrets) =>
  (update: RunUpdate): object =>
    payloads ? eventWithout(secrets, update) : updateOutline(update);

function eventOf(id: number, update: object): string {
  const { event: _event, ...data } = update as { readonly event?: number };
  return `id: ${id}\ndata: ${JSON.stringify(data)}\n\n`;
}
