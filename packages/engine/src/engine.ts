import {
  end,
  hub,
  WheelworkError,
  type Answer,
  type AnyHub,
  type Hub,
  type RunEvent,
  type Schema,
  type Spoke,
} from "@wheelwork/core";
import {
  canonicalJson,
  demand,
  longestCallMs,
  type HubDefinition,
  type Ignored,
  type Input,
  Run,
} from "@wheelwork/core/kernel";
import { hash, randomBytes, randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type {
  CommandResult,
  Engine,
  EngineHealth,
  RequestPage,
  RequestView,
  Submitted,
  SubmitOptions,
} from "./api.ts";
import { LocalBus } from "./bus.ts";
import { systemClock } from "./clock.ts";
import type { Bus, Clock, EngineSignal, Logger, RequestRow, Store, StoredAnswer } from "./ports.ts";
import { Shard, tellHubName, unavailable, type Feed, type ShardLimits } from "./shard.ts";
import { SqliteStore, type Durability } from "./sqlite.ts";
import type { Worker } from "./worker.ts";

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
  readonly observe?: (signal: EngineSignal) => void;
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

const defaultLimits: ShardLimits = {
  queuedRequests: 10_000,
  liveRuns: 200_000,
  batchInputs: 5_000,
  checkpointEvents: 50_000,
  horizonMs: 60_000,
};

const silent: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

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
  readonly #observe: ((signal: EngineSignal) => void) | undefined;
  readonly #log: Logger;
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
    this.#log = options.logger ?? silent;
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
      log: this.#log,
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
      this.#log.info({ version: definition.version }, definition.answerBy);
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
      const known = await this.shard.look(id);
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
      const isRoot = run.parent === undefined && !run.hub.startsWith("tell:");
      if (!isRoot && status !== "incident") return;
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
    const known = await this.shard.look(id);
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
            this.#log.warn(
              { error: String(error) },
              "answers that have outlived their retention could not be deleted",
            );
            this.#schedulePurge(60_000);
          },
        );
    });
  }
}

export function collectHubs(hubs: readonly AnyHub[]): Map<string, AnyHub> {
  const collected = new Map<string, AnyHub>();
  const add = (hub: AnyHub): void => {
    const known = collected.get(hub.name);
    if (known === hub) return;
    if (known !== undefined) {
      throw new WheelworkError("WW_CONFIG", `two hubs are named ${hub.name}`, {
        next: "Give each hub a name of its own.",
      });
    }
    collected.set(hub.name, hub);
    for (const callee of hub.definition.callees.values())
      if (callee.kind === "hub") add(callee as unknown as AnyHub);
  };
  for (const hub of hubs) add(hub);
  return collected;
}

export function checkWorkers(hubs: ReadonlyMap<string, AnyHub>, workers: readonly Worker[]): void {
  const served = new Map(workers.map((worker) => [worker.spoke.name, worker.spoke]));
  const problems = new Map<string, string>();
  for (const { name, definition } of hubs.values()) {
    for (const callee of definition.callees.values()) {
      if (callee.kind === "hub") continue;
      const spoke = served.get(callee.name);
      if (spoke === undefined)
        problems.set(callee.name, `the hub ${name} calls the spoke ${callee.name}, which no worker serves`);
      else if (spoke !== callee)
        problems.set(callee.name, `the worker of ${callee.name} serves another spoke of that name`);
    }
  }
  if (problems.size === 0) return;
  throw new WheelworkError("WW_CONFIG", "the engine cannot be made", {
    problems: [...problems.values()].map((message) => ({ path: "workers", message })),
    next: "Give the engine a worker for each spoke that its hubs call.",
  });
}

const anything: Schema = {
  "~standard": { version: 1, vendor: "wheelwork", validate: (value) => ({ value }) },
};

