import type { Answer } from "@wheelwork/core";
import type { Engine } from "@wheelwork/engine";

/** The clients that wait for an answer. A server that closes must not wait as long as they would. */
export class Waits {
  readonly #open = new Set<() => void>();
  #closed = false;

  get closed(): boolean {
    return this.#closed;
  }

  /** The answer, or undefined if there is none within the time, or none yet when the server closes. */
  async answer(engine: Engine, id: string, waitMs: number): Promise<Answer | undefined> {
    if (waitMs <= 0 || this.#closed) return engine.answer(id, { waitMs: 0 });
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const giveUp = (): void => resolve(undefined);
    this.#open.add(giveUp);
    try {
      return await Promise.race([engine.answer(id, { waitMs }), promise]);
    } finally {
      this.#open.delete(giveUp);
    }
  }

  close(): void {
    this.#closed = true;
    for (const giveUp of this.#open) giveUp();
  }
}
