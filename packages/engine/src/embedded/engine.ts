import { WheelworkError, type Answer, type AnyHub, type Hub, type RunEvent } from "@wheelwork/core";
import { Run, type HubDefinition, type Input } from "@wheelwork/core/kernel";
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { Worker } from "../attempts/worker.ts";
import { isRoot } from "../ports/keys.ts";
import { systemClock } from "../ports/clock.ts";
import { silent } from "../ports/logger.ts";
import type { Bus, Clock, EngineEvent, Logger, RequestRow, Store, StoredAnswer } from "../ports/ports.ts";
import type { ReplyPath } from "../ports/reply-path.ts";
import type {
  CommandResult,
  Engine,
  EngineHealth,
  RequestPage,
  RequestView,
  Submitted,
  SubmitOptions,
} from "../requests/api.ts";
import { commandResult, notFound } from "../requests/commands.ts";
import { checkWorkers, collectHubs, servedBy, tellHubs } from "../requests/hubs.ts";
import { hashOf, newKey, validRequest, validSignal } from "../requests/validate.ts";
import { isBefore, pageOf, placeOf, viewOfAnswer, viewOfRun } from "../requests/views.ts";
import { Shard, unavailable, type Feed, type ShardLimits } from "../shard/shard.ts";
import { SqliteStore, type Durability } from "../stores/sqlite.ts";
import { LocalBus } from "./local-bus.ts";

/** What an embedded engine needs. */
export interface EngineOptions {
  /** The hubs that it serves, those that are only called by others included. */
  readonly hubs: readonly AnyHub[];
  /** One worker for each spoke that the hubs call. */
  readonly workers: readonly Worker[];
  /** The file of the SQLite store, or a store of your own. */
  readonly store: string | Store;
  /** How much a commit waits for the disk. Default `full`. Only for a file. */
  readonly durability?: Durability;
  /** Default: a bus within the process. */
  readonly bus?: Bus;
  /** Default: none. */
  readonly logger?: Logger;
  /** Is told what happens in the engine, for metrics and traces. It must not throw. */
  readonly observe?: (signal: EngineEvent) => void;
  /** How long answers and histories are kept after the end, in milliseconds. Default 7 days. */
  readonly retentionMs?: number;
  readonly limits?: Partial<ShardLimits>;
  /** For tests: the clock. */
  readonly clock?: Clock;
  /** For tests: numbers in [0, 1) for the jitter of retries. */
  readonly random?: () => number;
  /** For tests: freeze what handlers get, and refuse data that is not plain JSON. */
  readonly strict?: boolean;
}

const day = 86_400_000;

/** What the loop may hold where nobody says otherwise. */
const defaultLimits: ShardLimits = {
  queuedRequests: 10_000,
  liveRuns: 200_000,
  batchInputs: 5_000,
  checkpointEvents: 50_000,
  horizonMs: 60_000,
};

/**
 * Makes an embedded engine: one process, one SQLite file, workers in the process. Call `start` next.
 * @throws WheelworkError WW_CONFIG with every problem (a spoke without a worker, two hubs of one name), and those of the
 * store: WW_STORE_LOCKED, WW_COMMITS_LOST, WW_STORE_CORRUPT, WW_STORE_NEWER, WW_STORE_UNAVAILABLE.
 */
export function createEngine(options: EngineOptions): Engine {
  return new ShardEngine(options);
}

/** What a shard of a cluster has besides. */
export interface ClusterPart {
  readonly feed: Feed;
  readonly replies: ReplyPath;
  readonly onEnded: (why: WheelworkError) => void;
  /** Hubs that no user defines. */
  readonly builtIn: readonly HubDefinition[];
}

/** An engine over one shard: the embedded one, or a part of a cluster. */
export class ShardEngine implements Engine {
  readonly hubs: ReadonlyMap<string, AnyHub>;
  readonly #definitions = new Map<string, HubDefinition>();
  readonly #store: Store;
  readonly #ownsStore: boolean;
  readonly shard: Shard;
  readonly #clock: Clock;
  readonly #retentionMs: number;
  readonly #observe: ((signal: EngineEvent) => void) | undefined;
  readonly #logger: Logger;
  /** A node says once what its hubs promise, not for each of its shards. */
  readonly #announces: boolean;
  #cancelPurge: () => void = () => {};
  #stopping: Promise<void> | undefined = undefined;

