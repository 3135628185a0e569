import { invalid } from "../errors.ts";
import { type Codec } from "./bytes.ts";

const hex = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** A MAC address, such as `0a:00:00:00:00:01`. */
export const mac: Codec<string> = {
  read(reader, name) {
    const at = reader.take(6, name);
    const { view } = reader;
    let address = hex[view.getUint8(at)] as string;
    for (let index = at + 1; index < at + 6; index++) address += `:${hex[view.getUint8(index)]}`;
    return address;
  },
  write(writer, value, name) {
    if (typeof value !== "string" || !/^[\da-f]{2}(?::[\da-f]{2}){5}$/i.test(value)) {
      throw invalid(name, value, "a MAC address, such as 0a:00:00:00:00:01");
    }
    for (let at = 0; at < 17; at += 3) writer.u8(Number.parseInt(value.slice(at, at + 2), 16), name);
  },
};

/** An IPv4 address, such as `10.0.0.1`. */
export const ipv4: Codec<string> = {
  read(reader, name) {
    const at = reader.take(4, name);
    const { view } = reader;
    return `${view.getUint8(at)}.${view.getUint8(at + 1)}.${view.getUint8(at + 2)}.${view.getUint8(at + 3)}`;
  },
  write(writer, value, name) {
    const bytes = typeof value === "string" ? ipv4Bytes(value) : undefined;
    if (bytes === undefined) throw invalid(name, value, "an IPv4 address, such as 10.0.0.1");
    for (const byte of bytes) writer.u8(byte, name);
  },
};

function ipv4Bytes(value: string): readonly number[] | undefined {
  const parts = value.split(".");
  // A part that begins with 0 means something else to some programs: it is refused.
  if (parts.length !== 4 || !parts.every((part) => /^(?:0|[1-9]\d{0,2})$/.test(part))) return undefined;
  const bytes = parts.map(Number);
  return bytes.every((byte) => byte < 256) ? bytes : undefined;
}

/** An IPv6 address, such as `fe80::1`. It is read in the form of RFC 5952. */
export const ipv6: Codec<string> = {
  read(reader, name) {
    const at = reader.take(16, name);
    return ipv6Text(Array.from({ length: 8 }, (_, index) => reader.view.getUint16(at + index * 2)));
  },
  write(writer, value, name) {
    const groups = typeof value === "string" ? ipv6Groups(value) : undefined;
    if (groups === undefined) throw invalid(name, value, "an IPv6 address, such as fe80::1");
    for (const group of groups) writer.u16(group, name);
  },
};

/** The groups as text: the first of the longest runs of zeros is left out, if it has two groups or more. */
function ipv6Text(groups: readonly number[]): string {
  let from = 0;
  let length = 0;
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === 0) end++;
    if (end - start > length) [from, length] = [start, end - start];
  }
  const texts = groups.map((group) => group.toString(16));
  if (length < 2) return texts.join(":");
  return `${texts.slice(0, from).join(":")}::${texts.slice(from + length).join(":")}`;
}

function ipv6Groups(value: string): readonly number[] | undefined {
  const halves = value.split("::");
  if (halves.length > 2) return undefined;
  const parts = halves.map((half) => (half === "" ? [] : half.split(":").flatMap(groupsOf)));
  const [before = [], after] = parts;
  const missing = 8 - before.length - (after?.length ?? 0);
  if (after === undefined ? missing !== 0 : missing < 1) return undefined;
  const groups = after === undefined ? before : [...before, ...Array<number>(missing).fill(0), ...after];
  return groups.every((group) => group >= 0) ? groups : undefined;
}

/** What stands between two colons: a group, or an IPv4 address, which is two. -1: neither. */
function groupsOf(part: string): readonly number[] {
  const [a = 0, b = 0, c = 0, d = 0] = ipv4Bytes(part) ?? [];
  if (part.includes(".")) return ipv4Bytes(part) === undefined ? [-1] : [a * 256 + b, c * 256 + d];
  return [/^[\da-f]{1,4}$/i.test(part) ? Number.parseInt(part, 16) : -1];
}
