import { Readable } from "node:stream";

/** What an event stream needs. */
export interface EventStreamOptions {
  /** How long the client may leave unread what was sent, in milliseconds. */
  readonly unreadMs: number;
  /** What is sent last to a client that takes longer. */
  readonly tooSlow: string;
  /** The client has not read that either, in as much time. */
  readonly onStuck: () => void;
}

/**
 * Texts for a client, one after the other. Nothing is made ahead of the client, so that it costs the memory of one text. A client that
 * reads nothing for too long is told so, and the stream ends: it may come again.
 */
export class EventStream extends Readable {
  readonly #texts: AsyncIterator<string>;
  readonly #options: EventStreamOptions;
  #timer: NodeJS.Timeout | undefined = undefined;
  #isOver = false;

  constructor(texts: AsyncIterator<string>, options: EventStreamOptions) {
    super({ encoding: "utf8" });
    this.#texts = texts;
    this.#options = options;
  }

  override _read(): void {
    clearTimeout(this.#timer);
    this.#next().catch((error: unknown) => this.destroy(error as Error));
  }

  async #next(): Promise<void> {
    const { done, value } = await this.#texts.next();
    if (this.#isOver) return;
    if (done === true) this.#end();
    else if (!this.push(value)) this.#await(() => this.#cut());
  }

  #await(task: () => void): void {
    this.#timer = setTimeout(task, this.#options.unreadMs).unref();
  }

  #cut(): void {
    this.push(this.#options.tooSlow);
    this.#end();
    this.#await(this.#options.onStuck);
  }

  #end(): void {
    this.#isOver = true;
    this.push(null);
  }

  /** It may be at work: it ends once that is done. */
  async #leave(): Promise<void> {
    try {
      await this.#texts.return?.();
    } catch {
      // Nobody reads any more.
    }
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#timer);
    this.#isOver = true;
    done(error);
    void this.#leave();
  }
}

/** Asks for what a promise gives within some time, again and again; undefined: nothing yet. What waits longest leaves nothing behind. */
export function arrivalOf<T>(promise: Promise<T>): (ms: number) => Promise<T | undefined> {
  let isThere = false;
  let wake = (): void => {};
  const arrived = (): void => {
    isThere = true;
    wake();
  };
  promise.then(arrived, arrived);
  return async (ms) => {
    if (!isThere) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return isThere ? promise : undefined;
  };
}
