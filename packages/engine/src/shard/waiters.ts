import type { Answer, WheelworkError } from "@wheelwork/core";
import { damageOf } from "../ports/damage.ts";
import type { Store } from "../ports/ports.ts";
import { unavailable } from "./options.ts";
import type { Residency } from "./residency.ts";
import { TurnoverMap } from "./turnover-map.ts";

/** Who waits for an answer. `refuse`: the engine ends before there is one. */
export interface Waiter {
  readonly resolve: (answer: Answer) => void;
  readonly refuse: (error: WheelworkError) => void;
}

/** Those who wait for answers, by request. They outlive a claim. */
export class Waiters {
  readonly #waiters = new TurnoverMap<Set<Waiter>>();
  readonly #onAdd: () => void;

  /** `onAdd` is called whenever somebody begins to wait. */
  constructor(onAdd: () => void) {
    this.#onAdd = onAdd;
  }

  /** How many requests somebody waits for. */
  get size(): number {
    return this.#waiters.size;
  }

  keys(): readonly string[] {
    return [...this.#waiters.keys()];
  }

  /** The result takes the waiter back. */
  add(key: string, waiter: Waiter): () => void {
    let waiters = this.#waiters.get(key);
    if (waiters === undefined) this.#waiters.set(key, (waiters = new Set()));
    waiters.add(waiter);
    this.#onAdd();
    return () => {
      waiters.delete(waiter);
      if (waiters.size === 0 && this.#waiters.get(key) === waiters) this.#waiters.delete(key);
    };
  }

  answer(key: string, answer: Answer): void {
    for (const { resolve } of this.#take(key)) resolve(answer);
  }

  refuse(key: string, error: WheelworkError): void {
    for (const waiter of this.#take(key)) waiter.refuse(error);
  }

  refuseAll(error: WheelworkError): void {
    for (const key of this.keys()) this.refuse(key, error);
  }

  /**
   * Tells those whose answer is known by now, and those whose request is not. A commit whose success was not seen may have held
   * the answer.
   */
  async answerKnown(residency: Residency, store: Store): Promise<void> {
    const keys = this.keys();
    const absent = keys.filter((key) => residency.get(key) === undefined);
    const found = absent.length === 0 ? [] : await store.find(absent);
    const stored = new Map(absent.map((key, index) => [key, found[index]]));
    for (const key of keys) {
      const found = stored.get(key);
      const { answer, run } = found ?? {};
      const damage = found && damageOf(found);
      const live = residency.get(key);
      const given = answer?.answer ?? live?.run.answer;
      const goesOn = live !== undefined || (run !== undefined && !residency.hasEndedRow(key));
      if (given !== undefined) this.answer(key, given);
      else if (!goesOn) this.refuse(key, damage ?? unavailable());
    }
  }

  #take(key: string): Iterable<Waiter> {
    const waiters = this.#waiters.get(key);
    if (waiters === undefined) return [];
    this.#waiters.delete(key);
    return waiters;
  }
}
