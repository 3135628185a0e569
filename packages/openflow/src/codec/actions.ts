import { invalid, malformed } from "../errors.ts";
import { type Codec, list, type Reader, type Writer } from "./bytes.ts";
import { type Field, oneField } from "./fields.ts";

/** What a switch does with a packet. */
export type Action =
  /** `maxLength`: how many bytes go to the controller; default: all. */
  | { readonly type: "output"; readonly port: number; readonly maxLength?: number }
  /** The mask of the field is not used. */
  | { readonly type: "setField"; readonly field: Field }
  | { readonly type: "pushVlan" | "pushMpls" | "popMpls" | "pushPbb"; readonly etherType: number }
  | { readonly type: "popVlan" | "popPbb" | "copyTtlOut" | "copyTtlIn" | "decMplsTtl" | "decNwTtl" }
  | { readonly type: "setMplsTtl" | "setNwTtl"; readonly ttl: number }
  | { readonly type: "setQueue"; readonly queueId: number }
  | { readonly type: "group"; readonly groupId: number }
  /** `body`: what follows the number of the experimenter. */
  | { readonly type: "experimenter"; readonly experimenter: number; readonly body: Uint8Array }
  /** An action that this package does not know. `body`: what follows its length. */
  | { readonly type: "other"; readonly code: number; readonly body: Uint8Array };

/** What a switch does with a packet that a rule matches. */
export type Instruction =
  | { readonly type: "gotoTable"; readonly tableId: number }
  | { readonly type: "writeMetadata"; readonly metadata: bigint; readonly mask: bigint }
  | { readonly type: "writeActions" | "applyActions"; readonly actions: readonly Action[] }
  | { readonly type: "clearActions" }
  | { readonly type: "meter"; readonly meterId: number }
  | { readonly type: "experimenter"; readonly experimenter: number; readonly body: Uint8Array }
  | { readonly type: "other"; readonly code: number; readonly body: Uint8Array };

/** All bytes of a packet go to the controller, and none is buffered in the switch. */
export const noBuffer = 0xffff;

const actionCodes = {
  output: 0,
  copyTtlOut: 11,
  copyTtlIn: 12,
  setMplsTtl: 15,
  decMplsTtl: 16,
  pushVlan: 17,
  popVlan: 18,
  pushMpls: 19,
  popMpls: 20,
  setQueue: 21,
  group: 22,
  setNwTtl: 23,
  decNwTtl: 24,
  setField: 25,
  pushPbb: 26,
  popPbb: 27,
  experimenter: 0xffff,
} as const;

const instructionCodes = {
  gotoTable: 1,
  writeMetadata: 2,
  writeActions: 3,
  applyActions: 4,
  clearActions: 5,
  meter: 6,
  experimenter: 0xffff,
} as const;

const actionNames = new Map(Object.entries(actionCodes).map(([name, code]) => [code, name] as const)) as Map<
  number,
  keyof typeof actionCodes
>;
const instructionNames = new Map(
  Object.entries(instructionCodes).map(([name, code]) => [code, name] as const),
) as Map<number, keyof typeof instructionCodes>;

/** The head of an action or an instruction, and a reader of what follows it. */
function head(reader: Reader, name: string, least: number): { code: number; body: Reader } {
  const code = reader.u16(name);
  const length = reader.u16(name);
  if (length < least) throw malformed(name, `its length is ${length}, and not at least ${least}`);
  return { code, body: reader.part(length - 4, name) };
}

/** Reads an action that has the length it should have; undefined: it has another one, so that its bytes are kept. */
function readAction(type: keyof typeof actionCodes, body: Reader): Action | undefined {
  const short = body.left === 4;
  switch (type) {
    case "output": {
      if (body.left !== 12) return undefined;
      return { type, port: body.u32(type), maxLength: body.u16(type) };
    }
    case "setField":
      return readSetField(body);
    case "pushVlan":
    case "pushMpls":
    case "popMpls":
    case "pushPbb":
      return short ? { type, etherType: body.u16(type) } : undefined;
    case "setMplsTtl":
    case "setNwTtl":
      return short ? { type, ttl: body.u8(type) } : undefined;
    case "setQueue":
      return short ? { type, queueId: body.u32(type) } : undefined;
    case "group":
      return short ? { type, groupId: body.u32(type) } : undefined;
    case "experimenter":
      return { type, experimenter: body.u32(type), body: body.rest() };
    default:
      return short ? { type } : undefined;
  }
}

function readSetField(body: Reader): Action | undefined {
  const whole = body.left;
  // The header of the field says how long it is.
  if (whole < 4 || 4 + body.view.getUint8(body.at + 3) > whole) return undefined;
  const field = oneField.read(body, "setField");
  return body.left < 8 && (whole + 4) % 8 === 0 ? { type: "setField", field } : undefined;
}