/** A tell is a run of its own, of a hub that makes one call: retried as its spoke says, recorded, and independent. */
function tellHubs(workers: readonly Worker[]): HubDefinition[] {
  return workers.map(({ spoke }) => {
    const told = hub(
      "tell",
      {
        request: anything,
        reply: anything,
        errors: ["not-delivered"],
        deadlineMs: longestCallMs(spoke) + 1000,
        chart: { Telling: { Delivered: "Told", Failed: "Lost" }, Told: end, Lost: end },
        data: (request) => request as { readonly input: unknown },
      },
      {
        Telling: (s) =>
          s.call(spoke as Spoke, {
            input: ({ input }) => input,
            ok: "Delivered",
            failed: "Failed",
            deadline: "Failed",
          }),
        Told: () => ({}),
        Lost: (_data, s) => s.fail("not-delivered", `the spoke ${spoke.name} did not take what it was told`),
      },
    );
    return { ...told.definition, name: tellHubName(spoke.name) };
  });
}

/** A key that nobody else has. The time comes first: a store adds such keys at the end of its index, which is cheap. */
export function newKey(now: number): string {
  return now.toString(16).padStart(12, "0") + randomBytes(10).toString("hex");
}

/** 32 hex digits of SHA-256 over the hub and the canonical body: equal requests, equal hashes. */
export function hashOf(hub: string, request: unknown): string {
  return hash("sha256", `${hub}\n${canonicalJson(request)}`, "hex").slice(0, 32);
}

function isJson(value: unknown): boolean {
  try {
    JSON.stringify(value);
    return true;
  } catch {
    return false;
  }
}

/** The hub that a request names. @throws WheelworkError WW_HUB_UNKNOWN. */
export function servedBy(hubs: ReadonlyMap<string, AnyHub>, hub: Hub<never> | string): HubDefinition {
  const name = typeof hub === "string" ? hub : hub.name;
  const served = hubs.get(name);
  if (served !== undefined) return served.definition;
  throw new WheelworkError("WW_HUB_UNKNOWN", `this engine serves no hub ${name}`, {
    next: `It serves: ${[...hubs.keys()].join(", ")}.`,
  });
}

/** The request as it is stored. @throws WheelworkError WW_INVALID_REQUEST with every problem. */
export function validRequest(definition: HubDefinition, request: unknown, options: SubmitOptions): unknown {
  checkSubmit(options.key, options.deadlineMs);
  const what = `the request to ${definition.name}`;
  const valid = demand(definition.request, request, "WW_INVALID_REQUEST", what);
  if (!isJson(valid)) throw notJson("WW_INVALID_REQUEST", "request");
  return valid;
}

/** The payload of a signal as it is stored. @throws WheelworkError WW_SIGNAL_UNKNOWN, WW_INVALID_INPUT. */
export function validSignal(
  hub: string,
  definition: HubDefinition | undefined,
  name: string,
  payload: unknown,
): unknown {
  const signals = definition?.signals ?? {};
  const schema: Schema | undefined = Object.hasOwn(signals, name) ? signals[name] : undefined;
  if (schema === undefined) {
    const known = Object.keys(signals).join(", ");
    throw new WheelworkError("WW_SIGNAL_UNKNOWN", `the hub ${hub} takes no signal ${name}`, {
      next: known === "" ? "It takes none." : `It takes: ${known}.`,
    });
  }
  const valid = demand(schema, payload, "WW_INVALID_INPUT", `the payload of the signal ${name}`);
  if (!isJson(valid)) throw notJson("WW_INVALID_INPUT", "payload");
  return valid;
}

function notJson(code: "WW_INVALID_INPUT" | "WW_INVALID_REQUEST", what: string): WheelworkError {
  return new WheelworkError(code, `the ${what} cannot be stored as JSON`, {
    problems: [{ path: "", message: "is not JSON once its schema has transformed it (I19)" }],
    next: "Let the schema yield JSON, and transform it further in the hub.",
  });
}

/** What a request key may be. */
export const keyPattern = /^[\x21-\x7e]{1,200}$/;

function checkSubmit(key: string | undefined, deadlineMs: number | undefined): void {
  const problems = [];
  if (key !== undefined && (!keyPattern.test(key) || key.includes("/"))) {
    problems.push({
      path: "key",
      message: "must be 1 to 200 printable ASCII characters without blanks and '/'",
    });
  }
  if (deadlineMs !== undefined && !(Number.isFinite(deadlineMs) && deadlineMs > 0)) {
    problems.push({ path: "deadlineMs", message: "must be a finite number above 0" });
  }
  if (problems.length > 0)
    throw new WheelworkError("WW_INVALID_REQUEST", "the request cannot be accepted", { problems });
}

