import * as z from "zod";

/** The datapath id of a switch as OpenKilda writes it: `00:00:00:00:00:00:00:03`. */
export const SwitchId = z.string().regex(/^(?:[0-9a-f]{2}:){7}[0-9a-f]{2}$/);

/** 64 bits as 16 hexadecimal digits: how cookies are written. */
export const hexOf = (bits: bigint): string => bits.toString(16).padStart(16, "0");

/** The name of a switch with a datapath id. */
export function switchIdOf(datapathId: bigint): string {
  return hexOf(datapathId).replaceAll(/(..)(?!$)/g, "$1:");
}

/** The datapath id in the name of a switch. */
export function datapathIdOf(switchId: string): bigint {
  return BigInt(`0x${switchId.replaceAll(":", "")}`);
}

/** Ports of switches; those above are reserved by OpenFlow. */
const Port = z.int().min(1).max(0xffff_ff00);

/** Where a flow enters and leaves the network: a port, and the VLAN of its packets. VLAN 0: all packets of the port. */
export const Endpoint = z.strictObject({
  switchId: SwitchId,
  port: Port,
  vlan: z.int().min(0).max(4095),
});
export type Endpoint = z.output<typeof Endpoint>;

/** How a path is chosen among those that fit. */
export const Strategy = z.enum(["cost", "latency", "max_latency", "cost_and_available_bandwidth"]);
export type Strategy = z.output<typeof Strategy>;

export const FlowId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$/);

/** What a flow may be besides its ends and its bandwidth. */
const options = {
  /** It takes its bandwidth from no link. It is metered all the same. */
  ignoreBandwidth: z.boolean(),
  /** A reroute never gives up its bandwidth. Without it, a flow that finds no path with its bandwidth takes one without. */
  strictBandwidth: z.boolean(),
  /** It stays on its path, also if that is broken. */
  pinned: z.boolean(),
  /** It wants a second path without a link in common with the first one. */
  protectedPath: z.boolean(),
  /** Of several that need a new path, those of lower numbers go first. null: last. */
  priority: z.int().min(0).max(1_000_000).nullable(),
  strategy: Strategy,
  /** The longest latency of its path, in milliseconds; null: any. */
  maxLatencyMs: z.number().min(0).max(1e6).nullable(),
  /** With the strategy `max_latency`: if no path is quick enough, one within this is taken, and the flow is DEGRADED. */
  maxLatencyTier2Ms: z.number().min(0).max(1e6).nullable(),
  /** The id of a flow with which it shares no link, if that can be. */
  diverseWith: FlowId.nullable(),
  description: z.string().max(1_000),
};
const ends = {
  source: Endpoint,
  destination: Endpoint,
  /** Kilobits per second. 0: unmetered, and takes nothing from its links. */
  bandwidth: z.int().min(0).max(1_000_000_000),
};

/** What a flow should be: what its owner asks for. */
export const FlowSpec = z.strictObject({
  flowId: FlowId,
  ...ends,
  ignoreBandwidth: options.ignoreBandwidth.default(false),
  strictBandwidth: options.strictBandwidth.default(false),
  pinned: options.pinned.default(false),
  protectedPath: options.protectedPath.default(false),
  priority: options.priority.default(null),
  strategy: options.strategy.default("cost"),
  maxLatencyMs: options.maxLatencyMs.default(null),
  maxLatencyTier2Ms: options.maxLatencyTier2Ms.default(null),
  diverseWith: options.diverseWith.default(null),
  description: options.description.default(""),
});
export type FlowSpec = z.output<typeof FlowSpec>;

/** What shall be other than it is. It has no defaults: what it does not say stays, also of an end. */
export const FlowChanges = z
  .strictObject({ ...ends, ...options, source: Endpoint.partial(), destination: Endpoint.partial() })
  .partial();
export type FlowChanges = z.output<typeof FlowChanges>;

/** A flow with changes. */
export function changedFlow(spec: FlowSpec, { source, destination, ...changes }: FlowChanges): FlowSpec {
  const given = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
  return {
    ...spec,
    ...given,
    source: changedEnd(spec.source, source),
    destination: changedEnd(spec.destination, destination),
  };
}

const changedEnd = (
  end: Endpoint,
  { switchId, port, vlan }: NonNullable<FlowChanges["source"]> = {},
): Endpoint => ({
  switchId: switchId ?? end.switchId,
  port: port ?? end.port,
  vlan: vlan ?? end.vlan,
});

/** What does not fit together in a flow. */
export interface Contradiction {
  /** What would have to be other than it is. */
  readonly field: keyof FlowSpec;
  readonly message: string;
}

