import { wrongVersion, openFlow13 } from "./codec/codec.ts";
import { malformed } from "./errors.ts";

/**
 * Splits a stream of bytes into frames. It holds at most one frame that has not all come, which has 65,535 bytes at most.
 *
 * A frame may be a piece of the chunk that was pushed: copy what you want to keep for long. `decode` copies.
 */
export class Framer {
  readonly #header = new Uint8Array(8);
  /** The frame that has not all come yet: its header first, and then the whole. */
  #partial: Uint8Array | undefined;
  #have = 0;

  /**
   * Gives all frames that are complete to `take`, in order. What came before a bad header was given.
   * @throws OpenFlowError WW_OF_MALFORMED, WW_OF_VERSION: nothing of the stream can be read from then on.
   */
  push(chunk: Uint8Array, take: (frame: Uint8Array) => void): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#have === 0 && chunk.length - at >= 8) {
        const length = lengthOf(chunk, at);
        if (chunk.length - at >= length) {
          const frame = chunk.subarray(at, at + length);
          at += length;
          take(frame);
          continue;
        }
      }
      at += this.#fill(chunk, at, take);
    }
  }

  /** Adds bytes to the partial frame, and tells how many. */
  #fill(chunk: Uint8Array, at: number, take: (frame: Uint8Array) => void): number {
    const into = this.#partial ?? this.#header;
    const count = Math.min(into.length - this.#have, chunk.length - at);
    into.set(chunk.subarray(at, at + count), this.#have);
    this.#have += count;
    if (this.#have < into.length) return count;
    if (this.#partial === undefined) {
      const length = lengthOf(this.#header, 0);
      this.#partial = new Uint8Array(length);
      this.#partial.set(this.#header);
      if (length > 8) return count;
    }
    const frame = this.#partial;
    this.#partial = undefined;
    this.#have = 0;
    take(frame);
    return count;
  }
}

/** The length in a header that is one of OpenFlow 1.3, or of the hello or the error of another version. */
function lengthOf(bytes: Uint8Array, at: number): number {
  const [version = 0, type = 0, high = 0, low = 0] = bytes.subarray(at, at + 4);
  if (version !== openFlow13 && (type > 1 || version === 0 || version > 6)) throw wrongVersion(version);
  const length = high * 256 + low;
  if (length < 8) throw malformed("the header", `the length is ${length}, and not at least 8`);
  return length;
}
