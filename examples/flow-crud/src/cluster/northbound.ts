import { randomBytes } from "node:crypto";
import { kafka, kafkaSecurity } from "@wheelwork/kafka";
import { protect, type ProtectOptions } from "@wheelwork/northbound";
import Fastify, { type FastifyInstance } from "fastify";
import { ensureFlowTopics, type KafkaPlace, type Part } from "./parts.ts";

/** How long a caller waits for its answer, as in the original proof of concept, in milliseconds. */
const callerWaitMs = 10_000;
/** How long a caller waits for what the switches hold, in milliseconds. */
const rulesWaitMs = 2_000;

interface Waiting {
  /** Takes the answer; undefined: none comes in time. */
  readonly answer: (text: string | undefined) => void;
}

/**
 * Northbound, as in the original proof of concept: `POST /flow` becomes a message, and the message that comes back under its
 * key is the answer. The status is always 200. A caller that sends an `idempotency-key` of 32 hexadecimal digits may ask
 * again: the request is done once, and has one answer. `GET /switches/rules` asks Floodlight over Kafka.
 */
export async function startNorthbound(
  place: KafkaPlace,
  { port, host, ...guarded }: { readonly port: number; readonly host: string } & ProtectOptions,
): Promise<
  Part & { readonly url: string; readonly counts: { readonly answers: number; readonly repeated: number } }
> {
  const bus = kafka({ brokers: place.brokers, clientId: "northbound", ...kafkaSecurity() });
  const { topics } = place;
  await ensureFlowTopics(bus, topics);
  const waiting = new Map<string, Set<Waiting>>();
  const seen = new Set<string>();
  const counts = { answers: 0, repeated: 0 };
  const tell = (key: string, value: string): void => {
    for (const { answer } of waiting.get(key) ?? []) answer(value);
  };
  const endRules = bus.subscribe(topics.rules, ({ key, value }) => tell(key, value));
  const endReplies = bus.subscribe(topics.answers, ({ key, value, headers }) => {
    counts.answers++;
    // After a crash the same answer may come again. The caller has it already.
    const id = headers?.["ce_id"];
    if (id !== undefined) {
      if (seen.has(id)) counts.repeated++;
      seen.add(id);
      for (const oldest of seen.size > rememberedAnswers ? seen : []) {
        seen.delete(oldest);
        break;
      }
    }
    tell(key, value);
  });
  await bus.ready();
  const app: FastifyInstance = Fastify({ bodyLimit: 1_000_000, forceCloseConnections: "idle" });
  let isClosing = false;
  protect(app, guarded);
  // A connection whose request ends while the server closes would be kept for its next one, and nothing would end.
  app.addHook("onSend", async (_request, reply) => {
    if (isClosing) reply.header("connection", "close");
  });
  // The body goes to the hub as it is. The hub decides whether it is a request.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "string" }, (_request, body, done) => done(null, body));
  app.post("/flow", { config: { permission: { submitTo: "flow-create" } } }, async (request, reply) => {
    const given = request.headers["idempotency-key"];
    const key = typeof given === "string" ? given : newKey();
    const text = await ask(topics.requests, key, String(request.body ?? ""), callerWaitMs);
    reply.header("request-id", key);
    if (text === undefined && isClosing) {
      const error = `Northbound stops. Send the request again with the header Idempotency-Key: ${key}`;
      return reply
        .code(503)
        .header("retry-after", "1")
        .type("application/json")
        .send(JSON.stringify({ error }));
    }
    if (text === undefined)
      return reply.type("application/json").send('{"error":"client operation timeout"}');
    return reply.type("text/plain; charset=utf-8").send(text);
  });
  app.get<{ Querystring: { flowid?: string } }>(
    "/switches/rules",
    {
      config: { permission: "read" },
      schema: { querystring: { type: "object", properties: { flowid: { type: "string" } } } },
    },
    async ({ query: { flowid = "" } }, reply) => {
      const rules = await ask(topics.rulesQuestions, newKey(), flowid, rulesWaitMs);
      reply.type("application/json");
      if (rules !== undefined) return reply.send(rules);
      const error =
        "Floodlight has not answered. It is away, or it is the one of the original proof of concept, which does not know this question";
      return reply.code(504).send(JSON.stringify({ error }));
    },
  );
  const ask = async (
    topic: string,
    key: string,
    value: string,
    waitMs: number,
  ): Promise<string | undefined> => {
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    const mine: Waiting = { answer: resolve };
    const others = waiting.get(key) ?? new Set();
    waiting.set(key, others.add(mine));
    if (isClosing) resolve(undefined);
    const timer = setTimeout(() => resolve(undefined), waitMs);
    try {
      await bus.publish(topic, { key, value });
      return await promise;
    } finally {
      clearTimeout(timer);
      others.delete(mine);
      if (others.size === 0) waiting.delete(key);
    }
  };
  const url = await app.listen({ port, host });
  return {
    url,
    counts,
    close: async () => {
      isClosing = true;
      // The nodes may stop, too: their answers come when they are back, and are kept until then.
      for (const all of waiting.values()) for (const { answer } of all) answer(undefined);
      await app.close();
      endRules();
      endReplies();
      await bus.close();
    },
  };
}

const newKey = (): string => randomBytes(16).toString("hex");

const rememberedAnswers = 100_000;
