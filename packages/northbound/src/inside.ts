import type { Engine, ShardSummary } from "@wheelwork/engine";
import type { FastifyInstance } from "fastify";
import { callerOf } from "./access/gate.ts";
import { documented, json, problem } from "./openapi.ts";
import { noQuery, unavailable, unsupported } from "./routes.ts";
import { letterOutline } from "./outlines.ts";
import { iso, letterView } from "./views.ts";

// What operators ask of the inside of an engine: its lanes, its shards, and what it could not process.

const limit = { type: "integer", minimum: 1, maximum: 1000, default: 50 } as const;
const notValid = problem("The request is not valid. Every problem is listed.");

/** `/lanes`: who waits for whom. */
export function routeLanes(app: FastifyInstance, engine: Engine): void {
  app.get<{ Querystring: { readonly name?: string; readonly limit: number } }>(
    "/lanes",
    {
      schema: {
        summary: "List the lanes that somebody is in, those with the longest queues first",
        operationId: "listLanes",
        tags: ["lanes"],
        querystring: {
          type: "object",
          properties: { name: { type: "string", minLength: 1, maxLength: 200 }, limit },
          additionalProperties: false,
        },
      },
      config: documented({
        response: { 200: json("The lanes.", "Lanes"), 400: notValid, 503: unavailable },
      }),
    },
    ({ query }) => engine.lanes(query),
  );
}

/** `/shards`: who works on what, and how far it has come. */
export function routeShards(app: FastifyInstance, engine: Engine): void {
  app.get(
    "/shards",
    {
      schema: {
        summary: "List the shards: owner, position, lag",
        operationId: "listShards",
        tags: ["shards"],
        querystring: noQuery,
      },
      config: documented({
        response: { 200: json("The shards.", "Shards"), 400: notValid, 503: unavailable },
      }),
    },
    async () => ({ shards: (await engine.allShards()).map(shardView) }),
  );
}

const shardView = ({ lastCommitAt, problem: reason, ...shard }: ShardSummary): object => ({
  ...shard,
  ...(lastCommitAt === undefined ? {} : { lastCommitAt: iso(lastCommitAt) }),
  // Lines below the first one are for whoever can act on the server itself.
  ...(reason === undefined ? {} : { problem: reason.split("\n", 1).join("") }),
});

const topicQuery = {
  topic: {
    type: "string",
    minLength: 1,
    maxLength: 249,
    description: "The topic that the records came from. Default: the inbox.",
  },
} as const;

const noTopics = problem("An embedded engine reads no topics.");

/** `/dead-letters`: records that could not be processed. */
export function routeDeadLetters(app: FastifyInstance, engine: Engine): void {
  const tags = ["dead letters"];
  app.get<{ Querystring: { readonly topic?: string; readonly limit: number } }>(
    "/dead-letters",
    {
      schema: {
        summary: "List the newest records that could not be processed, oldest first",
        operationId: "listDeadLetters",
        tags,
        querystring: {
          type: "object",
          properties: { ...topicQuery, limit },
          additionalProperties: false,
        },
      },
      config: documented({
        response: {
          200: json("The dead letters.", "DeadLetters"),
          400: notValid,
          404: problem("There is no such topic."),
          501: noTopics,
          503: unavailable,
        },
      }),
    },
    async (asked) => {
      const { letters, ...page } = await engine.deadLetters(asked.query);
      return { ...page, letters: letters.map(callerOf(asked).payloads ? letterView : letterOutline) };
    },
  );

  app.post<{ Params: { readonly place: string }; Querystring: { readonly topic?: string } }>(
    "/dead-letters/:place/replay",
    {
      schema: {
        summary: "Send a dead letter back to the topic that it came from",
        description: "It stays among the dead letters. Sent twice, it is there twice: requests have keys.",
        operationId: "replayDeadLetter",
        tags,
        querystring: { type: "object", properties: topicQuery, additionalProperties: false },
        params: {
          type: "object",
          properties: {
            place: { type: "string", pattern: "^\\d{1,9}:\\d{1,15}$", description: "Partition and offset." },
          },
          required: ["place"],
        },
      },
      config: documented({
        response: {
          202: json("It is sent.", "Replayed"),
          400: notValid,
          404: problem("There is no such topic, or no dead letter at this place."),
          415: unsupported,
          501: noTopics,
          503: unavailable,
        },
      }),
    },
    async ({ params: { place }, query: { topic } }, reply) => {
      await engine.replayDeadLetter(place, topic === undefined ? {} : { topic });
      return reply.code(202).send({ place });
    },
  );
}
