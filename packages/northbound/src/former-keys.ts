import { WheelworkError } from "@wheelwork/core";
import type { Engine } from "@wheelwork/engine";
import { hashedId, type IdempotencyKey } from "./headers.ts";

/** A page of the list that is looked through, and how long after a look that failed the next one is, in milliseconds. */
const [pageSize, againMs] = [1000, 10_000];
/**
 * How long after its start a server of a cluster looks, in milliseconds: an earlier version may work beside it while it is deployed, and
 * store more.
 */
const deployMs = 3_600_000;
/** What an id that the engine has made says of its time, in milliseconds: it is so near that of the request. */
const nearMs = 86_400_000;

/**
 * Finds requests that earlier versions have stored under a hash of their `Idempotency-Key`. That costs a look-up for each request with
 * a key. So the list of all requests is looked through once: where there is no such request, and none can come, nobody looks for one.
 */
export class FormerKeys {
  readonly #engine: Engine;
  #areThere: boolean;
  #looks = false;
  #lookAt = Number.NEGATIVE_INFINITY;

  constructor(engine: Engine, accepts: boolean) {
    this.#engine = engine;
    this.#areThere = accepts;
  }

  /** The key of a request with an `Idempotency-Key`: that of an earlier version, if the request is known under it. */
  keyOf(hub: string, { sent, key }: IdempotencyKey): string | Promise<string> {
    if (!this.#areThere) return key;
    if (!this.#looks && performance.now() >= this.#lookAt) void this.#look();
    return this.#find(hashedId(hub, sent), key);
  }

  async #find(former: string, key: string): Promise<string> {
    try {
      await this.#engine.request(former);
      return former;
    } catch (error) {
      if (error instanceof WheelworkError && error.code === "WW_NOT_FOUND") return key;
      throw error;
    }
  }

  async #look(): Promise<void> {
    this.#looks = true;
    const isFirst = this.#lookAt === Number.NEGATIVE_INFINITY;
    try {
      if (isFirst && !(await this.#isAlone())) {
        this.#lookAt = performance.now() + deployMs;
        return;
      }
      this.#areThere = await this.#hasAny();
      // One is enough: they go with their retention, and the next start looks again.
      if (this.#areThere) this.#lookAt = Number.POSITIVE_INFINITY;
    } catch {
      // The store is away, or a shard moves. Until then each request is looked up.
      this.#lookAt = performance.now() + againMs;
    } finally {
      this.#looks = false;
    }
  }

  /** Whether no other process serves these requests: an embedded engine has one shard, and no inbox. */
  async #isAlone(): Promise<boolean> {
    const shards = await this.#engine.allShards();
    return (
      shards.length === 1 &&
      shards.every(({ isHere, position, lag }) => isHere && position === undefined && lag === undefined)
    );
  }

  async #hasAny(): Promise<boolean> {
    for (let cursor: string | undefined; ;) {
      const page = await this.#engine.requests({
        order: "oldest",
        limit: pageSize,
        ...(cursor === undefined ? {} : { cursor }),
      });
      if (page.items.some(({ id, createdAt }) => isHash(id, createdAt))) return true;
      cursor = page.cursor;
      if (cursor === undefined) return false;
    }
  }
}

/** Whether an id may be a hash. One that the engine makes is as long, and begins with its time. */
function isHash(id: string, createdAt: number): boolean {
  if (!/^[0-9a-f]{32}$/.test(id)) return false;
  return Math.abs(Number.parseInt(id.slice(0, 12), 16) - createdAt) > nearMs;
}
