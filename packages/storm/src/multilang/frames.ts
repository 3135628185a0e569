const terminator = Buffer.from("\nend\n");

/**
 * Reads Storm's frames: JSON in UTF-8, then a line `end`. Chunks may be split anywhere.
 * @see https://storm.apache.org/releases/2.8.3/Multilang-protocol.html
 */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);
  /** No terminator begins before this place of `#rest`. */
  #searched = 0;

  /** The messages that are complete with this chunk. @throws SyntaxError for a frame that is not JSON. */
  *feed(chunk: Buffer): Iterable<unknown> {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let from = 0;
    for (;;) {
      const end = this.#rest.indexOf(terminator, Math.max(from, this.#searched));
      if (end < 0) break;
      const text = this.#rest.toString("utf8", from, end);
      from = end + terminator.length;
      yield JSON.parse(text) as unknown;
    }
    this.#rest = this.#rest.subarray(from);
    this.#searched = Math.max(0, this.#rest.length - terminator.length + 1);
  }
}

/** A message as a frame. Storm's parser takes no raw U+007F, though JSON allows it. */
export const frame = (message: object): string =>
  `${JSON.stringify(message).replaceAll("\u007F", String.raw`\u007f`)}\nend\n`;
