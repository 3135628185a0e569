import type { Engine, IncidentGroup } from "@wheelwork/engine";
import type { FastifyInstance } from "fastify";
import { callerOf } from "./access/gate.ts";
import { listValues, several } from "./filters.ts";
import { documented, json, problem } from "./openapi.ts";
import { unavailable } from "./routes.ts";

interface IncidentQuery {
  readonly hub?: readonly string[];
  readonly state?: readonly string[];
  readonly code?: readonly string[];
}

/** `GET /incidents`: parked requests in groups of one kind. */
export function routeIncidents(app: FastifyInstance, engine: Engine): void {
  app.get<{ Querystring: IncidentQuery }>(
    "/incidents",
    {
      schema: {
        summary: "Count incidents exactly, by hub, state, code and message",
        operationId: "countIncidents",
        tags: ["requests"],
        querystring: {
          type: "object",
          properties: {
            hub: several("The hub."),
            state: several("The state."),
            code: several("The code of the error that has parked the run."),
          },
          additionalProperties: false,
        },
      },
      preValidation: listValues,
      config: documented({
        response: {
          200: json("The groups, the largest first.", "Incidents"),
          400: problem("The query is not valid. Every problem is listed."),
          503: unavailable,
        },
      }),
    },
    async (asked) => {
      const groups = await engine.incidents(asked.query);
      return { incidents: callerOf(asked).payloads ? groups : withoutMessages(groups) };
    },
  );
}

/** A message may repeat what is in a payload. */
function withoutMessages(groups: readonly IncidentGroup[]): object[] {
  const known = new Map<string, { count: number }>();
  for (const { message: _, count, ...of } of groups) {
    const name = JSON.stringify([of.hub, of.state, of.code]);
    const group = known.get(name);
    if (group === undefined) known.set(name, { ...of, count });
    else group.count += count;
  }
  return [...known.values()].toSorted((a, b) => b.count - a.count);
}
