import { WheelworkError, type HistoryEvent } from "@wheelwork/core";
import type {
  AuditAbout,
  AuditBatch,
  AuditPlace,
  Batch,
  BegunRuns,
  Claim,
  Commit,
  DamagedBatch,
  DamagedLaneRun,
  DamagedRun,
  DueRuns,
  FacetCount,
  Found,
  LaneRun,
  MaybePromise,
  PinnedStore,
  StoreFilter,
  RequestList,
  RequestRow,
  Rows,
  ShardState,
  Store,
  StoredRun,
} from "@wheelwork/engine";

/**
 * What happens at a commit.
 * - `crash-before`, `crash-after`: the process dies just before the commit, or just after it.
 * - `fail`: the commit fails and writes nothing.
 * - `unseen`: the commit is written and reported as failed.
 */
export type Fault = "crash-before" | "crash-after" | "fail" | "unseen";

/** The faults of a `FaultyStore`. Default: none. */
export interface FaultPlan {
  /** Chooses the fault of a commit. `number` counts the commits of this store from 1, failed ones included. */
  readonly faultAt?: (number: number, commit: Commit) => Fault | undefined;
  /** Called at a crash. Kill the process, and open the store again. */
  readonly onCrash?: () => void;
  /** Chooses whether the store never takes a text: an entry of the journal, or the row of an answer or a run. */
  readonly refuses?: (text: string) => boolean;
  /** Chooses whether a read fails. */
  readonly readFails?: () => boolean;
  /** Delays reads and commits, as a network does: it runs each task later. Default: they happen at once. */
  readonly later?: (task: () => void) => void;
}

/** Wraps a store, and makes it fail as a plan says. */
export class FaultyStore implements Store {
  /** The wrapped store. */
  readonly inner: Store;
  /** While it is true, writes fail, as on a full disk. */
  full = false;
  /** While it is true, reads and writes fail. */
  gone = false;
  /** How many commits were attempted. */
  commits = 0;
  /** The process has crashed. No call settles any more. */
  crashed = false;
  readonly #plan: FaultPlan;

  constructor(inner: Store, plan: FaultPlan = {}) {
    this.inner = inner;
    this.#plan = plan;
  }

