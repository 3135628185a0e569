/** The numbers of ports that are no port of the switch. */
export const ports = {
  /** The highest number of a port. */
  max: 0xffff_ff00,
  /** Out of the port of arrival. */
  inPort: 0xffff_fff8,
  /** Into the first table: for packet-outs. */
  table: 0xffff_fff9,
  /** As a switch without OpenFlow would. */
  normal: 0xffff_fffa,
  flood: 0xffff_fffb,
  /** Out of all ports but the port of arrival. */
  all: 0xffff_fffc,
  controller: 0xffff_fffd,
  local: 0xffff_fffe,
  /** For filters and deletes: whatever port. */
  any: 0xffff_ffff,
} as const;

/** The numbers of groups that are no group of the switch. */
export const groups = { all: 0xffff_fffc, any: 0xffff_ffff } as const;

/** For filters and deletes: whatever table. */
export const allTables = 0xff;

/** The packet is in no buffer of the switch. */
export const noBufferId = 0xffff_ffff;

/** The bits of the flags of a rule. */
export const flowFlags = {
  sendFlowRemoved: 1,
  checkOverlap: 2,
  resetCounts: 4,
  noPacketCounts: 8,
  noByteCounts: 16,
} as const;

/** The bits of the flags of a meter. */
export const meterFlags = { kilobits: 1, packets: 2, burst: 4, stats: 8 } as const;

/** The number of a meter that means all of them: for deletes and reads. */
export const allMeters = 0xffff_ffff;

/** The bits of a port's `config`. */
export const portConfig = { down: 1, noReceive: 4, noForward: 32, noPacketIn: 64 } as const;

/** The bits of a port's `state`. */
export const portState = { linkDown: 1, blocked: 2, live: 4 } as const;

/** The roles of a controller. */
export const roles = { noChange: 0, equal: 1, master: 2, slave: 3 } as const;
/** What a flow-mod does. The strict ones mean one rule: the same match and priority. */
export const flowModCommands = { add: 0, modify: 1, modifyStrict: 2, delete: 3, deleteStrict: 4 } as const;
/** What a meter-mod does. */
export const meterModCommands = { add: 0, modify: 1, delete: 2 } as const;
/** What a group-mod does. */
export const groupModCommands = { add: 0, modify: 1, delete: 2 } as const;
/** Which of its buckets a group uses: all, one that it selects, its only one, or the first that lives. */
export const groupTypes = { all: 0, select: 1, indirect: 2, fastFailover: 3 } as const;
/** Why a packet came to the controller. */
export const packetInReasons = { noMatch: 0, action: 1, invalidTtl: 2 } as const;
/** Why a rule has ended. */
export const flowRemovedReasons = { idleTimeout: 0, hardTimeout: 1, delete: 2, groupDelete: 3 } as const;
/** What has happened to a port. */
export const portStatusReasons = { add: 0, delete: 1, modify: 2 } as const;

