import type { Segment } from "./model.ts";

/** A switch of the graph. */
export interface Node {
  readonly id: string;
  /** Its place among the switches of its graph: what a search keeps of a switch is in arrays. */
  readonly index: number;
  isConnected: boolean;
  /** The links that begin here, also those that have failed, in the order of their ports. */
  readonly arcs: Arc[];
}

/** One direction of a link. */
export interface Arc {
  readonly link: Link;
  readonly from: Node;
  readonly fromPort: number;
  readonly to: Node;
  readonly toPort: number;
}

/** A link, which is the same in both directions. */
export interface Link {
  /** Names both of its ends. */
  readonly key: string;
  /** From its first end, in the order of their names, to the other one; and back. */
  readonly arcs: readonly [Arc, Arc];
  isUp: boolean;
  cost: number;
  latencyMs: number;
  /** An operator has said it: what is measured does not change it. */
  isLatencySet: boolean;
  /** Kilobits per second that flows may have of it in each direction. */
  bandwidth: number;
  /** Kilobits per second that they have. */
  used: number;
  /** What each flow has of it, by the ids of flows. A flow without bandwidth has 0. */
  readonly shares: Map<string, number>;
}

/** The properties of a link that the graph is told. */
export type LinkProperties = Pick<Link, "isUp" | "cost" | "latencyMs" | "isLatencySet" | "bandwidth">;

/** The segment of an arc. */
export const segmentOf = ({ from, fromPort, to, toPort }: Arc): Segment => ({
  from: from.id,
  fromPort,
  to: to.id,
  toPort,
});

/** What a flow may have of a link, in kilobits per second: what is free, and what it has of it already. */
export const freeFor = ({ bandwidth, used, shares }: Link, flowId: string | undefined): number =>
  bandwidth - used + (flowId === undefined ? 0 : (shares.get(flowId) ?? 0));

/** The name of a link, the same for both of its directions. */
export function linkKeyOf({ from, fromPort, to, toPort }: Segment): string {
  const [one, other] = [`${from}-${fromPort}`, `${to}-${toPort}`];
  return from < to || (from === to && fromPort < toPort) ? `${one} ${other}` : `${other} ${one}`;
}

/** Switches and links in memory. */
export class Graph {
  readonly nodes: Node[] = [];
  readonly links = new Map<string, Link>();
  readonly #byId = new Map<string, Node>();
  /** How many links know a port, by its switch and its number. */
  readonly #ports = new Set<string>();

  node(switchId: string): Node | undefined {
    return this.#byId.get(switchId);
  }

  /** Adds a switch, or says whether it is connected now. */
  putSwitch(switchId: string, isConnected: boolean): Node {
    const known = this.#byId.get(switchId);
    if (known !== undefined) {
      known.isConnected = isConnected;
      return known;
    }
    const node: Node = { id: switchId, index: this.nodes.length, isConnected, arcs: [] };
    this.nodes.push(node);
    this.#byId.set(switchId, node);
    return node;
  }

  /** Adds a link, or changes it. Its switches must be there. */
  putLink(segment: Segment, properties: LinkProperties): Link {
    const key = linkKeyOf(segment);
    const known = this.links.get(key);
    if (known !== undefined) return Object.assign(known, properties);
    const [from, to] = [this.#byId.get(segment.from), this.#byId.get(segment.to)];
    if (from === undefined || to === undefined) throw new Error(`${key}: a switch of the link is not known`);
    const link = { key, ...properties, used: 0, shares: new Map() } as unknown as Link;
    const there: Arc = { link, from, fromPort: segment.fromPort, to, toPort: segment.toPort };
    const back: Arc = { link, from: to, fromPort: segment.toPort, to: from, toPort: segment.fromPort };
    const isInOrder = key.startsWith(`${from.id}-${segment.fromPort} `);
    Object.assign(link, { arcs: isInOrder ? [there, back] : [back, there] });
    for (const arc of [there, back]) {
      arc.from.arcs.push(arc);
      // oxlint-disable-next-line unicorn/no-array-sort -- in place: the list is the switch's own
      arc.from.arcs.sort(
        (one, other) => one.fromPort - other.fromPort || (one.link.key < other.link.key ? -1 : 1),
      );
    }
    this.links.set(key, link);
    for (const { from: end, fromPort } of link.arcs) this.#ports.add(`${end.id}-${fromPort}`);
    return link;
  }

  link(segment: Segment): Link | undefined {
    return this.links.get(linkKeyOf(segment));
  }

  /** The arc of a segment. */
  arc(segment: Segment): Arc | undefined {
    return this.link(segment)?.arcs.find(
      ({ from, fromPort }) => from.id === segment.from && fromPort === segment.fromPort,
    );
  }

  /** Whether a link, also one that has failed, ends on a port. */
  isPortOfLink(switchId: string, port: number): boolean {
    return this.#ports.has(`${switchId}-${port}`);
  }
}
