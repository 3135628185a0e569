import type { RunEvent } from "@wheelwork/core";
import type {
  Batch,
  Claim,
  Commit,
  DueRuns,
  Found,
  MaybePromise,
  RequestFilter,
  RequestRow,
  Rows,
  ShardState,
  Store,
  StoredRun,
} from "@wheelwork/engine";
import type { LocalStore } from "./disk.ts";
import type { Node } from "./node.ts";

/** What a process that has died would still wait for: a promise of its own, or what waits would be kept for ever. */
const never = (): Promise<never> => new Promise(() => {});

/** The store as one process has it: in the same process or over a network, with the plan's faults, and seen by the trace. */
export class SimulatedStore implements Store {
  readonly #inner: LocalStore;
  readonly #node: Node;

  constructor(inner: LocalStore, node: Node) {
    this.#inner = inner;
    this.#node = node;
  }

  claim(owner: string, again?: boolean): MaybePromise<Claim> {
    return this.#read(() => {
      this.#writable();
      const claim = this.#inner.claim(owner, again);
      this.#node.see({ type: "claimed", node: this.#node.number, epoch: claim.epoch });
      return claim;
    });
  }

  peek(): MaybePromise<ShardState> {
    return this.#read(() => this.#inner.peek());
  }

  journal(after?: number): Rows<Batch> {
    return this.#rows(() => this.#inner.journal(after));
  }

  hubVersions(
    ended: ReadonlySet<string>,
  ): MaybePromise<readonly { readonly hub: string; readonly version: number }[]> {
    return this.#read(() => this.#inner.hubVersions(ended));
  }

  hotRuns(): Rows<StoredRun> {
    return this.#rows(() => this.#inner.hotRuns());
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

  history(key: string): MaybePromise<readonly RunEvent[]> {
    return this.#read(() => this.#inner.history(key));
  }

  list(filter: RequestFilter): MaybePromise<readonly RequestRow[]> {
    return this.#read(() => this.#inner.list(filter));
  }

  purge(endedBefore: number, limit: number): MaybePromise<number> {
    return this.#read(() => {
      this.#writable();
      const purged = this.#inner.purge(endedBefore, limit);
      if (purged > 0) this.#node.see({ type: "purged", node: this.#node.number, endedBefore });
      return purged;
    });
  }

  close(): void {}

  commit(commit: Commit): MaybePromise<void> {
    const node = this.#node;
    if (!node.alive) return never();
    const fault = node.world.faultAt("commit");
    // What is written is what it is now, whatever becomes of it in memory.
    const written = JSON.parse(JSON.stringify(commit)) as Commit;
    const carryOut = (): void => {
      if (fault === "crash-before-commit") return node.kill();
      if (fault === "commit-fails") throw new Error("the commit fails, as planned");
      this.#apply(written);
      if (fault === "commit-unseen") throw new Error("the commit succeeds unseen, as planned");
      if (fault === "crash-after-commit") node.kill();
    };
    if (node.world.plan.remote) return this.#remote(carryOut);
    try {
      carryOut();
    } catch (error) {
      node.see({ type: "store-failed", node: node.number });
      throw error;
    }
    return node.alive ? undefined : never();
  }

  #apply(commit: Commit): void {
    this.#writable();
    this.#inner.commit(commit);
    const { epoch, seq, now, journal } = commit;
    this.#node.see({ type: "committed", node: this.#node.number, epoch, seq, now, journal });
  }

  #read<T>(ask: () => T): MaybePromise<T> {
    const node = this.#node;
    if (!node.alive) return never();
    const fault = node.world.faultAt(node.ready ? "read" : "recovery");
    if (fault === "crash-in-recovery") node.kill();
    const carryOut = (): T => {
      if (fault === "read-fails" || node.world.storeGone)
        throw new Error("the store cannot be read, as planned");
      return ask();
    };
    // What a dead process has sent may still arrive.
    if (node.world.plan.remote) return this.#remote(carryOut);
    if (!node.alive) return never();
    try {
      return carryOut();
    } catch (error) {
      node.see({ type: "store-failed", node: node.number });
      throw error;
    }
  }

  #rows<T>(ask: () => Iterable<T>): Rows<T> {
    if (!this.#node.world.plan.remote) {
      // One that has died in the middle reads nothing more.
      const rows = this.#read(() => [...ask()]);
      return rows instanceof Promise ? later(rows) : rows;
    }
    return later(this.#read(() => [...ask()]));
  }

  /** There and back over the network: the server does its part even if the process that asked dies meanwhile. */
  #remote<T>(carryOut: () => T): Promise<T> {
    const { node } = { node: this.#node };
    return new Promise((resolve, reject) => {
      node.world.clock.after(node.world.delay("store"), () => {
        let reply: () => void;
        try {
          const result = carryOut();
          reply = () => resolve(result);
        } catch (error) {
          reply = () => {
            node.see({ type: "store-failed", node: node.number });
            reject(error as Error);
          };
        }
        node.process.after(node.world.delay("store"), reply);
      });
    });
  }

  #writable(): void {
    const { world } = this.#node;
    if (world.storeGone) throw new Error("the store cannot be reached, as planned");
    if (world.diskFull) throw new Error("database or disk is full, as planned");
  }
}

async function* later<T>(rows: MaybePromise<readonly T[]>): AsyncIterable<T> {
  yield* await rows;
}
