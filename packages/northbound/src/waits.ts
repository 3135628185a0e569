import type { Answer } from "@wheelwork/core";
import type { Engine } from "@wheelwork/engine";

/** The clients that wait for answers. When the server closes, all of these waits end at once. */
export class Waits {
  readonly #open = new Set<() => void>();
  #closed = false;

  /** Whether the server closes. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Waits for an answer. undefined: none came in time, or the server closes. */
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

  /** Calls back when the server closes. The result takes that back. */
  onClose(task: () => void): () => void {
    if (this.#closed) task();
    else this.#open.add(task);
    return () => void this.#open.delete(task);
  }

  /** Ends all waits, and lets no other one begin. */
  close(): void {
    this.#closed = true;
    for (const giveUp of this.#open) giveUp();
  }
}
