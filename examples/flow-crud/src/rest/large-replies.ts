import { afterArrivals } from "@wheelwork/northbound";
import type { FastifyInstance } from "fastify";
import type { ServerResponse } from "node:http";
import { FlowProblem } from "./errors.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Its reply grows with the network, or with how many flows there are. */
    readonly isLarge?: boolean;
  }
}

/** So many requests for large replies wait at most. */
const maxWaiting = 50;
/** So much of a list is made into text in one turn of the event loop. */
const itemsPerTurn = 200;

/**
 * Makes the large replies of an instance one after the other, each in turns of the event loop of its own. Made at once, a few hundred of
 * them would need the memory of all, and nobody else would be answered for minutes. Beyond a bound, requests for them are refused with 503.
 */
export function makeLargeRepliesInTurn(app: FastifyInstance): void {
  let making: ServerResponse | undefined;
  const waiting = new Map<ServerResponse, () => void>();
  const leave = (raw: ServerResponse): void => {
    waiting.delete(raw);
    if (making !== raw) return;
    making = undefined;
    for (const [next, begin] of waiting) {
      waiting.delete(next);
      making = next;
      return begin();
    }
  };
  app.addHook("preHandler", async ({ routeOptions }, reply) => {
    if (routeOptions.config.isLarge !== true) return undefined;
    const { raw } = reply;
    if (waiting.size >= maxWaiting)
      throw new FlowProblem(
        503,
        "So many lists are asked for that this one would take long. Ask again later.",
        {
          headers: { "retry-after": "1" },
        },
      );
    raw.once("close", () => leave(raw));
    if (making === undefined) making = raw;
    else await new Promise<void>((begin) => void waiting.set(raw, begin));
    await afterArrivals();
    // Its client has left meanwhile: nobody wants the reply.
    return raw.destroyed ? reply.hijack() : undefined;
  });
  app.addHook("onSend", async (_request, { raw }) => leave(raw));
}

/** The JSON text of a list. */
export async function jsonOfList<T>(items: readonly T[], shown: (item: T) => object): Promise<string> {
  const parts: string[] = [];
  for (let from = 0; from < items.length; from += itemsPerTurn) {
    if (from > 0) await afterArrivals();
    for (const item of items.slice(from, from + itemsPerTurn)) parts.push(JSON.stringify(shown(item)));
  }
  return `[${parts.join(",")}]`;
}