export function commandResult(id: string, ignored: Ignored | undefined): CommandResult {
  switch (ignored) {
    case "ended":
      return "ended";
    case "full":
      throw new WheelworkError("WW_OVERLOADED", `the run of request ${id} keeps as many signals as it may`, {
        next: "Send the signal again when the run has taken some.",
        retryable: true,
      });
    case "not-incident":
      throw new WheelworkError("WW_NOT_INCIDENT", `the run of request ${id} is not parked by an incident`, {
        next: "Only a run whose status is incident can be retried or resolved.",
      });
    default:
      return "accepted";
  }
}

export function notFound(id: string): WheelworkError {
  return new WheelworkError("WW_NOT_FOUND", `there is no request ${id}`, {
    next: "Check the id; answers are kept for the retention time only.",
  });
}

interface Place {
  readonly createdAt: number;
  readonly key: string;
}

/** Whether `a` comes after `b` in a list that begins with the newest. */
function isBefore(a: Place, b: Place): boolean {
  return a.createdAt < b.createdAt || (a.createdAt === b.createdAt && a.key < b.key);
}

/** Where a page begins, and how long it is. @throws WheelworkError WW_INVALID_REQUEST. */
export function placeOf({ cursor, limit = 50 }: { readonly cursor?: string; readonly limit?: number }): {
  readonly limit: number;
  readonly before: Place | undefined;
} {
  if (!Number.isInteger(limit) || limit < 1 || limit > 1000) {
    throw new WheelworkError("WW_INVALID_REQUEST", "limit is not valid", {
      problems: [{ path: "limit", message: "must be an integer from 1 to 1000" }],
    });
  }
  return { limit, before: cursor === undefined ? undefined : readCursor(cursor) };
}

/** The first rows of a list as a page, newest first; there may be more of them than one page holds. */
export function pageOf(rows: Iterable<RequestRow>, limit: number): RequestPage {
  const items = [...rows].toSorted((a, b) => (isBefore(a, b) ? 1 : -1)).slice(0, limit + 1);
  const page = items.slice(0, limit).map((row) => ({
    id: row.key,
    hub: row.hub,
    version: row.version,
    status: row.status,
    state: row.state,
    createdAt: row.createdAt,
    answeredAt: row.answeredAt,
  }));
  const last = page.at(-1);
  return items.length > limit && last !== undefined
    ? { items: page, cursor: `${last.createdAt}.${last.id}` }
    : { items: page };
}

function readCursor(cursor: string): Place {
  const [, createdAt, key] = /^(\d{1,16})\.(.+)$/.exec(cursor) ?? [];
  if (createdAt === undefined || key === undefined) {
    throw new WheelworkError("WW_INVALID_REQUEST", "cursor is not valid", {
      problems: [{ path: "cursor", message: "is not one that a list gave" }],
    });
  }
  return { createdAt: Number(createdAt), key };
}

export function viewOfRun(run: Run, committed: boolean): RequestView {
  return {
    id: run.key,
    hub: run.hub,
    version: run.version,
    status: run.status,
    state: run.state,
    createdAt: run.createdAt,
    answeredAt: run.answeredAt,
    endedAt: run.endedAt,
    request: run.request,
    answer: committed ? run.answer : undefined,
    data: run.data,
    openCalls: Array.from(run.calls.values(), ({ number, callee, attempt, due, input }) => ({
      call: number,
      callee,
      attempt,
      due,
      input,
    })),
    ...(run.incident === undefined ? {} : { incident: run.incident }),
  };
}

export function viewOfAnswer(stored: StoredAnswer): RequestView {
  return {
    id: stored.key,
    hub: stored.hub,
    version: stored.version,
    status: stored.status,
    state: stored.state,
    createdAt: stored.createdAt,
    answeredAt: stored.answeredAt,
    endedAt: stored.endedAt,
    request: stored.request,
    answer: stored.answer,
  };
}
