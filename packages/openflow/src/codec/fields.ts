import { invalid, malformed } from "../errors.ts";
import { ipv4, ipv6, mac } from "./addresses.ts";
import { type Codec, type Reader, u16, u32, u64, u8, type Writer } from "./bytes.ts";

/**
 * The fields of packets that OpenFlow 1.3 can match and set, with the types of their values. A `vlanVid` is as on the wire: bit 0x1000
 * says that there is a VLAN tag. `match({ vlan })` sets it for you.
 */
export interface FieldValues {
  readonly inPort: number;
  readonly inPhyPort: number;
  readonly metadata: bigint;
  readonly ethDst: string;
  readonly ethSrc: string;
  readonly ethType: number;
  readonly vlanVid: number;
  readonly vlanPcp: number;
  readonly ipDscp: number;
  readonly ipEcn: number;
  readonly ipProto: number;
  readonly ipv4Src: string;
  readonly ipv4Dst: string;
  readonly tcpSrc: number;
  readonly tcpDst: number;
  readonly udpSrc: number;
  readonly udpDst: number;
  readonly sctpSrc: number;
  readonly sctpDst: number;
  readonly icmpv4Type: number;
  readonly icmpv4Code: number;
  readonly arpOp: number;
  readonly arpSpa: string;
  readonly arpTpa: string;
  readonly arpSha: string;
  readonly arpTha: string;
  readonly ipv6Src: string;
  readonly ipv6Dst: string;
  readonly ipv6Flabel: number;
  readonly icmpv6Type: number;
  readonly icmpv6Code: number;
  readonly ipv6NdTarget: string;
  readonly ipv6NdSll: string;
  readonly ipv6NdTll: string;
  readonly mplsLabel: number;
  readonly mplsTc: number;
  readonly mplsBos: number;
  readonly pbbIsid: number;
  readonly tunnelId: bigint;
  readonly ipv6Exthdr: number;
}

/** The name of a field of OpenFlow 1.3. */
export type FieldName = keyof FieldValues;

/** One field of a packet with its value, and with a mask if only some of its bits count. */
export type KnownField = {
  readonly [N in FieldName]: {
    readonly field: N;
    readonly value: FieldValues[N];
    readonly mask?: FieldValues[N];
  };
}[FieldName];

/** A field that this package does not know, such as one of Open vSwitch's own: its bytes. */
export interface OtherField {
  readonly field: "other";
  /** The class of the field: 0x8000 is OpenFlow's own, 0x0001 Open vSwitch's. */
  readonly oxmClass: number;
  /** Its number in the class. */
  readonly code: number;
  readonly hasMask: boolean;
  /** The value, and the mask behind it. */
  readonly bytes: Uint8Array;
}

/** One field of a match, or the one that an action sets. */
export type Field = KnownField | OtherField;

interface Known {
  readonly field: FieldName;
  readonly code: number;
  readonly size: number;
  readonly codec: Codec<never>;
}

const u24: Codec<number> = {
  read: (reader, name) => reader.u8(name) * 0x1_0000 + reader.u16(name),
  write(writer, value, name) {
    if (!Number.isInteger(value) || value < 0 || value > 0xff_ffff) {
      throw invalid(name, value, "a whole number from 0 to 16777215");
    }
    writer.u8(value >>> 16, name);
    writer.u16(value & 0xffff, name);
  },
};

