import { WheelworkError, type Answer, type Outcome, type RunEvent } from "@wheelwork/core";
import {
  apply,
  Call,
  Callback,
  Coordinator,
  decide,
  isRunning,
  migrate,
  restore,
  Run,
  snapshot,
  start,
  type Env,
  type HubDefinition,
  type Ignored,
  type Input,
} from "@wheelwork/core/kernel";
import { Attempt, invalid, isJson, WorkerHost } from "../attempts/host.ts";
import { Outbox, type Reply } from "./outbox.ts";
import type {
  Batch,
  Bus,
  Checkpoint,
  Claim,
  Clock,
  Commit,
  DueRuns,
  EngineEvent,
  Found,
  Logger,
  LogProgress,
  MaybePromise,
  RequestRow,
  RunEvents,
  Store,
  StoredAnswer,
  StoredRun,
} from "../ports/ports.ts";
import { childKey, isRoot, tellHubName, tellKey } from "../ports/keys.ts";
import type { Worker } from "../attempts/worker.ts";

/** A request that waits to be decided. */
export interface RequestItem {
  readonly kind: "request";
  readonly key: string;
  readonly hub: string;
  readonly request: unknown;
  readonly hash: string;
  readonly deadlineMs?: number;
  /** The key was made by this engine and is new for certain. */
  readonly fresh: boolean;
  /** Where the answer is to be published. */
  readonly replyTo?: string;
  /** Of a request that came with a record of the log: where that is. */
  readonly offset?: number;
  readonly accept: (known: boolean) => void;
  readonly refuse: (error: WheelworkError) => void;
}

/** A command, an outcome or an internal message for a run. */
export interface InputItem {
  readonly kind: "input";
  readonly key: string;
  readonly input: Input;
  readonly done?: {
    readonly resolve: (ignored: IgnoredReason | undefined) => void;
    readonly reject: (error: WheelworkError) => void;
  };
  readonly offset?: number;
}

/** What a message to a relay says, for the attempt that the relay calls so. */
export interface RelayReplyItem {
  readonly kind: "heard";
  readonly key: string;
  readonly spoke: string;
  readonly correlation: string;
  readonly outcome: Outcome;
  readonly done?: { readonly resolve: () => void; readonly reject: (error: WheelworkError) => void };
  readonly offset?: number;
}

/** A record of the log that says nothing to this shard. */
interface MarkItem {
  readonly kind: "mark";
  readonly offset: number;
}

/** Which attempt of a run it is. */
export interface AttemptPlace {
  readonly call: number;
  readonly attempt: number;
  readonly epoch: number;
}

/** Why a command changed nothing; `unknown`: there is no such run, and never was. */
export type IgnoredReason = Ignored | "unknown";

interface SpawnItem {
  readonly kind: "spawn";
  readonly key: string;
  readonly hub: string;
  readonly request: unknown;
  readonly parent?: { readonly key: string; readonly call: number };
}

type Item = RequestItem | InputItem | RelayReplyItem | MarkItem;

/** The log that a shard reads its inputs from, and where its answers go. */
export interface Feed {
  readonly log: string;
  /**
   * Begins to read, after each claim; the records are given to `Shard.feed`. Its result is the end of the log as it is
   * now: results that wait there go before callbacks that are overdue. What waits elsewhere is on its way there: `later`
   * resolves when all of it has come, with the end of the log as it is then. Without a position it begins where the log
   * does.
   * @throws WheelworkError WW_LOG_LOST when the log no longer has that offset.
   */
  begin(
    position: number | undefined,
  ): Promise<{ readonly from: number; readonly end: number; readonly later?: Promise<number> }>;
  /** Nothing is given any more. */
  end(): void;
  publish(reply: Reply): Promise<void>;
}

/** What the loop needs of its surroundings. */
export interface ShardOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly bus: Bus;
  readonly logger: Logger;
  readonly hubs: ReadonlyMap<string, HubDefinition>;
  readonly workers: readonly Worker[];
  /** Numbers in [0, 1), for the jitter of retries. */
  readonly random: () => number;
  readonly owner: string;
  readonly observe: ((signal: EngineEvent) => void) | undefined;
  readonly strict: boolean;
  readonly limits: ShardLimits;
  /** Absent: inputs come from callers alone. */
  readonly feed?: Feed;
  /**
   * The shard has ended by itself, and is not claimed again: it is another owner's (WW_STORE_LOCKED), or its store has lost
   * commits (WW_COMMITS_LOST).
   */
  readonly onEnded?: (why: WheelworkError) => void;
}

/** Bounds of the loop. */
export interface ShardLimits {
  /** Requests that wait to be decided; beyond it they are refused. */
  readonly queuedRequests: number;
  /** Runs in memory; beyond it new requests are refused. */
  readonly liveRuns: number;
  /** Inputs of one batch. */
  readonly batchInputs: number;
  /** Events between two checkpoints. */
  readonly checkpointEvents: number;
  /** Runs that are due later than this leave the memory, in milliseconds. */
  readonly horizonMs: number;
}

/** A run in memory. */
interface Live {
  readonly run: Run;
  /** Where in `history` the events begin that are not committed; -1: all are. */
  stagedFrom: number;
  /** The last batch that has events of it and is not committed, and where in `history` these begin. */
  batch: Pending | undefined;
  batchFrom: number;
  /** It has an answer that is not committed. */
  answering: boolean;
  /** Events since a checkpoint last wrote a part of the history, and the batch in which they begin. */
  history: RunEvent[];
  firstSeq: number;
  /** The run has changed since its row was written, or has none. */
  dirty: boolean;
  stored: boolean;
}

/** Somebody who waits for an answer; `refuse`: the engine ends before there is one. */
export interface Waiter {
  readonly resolve: (answer: Answer) => void;
  readonly refuse: (error: WheelworkError) => void;
}

interface Effects {
  /** The attempt of each call that is to be made: a later one may be decided meanwhile, which is not committed. */
  readonly attempts: { readonly call: Call; readonly attempt: number }[];
  readonly closed: Call[];
  readonly answered: Live[];
  readonly accepted: { readonly item: RequestItem; readonly known: boolean }[];
  readonly refused: { readonly item: RequestItem; readonly error: WheelworkError }[];
  readonly commanded: { readonly item: InputItem; readonly ignored: IgnoredReason | undefined }[];
  /** Messages to relays that came without the log, and are settled then. */
  readonly heard: (() => void)[];
  /** Stored answers that somebody asked for again. */
  readonly repeated: Reply[];
}

/** A batch on its way: what it has consumed and decided, and what happens once that is committed. */
interface Pending {
  /** Given back if the batch cannot be committed. */
  items: readonly Item[];
  /** What is stored under the keys that its inputs name. */
  found: ReadonlyMap<string, Found>;
  readonly touched: Live[];
  readonly answers: Live[];
  readonly ended: Live[];
  readonly effects: Effects;
  /** Items and callbacks. */
  inputs: number;
  events: number;
  /** When its first decision was made, and its last. */
  since: number;
  now: number;
  decideMs: number;
  /** What is to be written; undefined while it is open, or if there is nothing. */
  commit: Commit | undefined;
}

const newPending = (): Pending => ({
  items: [],
  found: new Map(),
  touched: [],
  answers: [],
  ended: [],
  effects: {
    attempts: [],
    closed: [],
    answered: [],
    accepted: [],
    refused: [],
    commanded: [],
    heard: [],
    repeated: [],
  },
  inputs: 0,
  events: 0,
  since: Number.POSITIVE_INFINITY,
  now: 0,
  decideMs: 0,
  commit: undefined,
});

/**
 * The durable loop over one shard (DESIGN, section 5): takes all inputs that are ready, decides them one after the
 * other in memory, writes everything in one transaction, and only then acts. While a store commits beside the loop, the
 * next batch is decided on top of what is not committed yet; its effects wait for both commits.
 */
