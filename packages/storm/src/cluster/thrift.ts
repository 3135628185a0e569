import { WheelworkError } from "@wheelwork/core";
import { connect } from "node:net";

/** Types of Thrift's binary protocol. */
const types = { bool: 2, i32: 8, string: 11, struct: 12 } as const;

const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value | 0);
  return bytes;
};
const text = (value: string): Buffer => {
  const bytes = Buffer.from(value);
  return Buffer.concat([int32(bytes.length), bytes]);
};
const field = (type: number, id: number, body: Buffer): Buffer =>
  Buffer.concat([Buffer.from([type, id >> 8, id & 255]), body]);

/** Fields of a struct: strings, numbers (32 bits), booleans and structs, each with its id. */
export interface Fields {
  readonly [id: number]: string | number | boolean | Fields;
}

/** A struct that was read: its fields by their ids. */
export interface Struct {
  readonly [id: number]: unknown;
}

function struct(fields: Fields): Buffer {
  const parts = Object.entries(fields).map(([id, value]) => {
    if (typeof value === "string") return field(types.string, Number(id), text(value));
    if (typeof value === "number") return field(types.i32, Number(id), int32(value));
    if (typeof value === "boolean") return field(types.bool, Number(id), Buffer.from([value ? 1 : 0]));
    return field(types.struct, Number(id), struct(value));
  });
  return Buffer.concat([...parts, Buffer.from([0])]);
}

class Reader {
  readonly #data: Buffer;
  #at = 0;

  constructor(data: Buffer) {
    this.#data = data;
  }

  int32(): number {
    this.#at += 4;
    return this.#data.readInt32BE(this.#at - 4);
  }

  value(type: number): unknown {
    const data = this.#data;
    switch (type) {
      case 2:
      case 3:
        return data.readInt8(this.#at++);
      case 4:
        this.#at += 8;
        return data.readDoubleBE(this.#at - 8);
      case 6:
        this.#at += 2;
        return data.readInt16BE(this.#at - 2);
      case 8:
        return this.int32();
      case 10:
        this.#at += 8;
        return Number(data.readBigInt64BE(this.#at - 8));
      case 11: {
        const length = this.int32();
        this.#at += length;
        return data.toString("utf8", this.#at - length, this.#at);
      }
      case 12:
        return this.#struct();
      case 13: {
        const [keys, values] = [data.readInt8(this.#at), data.readInt8(this.#at + 1)];
        this.#at += 2;
        return Array.from({ length: this.int32() }, () => [this.value(keys), this.value(values)]);
      }
      case 14:
      case 15: {
        const values = data.readInt8(this.#at++);
        return Array.from({ length: this.int32() }, () => this.value(values));
      }
      default:
        throw new RangeError(`Thrift has no type ${type}`);
    }
  }

  #struct(): Struct {
    const fields: Record<number, unknown> = {};
    for (;;) {
      const type = this.#data.readInt8(this.#at++);
      if (type === 0) return fields;
      const id = this.#data.readInt16BE(this.#at);
      this.#at += 2;
      fields[id] = this.value(type);
    }
  }
}

/** An exception that the service declares; its field tells which. */
export class Thrown extends Error {
  override readonly name = "Thrown";
}

const maxMs = 10_000;

/**
 * Calls a method over the framed transport of Thrift's binary protocol. Each call opens its own connection.
 * @throws WheelworkError WW_UNAVAILABLE when the service cannot be reached; Thrown for what it throws.
 */
export function thriftCall(
  { host, port }: { readonly host: string; readonly port: number },
  method: string,
  fields: Fields = {},
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, timeout: maxMs });
    let received = Buffer.alloc(0);
    const gone = (why: string): void => {
      socket.destroy();
      reject(
        new WheelworkError("WW_BUS_UNAVAILABLE", `${method} of ${host}:${port} failed: ${why}`, {
          next: "Look whether the service runs there.",
          retryable: true,
        }),
      );
    };
    socket.on("error", (error) => gone(error.message));
    socket.on("timeout", () => gone("no answer came in time"));
    socket.on("close", () => gone("the connection was closed"));
    socket.on("data", (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 4 || received.length < 4 + received.readInt32BE(0)) return;
      socket.removeAllListeners("close").destroy();
      try {
        resolve(resultOf(new Reader(received.subarray(4))));
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)));
      }
    });
    const call = Buffer.concat([int32(0x80010001), text(method), int32(1), struct(fields)]);
    socket.write(Buffer.concat([int32(call.length), call]));
  });
}

function resultOf(reader: Reader): unknown {
  const kind = reader.int32() & 255;
  reader.value(types.string);
  reader.int32();
  const result = reader.value(types.struct) as Struct;
  if (kind === 3) throw new Thrown(String(result[1] ?? "an exception of the protocol"));
  for (const [id, thrown] of Object.entries(result))
    if (id !== "0") throw new Thrown(String((thrown as Struct)[1] ?? JSON.stringify(thrown)));
  return result[0];
}
