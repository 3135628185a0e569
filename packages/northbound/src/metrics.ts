import type { Engine, Metrics } from "@wheelwork/engine";
import type { FastifyInstance } from "fastify";
import { documented } from "./openapi.ts";
import { noQuery } from "./routes.ts";

/** `/metrics`: the figures of the engine, as Prometheus reads them. */
export function routeMetrics(app: FastifyInstance, engine: Engine, metrics: Pick<Metrics, "text">): void {
  app.get(
    "/metrics",
    {
      schema: {
        summary: "Get the figures of the engine for Prometheus",
        operationId: "getMetrics",
        tags: ["health"],
        querystring: noQuery,
      },
      config: documented({
        response: {
          200: {
            description: "The figures, in the text format of Prometheus.",
            content: { "text/plain": { schema: { type: "string" } } },
          },
        },
      }),
    },
    async (_request, reply) =>
      reply.type("text/plain; version=0.0.4; charset=utf-8").send(await metrics.text(engine)),
  );
}
