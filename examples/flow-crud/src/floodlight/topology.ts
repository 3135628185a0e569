import { linksOf, type Shape } from "@wheelwork/services";
import { portTo } from "../network.ts";

/** A link of a simulated network, between two switches by their numbers. */
interface LinkSpec {
  readonly between: readonly [number, number];
  /** What a path pays for it. Default 700. */
  readonly cost?: number;
  /** Default 1. */
  readonly latencyMs?: number;
  /** Kilobits per second, in each direction. Default 10,000,000. */
  readonly bandwidth?: number;
}

/** What a simulated network is made of: a shape of so many switches, or a list of links. */
export type Topology =
  | { readonly shape: Shape; readonly switches: number }
  | { readonly switches: number; readonly links: readonly LinkSpec[] };

/** A link with all that is known of it. Port 100 + j of switch i leads to switch j. */
export type TopologyLink = Required<LinkSpec> & { readonly ports: readonly [number, number] };

/** The links of a topology. @throws RangeError with all that is wrong with it */
export function linksIn(topology: Topology): TopologyLink[] {
  const { switches } = topology;
  const given =
    "links" in topology
      ? topology.links
      : linksOf(topology.shape, switches).map((between) => ({ between: [between[0], between[1]] as const }));
  const problems: string[] = [];
  if (!(Number.isInteger(switches) && switches >= 1 && switches <= 10_000))
    problems.push(`there must be 1 to 10,000 switches, not ${switches}`);
  const seen = new Set<string>();
  const links = given.map((link: LinkSpec): TopologyLink => {
    const [one, other] = link.between;
    const name = linkName(one, other);
    const isSwitch = (number: number): boolean =>
      Number.isInteger(number) && number >= 1 && number <= switches;
    if (!isSwitch(one) || !isSwitch(other) || one === other)
      problems.push(`the link ${one}-${other} is not between two of the switches`);
    if (seen.has(name)) problems.push(`the link ${name} is there twice`);
    seen.add(name);
    const { cost = 700, latencyMs = 1, bandwidth = 10_000_000 } = link;
    for (const [what, value] of Object.entries({ cost, latencyMs, bandwidth }))
      if (!(Number.isFinite(value) && value >= 0))
        problems.push(`the ${what} of the link ${name} is ${value}`);
    return { between: [one, other], cost, latencyMs, bandwidth, ports: [portTo(other), portTo(one)] };
  });
  if (problems.length > 0) throw new RangeError(`a network cannot be so: ${problems.join("; ")}`);
  return links;
}

/** The name of a link: `2-3`, the lower number first. */
export const linkName = (one: number, other: number): string =>
  `${Math.min(one, other)}-${Math.max(one, other)}`;
