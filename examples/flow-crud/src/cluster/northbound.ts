import { randomBytes } from "node:crypto";
import { kafka, kafkaSecurity } from "@wheelwork/kafka";
import Fastify, { type FastifyInstance } from "fastify";
import { replyTopic, requestTopic } from "./channel.ts";
import { ensureClusterTopics, type ClusterPlace, type Part } from "./parts.ts";

/** How long a caller waits for its answer, as in the seed, in milliseconds. */
const callerWaitMs = 10_000;

interface Waiting {
  readonly answer: (text: string) => void;
}

/**
 * The seed's Northbound: `POST /flow` becomes a message, and the message that comes back under its key is the answer, with
 * status 200 whatever it says. A caller that sends an `idempotency-key` of 32 hexadecimal digits may ask again: the
 * request is done once, and has one answer.
 */
export async function startNorthbound(
  place: ClusterPlace,
  listen: { readonly port: number; readonly host: string },
): Promise<
  Part & { readonly url: string; readonly counts: { readonly answers: number; readonly repeated: number } }
> {
  const bus = kafka({ brokers: place.brokers, clientId: "northbound", ...kafkaSecurity() });
  await ensureClusterTopics(bus, place.shards);
  const waiting = new Map<string, Set<Waiting>>();
  const seen = new Set<string>();
  const counts = { answers: 0, repeated: 0 };
  const end = bus.subscribe(replyTopic, ({ key, value, headers }) => {
    counts.answers++;
    // After a crash the same answer may come again: whoever waited has it.
    const id = headers?.["ce_id"];
    if (id !== undefined) {
      if (seen.has(id)) counts.repeated++;
      seen.add(id);
      for (const oldest of seen.size > rememberedAnswers ? seen : []) {
        seen.delete(oldest);
        break;
      }
    }
    for (const { answer } of waiting.get(key) ?? []) answer(value);
  });
  await bus.ready();
  const app: FastifyInstance = Fastify({ bodyLimit: 1_000_000 });
  // The body goes to the hub as it is: whether it is a request, the hub decides.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "string" }, (_request, body, done) => done(null, body));
  app.post("/flow", async (request, reply) => {
    const given = request.headers["idempotency-key"];
    const key = typeof given === "string" ? given : randomBytes(16).toString("hex");
    const text = await ask(key, String(request.body ?? ""));
    reply.header("request-id", key);
    if (text === undefined)
      return reply.type("application/json").send('{"error":"client operation timeout"}');
    return reply.type("text/plain; charset=utf-8").send(text);
  });
  const ask = async (key: string, body: string): Promise<string | undefined> => {
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    const mine: Waiting = { answer: resolve };
    const others = waiting.get(key) ?? new Set();
    waiting.set(key, others.add(mine));
    const timer = setTimeout(() => resolve(undefined), callerWaitMs);
    try {
      await bus.publish(requestTopic, { key, value: body });
      return await promise;
    } finally {
      clearTimeout(timer);
      others.delete(mine);
      if (others.size === 0) waiting.delete(key);
    }
  };
  const url = await app.listen(listen);
  return {
    url,
    counts,
    close: async () => {
      await app.close();
      end();
      await bus.close();
    },
  };
}

const rememberedAnswers = 100_000;
