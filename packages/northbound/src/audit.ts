import type { AuditOptions, Engine } from "@wheelwork/engine";
import type { FastifyInstance } from "fastify";
import { documented, json, problem } from "./openapi.ts";
import { rangeOf, time } from "./filters.ts";
import { auditCursor } from "./parameters.ts";
import { unavailable } from "./routes.ts";
import { iso } from "./views.ts";

const commands = ["submit", "signal", "cancel", "retry", "resolve"] as const;

interface AuditQuery extends Omit<AuditOptions, "at"> {
  readonly from?: string;
  readonly to?: string;
}

/** `GET /audit`: who gave which command. */
export function routeAudit(app: FastifyInstance, engine: Engine): void {
  app.get<{ Querystring: AuditQuery }>(
    "/audit",
    {
      schema: {
        summary: "List the commands that somebody gave who had shown who it is, newest first",
        description:
          "With `id` and another filter, and among commands that an earlier version has kept, a page may have few commands, or none. As long as it has a cursor, there are more to look at.",
        operationId: "listAudit",
        tags: ["audit"],
        querystring: {
          type: "object",
          properties: {
            by: { type: "string", minLength: 1, maxLength: 300, description: "Who gave it." },
            command: { type: "string", enum: commands },
            hub: { type: "string", minLength: 1, maxLength: 200 },
            id: { type: "string", minLength: 1, maxLength: 4000, description: "The request." },
            from: time("Given at this time or later."),
            to: time("Given before this time."),
            limit: { type: "integer", minimum: 1, maximum: 1000, default: 50 },
            cursor: auditCursor,
          },
          additionalProperties: false,
        },
      },
      config: documented({
        response: {
          200: json("A page.", "AuditPage"),
          400: problem("The query is not valid."),
          503: unavailable,
        },
      }),
    },
    async ({ query: { from, to, ...query } }) => {
      const at = rangeOf({ from, to });
      const { items, cursor } = await engine.audit({ ...query, ...(at === undefined ? {} : { at }) });
      const given = items.map(({ at, ...command }) => ({ at: iso(at), ...command }));
      return { commands: given, ...(cursor === undefined ? {} : { cursor }) };
    },
  );
}
