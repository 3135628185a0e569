import * as zlib from "node:zlib";
import type { WheelworkError } from "@wheelwork/core";
import type { Batch, Commit, DamagedBatch, RunEvents } from "../ports/ports.ts";
import { keyHash } from "../ports/harms.ts";
import { readPart, sealInPlace, sealBytes, unsealed } from "./checksums.ts";
import { eventsOf, eventTexts, type StoredEvent } from "./event-texts.ts";

// A record of the journal is JSON: [now, [key, event, …], …]. Many events are written short: see event-texts.ts. A long record is
// compressed: what is written to the disk, and once more by SQLite's own checkpoint, costs more than to compress it. Each record has
// a checksum: a text before it, a compressed one within.

/** The first byte of what is compressed. */
const zstdMagic = 0x28;
/** Records that fill fewer pages gain nothing. */
const compressFrom = 8192;
const fastest = {
  params: { [zlib.constants.ZSTD_c_compressionLevel]: 1, [zlib.constants.ZSTD_c_checksumFlag]: 1 },
};

const hashBytes = 4;

/** Records up to this size are made in a buffer that is used again: to get the memory for another costs more than to fill it. */
const maxScratch = 4 * 1024 * 1024;

/**
 * A text in UTF-8 that grows. The text of each run is written by itself: it is still in the cache of the processor then, and one long
 * text of them all would be copied once more.
 */
class RecordBytes {
  #bytes = Buffer.allocUnsafe(64 * 1024);
  #end = 0;

  /** Begins another record. */
  begin(): void {
    this.#end = sealBytes;
    if (this.#bytes.length > maxScratch) this.#bytes = Buffer.allocUnsafe(64 * 1024);
  }

  add(text: string): void {
    const needed = this.#end + 3 * text.length;
    if (needed > this.#bytes.length) this.#grow(needed);
    this.#end += this.#bytes.write(text, this.#end);
  }

  #grow(needed: number): void {
    const bytes = Buffer.allocUnsafe(Math.max(needed, 2 * this.#bytes.length));
    this.#bytes.copy(bytes, 0, 0, this.#end);
    this.#bytes = bytes;
  }

  /** What the store keeps of it. It is good until another record begins. */
  stored(): Uint8Array {
    return this.#end - sealBytes < compressFrom
      ? sealInPlace(this.#bytes.subarray(0, this.#end))
      : zlib.zstdCompressSync(this.#bytes.subarray(sealBytes, this.#end), fastest);
  }
}

const record = new RecordBytes();

/**
 * The events of a batch as one record: a text in UTF-8, or a compressed one. Most of them happened at `now`, none later. The
 * bytes are good until the next call: who keeps them copies them.
 */
export function encodeBatch(now: number, batch: readonly RunEvents[]): Uint8Array {
  record.begin();
  record.add(`[${now}`);
  for (const { key, events } of batch) record.add(`,[${JSON.stringify(key)}${eventTexts(events, now)}]`);
  record.add("]");
  return record.stored();
}

/**
 * What `encodeBatch` wrote as a batch, its text as bytes or not; with `only`, the events of that run alone.
 * @throws WheelworkError WW_STORE_CORRUPT when it is damaged.
 */
export function decodeBatch(seq: number, stored: unknown, only?: string): RunEvents[] {
  return readPart(`batch ${seq} of the journal`, () => decode(storedBatch(stored), only));
}

/** The same with its number and its time, or what is left of it. `runs`: what `encodeRuns` wrote. */
export function readBatch(seq: number, stored: unknown, runs: unknown): Batch | DamagedBatch {
  try {
    return readPart(`batch ${seq} of the journal`, () => {
      const batch = storedBatch(stored);
      const bytes = stored instanceof Uint8Array ? stored.length : String(stored).length;
      return { seq, at: batch[0], bytes, entries: decode(batch) };
    });
  } catch (error) {
    const known = decodeRuns(seq, runs);
    return { seq, damage: error as WheelworkError, ...(known === undefined ? {} : { runs: known }) };
  }
}

/** When a batch was committed. @throws WheelworkError WW_STORE_CORRUPT when its record is damaged. */
export function timeOf(seq: number, stored: unknown): number {
  return readPart(`batch ${seq} of the journal`, () => storedBatch(stored)[0]);
}

/**
 * Which runs a batch is about, for its row: the hashes of their keys, with a checksum before them. A damaged record harms these runs, and
 * no others. It is a column of its own: what damages the one may spare the other.
 */
export function encodeRuns(seq: number, batch: readonly RunEvents[]): Uint8Array {
  const bytes = Buffer.allocUnsafe(hashBytes * (1 + batch.length));
  let at = hashBytes;
  for (const { key } of batch) at = bytes.writeUInt32LE(keyHash(key), at);
  bytes.writeUInt32LE(zlib.crc32(bytes.subarray(hashBytes), seq >>> 0));
  return bytes;
}

/** What `encodeRuns` wrote; undefined: it is damaged, too, or an earlier version has written the batch. */
function decodeRuns(seq: number, stored: unknown): number[] | undefined {
  if (!(stored instanceof Uint8Array) || stored.length < hashBytes || stored.length % hashBytes !== 0)
    return undefined;
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.length);
  if (bytes.readUInt32LE() !== zlib.crc32(bytes.subarray(hashBytes), seq >>> 0)) return undefined;
  const runs: number[] = [];
  for (let at = hashBytes; at < bytes.length; at += hashBytes) runs.push(bytes.readUInt32LE(at));
  return runs;
}

type StoredRunEvents = readonly [key: string, ...events: StoredEvent[]];
type StoredBatch = readonly [now: number, ...StoredRunEvents[]];

function storedBatch(stored: unknown): StoredBatch {
  const text = unsealed(stored instanceof Uint8Array ? textOf(stored) : String(stored));
  return JSON.parse(text) as StoredBatch;
}

function decode([now, ...entries]: StoredBatch, only?: string): RunEvents[] {
  const batch: RunEvents[] = [];
  for (const [key, ...events] of entries) {
    if (only === undefined || key === only) batch.push({ key, events: [...eventsOf(events, now)] });
  }
  return batch;
}

/** A compressed record begins with the magic number of its format, and no text does. */
function textOf(bytes: Uint8Array): string {
  const text = bytes[0] === zstdMagic ? zlib.zstdDecompressSync(bytes) : Buffer.from(bytes);
  return text.toString();
}

/** Whether a commit writes nothing but its record of the journal. */
export const isJournalOnly = ({
  answers,
  logProgress,
  downtimes,
  harms,
  stops,
  checkpoint,
  audit,
}: Commit): boolean =>
  answers.length === 0 &&
  harms === undefined &&
  audit === undefined &&
  logProgress === undefined &&
  downtimes === undefined &&
  stops !== true &&
  checkpoint === undefined;
