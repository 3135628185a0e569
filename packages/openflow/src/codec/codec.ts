import { invalid, malformed, OpenFlowError } from "../errors.ts";
import { actionsCodec, instructionsCodec } from "./actions.ts";
import { mac } from "./addresses.ts";
import { type Codec, list, named, pad, Reader, rest, struct, u16, u32, u64, u8, Writer } from "./bytes.ts";
import { matchCodec } from "./fields.ts";
import type * as m from "./messages.ts";
import { buckets } from "./groups.ts";
import { meterBands } from "./meters.ts";
import { multipartReply, multipartRequest, portDescription } from "./multipart.ts";
import {
  flowModCommands,
  flowRemovedReasons,
  groupModCommands,
  groups,
  groupTypes,
  meterModCommands,
  noBufferId,
  packetInReasons,
  ports,
  portStatusReasons,
  roles,
} from "./names.ts";

/** The version of OpenFlow 1.3 in the header of each message. */
export const openFlow13 = 4;

/** What a message says besides its type. */
type Body<M> = Omit<M, "type">;

const helloElement: Codec<m.HelloElement> = {
  read(reader, name) {
    const from = reader.at;
    const code = reader.u16(name);
    const length = reader.u16(name);
    if (length < 4) throw malformed(name, `the length of an element is ${length}, and not at least 4`);
    const body = reader.part(length - 4, name);
    const known = code === 1 && body.left % 4 === 0;
    const element: m.HelloElement = known
      ? { type: "versions", bitmaps: list(u32).read(body, name) }
      : { type: "other", code, body: body.rest() };
    // The length does not count the padding, which some leave out behind the last element.
    reader.take(Math.min(reader.left, -(reader.at - from) & 7), name);
    return element;
  },
  write(writer, element, name) {
    const from = writer.at;
    writer.u16(element.type === "versions" ? 1 : element.code, `${name}.code`);
    writer.u16(0, name);
    if (element.type === "versions") list(u32).write(writer, element.bitmaps, `${name}.bitmaps`);
    else writer.raw(element.body, `${name}.body`);
    writer.setU16(from + 2, writer.at - from, "the length of an element of the hello");
    writer.pad8(from);
  },
};

const errorBody: Codec<Body<m.ErrorMessage>> = {
  read(reader) {
    const errorType = reader.u16("error.type");
    const code = reader.u16("error.code");
    if (errorType !== 0xffff) return { errorType, code, data: reader.rest() };
    return { errorType, code, experimenter: reader.u32("error.experimenter"), data: reader.rest() };
  },
  write(writer, { errorType, code, experimenter, data }) {
    writer.u16(errorType, "error.errorType");
    writer.u16(code, "error.code");
    if (errorType === 0xffff) writer.u32(experimenter ?? 0, "error.experimenter");
    writer.raw(data, "error.data");
  },
};

const packetOutBody: Codec<Body<m.PacketOut>> = {
  read(reader) {
    const bufferId = reader.u32("bufferId");
    const inPort = reader.u32("inPort");
    const length = reader.u16("packetOut");
    reader.take(6, "packetOut");
    const actions = actionsCodec.read(reader.part(length, "packetOut.actions"), "packetOut.actions");
    return { bufferId, inPort, actions, data: reader.rest() };
  },
  write(writer, { bufferId, inPort, actions, data }) {
    writer.u32(bufferId, "bufferId");
    writer.u32(inPort, "inPort");
    const at = writer.at;
    writer.zeros(8);
    actionsCodec.write(writer, actions, "packetOut.actions");
    writer.setU16(at, writer.at - at - 8, "the length of packetOut.actions");
    writer.raw(data, "packetOut.data");
  },
};

const command = named(u8, flowModCommands);

/** By hand and not as a structure: this is the message that is sent most. */
const flowModBody: Codec<Body<m.FlowMod>> = {
  read(reader) {
    const cookie = reader.u64("cookie");
    const cookieMask = reader.u64("cookieMask");
    const tableId = reader.u8("tableId");
    const read = {
      cookie,
      cookieMask,
      tableId,
      command: command.read(reader, "command"),
      idleTimeoutS: reader.u16("idleTimeoutS"),
      hardTimeoutS: reader.u16("hardTimeoutS"),
      priority: reader.u16("priority"),
      bufferId: reader.u32("bufferId"),
      outPort: reader.u32("outPort"),
      outGroup: reader.u32("outGroup"),
      flags: reader.u16("flags"),
    };
    reader.take(2, "flowMod");
    const match = matchCodec.read(reader, "match");
    return { ...read, match, instructions: instructionsCodec.read(reader, "instructions") };
  },
  write(writer, flow) {
    writer.u64(flow.cookie, "cookie");
    writer.u64(flow.cookieMask, "cookieMask");
    writer.u8(flow.tableId, "tableId");
    command.write(writer, flow.command, "command");
    writer.u16(flow.idleTimeoutS, "idleTimeoutS");
    writer.u16(flow.hardTimeoutS, "hardTimeoutS");
    writer.u16(flow.priority, "priority");
    writer.u32(flow.bufferId, "bufferId");
    writer.u32(flow.outPort, "outPort");
    writer.u32(flow.outGroup, "outGroup");
    writer.u16(flow.flags, "flags");
    writer.zeros(2);
    matchCodec.write(writer, flow.match, "match");
    instructionsCodec.write(writer, flow.instructions, "instructions");
  },
};

