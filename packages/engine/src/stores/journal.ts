import type { RunEvent } from "@wheelwork/core";
import * as zlib from "node:zlib";
import type { RunEvents } from "../ports/ports.ts";
import { readPart, sealedBytes, unsealed } from "./checksums.ts";

// A record of the journal is JSON: [now, [key, event, …], …]. Most events by far are calls that settled well in a round;
// they are written as [call, event] alone, or [call, event, at] if they happened before `now`, which makes the journal of
// a flow a third of its size. A long record is compressed: what is written to the disk, and once more by SQLite's own
// checkpoint, costs more than to compress it. Each record has a checksum: a text before it, a compressed one within.

type Settled = readonly [call: number, by: string, at?: number];
type Stored = RunEvent | Settled;
type StoredRunEvents = readonly [key: string, ...events: Stored[]];

const quotedNames = new Map<string, string>();

function quoted(name: string): string {
  let text = quotedNames.get(name);
  if (text === undefined) {
    text = JSON.stringify(name);
    // Event names come from charts, so they are few; the bound is for hubs that make names up.
    if (quotedNames.size < 10_000) quotedNames.set(name, text);
  }
  return text;
}

/** The first byte of what is compressed. */
const zstdMagic = 0x28;
/** Records that fill fewer pages gain nothing. */
const compressFrom = 8192;
const fastest = {
  params: { [zlib.constants.ZSTD_c_compressionLevel]: 1, [zlib.constants.ZSTD_c_checksumFlag]: 1 },
};

/** The events of a batch as one record: a text in UTF-8, or a compressed one. Most of them happened at `now`, none later. */
export function encodeBatch(now: number, batch: readonly RunEvents[]): Uint8Array {
  let text = `[${now}`;
  for (const { key, events } of batch) {
    text += `,[${JSON.stringify(key)}`;
    for (const event of events) text += `,${encodeEvent(event, now)}`;
    text += "]";
  }
  text += "]";
  return text.length < compressFrom ? sealedBytes(text) : zlib.zstdCompressSync(text, fastest);
}

function encodeEvent(event: RunEvent, now: number): string {
  if (event.type === "settled" && event.outcome === "ok" && event.by !== undefined) {
    const plain = event.patch === undefined && event.calls === undefined && event.held === undefined;
    if (plain && event.at === now) return `[${event.call},${quoted(event.by)}]`;
    if (plain) return `[${event.call},${quoted(event.by)},${event.at}]`;
  }
  return JSON.stringify(event);
}

/**
 * What `encodeBatch` wrote as a batch, its text as bytes or not; with `only`, the events of that run alone.
 * @throws WheelworkError WW_STORE_CORRUPT when it is damaged.
 */
export function decodeBatch(seq: number, record: unknown, only?: string): RunEvents[] {
  return readPart(`batch ${seq} of the journal`, () => decode(record, only));
}

function decode(record: unknown, only?: string): RunEvents[] {
  const text = unsealed(record instanceof Uint8Array ? textOf(record) : String(record));
  const [now, ...entries] = JSON.parse(text) as [number, ...StoredRunEvents[]];
  const batch: RunEvents[] = [];
  for (const [key, ...events] of entries) {
    if (only !== undefined && key !== only) continue;
    batch.push({ key, events: events.map((event) => (isSettled(event) ? settled(now, event) : event)) });
  }
  return batch;
}

/** A compressed record begins with the magic number of its format, and no text does. */
function textOf(bytes: Uint8Array): string {
  const text = bytes[0] === zstdMagic ? zlib.zstdDecompressSync(bytes) : Buffer.from(bytes);
  return text.toString();
}

function isSettled(event: Stored): event is Settled {
  return Array.isArray(event);
}

function settled(now: number, [call, by, at = now]: Settled): RunEvent {
  return { type: "settled", at, call, outcome: "ok", by };
}
