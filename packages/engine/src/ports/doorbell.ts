/** Rings for one who waits. It remembers that it has rung while nobody waited. */
export class Doorbell {
  #hasRung = false;
  #wake: (() => void) | undefined = undefined;

  readonly ring = (): void => {
    this.#hasRung = true;
    this.#wake?.();
  };

  /** Resolves when it rings, or has rung since the last time. */
  async rung(): Promise<void> {
    if (!this.#hasRung) await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#hasRung = false;
    this.#wake = undefined;
  }
}