/** A message that fills the rest of its frame: what follows it is an error. */
interface Kind {
  readonly type: m.Message["type"];
  readonly code: number;
  readonly body: Codec<object>;
}

const kind = <M extends m.Message>(type: M["type"], code: number, body: Codec<Body<M>>): Kind => ({
  type,
  code,
  body: body as unknown as Codec<object>,
});

const bare = struct<object>({});
const echo = struct<Body<m.Echo>>({ data: rest });
const config = struct<Body<m.Config>>({ flags: u16, missSendLength: u16 });
const role = struct<Body<m.RoleMessage>>({ role: named(u32, roles), pad1: pad(4), generation: u64 });

const kinds: readonly Kind[] = [
  kind<m.ErrorMessage>("error", 1, errorBody),
  kind<m.Echo>("echoRequest", 2, echo),
  kind<m.Echo>("echoReply", 3, echo),
  kind<m.Experimenter>(
    "experimenter",
    4,
    struct<Body<m.Experimenter>>({ experimenter: u32, experimenterType: u32, data: rest }),
  ),
  kind<m.Bare>("featuresRequest", 5, bare),
  kind<m.Features>(
    "featuresReply",
    6,
    struct<Body<m.Features>>({
      datapathId: u64,
      buffers: u32,
      tables: u8,
      auxiliaryId: u8,
      pad1: pad(2),
      capabilities: u32,
      reserved: u32,
    }),
  ),
  kind<m.Bare>("getConfigRequest", 7, bare),
  kind<m.Config>("getConfigReply", 8, config),
  kind<m.Config>("setConfig", 9, config),
  kind<m.PacketIn>(
    "packetIn",
    10,
    struct<Body<m.PacketIn>>({
      bufferId: u32,
      totalLength: u16,
      reason: named(u8, packetInReasons),
      tableId: u8,
      cookie: u64,
      match: matchCodec,
      pad1: pad(2),
      data: rest,
    }),
  ),
  kind<m.FlowRemoved>(
    "flowRemoved",
    11,
    struct<Body<m.FlowRemoved>>({
      cookie: u64,
      priority: u16,
      reason: named(u8, flowRemovedReasons),
      tableId: u8,
      durationS: u32,
      durationNs: u32,
      idleTimeoutS: u16,
      hardTimeoutS: u16,
      packets: u64,
      bytes: u64,
      match: matchCodec,
    }),
  ),
  kind<m.PortStatus>(
    "portStatus",
    12,
    struct<Body<m.PortStatus>>({ reason: named(u8, portStatusReasons), pad1: pad(7), port: portDescription }),
  ),
  kind<m.PacketOut>("packetOut", 13, packetOutBody),
  kind<m.FlowMod>("flowMod", 14, flowModBody),
  kind<m.GroupMod>(
    "groupMod",
    15,
    struct<Body<m.GroupMod>>({
      command: named(u16, groupModCommands),
      groupType: named(u8, groupTypes),
      pad1: pad(1),
      groupId: u32,
      buckets,
    }),
  ),
  kind<m.PortMod>(
    "portMod",
    16,
    struct<Body<m.PortMod>>({
      port: u32,
      pad1: pad(4),
      mac,
      pad2: pad(2),
      config: u32,
      mask: u32,
      advertise: u32,
      pad3: pad(4),
    }),
  ),
  kind<m.MultipartRequest>("multipartRequest", 18, multipartRequest),
  kind<m.MultipartReply>("multipartReply", 19, multipartReply),
  kind<m.Bare>("barrierRequest", 20, bare),
  kind<m.Bare>("barrierReply", 21, bare),
  kind<m.RoleMessage>("roleRequest", 24, role),
  kind<m.RoleMessage>("roleReply", 25, role),
  kind<m.Bare>("getAsyncRequest", 26, bare),
  kind<m.MeterMod>(
    "meterMod",
    29,
    struct<Body<m.MeterMod>>({
      command: named(u16, meterModCommands),
      flags: u16,
      meterId: u32,
      bands: meterBands,
    }),
  ),
];

