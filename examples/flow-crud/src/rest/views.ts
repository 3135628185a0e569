import type { FlowSpec, FlowStatus, Layout, Path, Segment } from "../controller/model.ts";
import type { OperationReply, ValidationReply } from "../controller/requests.ts";
import { hopsOf, type Direction } from "../controller/rules.ts";
import type { StoredFlow, StoredLink, StoredSwitch } from "../controller/store.ts";

/*
 * What clients see of flows, links and switches, in the forms of OpenKilda (FlowResponseV2, FlowResponsePayload, FlowPathPayload,
 * FlowValidationDto, LinkDto, SwitchDto).
 */

/** The status of a flow, or of one that is gone. */
export type ShownStatus = FlowStatus | "DELETED";

const statusTexts: Readonly<Record<ShownStatus, string>> = {
  UP: "Up",
  DOWN: "Down",
  DEGRADED: "Degraded",
  IN_PROGRESS: "In progress",
  DELETED: "Deleted",
};

/** A status as v2 and v1 write it. */
export const statusText = (status: ShownStatus): string => statusTexts[status];

/** The status that a query means; undefined: there is none of that name. */
export function statusNamed(name: string): FlowStatus | undefined {
  const wanted = name.toUpperCase().replaceAll(/[ -]/g, "_");
  return (["UP", "DOWN", "DEGRADED", "IN_PROGRESS"] as const).find((status) => status === wanted);
}

/** A flow as it is shown. */
export interface ShownFlow extends Layout {
  readonly status: ShownStatus;
  readonly info: string | null;
  readonly live: Readonly<Record<number, boolean>>;
  /** Milliseconds since 1970. */
  readonly createdAt: number | undefined;
  readonly updatedAt: number | undefined;
  readonly unconfirmed: OperationReply["unconfirmed"];
}

/** A stored flow. `isBusy`: a run works on it. */
export const shownFlow = (flow: StoredFlow, isBusy: boolean): ShownFlow => ({
  ...flow,
  status: isBusy ? "IN_PROGRESS" : flow.status,
  info: whyNotUp(flow, flow.info),
  unconfirmed: [],
});

/** Why a flow is not UP: what is `known` of it, or what its paths say; null: it is, and nothing is known. */
export function whyNotUp(
  { spec, status, paths }: Layout & { readonly status: FlowStatus },
  known: string | null,
): string | null {
  if (known !== null || status === "UP") return known;
  if (status === "DEGRADED") return "The protected path is broken.";
  if (paths.length === 0) return "It has no path.";
  return spec.pinned ? "Its path is broken, and it is pinned to it." : "Its path is broken.";
}

/** A flow of which nothing is stored yet: what its client asks for. */
export const wantedFlow = (spec: FlowSpec, createdAt: number | undefined): ShownFlow => ({
  spec,
  paths: [],
  status: "IN_PROGRESS",
  info: null,
  live: {},
  createdAt,
  updatedAt: createdAt,
  unconfirmed: [],
});

const iso = (ms: number): string => new Date(ms).toISOString();
const times = <C extends string, U extends string>(flow: ShownFlow, created: C, updated: U) => ({
  ...(flow.createdAt === undefined ? {} : { [created]: iso(flow.createdAt) }),
  ...(flow.updatedAt === undefined ? {} : { [updated]: iso(flow.updatedAt) }),
});

export const pathOfRole = (paths: readonly Path[], role: Path["role"]): Path | undefined =>
  paths.find((path) => path.role === role);

/** Of a flow that wants to be protected: how its two paths are. */
function pathStatuses({ spec, paths, live }: ShownFlow) {
  if (!spec.protectedPath) return undefined;
  const statusOf = (role: Path["role"]): string => {
    const path = pathOfRole(paths, role);
    return path !== undefined && live[path.id] !== false ? "Up" : "Down";
  };
  return { main: statusOf("main"), protected: statusOf("protected") };
}

const latencyNs = ({ paths }: Layout): number =>
  Math.round((pathOfRole(paths, "main")?.latencyMs ?? 0) * 1e6);

/** Which rules are not as they should be, for people; null: none that is known. */
export function unconfirmedText(unconfirmed: OperationReply["unconfirmed"]): string | null {
  const places = unconfirmed.filter(({ rules }) => rules > 0);
  if (places.length === 0) return null;
  const told = places.map(
    ({ switchId, rules }) => `${rules} ${rules === 1 ? "rule" : "rules"} unconfirmed on switch ${switchId}`,
  );
  return told.join(", ");
}

const unconfirmedField = ({ unconfirmed }: ShownFlow) =>
  unconfirmed.length === 0
    ? {}
    : { unconfirmed: unconfirmed.map(({ switchId, rules }) => ({ switch_id: switchId, rules })) };

