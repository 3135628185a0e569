import { toSvg } from "@wheelwork/diagram";
import { HttpProblem, northbound, problemDetails, type NorthboundOptions } from "@wheelwork/northbound";
import * as z from "zod";
import type { FlowCrud } from "./application.ts";
import { networkRoutes } from "./floodlight/network-routes.ts";
import type { RulesFilter } from "./floodlight/switches.ts";
import { flowRoutes } from "./rest/rest.ts";
import { FlowReply, FlowRequest, type FlowErrorCode } from "./hub.ts";

const statuses: Readonly<Record<FlowErrorCode, number>> = {
  "hub-timeout": 504,
  "worker-error": 502,
  "resource-error": 502,
  cancelled: 409,
};

/** The names in a list with commas between them, as `allowedHosts` takes them. */
export const namesIn = (list = ""): readonly string[] => list.split(",").filter((name) => name !== "");

/** Makes the REST side of the application: `POST /flow`, what the library offers, and two looks at flows and switches. */
export function serveFlowCrud(
  system: FlowCrud,
  options: Pick<
    NorthboundOptions,
    "access" | "allowedHosts" | "insecure" | "logger" | "metrics" | "tls"
  > = {},
): ReturnType<typeof northbound> {
  const { engine, hub, flows, floodlight, controller, flowStore, speaker, simulated } = system;
  const { logger } = options;
  const extra: NonNullable<NorthboundOptions["extra"]> = async (app) => {
    await flowRoutes({
      engine,
      hubs: controller.hubs,
      store: flowStore,
      ...(logger === undefined ? {} : { logger }),
    })(app);
    if (simulated !== undefined) await networkRoutes(simulated)(app);
    app.get<{ Params: { flowid: string } }>(
      "/flow/:flowid",
      {
        config: { permission: "read" },
        schema: {
          summary: "The state of a flow, and what it has",
          operationId: "getFlow",
          tags: ["flows"],
          params: { type: "object", properties: { flowid: { type: "string" } }, required: ["flowid"] },
        },
      },
      async ({ params }) => {
        const flow = await flows.get(params.flowid);
        if (flow !== undefined) return flow;
        throw new HttpProblem(problemDetails(404, "flow-unknown", `there is no flow ${params.flowid}`));
      },
    );
    app.get<{ Querystring: RulesFilter }>(
      "/switches/rules",
      {
        config: { permission: "read" },
        schema: {
          summary: "The rules that the switches should hold, of one flow or of all",
          operationId: "listRules",
          tags: ["flows"],
          querystring: {
            type: "object",
            properties: {
              flowid: { type: "string" },
              limit: { type: "integer", minimum: 1, maximum: 1000, default: 1000 },
              cursor: {
                type: "string",
                minLength: 1,
                maxLength: 200,
                description: "From the previous page.",
              },
            },
            additionalProperties: false,
          },
        },
      },
      ({ query }) => floodlight.rulesPage(query),
    );
    app.get(
      "/switches/unconfirmed",
      {
        config: { permission: "read" },
        schema: {
          summary: "Rules that were to be removed, and may still be on a switch that is away",
          description:
            "They are removed when their switch is back, whenever that is. At most 1,000 are listed, the oldest first.",
          operationId: "listUnconfirmed",
          tags: ["flows"],
        },
      },
      () => floodlight.unconfirmed(),
    );
    app.get(
      "/network/unconfirmed",
      {
        config: { permission: "read" },
        schema: {
          summary: "Rules of flows that are not as they should be yet, since their switch is away",
          description:
            "They are removed, or put back, when their switch is there again, whenever that is. At most 1,000 are listed, the oldest first.",
          operationId: "listUnconfirmedRules",
          tags: ["network"],
        },
      },
      () => speaker.unconfirmed(1_000),
    );
  };
  return northbound({
    engine,
    routes: [
      {
        method: "POST",
        path: "/flow",
        hub,
        summary: "Create a flow",
        requestSchema: z.toJSONSchema(FlowRequest, { io: "input" }),
        resultSchema: z.toJSONSchema(FlowReply),
        statusOf: ({ code }) => (Object.hasOwn(statuses, code) ? statuses[code as FlowErrorCode] : undefined),
        failures: {
          409: "The request was cancelled; what it had installed is removed.",
          502: "A worker failed; what was installed is removed.",
          504: "The time was over; what was installed is removed.",
        },
      },
    ],
    extra,
    diagram: (ofHub, history) => toSvg(ofHub, { history }),
    info: { title: "Wheelwork: flow-crud", version: "1" },
    ...options,
  });
}
