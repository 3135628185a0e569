import { invalid, malformed } from "../errors.ts";

/** Reads a part of a frame. It never reads beyond the end of its part: what is too short is an error. */
export class Reader {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  at: number;
  readonly end: number;

  constructor(bytes: Uint8Array, view = viewOf(bytes), at = 0, end = bytes.length) {
    this.bytes = bytes;
    this.view = view;
    this.at = at;
    this.end = end;
  }

  /** How many bytes are left. */
  get left(): number {
    return this.end - this.at;
  }

  /** Goes on by so many bytes, and tells where they begin. */
  take(length: number, name: string): number {
    const at = this.at;
    if (length > this.end - at)
      throw malformed(name, `it needs ${length} bytes, and ${this.end - at} are left`);
    this.at = at + length;
    return at;
  }

  /** A copy of the next bytes: the frame itself may be a piece of a larger buffer, which it would keep in memory. */
  copy(length: number, name: string): Uint8Array {
    const at = this.take(length, name);
    return new Uint8Array(this.bytes.subarray(at, at + length));
  }

  /** A copy of all that is left. */
  rest(): Uint8Array {
    return this.copy(this.left, "the rest");
  }

  /** A reader of the next bytes alone. */
  part(length: number, name: string): Reader {
    const at = this.take(length, name);
    return new Reader(this.bytes, this.view, at, at + length);
  }

  u8(name: string): number {
    return this.view.getUint8(this.take(1, name));
  }

  u16(name: string): number {
    return this.view.getUint16(this.take(2, name));
  }

  u32(name: string): number {
    return this.view.getUint32(this.take(4, name));
  }

  u64(name: string): bigint {
    return this.view.getBigUint64(this.take(8, name));
  }
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Writes frames, one after the other. It checks each value, and writes none that the wire cannot carry. */
export class Writer {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  at = 0;

  constructor(size = 512) {
    this.#bytes = new Uint8Array(size);
    this.#view = viewOf(this.#bytes);
  }

  /** Makes room for so many bytes, and tells where they begin. They are not cleared. */
  #room(length: number): number {
    const at = this.at;
    const needed = at + length;
    if (needed > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
      this.#view = viewOf(larger);
    }
    this.at = needed;
    return at;
  }

  u8(value: number, name: string): void {
    if ((value & 0xff) !== value) throw invalid(name, value, "a whole number from 0 to 255");
    const at = this.#room(1);
    this.#view.setUint8(at, value);
  }

  u16(value: number, name: string): void {
    if ((value & 0xffff) !== value) throw invalid(name, value, "a whole number from 0 to 65535");
    const at = this.#room(2);
    this.#view.setUint16(at, value);
  }

  u32(value: number, name: string): void {
    if (value >>> 0 !== value) throw invalid(name, value, "a whole number from 0 to 4294967295");
    const at = this.#room(4);
    this.#view.setUint32(at, value);
  }

  u64(value: bigint, name: string): void {
    if (typeof value !== "bigint" || BigInt.asUintN(64, value) !== value) {
      throw invalid(name, value, "a bigint from 0n to 2n ** 64n - 1n");
    }
    const at = this.#room(8);
    this.#view.setBigUint64(at, value);
  }

  raw(bytes: Uint8Array, name: string): void {
    if (!(bytes instanceof Uint8Array)) throw invalid(name, bytes, "a Uint8Array");
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }

  zeros(length: number): void {
    const at = this.#room(length);
    const bytes = this.#bytes;
    // They are few almost always.
    for (let index = at; index < at + length; index++) bytes[index] = 0;
  }

  /** Zeros up to a multiple of eight bytes, counted from `from`. */
  pad8(from: number): void {
    const over = (this.at - from) & 7;
    if (over > 0) this.zeros(8 - over);
  }

  /** Sets a length that was left open. */
  setU16(at: number, value: number, name: string): void {
    if (value > 0xffff) throw invalid(name, value, "65535 bytes at most");
    this.#view.setUint16(at, value);
  }

  /** A copy of what was written since `from`. */
  written(from = 0): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(from, this.at);
  }
}

/** How one kind of value is read and written. */
export interface Codec<T> {
  read(reader: Reader, name: string): T;
  write(writer: Writer, value: T, name: string): void;
}

export const u8: Codec<number> = {
  read: (reader, name) => reader.u8(name),
  write: (writer, value, name) => writer.u8(value, name),
};
export const u16: Codec<number> = {
  read: (reader, name) => reader.u16(name),
  write: (writer, value, name) => writer.u16(value, name),
};
export const u32: Codec<number> = {
  read: (reader, name) => reader.u32(name),
  write: (writer, value, name) => writer.u32(value, name),
};
export const u64: Codec<bigint> = {
  read: (reader, name) => reader.u64(name),
  write: (writer, value, name) => writer.u64(value, name),
};

/** All bytes that are left. */
export const rest: Codec<Uint8Array> = {
  read: (reader) => reader.rest(),
  write: (writer, value, name) => writer.raw(value, name),
};

