import type { Problem } from "wheelwork";
import * as z from "zod";
import {
  contradictionsIn,
  FlowId,
  type Endpoint,
  type FlowChanges,
  type FlowSpec,
  type Strategy,
} from "../controller/model.ts";
import { invalid } from "./errors.ts";

/*
 * What clients send of a flow, in the two forms of OpenKilda: v2 (org.openkilda.northbound.dto.v2.flows.FlowRequestV2, FlowPatchV2) and v1
 * (org.openkilda.messaging.payload.flow.FlowPayload, FlowEndpointPayload; org.openkilda.northbound.dto.v1.flows.FlowPatchDto). What is
 * not done here is refused by the name of its field, unless it asks for nothing: a client that sends all fields of its model is served.
 */

const switchId = z
  .string()
  .regex(/^(?:[0-9a-fA-F]{2}:){7}[0-9a-fA-F]{2}$/, "must be a switch id such as 00:00:00:00:00:00:00:03")
  .meta({ description: "Such as `00:00:00:00:00:00:00:03`." });
const port = z.int().min(1).max(0xffff_ff00);
const vlan = z
  .int()
  .min(0)
  .max(4095)
  .nullish()
  .meta({ description: "0, the default: all packets of the port." });
const bandwidth = z
  .int()
  .min(0)
  .max(1_000_000_000)
  .refine((kbps) => kbps === 0 || kbps >= 64, "must be 0 (unmetered), or 64 at least")
  .meta({ description: "Kilobits per second. 0: unmetered." });
const flag = z.boolean().nullish();
const latency = z.number().min(0).max(1e6).nullish().meta({ description: "Milliseconds." });
const priority = z.int().min(0).max(1_000_000).nullish();
const text = z.string().max(1_000).nullish();
const strategies = ["cost", "latency", "max_latency", "cost_and_available_bandwidth"] as const;
const strategy = z
  .enum([...strategies, ...strategies.map((name) => name.toUpperCase() as Uppercase<Strategy>)])
  .nullish();
const otherFlow = z
  .union([FlowId, z.literal("")], "must be the id of a flow, or empty")
  .nullish()
  .meta({ description: "The id of a flow with which it shares no link, if that can be. Empty: none." });

/** Words that stand in paths where flow ids do: `/v2/flows/status/ID` is not about a flow that is called status. */
const words = ["status"];
const newFlowId = FlowId.refine((id) => !words.includes(id), {
  error: ({ input }) => `must not be ${String(input)}, which means something else in a path`,
});

/** A field of which only values that ask for nothing are taken. */
const leftOut = (values: readonly (string | number | boolean)[], what: string) =>
  z
    .literal([...values, null], { error: `${what} is left out here` })
    .optional()
    .meta({ description: "Left out here: only values that ask for nothing are taken." });

const innerVlan = leftOut([0], "a second VLAN (QinQ)");
const pings = leftOut([false], "sending pings");
const encapsulation = leftOut(["transit_vlan", "TRANSIT_VLAN"], "another encapsulation than transit_vlan");
const affinity = leftOut([""], "affinity");
const loop = leftOut([""], "a loop");
const target = leftOut([""], "another strategy for later");
const devices = z
  .union([z.null(), z.record(z.string(), z.literal([false, null]))], {
    error: "the detection of connected devices is left out here",
  })
  .optional()
  .meta({ description: "Left out here: only values that ask for nothing are taken." });
const statistics = z
  .union([
    z.literal([false, null]),
    z.strictObject({ vlans: z.union([z.null(), z.array(z.never()).length(0)]).optional() }),
  ])
  .optional()
  .meta({ description: "Left out here: only values that ask for nothing are taken." });
/** What a client sends back since it has read it. It asks for nothing. */
const shown = z.unknown().optional().meta({ description: "Taken, and not looked at.", readOnly: true });
const diverseWith = z.array(FlowId).max(1, "must be one flow at most").nullish().meta({
  description:
    "As it is shown: so what was read can be sent back. It counts if the id of the other flow is not given by itself.",
});

const endpointV2 = {
  switch_id: switchId,
  port_number: port,
  vlan_id: vlan,
  inner_vlan_id: innerVlan,
  detect_connected_devices: devices,
};
const optionsV2 = {
  ignore_bandwidth: flag,
  strict_bandwidth: flag,
  pinned: flag,
  priority,
  max_latency: latency,
  max_latency_tier2: latency,
  description: text,
  diverse_flow_id: otherFlow,
  affinity_flow_id: affinity,
  allocate_protected_path: flag,
  encapsulation_type: encapsulation,
  path_computation_strategy: strategy,
  target_path_computation_strategy: target,
  periodic_pings: pings,
  statistics,
  loop_switch_id: loop,
};
const shownV2 = {
  status: shown,
  status_info: shown,
  status_details: shown,
  created: shown,
  last_updated: shown,
  forward_path_latency_ns: shown,
  reverse_path_latency_ns: shown,
  latency_last_modified_time: shown,
  unconfirmed: shown,
  diverse_with: diverseWith,
};

