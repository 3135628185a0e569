import type { RunEvent } from "@wheelwork/core";
import * as zlib from "node:zlib";
import type { RunEvents } from "../ports/ports.ts";
import { readPart, sealedBytes, unsealed } from "./checksums.ts";

// A record of the journal is JSON: [now, [key, event, …], …]. Most events by far are calls that settled well in a round.
// They are written as [call, event, at, patch], without `at` if they happened at `now`, and without a patch if they have none:
// that makes the journal of a flow a third of its size. A long record is compressed: what is written to the disk, and once more by SQLite's own
// checkpoint, costs more than to compress it. Each record has a checksum: a text before it, a compressed one within.

type Settled = readonly [call: number, by: string, ...rest: readonly (number | object)[]];
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

/**
 * The events of a batch as one record: a text in UTF-8, or a compressed one. Most of them happened at `now`, none later. The
 * bytes are good until the next call: who keeps them copies them.
 */
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
  return event.type === "settled" && event.by !== undefined && isShort(event)
    ? encodeSettled(event.call, event.by, event.at === now ? undefined : event.at, event.patch)
    : JSON.stringify(event);
}

function isShort(event: RunEvent & { readonly type: "settled" }): boolean {
  const { outcome, calls, closes, held, timers, unset, grown } = event;
  return (
    outcome === "ok" &&
    calls === undefined &&
    closes === undefined &&
    held === undefined &&
    timers === undefined &&
    unset === undefined &&
    grown === undefined
  );
}

function encodeSettled(call: number, by: string, at: number | undefined, patch: object | undefined): string {
  let text = `[${call},${quoted(by)}`;
  if (at !== undefined) text += `,${at}`;
  if (patch !== undefined) text += `,${JSON.stringify(patch)}`;
  return `${text}]`;
}

/**
 * What `encodeBatch` wrote as a batch, its text as bytes or not; with `only`, the events of that run alone.
 * @throws WheelworkError WW_STORE_CORRUPT when it is damaged.
 */
export function decodeBatch(seq: number, record: unknown, only?: string): RunEvents[] {
  return readPart(`batch ${seq} of the journal`, () => decode(record, only));
}

/** When a batch was committed. @throws WheelworkError WW_STORE_CORRUPT when its record is damaged. */
export function timeOf(seq: number, record: unknown): number {
  return readPart(`batch ${seq} of the journal`, () => storedBatch(record)[0]);
}

type StoredBatch = readonly [now: number, ...StoredRunEvents[]];

function storedBatch(record: unknown): StoredBatch {
  const text = unsealed(record instanceof Uint8Array ? textOf(record) : String(record));
  return JSON.parse(text) as StoredBatch;
}

function decode(record: unknown, only?: string): RunEvents[] {
  const [now, ...entries] = storedBatch(record);
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

function settled(now: number, [call, by, ...rest]: Settled): RunEvent {
  const [at, patch] = typeof rest[0] === "number" ? [rest[0], rest[1]] : [now, rest[0]];
  const event = { type: "settled", at, call, outcome: "ok", by } as const;
  return patch === undefined ? event : { ...event, patch: patch as object };
}