/** A flow as v2 shows it. */
export function flowV2(flow: ShownFlow): object {
  const { spec } = flow;
  const statuses = pathStatuses(flow);
  const end = ({ switchId, port, vlan }: FlowSpec["source"]) => ({
    switch_id: switchId,
    port_number: port,
    vlan_id: vlan,
    inner_vlan_id: 0,
  });
  return {
    flow_id: spec.flowId,
    source: end(spec.source),
    destination: end(spec.destination),
    status: statusText(flow.status),
    ...(statuses === undefined
      ? {}
      : { status_details: { main_path: statuses.main, protected_path: statuses.protected } }),
    ...(flow.info === null ? {} : { status_info: flow.info }),
    ...unconfirmedField(flow),
    maximum_bandwidth: spec.bandwidth,
    ignore_bandwidth: spec.ignoreBandwidth,
    strict_bandwidth: spec.strictBandwidth,
    periodic_pings: false,
    description: spec.description,
    max_latency: spec.maxLatencyMs,
    max_latency_tier2: spec.maxLatencyTier2Ms,
    priority: spec.priority,
    diverse_with: spec.diverseWith === null ? [] : [spec.diverseWith],
    pinned: spec.pinned,
    allocate_protected_path: spec.protectedPath,
    encapsulation_type: "transit_vlan",
    path_computation_strategy: spec.strategy,
    forward_path_latency_ns: latencyNs(flow),
    reverse_path_latency_ns: latencyNs(flow),
    ...times(flow, "created", "last_updated"),
  };
}

/** A flow as v1 shows it. */
export function flowV1(flow: ShownFlow): object {
  const { spec } = flow;
  const statuses = pathStatuses(flow);
  const end = ({ switchId, port, vlan }: FlowSpec["source"]) => ({
    "switch-id": switchId,
    "port-id": port,
    "vlan-id": vlan,
    "inner-vlan-id": 0,
  });
  return {
    flowid: spec.flowId,
    source: end(spec.source),
    destination: end(spec.destination),
    "maximum-bandwidth": spec.bandwidth,
    ignore_bandwidth: spec.ignoreBandwidth,
    "periodic-pings": false,
    allocate_protected_path: spec.protectedPath,
    description: spec.description,
    ...times(flow, "created", "last-updated"),
    status: statusText(flow.status),
    ...(statuses === undefined
      ? {}
      : { "status-details": { main_path: statuses.main, protected_path: statuses.protected } }),
    ...(flow.info === null ? {} : { status_info: flow.info }),
    ...unconfirmedField(flow),
    "max-latency": spec.maxLatencyMs,
    priority: spec.priority,
    pinned: spec.pinned,
    "encapsulation-type": "transit_vlan",
    "path-computation-strategy": spec.strategy,
    diverse_with: spec.diverseWith === null ? [] : [spec.diverseWith],
    "forward-latency": latencyNs(flow),
    "reverse-latency": latencyNs(flow),
  };
}

/** The ends of the links of a path, in its order, with what each link takes. */
const endsOf = (path: Path | undefined, latencyOf: (segment: Segment) => number) =>
  (path?.segments ?? []).flatMap((segment) => [
    { switch_id: segment.from, port_no: segment.fromPort, latency: latencyOf(segment) },
    { switch_id: segment.to, port_no: segment.toPort, latency: undefined },
  ]);

const nsOf = (path: Path | undefined): number => Math.round((path?.latencyMs ?? 0) * 1e6);
/** Of a link of a path. Only the path's own latency is stored with it, so each link counts as much as the others. */
const shareOf = (path: Path | undefined) => (): number =>
  path === undefined || path.segments.length === 0 ? 0 : Math.round(nsOf(path) / path.segments.length);

/** The main path as the answer to a reroute of v2 has it. */
export const reroutePathV2 = (layout: Layout | null) => {
  const path = layout === null ? undefined : pathOfRole(layout.paths, "main");
  return {
    latency: nsOf(path),
    nodes: endsOf(path, shareOf(path)).map(({ latency, ...node }) => ({
      ...node,
      ...(latency === undefined ? {} : { segment_latency: latency }),
    })),
  };
};

/** The main path as the answers to a reroute and a synchronisation of v1 have it. */
export const reroutePathV1 = (layout: Layout | null) => {
  const path = layout === null ? undefined : pathOfRole(layout.paths, "main");
  return {
    latency_ns: nsOf(path),
    path: endsOf(path, shareOf(path)).map(({ latency, ...node }, seq_id) => ({
      ...node,
      seq_id,
      ...(latency === undefined ? {} : { segment_latency: latency }),
    })),
  };
};

const nodesOf = (spec: FlowSpec, path: Path | undefined, direction: Direction) =>
  path === undefined
    ? []
    : hopsOf(spec, path, direction).map(({ switchId, inPort, outPort }) => ({
        switch_id: switchId,
        input_port: inPort,
        output_port: outPort,
      }));

const directions = ({ spec }: Layout, path: Path | undefined) => ({
  flowpath_forward: nodesOf(spec, path, "forward"),
  flowpath_reverse: nodesOf(spec, path, "reverse"),
});

const linkKey = ({ from, fromPort, to, toPort }: Segment): string => {
  const ends = [`${from} ${fromPort}`, `${to} ${toPort}`];
  return ends.toSorted().join(" ");
};