/** A whole flow, as v2 has it. */
export const FlowBodyV2 = z.strictObject({
  flow_id: newFlowId,
  source: z.strictObject(endpointV2),
  destination: z.strictObject(endpointV2),
  maximum_bandwidth: bandwidth.nullish(),
  ...optionsV2,
  ...shownV2,
});
export type FlowBodyV2 = z.output<typeof FlowBodyV2>;

/** The same of a path that names the flow. */
export const FlowUpdateV2 = FlowBodyV2.extend({ flow_id: FlowId.nullish() });

/** Some fields of a flow, as v2 has them. */
export const FlowPatchV2 = z.strictObject({
  flow_id: FlowId.nullish(),
  source: z.strictObject(endpointV2).partial().nullish(),
  destination: z.strictObject(endpointV2).partial().nullish(),
  maximum_bandwidth: bandwidth.nullish(),
  ...optionsV2,
});

const endpointV1 = {
  "switch-id": switchId,
  "port-id": port,
  "vlan-id": vlan,
  "inner-vlan-id": innerVlan,
  "detect-connected-devices": devices,
};
const shownV1 = {
  created: shown,
  "last-updated": shown,
  status: shown,
  "status-details": shown,
  status_info: shown,
  "forward-latency": shown,
  "reverse-latency": shown,
  "latency-last-modified-time": shown,
  unconfirmed: shown,
  diverse_with: diverseWith,
};

/** A whole flow, as v1 has it. */
export const FlowBodyV1 = z.strictObject({
  flowid: newFlowId,
  source: z.strictObject(endpointV1),
  destination: z.strictObject(endpointV1),
  "maximum-bandwidth": bandwidth.nullish(),
  ignore_bandwidth: flag,
  "periodic-pings": pings,
  allocate_protected_path: flag,
  description: text,
  "max-latency": latency,
  priority,
  pinned: flag,
  "encapsulation-type": encapsulation,
  "path-computation-strategy": strategy,
  "target-path-computation-strategy": target,
  "diverse-flowid": otherFlow,
  "loop-switch-id": loop,
  ...shownV1,
});

/** The same of a path that names the flow. */
export const FlowUpdateV1 = FlowBodyV1.extend({ flowid: FlowId.nullish() });

/** What v1 lets clients change alone. */
export const FlowPatchV1 = z.strictObject({
  "max-latency": latency,
  priority,
  periodic_pings: pings,
});

/** Fields of a flow as a client has given them; those that it has not are absent. */
type Wish = { readonly [F in keyof FlowSpec]?: FlowSpec[F] };
/** Of an endpoint that a client changes. */
type WishedEnd = Partial<Endpoint>;

/** A body with its fields as the controller has them. */
export interface WishOf {
  readonly flowId: string | undefined;
  readonly source: WishedEnd | undefined;
  readonly destination: WishedEnd | undefined;
  readonly wish: Omit<Wish, "flowId" | "source" | "destination">;
}

const given = <K extends string, V>(name: K, value: V | null | undefined): { readonly [N in K]?: V } =>
  (value === null || value === undefined ? {} : { [name]: value }) as { readonly [N in K]?: V };

const lower = (id: string | undefined): string | undefined => id?.toLowerCase();
const strategyOf = (name: string | null | undefined): Strategy | undefined =>
  name?.toLowerCase() as Strategy | undefined;
/** An empty id takes a flow out of its group. Without one, what was read and comes back counts. */
const diverseOf = (id: string | null | undefined, read: readonly string[] | null | undefined) =>
  id === "" ? { diverseWith: null } : given("diverseWith", id ?? read?.[0]);

/** What both whole flows and changes of them may have, as v2 writes it. */
type BodyV2 = z.output<typeof FlowPatchV2> & Pick<z.output<typeof FlowUpdateV2>, "diverse_with">;

function endOfV2(end: z.output<typeof FlowPatchV2>["source"]): WishedEnd | undefined {
  if (end === null || end === undefined) return undefined;
  return {
    ...given("switchId", lower(end.switch_id)),
    ...given("port", end.port_number),
    ...given("vlan", end.vlan_id),
  };
}

