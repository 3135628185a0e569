import { crc32 } from "node:zlib";
import { damagedPart } from "../ports/damage.ts";

// A database notices a page that it cannot make sense of. A bit that flips within a text it does not notice: the text may still
// be JSON, and say something else. So what is written has a checksum, which is verified whenever it is read. It includes the
// key, so that a text that has come to another row is found as well. What earlier versions have written has none, and is
// taken as it is.

/** No JSON begins with it. */
const mark = "~";
const digits = 8;

const hex = (sum: number): string => sum.toString(16).padStart(digits, "0");

/** A call of crc32 costs more than these short texts are long. */
const sumOf = (text: string, owner: string): string =>
  hex(owner === "" ? crc32(text) : crc32(text, crc32(owner)));

/** A text with its checksum before it. `owner` is whose text it is. */
export function sealed(text: string, owner = ""): string {
  return `${mark}${sumOf(text, owner)}${text}`;
}

/** How many bytes a checksum takes before what it is over. */
export const sealBytes = 1 + digits;

/** Writes the checksum of bytes before them: `bytes` begins with `sealBytes` that are free. */
export function sealInPlace(bytes: Uint8Array): Uint8Array {
  const sum = crc32(bytes.subarray(sealBytes));
  bytes[0] = mark.charCodeAt(0);
  for (let digit = 0; digit < digits; digit++)
    bytes[1 + digit] = hexDigits.charCodeAt((sum >>> (4 * (digits - 1 - digit))) & 15);
  return bytes;
}

const hexDigits = "0123456789abcdef";

/** What was sealed, or a text that has no checksum. @throws SyntaxError when the checksum is wrong. */
export function unsealed(text: string, owner = ""): string {
  if (!text.startsWith(mark)) return text;
  const body = text.slice(1 + digits);
  if (text.slice(1, 1 + digits) !== sumOf(body, owner)) throw wrongChecksum();
  return body;
}

/** What never changes of an answer's row: the checksum is over all of it. */
export interface AnswerTexts {
  readonly key: string;
  readonly hub: string;
  readonly hash: string;
  readonly createdAt: number;
  readonly answeredAt: number;
  /** As they are stored. */
  readonly answer: string;
  readonly request: string;
}

/** The checksum of an answer's row. It has its own column, so that people can read the answer with SQL. */
export function answerChecksum(texts: AnswerTexts): number {
  const { key, hub, hash, createdAt, answeredAt, answer, request } = texts;
  return crc32(JSON.stringify([key, hub, hash, createdAt, answeredAt]) + request + answer);
}

export const wrongChecksum = (): SyntaxError => new SyntaxError("its checksum is wrong");

/** Reads a part of a store. @throws WheelworkError WW_STORE_CORRUPT, with the place. */
export function readPart<T>(place: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw damagedPart(place, message, error);
  }
}
