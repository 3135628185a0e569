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
    const isLong = typeof value === "string" && value.length === 17;
    const [high, low] = isLong ? [hexAt(value, 0), hexAt(value, 9)] : [-1, -1];
    if (high < 0 || low < 0 || value[8] !== ":")
      throw invalid(name, value, "a MAC address, such as 0a:00:00:00:00:01");
    writer.u16(high >>> 8, name);
    writer.u32((high & 0xff) * 0x100_0000 + low, name);
  },
};

/** The number of three bytes in a text, such as `0a:00:01`. -1: there is something else. */
function hexAt(text: string, from: number): number {
  let number = 0;
  for (let at = from; at < from + 8; at++) {
    const code = text.charCodeAt(at);
    if ((at - from) % 3 === 2) {
      if (code !== 0x3a) return -1;
      continue;
    }
    const letter = (code | 0x20) - 0x61;
    const digit = code >= 0x30 && code <= 0x39 ? code - 0x30 : letter >= 0 && letter < 6 ? letter + 10 : -1;
    if (digit < 0) return -1;
    number = number * 16 + digit;
  }
  return number;
}

/** An IPv4 address, such as `10.0.0.1`. */
export const ipv4: Codec<string> = {
  read(reader, name) {
    const at = reader.take(4, name);
    const { view } = reader;
    return `${view.getUint8(at)}.${view.getUint8(at + 1)}.${view.getUint8(at + 2)}.${view.getUint8(at + 3)}`;
  },
  write(writer, value, name) {
    const number = typeof value === "string" ? ipv4Number(value) : -1;
    if (number < 0) throw invalid(name, value, "an IPv4 address, such as 10.0.0.1");
    writer.u32(number, name);
  },
};

/** The number of an IPv4 address. -1: it is none. It looks at each character once, since most rules have addresses. */
function ipv4Number(value: string): number {
  let number = 0;
  let part = -1;
  let parts = 0;
  for (let at = 0; at <= value.length; at++) {
    const digit = at === value.length ? -2 : value.charCodeAt(at) - 0x30;
    if (digit === -2) {
      // A point, or the end.
      if (part < 0 || ++parts > 4) return -1;
      number = number * 256 + part;
      part = -1;
      continue;
    }
    // A part that begins with 0 means something else to some programs: it is refused.
    if (digit < 0 || digit > 9 || part === 0) return -1;
    part = (part < 0 ? 0 : part * 10) + digit;
    if (part > 255) return -1;
  }
  return parts === 4 ? number : -1;
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
  if (!part.includes(".")) return [/^[\da-f]{1,4}$/i.test(part) ? Number.parseInt(part, 16) : -1];
  const number = ipv4Number(part);
  return number < 0 ? [-1] : [number >>> 16, number & 0xffff];
}