/** What a body of v2 asks for. */
export function wishOfV2(body: BodyV2): WishOf {
  return {
    flowId: body.flow_id ?? undefined,
    source: endOfV2(body.source),
    destination: endOfV2(body.destination),
    wish: {
      ...given("bandwidth", body.maximum_bandwidth),
      ...given("ignoreBandwidth", body.ignore_bandwidth),
      ...given("strictBandwidth", body.strict_bandwidth),
      ...given("pinned", body.pinned),
      ...given("protectedPath", body.allocate_protected_path),
      ...given("priority", body.priority),
      ...given("strategy", strategyOf(body.path_computation_strategy)),
      ...given("maxLatencyMs", body.max_latency),
      ...given("maxLatencyTier2Ms", body.max_latency_tier2),
      ...diverseOf(body.diverse_flow_id, body.diverse_with),
      ...given("description", body.description),
    },
  };
}

function endOfV1(end: z.output<typeof FlowBodyV1>["source"] | undefined): WishedEnd | undefined {
  if (end === undefined) return undefined;
  return {
    ...given("switchId", lower(end["switch-id"])),
    ...given("port", end["port-id"]),
    ...given("vlan", end["vlan-id"]),
  };
}

/** What a body of v1 asks for. */
export function wishOfV1(body: Partial<z.output<typeof FlowUpdateV1>>): WishOf {
  return {
    flowId: body.flowid ?? undefined,
    source: endOfV1(body.source),
    destination: endOfV1(body.destination),
    wish: {
      ...given("bandwidth", body["maximum-bandwidth"]),
      ...given("ignoreBandwidth", body.ignore_bandwidth),
      ...given("pinned", body.pinned),
      ...given("protectedPath", body.allocate_protected_path),
      ...given("priority", body.priority),
      ...given("strategy", strategyOf(body["path-computation-strategy"])),
      ...given("maxLatencyMs", body["max-latency"]),
      ...diverseOf(body["diverse-flowid"], body.diverse_with),
      ...given("description", body.description),
    },
  };
}

/** What a flow is if its client says nothing of it. */
const defaults = {
  bandwidth: 0,
  ignoreBandwidth: false,
  strictBandwidth: false,
  pinned: false,
  protectedPath: false,
  priority: null,
  strategy: "cost",
  maxLatencyMs: null,
  maxLatencyTier2Ms: null,
  diverseWith: null,
  description: "",
} as const satisfies Omit<FlowSpec, "flowId" | "source" | "destination">;

/** The whole flow that a body asks for: what it does not say is the default. */
export function specOf(flowId: string, { source, destination, wish }: WishOf): FlowSpec {
  const end = (one: WishedEnd | undefined): Endpoint => ({ vlan: 0, ...one }) as Endpoint;
  return { flowId, source: end(source), destination: end(destination), ...defaults, ...wish };
}

/** What v1 has no field for. A client that speaks it changes nothing of that. */
const unsaidInV1 = ["strictBandwidth", "maxLatencyTier2Ms"] as const satisfies (keyof FlowChanges)[];

/** What a whole flow changes of one that is there. */
export function replacing(spec: FlowSpec, version: "v1" | "v2"): FlowChanges {
  const unsaid: readonly string[] = ["flowId", ...(version === "v1" ? unsaidInV1 : [])];
  return Object.fromEntries(Object.entries(spec).filter(([field]) => !unsaid.includes(field)));
}

/** What a body changes. What it does not say stays, also of an end. */
export const changesIn = ({ source, destination, wish }: WishOf): FlowChanges => ({
  ...wish,
  ...(source === undefined ? {} : { source }),
  ...(destination === undefined ? {} : { destination }),
});

/** How a version of the interface names a field that does not fit together with others. */
export type FieldNames = Readonly<Partial<Record<keyof FlowSpec, string>>>;
export const namesOfV2: FieldNames = {
  bandwidth: "maximum_bandwidth",
  protectedPath: "allocate_protected_path",
  strictBandwidth: "strict_bandwidth",
  maxLatencyTier2Ms: "max_latency_tier2",
  diverseWith: "diverse_flow_id",
};
export const namesOfV1: FieldNames = {
  ...namesOfV2,
  bandwidth: "maximum-bandwidth",
  diverseWith: "diverse-flowid",
};

/** What does not fit together in a flow, by the names of its fields. */
export const contradictions = (spec: FlowSpec, names: FieldNames): Problem[] =>
  contradictionsIn(spec).map(({ field, message }) => ({ path: names[field] ?? field, message }));

/** A body, held against its schema. @throws FlowProblem 400 with all problems. */
export function checked<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body, {
    error: (issue) => (issue.input === undefined ? "is missing" : null),
  });
  if (result.success) return result.data;
  throw invalid(result.error.issues.flatMap(problemsOf));
}

function problemsOf(issue: z.core.$ZodIssue): Problem[] {
  const path = issue.path.length === 0 && issue.code !== "unrecognized_keys" ? "body" : issue.path.join(".");
  if (issue.code !== "unrecognized_keys") return [{ path, message: issue.message }];
  return issue.keys.map((key) => ({ path: path === "" ? key : `${path}.${key}`, message: "is not known" }));
}
