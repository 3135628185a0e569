import type { StormApp, StormConfig } from "@wheelwork/storm/parts";
import { channel, patient } from "../benches/cluster.ts";
import { flow, relayedFlow } from "../flow.ts";

/** The topology's parts, as they run on Storm. */
export default function app({ app: given }: StormConfig): StormApp {
  const { relayed } = given as { readonly relayed: boolean };
  const { hub, workers } = relayed ? relayedFlow(patient) : flow(patient);
  return { hubs: [hub], workers, channels: [channel] };
}