export class Shard {
  readonly #options: ShardOptions;
  readonly #host: WorkerHost;
  #coordinator = new Coordinator();
  readonly #live = new Map<string, Live>();
  /** Ended runs whose row the next checkpoint deletes. */
  readonly #endedStored = new Set<string>();
  #inbox: Item[] = [];
  #queuedRequests = 0;
  /** How many items have ever been queued. */
  #pushed = 0;
  /** When overdue callbacks were noticed, and how many items had been queued one turn later: these go first. */
  #noticed: { readonly now: number; readonly before: number | undefined } | undefined = undefined;
  readonly #internal: (InputItem | SpawnItem)[] = [];
  readonly #waiters = new Map<string, Set<Waiter>>();
  #status: "starting" | "running" | "store-lost" | "stopping" | "stopped" = "starting";
  #claim: Claim = { epoch: 0, engineTime: 0, seq: 0 };
  /** Number of the last batch that was decided, and of the last one whose effects have happened. */
  #seq = 0;
  #actedSeq = 0;
  #timeBase = 0;
  #monotonicBase = 0;
  #lastNow = 0;
  #scheduled = false;
  /** The batch that decisions go into. */
  #open = newPending();
  /** A batch that is decided, and waits for the one that is being committed. */
  #sealed: Pending | undefined = undefined;
  #committing: { readonly batch: Pending; readonly began: number; readonly done: Promise<void> } | undefined =
    undefined;
  /** The last commit went on beside the loop. */
  #overlaps = false;
  /** The store reads for these items, or writes the last checkpoint: nothing is decided meanwhile. */
  #busy: { readonly items: readonly Item[]; readonly done: Promise<void> } | undefined = undefined;
  /** Those who read what is committed: nothing is decided ahead meanwhile. */
  #readers = 0;
  /** Grows whenever the memory is dropped: what was asked of the store before that counts no more. */
  #generation = 0;
  /** How many inputs a batch may have: fewer after a failure, in case it was too big. */
  #batchInputs: number;
  #cancelTimer: (() => void) | undefined = undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #eventsSinceCheckpoint = 0;
  /** How many checkpoints were committed: they write rows, and let runs leave the memory. */
  #checkpoints = 0;
  /** Runs that the last checkpoint left in memory. */
  #kept = 0;
  /** Stored runs that are due before this place are in memory. */
  #loadedTo = { due: 0, key: "" };
  /** When to look in the store for runs that are due. */
  #scanAt = Number.POSITIVE_INFINITY;
  #idle: (() => void)[] = [];
  readonly #lastEnv: { -readonly [Field in keyof Env]: Env[Field] };
  #recoveryMs = minRecoveryMs;
  #cancelRecovery: (() => void) | undefined = undefined;
  #outbox: Outbox | undefined = undefined;
  /** All records of the log before this offset are decided. */
  #position = 0;
  /** Records whose effects must happen before the position may pass them. */
  readonly #pinnedOffsets = new Set<number>();
  #logProgress: LogProgress | undefined = undefined;
  /** The end of the log at the claim, and until when callbacks wait for it to be read. */
  #catchUp = { offset: 0, before: 0 };

