import type { Attempt } from "./attempt.ts";
import type { AttemptRequest } from "./context.ts";

/**
 * Attempts that are queued, made or awaiting the log, each found by what it is made for. The request itself holds its
 * attempt, and the attempt its index in the list: a Map by request takes 0.6 µs more for each attempt, most of it to collect
 * the Map's garbage.
 */
export class OpenAttempts {
  readonly #list: Attempt[] = [];

  get size(): number {
    return this.#list.length;
  }

  of(request: AttemptRequest): Attempt | undefined {
    return request.work as Attempt | undefined;
  }

  has(attempt: Attempt): boolean {
    return attempt.request.work === attempt;
  }

  add(attempt: Attempt): void {
    attempt.request.work = attempt;
    attempt.index = this.#list.push(attempt) - 1;
  }

  /** Takes out one that is in it: the last one takes its index. */
  delete(attempt: Attempt): void {
    const last = this.#list.pop();
    if (last !== undefined && last !== attempt) {
      this.#list[attempt.index] = last;
      last.index = attempt.index;
    }
    attempt.request.work = undefined;
  }

  /** Its call is another object now: its run was read back. */
  move(attempt: Attempt, request: AttemptRequest): void {
    attempt.request.work = undefined;
    attempt.request = request;
    request.work = attempt;
  }

  list(): readonly Attempt[] {
    return this.#list;
  }

  requests(): AttemptRequest[] {
    return this.#list.map(({ request }) => request);
  }
}