const oneAction: Codec<Action> = {
  read(reader, name) {
    const { code, body } = head(reader, name, 8);
    const from = body.at;
    const known = actionNames.get(code);
    const action = known === undefined ? undefined : readAction(known, body);
    if (action !== undefined) return action;
    body.at = from;
    return { type: "other", code, body: body.rest() };
  },
  write(writer, action, name) {
    const from = writer.at;
    const code =
      action.type === "other"
        ? action.code
        : Object.hasOwn(actionCodes, action.type)
          ? actionCodes[action.type]
          : undefined;
    if (code === undefined) throw invalid(`${name}.type`, action.type, "a type of action");
    writer.u16(code, name);
    writer.u16(0, name);
    writeAction(writer, action);
    finish(writer, from, name);
  },
};

/** Sets the length of an action or instruction, which ends at a multiple of eight bytes unless its bytes say otherwise. */
function finish(writer: Writer, from: number, name: string): void {
  writer.setU16(from + 2, writer.at - from, `the length of ${name}`);
}

function writeAction(writer: Writer, action: Action): void {
  switch (action.type) {
    case "output":
      writer.u32(action.port, "output.port");
      writer.u16(action.maxLength ?? noBuffer, "output.maxLength");
      return writer.zeros(6);
    case "setField": {
      const from = writer.at - 4;
      oneField.write(writer, action.field, "setField");
      return writer.pad8(from);
    }
    case "pushVlan":
    case "pushMpls":
    case "popMpls":
    case "pushPbb":
      writer.u16(action.etherType, `${action.type}.etherType`);
      return writer.zeros(2);
    case "setMplsTtl":
    case "setNwTtl":
      writer.u8(action.ttl, `${action.type}.ttl`);
      return writer.zeros(3);
    case "setQueue":
      return writer.u32(action.queueId, "setQueue.queueId");
    case "group":
      return writer.u32(action.groupId, "group.groupId");
    case "experimenter":
      writer.u32(action.experimenter, "experimenter.experimenter");
      return writer.raw(action.body, "experimenter.body");
    case "other":
      return writeOther(writer, action.body, 4);
    default:
      return writer.zeros(4);
  }
}

/** The bytes of something that is not known. Too few would have a length that no reader accepts. */
function writeOther(writer: Writer, body: Uint8Array, least: number): void {
  if (!(body instanceof Uint8Array) || body.length < least) {
    throw invalid("body", body, `a Uint8Array of at least ${least} bytes`);
  }
  writer.raw(body, "body");
}

export const actionsCodec = list(oneAction);

function readInstruction(type: keyof typeof instructionCodes, body: Reader): Instruction | undefined {
  const short = body.left === 4;
  switch (type) {
    case "gotoTable":
      return short ? { type, tableId: body.u8(type) } : undefined;
    case "writeMetadata": {
      if (body.left !== 20) return undefined;
      body.take(4, type);
      return { type, metadata: body.u64(type), mask: body.u64(type) };
    }
    case "writeActions":
    case "applyActions": {
      if (body.left < 4) return undefined;
      body.take(4, type);
      return { type, actions: actionsCodec.read(body, type) };
    }
    case "clearActions":
      return short ? { type } : undefined;
    case "meter":
      return short ? { type, meterId: body.u32(type) } : undefined;
    case "experimenter":
      return body.left < 4 ? undefined : { type, experimenter: body.u32(type), body: body.rest() };
  }
}

const oneInstruction: Codec<Instruction> = {
  read(reader, name) {
    const { code, body } = head(reader, name, 4);
    const from = body.at;
    const known = instructionNames.get(code);
    const instruction = known === undefined ? undefined : readInstruction(known, body);
    if (instruction !== undefined) return instruction;
    body.at = from;
    return { type: "other", code, body: body.rest() };
  },
  write(writer, instruction, name) {
    const from = writer.at;
    const code =
      instruction.type === "other"
        ? instruction.code
        : Object.hasOwn(instructionCodes, instruction.type)
          ? instructionCodes[instruction.type]
          : undefined;
    if (code === undefined) throw invalid(`${name}.type`, instruction.type, "a type of instruction");
    writer.u16(code, name);
    writer.u16(0, name);
    writeInstruction(writer, instruction);
    finish(writer, from, name);
  },
};

function writeInstruction(writer: Writer, instruction: Instruction): void {
  switch (instruction.type) {
    case "gotoTable":
      writer.u8(instruction.tableId, "gotoTable.tableId");
      return writer.zeros(3);
    case "writeMetadata":
      writer.zeros(4);
      writer.u64(instruction.metadata, "writeMetadata.metadata");
      return writer.u64(instruction.mask, "writeMetadata.mask");
    case "writeActions":
    case "applyActions":
      writer.zeros(4);
      return actionsCodec.write(writer, instruction.actions, `${instruction.type}.actions`);
    case "clearActions":
      return writer.zeros(4);
    case "meter":
      return writer.u32(instruction.meterId, "meter.meterId");
    case "experimenter":
      writer.u32(instruction.experimenter, "experimenter.experimenter");
      return writer.raw(instruction.body, "experimenter.body");
    case "other":
      return writeOther(writer, instruction.body, 0);
  }
}

export const instructionsCodec = list(oneInstruction);
