import { HttpProblem, problemDetails, type NorthboundOptions } from "@wheelwork/northbound";
import type { NetworkLink, SimulatedNetwork } from "./simulated-network.ts";

const shown = ({ name, isUp, cost, latencyMs, bandwidth }: NetworkLink) => ({
  link: name,
  up: isUp,
  cost,
  latencyMs,
  bandwidthKbps: bandwidth,
});

/** Routes that show the links of a simulated network, cut them and mend them: for `npm run network -- cut 2-3`. */
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
  };
}
