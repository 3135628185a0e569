import type { Clock } from "@wheelwork/engine";
import type { CallbackOrder } from "./streams.ts";

/** How often a hub asks, in milliseconds. */
const askMs = 5000;

/**
 * Lets a hub claim its shard again that another process has taken over, if Storm means this one.
 *
 * Two processes may have one task for a while, when Storm has replaced a worker that still runs. The one that claims last has
 * the shard, and that may be the old one: it had to wait for the database. When its worker is ended, nobody has the shard,
 * and the new process does not notice. Only Storm knows which of them it means. So the hub asks for a callback at once,
 * under a key that leads to its own task: the coordinator's answer comes to the process that Storm means. One that was
 * replaced hears nothing, and stays as it is.
 */
export class Reclaim {
  readonly #clock: Clock;
  readonly #claim: string;
  readonly #key: string;
  readonly #ask: (key: string, order: CallbackOrder) => void;
  readonly #claimAgain: () => void;
  #cancel: (() => void) | undefined = undefined;

  /**
   * @param claim Names this process.
   * @param key Leads to the task of this process, and is used for nothing else.
   */
  constructor(
    clock: Clock,
    claim: string,
    key: string,
    { ask, claimAgain }: { ask: (key: string, order: CallbackOrder) => void; claimAgain: () => void },
  ) {
    this.#clock = clock;
    this.#claim = claim;
    this.#key = key;
    this.#ask = ask;
    this.#claimAgain = claimAgain;
  }

  /** The shard was taken over: asks again and again, until an answer comes. */
  begin(): void {
    this.end();
    this.#cancel = this.#clock.after(askMs, () => {
      this.begin();
      this.#ask(this.#key, { claim: this.#claim, want: [{ id: 0, inMs: 0 }], cancel: [] });
    });
  }

  /** A callback has come under a key. @returns Whether it was an answer, to this process or to another one of the task. */
  heard(key: unknown, callbacks: readonly { readonly claim: string }[]): boolean {
    if (key !== this.#key) return false;
    const isMeant = callbacks.some(({ claim }) => claim === this.#claim);
    // It may come twice, or late.
    if (isMeant && this.#cancel !== undefined) {
      this.end();
      this.#claimAgain();
    }
    return true;
  }

  end(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}