/** What does not fit together in a flow, whoever asks for it: all at once, or by a change of what it was. */
export function contradictionsIn(spec: FlowSpec): readonly Contradiction[] {
  const { source, destination, bandwidth, maxLatencyMs, maxLatencyTier2Ms } = spec;
  const found: Contradiction[] = [];
  const demand = (holds: boolean, field: keyof FlowSpec, message: string): void => {
    if (!holds) found.push({ field, message });
  };
  const isOneSwitch = source.switchId === destination.switchId;
  const isOnePort = isOneSwitch && source.port === destination.port;
  demand(bandwidth === 0 || bandwidth >= 64, "bandwidth", "its bandwidth is below 64 kbit/s and not 0");
  demand(
    !isOnePort || source.vlan !== destination.vlan,
    "destination",
    "both ends have the same port and VLAN",
  );
  demand(
    !(isOneSwitch && spec.protectedPath),
    "protectedPath",
    "it is on one switch and cannot have a protected path",
  );
  demand(
    !(spec.pinned && spec.protectedPath),
    "protectedPath",
    "it is pinned and cannot have a protected path",
  );
  demand(
    !(spec.ignoreBandwidth && spec.strictBandwidth),
    "strictBandwidth",
    "it both ignores its bandwidth and insists on it",
  );
  demand(
    maxLatencyTier2Ms === null || maxLatencyMs !== null,
    "maxLatencyTier2Ms",
    "it has a second limit of latency and no first one",
  );
  demand(
    maxLatencyTier2Ms === null || maxLatencyMs === null || maxLatencyTier2Ms >= maxLatencyMs,
    "maxLatencyTier2Ms",
    "its second limit of latency is below the first one",
  );
  demand(spec.diverseWith !== spec.flowId, "diverseWith", "it cannot be diverse with itself");
  return found;
}

/** One direction of a link: from a port of a switch to a port of another one. */
export const Segment = z.object({
  from: SwitchId,
  fromPort: Port,
  to: SwitchId,
  toPort: Port,
});
export type Segment = z.output<typeof Segment>;

/** A path pair, forward and reverse over the same links, with what it has taken. */
export const Path = z.object({
  /** Given once and never again. Its cookies are made of it. */
  id: z
    .int()
    .min(1)
    .max(2 ** 44 - 1),
  role: z.enum(["main", "protected"]),
  /** The links from source to destination. None: both ends are on one switch. */
  segments: z.array(Segment),
  /** The VLAN between the switches, unique on each switch of the path. null: it has one switch. */
  vlan: z.int().min(2).max(4094).nullable(),
  /** The meters at its two ends; null: unmetered. */
  meters: z.object({ forward: z.int().nullable(), reverse: z.int().nullable() }),
  /** Kilobits per second that it takes from each of its links, in each direction. */
  bandwidth: z.int().min(0),
  /** The sum of the latencies of its links, in milliseconds. */
  latencyMs: z.number(),
});
export type Path = z.output<typeof Path>;

/** A flow with its paths: what has rules on switches. */
export const Layout = z.object({ spec: FlowSpec, paths: z.array(Path) });
export type Layout = z.output<typeof Layout>;

/** What a flow is. It follows from its paths, their links and its run, and is stored nowhere. */
export type FlowStatus = "UP" | "DOWN" | "DEGRADED" | "IN_PROGRESS";

/** An action of a rule. `toPort: "in"`: back out of the port that the packet came from. */
export const Action = z.discriminatedUnion("type", [
  z.object({ type: z.literal("output"), port: z.union([Port, z.literal("in")]) }),
  z.object({ type: z.literal("pushVlan") }),
  z.object({ type: z.literal("setVlan"), vlan: z.int().min(1).max(4095) }),
  z.object({ type: z.literal("popVlan") }),
]);
export type Action = z.output<typeof Action>;

const hexCookie = z.string().regex(/^[0-9a-f]{16}$/);

/** A rule of a flow on its switch. Two rules with the same address cannot both be there: the later one replaces the other. */
export const FlowRule = z.object({
  kind: z.literal("rule"),
  switchId: SwitchId,
  cookie: hexCookie,
  priority: z.int().min(1).max(65_535),
  inPort: Port,
  /** null: packets with any VLAN, and those without one. */
  vlan: z.int().min(1).max(4095).nullable(),
  meter: z.int().nullable(),
  actions: z.array(Action),
});

/** A meter on its switch. It must be there before the rules that use it, and go after them. */
export const MeterRule = z.object({
  kind: z.literal("meter"),
  switchId: SwitchId,
  cookie: hexCookie,
  meter: z.int().min(1),
  rateKbps: z.int().min(1),
});

/** What a switch is told to have. */
export const Rule = z.discriminatedUnion("kind", [FlowRule, MeterRule]);
export type Rule = z.output<typeof Rule>;
export type FlowRule = z.output<typeof FlowRule>;
export type MeterRule = z.output<typeof MeterRule>;

/** The place of a rule on its switch: of two rules with the same address, a switch has the later one. */
export function addressOf(rule: Rule): string {
  return rule.kind === "meter"
    ? `meter/${rule.meter}`
    : `rule/${rule.priority}/${rule.inPort}/${rule.vlan ?? "any"}`;
}

/** The range of meters of flows. Those below belong to the system. */
export const metersOfFlows = { first: 32, last: 2500 } as const;

/** Whether a flow may have a meter. */
export const isMeterOfFlow = (meter: number): boolean =>
  meter >= metersOfFlows.first && meter <= metersOfFlows.last;

/** Whether two rules of one switch are the same, and not only at the same place. */
export const isSameRule = (one: Rule, other: Rule): boolean => JSON.stringify(one) === JSON.stringify(other);