// The order is that of their numbers: 0 for the first one.
const order: readonly (readonly [FieldName, number, Codec<number> | Codec<bigint> | Codec<string>])[] = [
  ["inPort", 4, u32],
  ["inPhyPort", 4, u32],
  ["metadata", 8, u64],
  ["ethDst", 6, mac],
  ["ethSrc", 6, mac],
  ["ethType", 2, u16],
  ["vlanVid", 2, u16],
  ["vlanPcp", 1, u8],
  ["ipDscp", 1, u8],
  ["ipEcn", 1, u8],
  ["ipProto", 1, u8],
  ["ipv4Src", 4, ipv4],
  ["ipv4Dst", 4, ipv4],
  ["tcpSrc", 2, u16],
  ["tcpDst", 2, u16],
  ["udpSrc", 2, u16],
  ["udpDst", 2, u16],
  ["sctpSrc", 2, u16],
  ["sctpDst", 2, u16],
  ["icmpv4Type", 1, u8],
  ["icmpv4Code", 1, u8],
  ["arpOp", 2, u16],
  ["arpSpa", 4, ipv4],
  ["arpTpa", 4, ipv4],
  ["arpSha", 6, mac],
  ["arpTha", 6, mac],
  ["ipv6Src", 16, ipv6],
  ["ipv6Dst", 16, ipv6],
  ["ipv6Flabel", 4, u32],
  ["icmpv6Type", 1, u8],
  ["icmpv6Code", 1, u8],
  ["ipv6NdTarget", 16, ipv6],
  ["ipv6NdSll", 6, mac],
  ["ipv6NdTll", 6, mac],
  ["mplsLabel", 4, u32],
  ["mplsTc", 1, u8],
  ["mplsBos", 1, u8],
  ["pbbIsid", 3, u24],
  ["tunnelId", 8, u64],
  ["ipv6Exthdr", 2, u16],
];

const byCode: readonly Known[] = order.map(([field, size, codec], code) => ({
  field,
  code,
  size,
  codec: codec as Codec<never>,
}));
const byName = new Map<string, Known>(byCode.map((known) => [known.field, known]));
const basic = 0x8000;

/** One field with its header. */
export const oneField: Codec<Field> = {
  read(reader, name) {
    const oxmClass = reader.u16(name);
    const header = reader.u8(name);
    const length = reader.u8(name);
    const code = header >> 1;
    const hasMask = (header & 1) === 1;
    const known = oxmClass === basic ? byCode[code] : undefined;
    if (known === undefined || length !== known.size * (hasMask ? 2 : 1)) {
      return { field: "other", oxmClass, code, hasMask, bytes: reader.copy(length, name) };
    }
    const { field, codec } = known;
    const value = codec.read(reader, field);
    return (hasMask ? { field, value, mask: codec.read(reader, field) } : { field, value }) as KnownField;
  },
  write(writer, one) {
    if (one.field === "other") return writeOther(writer, one);
    const known = byName.get(one.field);
    if (known === undefined) {
      throw invalid("match.field", one.field, "a field of OpenFlow 1.3, such as inPort, or other");
    }
    const { code, size, codec } = known;
    const hasMask = one.mask !== undefined;
    writer.u16(basic, one.field);
    writer.u8((code << 1) | (hasMask ? 1 : 0), one.field);
    writer.u8(hasMask ? size * 2 : size, one.field);
    codec.write(writer, one.value as never, one.field);
    if (hasMask) codec.write(writer, one.mask as never, one.field);
  },
};

function writeOther(writer: Writer, { oxmClass, code, hasMask, bytes }: OtherField): void {
  if (!(code >= 0 && code < 128)) throw invalid("match.code", code, "a whole number from 0 to 127");
  writer.u16(oxmClass, "match.oxmClass");
  writer.u8((code << 1) | (hasMask ? 1 : 0), "match.code");
  writer.u8(bytes.length, "the length of match.bytes");
  writer.raw(bytes, "match.bytes");
}

/** What a packet must be: all of these fields. None: any packet. */
export type Match = readonly Field[];

export const matchCodec: Codec<Match> = {
  read(reader, name) {
    const from = reader.at;
    const type = reader.u16(name);
    const length = reader.u16(name);
    if (type !== 1) throw malformed(name, `a match of type ${type}, and not 1 (OXM)`);
    if (length < 4) throw malformed(name, `its length is ${length}, and not at least 4`);
    const fields = reader.part(length - 4, name);
    const match: Field[] = [];
    while (fields.left > 0) match.push(oneField.read(fields, name));
    skipPad8(reader, from, name);
    return match;
  },
  write(writer, match, name) {
    if (!Array.isArray(match)) throw invalid(name, match, "a list of fields: use match({ … })");
    const from = writer.at;
    writer.u16(1, name);
    writer.u16(0, name);
    for (const one of match as Match) oneField.write(writer, one, name);
    writer.setU16(from + 2, writer.at - from, `the length of ${name}`);
    writer.pad8(from);
  },
};

