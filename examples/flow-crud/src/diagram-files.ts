import { dotToSvg, toSvg } from "@wheelwork/diagram";
import { toDot, toMermaid } from "wheelwork";
import { createController } from "./controller/controller.ts";
import { flowCreateHub } from "./hub.ts";
import { flowTopology } from "./storm/deploy.ts";

/** The diagrams of the hubs and of their topology as the files of docs/: a test fails when those are stale. */
export async function hubDiagrams(): Promise<Readonly<Record<string, string>>> {
  const hub = flowCreateHub();
  const operation = createController().hubs.update;
  const topology = flowTopology({
    name: "flow-crud",
    brokers: "localhost:9092",
    databaseUrl: "postgres://localhost",
    shards: 8,
  });
  return {
    "flow-create.svg": await toSvg(hub),
    "flow-create.dot": toDot(hub),
    "flow-create.mmd": toMermaid(hub),
    // All operations on flows have this chart.
    "flow-operation.svg": await toSvg(operation),
    "flow-crud-storm.svg": await dotToSvg(topology.dot(), {
      title: "The topology of flow-crud on Apache Storm",
      description: topology.edges
        .map(({ from, to, stream }) => `${from} to ${to}${stream === "default" ? "" : ` (${stream})`}`)
        .join("; "),
    }),
  };
}