/** What a path has in common with paths of other flows. */
function overlap(layout: Layout, path: Path, others: readonly Path[]) {
  const links = new Set(others.flatMap(({ segments }) => segments.map(linkKey)));
  const switchesOf = (one: Layout["spec"], { segments }: Path) =>
    new Set([
      one.source.switchId,
      one.destination.switchId,
      ...segments.flatMap(({ from, to }) => [from, to]),
    ]);
  const theirs = new Set(others.flatMap(({ segments }) => segments.flatMap(({ from, to }) => [from, to])));
  const own = switchesOf(layout.spec, path);
  const islCount = path.segments.filter((segment) => links.has(linkKey(segment))).length;
  const switchCount = [...own].filter((id) => theirs.has(id)).length;
  const percent = (part: number, of: number): number => (of === 0 ? 0 : Math.round((100 * part) / of));
  return {
    isl_count: islCount,
    switch_count: switchCount,
    isl_percent: percent(islCount, path.segments.length),
    switch_percent: percent(switchCount, own.size),
  };
}

/** The paths of a flow, as `GET /v1/flows/ID/path` shows them. `others`: the flows of which it wants to be diverse. */
export function pathsOfFlow(flow: Layout, others: readonly Layout[]): object {
  const main = pathOfRole(flow.paths, "main");
  const spare = pathOfRole(flow.paths, "protected");
  const theirs = others.flatMap(({ paths }) => paths);
  const group = (path: Path) => ({
    overlapping_segments: overlap(flow, path, theirs),
    other_flows: others.map((other) => ({
      id: other.spec.flowId,
      ...directions(other, pathOfRole(other.paths, "main")),
    })),
  });
  return {
    flowid: flow.spec.flowId,
    ...directions(flow, main),
    ...(spare === undefined ? {} : { protected_path: directions(flow, spare) }),
    ...(others.length === 0 || main === undefined ? {} : { diverse_group: group(main) }),
    ...(others.length === 0 || spare === undefined ? {} : { diverse_group_protected: group(spare) }),
  };
}

type Direct = ValidationReply["directions"][number];

/** What a validation has found, an entry for each direction of each path. */
export const validationEntries = ({
  flowId,
  directions,
  totalRules,
  totalMeters,
}: ValidationReply): object[] =>
  directions.map((direction) => ({
    flow_id: flowId,
    direction: direction.direction,
    as_expected: direction.asExpected,
    discrepancies: direction.discrepancies.flatMap(discrepancies),
    pkt_counts: [direction.packets],
    byte_counts: [direction.bytes],
    flow_rules_total: direction.rules,
    switch_rules_total: totalRules,
    flow_meters_total: direction.meters,
    switch_meters_total: totalMeters,
  }));

function discrepancies({ rule, found }: Direct["discrepancies"][number]): object[] {
  const { kind, switchId, cookie } = rule;
  const at =
    rule.kind === "meter" ? `meter ${rule.meter}` : `in port ${rule.inPort}, vlan ${rule.vlan ?? "any"}`;
  const name = `${kind} ${cookie} on switch ${switchId}: ${at}`;
  if (found === null)
    return [{ rule: name, field: "all", expected_value: JSON.stringify(rule), actual_value: "" }];
  const [wanted, actual] = [rule, found] as const satisfies readonly object[];
  const fields = new Set([...Object.keys(wanted), ...Object.keys(actual)]);
  const valueOf = (of: object, field: string): string =>
    JSON.stringify((of as Readonly<Record<string, unknown>>)[field]) ?? "";
  return [...fields]
    .filter((field) => valueOf(wanted, field) !== valueOf(actual, field))
    .map((field) => ({
      rule: name,
      field,
      expected_value: valueOf(wanted, field),
      actual_value: valueOf(actual, field),
    }));
}

/** A switch as v1 shows it. */
export const switchV1 = ({ switchId, address, description, isConnected, ports }: StoredSwitch): object => ({
  switch_id: switchId,
  address,
  description,
  state: isConnected ? "ACTIVATED" : "DEACTIVATED",
  under_maintenance: false,
  ports: ports.map(({ port, name, isUp, speedKbps }) => ({
    port_number: port,
    name,
    state: isUp ? "UP" : "DOWN",
    speed_kbps: speedKbps,
  })),
});

/** A direction of a link as v1 shows it. */
export function linkV1(link: StoredLink): object {
  const latency = Math.round(link.latencyMs * 1e6);
  return {
    latency_ns: latency,
    speed: link.bandwidth,
    available_bandwidth: link.bandwidth - link.used,
    max_bandwidth: link.bandwidth,
    state: link.isUp ? "DISCOVERED" : "FAILED",
    actual_state: link.isUp ? "DISCOVERED" : "FAILED",
    cost: link.cost,
    under_maintenance: false,
    enable_bfd: false,
    path: [
      { switch_id: link.from, port_no: link.fromPort, seq_id: 0, segment_latency: latency },
      { switch_id: link.to, port_no: link.toPort, seq_id: 1 },
    ],
  };
}

/** What an operator may change of a link. */
export const linkPropsV1 = (link: StoredLink): object => ({
  src_switch: link.from,
  src_port: link.fromPort,
  dst_switch: link.to,
  dst_port: link.toPort,
  props: { cost: String(link.cost), max_bandwidth: String(link.bandwidth) },
});
