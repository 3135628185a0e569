import { Waits } from "@wheelwork/northbound";
import type { FastifyInstance } from "fastify";
import { answerAsOpenKilda } from "./errors.ts";
import { makeLargeRepliesInTurn } from "./large-replies.ts";
import { FlowReader } from "./flow-reader.ts";
import { routeFlows } from "./flow-routes.ts";
import { routeNetwork } from "./network-routes.ts";
import { Operations, type ControllerParts } from "./operations.ts";

export type { ControllerParts } from "./operations.ts";

/**
 * The HTTP side of a controller: /v2 and /v1 of flows, /v1 of switches and links, in the forms of OpenKilda, and pictures of the network.
 * It is the option `extra` of `northbound`.
 */
export function flowRoutes(parts: ControllerParts): (app: FastifyInstance) => Promise<void> {
  return async (app) => {
    const waits = new Waits();
    // Clients that wait are told where to ask, as soon as the server closes.
    app.addHook("preClose", async () => waits.close());
    await app.register(async (inner) => {
      answerAsOpenKilda(inner, parts.logger);
      makeLargeRepliesInTurn(inner);
      const reader = new FlowReader(parts);
      routeFlows(inner, { parts, reader, operations: new Operations(parts, waits) });
      routeNetwork(inner, parts, reader);
    });
  };
}
