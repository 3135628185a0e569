import { WheelworkError } from "@wheelwork/core";
import { givenKey } from "../ports/keys.ts";

/** So many are remembered. An owner begins thousands of requests in a second, so this is an outage with much traffic. */
const mostRemembered = 10_000;

/**
 * The requests under keys of their own that this process has put into inboxes, until it finds them begun. Their senders know that they
 * were accepted. So nobody is told that they do not exist while no owner has come to them.
 */
export class SentRequests {
  readonly #keys = new Set<string>();

  add(key: string): void {
    this.#keys.add(key);
    if (this.#keys.size <= mostRemembered) return;
    for (const oldest of this.#keys) {
      this.#keys.delete(oldest);
      break;
    }
  }

  has(key: string): boolean {
    return this.#keys.has(key);
  }

  /** It was found: from now on its store knows of it. */
  found(key: string): void {
    this.#keys.delete(key);
  }

  /** Why a request that is not found cannot be told to be missing; undefined: it can. */
  doubt(key: string): WheelworkError | undefined {
    return this.has(key) ? undecided(key) : undefined;
  }
}

/** It is in an inbox, and nobody has come to it yet. */
export const undecided = (key: string): WheelworkError =>
  new WheelworkError("WW_STORE_UNAVAILABLE", `nobody has taken what was sent to ${givenKey(key)} yet`, {
    next: "Send it again, with the same key. Its shard may be on its way to another process, its store or the log may be away, or nothing runs that works on the shard.",
    retryable: true,
  });
