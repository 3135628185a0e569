// Whatever comes, nothing breaks: random bytes, recorded messages that were cut and changed, and streams that were split anywhere.
// WHEELWORK_OPENFLOW_INPUTS sets how many inputs each property gets; on failure, fast-check prints the seed.
import * as fc from "fast-check";
import { isDeepStrictEqual } from "node:util";
import { describe, expect, it } from "vitest";
import { decode, encode, Framer, OpenFlowError } from "../src/index.ts";
import records from "./records/os-ken.json" with { type: "json" };

const numRuns = Number(process.env["WHEELWORK_OPENFLOW_INPUTS"] ?? 3000);

const recorded = Object.values(records).map(({ hex }) => new Uint8Array(Buffer.from(hex, "hex")));
const short = recorded.filter(({ length }) => length < 1000);

/** Makes a frame of bytes: the header says how long it is. */
function framed(bytes: Uint8Array, version = 4): Uint8Array {
  const frame = bytes.length < 8 ? new Uint8Array(8) : bytes;
  frame[0] = version;
  new DataView(frame.buffer, frame.byteOffset).setUint16(2, frame.length);
  return frame;
}

/** What was read can be written, and is the same when it is read again. Other bytes give a named error. */
function keepsOrRefuses(frame: Uint8Array): boolean {
  let message;
  try {
    message = decode(frame);
  } catch (error) {
    return isNamed(error);
  }
  return isDeepStrictEqual(decode(encode(message, message.xid)), message);
}

const isNamed = (error: unknown): boolean =>
  error instanceof OpenFlowError && ["WW_OF_MALFORMED", "WW_OF_VERSION"].includes(error.code);

const types = fc.integer({ min: 0, max: 35 });

describe("the codec reads, or refuses with a named error,", () => {
  it("random bytes behind a header", () => {
    fc.assert(
      fc.property(types, fc.uint8Array({ maxLength: 200 }), (type, body) => {
        expect(keepsOrRefuses(framed(Uint8Array.of(4, type, 0, 0, 0, 0, 0, 1, ...body)))).toBe(true);
      }),
      { numRuns },
    );
  });

  it("recorded messages with other bytes in some places, and cut or longer than they were", () => {
    const edit = fc.record({
      at: fc.nat(1000),
      byte: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 4, 8, 255)),
    });
    fc.assert(
      fc.property(
        fc.constantFrom(...short),
        fc.array(edit, { maxLength: 4 }),
        fc.integer({ min: -40, max: 16 }),
        (message, edits, longer) => {
          const bytes = new Uint8Array(Math.max(8, message.length + longer));
          bytes.set(message.subarray(0, bytes.length));
          for (const { at, byte } of edits) bytes[4 + (at % (bytes.length - 4))] = byte;
          expect(keepsOrRefuses(framed(bytes))).toBe(true);
        },
      ),
      { numRuns },
    );
  });

  it("pieces of recorded messages behind the header of another one", () => {
    const piece = fc.tuple(fc.constantFrom(...short), fc.nat(200), fc.nat(200));
    fc.assert(
      fc.property(types, fc.array(piece, { maxLength: 4 }), (type, pieces) => {
        const body = pieces.flatMap(([message, from, length]) => [...message.subarray(from, from + length)]);
        expect(keepsOrRefuses(framed(Uint8Array.of(4, type, 0, 0, 0, 0, 0, 1, ...body)))).toBe(true);
      }),
      { numRuns },
    );
  });
});

