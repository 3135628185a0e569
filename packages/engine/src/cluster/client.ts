import type { AnyHub } from "@wheelwork/core";
import { demandOptions } from "@wheelwork/core/kernel";
import { systemClock } from "../ports/clock.ts";
import { rootOf, shardOf } from "../ports/keys.ts";
import type { Clock } from "../ports/ports.ts";
import type { Tracing } from "../ports/trace.ts";
import type { Letters, ShardAccess, Shards } from "../requests/access.ts";
import type { Engine, EngineHealth } from "../requests/api.ts";
import { collectHubs } from "../requests/hubs.ts";
import { RequestService } from "../requests/service.ts";
import { HostClock } from "./host-clock.ts";
import type { Log } from "../ports/log.ts";
import type { ClientOptions } from "./options.ts";
import { LogLetters } from "../delivery/letters.ts";
import { RemoteShards } from "../delivery/remote-shard.ts";
import { clientOptions } from "./option-tables.ts";
import { checkInbox, defaultInbox } from "./topics.ts";

/**
 * Makes an engine that leaves all work to others: what is asked of it goes through the inboxes of the shards, and what it
 * tells is read from their stores. Call `start` next. @throws WheelworkError WW_CONFIG with every problem.
 */
export function createClient(options: ClientOptions): Engine {
  return new RequestService(new Client(options));
}

/** How often it looks whether it is time to compare its clock, in milliseconds. */
const watchMs = 10_000;

/** All shards of a cluster are remote ones. */
class Client implements Shards {
  readonly hubs: ReadonlyMap<string, AnyHub>;
  readonly clock: Clock;
  readonly tracing: Tracing | undefined;
  readonly #options: ClientOptions;
  readonly #hostClock: HostClock;
  readonly #log: Log;
  readonly #remotes: RemoteShards;
  #cancelWatch: () => void = () => {};
  #status: "starting" | "running" | "stopped" = "starting";

  constructor(given: ClientOptions) {
    const options = demandOptions<ClientOptions>(given, clientOptions, "a client of a cluster");
    this.#options = options;
    this.hubs = collectHubs(options.hubs);
    this.clock = options.clock ?? systemClock;
    this.tracing = options.tracing;
    const { store, inbox = defaultInbox } = options;
    this.#hostClock = new HostClock(this.clock, () => store(0));
    const log = (this.#log = this.#hostClock.dated(options.log));
    this.#remotes = new RemoteShards({ log, store, inbox }, this.#hostClock);
  }

  get status(): EngineHealth["status"] {
    return this.#status;
  }

  health(): EngineHealth {
    const { status } = this;
    return { ready: status === "running", status, liveRuns: 0, openAttempts: 0, queued: 0 };
  }

  get letters(): Letters {
    return new LogLetters(this.#log, this.#options.inbox ?? defaultInbox);
  }

  inboxEnd(shard: number): Promise<number | undefined> {
    const { log, inbox = defaultInbox } = this.#options;
    // A broker that is away says nothing of it.
    return log.end(inbox, shard).catch(() => undefined);
  }

  async start(): Promise<void> {
    const { log, inbox = defaultInbox, shards } = this.#options;
    await checkInbox(log, inbox, shards);
    await this.#hostClock.begin();
    this.#status = "running";
    this.#watch();
  }

  #watch(): void {
    this.#cancelWatch = this.clock.after(watchMs, () => {
      this.#hostClock.compareAgain();
      this.#watch();
    });
  }

  async stop(): Promise<void> {
    if (this.#status === "stopped") return;
    this.#status = "stopped";
    this.#cancelWatch();
    await this.#remotes.close();
  }

  of(key: string): ShardAccess {
    return this.#remotes.of(shardOf(rootOf(key), this.#options.shards));
  }

  all(): Iterable<ShardAccess> {
    return Array.from({ length: this.#options.shards }, (_, shard) => this.#remotes.of(shard));
  }
}
