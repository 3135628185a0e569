import { invalid } from "../errors.ts";
import { type Instruction, instructionsCodec } from "./actions.ts";
import { mac } from "./addresses.ts";
import {
  type Codec,
  list,
  named,
  pad,
  type Reader,
  rest,
  sized,
  struct,
  text,
  times,
  u16,
  u32,
  u64,
  u8,
} from "./bytes.ts";
import { type Match, matchCodec } from "./fields.ts";
import { type Bucket, buckets } from "./groups.ts";
import { type MeterBand, meterBands } from "./meters.ts";
import { groupTypes } from "./names.ts";

/** Which rules a request is about: all that fit each of these fields. */
export interface FlowFilter {
  /** 0xff: all tables. */
  readonly tableId: number;
  /** Only rules that output to this port. 0xffffffff: any. */
  readonly outPort: number;
  /** Only rules that output to this group. 0xffffffff: any. */
  readonly outGroup: number;
  /** Only rules whose cookie is the same in the bits of the mask. */
  readonly cookie: bigint;
  readonly cookieMask: bigint;
  /** Only rules whose match has these fields, and perhaps more. */
  readonly match: Match;
}

/** What a switch says of itself. */
export interface Description {
  readonly manufacturer: string;
  readonly hardware: string;
  readonly software: string;
  readonly serialNumber: string;
  readonly datapath: string;
}

/** A rule as a switch has it. */
export interface FlowStats {
  readonly tableId: number;
  readonly durationS: number;
  readonly durationNs: number;
  readonly priority: number;
  readonly idleTimeoutS: number;
  readonly hardTimeoutS: number;
  readonly flags: number;
  readonly cookie: bigint;
  readonly packets: bigint;
  readonly bytes: bigint;
  readonly match: Match;
  readonly instructions: readonly Instruction[];
}

/** The sums over the rules that a filter means. */
export interface AggregateStats {
  readonly packets: bigint;
  readonly bytes: bigint;
  /** How many rules there are. */
  readonly flows: number;
}

/** How many rules a table has, and how many packets have come to it. */
export interface TableStats {
  readonly tableId: number;
  /** How many rules it has. */
  readonly active: number;
  readonly lookups: bigint;
  readonly matched: bigint;
}

/** The counters of a port. A counter that the port does not have is 2n ** 64n - 1n. */
export interface PortStats {
  readonly port: number;
  readonly receivedPackets: bigint;
  readonly sentPackets: bigint;
  readonly receivedBytes: bigint;
  readonly sentBytes: bigint;
  readonly receivedDropped: bigint;
  readonly sentDropped: bigint;
  readonly receivedErrors: bigint;
  readonly sentErrors: bigint;
  readonly frameErrors: bigint;
  readonly overruns: bigint;
  readonly crcErrors: bigint;
  readonly collisions: bigint;
  readonly durationS: number;
  readonly durationNs: number;
}

/** A port of a switch. `config` and `state` are bits: see `portConfig` and `portState`. */
export interface PortDescription {
  readonly port: number;
  readonly mac: string;
  readonly name: string;
  readonly config: number;
  readonly state: number;
  readonly current: number;
  readonly advertised: number;
  readonly supported: number;
  readonly peer: number;
  readonly currentSpeedKbps: number;
  readonly maxSpeedKbps: number;
}

