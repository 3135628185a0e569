/** What a spout hears of a tuple that it has emitted under an id. */
export interface TreeOwner {
  acked(messageId: string): void;
  failed(messageId: string): void;
}

/** A tuple of a spout, with all that was emitted because of it. */
export class Tree {
  readonly #owner: TreeOwner;
  readonly #messageId: string;
  readonly #pending = new Set<string>();
  #isOver = false;

  constructor(owner: TreeOwner, messageId: string) {
    this.#owner = owner;
    this.#messageId = messageId;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** A tuple is under way that belongs to it. */
  add(tuple: string): void {
    this.#pending.add(tuple);
  }

  /** A tuple was acked: with the last one all are done. */
  acked(tuple: string): void {
    if (this.#isOver || !this.#pending.delete(tuple) || this.#pending.size > 0) return;
    this.#isOver = true;
    this.#owner.acked(this.#messageId);
  }

  /** A tuple was failed, or all of it took too long. */
  failed(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#owner.failed(this.#messageId);
  }
}

/** A tuple on its way to a task. */
export interface Delivery {
  readonly id: string;
  readonly component: string;
  readonly stream: string;
  /** The task that has emitted it. */
  readonly task: number;
  readonly values: readonly unknown[];
  readonly trees: readonly Tree[];
}
