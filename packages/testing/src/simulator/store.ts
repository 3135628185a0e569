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
import type { SimulatedClock, SimulatedProcess } from "../clock.ts";
import type { LocalStore } from "./disk.ts";
import type { Seen } from "./trace.ts";

/** What can happen to what is asked of a store. */
export type StoreFault =
  | "crash-before-commit"
  | "crash-after-commit"
  | "commit-fails"
  | "commit-unseen"
  /** The store never takes what one of its runs brings. */
  | "commit-refused"
  /** It is reported as failed, and comes to the server later all the same. */
  | "commit-late"
  | "crash-in-recovery"
  | "read-fails";

/** The process that has the store open, and what the plan has for it. */
export interface StoreUser {
  /** How the trace calls it. */
  readonly number: number;
  readonly process: SimulatedProcess;
  /** Where the store is, and how long a message there or back takes, in milliseconds; undefined: in the same process. */
  readonly server: { readonly clock: SimulatedClock; delayMs(): number } | undefined;
  see(seen: Seen): void;
  /** What the plan has for this operation, which is the next of its kind. */
  storeFault(operation: "commit" | "read"): StoreFault | undefined;
  /** @throws Error while the store cannot be reached, or takes nothing that is to be written. */
  reachStore(writes: boolean): void;
  kill(): void;
}

/** A dead process waits for this promise, which is made anew for each wait. A shared one would keep all its waiters for ever. */
const never = (): Promise<never> => new Promise(() => {});

/** How much later a commit comes that was reported as failed, in milliseconds. */
const lateMs = 300;
/** How long a list or a count takes that is read in slices, in milliseconds. */
const laterMs = 2;

/** The store as one process has it: in the same process or over a network, with the plan's faults, and seen by the trace. */
export class SimulatedStore implements Store {
  readonly #inner: LocalStore;
  readonly #user: StoreUser;
  /** The run whose part of a batch it does not take. */
  #refused: string | undefined = undefined;
  /** What the clock of its server shows, if it has one. */
  readonly probe?: () => MaybePromise<number>;
  /** When the last commit that was sent arrives: one connection carries them in their order. */
  #arrival = 0;
  /** How many pinned lists and counts were read: each second one takes a while. */
  #pinnedReads = 0;

  constructor(inner: LocalStore, user: StoreUser) {
    this.#inner = inner;
    this.#user = user;
    const { server } = user;
    if (server !== undefined) this.probe = () => this.#read(() => server.clock.wallMs());
  }

