import type { Problem } from "@wheelwork/core";
import type { CommandOptions, Engine } from "@wheelwork/engine";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { giverOf } from "./access/gate.ts";
import { hashedId, idempotencyKey } from "./headers.ts";
import { commandIdHeader, documented, json, problem } from "./openapi.ts";
import { invalid } from "./problems.ts";
import { noQuery, unavailable, unsupported } from "./routes.ts";
import { documentedTime, mustBeTime, timeOf } from "./times.ts";
import { iso, scheduleView } from "./views.ts";

interface OfSchedule {
  readonly Params: { readonly name: string };
}

const tags = ["schedules"];
const params = {
  type: "object",
  properties: { name: { type: "string", minLength: 1, maxLength: 100 } },
  required: ["name"],
} as const;

const refusals = {
  400: problem("The request is not valid. Every problem is listed."),
  404: problem("There is no such schedule."),
  503: unavailable,
};

/** What commands may be refused with. */
const commandRefusals = {
  ...refusals,
  415: unsupported,
  422: problem("Another command has had this Idempotency-Key."),
};

const headers = { type: "object", properties: commandIdHeader } as const;

/** The command id of a request with an `Idempotency-Key`: another one for each schedule and command, however the path is written. */
function commandOf(request: FastifyRequest<OfSchedule>, command: string): CommandOptions {
  const key = idempotencyKey(request);
  const giver = giverOf(request as FastifyRequest);
  if (key === undefined) return giver;
  return {
    ...giver,
    commandId: hashedId(`/schedules/${encodeURIComponent(request.params.name)}/${command}`, key.sent),
  };
}

/** `/schedules`: reads schedules, and sends them commands. */
export function routeSchedules(app: FastifyInstance, engine: Engine): void {
  app.get(
    "/schedules",
    {
      schema: {
        summary: "List the schedules that this engine has",
        operationId: "listSchedules",
        tags,
        querystring: noQuery,
      },
      config: documented({
        response: { 200: json("The schedules.", "Schedules"), 400: refusals[400], 503: unavailable },
      }),
    },
    async () => ({ schedules: (await engine.schedules()).map(scheduleView) }),
  );

  app.get<OfSchedule & { Querystring: { readonly next?: number } }>(
    "/schedules/:name",
    {
      schema: {
        summary: "Get a schedule",
        operationId: "getSchedule",
        tags,
        querystring: {
          type: "object",
          properties: {
            next: {
              type: "integer",
              minimum: 1,
              maximum: 1000,
              description: "Of so many ticks that come next, the instants are in `next`.",
            },
          },
          additionalProperties: false,
        },
        params,
      },
      config: documented({ response: { 200: json("The schedule.", "Schedule"), ...refusals } }),
    },
    async ({ params: { name }, query: { next } }) => {
      const schedule = engine.schedule(name);
      const view = scheduleView(await schedule.view());
      return next === undefined ? view : { ...view, next: (await schedule.next(next)).map(iso) };
    },
  );

  for (const [command, summary] of [
    ["pause", "Pause a schedule: it ticks no more"],
    ["resume", "Resume a schedule: what was due meanwhile is left out"],
    ["remove", "Remove a schedule: what it owes is forgotten"],
  ] as const) {
    app.post<OfSchedule>(
      `/schedules/:name/${command}`,
      {
        schema: { summary, operationId: `${command}Schedule`, tags, querystring: noQuery, params, headers },
        config: documented({ response: { 200: json("It is done.", "Schedule"), ...commandRefusals } }),
      },
      async (request) => {
        const schedule = engine.schedule(request.params.name);
        await schedule[command](commandOf(request, command));
        return scheduleView(await schedule.view());
      },
    );
  }

  app.post<OfSchedule>(
    "/schedules/:name/trigger",
    {
      schema: {
        summary: "Make a request of a schedule now",
        description: "Sent twice, it makes two requests. With the same `Idempotency-Key` it makes one.",
        operationId: "triggerSchedule",
        tags,
        querystring: noQuery,
        params,
        headers,
      },
      config: documented({
        response: { 202: json("The request is being made.", "Triggered"), ...commandRefusals },
      }),
    },
    async (request, reply) => {
      const key = await engine.schedule(request.params.name).trigger(commandOf(request, "trigger"));
      return reply.code(202).send({ key });
    },
  );

  app.post<OfSchedule>(
    "/schedules/:name/backfill",
    {
      schema: {
        summary: "Make the requests of all ticks from one time to another, both included",
        operationId: "backfillSchedule",
        tags,
        querystring: noQuery,
        params,
        headers,
      },
      config: documented({
        body: {
          type: "object",
          properties: { from: documentedTime, to: documentedTime },
          required: ["from", "to"],
          additionalProperties: false,
        },
        response: { 202: json("The requests are being made.", "Schedule"), ...commandRefusals },
      }),
    },
    async (request, reply) => {
      const schedule = engine.schedule(request.params.name);
      await schedule.backfill(rangeOf(request.body), commandOf(request, "backfill"));
      return reply.code(202).send(scheduleView(await schedule.view()));
    },
  );
}

/** The two times of a body. @throws WheelworkError WW_INVALID_REQUEST with every problem. */
function rangeOf(body: unknown): { readonly from: number; readonly to: number } {
  if (typeof body !== "object" || body === null || Array.isArray(body))
    throw invalid("the body", [{ path: "", message: "must be a JSON object" }]);
  const problems: Problem[] = [];
  const { from, to, ...unknown } = body as { readonly from?: unknown; readonly to?: unknown };
  const [first, last] = Object.entries({ from, to }).map(([path, value]) => {
    const time = timeOf(value);
    if (time === undefined) problems.push({ path, message: value === undefined ? "is missing" : mustBeTime });
    return time;
  });
  for (const path of Object.keys(unknown)) problems.push({ path, message: "is not known" });
  if (first !== undefined && last !== undefined && first > last)
    problems.push({ path: "to", message: "must not be before `from`" });
  if (problems.length > 0 || first === undefined || last === undefined) throw invalid("the body", problems);
  return { from: first, to: last };
}
