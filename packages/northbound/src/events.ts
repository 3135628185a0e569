import { WheelworkError } from "@wheelwork/core";
import {
  eventTypes,
  labelsOfTexts,
  type Engine,
  type EventFilter,
  type EventsPage,
  type EventType,
  type ToldEvent,
} from "@wheelwork/engine";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { callerOf, mayRead } from "./access/gate.ts";
import { arrivalOf, EventStream } from "./event-stream.ts";
import { labelParameter, listValues, several } from "./filters.ts";
import { documented, problem } from "./openapi.ts";
import { eventOutline } from "./outlines.ts";
import { problemDetails, problemOf, type ProblemDetails } from "./problems.ts";
import { unavailable } from "./routes.ts";
import { eventWithout, hasSecrets, secretsIn } from "./secrets.ts";
import { eventView } from "./views.ts";
import type { Waits } from "./waits.ts";

/** So often is a client told that the stream goes on, and where it is, while nothing else is; in milliseconds. */
const silentMs = 15_000;
/** So often is looked whether the client may still read while nothing happens, in milliseconds. */
const idleCheckMs = 2500;
/** How long a client may leave unread what was sent, in milliseconds. */
const unreadMs = 30_000;
/** Events are sent together, up to so many characters or one event. */
const maxText = 16 * 1024;

interface EventsQuery extends Pick<EventFilter, "hub" | "state" | "request"> {
  readonly type?: readonly EventType[];
  readonly label?: readonly string[];
  readonly after?: string;
}

/** `GET /events`: tells what happens to all runs, as server-sent events. */
export function routeEvents(app: FastifyInstance, engine: Engine, waits: Waits): void {
  app.get<{ Querystring: EventsQuery }>(
    "/events",
    {
      preValidation: listValues,
      schema: {
        summary: "Read what happens to all requests, live, as server-sent events",
        description:
          "Each committed event once, from now on or after a position. The `id` is the position, and the `data` is JSON with the id of the run, its hub, its labels and the event. The stream has no end. If it ends with an event `problem`, its `data` says why.",
        operationId: "readEvents",
        tags: ["requests"],
        querystring: {
          type: "object",
          properties: {
            hub: several("Of runs of this hub."),
            state: several("By which a run enters this state."),
            type: several("Of this type.", { type: "string", enum: eventTypes }),
            label: labelParameter,
            request: several("Of this request, and of the runs that it has begun under its key."),
            after: {
              type: "string",
              pattern: positionPattern,
              description: "As `Last-Event-ID`, for those who cannot send it.",
            },
          },
          additionalProperties: false,
        },
        headers: {
          type: "object",
          properties: {
            "Last-Event-ID": {
              type: "string",
              pattern: positionPattern,
              description: "The last `id` that was seen: the stream goes on after it.",
            },
          },
        },
      },
      config: documented({
        response: {
          200: {
            description: "The events.",
            content: { "text/event-stream": { schema: { type: "string" } } },
          },
          400: problem("The query is not valid."),
          410: problem("What follows the position is not kept any more. Begin anew without one."),
          503: unavailable,
        },
      }),
    },
    async (request, reply) => {
      const { query, headers } = request;
      const { label, after: asked, ...filter } = query;
      const after = (headers["last-event-id"] as string | undefined) ?? asked;
      const leave = new AbortController();
      const forget = waits.onClose(() => leave.abort());
      reply.raw.once("close", () => {
        forget();
        leave.abort();
      });
      const told = engine.events({
        ...filter,
        ...(label === undefined ? {} : { labels: labelsOfTexts(label) }),
        ...(after === undefined ? {} : { after }),
        signal: leave.signal,
      });
      const pages = told[Symbol.asyncIterator]();
      // What is wrong is refused before the stream begins.
      const first = await pages.next();
      const texts = textsOf(pages, first, shownTo(request, engine), mayRead(request));
      const options = { unreadMs, tooSlow: problemText(tooSlow), onStuck: () => reply.raw.destroy() };
      // A server that closes does not wait for the connection of a stream that has ended.
      reply.headers({ "cache-control": "no-store", "x-accel-buffering": "no", connection: "close" });
      return reply.type("text/event-stream").send(new EventStream(texts, options));
    },
  );
}

const positionPattern = "^[0-9a-z.-]{1,8192}$";

const tooSlow = problemDetails(408, "WW_TOO_SLOW", "you have not read what was sent for 30 seconds", {
  next: "Connect again with the last id: nothing is missed. Read faster, or ask for less with a filter.",
});

const problemText = (details: ProblemDetails): string =>
  `event: problem\ndata: ${JSON.stringify(details)}\n\n`;

/** Pages as server-sent events. While there are none, it says how far it has looked. */
async function* textsOf(
  pages: AsyncIterator<EventsPage>,
  first: IteratorResult<EventsPage>,
  shown: (event: ToldEvent) => Promise<object>,
  isAllowed: () => Promise<boolean>,
): AsyncGenerator<string> {
  let next = arrivalOf(Promise.resolve(first));
  let position = "";
  let silentSince = Number.NEGATIVE_INFINITY;
  for (;;) {
    try {
      const page = await next(idleCheckMs);
      if (page?.done === true || !(await isAllowed())) return;
      if (page !== undefined) {
        const { value } = page;
        let text = "";
        for (const event of value.events) {
          text += `id: ${event.position}\ndata: ${JSON.stringify(await shown(event))}\n\n`;
          if (text.length < maxText) continue;
          yield text;
          text = "";
        }
        if (text !== "") yield text;
        if (value.events.length > 0) silentSince = performance.now();
        ({ position } = value);
        next = arrivalOf(pages.next());
      }
      if (performance.now() - silentSince < silentMs) continue;
      silentSince = performance.now();
      // Without data it is no event, and the client comes again with it all the same.
      yield `id: ${position}\n\n`;
    } catch (error) {
      // The client connects again, and perhaps to another node.
      if (!(error instanceof WheelworkError && error.retryable)) yield problemText(problemOf(error).details);
      return;
    }
  }
}

/** What a caller sees of an event. */
function shownTo(request: FastifyRequest, engine: Engine): (event: ToldEvent) => Promise<object> {
  const { payloads } = callerOf(request);
  return async ({ id, hub, labels, event }) => {
    const of = { id, hub, ...(labels === undefined ? {} : { labels }) };
    if (!payloads) return { ...of, event: eventOutline(event) };
    if (!hasSecrets(engine, hub)) return { ...of, event: eventView(event) };
    try {
      const secrets = secretsIn(engine, await engine.request(id));
      return { ...of, event: eventWithout(secrets, eventView(event)) };
    } catch {
      // Nobody knows what to hide.
      return { ...of, event: eventOutline(event) };
    }
  };
}