  claim(owner: string, again?: boolean): MaybePromise<Claim> {
    return this.#read(() => {
      this.#user.reachStore(true);
      const server = this.#user.server?.clock;
      const claimed = this.#inner.claim(owner, again);
      const claim = server === undefined ? claimed : { ...claimed, serverMs: server.wallMs() };
      this.#refused = undefined;
      this.#user.see({ type: "claimed", node: this.#user.number, epoch: claim.epoch });
      return claim;
    });
  }

  peek(): MaybePromise<ShardState> {
    return this.#read(() => this.#inner.peek());
  }

  journal(after?: number): Rows<Batch | DamagedBatch> {
    return this.#rows(() => this.#inner.journal(after));
  }

  hubVersions(
    ended: ReadonlySet<string>,
  ): MaybePromise<readonly { readonly hub: string; readonly version: number }[]> {
    return this.#read(() => this.#inner.hubVersions(ended));
  }

  hotRuns(): Rows<StoredRun | DamagedRun> {
    return this.#rows(() => this.#inner.hotRuns());
  }

  laneRuns(): Rows<LaneRun | DamagedLaneRun> {
    return this.#rows(() => this.#inner.laneRuns());
  }

  dueRuns(
    after: { readonly due: number; readonly key: string },
    before: number,
    limit: number,
  ): MaybePromise<DueRuns> {
    return this.#read(() => this.#inner.dueRuns(after, before, limit));
  }

  find(keys: readonly string[]): MaybePromise<readonly Found[]> {
    return this.#read(() => this.#inner.find(keys));
  }

  history(key: string): Rows<readonly HistoryEvent[]> {
    return this.#rows(() => this.#inner.history(key));
  }

  list(list: RequestList): MaybePromise<readonly RequestRow[]> {
    return this.#read(() => this.#inner.list(list)) as MaybePromise<readonly RequestRow[]>;
  }

  facets(filter: StoreFilter): MaybePromise<readonly FacetCount[]> {
    return this.#read(() => this.#inner.facets(filter)) as MaybePromise<readonly FacetCount[]>;
  }

  /** Servers pin nothing. In the same process, what is pinned comes at once, or as it was after the loop has gone on. */
  pin(): PinnedStore | undefined {
    const { server, process } = this.#user;
    if (server !== undefined || !process.alive) return undefined;
    const pinned = "moment" in this.#inner ? this.#inner.moment() : this.#inner.pin();
    if (pinned === undefined) return undefined;
    const read = <T>(ask: () => MaybePromise<T>): MaybePromise<T> => {
      const given = this.#read(ask) as MaybePromise<T>;
      this.#pinnedReads++;
      if (given instanceof Promise || this.#pinnedReads % 2 === 0) return given;
      return new Promise((resolve) => void process.after(laterMs, () => resolve(given)));
    };
    return {
      list: (list) => read(() => pinned.list(list)),
      facets: (filter) => read(() => pinned.facets(filter)),
      end: () => pinned.end(),
    };
  }

  purge(endedBefore: number, limit: number, begun: BegunRuns): MaybePromise<number> {
    return this.#read(() => {
      this.#user.reachStore(true);
      const purged = this.#inner.purge(endedBefore, limit, begun);
      if (purged > 0) this.#user.see({ type: "purged", node: this.#user.number, endedBefore });
      return purged;
    });
  }

  audit(before: AuditPlace, limit: number, about?: AuditAbout): MaybePromise<readonly AuditBatch[]> {
    return this.#read(() => this.#inner.audit(before, limit, about));
  }

  purgeAudit(before: number, limit: number): MaybePromise<boolean> {
    return this.#read(() => {
      this.#user.reachStore(true);
      return this.#inner.purgeAudit(before, limit);
    });
  }

  archive(before: number, limit: number): MaybePromise<boolean> {
    return this.#read(() => {
      this.#user.reachStore(true);
      const hasMore = this.#inner.archive(before, limit);
      this.#user.see({ type: "archived", node: this.#user.number, before });
      return hasMore;
    });
  }

  close(): void {}

  commit(commit: Commit): MaybePromise<void> {
    const user = this.#user;
    if (!user.process.alive) return never();
    const fault = user.storeFault("commit");
    // A copy is written: the value in memory may change later.
    const written = JSON.parse(JSON.stringify(commit)) as Commit;
    const carryOut = (): void => {
      if (fault === "crash-before-commit") return user.kill();
      if (fault === "commit-refused" && commit.journal.length > 0) this.#refuse(written);
      if (fault === "commit-fails") throw new Error("the commit fails, as planned");
      if (fault === "commit-late") {
        // Its owner may have claimed again by then, or another one.
        user.server?.clock.after(lateMs, () => this.#late(written));
        throw new Error("the commit is late, as planned");
      }
      this.#apply(written);
      if (fault === "commit-unseen") throw new Error("the commit succeeds unseen, as planned");
      if (fault === "crash-after-commit") user.kill();
    };
    if (user.server !== undefined) {
      const { clock, delayMs } = user.server;
      this.#arrival = Math.max(this.#arrival, clock.monotonicMs() + delayMs());
      return this.#remote(carryOut, this.#arrival - clock.monotonicMs());
    }
    try {
      carryOut();
    } catch (error) {
      user.see({ type: "store-failed", node: user.number });
      throw error;
    }
    return user.process.alive ? undefined : never();
  }

  takes({ journal }: Commit): MaybePromise<boolean> {
    return this.#read(() => journal.every(({ key }) => key !== this.#refused));
  }

  #refuse({ journal, seq }: Commit): never {
    const { key } = journal[seq % journal.length] as Commit["journal"][number];
    this.#refused = key;
    this.#user.see({ type: "refuses", node: this.#user.number, key });
    throw new WheelworkError("WW_STORE_REFUSED", "the store does not take it, as planned");
  }

  #apply(commit: Commit): void {
    const user = this.#user;
    user.reachStore(true);
    this.#inner.commit(commit);
    const { epoch, seq, now, journal, logProgress } = commit;
    const seen = {
      node: user.number,
      epoch,
      seq,
      now,
      journal,
      ...(logProgress === undefined ? {} : { logProgress }),
    };
    user.see({ type: "committed", ...seen });
  }

  #late(commit: Commit): void {
    try {
      this.#apply(commit);
    } catch {
      // Nobody waits for it any more.
    }
  }

  #read<T>(ask: () => T): MaybePromise<T> {
    const user = this.#user;
    if (!user.process.alive) return never();
    const fault = user.storeFault("read");
    if (fault === "crash-in-recovery") user.kill();
    const carryOut = (): T => {
      if (fault === "read-fails") throw new Error("the store cannot be read, as planned");
      user.reachStore(false);
      return ask();
    };
    // What a dead process has sent may still arrive.
    if (user.server !== undefined) return this.#remote(carryOut, user.server.delayMs());
    if (!user.process.alive) return never();
    try {
      return carryOut();
    } catch (error) {
      user.see({ type: "store-failed", node: user.number });
      throw error;
    }
  }

  #rows<T>(ask: () => Iterable<T>): Rows<T> {
    // One that has died in the middle reads nothing more.
    const rows = this.#read(() => [...ask()]);
    return rows instanceof Promise ? later(rows) : rows;
  }

  /** There and back over the network: the server does its part even if the process that asked dies meanwhile. */
  #remote<T>(carryOut: () => T, delayMs: number): Promise<T> {
    const user = this.#user;
    const server = user.server as NonNullable<StoreUser["server"]>;
    return new Promise((resolve, reject) => {
      server.clock.after(delayMs, () => {
        let reply: () => void;
        try {
          const result = carryOut();
          reply = () => resolve(result);
        } catch (error) {
          reply = () => {
            user.see({ type: "store-failed", node: user.number });
            reject(error as Error);
          };
        }
        user.process.after(server.delayMs(), reply);
      });
    });
  }
}

async function* later<T>(rows: MaybePromise<readonly T[]>): AsyncIterable<T> {
  yield* await rows;
}