/** Bytes that mean nothing. They are zeros when they are written, and not looked at when they are read. */
export interface Pad {
  readonly pad: number;
}
export const pad = (length: number): Pad => ({ pad: length });

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const toUtf8 = new TextEncoder();

/**
 * A text in a fixed number of bytes, ended by a zero byte unless it fills them all. The standard says ASCII, and switches send UTF-8.
 * Bytes that are neither become lone surrogates (U+DC80 to U+DCFF), so that every text that was read can be written as it was.
 */
export const text = (length: number): Codec<string> => ({
  read(reader, name) {
    const at = reader.take(length, name);
    const field = reader.bytes.subarray(at, at + length);
    const end = field.indexOf(0);
    const bytes = end < 0 ? field : field.subarray(0, end);
    try {
      return utf8.decode(bytes);
    } catch {
      return Array.from(bytes, (byte) => String.fromCharCode(byte < 0x80 ? byte : 0xdc00 + byte)).join("");
    }
  },
  write(writer, value, name) {
    const bytes = typeof value === "string" && !value.includes("\0") ? bytesOf(value) : undefined;
    if (bytes === undefined || bytes.length > length) {
      throw invalid(name, value, `a text of at most ${length} bytes, without a zero`);
    }
    writer.raw(bytes, name);
    writer.zeros(length - bytes.length);
  },
});

/** The bytes of a text; undefined: it has a half of a character that stands for no byte. */
function bytesOf(value: string): Uint8Array | undefined {
  if (value.isWellFormed()) return toUtf8.encode(value);
  const bytes: number[] = [];
  for (const character of value) {
    const code = character.charCodeAt(0);
    if (character.isWellFormed()) bytes.push(...toUtf8.encode(character));
    else if (code >= 0xdc80 && code <= 0xdcff) bytes.push(code - 0xdc00);
    else return undefined;
  }
  return Uint8Array.from(bytes);
}

/** A number that has a name for some of its values. What has none stays a number. */
export function named<const Names extends Readonly<Record<string, number>>>(
  base: Codec<number>,
  names: Names,
): Codec<(keyof Names & string) | number> {
  const byNumber = new Map(Object.entries(names).map(([name, number]) => [number, name]));
  return {
    read(reader, name) {
      const value = base.read(reader, name);
      return byNumber.get(value) ?? value;
    },
    write(writer, value, name) {
      if (typeof value === "number") return base.write(writer, value, name);
      const number = Object.hasOwn(names, value) ? names[value] : undefined;
      if (number === undefined)
        throw invalid(name, value, `a number, or one of ${Object.keys(names).join(", ")}`);
      base.write(writer, number, name);
    },
  };
}

/** The fields of a structure in the order of the wire, and what lies between them. */
type Layout<T> = { readonly [K in keyof T]-?: Codec<T[K]> } & { readonly [P in `pad${number}`]: Pad };

/** A structure with these fields, in this order. */
export function struct<T extends object>(layout: Layout<T>): Codec<T> {
  const parts = Object.entries<Codec<unknown> | Pad>(layout);
  return {
    read(reader, where) {
      const read: Record<string, unknown> = {};
      for (const [name, part] of parts) {
        if ("pad" in part) reader.take(part.pad, `${where}.${name}`);
        else read[name] = part.read(reader, name);
      }
      return read as T;
    },
    write(writer, value) {
      for (const [name, part] of parts) {
        if ("pad" in part) writer.zeros(part.pad);
        else part.write(writer, (value as Record<string, unknown>)[name], name);
      }
    },
  };
}

/** As many of them as there are bytes for. Each of them takes at least one byte. */
export const list = <T>(item: Codec<T>): Codec<readonly T[]> => ({
  read(reader, name) {
    const items: T[] = [];
    while (reader.left > 0) items.push(item.read(reader, name));
    return items;
  },
  write(writer, items, name) {
    if (!Array.isArray(items)) throw invalid(name, items, "a list");
    for (const one of items as readonly T[]) item.write(writer, one, name);
  },
});

/** A codec of something that begins with its own length, of two bytes. `before`: what comes before the length. */
export const sized = <T extends object>(inner: Codec<T>, before: number): Codec<T> => ({
  read(reader, name) {
    const lengthAt = reader.at + before;
    const length = reader.left < before + 2 ? 0 : reader.view.getUint16(lengthAt);
    if (length < before + 2) throw malformed(name, `its length is ${length}, and not at least ${before + 2}`);
    const part = reader.part(length, name);
    const read = inner.read(part, name);
    if (part.left > 0) throw malformed(name, `${part.left} bytes follow what it holds`);
    return read;
  },
  write(writer, value, name) {
    const from = writer.at;
    inner.write(writer, value, name);
    writer.setU16(from + before, writer.at - from, `the length of ${name}`);
  },
});

/** So many of them, and no more. */
export const times = <T>(count: number, item: Codec<T>): Codec<readonly T[]> => ({
  read: (reader, name) => Array.from({ length: count }, () => item.read(reader, name)),
  write(writer, items, name) {
    if (!Array.isArray(items) || items.length !== count) throw invalid(name, items, `a list of ${count}`);
    for (const one of items as readonly T[]) item.write(writer, one, name);
  },
});