const byCode = new Map(kinds.map((one) => [one.code, one]));
const byType = new Map<string, Kind>(kinds.map((one) => [one.type, one]));

/** Reads one frame. @throws OpenFlowError WW_OF_MALFORMED, WW_OF_VERSION */
export function decode(frame: Uint8Array): m.Received {
  const reader = new Reader(frame);
  const version = reader.u8("the header");
  const code = reader.u8("the header");
  const length = reader.u16("the header");
  const xid = reader.u32("the header");
  if (length !== frame.length) {
    throw malformed("the header", `the length is ${length}, and the frame has ${frame.length} bytes`);
  }
  if (code === 0) {
    return { type: "hello", version, elements: list(helloElement).read(reader, "hello"), xid };
  }
  // A switch that has no version in common with us says so in its own.
  if (version !== openFlow13 && code !== 1) throw wrongVersion(version);
  const known = byCode.get(code);
  if (known === undefined) return { type: "other", messageType: code, body: reader.rest(), xid };
  const body = known.body.read(reader, known.type);
  if (reader.left > 0) throw malformed(known.type, `${reader.left} bytes follow what it holds`);
  return { type: known.type, ...body, xid } as m.Received;
}

export const wrongVersion = (version: number): OpenFlowError =>
  new OpenFlowError(
    "WW_OF_VERSION",
    `a message of version ${version}, and not ${openFlow13} (OpenFlow 1.3)`,
    {
      next: "Let the switch speak OpenFlow 1.3. Open vSwitch: `ovs-vsctl set bridge BRIDGE protocols=OpenFlow13`.",
    },
  );

/** Writes one message behind what the writer has. What cannot be written leaves the writer as it was. */
export function encodeInto(writer: Writer, message: m.Message, xid: number): void {
  const from = writer.at;
  try {
    const { type } = message;
    const known = byType.get(type);
    const code = type === "hello" ? 0 : type === "other" ? message.messageType : known?.code;
    if (code === undefined) throw invalid("type", type, "a type of message");
    writer.u8(type === "hello" ? message.version : openFlow13, "version");
    writer.u8(code, "messageType");
    writer.u16(0, type);
    writer.u32(xid, "xid");
    if (type === "hello") list(helloElement).write(writer, message.elements, "hello");
    else if (type === "other") writer.raw(message.body, "body");
    else known?.body.write(writer, message, type);
    const length = writer.at - from;
    if (length > 0xffff) {
      throw new OpenFlowError("WW_OF_TOO_LARGE", `a ${type} of ${length} bytes: 65535 is the most`, {
        next: "Send less in one message. Nothing of it was sent.",
      });
    }
    writer.setU16(from + 2, length, type);
  } catch (error) {
    writer.at = from;
    throw error;
  }
}

/** The frame of a message. @throws OpenFlowError WW_OF_INVALID, WW_OF_TOO_LARGE */
export function encode(message: m.Message, xid = 0): Uint8Array<ArrayBuffer> {
  const writer = new Writer();
  encodeInto(writer, message, xid);
  return writer.written();
}

/** A hello that says that OpenFlow 1.3 is spoken, and nothing else. */
export const hello: m.Hello = {
  type: "hello",
  version: openFlow13,
  elements: [{ type: "versions", bitmaps: [1 << openFlow13] }],
};

/** Whether two sides have OpenFlow 1.3 in common, after the hello of the other one. */
export function speaks13({ version, elements }: m.Hello): boolean {
  const bitmaps = elements.find((element) => element.type === "versions")?.bitmaps;
  // Without bitmaps, the lower of both versions is spoken.
  return bitmaps === undefined ? version >= openFlow13 : ((bitmaps[0] ?? 0) & (1 << openFlow13)) !== 0;
}

/** A message about rules. What is left out has no effect, except: `command` is add, `priority` 32768, `tableId` 0. */
export const flowMod = (given: Partial<Omit<m.FlowMod, "type">> = {}): m.FlowMod => ({
  cookie: 0n,
  cookieMask: 0n,
  tableId: 0,
  command: "add",
  idleTimeoutS: 0,
  hardTimeoutS: 0,
  priority: 0x8000,
  bufferId: noBufferId,
  outPort: ports.any,
  outGroup: groups.any,
  flags: 0,
  match: [],
  instructions: [],
  ...given,
  type: "flowMod",
});

/** A packet that the switch shall send, as if the controller had sent it into the switch. */
export const packetOut = (
  given: Partial<Omit<m.PacketOut, "type">> & Pick<m.PacketOut, "actions">,
): m.PacketOut => ({
  bufferId: noBufferId,
  inPort: ports.controller,
  data: new Uint8Array(),
  ...given,
  type: "packetOut",
});