it("addresses are the same again, whatever bytes they are of", () => {
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
  const field = (code: number, of: Uint8Array): number[] => [0x80, 0, code << 1, of.length, ...of];
  // Groups of zeros are what makes IPv6 addresses short.
  const ipv6 = fc.array(fc.constantFrom([0, 0], [0, 1], [18, 52]), { minLength: 8, maxLength: 8 });
  fc.assert(
    fc.property(bytes(4), bytes(6), ipv6, (v4, mac, v6) => {
      const fields = [...field(11, v4), ...field(3, mac), ...field(26, Uint8Array.from(v6.flat()))];
      // A packet-in whose match has these fields.
      const head = [4, 10, 0, 0, 0, 0, 0, 1, ...Array<number>(16).fill(0), 0, 1, 0, fields.length + 4];
      const pad = Array<number>((8 - ((fields.length + 4) % 8)) % 8).fill(0);
      const frame = framed(Uint8Array.from([...head, ...fields, ...pad, 0, 0]));
      expect(encode(decode(frame), 1)).toEqual(frame);
    }),
    { numRuns: Math.min(numRuns, 100_000) },
  );
});

describe("the framer", () => {
  const framesOf = (chunks: readonly Uint8Array[]): string[] => {
    const framer = new Framer();
    const frames: string[] = [];
    for (const chunk of chunks)
      framer.push(chunk, (frame) => frames.push(Buffer.from(frame).toString("hex")));
    return frames;
  };

  it("gives the same frames, wherever the stream is split", () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...short), { maxLength: 8 }),
        fc.array(fc.nat(3000), { maxLength: 30 }),
        (messages, cuts) => {
          const stream = Buffer.concat(messages);
          const places = [0, ...cuts.map((cut) => cut % (stream.length + 1)), stream.length].toSorted(
            (a, b) => a - b,
          );
          const chunks = places.slice(1).map((place, index) => stream.subarray(places[index], place));
          expect(framesOf(chunks)).toEqual(messages.map((message) => Buffer.from(message).toString("hex")));
        },
      ),
      { numRuns: Math.min(numRuns, 100_000) },
    );
  });

  it("gives frames of 65,535 bytes that come byte by byte, one after the other", () => {
    const frame = framed(new Uint8Array(65_535));
    frame[1] = 2;
    const framer = new Framer();
    let frames = 0;
    for (let time = 0; time < 3; time++) {
      for (let at = 0; at < frame.length; at++) {
        framer.push(frame.subarray(at, at + 1), (whole) => {
          frames += whole.length === frame.length && whole[65_534] === frame[65_534] ? 1 : 0;
        });
      }
    }
    expect(frames).toBe(3);
  });

  it("refuses random bytes with a named error, or waits for more", () => {
    const fits = (chunks: readonly Uint8Array[]): boolean => {
      try {
        return framesOf(chunks).length >= 0;
      } catch (error) {
        return isNamed(error);
      }
    };
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 }), (chunks) => {
        expect(fits(chunks)).toBe(true);
      }),
      { numRuns: Math.min(numRuns, 100_000) },
    );
  });

  it.each([
    ["a length of 7", [4, 2, 0, 7, 0, 0, 0, 1], "WW_OF_MALFORMED"],
    ["a length of 0", [4, 2, 0, 0, 0, 0, 0, 1], "WW_OF_MALFORMED"],
    ["another version", [1, 2, 0, 8, 0, 0, 0, 1], "WW_OF_VERSION"],
    ["eight bytes of 0xff", Array<number>(8).fill(255), "WW_OF_VERSION"],
  ])("refuses %s, after it has given what came before", (_name, bad, code) => {
    const good = [4, 21, 0, 8, 0, 0, 0, 9];
    for (const size of [1, 3, 16]) {
      const framer = new Framer();
      const frames: number[] = [];
      const stream = Uint8Array.from([...good, ...bad]);
      const push = (): void => {
        for (let at = 0; at < stream.length; at += size) {
          framer.push(stream.subarray(at, at + size), ({ length }) => frames.push(length));
        }
      };
      expect(push).toThrow(expect.objectContaining({ code }));
      expect(frames).toEqual([8]);
    }
  });

  it("lets a hello and an error of another version through, since they are how versions are agreed", () => {
    expect(
      framesOf([Uint8Array.of(6, 0, 0, 8, 0, 0, 0, 1, 1, 1, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0)]),
    ).toHaveLength(2);
  });
});