/** The types of errors with their codes, as the standard and Open vSwitch have them. */
const errorNames: Readonly<Record<number, readonly [string, Readonly<Record<number, string>>]>> = {
  0: ["HELLO_FAILED", { 0: "INCOMPATIBLE", 1: "EPERM" }],
  1: [
    "BAD_REQUEST",
    listed(
      "BAD_VERSION BAD_TYPE BAD_MULTIPART BAD_EXPERIMENTER BAD_EXP_TYPE EPERM BAD_LEN BUFFER_EMPTY BUFFER_UNKNOWN",
      "BAD_TABLE_ID IS_SLAVE BAD_PORT BAD_PACKET MULTIPART_BUFFER_OVERFLOW",
    ),
  ],
  2: [
    "BAD_ACTION",
    listed(
      "BAD_TYPE BAD_LEN BAD_EXPERIMENTER BAD_EXP_TYPE BAD_OUT_PORT BAD_ARGUMENT EPERM TOO_MANY BAD_QUEUE BAD_OUT_GROUP",
      "MATCH_INCONSISTENT UNSUPPORTED_ORDER BAD_TAG BAD_SET_TYPE BAD_SET_LEN BAD_SET_ARGUMENT",
    ),
  ],
  3: [
    "BAD_INSTRUCTION",
    listed(
      "UNKNOWN_INST UNSUP_INST BAD_TABLE_ID UNSUP_METADATA UNSUP_METADATA_MASK BAD_EXPERIMENTER BAD_EXP_TYPE BAD_LEN EPERM",
    ),
  ],
  4: [
    "BAD_MATCH",
    listed(
      "BAD_TYPE BAD_LEN BAD_TAG BAD_DL_ADDR_MASK BAD_NW_ADDR_MASK BAD_WILDCARDS BAD_FIELD BAD_VALUE BAD_MASK BAD_PREREQ",
      "DUP_FIELD EPERM",
    ),
  ],
  5: [
    "FLOW_MOD_FAILED",
    listed("UNKNOWN TABLE_FULL BAD_TABLE_ID OVERLAP EPERM BAD_TIMEOUT BAD_COMMAND BAD_FLAGS"),
  ],
  6: [
    "GROUP_MOD_FAILED",
    listed(
      "GROUP_EXISTS INVALID_GROUP WEIGHT_UNSUPPORTED OUT_OF_GROUPS OUT_OF_BUCKETS CHAINING_UNSUPPORTED WATCH_UNSUPPORTED",
      "LOOP UNKNOWN_GROUP CHAINED_GROUP BAD_TYPE BAD_COMMAND BAD_BUCKET BAD_WATCH EPERM",
    ),
  ],
  7: ["PORT_MOD_FAILED", listed("BAD_PORT BAD_HW_ADDR BAD_CONFIG BAD_ADVERTISE EPERM")],
  8: ["TABLE_MOD_FAILED", listed("BAD_TABLE BAD_CONFIG EPERM")],
  9: ["QUEUE_OP_FAILED", listed("BAD_PORT BAD_QUEUE EPERM")],
  10: ["SWITCH_CONFIG_FAILED", listed("BAD_FLAGS BAD_LEN EPERM")],
  11: ["ROLE_REQUEST_FAILED", listed("STALE UNSUP BAD_ROLE")],
  12: [
    "METER_MOD_FAILED",
    listed(
      "UNKNOWN METER_EXISTS INVALID_METER UNKNOWN_METER BAD_COMMAND BAD_FLAGS BAD_RATE BAD_BURST BAD_BAND BAD_BAND_VALUE",
      "OUT_OF_METERS OUT_OF_BANDS",
    ),
  ],
  13: ["TABLE_FEATURES_FAILED", listed("BAD_TABLE BAD_METADATA BAD_TYPE BAD_LEN BAD_ARGUMENT EPERM")],
  0xffff: [
    "EXPERIMENTER",
    {
      2300: "BUNDLE_UNKNOWN",
      2301: "BUNDLE_EPERM",
      2302: "BUNDLE_BAD_ID",
      2303: "BUNDLE_EXIST",
      2304: "BUNDLE_CLOSED",
      2305: "OUT_OF_BUNDLES",
      2306: "BUNDLE_BAD_TYPE",
      2307: "BUNDLE_BAD_FLAGS",
      2308: "MSG_BAD_LEN",
      2309: "MSG_BAD_XID",
      2310: "MSG_UNSUP",
      2311: "MSG_CONFLICT",
      2312: "MSG_TOO_MANY",
      2313: "MSG_FAILED",
      2314: "BUNDLE_TIMEOUT",
      2315: "BUNDLE_IN_PROGRESS",
    },
  ],
};

function listed(...names: readonly string[]): Readonly<Record<number, string>> {
  return Object.fromEntries(
    names
      .join(" ")
      .split(" ")
      .map((name, code) => [code, name]),
  );
}

/** The name of an error of a switch, such as `FLOW_MOD_FAILED/TABLE_FULL`. What has no name is shown as numbers. */
export function errorName(errorType: number, code: number): string {
  const [type, codes] = errorNames[errorType] ?? [String(errorType), {}];
  return `${type}/${codes[code] ?? code}`;
}