/** Leaves out what fills a part up to a multiple of eight bytes. */
function skipPad8(reader: Reader, from: number, name: string): void {
  const over = (reader.at - from) & 7;
  if (over > 0) reader.take(8 - over, name);
}

/** A value, or a value of which only the bits of the mask count. Addresses may have their mask behind a slash. */
export type Masked<T> = T | { readonly value: T; readonly mask: T };

/** What `match` takes: the fields by their names, and `vlan` as people say it. */
export type MatchFields = { readonly [N in FieldName]?: Masked<FieldValues[N]> } & {
  /** The VLAN of the packet (0 to 4095), any VLAN, or none. It stands for `vlanVid` with the bit that says that there is a tag. */
  readonly vlan?: number | "any" | "none";
};

/**
 * A match of fields by their names: `match({ inPort: 1, ethType: 0x0800, ipv4Src: "10.0.0.0/8" })`. It has them in the order of their
 * numbers, in which switches give them back. @throws OpenFlowError WW_OF_INVALID
 */
export function match(fields: MatchFields): Match {
  const made: Field[] = [];
  for (const [name, given] of Object.entries(fields)) {
    if (given === undefined || name === "vlan") continue;
    const known = byName.get(name);
    if (known === undefined)
      throw invalid("a name in match", name, "a field of OpenFlow 1.3, such as inPort");
    made.push({ field: known.field, ...parted(known, given) } as KnownField);
  }
  if (fields.vlan !== undefined) made.push(vlanField(fields.vlan));
  const isInOrder = made.every(
    (field, index) => index === 0 || codeOf(made[index - 1] as Field) <= codeOf(field),
  );
  return isInOrder ? made : made.toSorted((one, other) => codeOf(one) - codeOf(other));
}

const codeOf = (field: Field): number => byName.get(field.field)?.code ?? 0;

/** The bit of a `vlanVid` that says that the packet has a VLAN tag. */
export const vlanPresent = 0x1000;

function vlanField(vlan: number | "any" | "none"): KnownField {
  if (vlan === "none") return { field: "vlanVid", value: 0 };
  if (vlan === "any") return { field: "vlanVid", value: vlanPresent, mask: vlanPresent };
  if (!Number.isInteger(vlan) || vlan < 0 || vlan > 4095) {
    throw invalid("match.vlan", vlan, 'a whole number from 0 to 4095, "any" or "none"');
  }
  return { field: "vlanVid", value: vlanPresent | vlan };
}

function parted({ field, size }: Known, given: Masked<unknown>): { value: unknown; mask?: unknown } {
  if (typeof given === "object" && given !== null) {
    return { ...(given as { value: unknown; mask: unknown }) };
  }
  if (typeof given !== "string" || !given.includes("/")) return { value: given };
  const [value = "", mask = ""] = given.split("/", 2);
  if (!/^\d+$/.test(mask)) return { value, mask };
  const bits = Number(mask);
  if (size === 6 || bits > size * 8) {
    throw invalid(
      `match.${field}`,
      given,
      `an address, with a mask of at most ${size * 8} bits behind a slash`,
    );
  }
  return bits === size * 8 ? { value } : { value, mask: prefixOf(size, bits) };
}

/** The mask of so many bits, as an address of 4 or 16 bytes. */
function prefixOf(size: number, bits: number): string {
  const ones = (1n << BigInt(size * 8)) - (1n << BigInt(size * 8 - bits));
  const part = size === 4 ? 8n : 16n;
  const parts: string[] = [];
  for (let at = BigInt(size * 8) - part; at >= 0n; at -= part) {
    parts.push(((ones >> at) & ((1n << part) - 1n)).toString(size === 4 ? 10 : 16));
  }
  return parts.join(size === 4 ? "." : ":");
}
