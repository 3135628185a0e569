import { HttpProblem, problemDetails, type NorthboundOptions } from "@wheelwork/northbound";
import { hexOf } from "../controller/model.ts";
import { addressOfFlow } from "./rule-messages.ts";
import { textOfFlow, textOfMeter } from "./rule-text.ts";
import type { NetworkLink, SimulatedNetwork } from "./simulated-network.ts";

const shown = ({ name, isUp, cost, latencyMs, bandwidth }: NetworkLink) => ({
  link: name,
  up: isUp,
  cost,
  latencyMs,
  bandwidthKbps: bandwidth,
});

/** Routes that show what a simulated network has, and cut and mend its links: for `npm run network -- cut 2-3`. */
export function networkRoutes(network: SimulatedNetwork): NonNullable<NorthboundOptions["extra"]> {
  return (app) => {
    app.get(
      "/network/links",
      {
        config: { permission: "read" },
        schema: {
          summary: "The links of the simulated network, as they are now",
          operationId: "listSimulatedLinks",
          tags: ["network"],
        },
      },
      () => ({ links: network.links.map(shown) }),
    );
    app.post<{ Params: { link: string }; Body: { up: boolean } }>(
      "/network/links/:link",
      {
        config: { permission: "admin" },
        schema: {
          summary: "Cut a link of the simulated network, or mend it",
          operationId: "setSimulatedLink",
          tags: ["network"],
          params: {
            type: "object",
            properties: { link: { type: "string", pattern: "^[0-9]{1,5}-[0-9]{1,5}$", examples: ["2-3"] } },
            required: ["link"],
          },
          body: {
            type: "object",
            properties: { up: { type: "boolean", description: "false: it is cut." } },
            required: ["up"],
            additionalProperties: false,
          },
        },
      },
      ({ params, body }) => {
        const [one = 0, other = 0] = params.link.split("-").map(Number);
        const isThere = body.up ? network.mend(one, other) : network.cut(one, other);
        const link = network.links.find(({ between }) => between.includes(one) && between.includes(other));
        if (isThere && link !== undefined) return shown(link);
        const names = network.links.map(({ name }) => name).slice(0, 100);
        const detail = `there is no link ${params.link}: the network has ${names.join(", ") || "none"}`;
        throw new HttpProblem(problemDetails(404, "link-unknown", detail));
      },
    );
    app.get<{ Params: { number: number } }>(
      "/network/switches/:number/rules",
      {
        config: { permission: "read" },
        schema: {
          summary: "What a switch of the simulated network really has",
          operationId: "listSimulatedRules",
          tags: ["network"],
          params: {
            type: "object",
            properties: { number: { type: "integer", minimum: 1, maximum: 10_000, examples: [3] } },
            required: ["number"],
          },
        },
      },
      ({ params: { number } }) => {
        const { length } = network.switchIds;
        if (number > length) {
          const detail = `there is no switch ${number}: the network has the switches 1 to ${length}`;
          throw new HttpProblem(problemDetails(404, "switch-unknown", detail));
        }
        return {
          rules: network.flows(number).map((stats) => ({
            cookie: hexOf(stats.cookie),
            // What no rule of a flow can say has none.
            address: addressOfFlow(stats) ?? null,
            text: textOfFlow(stats),
          })),
          meters: network.meters(number).map(({ meterId }) => meterId),
          meterTexts: network.meters(number).map(textOfMeter),
        };
      },
    );
  };
}
