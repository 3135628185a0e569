import { createHmac, timingSafeEqual, type KeyObject } from "node:crypto";

// Packets of discovery: LLDP (IEEE 802.1AB) with a part of our own, which is signed. A host can send LLDP, too: what we have not sent makes
// no link.

/** What a packet of discovery says: which port it has left, and which of the packets of that port it is. */
export interface Probe {
  readonly datapathId: bigint;
  readonly port: number;
  readonly sequence: number;
}

/** The address that bridges do not pass on. */
const nearestBridge = Uint8Array.of(0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e);
const etherType = 0x88cc;
/** Parts: what they begin with. The last one is OpenFlow's own, with a subtype of ours. */
const chassisLocal = Uint8Array.of(7);
const portLocal = Uint8Array.of(7);
const ownPart = Uint8Array.of(0x00, 0x26, 0xe1, 0x57);
const lifetimeS = 120;
const signatureBytes = 16;

/** The bytes of a packet. `mac`: the address of its port. */
export function encodeProbe(probe: Probe, mac: string, key: KeyObject): Uint8Array {
  const body = bodyOf(probe);
  const source = Uint8Array.from(mac.split(":"), (byte) => Number.parseInt(byte, 16));
  const frame = Buffer.concat([
    nearestBridge,
    source,
    Uint8Array.of(etherType >> 8, etherType & 0xff),
    part(1, chassisLocal, body.subarray(0, 8)),
    part(2, portLocal, body.subarray(8, 12)),
    part(3, Uint8Array.of(lifetimeS >> 8, lifetimeS & 0xff)),
    part(127, ownPart, body.subarray(12), signatureOf(body, key)),
    Uint8Array.of(0, 0),
  ]);
  return new Uint8Array(frame);
}

/** What a packet says; undefined: it is none of ours. */
export function decodeProbe(frame: Uint8Array, key: KeyObject): Probe | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < 14 || view.getUint16(12) !== etherType) return undefined;
  const parts = new Map<number, Uint8Array>();
  for (let at = 14; at + 2 <= frame.length;) {
    const head = view.getUint16(at);
    const [type, length] = [head >> 9, head & 0x1ff];
    if (type === 0) break;
    const value = frame.subarray(at + 2, at + 2 + length);
    if (value.length < length || parts.has(type)) return undefined;
    parts.set(type, value);
    at += 2 + length;
  }
  const chassis = after(parts.get(1), chassisLocal, 8);
  const port = after(parts.get(2), portLocal, 4);
  const own = after(parts.get(127), ownPart, 4 + signatureBytes);
  if (chassis === undefined || port === undefined || own === undefined) return undefined;
  const body = Buffer.concat([chassis, port, own.subarray(0, 4)]);
  if (!timingSafeEqual(own.subarray(4), signatureOf(body, key))) return undefined;
  return { datapathId: body.readBigUInt64BE(0), port: body.readUInt32BE(8), sequence: body.readUInt32BE(12) };
}

function bodyOf({ datapathId, port, sequence }: Probe): Buffer {
  const body = Buffer.alloc(16);
  body.writeBigUInt64BE(datapathId, 0);
  body.writeUInt32BE(port, 8);
  body.writeUInt32BE(sequence, 12);
  return body;
}

const signatureOf = (body: Uint8Array, key: KeyObject): Buffer =>
  createHmac("sha256", key).update(body).digest().subarray(0, signatureBytes);

function part(type: number, ...values: readonly Uint8Array[]): Uint8Array {
  const value = Buffer.concat(values);
  const head = Buffer.alloc(2);
  head.writeUInt16BE((type << 9) | value.length);
  return Buffer.concat([head, value]);
}

/** What follows a beginning, if it has this length. */
function after(value: Uint8Array | undefined, beginning: Uint8Array, length: number): Uint8Array | undefined {
  if (value?.length !== beginning.length + length) return undefined;
  return beginning.every((byte, index) => value[index] === byte)
    ? value.subarray(beginning.length)
    : undefined;
}