/** What has come to a band of a meter. */
export interface MeterBandStats {
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** The counters of a meter, and how many rules use it. */
export interface MeterStats {
  readonly meterId: number;
  readonly flows: number;
  readonly packets: bigint;
  readonly bytes: bigint;
  readonly durationS: number;
  readonly durationNs: number;
  readonly bands: readonly MeterBandStats[];
}

/** A meter as a switch has it. */
export interface MeterConfig {
  readonly flags: number;
  readonly meterId: number;
  readonly bands: readonly MeterBand[];
}

/** What meters a switch can have. `bandTypes` and `capabilities` are bits. */
export interface MeterFeatures {
  readonly maxMeters: number;
  readonly bandTypes: number;
  readonly capabilities: number;
  readonly maxBands: number;
  readonly maxColor: number;
}

/** What has come to a bucket of a group. */
export interface BucketStats {
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** The counters of a group, and how many rules and groups use it. */
export interface GroupStats {
  readonly groupId: number;
  readonly references: number;
  readonly packets: bigint;
  readonly bytes: bigint;
  readonly durationS: number;
  readonly durationNs: number;
  readonly buckets: readonly BucketStats[];
}

/** A group as a switch has it. */
export interface GroupDescription {
  readonly groupType: keyof typeof groupTypes | number;
  readonly groupId: number;
  readonly buckets: readonly Bucket[];
}

/** What groups a switch can have. `types` and `capabilities` are bits. `maxGroups` and `actions` are for each type, in the order of their numbers. */
export interface GroupFeatures {
  readonly types: number;
  readonly capabilities: number;
  readonly maxGroups: readonly number[];
  /** Bits: the actions that buckets can have. */
  readonly actions: readonly number[];
}

/** The entries that each kind of reply has. Description, aggregate, groupFeatures and meterFeatures have one. */
export interface MultipartEntries {
  readonly description: Description;
  readonly flow: FlowStats;
  readonly aggregate: AggregateStats;
  readonly table: TableStats;
  readonly portStats: PortStats;
  readonly portDescription: PortDescription;
  readonly group: GroupStats;
  readonly groupDescription: GroupDescription;
  readonly groupFeatures: GroupFeatures;
  readonly meter: MeterStats;
  readonly meterConfig: MeterConfig;
  readonly meterFeatures: MeterFeatures;
}

/** What can be asked in several parts, and is known to this package. */
export type MultipartKind = keyof MultipartEntries;

interface Nothing {}
interface OfPort {
  readonly port: number;
}
interface OfGroup {
  readonly groupId: number;
}
interface OfMeter {
  readonly meterId: number;
}

/** What each kind of question takes. */
export interface MultipartQuestions {
  readonly description: Nothing;
  readonly flow: FlowFilter;
  readonly aggregate: FlowFilter;
  readonly table: Nothing;
  readonly portStats: OfPort;
  readonly portDescription: Nothing;
  readonly group: OfGroup;
  readonly groupDescription: Nothing;
  readonly groupFeatures: Nothing;
  readonly meter: OfMeter;
  readonly meterConfig: OfMeter;
  readonly meterFeatures: Nothing;
}

/** A question of one kind. */
export type MultipartQuestion<K extends MultipartKind> = { readonly kind: K } & MultipartQuestions[K];

/** What is asked, and answered in several parts. */
export type MultipartRequestBody =
  | { readonly [K in MultipartKind]: MultipartQuestion<K> }[MultipartKind]
  /** A kind that this package does not know: its bytes. */
  | { readonly kind: "other"; readonly code: number; readonly body: Uint8Array };

/** One part of a reply. */
export type MultipartReplyBody =
  | {
      readonly [K in MultipartKind]: { readonly kind: K; readonly entries: readonly MultipartEntries[K][] };
    }[MultipartKind]
  | { readonly kind: "other"; readonly code: number; readonly body: Uint8Array };

const filterCodec = struct<FlowFilter>({
  tableId: u8,
  pad1: pad(3),
  outPort: u32,
  outGroup: u32,
  pad2: pad(4),
  cookie: u64,
  cookieMask: u64,
  match: matchCodec,
});

const flowStats = sized(
  struct<FlowStats>({
    pad1: pad(2),
    tableId: u8,
    pad2: pad(1),
    durationS: u32,
    durationNs: u32,
    priority: u16,
    idleTimeoutS: u16,
    hardTimeoutS: u16,
    flags: u16,
    pad3: pad(4),
    cookie: u64,
    packets: u64,
    bytes: u64,
    match: matchCodec,
    instructions: instructionsCodec,
  }),
  0,
);

export const portDescription = struct<PortDescription>({
  port: u32,
  pad1: pad(4),
  mac,
  pad2: pad(2),
  name: text(16),
  config: u32,
  state: u32,
  current: u32,
  advertised: u32,
  supported: u32,
  peer: u32,
  currentSpeedKbps: u32,
  maxSpeedKbps: u32,
});

const entryCodecs: { readonly [K in MultipartKind]: Codec<MultipartEntries[K]> } = {
  description: struct<Description>({
    manufacturer: text(256),
    hardware: text(256),
    software: text(256),
    serialNumber: text(32),
    datapath: text(256),
  }),
  flow: flowStats,
  aggregate: struct<AggregateStats>({ packets: u64, bytes: u64, flows: u32, pad1: pad(4) }),
  table: struct<TableStats>({ tableId: u8, pad1: pad(3), active: u32, lookups: u64, matched: u64 }),
  portStats: struct<PortStats>({
    port: u32,
    pad1: pad(4),
    receivedPackets: u64,
    sentPackets: u64,
    receivedBytes: u64,
    sentBytes: u64,
    receivedDropped: u64,
    sentDropped: u64,
    receivedErrors: u64,
    sentErrors: u64,
    frameErrors: u64,
    overruns: u64,
    crcErrors: u64,
    collisions: u64,
    durationS: u32,
    durationNs: u32,
  }),
  portDescription,
  group: sized(
    struct<GroupStats>({
      pad1: pad(2),
      pad2: pad(2),
      groupId: u32,
      references: u32,
      pad3: pad(4),
      packets: u64,
      bytes: u64,
      durationS: u32,
      durationNs: u32,
      buckets: list(struct<BucketStats>({ packets: u64, bytes: u64 })),
    }),
    0,
  ),
  groupDescription: sized(
    struct<GroupDescription>({
      pad1: pad(2),
      groupType: named(u8, groupTypes),
      pad2: pad(1),
      groupId: u32,
      buckets,
    }),
    0,
  ),
  groupFeatures: struct<GroupFeatures>({
    types: u32,
    capabilities: u32,
    maxGroups: times(4, u32),
    actions: times(4, u32),
  }),
  meter: sized(
    struct<MeterStats>({
      meterId: u32,
      pad1: pad(2),
      pad2: pad(6),
      flows: u32,
      packets: u64,
      bytes: u64,
      durationS: u32,
      durationNs: u32,
      bands: list(struct<MeterBandStats>({ packets: u64, bytes: u64 })),
    }),
    4,
  ),
  meterConfig: sized(struct<MeterConfig>({ pad1: pad(2), flags: u16, meterId: u32, bands: meterBands }), 0),
  meterFeatures: struct<MeterFeatures>({
    maxMeters: u32,
    bandTypes: u32,
    capabilities: u32,
    maxBands: u8,
    maxColor: u8,
    pad1: pad(2),
  }),
};

/** The kinds whose reply is one entry. */
const single: ReadonlySet<MultipartKind> = new Set([
  "description",
  "aggregate",
  "groupFeatures",
  "meterFeatures",
]);

const kinds = {
  description: 0,
  flow: 1,
  aggregate: 2,
  table: 3,
  portStats: 4,
  group: 6,
  groupDescription: 7,
  groupFeatures: 8,
  meter: 9,
  meterConfig: 10,
  meterFeatures: 11,
  portDescription: 13,
} as const satisfies Record<MultipartKind, number>;

const kind = named(u16, kinds);

const portOf = struct<{ port: number }>({ port: u32, pad1: pad(4) });
const groupOf = struct<{ groupId: number }>({ groupId: u32, pad1: pad(4) });
const meterOf = struct<{ meterId: number }>({ meterId: u32, pad1: pad(4) });
const nothing = struct<object>({});

const requestCodecs: { readonly [K in MultipartKind]: Codec<never> } = {
  description: nothing as Codec<never>,
  flow: filterCodec as Codec<never>,
  aggregate: filterCodec as Codec<never>,
  table: nothing as Codec<never>,
  portStats: portOf as Codec<never>,
  portDescription: nothing as Codec<never>,
  group: groupOf as Codec<never>,
  groupDescription: nothing as Codec<never>,
  groupFeatures: nothing as Codec<never>,
  meter: meterOf as Codec<never>,
  meterConfig: meterOf as Codec<never>,
  meterFeatures: nothing as Codec<never>,
};

/** The bit of the flags of a multipart message that says that more parts follow. */
export const moreParts = 1;

/** The head of both: the kind and the flags. */
function head(reader: Reader): { readonly known: MultipartKind | number; readonly flags: number } {
  const known = kind.read(reader, "multipart.kind");
  const flags = reader.u16("multipart.flags");
  reader.take(4, "multipart");
  return { known, flags };
}

/** A part of a request: the flags, and what is asked. */
export interface MultipartRequestParts {
  readonly flags: number;
  readonly request: MultipartRequestBody;
}

/** A part of a reply: the flags, and what is told. */
export interface MultipartReplyParts {
  readonly flags: number;
  readonly reply: MultipartReplyBody;
}

export const multipartRequest: Codec<MultipartRequestParts> = {
  read(reader) {
    const { known, flags } = head(reader);
    if (typeof known === "number") {
      return { flags, request: { kind: "other", code: known, body: rest.read(reader, "body") } };
    }
    const asked = requestCodecs[known].read(reader, `multipart.${known}`) as object;
    return { flags, request: { kind: known, ...asked } as MultipartRequestBody };
  },
  write(writer, { flags, request }) {
    kind.write(writer, request.kind === "other" ? request.code : request.kind, "multipart.kind");
    writer.u16(flags, "multipart.flags");
    writer.zeros(4);
    if (request.kind === "other") return rest.write(writer, request.body, "multipart.body");
    requestCodecs[request.kind].write(writer, request as never, `multipart.${request.kind}`);
  },
};

export const multipartReply: Codec<MultipartReplyParts> = {
  read(reader) {
    const { known, flags } = head(reader);
    if (typeof known === "number") {
      return { flags, reply: { kind: "other", code: known, body: rest.read(reader, "body") } };
    }
    const codec = entryCodecs[known] as Codec<unknown>;
    const name = `multipart.${known}`;
    const entries = single.has(known) ? [codec.read(reader, name)] : list(codec).read(reader, name);
    return { flags, reply: { kind: known, entries } as MultipartReplyBody };
  },
  write(writer, { flags, reply }) {
    kind.write(writer, reply.kind === "other" ? reply.code : reply.kind, "multipart.kind");
    writer.u16(flags, "multipart.flags");
    writer.zeros(4);
    if (reply.kind === "other") return rest.write(writer, reply.body, "multipart.body");
    if (single.has(reply.kind) && reply.entries.length !== 1) {
      throw invalid("multipart.entries", reply.entries, "a list of one entry");
    }
    list(entryCodecs[reply.kind] as Codec<unknown>).write(writer, reply.entries, "multipart.entries");
  },
};
