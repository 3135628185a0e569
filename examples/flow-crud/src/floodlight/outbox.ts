import { subjectOf, type NetworkEvent } from "../controller/store.ts";

/** What an outbox is made with. */
export interface OutboxOptions {
  readonly deliver: (event: NetworkEvent) => Promise<void>;
  readonly after: (delayMs: number, task: () => void) => () => void;
  readonly onProblem?: (problem: string) => void;
}

const firstPauseMs = 100;
const longestPauseMs = 5_000;

/**
 * Delivers events one after the other until each has arrived. Of a link, a port or a switch the newest one counts: an event that waits or
 * has failed gives way to a later one about the same.
 */
export class Outbox {
  readonly #options: OutboxOptions;
  readonly #waiting = new Map<string, NetworkEvent>();
  #isBusy = false;
  #isClosed = false;
  #cancel: () => void = () => {};

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  add(event: NetworkEvent): void {
    if (this.#isClosed) return;
    this.#put(event);
    if (!this.#isBusy) void this.#deliverAll();
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
  }

  #put(event: NetworkEvent): void {
    const key = subjectOf(event);
    const waiting = this.#waiting.get(key);
    this.#waiting.delete(key);
    // The ports of a switch that has gone again are known all the same.
    const ports =
      waiting?.kind === "switch" && event.kind === "switch" ? (event.ports ?? waiting.ports) : undefined;
    this.#waiting.set(key, ports === undefined ? event : ({ ...event, ports } as NetworkEvent));
    if (event.kind === "switch" && event.ports !== undefined)
      for (const [other, { kind }] of this.#waiting)
        if (kind === "port" && other.startsWith(`port ${event.switchId} `)) this.#waiting.delete(other);
  }

  async #deliverAll(): Promise<void> {
    this.#isBusy = true;
    let pauseMs = firstPauseMs;
    for (;;) {
      const [first] = this.#waiting;
      if (first === undefined || this.#isClosed) break;
      const [key, event] = first;
      this.#waiting.delete(key);
      try {
        await this.#options.deliver(event);
        pauseMs = firstPauseMs;
      } catch (error) {
        this.#options.onProblem?.(`an event could not be told, and is told again: ${String(error)}`);
        // It keeps its place, unless there is a later one.
        if (!this.#waiting.has(key)) {
          const others = [...this.#waiting];
          this.#waiting.clear();
          for (const [name, other] of [[key, event] as const, ...others]) this.#waiting.set(name, other);
        }
        const pause = pauseMs;
        pauseMs = Math.min(pauseMs * 2, longestPauseMs);
        await new Promise<void>((resolve) => (this.#cancel = this.#options.after(pause, resolve)));
      }
    }
    this.#isBusy = false;
  }
}