  constructor(options: EngineOptions, part?: ClusterPart) {
    this.hubs = collectHubs(options.hubs);
    for (const { definition } of this.hubs.values()) this.#definitions.set(definition.name, definition);
    const told = tellHubs(options.workers);
    for (const definition of [...told, ...(part?.builtIn ?? [])])
      this.#definitions.set(definition.name, definition);
    this.#clock = options.clock ?? systemClock;
    this.#retentionMs = options.retentionMs ?? 7 * day;
    this.#observe = options.observe;
    this.#logger = options.logger ?? silent;
    this.#announces = part === undefined;
    this.#ownsStore = typeof options.store === "string";
    checkWorkers(this.hubs, options.workers);
    this.#store =
      typeof options.store === "string"
        ? new SqliteStore(
            options.store,
            options.durability === undefined ? {} : { durability: options.durability },
          )
        : options.store;
    this.shard = new Shard({
      store: this.#store,
      clock: this.#clock,
      bus: options.bus ?? new LocalBus(),
      replies: part?.replies ?? { kind: "process" },
      logger: this.#logger,
      hubs: this.#definitions,
      workers: options.workers,
      random: options.random ?? Math.random,
      owner: `${hostname()}:${process.pid}:${randomUUID()}`,
      observe: this.#observe,
      strict: options.strict ?? false,
      limits: { ...defaultLimits, ...options.limits },
      ...(part === undefined ? {} : { feed: part.feed, onEnded: part.onEnded }),
    });
  }

