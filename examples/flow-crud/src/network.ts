import { Network } from "@wheelwork/services";

// The network of the example: a ring of switches, and one rule of a flow on each hop of its path. A message to the
// controller names no switch, so where a rule lives follows from its number; the path is computed in agreement.

/** How many switches the ring has, unless said otherwise. */
export const defaultSwitches = 8;

/** The number of the switch that holds a rule, from 1. */
export const numberOfSwitch = (ruleid: number, switches: number): number => (ruleid % switches) + 1;

/** The name of the switch that holds a rule. */
export const switchOf = (ruleid: number, switches: number): string =>
  `sw-${numberOfSwitch(ruleid, switches)}`;

/** The port of a switch that leads to another one. */
export const portTo = (neighbour: number): number => 100 + neighbour;

/** The switches that a flow of `length` hops crosses, in order; a longer flow goes around the ring again. */
export function pathOf(length: number, switches: number): string[] {
  return Array.from({ length: Math.min(length, switches) }, (_, hop) => switchOf(hop, switches));
}

/** Where switches connect that are not those of `npm run network`, unless said otherwise. */
const defaultPort = 6653;

/** The switches of a real network: how many there are, and where they connect. */
export interface RealNetwork {
  readonly switches: number;
  readonly listen: { readonly host: string; readonly port: number } | { readonly path: string };
}

/**
 * What the options `--openflow` and `--switches` say. Without them, the network that `npm run network` has made, if it is up.
 * @throws RangeError with what is wrong with them.
 */
export function networkOf(openflow?: string, switches?: string, lab = new Network()): RealNetwork {
  const isLab = openflow === undefined && lab.isUp;
  const count = Number(switches ?? (isLab ? lab.made().switches : defaultSwitches));
  if (!Number.isInteger(count) || count < 1 || count > 1000)
    throw new RangeError(`--switches must be an integer from 1 to 1000, not ${JSON.stringify(switches)}`);
  if (isLab) return { switches: count, listen: { path: lab.controllerPath } };
  if (openflow === undefined) return { switches: count, listen: { host: "127.0.0.1", port: defaultPort } };
  if (openflow.includes("/")) return { switches: count, listen: { path: openflow } };
  const [, host = "", port = ""] = /^\[?([^\]]+)\]?:(\d{1,5})$/.exec(openflow) ?? [];
  if (host !== "" && Number(port) <= 65_535) return { switches: count, listen: { host, port: Number(port) } };
  throw new RangeError(`--openflow must be HOST:PORT or a socket file, not ${JSON.stringify(openflow)}`);
}