  constructor(options: ShardOptions) {
    this.#options = options;
    this.#batchInputs = options.limits.batchInputs;
    this.#lastEnv = { now: 0, since: 0, random: 0, strict: options.strict, verifyJson: false };
    this.#host = new WorkerHost(
      options.workers,
      options.bus,
      (attempt, outcome) => this.#reported(attempt, outcome),
      options.logger,
    );
  }

  get status(): "starting" | "running" | "store-lost" | "stopping" | "stopped" {
    return this.#status;
  }

  get sizes(): {
    readonly liveRuns: number;
    readonly openAttempts: number;
    readonly queued: number;
    readonly callbacks: number;
    readonly unpublished: number;
  } {
    return {
      liveRuns: this.#live.size,
      openAttempts: this.#host.size,
      queued: this.#inbox.length,
      callbacks: this.#coordinator.size,
      unpublished: this.#outbox?.size ?? 0,
    };
  }

  serves(spoke: string): boolean {
    return this.#host.serves(spoke);
  }

  /** Engine time: it begins at the later of the last commit and the wall clock, and only runs forward (DESIGN, Time). */
  now(): number {
    const elapsed = Math.floor(this.#options.clock.monotonicMs() - this.#monotonicBase);
    return (this.#lastNow = Math.max(this.#lastNow, this.#timeBase + elapsed));
  }

  /** Claims the shard, loads what is open, and goes on with it. */
  async start(): Promise<void> {
    await this.#recall();
    if (this.#status !== "starting") return;
    this.#host.attach();
    this.#status = "running";
    this.#resume();
  }

  /** Takes no more requests, commits what is decided, and stops. */
  async stop(): Promise<void> {
    if (this.#status === "stopped") return;
    const working = this.#status === "running";
    this.#status = "stopping";
    this.#options.feed?.end();
    if (working) {
      await this.#settleInbox();
      await this.#outbox?.drained(maxDrainMs);
      // Callbacks may have come due meanwhile.
      await this.#settleInbox();
      await this.#lastCheckpoint();
    }
    this.#status = "stopped";
    this.#host.detach();
    this.#host.endAll();
    this.#cancelTimer?.();
    this.#cancelRecovery?.();
    this.#outbox?.end();
    this.#refuseAll();
  }

  /** The engine has ended: whoever waits is told so. */
  #refuseAll(): void {
    // What a record said is read again by whoever claims the shard.
    for (const item of this.#inbox.splice(0)) if (item.offset === undefined) this.#refuse(item, stopping());
    for (const waiters of this.#waiters.values()) for (const { refuse } of waiters) refuse(stopping());
    this.#waiters.clear();
  }

  /** Queues a request, or refuses it at once. */
  request(item: RequestItem): void {
    const { limits } = this.#options;
    const refusal = this.#refusal();
    if (refusal !== undefined) return item.refuse(refusal);
    if (this.#queuedRequests >= limits.queuedRequests || this.#live.size >= limits.liveRuns) {
      this.#options.observe?.({ name: "refused", hub: item.hub, key: item.key });
      return item.refuse(
        new WheelworkError("WW_OVERLOADED", "the engine has more requests than it may hold", {
          next: "Send the request again later, with the same key.",
          retryable: true,
        }),
      );
    }
    this.#queuedRequests++;
    this.#push(item);
  }

  /** Takes what a record of the log says. Records come in their order. */
  feed(item: Item & { readonly offset: number }): void {
    if (item.kind === "request") this.#queuedRequests++;
    this.#push(item);
  }

  /** The position does not pass a record before the result is called: something that must not be lost is under way. */
  pinOffset(offset: number): () => void {
    this.#pinnedOffsets.add(offset);
    return () => void this.#pinnedOffsets.delete(offset);
  }

  /** Which claim this is. */
  get epoch(): number {
    return this.#claim.epoch;
  }

  /** How far the shard has come with its log. */
  get position(): number {
    return this.#position;
  }

  /** Takes what a worker elsewhere says of an attempt, in a record of the log. */
  outcome(spoke: string, key: string, attempt: AttemptPlace, outcome: Outcome, offset: number): void {
    this.#push({ kind: "input", key, input: this.#outcomeOf(spoke, key, attempt, outcome), offset });
  }

  /** The same where records have no places: it is committed when this resolves, or changed nothing. */
  async respond(spoke: string, key: string, attempt: AttemptPlace, outcome: Outcome): Promise<void> {
    const reason = await this.command(key, this.#outcomeOf(spoke, key, attempt, outcome));
    if (reason !== undefined) this.#options.observe?.({ name: "ignored", key, reason });
  }

  #outcomeOf(spoke: string, key: string, attempt: AttemptPlace, given: Outcome): Input {
    const outcome = this.#host.check(spoke, given);
    const { call } = attempt;
    this.#options.observe?.({ name: "outcome", callee: spoke, key, call, outcome: outcome.kind });
    return { kind: "outcome", ...attempt, outcome };
  }

  /** Takes what a message to a relay says; settled once it is committed, or says nothing to anybody. */
  relayReply(item: Omit<RelayReplyItem, "kind" | "done" | "offset">): Promise<void> {
    return new Promise((resolve, reject) => {
      const refusal = this.#refusal();
      if (refusal !== undefined) return reject(refusal);
      this.#push({ kind: "heard", ...item, done: { resolve, reject } });
    });
  }

  /** Gives a command to a run; what it gives back is why it changed nothing, or undefined. */
  command(key: string, input: Input): Promise<IgnoredReason | undefined> {
    return new Promise((resolve, reject) => {
      const refusal = this.#refusal();
      if (refusal !== undefined) return reject(refusal);
      this.#push({ kind: "input", key, input, done: { resolve, reject } });
    });
  }

  /**
   * Something was thrown where nobody catches it, so that anything in memory may be wrong: it is dropped, and read back from
   * the store, as after a commit whose outcome is not known.
   */
  reloadFromStore(error: unknown): void {
    if (this.#status === "running") this.#lose(error, [], "something was thrown where nobody catches it");
  }

  /** Calls back when the request has its answer; the result takes that back. */
  wait(key: string, waiter: Waiter): () => void {
    let waiters = this.#waiters.get(key);
    if (waiters === undefined) this.#waiters.set(key, (waiters = new Set()));
    waiters.add(waiter);
    return () => {
      waiters.delete(waiter);
      if (waiters.size === 0 && this.#waiters.get(key) === waiters) this.#waiters.delete(key);
    };
  }

  /** A run in memory; undefined while the store is lost, since it may never have been committed. */
  find(key: string): Run | undefined {
    return this.#status === "store-lost" ? undefined : this.#live.get(key)?.run;
  }

  /** What is known of a request: its run, or else its answer. */
  async lookUp(key: string): Promise<Run | StoredAnswer | undefined> {
    // What a batch has made of it is not shown before it is committed: it may never be.
    if (this.#isStaged(key)) await this.#quiet();
    const before = this.find(key);
    if (before !== undefined) return before;
    let [found] = await this.#read(key);
    // It has ended while the store was asked, so that its answer is there by now.
    if (found?.answer === undefined && this.#endedStored.has(key)) [found] = await this.#read(key);
    // While the store was asked, the run may have come into memory, and moved on.
    if (this.find(key) !== undefined) return this.lookUp(key);
    const { run: stored, answer } = found ?? { run: undefined, answer: undefined };
    if (stored === undefined || this.#status === "store-lost" || this.#endedStored.has(key)) return answer;
    return restore(key, stored.snapshot);
  }

  /** Whether the run has changed by what is not committed. */
  #isStaged(key: string): boolean {
    return (this.#live.get(key)?.stagedFrom ?? -1) >= 0;
  }

  /** Waits until all that is decided is committed. */
  async #quiet(): Promise<void> {
    this.#readers++;
    try {
      while (this.#committing !== undefined) await this.#committing.done;
    } finally {
      this.#readers--;
    }
  }

  async #read(key: string): Promise<readonly Found[]> {
    try {
      return await this.#options.store.find([key]);
    } catch (error) {
      // The loop will notice by itself; whoever asks is told that it is for now.
      if (this.#status === "store-lost") return [];
      throw error;
    }
  }

  /** Whether nobody has taken the shard over. One that has been, without noticing, ends: it knows nothing of what is new. */
  async isOwned(): Promise<boolean> {
    const generation = this.#generation;
    const { epoch } = await this.#options.store.peek();
    if (generation !== this.#generation || this.#status === "stopped") return false;
    if (epoch === this.#claim.epoch) return true;
    this.#lose(new WheelworkError("WW_STORE_LOCKED", "another owner has taken the shard over (I21)"), []);
    return false;
  }

  /** Whether the answer that `find` shows is committed. */
  isCommitted(key: string): boolean {
    return this.#live.get(key)?.answering !== true;
  }

  /** All that is committed of what happened to a run. */
  async history(key: string): Promise<readonly RunEvent[]> {
    for (;;) {
      const before = this.#live.get(key)?.history;
      const stored = await this.#options.store.history(key);
      const live = this.#live.get(key);
      // What was only in memory has been written while the store was asked: it is asked again.
      if (live?.history !== before) continue;
      if (live === undefined || stored.at(-1)?.type === "ended") return stored;
      const writing = this.#checkpointing();
      if (writing !== undefined) {
        await writing;
        continue;
      }
      if (this.#status === "store-lost") throw unavailable();
      if (this.#status === "stopped") throw stopping();
      return [...stored, ...(live.stagedFrom < 0 ? live.history : live.history.slice(0, live.stagedFrom))];
    }
  }

  /** The store writes a checkpoint: whether it has done so, nobody knows. */
  #checkpointing(): Promise<void> | undefined {
    if (this.#committing?.batch.commit?.checkpoint !== undefined) return this.#committing.done;
    return this.#status === "stopping" ? this.#busy?.done : undefined;
  }

  /** The runs in memory: what a list of stored rows must be overlaid with. */
  *liveRuns(): Iterable<Run> {
    for (const { run, stored, stagedFrom } of this.#live.values()) {
      // What begins with a batch that is being committed may never be.
      if (stored || stagedFrom !== 0) yield run;
    }
  }

  /** Whether a stored row of a list is as its run is now: runs in memory, and those that have ended, have moved on. */
  isListed({ key, status }: RequestRow): boolean {
    if (status === "ended") return true;
    return !this.#live.has(key) && !this.#endedStored.has(key);
  }

  #refusal(): WheelworkError | undefined {
    switch (this.#status) {
      case "running":
        return undefined;
      case "store-lost":
        return unavailable();
      default:
        return stopping();
    }
  }

  #refuse(item: Item, error: WheelworkError): void {
    if (item.kind === "request") {
      this.#queuedRequests--;
      item.refuse(error);
    } else if (item.kind !== "mark") {
      item.done?.reject(error);
    }
  }

  #reported(attempt: Attempt, outcome: Outcome): void {
    if (this.#status === "stopped") return;
    const { request: made, attempt: number, epoch, requestId: key } = attempt;
    this.#push({
      kind: "input",
      key,
      input: { kind: "outcome", call: made.number, attempt: number, epoch, outcome },
    });
    this.#options.observe?.({
      name: "outcome",
      callee: made.callee,
      key,
      call: made.number,
      outcome: outcome.kind,
    });
  }

  #push(item: Item): void {
    this.#inbox.push(item);
    this.#pushed++;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#options.clock.soon(() => {
      this.#scheduled = false;
      this.#turn();
    });
  }

  // ---- one batch ----

  #turn(): void {
    if (this.#status !== "running" && this.#status !== "stopping") return;
    if (this.#busy !== undefined || this.#sealed !== undefined || !this.#mayDecide()) return;
    const began = this.#options.clock.monotonicMs();
    this.#load(this.#next(), new Map(), began, this.#scanAt <= this.now());
  }

  /** A checkpoint says what the memory holds: nothing is decided before it is committed. */
  #mayDecide(): boolean {
    if (this.#committing === undefined) return true;
    const { commit } = this.#committing.batch;
    return commit?.checkpoint === undefined && this.#readers === 0 && this.#status === "running";
  }

  /** Takes the next inputs from the queue. */
  #next(): readonly Item[] {
    const { length } = this.#inbox;
    let most = Math.max(1, this.#batchInputs - this.#open.inputs);
    // All that waits in one batch would leave nothing to decide while it is written.
    const shares = this.#overlaps && this.#committing === undefined && length >= minShared;
    if (shares) most = Math.min(most, Math.ceil(length / 2));
    const items = length <= most ? this.#inbox : this.#inbox.slice(0, most);
    this.#inbox = items === this.#inbox ? [] : this.#inbox.slice(most);
    return items;
  }

  /**
   * Reads what the inputs need and is not in memory, runs that are due and what is known under their keys, and decides
   * them. What was in memory may have left it while the store was asked: it is asked until nothing lacks.
   */
  #load(items: readonly Item[], found: Map<string, Found>, began: number, scans: boolean): void {
    const keys = this.#unknownKeys(items, found);
    if (keys.size === 0 && !scans) return this.#decideAll(items, found, began);
    const keep = (list: readonly Found[]): void => {
      for (const [index, key] of [...keys].entries()) found.set(key, list[index] as Found);
    };
    let list: MaybePromise<readonly Found[]>;
    let due: MaybePromise<void>;
    try {
      list = keys.size === 0 ? [] : this.#options.store.find([...keys]);
      due = scans ? this.#scan() : undefined;
      if (!(list instanceof Promise)) keep(list);
    } catch (error) {
      return this.#lose(error, items);
    }
    if (!(list instanceof Promise) && !(due instanceof Promise)) return this.#decideAll(items, found, began);
    const generation = this.#generation;
    const done = Promise.all([list, due]).then(
      ([given]) => {
        if (generation !== this.#generation) return;
        keep(given);
        this.#loaded(items, found, began);
      },
      (error: unknown) => {
        if (generation === this.#generation) this.#lose(error, []);
      },
    );
    this.#busy = { items, done };
  }

  /** Goes on with what was read, once it may: a checkpoint may have begun meanwhile. */
  #loaded(items: readonly Item[], found: Map<string, Found>, began: number): void {
    this.#busy = undefined;
    const before = this.#committing;
    if (before === undefined || this.#mayDecide()) return this.#load(items, found, began, false);
    const generation = this.#generation;
    const done = before.done.then(() => {
      if (generation === this.#generation) this.#loaded(items, found, began);
    });
    this.#busy = { items, done };
  }

  #unknownKeys(items: readonly Item[], found: ReadonlyMap<string, Found>): Set<string> {
    const keys = new Set<string>();
    for (const item of items) {
      // Only a run in memory has open calls, so that outcomes need none from the store.
      if (item.kind === "mark" || item.kind === "heard") continue;
      const mayBeStored = item.kind === "request" ? !item.fresh : item.done !== undefined;
      if (mayBeStored && !this.#live.has(item.key) && !found.has(item.key)) keys.add(item.key);
    }
    return keys;
  }

  #decideAll(items: readonly Item[], found: ReadonlyMap<string, Found>, began: number): void {
    const batch = this.#open;
    const now = this.now();
    batch.since = Math.min(batch.since, now);
    batch.now = now;
    batch.items = batch.items.length === 0 ? items : [...batch.items, ...items];
    batch.found = batch.found.size === 0 ? found : new Map([...batch.found, ...found]);
    let sealed: Pending | undefined;
    try {
      // What waits in the queue goes before what is overdue: an outage must not undo work that is done.
      for (const item of items) this.#take(item, now);
      const due = this.#coordinator.take(this.#callableTo(now), this.#batchInputs);
      for (const callback of due) this.#callBack(callback, now);
      batch.inputs += items.length + due.length;
      batch.decideMs += this.#options.clock.monotonicMs() - began;
      // As much as is being written is enough to go on with; less takes what comes meanwhile, too.
      const enough = Math.min(this.#committing?.batch.inputs ?? 0, this.#batchInputs);
      if (batch.inputs >= enough) sealed = this.#seal();
    } catch (error) {
      return this.#lose(error, []);
    }
    if (this.#committing !== undefined) {
      this.#sealed = sealed;
      this.#again();
    } else if (sealed !== undefined) this.#commit(sealed);
  }

  /** Ends the batch that decisions go into; the next ones go into another. */
  #seal(): Pending {
    const batch = this.#open;
    batch.commit = this.#prepare(batch);
    this.#open = newPending();
    return batch;
  }

  /** Commits a batch, and acts; `before`: what is to happen first, once the store has the batch. */
  #commit(batch: Pending, before?: () => void): void {
    const { clock, store } = this.#options;
    if (batch.commit === undefined) {
      before?.();
      return this.#act(batch);
    }
    const began = clock.monotonicMs();
    let given: MaybePromise<void>;
    try {
      given = store.commit(batch.commit);
    } catch (error) {
      before?.();
      return this.#lose(error, batch.items);
    }
    this.#overlaps = given instanceof Promise;
    if (!(given instanceof Promise)) {
      before?.();
      this.#committed(batch, batch.commit, clock.monotonicMs() - began);
      return this.#act(batch);
    }
    const generation = this.#generation;
    const done = given.then(
      () => {
        if (generation === this.#generation) this.#landed(batch, clock.monotonicMs() - began);
      },
      (error: unknown) => {
        if (generation === this.#generation) this.#lose(error, []);
      },
    );
    this.#committing = { batch, began, done };
    before?.();
    this.#again();
  }

  /** A commit beside the loop has come to its end: the store gets the next batch before this one's effects happen. */
  #landed(batch: Pending, commitMs: number): void {
    this.#committing = undefined;
    this.#committed(batch, batch.commit as Commit, commitMs);
    let next: Pending | undefined;
    try {
      next = this.#sealed ?? (this.#open.inputs === 0 ? undefined : this.#seal());
    } catch (error) {
      this.#act(batch);
      return this.#lose(error, []);
    }
    this.#sealed = undefined;
    if (next === undefined) this.#act(batch);
    else this.#commit(next, () => this.#act(batch));
  }

  /**
   * Callbacks that are due by this time may fire. What waits goes first: all that is in the queue, and all that comes in
   * one turn of the event loop, where nobody had the time to look. But not for ever: a queue that never empties must not
   * hold back the deadlines, nor must commits that take long one after the other.
   */
  #callableTo(now: number): number {
    if (this.#catchesUp(now)) return 0;
    const first = this.#coordinator.nextAt() ?? Number.POSITIVE_INFINITY;
    const to = this.#stalls() ? (this.#committing?.batch.since ?? now) : now;
    if (first > to && to < now) return 0;
    const noticed = this.#noticed;
    this.#noticed = undefined;
    if (first > now || (this.#inbox.length === 0 && first > now - lateMs)) return to;
    if (noticed !== undefined) {
      const { before = this.#pushed } = noticed;
      if (this.#pushed - this.#inbox.length >= before) return Math.min(noticed.now, to);
      this.#noticed = { now: noticed.now, before };
    } else this.#noticed = { now, before: undefined };
    return 0;
  }

  /**
   * Whether a commit takes long: what it has decided is not handed out yet, and must not time out before it is. What was due
   * before it was decided, may.
   */
  #stalls(): boolean {
    return (
      this.#committing !== undefined && this.#options.clock.monotonicMs() - this.#committing.began >= lateMs
    );
  }

  /** Whether the log holds records from before the claim that are not read yet. */
  #catchesUp(now: number): boolean {
    return this.#position < this.#catchUp.offset && now < this.#catchUp.before;
  }

  #take(item: Item, now: number): void {
    if (item.offset !== undefined) this.#position = item.offset + 1;
    if (item.kind === "mark") return;
    if (item.kind === "request") this.#takeRequest(item, now);
    else if (item.kind === "heard") this.#takeRelayReply(item, now);
    else this.#takeInput(item, now);
    this.#takeInternal(now);
  }

  /** The wire names no attempt: what it says is taken for the one that is open now (the exception to I4). */
  #takeRelayReply({ key, spoke, correlation, outcome, done }: RelayReplyItem, now: number): void {
    if (done !== undefined) this.#open.effects.heard.push(done.resolve);
    const open = this.#host.expected(spoke, correlation);
    if (open === undefined) return this.#options.observe?.({ name: "ignored", key, reason: "stale" });
    const { requestId, call, attempt, epoch } = open;
    const checked = this.#host.check(spoke, outcome);
    const input: Input = { kind: "outcome", call, attempt, epoch, outcome: checked };
    this.#takeInput({ kind: "input", key: requestId, input }, now);
    const { kind } = checked;
    this.#options.observe?.({ name: "outcome", callee: spoke, key: requestId, call, outcome: kind });
  }

  /** What runs of this batch have for one another: calls of hubs, their outcomes and cancels. */
  #takeInternal(now: number): void {
    for (let next = this.#internal.shift(); next !== undefined; next = this.#internal.shift()) {
      if (next.kind === "spawn") this.#spawn(next, now);
      else this.#takeInput(next, now);
    }
  }

  #takeRequest(item: RequestItem, now: number): void {
    this.#queuedRequests--;
    const { key } = item;
    const hash = item.fresh ? undefined : this.#hashOf(key);
    if (hash !== undefined) {
      if (item.replyTo !== undefined) this.#repeat(key, item.replyTo);
      if (hash === item.hash) return void this.#open.effects.accepted.push({ item, known: true });
      const error = new WheelworkError(
        "WW_KEY_REUSED",
        `the request key ${key} belongs to a request with another body (I5)`,
        { next: "Use a new key for a new request." },
      );
      // Whoever refuses a record has something to do that must not be lost.
      if (item.offset !== undefined) this.#pinnedOffsets.add(item.offset);
      return void this.#open.effects.refused.push({ item, error });
    }
    const options = {
      request: item.request,
      hash: item.hash,
      ...(item.deadlineMs === undefined ? {} : { deadlineMs: item.deadlineMs }),
      ...(item.replyTo === undefined ? {} : { replyTo: item.replyTo }),
    };
    this.#begin(key, item.hub, options, now);
    this.#open.effects.accepted.push({ item, known: false });
  }

  /** The request has come once more: its answer is published again, if it is there. */
  #repeat(key: string, replyTo: string): void {
    const live = this.#live.get(key);
    const known = live === undefined ? this.#open.found.get(key)?.answer : live.run;
    // One that this very batch gives is published by it.
    if (known?.answer === undefined || live?.answering === true) return;
    this.#open.effects.repeated.push(replyOf(known, replyTo, known.answer));
  }

  /** The hash of the request under a key that is known; undefined for a new key. */
  #hashOf(key: string): string | undefined {
    const live = this.#live.get(key);
    if (live !== undefined) return live.run.hash;
    const { run, answer } = this.#open.found.get(key) ?? {};
    if (answer !== undefined || run === undefined) return answer?.hash;
    // The row of one that has ended, and is forgotten, goes with the next checkpoint.
    return this.#endedStored.has(key) ? undefined : restore(key, run.snapshot).hash;
  }

  #spawn(item: SpawnItem, now: number): void {
    const { key, hub, request, parent } = item;
    this.#begin(key, hub, { request, hash: "", ...(parent === undefined ? {} : { parent }) }, now);
  }

  #begin(key: string, hub: string, options: Parameters<typeof start>[2], now: number): void {
    // A key that is free again may have a row of its former run, which counts no more.
    const live = newLive(new Run(key), this.#endedStored.delete(key));
    this.#live.set(key, live);
    const definition = this.#definition(hub);
    this.#record(live, definition, start(definition, live.run, options, this.#env(now)));
  }

  #takeInput(item: InputItem, now: number): void {
    const live = this.#fetch(item.key);
    if (live === undefined) {
      const stored = this.#open.found.get(item.key);
      this.#ignored(item, stored !== undefined && stored.answer === undefined ? "unknown" : "ended");
      return;
    }
    let { input } = item;
    if (this.#host.verifyJson && input.kind === "outcome" && !isJson(input)) {
      input = { ...input, outcome: invalid("the worker gave what cannot be written as JSON") };
    }
    const ignored = this.#decide(live, input, now);
    if (ignored !== undefined && item.input.kind === "outcome") this.#ignored(item, ignored);
    else if (item.done !== undefined) this.#open.effects.commanded.push({ item, ignored });
  }

  #ignored(item: InputItem, reason: IgnoredReason): void {
    if (item.done === undefined) this.#options.observe?.({ name: "ignored", key: item.key, reason });
    else this.#open.effects.commanded.push({ item, ignored: reason });
  }

  #decide(live: Live, input: Input, now: number): Ignored | undefined {
    const { run } = live;
    const definition = this.#definition(run.hub);
    const env = this.#env(now);
    if (run.version !== definition.version && run.status === "running") {
      const from = run.version;
      this.#record(live, definition, migrate(definition, run, input, env));
      if (run.status !== "running") return undefined;
      this.#options.observe?.({ name: "migrated", hub: run.hub, key: run.key, from, to: run.version });
    }
    const decision = decide(definition, run, input, env);
    this.#record(live, definition, decision.events);
    for (const again of decision.redeliver ?? []) this.#decide(live, again, now);
    return decision.ignored;
  }

  #callBack(callback: Callback, now: number): void {
    const run = callback instanceof Call ? callback.run : (callback as Run);
    const live = this.#live.get(run.key);
    if (live?.run !== run) return;
    this.#decide(
      live,
      callback instanceof Call ? { kind: "callDue", call: callback.number } : { kind: "due" },
      now,
    );
    if (live.run.status !== "ended") this.#registerRun(live.run);
    this.#takeInternal(now);
  }

  /** What the next decision may know: one object for all, since decisions keep nothing of it. */
  #env(now: number): Env {
    const env = this.#lastEnv;
    env.now = now;
    env.since = this.#timeBase;
    env.random = this.#options.random();
    env.verifyJson = this.#host.verifyJson;
    return env;
  }

  // ---- events: applied in memory, staged for the commit, and what follows from them ----

  #record(live: Live, definition: HubDefinition, events: readonly RunEvent[]): void {
    if (events.length === 0) return;
    const { history, run } = live;
    const batch = this.#open;
    if (live.batch !== batch) {
      live.batch = batch;
      live.batchFrom = history.length;
      if (live.stagedFrom < 0) live.stagedFrom = history.length;
      batch.touched.push(live);
    }
    batch.events += events.length;
    if (history.length === 0) live.firstSeq = this.#seq + 1;
    for (const event of events) {
      this.#closeCalls(run, event);
      apply(run, event);
      this.#follow(live, definition, event);
      history.push(event);
    }
    live.dirty = true;
    this.#registerRun(run);
  }

  /** Calls that an event closes: their callbacks, attempts and children end with them (I12). */
  #closeCalls(run: Run, event: RunEvent): void {
    if (event.type === "settled") {
      const call = run.calls.get(event.call);
      if (call !== undefined) this.#close(call);
      if (event.held !== undefined) this.#closeForDrain(run, event.call);
    } else if (event.type === "cancelling" && event.held !== undefined) {
      this.#closeForDrain(run, -1);
    } else if ((event.type === "entered" || event.type === "ended") && run.calls.size > 0) {
      for (const call of run.calls.values()) {
        this.#close(call);
        if (call.isHub) this.#cancelChild(run, call);
      }
    }
  }

  #closeForDrain(run: Run, settled: number): void {
    for (const call of run.calls.values()) {
      if (call.number === settled) continue;
      if (!isRunning(call)) this.#close(call);
      else if (call.isHub) this.#cancelChild(run, call);
    }
  }

  #close(call: Call): void {
    this.#coordinator.cancel(call);
    this.#open.effects.closed.push(call);
  }

  #cancelChild(run: Run, call: Call): void {
    if (call.attempt === 0) return;
    const key = childKey(run.key, call.number);
    this.#internal.push({ kind: "input", key, input: { kind: "cancel", id: "parent" } });
  }

  #follow(live: Live, definition: HubDefinition, event: RunEvent): void {
    const { run } = live;
    switch (event.type) {
      case "entered":
      case "settled":
      case "signalled":
      case "received":
        if (event.calls === undefined) return;
        for (const { first, inputs } of event.calls) {
          for (let number = first; number < first + inputs.length; number++)
            this.#opened(run, run.calls.get(number));
        }
        return;
      case "failed": {
        const call = run.calls.get(event.call);
        if (call !== undefined) this.#open.effects.closed.push(call);
        this.#opened(run, call);
        return;
      }
      case "attempt":
        this.#opened(run, run.calls.get(event.call));
        return;
      case "told":
        this.#internal.push({
          kind: "spawn",
          key: tellKey(run.key, event.call),
          hub: tellHubName(event.spoke),
          request: { input: event.input },
        });
        return;
      case "answered":
        this.#answered(live);
        return;
      case "ended":
        if (event.answer !== undefined) this.#answered(live);
        else this.#open.answers.push(live);
        this.#open.ended.push(live);
        return;
      case "incident":
        for (const call of run.calls.values()) this.#coordinator.cancel(call);
        this.#options.logger.error(
          { hub: definition.name, request: run.key, state: run.state, error: event.error },
          "incident",
        );
        this.#options.observe?.({
          name: "incident",
          hub: definition.name,
          key: run.key,
          code: event.error.code,
        });
        return;
      case "resumed":
        for (const call of run.calls.values()) {
          if (call.due !== undefined) this.#coordinator.register(call, call.due);
          // Attempts that were lost while the run was parked are made again.
          if (isRunning(call) && !call.isHub && (call.due ?? 0) > event.at)
            this.#open.effects.attempts.push({ call, attempt: call.attempt });
        }
        return;
      default:
    }
  }

  #opened(run: Run, call: Call | undefined): void {
    if (call === undefined || call.attempt === 0) return;
    if (call.due !== undefined) this.#coordinator.register(call, call.due);
    if (call.backoff) return;
    if (call.isHub) {
      const parent = { key: run.key, call: call.number };
      if (run.key.split("/").length > maxCallDepth) return this.#refuseChild(run, call);
      this.#internal.push({
        kind: "spawn",
        key: childKey(run.key, call.number),
        hub: call.callee,
        request: call.input,
        parent,
      });
    } else {
      this.#open.effects.attempts.push({ call, attempt: call.attempt });
    }
  }

  /** Hubs that call one another without end stop here, with an error of their own. */
  #refuseChild(run: Run, call: Call): void {
    const message = `hubs call one another more than ${maxCallDepth} deep`;
    const outcome = { kind: "error" as const, code: "WW_DEFECT" as const, message };
    const input = { kind: "outcome" as const, call: call.number, attempt: 1, epoch: run.epoch, outcome };
    this.#internal.push({ kind: "input", key: run.key, input });
  }

  #answered(live: Live): void {
    const { run } = live;
    live.answering = true;
    this.#open.answers.push(live);
    this.#open.effects.answered.push(live);
    const { parent, answer } = run;
    if (parent === undefined || answer === undefined) return;
    const outcome = outcomeOf(answer);
    const caller = this.#fetch(parent.key);
    const call = caller?.run.calls.get(parent.call);
    if (caller === undefined || call === undefined) return;
    const input: Input = {
      kind: "outcome",
      call: parent.call,
      attempt: call.attempt,
      epoch: caller.run.epoch,
      outcome,
    };
    this.#internal.push({ kind: "input", key: parent.key, input });
  }

  #registerRun(run: Run): void {
    const due = run.nextDue;
    if (due === undefined) this.#coordinator.cancel(run);
    else this.#coordinator.register(run, due);
  }

  // ---- commit ----

  #prepare(batch: Pending): Commit | undefined {
    const logProgress = this.#nextLogProgress();
    if (batch.touched.length === 0 && logProgress?.position === this.#logProgress?.position) return undefined;
    const { limits } = this.#options;
    const journal = batch.touched.map(({ run, history, batchFrom }) => ({
      key: run.key,
      events: history.slice(batchFrom),
    }));
    const seq = ++this.#seq;
    const answers: StoredAnswer[] = [];
    for (const { run, firstSeq } of new Set(batch.answers)) answers.push(storedAnswer(run, firstSeq, seq));
    this.#logProgress = logProgress;
    this.#eventsSinceCheckpoint += batch.events;
    const commit = {
      epoch: this.#claim.epoch,
      seq,
      now: batch.now,
      journal,
      answers,
      ...(logProgress === undefined ? {} : { logProgress }),
    };
    // Runs leave the memory at checkpoints only, so one comes when many have come, and before the memory is full.
    const hasRoom = this.#live.size < Math.max(maxNewRuns, 2 * this.#kept);
    if (hasRoom && this.#eventsSinceCheckpoint < Math.min(limits.checkpointEvents, limits.liveRuns))
      return commit;
    this.#eventsSinceCheckpoint = 0;
    return { ...commit, checkpoint: this.#checkpoint() };
  }

  /** How far the shard has come, once the batch that is decided is committed. */
  #nextLogProgress(): LogProgress | undefined {
    const { feed } = this.#options;
    if (feed === undefined || this.#outbox === undefined) return undefined;
    let position = this.#position;
    for (const offset of this.#pinnedOffsets) position = Math.min(position, offset);
    return { log: feed.log, position, published: this.#outbox.published(this.#actedSeq) };
  }

  #checkpoint(): Checkpoint {
    const histories: RunEvents[] = [];
    const runs: StoredRun[] = [];
    const ended = [...this.#endedStored];
    for (const live of this.#live.values()) {
      const { run, history } = live;
      if (run.status === "ended") {
        if (live.stored) ended.push(run.key);
      } else if (live.dirty) {
        runs.push(storedRun(run));
        if (history.length > 0) histories.push({ key: run.key, events: history });
      }
    }
    return { runs, ended, histories };
  }

  #committed(batch: Pending, commit: Commit, commitMs: number): void {
    this.#host.verifyJson = false;
    this.#recoveryMs = minRecoveryMs;
    this.#batchInputs = Math.min(this.#batchInputs * 2, this.#options.limits.batchInputs);
    if (commit.checkpoint !== undefined) {
      this.#checkpoints++;
      this.#endedStored.clear();
      for (const live of this.#live.values()) {
        if (!live.dirty || live.run.status === "ended") continue;
        live.dirty = false;
        live.stored = true;
        live.history = [];
        this.#evict(live);
      }
      this.#kept = this.#live.size;
      this.#options.observe?.({ name: "checkpoint", runs: commit.checkpoint.runs.length, durationMs: 0 });
    }
    for (const live of batch.touched) {
      const again = live.batch !== batch;
      live.stagedFrom = again ? live.batchFrom : -1;
      if (!again) live.batch = undefined;
    }
    for (const { run, stored } of batch.ended) {
      this.#live.delete(run.key);
      this.#coordinator.cancel(run);
      if (stored && commit.checkpoint === undefined) this.#endedStored.add(run.key);
    }
    const { inputs, events, decideMs } = batch;
    this.#options.observe?.({ name: "batch", inputs, events, decideMs, commitMs });
  }

  /**
   * A run that waits for long leaves the memory; its row says when it is due. One with open calls stays, and so does one
   * that another calls: what they have for each other must find them.
   */
  #evict({ run }: Live): void {
    const due = run.nextDue;
    // As of now, whenever its batch was decided: what is due until the horizon may have been looked for since.
    if (isHot(run) || (due !== undefined && due <= this.#lastNow + this.#options.limits.horizonMs)) return;
    this.#live.delete(run.key);
    this.#coordinator.cancel(run);
    if (due !== undefined) this.#scanBefore(due);
  }

  #scanBefore(due: number): void {
    this.#scanAt = Math.min(this.#scanAt, due - Math.floor(this.#options.limits.horizonMs / 2));
  }

  /** Writes all that has changed, so that the next start has nothing to replay. */
  async #lastCheckpoint(): Promise<void> {
    if (this.#status !== "stopping") return;
    const logProgress = this.#nextLogProgress();
    const moved =
      logProgress?.position !== this.#logProgress?.position ||
      logProgress?.published !== this.#logProgress?.published;
    if (this.#eventsSinceCheckpoint === 0 && !moved) return;
    const commit: Commit = {
      epoch: this.#claim.epoch,
      seq: this.#seq + 1,
      now: this.now(),
      journal: [],
      answers: [],
      checkpoint: this.#checkpoint(),
      ...(logProgress === undefined ? {} : { logProgress }),
    };
    // A callback that comes due now finds the store taken, and then the shard stopped.
    this.#busy = { items: [], done: this.#write(commit) };
    await this.#busy.done;
  }

  async #write(commit: Commit): Promise<void> {
    try {
      await this.#options.store.commit(commit);
    } catch (error) {
      // Nothing is lost: the journal has it all.
      this.#options.logger.warn({ error: messageOf(error) }, "the last checkpoint could not be written");
    }
  }

  // ---- effects, after the commit ----

  #act({ found, effects, commit }: Pending): void {
    this.#forget(found);
    if (commit !== undefined) this.#actedSeq = commit.seq;
    const { accepted, refused, answered, attempts, closed, commanded, heard, repeated } = effects;
    const { observe } = this.#options;
    this.#host.end(closed);
    for (const { call, attempt } of attempts) if (call.attempt === attempt) this.#dispatch(call);
    if (this.#host.hasAdopted && !this.#catchesUp(this.now())) this.#release();
    for (const { item, known } of accepted) {
      observe?.({ name: known ? "known" : "accepted", hub: item.hub, key: item.key });
      item.accept(known);
    }
    for (const { item, error } of refused) item.refuse(error);
    for (const live of answered) {
      const { run } = live;
      live.answering = false;
      const { answer, replyTo } = run;
      if (answer === undefined) continue;
      if (replyTo !== undefined) repeated.push(replyOf(run, replyTo, answer));
      observe?.({
        name: "answered",
        hub: run.hub,
        key: run.key,
        answer: answer.kind,
        durationMs: this.#lastNow - run.createdAt,
      });
      const waiters = this.#waiters.get(run.key);
      if (waiters === undefined) continue;
      this.#waiters.delete(run.key);
      for (const { resolve } of waiters) resolve(answer);
    }
    this.#outbox?.send(this.#actedSeq, repeated);
    for (const { item, ignored } of commanded) item.done?.resolve(ignored);
    for (const settled of heard) settled();
    this.#again();
  }

  /** Runs that were looked up and have not changed need not stay in memory. */
  #forget(found: ReadonlyMap<string, Found>): void {
    for (const key of found.keys()) {
      const live = this.#live.get(key);
      if (live !== undefined && !live.dirty) this.#evict(live);
    }
  }

  #dispatch(call: Call): void {
    const { run } = call;
    // What is handed out while stopping would be lost at once; it is made at the next start.
    if (this.#status === "stopping") return;
    if (run.calls.get(call.number) !== call || !isRunning(call) || run.status !== "running") return;
    this.#options.observe?.({
      name: "attempt",
      callee: call.callee,
      key: run.key,
      call: call.number,
      attempt: call.attempt,
    });
    this.#host.begin(new Attempt(call));
  }

  /** What came of attempts of an earlier owner would have been read by now: those that are not overdue are made again. */
  #release(): void {
    for (const { request: made, attempt } of this.#host.readopt()) {
      const call = made as Call;
      // A later attempt may be decided, and not be committed.
      if (call.attempt === attempt && (call.due ?? 0) > this.#lastNow) this.#dispatch(call);
    }
  }

  /** Goes on: at once if there is work, else when the next callback is due. */
  #again(): void {
    if (this.#status !== "running" && this.#status !== "stopping") return;
    if (this.#inbox.length > 0) {
      this.#schedule();
      return;
    }
    if (!this.#scheduled) for (const resolve of this.#idle.splice(0)) resolve();
    const next = Math.min(this.#coordinator.nextAt() ?? Number.POSITIVE_INFINITY, this.#scanAt);
    // Records that come wake the shard by themselves.
    const { before } = this.#catchUp;
    const until = this.#host.hasAdopted ? before : Math.max(next, before);
    const at = this.#catchesUp(this.#lastNow) ? until : next;
    // What is due waits for a commit that takes long, whose end wakes the shard, too.
    if (at === Number.POSITIVE_INFINITY || this.#stalls()) return;
    if (at <= this.now()) this.#schedule();
    else this.#arm(at);
  }

  #arm(at: number): void {
    if (at >= this.#timerAt) return;
    this.#cancelTimer?.();
    this.#timerAt = at;
    // Node's timers hold 31 bits of milliseconds: longer ones are armed in steps.
    const delay = Math.min(at - this.now(), 2 ** 31 - 1);
    this.#cancelTimer = this.#options.clock.after(Math.max(0, delay), () => {
      this.#timerAt = Number.POSITIVE_INFINITY;
      this.#cancelTimer = undefined;
      this.#schedule();
    });
  }

  async #settleInbox(): Promise<void> {
    // A store that fails meanwhile ends it, too.
    while (
      this.status === "stopping" &&
      (this.#inbox.length > 0 ||
        this.#busy !== undefined ||
        this.#committing !== undefined ||
        this.#scheduled)
    ) {
      await new Promise<void>((resolve) => {
        this.#idle.push(resolve);
        this.#schedule();
      });
      await (this.#busy ?? this.#committing)?.done;
    }
  }

  // ---- claim, recovery, loss ----

  async #recall(): Promise<void> {
    const { store, clock, hubs, owner, logger: log, observe } = this.#options;
    this.#live.clear();
    this.#endedStored.clear();
    this.#coordinator = new Coordinator();
    this.#scanAt = Number.POSITIVE_INFINITY;
    this.#open = newPending();
    this.#noticed = undefined;
    this.#internal.length = 0;
    this.#outbox?.end();
    this.#pinnedOffsets.clear();
    this.#claim = await store.claim(owner, this.#claim.epoch > 0);
    if (this.#claim.lost !== undefined) {
      const message = `the store has lost ${this.#claim.lost} batches that were committed: it goes on without them`;
      log.error({ batches: this.#claim.lost }, message);
      observe?.({ name: "commits-lost", message });
    }
    this.#monotonicBase = clock.monotonicMs();
    this.#timeBase = Math.max(this.#claim.engineTime, Math.floor(clock.wallMs()), this.#lastNow);
    this.#lastNow = this.#timeBase;
    this.#seq = this.#claim.seq;
    this.#actedSeq = this.#seq;
    for await (const stored of store.hotRuns()) this.#restore(stored);
    this.#eventsSinceCheckpoint = 0;
    for await (const batch of store.journal()) await this.#replay(batch);
    for (const [key, live] of this.#live) {
      if (live.run.status !== "ended") continue;
      this.#live.delete(key);
      if (live.stored) this.#endedStored.add(key);
    }
    await this.#checkVersions(hubs);
    this.#loadedTo = { due: 0, key: "" };
    await this.#scan();
    await this.#answerWaiters();
    await this.#beginFeed();
  }

  /** It may have been stopped while it was read back. */
  #isStopped(): boolean {
    return this.#status === "stopped";
  }

  /** Publishes the answers that may not have been, and reads the log from where the last commit left it. */
  async #beginFeed(): Promise<void> {
    const { feed, clock, logger: log, store } = this.#options;
    if (feed === undefined || this.#isStopped()) return;
    const { logProgress, seq } = this.#claim;
    const isAnew = logProgress?.log === "";
    if (logProgress !== undefined && !isAnew && logProgress.log !== feed.log) {
      throw new WheelworkError(
        "WW_LOG_LOST",
        `the log of this shard is ${feed.log}, and its store has read ${logProgress.position} records of another one, ${logProgress.log}`,
        {
          next: "A topic that was deleted and made anew has lost requests. See the page on deploying: a recreated topic.",
        },
      );
    }
    this.#logProgress = logProgress;
    const outbox = new Outbox((reply) => feed.publish(reply), clock, log);
    this.#outbox = outbox;
    for await (const batch of store.journal(logProgress?.published ?? seq)) {
      const keys = batch.entries.filter(({ events }) => events.some(gaveAnswer)).map(({ key }) => key);
      const found = keys.length === 0 ? [] : await store.find(keys);
      outbox.send(
        batch.seq,
        found.flatMap(({ answer }) =>
          answer?.replyTo === undefined ? [] : [replyOf(answer, answer.replyTo, answer.answer)],
        ),
      );
    }
    const { from, end, later } = await feed.begin(isAnew ? undefined : logProgress?.position);
    if (this.#isStopped()) return feed.end();
    this.#position = from;
    const before = this.now() + maxCatchUpMs;
    const catchUp = { offset: later === undefined ? end : Number.POSITIVE_INFINITY, before };
    this.#catchUp = catchUp;
    void later?.then((offset) => {
      if (this.#catchUp !== catchUp) return;
      this.#catchUp = { offset, before };
      this.#schedule();
    });
  }

  /** Knows every hub version that is stored, or does not begin (I20). */
  async #checkVersions(hubs: ReadonlyMap<string, HubDefinition>): Promise<void> {
    const problems = new Set<string>();
    const known = (hub: string, version: number): void => {
      const definition = hubs.get(hub);
      if (definition === undefined)
        problems.add(`runs of the hub ${hub} are stored, which this engine does not have`);
      else if (definition.version < version) {
        problems.add(
          `runs of ${hub} version ${version} are stored; this engine has version ${definition.version}`,
        );
      }
    };
    for (const { hub, version } of await this.#options.store.hubVersions(this.#endedStored))
      known(hub, version);
    for (const { run } of this.#live.values()) known(run.hub, run.version);
    if (problems.size === 0) return;
    throw new WheelworkError("WW_HUB_UNKNOWN", "the store holds runs that this engine cannot go on with", {
      problems: [...problems].map((message) => ({ path: "", message })),
      next: "Start the engine with these hubs, in these versions or later ones, or let the old engine finish its runs.",
    });
  }

  #restore(stored: StoredRun): Live {
    const run = restore(stored.key, stored.snapshot);
    const live = newLive(run, true);
    this.#live.set(stored.key, live);
    return live;
  }

  async #replay({ seq, entries }: Batch): Promise<void> {
    const stored = entries
      .filter(({ key, events }) => events[0]?.type !== "started" && !this.#live.has(key))
      .map(({ key }) => key);
    if (stored.length > 0) {
      for (const { run } of await this.#options.store.find(stored)) if (run !== undefined) this.#restore(run);
    }
    for (const entry of entries) this.#replayRun(entry, seq);
  }

  #replayRun({ key, events }: RunEvents, seq: number): void {
    let live = this.#live.get(key);
    // A key that is free again begins another run.
    if (live === undefined || events[0]?.type === "started")
      this.#live.set(key, (live = newLive(new Run(key), live?.stored ?? false)));
    if (live.history.length === 0) live.firstSeq = seq;
    for (const event of events) {
      apply(live.run, event);
      live.history.push(event);
    }
    live.dirty = true;
    this.#eventsSinceCheckpoint += events.length;
  }

  /** Brings the stored runs that are due soon into memory, some at a time. */
  #scan(): MaybePromise<void> {
    const to = this.now() + this.#options.limits.horizonMs;
    const due = this.#options.store.dueRuns(this.#loadedTo, to, maxDueRuns);
    if (!(due instanceof Promise)) return this.#scanned(due, to);
    const [coordinator, checkpoints] = [this.#coordinator, this.#checkpoints];
    return due.then((given) => {
      // What was asked before the memory was dropped is too old to count, and so are rows from before a checkpoint: their
      // runs may have moved on since, or ended, and others may have left the memory. It is asked again.
      if (this.#coordinator === coordinator && this.#checkpoints === checkpoints) this.#scanned(given, to);
    });
  }

  #scanned({ runs, next }: DueRuns, to: number): void {
    for (const stored of runs) {
      if (this.#live.has(stored.key) || this.#endedStored.has(stored.key)) continue;
      this.#registerRun(this.#restore(stored).run);
    }
    const last = runs.length < maxDueRuns ? undefined : runs.at(-1);
    this.#loadedTo = last === undefined ? { due: to, key: "" } : { due: last.due ?? to, key: last.key };
    this.#scanAt = last === undefined ? Number.POSITIVE_INFINITY : 0;
    if (next !== undefined) this.#scanBefore(next);
  }

  /** Goes on with what was open: callbacks are registered again, and attempts that are not overdue made again. */
  #resume(): void {
    for (const { run } of this.#live.values()) {
      this.#registerRun(run);
      for (const call of run.calls.values()) {
        if (run.status === "running" && call.due !== undefined) this.#coordinator.register(call, call.due);
        if (!isRunning(call) || call.isHub || this.#host.adopt(new Attempt(call))) continue;
        if (run.status === "running" && (call.due ?? 0) > this.#lastNow)
          this.#open.effects.attempts.push({ call, attempt: call.attempt });
      }
    }
    // What came in meanwhile may have settled some of them: it goes first.
    if (this.#inbox.length > 0) return this.#schedule();
    const batch = this.#open;
    this.#open = newPending();
    this.#act(batch);
  }

  /** A commit whose success was not seen may have held an answer that somebody waits for. */
  async #answerWaiters(): Promise<void> {
    const keys = [...this.#waiters.keys()];
    const absent = keys.filter((key) => !this.#live.has(key));
    const found = absent.length === 0 ? [] : await this.#options.store.find(absent);
    const stored = new Map(absent.map((key, index) => [key, found[index]]));
    for (const key of keys) {
      const { answer, run } = stored.get(key) ?? {};
      const given = answer?.answer ?? this.#live.get(key)?.run.answer;
      const goesOn = this.#live.has(key) || (run !== undefined && !this.#endedStored.has(key));
      if (given === undefined && goesOn) continue;
      const waiters = this.#waiters.get(key) ?? [];
      this.#waiters.delete(key);
      for (const { resolve, refuse } of waiters) {
        if (given === undefined) refuse(unavailable());
        else resolve(given);
      }
    }
  }

  /** The run in memory, or brought there; undefined if it has ended or never was. */
  #fetch(key: string): Live | undefined {
    const live = this.#live.get(key);
    if (live !== undefined || this.#endedStored.has(key)) return live;
    const stored = this.#open.found.get(key)?.run;
    if (stored === undefined) return undefined;
    const restored = this.#restore(stored);
    // Its callback was not in memory either.
    this.#registerRun(restored.run);
    return restored;
  }

  /** A commit failed, or its outcome is unknown: nothing in memory counts any more (DESIGN, the loop). */
  #lose(error: unknown, given: readonly Item[], why = "the store failed"): void {
    if (this.#status === "stopped") return;
    const { logger, observe } = this.#options;
    const message = messageOf(error);
    this.#generation++;
    const batches = [this.#committing?.batch, this.#sealed, this.#open];
    const items = [...batches.flatMap((batch) => batch?.items ?? []), ...(this.#busy?.items ?? []), ...given];
    this.#committing = undefined;
    this.#sealed = undefined;
    this.#busy = undefined;
    this.#open = newPending();
    this.#batchInputs = Math.max(1, Math.floor(Math.min(this.#batchInputs, items.length) / 2));
    logger.error({ error: message }, `${why}; the shard is read back from its store`);
    observe?.({ name: "store-lost", message });
    const stopping = this.#status === "stopping";
    this.#status = "store-lost";
    // What was to be written cannot be: the next decisions are looked at one by one, so that their runs are parked (I16).
    if (error instanceof TypeError || error instanceof RangeError) this.#host.verifyJson = true;
    this.#host.endAll();
    this.#options.feed?.end();
    this.#outbox?.end();
    this.#cancelTimer?.();
    this.#timerAt = Number.POSITIVE_INFINITY;
    const over = endsShard(error);
    const rest = this.#inbox;
    this.#inbox = [];
    this.#queuedRequests = 0;
    for (const item of [...items, ...rest]) {
      // What a record said is read again after the claim.
      if (item.offset !== undefined) continue;
      // Whoever sent a request may send it again under its key; outcomes and commands are decided once the store is back.
      if (item.kind === "mark") continue;
      if (item.kind === "request") item.refuse(unavailable());
      else if (over) item.done?.reject(unavailable());
      else this.#inbox.push(item);
    }
    if (over || stopping) this.#end(over ? error : undefined);
    else this.#recover();
  }

  /** The shard cannot go on here, or it stops: nothing more is done. */
  #end(why: WheelworkError | undefined): void {
    this.#status = "stopped";
    if (why !== undefined) this.#options.logger.error({ error: why.message }, "the shard has ended");
    if (why?.code === "WW_COMMITS_LOST")
      this.#options.observe?.({ name: "commits-lost", message: why.message });
    this.#options.feed?.end();
    this.#outbox?.end();
    this.#host.detach();
    this.#refuseAll();
    for (const resolve of this.#idle.splice(0)) resolve();
    if (why !== undefined) this.#options.onEnded?.(why);
  }

  /** Reads everything back, later and later until a commit succeeds again. */
  #recover(): void {
    const delay = this.#recoveryMs;
    this.#recoveryMs = Math.min(delay * 2, maxRecoveryMs);
    this.#cancelRecovery = this.#options.clock.after(delay, () => {
      if (this.#status !== "store-lost") return;
      this.#recall().then(
        () => {
          if (this.#status !== "store-lost") return;
          this.#status = "running";
          this.#options.observe?.({ name: "store-back" });
          this.#options.logger.info({}, "the store is back");
          this.#resume();
        },
        (error: unknown) => {
          if (this.#status !== "store-lost") return;
          if (endsShard(error)) return this.#end(error);
          this.#options.logger.warn({ error: messageOf(error) }, "the store is not back yet");
          this.#recover();
        },
      );
    });
  }

  #definition(hub: string): HubDefinition {
    const definition = this.#options.hubs.get(hub);
    if (definition === undefined) throw new WheelworkError("WW_HUB_UNKNOWN", `this engine has no hub ${hub}`);
    return definition;
  }
}

function newLive(run: Run, stored: boolean): Live {
  return {
    run,
    stagedFrom: -1,
    batch: undefined,
    batchFrom: 0,
    answering: false,
    history: [],
    firstSeq: 0,
    dirty: !stored,
    stored,
  };
}

/** Whether the owner may not claim again by itself. */
const endsShard = (error: unknown): error is WheelworkError =>
  error instanceof WheelworkError && (error.code === "WW_STORE_LOCKED" || error.code === "WW_COMMITS_LOST");

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Whether the run must be in memory: it has open calls, or another run calls it. */
const isHot = (run: Run): boolean => run.calls.size > 0 || run.parent !== undefined;

/** Whether an event gave the answer of its request. */
const gaveAnswer = (event: RunEvent): boolean =>
  event.type === "answered" || (event.type === "ended" && event.answer !== undefined);

/** An answer as it is published; its id is the same each time, and another one if the key is used anew after years. */
const replyOf = (known: Run | StoredAnswer, replyTo: string, answer: Answer): Reply => ({
  key: known.key,
  replyTo,
  id: `${known.key}@${known.createdAt}`,
  answer,
});

/** How long a shard that stops waits for the broker to take its answers, in milliseconds. */
const maxDrainMs = 500;
/** How long callbacks wait at most for what was in the log at the claim, in milliseconds. */
const maxCatchUpMs = 10_000;

/** Inputs that are shared between two batches, if the store commits beside the loop. */
const minShared = 256;
/** Runs that come into memory before a checkpoint lets those go that wait for long. */
const maxNewRuns = 10_000;
const maxCallDepth = 32;
/** Runs that one scan for due runs brings into memory. */
const maxDueRuns = 5000;
const minRecoveryMs = 10;
const maxRecoveryMs = 2000;
/** Callbacks that are so late wait for one more turn of the event loop: the process has stood still, or is overloaded. */
const lateMs = 10;

function outcomeOf(answer: Answer): Outcome {
  switch (answer.kind) {
    case "result":
      return { kind: "ok", output: answer.value };
    case "timeout":
      return { kind: "timeout" };
    case "error": {
      const { code, message, details } = answer;
      const failed = { kind: "error" as const, code, message };
      return details === undefined ? failed : { ...failed, details };
    }
  }
}

function storedRun(run: Run): StoredRun {
  return {
    key: run.key,
    hub: run.hub,
    version: run.version,
    status: run.status,
    state: run.state,
    createdAt: run.createdAt,
    answeredAt: run.answeredAt,
    hot: isHot(run),
    due: run.nextDue,
    root: isRoot(run),
    snapshot: snapshot(run),
  };
}

function storedAnswer(run: Run, firstSeq: number, lastSeq: number): StoredAnswer {
  return {
    key: run.key,
    hub: run.hub,
    version: run.version,
    hash: run.hash,
    ...(run.replyTo === undefined ? {} : { replyTo: run.replyTo }),
    state: run.state,
    status: run.status,
    createdAt: run.createdAt,
    answeredAt: run.answeredAt ?? run.updatedAt,
    endedAt: run.endedAt,
    root: isRoot(run),
    answer: run.answer as Answer,
    request: run.request,
    firstSeq,
    lastSeq,
  };
}

export const unavailable = (): WheelworkError =>
  new WheelworkError("WW_STORE_UNAVAILABLE", "the store does not take commits at the moment", {
    next: "Send it again later, with the same key.",
    retryable: true,
  });

const stopping = (): WheelworkError =>
  new WheelworkError("WW_STOPPING", "the engine is not running, or is stopping", {
    next: "Send it again when it runs, with the same key.",
    retryable: true,
  });
