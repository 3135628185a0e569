import { type Action, type Instruction } from "./actions.ts";
import { type Match } from "./fields.ts";
import { type Bucket } from "./groups.ts";
import { type MeterBand } from "./meters.ts";
import { type MultipartReplyParts, type MultipartRequestParts, type PortDescription } from "./multipart.ts";
import {
  type flowModCommands,
  type flowRemovedReasons,
  type groupModCommands,
  type groupTypes,
  type meterModCommands,
  type packetInReasons,
  type portStatusReasons,
  type roles,
} from "./names.ts";

/** One of these names, or a number that has none. */
type Named<Names> = (keyof Names & string) | number;

/** What a controller is for a switch. */
export type Role = Named<typeof roles>;

/** A part of a hello. */
export type HelloElement =
  /** Bit v of the bitmaps, counted from the lowest bit of the first one: version v is spoken. OpenFlow 1.3 is 4. */
  | { readonly type: "versions"; readonly bitmaps: readonly number[] }
  | { readonly type: "other"; readonly code: number; readonly body: Uint8Array };

/** The first message of each side. */
export interface Hello {
  readonly type: "hello";
  /** The version of its header: the highest that its sender speaks. */
  readonly version: number;
  readonly elements: readonly HelloElement[];
}

/** A message was refused. `xid` is that of the message. */
export interface ErrorMessage {
  readonly type: "error";
  readonly errorType: number;
  readonly code: number;
  /** If `errorType` is 0xffff: whose code it is. */
  readonly experimenter?: number;
  /** At least the first 64 bytes of the message that was refused. */
  readonly data: Uint8Array;
}

/** Are you there? */
export interface Echo {
  readonly type: "echoRequest" | "echoReply";
  readonly data: Uint8Array;
}

/** A message of somebody's own. Bundles are such messages: see `bundles`. */
export interface Experimenter {
  readonly type: "experimenter";
  readonly experimenter: number;
  readonly experimenterType: number;
  readonly data: Uint8Array;
}

/** Messages that say nothing but their type. */
export interface Bare {
  readonly type:
    "featuresRequest" | "getConfigRequest" | "barrierRequest" | "barrierReply" | "getAsyncRequest";
}

/** What a switch is. */
export interface Features {
  readonly type: "featuresReply";
  readonly datapathId: bigint;
  readonly buffers: number;
  readonly tables: number;
  /** 0: the main connection of the switch. */
  readonly auxiliaryId: number;
  readonly capabilities: number;
  readonly reserved: number;
}

/** How a switch treats fragments (`flags`), and how much of a packet goes to the controller if no rule says so. */
export interface Config {
  readonly type: "getConfigReply" | "setConfig";
  readonly flags: number;
  readonly missSendLength: number;
}

/** A packet that came to the controller. */
export interface PacketIn {
  readonly type: "packetIn";
  readonly bufferId: number;
  readonly totalLength: number;
  readonly reason: Named<typeof packetInReasons>;
  readonly tableId: number;
  readonly cookie: bigint;
  /** Where it came from: at least `inPort`. */
  readonly match: Match;
  readonly data: Uint8Array;
}

/** A rule has ended that was to tell so. */
export interface FlowRemoved {
  readonly type: "flowRemoved";
  readonly cookie: bigint;
  readonly priority: number;
  readonly reason: Named<typeof flowRemovedReasons>;
  readonly tableId: number;
  readonly durationS: number;
  readonly durationNs: number;
  readonly idleTimeoutS: number;
  readonly hardTimeoutS: number;
  readonly packets: bigint;
  readonly bytes: bigint;
  readonly match: Match;
}

/** A port came, went or changed. */
export interface PortStatus {
  readonly type: "portStatus";
  readonly reason: Named<typeof portStatusReasons>;
  readonly port: PortDescription;
}

/** A packet that the switch shall send. `packetOut` makes one. */
export interface PacketOut {
  readonly type: "packetOut";
  readonly bufferId: number;
  readonly inPort: number;
  readonly actions: readonly Action[];
  readonly data: Uint8Array;
}

/** Adds, changes or removes rules. `flowMod` makes one. */
export interface FlowMod {
  readonly type: "flowMod";
  readonly cookie: bigint;
  readonly cookieMask: bigint;
  readonly tableId: number;
  readonly command: Named<typeof flowModCommands>;
  readonly idleTimeoutS: number;
  readonly hardTimeoutS: number;
  readonly priority: number;
  readonly bufferId: number;
  readonly outPort: number;
  readonly outGroup: number;
  readonly flags: number;
  readonly match: Match;
  readonly instructions: readonly Instruction[];
}

/** Changes a port: the bits of `config` that `mask` has. */
export interface PortMod {
  readonly type: "portMod";
  readonly port: number;
  readonly mac: string;
  readonly config: number;
  readonly mask: number;
  readonly advertise: number;
}

/** Adds, changes or removes a meter. */
export interface MeterMod {
  readonly type: "meterMod";
  readonly command: Named<typeof meterModCommands>;
  readonly flags: number;
  readonly meterId: number;
  readonly bands: readonly MeterBand[];
}

/** Adds, changes or removes a group. The group `groups.all` means all of them: for deletes. */
export interface GroupMod {
  readonly type: "groupMod";
  readonly command: Named<typeof groupModCommands>;
  readonly groupType: Named<typeof groupTypes>;
  readonly groupId: number;
  readonly buckets: readonly Bucket[];
}

/** Asks for a part in several parts. */
export interface MultipartRequest extends MultipartRequestParts {
  readonly type: "multipartRequest";
}

/** A part of a reply. */
export interface MultipartReply extends MultipartReplyParts {
  readonly type: "multipartReply";
}

/** Who a controller is for the switch, and in which generation. */
export interface RoleMessage {
  readonly type: "roleRequest" | "roleReply";
  readonly role: Role;
  readonly generation: bigint;
}

/** A message that this package does not know, such as one about queues: its bytes after the header. */
export interface OtherMessage {
  readonly type: "other";
  readonly messageType: number;
  readonly body: Uint8Array;
}

/** A message of OpenFlow 1.3, without its transaction id. */
export type Message =
  | Hello
  | ErrorMessage
  | Echo
  | Experimenter
  | Bare
  | Features
  | Config
  | PacketIn
  | FlowRemoved
  | PortStatus
  | PacketOut
  | FlowMod
  | PortMod
  | MeterMod
  | GroupMod
  | MultipartRequest
  | MultipartReply
  | RoleMessage
  | OtherMessage;

/** A message as it was received: with its transaction id. */
export type Received<M extends Message = Message> = M & { readonly xid: number };
