import { seeded } from "../../src/floodlight/faults.ts";

/** What happens next is drawn from these. */
export class Scheduler {
  readonly random: () => number;
  readonly #tasks: (() => void)[] = [];
  /** Tasks that are late: many others come before them. */
  readonly #late: (() => void)[] = [];
  readonly #lateShare: number;

  /** `lateShare`: how many of the tasks are late, from 0 to 1. */
  constructor(seed: number, lateShare = 0) {
    this.random = seeded(seed);
    this.#lateShare = lateShare;
  }

  int(below: number): number {
    return Math.floor(this.random() * below);
  }

  add(task: () => void): void {
    const isLate = this.#lateShare > 0 && this.random() < this.#lateShare;
    (isLate ? this.#late : this.#tasks).push(task);
  }

  /** Does a task at some time, however long it should wait. The result cancels it. */
  after(task: () => void): () => void {
    let isCancelled = false;
    this.add(() => void (isCancelled || task()));
    return () => void (isCancelled = true);
  }

  get isIdle(): boolean {
    return this.#tasks.length + this.#late.length === 0;
  }

  /** Does one of them. */
  async step(): Promise<void> {
    const isLate = this.#late.length > 0 && (this.#tasks.length === 0 || this.random() < 0.01);
    const tasks = isLate ? this.#late : this.#tasks;
    const [task] = tasks.splice(this.int(tasks.length), 1);
    task?.();
    // Whatever follows from it at once.
    await new Promise((resolve) => void setImmediate(resolve));
  }
}
