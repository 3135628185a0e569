/** Makes the ids of spans. Give it to the SDK as `idGenerator`. */
export interface SpanIds {
  generateTraceId(): string;
  generateSpanId(): string;
}

interface Given {
  readonly traceId: string;
  readonly spanId: string;
}

/** Ids that are said beforehand for the spans of runs, and random ones for all others. */
export class RunIds implements SpanIds {
  #next: Given | undefined = undefined;

  /** The spans that a function starts get these ids. It must start one, and at once. */
  with<T>(given: Given, start: () => T): T {
    this.#next = given;
    try {
      return start();
    } finally {
      this.#next = undefined;
    }
  }

  generateTraceId(): string {
    return this.#next?.traceId ?? random(16);
  }

  generateSpanId(): string {
    return this.#next?.spanId ?? random(8);
  }
}

/** Random hex digits that are not all 0. */
function random(bytes: number): string {
  const made = Buffer.from(crypto.getRandomValues(new Uint8Array(bytes))).toString("hex");
  return /[^0]/.test(made) ? made : random(bytes);
}
