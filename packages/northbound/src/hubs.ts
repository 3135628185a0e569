import { chartOf, toText, type AnyHub } from "@wheelwork/core";
import type { FastifyInstance } from "fastify";
import { documented, json, problem } from "./openapi.ts";
import { HttpProblem, problemDetails } from "./problems.ts";
import { idParams, noQuery, refusals, type OfRequest, type Surroundings } from "./routes.ts";

interface OfHub {
  readonly Params: { readonly name: string };
}

const tags = ["hubs of the engine"];
const params = {
  type: "object",
  properties: { name: { type: "string", minLength: 1, maxLength: 200 } },
  required: ["name"],
} as const;

const noHub = problem("The engine serves no such hub.");
const notValid = problem("The query is not valid.");
const boxes = {
  200: {
    description: "The chart as boxes of text, for a terminal.",
    content: { "text/plain": { schema: { type: "string" } } },
  },
};
const plainText = "text/plain; charset=utf-8";

/** `/hubs`: the hubs of the engine, and their charts. */
export function routeHubs(app: FastifyInstance, { engine, routes }: Surroundings): void {
  app.get(
    "/hubs",
    {
      schema: {
        summary: "List the hubs that the engine serves",
        operationId: "listHubs",
        tags,
        querystring: noQuery,
      },
      config: documented({ response: { 200: json("The hubs.", "Hubs"), 400: notValid } }),
    },
    () => ({
      hubs: Array.from(engine.hubs.values(), ({ name, definition: { version, answerBy } }) => {
        const { path, summary } = routes.get(name) ?? {};
        return {
          name,
          version,
          answerBy,
          ...(path === undefined ? {} : { path }),
          ...(summary === undefined ? {} : { summary }),
        };
      }),
    }),
  );

  const found = (name: string): AnyHub => {
    const hub = engine.hubs.get(name);
    if (hub !== undefined) return hub;
    throw new HttpProblem(
      problemDetails(404, "WW_HUB_UNKNOWN", `this engine serves no hub ${name}`, {
        next: `It serves: ${[...engine.hubs.keys()].join(", ")}.`,
      }),
    );
  };

  app.get<OfHub>(
    "/hubs/:name",
    {
      schema: {
        summary: "Get the chart of a hub",
        operationId: "getHub",
        tags,
        querystring: noQuery,
        params,
      },
      config: documented({ response: { 200: json("The chart.", "Chart"), 400: notValid, 404: noHub } }),
    },
    ({ params: { name } }) => chartOf(found(name)),
  );

  app.get<OfHub>(
    "/hubs/:name/diagram.txt",
    {
      schema: {
        summary: "Get the chart of a hub as boxes of text",
        operationId: "getHubDiagram",
        tags,
        querystring: noQuery,
        params,
      },
      config: documented({ response: { ...boxes, 400: notValid, 404: noHub } }),
    },
    ({ params: { name } }, reply) => reply.type(plainText).send(toText(found(name))),
  );

  app.get<OfRequest>(
    "/requests/:id/diagram.txt",
    {
      schema: {
        summary: "Get the chart of the hub with the path of the request as boxes of text",
        operationId: "getTextDiagram",
        tags: ["requests"],
        querystring: noQuery,
        params: idParams,
      },
      config: documented({ response: { ...boxes, ...refusals } }),
    },
    async ({ params: { id } }, reply) => {
      const { hub } = await engine.request(id);
      return reply.type(plainText).send(toText(found(hub), { history: await engine.history(id) }));
    },
  );
}
