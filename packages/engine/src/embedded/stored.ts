import { systemClock } from "../ports/clock.ts";
import { StoredShard } from "../delivery/stored-shard.ts";
import type { ShardAccess, Shards } from "../requests/access.ts";
import type { Engine, EngineHealth } from "../requests/api.ts";
import { RequestService } from "../requests/service.ts";
import { SqliteStore } from "../stores/sqlite.ts";

/** What can be asked of a store that no engine works on. */
export interface StoreReader extends Pick<
  Engine,
  "request" | "requests" | "incidents" | "history" | "answer" | "lanes" | "allShards"
> {
  /** @throws WheelworkError WW_STORE_LOCKED when an engine has begun to work on the file: what was read may be incomplete. */
  close(): Promise<void>;
}

/**
 * Reads the SQLite file of an engine that has stopped, or was killed. It starts no engine and writes nothing, not even beside the
 * file. It knows no hubs, so that requests have no `view`.
 * @throws WheelworkError WW_STORE_LOCKED when an engine works on the file; WW_CONFIG, WW_STORE_NEWER, WW_STORE_CORRUPT,
 * WW_STORE_UNAVAILABLE.
 */
export function readStore(path: string): StoreReader {
  return new StoredRequests(new StoppedShards(new SqliteStore(path, { readOnly: true })));
}

class StoredRequests extends RequestService implements StoreReader {
  readonly #shards: StoppedShards;

  constructor(shards: StoppedShards) {
    super(shards);
    this.#shards = shards;
  }

  close(): Promise<void> {
    return this.#shards.stop();
  }
}

/** The one shard of a store that nobody works on. */
class StoppedShards implements Shards {
  readonly hubs = new Map<string, never>();
  readonly clock = systemClock;
  readonly #store: SqliteStore;
  readonly #shard: StoredShard;
  #status: EngineHealth["status"] = "running";

  constructor(store: SqliteStore) {
    this.#store = store;
    this.#shard = new StoredShard(store, this.clock);
  }

  get status(): EngineHealth["status"] {
    return this.#status;
  }

  health(): EngineHealth {
    return { ready: false, status: this.#status, liveRuns: 0, openAttempts: 0, queued: 0 };
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {
    if (this.#status === "stopped") return;
    this.#status = "stopped";
    try {
      this.#store.check();
    } finally {
      await this.#shard.close();
    }
  }

  of(): ShardAccess {
    return this.#shard;
  }

  all(): Iterable<ShardAccess> {
    return [this.#shard];
  }
}