  async start(): Promise<void> {
    for (const { definition } of this.#announces ? this.hubs.values() : [])
      this.#logger.info({ version: definition.version }, definition.answerBy);
    try {
      await this.shard.start();
    } catch (error) {
      if (this.#ownsStore) await this.#store.close();
      throw error;
    }
    this.#schedulePurge(1000);
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#cancelPurge();
    await this.shard.stop();
    if (this.#ownsStore) await this.#store.close();
  }

  submit<I>(hub: Hub<I> | string, request: I, options: SubmitOptions = {}): Promise<Submitted> {
    return new Promise((resolve, reject) => {
      const definition = servedBy(this.hubs, hub);
      const { key, deadlineMs } = options;
      const valid = validRequest(definition, request, options);
      const id = key ?? newKey(this.shard.now());
      this.shard.request({
        kind: "request",
        key: id,
        hub: definition.name,
        request: valid,
        // A key that nobody else can know is not sent twice: its hash is never compared.
        hash: key === undefined ? "" : hashOf(definition.name, valid),
        ...(deadlineMs === undefined ? {} : { deadlineMs }),
        fresh: key === undefined,
        accept: (known) => resolve({ id, known }),
        refuse: reject,
      });
    });
  }

  async answer(id: string, options: { readonly waitMs?: number } = {}): Promise<Answer | undefined> {
    this.#demandOpen();
    const { waitMs } = options;
    const run = this.shard.find(id);
    if (run !== undefined) {
      const answer = this.#answerOf(run);
      if (answer !== undefined || waitMs === 0) return answer;
      return this.#wait(id, waitMs).answer;
    }
    // The wait begins before the store is asked, or an answer that is given meanwhile would be missed.
    const { answer, end } = this.#wait(id, waitMs);
    answer.catch(() => {});
    try {
      const known = await this.shard.lookUp(id);
      if (known === undefined) throw await this.#missing(id);
      const given = this.#answerOf(known);
      if (given === undefined && waitMs !== 0) return await answer;
      return given;
    } finally {
      end();
    }
  }

  /** An answer that is committed. */
  #answerOf(known: Run | StoredAnswer): Answer | undefined {
    return known instanceof Run && !this.shard.isCommitted(known.key) ? undefined : known.answer;
  }

  #wait(
    id: string,
    waitMs: number | undefined,
  ): { readonly answer: Promise<Answer | undefined>; readonly end: () => void } {
    let end = (): void => {};
    const answer = new Promise<Answer | undefined>((resolve, reject) => {
      let cancelTimer = (): void => {};
      const forget = this.shard.wait(id, {
        resolve: (given) => {
          cancelTimer();
          resolve(given);
        },
        refuse: (error) => {
          cancelTimer();
          reject(error);
        },
      });
      end = () => {
        cancelTimer();
        forget();
      };
      if (waitMs === undefined) return;
      cancelTimer = this.#clock.after(Math.min(waitMs, 2 ** 31 - 1), () => {
        forget();
        resolve(undefined);
      });
    });
    return { answer, end };
  }

  async call<I, O, E extends string>(
    hub: Hub<I, O, E>,
    request: I,
    options?: SubmitOptions,
  ): Promise<Answer<O, E>> {
    const { id } = await this.submit(hub as Hub<I>, request, options);
    return (await this.answer(id)) as Answer<O, E>;
  }

  async request(id: string): Promise<RequestView> {
    const known = await this.#known(id);
    return known instanceof Run ? viewOfRun(known, this.shard.isCommitted(id)) : viewOfAnswer(known);
  }

  async requests(filter: Parameters<Engine["requests"]>[0] = {}): Promise<RequestPage> {
    const { status, hub } = filter;
    const { limit, before } = placeOf(filter);
    this.#demandOpen();
    if (this.shard.status === "store-lost") throw unavailable();
    const merged = new Map<string, RequestRow>();
    const addLive = (run: Run): void => {
      if (!isRoot(run) && status !== "incident") return;
      if ((status !== undefined && run.status !== status) || (hub !== undefined && run.hub !== hub)) return;
      if (before === undefined || isBefore(run, before)) merged.set(run.key, run);
    };
    for (const run of this.shard.liveRuns()) addLive(run);
    // Rows of runs that have changed since the last checkpoint do not count: more are read, until none can lack.
    let found = 0;
    for (let from = before; found <= limit;) {
      const rows = await this.#store.list({
        limit: limit + 1,
        ...(status === undefined ? {} : { status }),
        ...(hub === undefined ? {} : { hub }),
        ...(from === undefined ? {} : { before: from }),
      });
      for (const row of rows) {
        if (merged.has(row.key)) continue;
        if (this.shard.isListed(row)) {
          merged.set(row.key, row);
          found++;
        } else {
          // It may have come into memory while the store was asked.
          const run = this.shard.find(row.key);
          if (run !== undefined) addLive(run);
        }
      }
      from = rows.at(-1);
      if (rows.length <= limit) break;
    }
    return pageOf(merged.values(), limit);
  }

  async history(id: string): Promise<readonly RunEvent[]> {
    await this.#known(id);
    const events = await this.shard.history(id);
    // It may have outlived its retention while the store was asked.
    if (events.length === 0) throw notFound(id);
    return events;
  }

  cancel(id: string, options: { readonly commandId?: string } = {}): Promise<CommandResult> {
    return this.#command(id, { kind: "cancel", id: options.commandId ?? randomUUID() });
  }

  async signal(
    id: string,
    name: string,
    payload: unknown,
    options: { readonly commandId?: string } = {},
  ): Promise<CommandResult> {
    const { hub } = await this.#known(id);
    const valid = validSignal(hub, this.#definitions.get(hub), name, payload);
    return this.#command(id, {
      kind: "signal",
      id: options.commandId ?? randomUUID(),
      signal: name,
      payload: valid,
    });
  }

  retry(id: string, options: { readonly commandId?: string } = {}): Promise<CommandResult> {
    return this.#command(id, { kind: "retry", id: options.commandId ?? randomUUID() });
  }

  resolve(
    id: string,
    message: string,
    options: { readonly commandId?: string } = {},
  ): Promise<CommandResult> {
    return this.#command(id, { kind: "resolve", id: options.commandId ?? randomUUID(), message });
  }

  health(): EngineHealth {
    const { status, sizes } = this.shard;
    return {
      ready: status === "running",
      status,
      liveRuns: sizes.liveRuns,
      openAttempts: sizes.openAttempts,
      queued: sizes.queued,
    };
  }

  async #command(id: string, input: Input): Promise<CommandResult> {
    this.#demandOpen();
    const ignored = await this.shard.command(id, input);
    if (ignored === "unknown") throw await this.#missing(id);
    return commandResult(id, ignored);
  }

  async #known(id: string): Promise<Run | StoredAnswer> {
    this.#demandOpen();
    const known = await this.shard.lookUp(id);
    if (known === undefined) throw await this.#missing(id);
    return known;
  }

  /** While the store is lost, or another owner's, nobody is told that a request that was accepted does not exist. */
  async #missing(id: string): Promise<WheelworkError> {
    if (this.shard.status === "store-lost" || !(await this.shard.isOwned())) return unavailable();
    return notFound(id);
  }

  /** Nothing can be read from a store that is closed, or that was never claimed. */
  #demandOpen(): void {
    const { status } = this.shard;
    if (status !== "stopped" && status !== "starting") return;
    throw new WheelworkError(
      "WW_STOPPING",
      `the engine is ${status === "stopped" ? "stopped" : "not started"}`,
      {
        next: "Ask again when it runs.",
        retryable: true,
      },
    );
  }

  /** Deletes what has outlived its retention, a little at a time, so that requests do not wait for it. */
  #schedulePurge(delayMs: number): void {
    if (this.#stopping !== undefined) return;
    this.#cancelPurge = this.#clock.after(delayMs, () => {
      const most = 500;
      Promise.resolve()
        .then(() =>
          this.shard.status === "running" ? this.#store.purge(this.shard.now() - this.#retentionMs, most) : 0,
        )
        .then(
          (requests) => {
            if (requests > 0) this.#observe?.({ name: "purged", requests });
            this.#schedulePurge(requests === most ? 50 : 60_000);
          },
          (error: unknown) => {
            this.#logger.warn(
              { error: String(error) },
              "answers that have outlived their retention could not be deleted",
            );
            this.#schedulePurge(60_000);
          },
        );
    });
  }
}
