// Server-sent events, as the HTML standard has them. A stream is cut anywhere: within a line, between CR and LF, within a character.

/** A server-sent event: the fields that it has. */
export interface ServerSentEvent {
  /** Its id. The standard keeps the last one: so does whoever reads. */
  readonly id?: string;
  /** Its name. Absent: `message`. */
  readonly event?: string;
  /** Its lines, joined by line feeds. Absent: it is none to the standard, and says an id at most. */
  readonly data?: string;
}

/** More than an event of the server has, by far: a stream that never ends its lines is none. In characters. */
const maxCharacters = 64 * 1024 * 1024;

/** Makes events of the text of a stream, part by part. */
export class EventReader {
  #line = "";
  #isFirst = true;
  /** A part has ended with CR: a line feed that comes next ends no other line. */
  #endsWithCr = false;
  #id: string | undefined = undefined;
  #event: string | undefined = undefined;
  #data: string[] = [];
  #length = 0;

  /**
   * The events that a part completes. What the end of the stream cuts off is no event.
   * @throws RangeError when an event does not end.
   */
  read(part: string): ServerSentEvent[] {
    const events: ServerSentEvent[] = [];
    let from = 0;
    if (this.#isFirst && part !== "") {
      this.#isFirst = false;
      if (part.startsWith("\uFEFF")) from = 1;
    }
    if (this.#endsWithCr && part !== "") {
      this.#endsWithCr = false;
      if (part.startsWith("\n", from)) from++;
    }
    for (;;) {
      const end = endOfLine(part, from);
      if (end === undefined) break;
      const line = this.#line + part.slice(from, end);
      this.#line = "";
      const event = this.#take(line);
      if (event !== undefined) events.push(event);
      from = end + 1;
      if (part[end] !== "\r") continue;
      if (from === part.length) this.#endsWithCr = true;
      else if (part[from] === "\n") from++;
    }
    this.#line += part.slice(from);
    this.#check(this.#line.length);
    return events;
  }

  /** An empty line ends an event. */
  #take(line: string): ServerSentEvent | undefined {
    if (line === "") return this.#end();
    const colon = line.indexOf(":");
    // A comment shows that the stream lives.
    if (colon === 0) return undefined;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "data") {
      this.#data.push(value);
      this.#length += value.length;
      this.#check(this.#length);
    } else if (name === "event") this.#event = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    return undefined;
  }

  #end(): ServerSentEvent | undefined {
    const [id, event, data] = [this.#id, this.#event, this.#data];
    [this.#id, this.#event, this.#data, this.#length] = [undefined, undefined, [], 0];
    if (id === undefined && event === undefined && data.length === 0) return undefined;
    return {
      ...(id === undefined ? {} : { id }),
      ...(event === undefined ? {} : { event }),
      ...(data.length === 0 ? {} : { data: data.join("\n") }),
    };
  }

  #check(length: number): void {
    if (length > maxCharacters)
      throw new RangeError(`an event of the stream has more than ${maxCharacters} characters`);
  }
}

/** Where the line ends that begins at a place; undefined: the part does not have its end. */
function endOfLine(part: string, from: number): number | undefined {
  const feed = part.indexOf("\n", from);
  const end = feed < 0 ? part.length : feed;
  const cr = part.slice(from, end).indexOf("\r");
  if (cr >= 0) return from + cr;
  return feed < 0 ? undefined : feed;
}

/** Reads the events of a response, until its body ends. Who leaves the loop wants no more of it. */
export async function* eventsIn({
  body,
}: Pick<Response, "body">): AsyncGenerator<ServerSentEvent, void, undefined> {
  if (body === null) return;
  const reader = body.pipeThrough(new TextDecoderStream("utf-8", { ignoreBOM: true })).getReader();
  const events = new EventReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* events.read(value);
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
