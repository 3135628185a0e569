import { strictEqual } from "node:assert/strict";
import type { Commit, Engine, EngineOptions, EngineEvent, Found } from "@wheelwork/engine";
import { MemoryStore, SimulatedClock } from "@wheelwork/testing";
import { onTestFinished } from "vitest";
import { EmbeddedShard } from "../src/embedded/engine.ts";
import { RequestService } from "../src/requests/service.ts";
import { approved, outside, rounds, workersOf } from "./hubs.ts";

/** A store whose answers come when the test says so: each is as of the time when it was asked. */
export class SlowStore extends MemoryStore {
  /** Which calls wait, and what they wait for. */
  readonly slow = new Map<"commit" | "find" | "dueRuns", Promise<void>>();

  async #later<T>(name: "commit" | "find" | "dueRuns", value: T): Promise<T> {
    await this.slow.get(name);
    return value;
  }

  override commit(commit: Commit): never {
    return this.#commit(commit) as never;
  }

  /** Commits that were asked for. */
  commits = 0;

  async #commit(commit: Commit): Promise<void> {
    this.commits++;
    await this.slow.get("commit");
    super.commit(commit);
  }

  override find(keys: readonly string[]): never {
    return this.#later<readonly Found[]>("find", super.find(keys)) as never;
  }

  override dueRuns(...place: Parameters<MemoryStore["dueRuns"]>): never {
    return this.#later("dueRuns", super.dueRuns(...place)) as never;
  }
}

/** A machine with one engine on such a store. */
export class Machine {
  readonly clock = new SimulatedClock();
  readonly store = new SlowStore();
  readonly signals: EngineEvent[] = [];
  #shard: EmbeddedShard | undefined = undefined;

  async start(limits: EngineOptions["limits"] = {}): Promise<Engine> {
    const { clock, store, signals } = this;
    const shard = (this.#shard = new EmbeddedShard({
      hubs: [approved, rounds],
      workers: workersOf(outside())((ms) => new Promise((resolve) => void clock.after(ms, resolve))),
      store,
      clock,
      observe: (signal) => void signals.push(signal),
      drainMs: 0,
      limits: { horizonMs: 10, ...limits },
    }));
    const engine = new RequestService(shard);
    await engine.start();
    onTestFinished(() => engine.stop());
    return engine;
  }

  /** What is thrown where nobody catches it makes the last engine read its shard back. */
  reloadFromStore(error: Error): void {
    this.#shard?.host.shard.reloadFromStore(error);
  }

  /** An engine whose store holds a request that waits, and whose memory does not. */
  async parked(key: string, withinMs: number, limits: EngineOptions["limits"] = {}): Promise<Engine> {
    const before = await this.start();
    await before.submit(approved, { n: 1, withinMs }, { key });
    await before.stop();
    const engine = await this.start(limits);
    strictEqual(engine.health().liveRuns, 0);
    return engine;
  }
}