  claim(owner: string, again?: boolean): MaybePromise<Claim> {
    if (this.crashed) return never();
    return this.#soon(() => {
      this.#writes();
      return this.inner.claim(owner, again);
    });
  }

  commit(commit: Commit): MaybePromise<void> {
    this.commits++;
    const number = this.commits;
    if (this.crashed) return never();
    return this.#soon(() => this.#commit(number, commit));
  }

  peek(): MaybePromise<ShardState> {
    return this.#read((store) => store.peek());
  }

  journal(after?: number): Rows<Batch | DamagedBatch> {
    return this.#rows((store) => store.journal(after));
  }

  hubVersions(
    ended: ReadonlySet<string>,
  ): MaybePromise<readonly { readonly hub: string; readonly version: number }[]> {
    return this.#read((store) => store.hubVersions(ended));
  }

  hotRuns(): Rows<StoredRun | DamagedRun> {
    return this.#rows((store) => store.hotRuns());
  }

  laneRuns(): Rows<LaneRun | DamagedLaneRun> {
    return this.#rows((store) => store.laneRuns());
  }

  dueRuns(
    after: { readonly due: number; readonly key: string },
    before: number,
    limit: number,
  ): MaybePromise<DueRuns> {
    return this.#read((store) => store.dueRuns(after, before, limit));
  }

  find(keys: readonly string[]): MaybePromise<readonly Found[]> {
    return this.#read((store) => store.find(keys));
  }

  history(key: string): Rows<readonly HistoryEvent[]> {
    return this.#rows((store) => store.history(key));
  }

  list(list: RequestList): MaybePromise<readonly RequestRow[]> {
    return this.#read((store) => store.list(list));
  }

  facets(filter: StoreFilter): MaybePromise<readonly FacetCount[]> {
    return this.#read((store) => store.facets(filter));
  }

  /** What is delayed is not pinned. */
  pin(): PinnedStore | undefined {
    if (this.crashed || this.#plan.later !== undefined) return undefined;
    const pinned = this.inner.pin?.();
    if (pinned === undefined) return undefined;
    return {
      list: (list) => this.#read(() => pinned.list(list)),
      facets: (filter) => this.#read(() => pinned.facets(filter)),
      end: () => pinned.end(),
    };
  }

  purge(endedBefore: number, limit: number, begun: BegunRuns): MaybePromise<number> {
    if (this.crashed) return never();
    return this.#soon(() => {
      this.#writes();
      return this.inner.purge(endedBefore, limit, begun);
    });
  }

  archive(before: number, limit: number): MaybePromise<boolean> {
    if (this.crashed) return never();
    return this.#soon(() => {
      this.#writes();
      return this.inner.archive(before, limit);
    });
  }

  audit(before: AuditPlace, limit: number, about?: AuditAbout): MaybePromise<readonly AuditBatch[]> {
    return this.#read((store) => store.audit(before, limit, about));
  }

  purgeAudit(before: number, limit: number): MaybePromise<boolean> {
    if (this.crashed) return never();
    return this.#soon(() => {
      this.#writes();
      return this.inner.purgeAudit(before, limit);
    });
  }

  close(): MaybePromise<void> {
    return this.inner.close();
  }

  takes(commit: Commit): MaybePromise<boolean> {
    return this.#read((store) => !this.#refuses(commit) && (store.takes?.(commit) ?? true));
  }

  #refuses({ journal, answers, checkpoint }: Commit): boolean {
    const { refuses } = this.#plan;
    const { runs = [], histories = [] } = checkpoint ?? {};
    return (
      refuses !== undefined &&
      [...journal, ...answers, ...runs, ...histories].some((part) => refuses(JSON.stringify(part)))
    );
  }

  #commit(number: number, commit: Commit): MaybePromise<void> {
    this.#writes();
    if (this.#refuses(commit))
      throw new WheelworkError("WW_STORE_REFUSED", "the store never takes this, as planned");
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
      throw new TypeError("the faults crash-after and unseen need a store that commits synchronously");
    }
  }

  #crash(): Promise<never> {
    this.crashed = true;
    this.#plan.onCrash?.();
    return never();
  }

  #writes(): void {
    if (this.full) throw new Error("database or disk is full");
    this.#reachable();
  }

  #reachable(): Store {
    if (this.gone) throw new Error("the store cannot be reached");
    return this.inner;
  }

  #read<T>(ask: (store: Store) => MaybePromise<T>): MaybePromise<T> {
    if (this.crashed) return never();
    return this.#soon(() => {
      if (this.#plan.readFails?.() === true) throw new Error("a read fails, as planned");
      return ask(this.#reachable());
    });
  }

  #rows<T>(ask: (store: Store) => Rows<T>): Rows<T> {
    return this.#plan.later === undefined ? ask(this.#reachable()) : this.#later(ask);
  }

  async *#later<T>(ask: (store: Store) => Rows<T>): AsyncIterable<T> {
    yield* await this.#read(ask);
  }

  #soon<T>(ask: () => MaybePromise<T>): MaybePromise<T> {
    const { later } = this.#plan;
    if (later === undefined) return ask();
    return new Promise((resolve, reject) => {
      later(() => {
        // The process may have died while this was delayed.
        if (this.crashed) return;
        try {
          Promise.resolve(ask()).then(resolve, reject);
        } catch (error) {
          reject(error as Error);
        }
      });
    });
  }
}

/** What a dead process gets. A new promise each time: one that is shared would keep all that wait for it in memory. */
const never = (): Promise<never> => new Promise(() => {});
