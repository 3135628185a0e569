import type { Engine } from "@wheelwork/engine";
import type { FastifyInstance } from "fastify";
import { documented, json, problem } from "./openapi.ts";
import { unavailable } from "./routes.ts";
import { iso } from "./views.ts";

/** `GET /audit`: who gave which command. */
export function routeAudit(app: FastifyInstance, engine: Engine): void {
  app.get<{ Querystring: { readonly limit: number; readonly cursor?: string } }>(
    "/audit",
    {
      schema: {
        summary: "List the commands that somebody gave who had shown who it is, newest first",
        operationId: "listAudit",
        tags: ["audit"],
        querystring: {
          type: "object",
          properties: {
            limit: { type: "integer", minimum: 1, maximum: 1000, default: 50 },
            cursor: { type: "string", minLength: 1, maxLength: 4000, description: "From the previous page." },
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
    async ({ query }) => {
      const { items, cursor } = await engine.audit(query);
      const commands = items.map(({ at, ...command }) => ({ at: iso(at), ...command }));
      return { commands, ...(cursor === undefined ? {} : { cursor }) };
    },
  );
}
