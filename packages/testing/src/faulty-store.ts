import type { RunEvent } from "@wheelwork/core";
import type {
  Claim,
  Commit,
  MaybePromise,
  RequestFilter,
  RequestRow,
  RunEvents,
  Store,
  StoredAnswer,
  StoredRun,
} from "@wheelwork/engine";

/**
 * What happens at a commit.
 * `crash-before`, `crash-after`: the process dies before it, or right after it; `fail`: it fails, and nothing is written;
 * `unseen`: it is written, and reported as failed.
 */
export type Fault = "crash-before" | "crash-after" | "fail" | "unseen";

/** Which fault the commits have. */
export interface FaultPlan {
  /** Asked at each commit, with its number from 1 (commits of this object, failed ones included). */
  readonly faultAt?: (number: number, commit: Commit) => Fault | undefined;
  /** Called at a crash: kill the process, then open the store again. */
  readonly onCrash?: () => void;
  /** Commits take a turn of the event loop, as those over a network do. */
  readonly later?: boolean;
}

/** Stands before any store, and makes it fail as a seeded plan says. */
export class FaultyStore implements Store {
  readonly inner: Store;
  /** Nothing can be written while it is true, as on a full disk. */
  full = false;
  /** Nothing can be read or written while it is true. */
  gone = false;
  /** Commits that were asked for. */
  commits = 0;
  /** The process has crashed: nothing is written any more. */
  crashed = false;
  readonly #plan: FaultPlan;

  constructor(inner: Store, plan: FaultPlan = {}) {
    this.inner = inner;
    this.#plan = plan;
  }

  claim(owner: string): MaybePromise<Claim> {
    this.#writes();
    return this.inner.claim(owner);
  }

  commit(commit: Commit): MaybePromise<void> {
    this.commits++;
    const number = this.commits;
    if (this.crashed) return never;
    if (this.#plan.later !== true) return this.#commit(number, commit);
    return new Promise((resolve, reject) => {
      setImmediate(() => {
        try {
          Promise.resolve(this.#commit(number, commit)).then(resolve, reject);
        } catch (error) {
          reject(error as Error);
        }
      });
    });
  }

  journal(): Iterable<{ readonly seq: number; readonly entries: readonly RunEvents[] }> {
    return this.#read().journal();
  }

  hubVersions(ended: ReadonlySet<string>): readonly { readonly hub: string; readonly version: number }[] {
    return this.#read().hubVersions(ended);
  }

  hotRuns(): Iterable<StoredRun> {
    return this.#read().hotRuns();
  }

  dueRuns(
    after: { readonly due: number; readonly key: string },
    before: number,
    limit: number,
  ): readonly StoredRun[] {
    return this.#read().dueRuns(after, before, limit);
  }

  nextDue(from: number): number | undefined {
    return this.#read().nextDue(from);
  }

  run(key: string): StoredRun | undefined {
    return this.#read().run(key);
  }

  answer(key: string): StoredAnswer | undefined {
    return this.#read().answer(key);
  }

  history(key: string): readonly RunEvent[] {
    return this.#read().history(key);
  }

  list(filter: RequestFilter): readonly RequestRow[] {
    return this.#read().list(filter);
  }

  purge(endedBefore: number, limit: number): MaybePromise<number> {
    this.#writes();
    return this.inner.purge(endedBefore, limit);
  }

  close(): void {
    this.inner.close();
  }

  #commit(number: number, commit: Commit): MaybePromise<void> {
    this.#writes();
    const fault = this.#plan.faultAt?.(number, commit);
    switch (fault) {
      case undefined:
        return this.inner.commit(commit);
      case "fail":
        throw new Error(`commit ${number} fails, as planned`);
      case "unseen":
        this.#applied(commit);
        throw new Error(`commit ${number} succeeds unseen, as planned`);
      case "crash-before":
        return this.#crash();
      case "crash-after":
        this.#applied(commit);
        return this.#crash();
    }
  }

  #applied(commit: Commit): void {
    if (this.inner.commit(commit) instanceof Promise) {
      throw new TypeError("faults after a commit need a store that commits at once");
    }
  }

  #crash(): Promise<void> {
    this.crashed = true;
    this.#plan.onCrash?.();
    return never;
  }

  #writes(): void {
    if (this.full) throw new Error("database or disk is full");
    this.#read();
  }

  #read(): Store {
    if (this.gone) throw new Error("the store cannot be reached");
    return this.inner;
  }
}

/** What a process that has died would still wait for. */
const never = new Promise<void>(() => {});
