import { WheelworkError } from "@wheelwork/core";
import { nextTurn } from "../ports/clock.ts";
import type { Clock, Commit, EngineEvent, Found, Logger, MaybePromise, Store } from "../ports/ports.ts";
import { emptyBatch, type Batch, type Culprit } from "./batch.ts";
import { culpritsOf } from "./culprits.ts";
import type { Decider } from "./decider.ts";
import { lateMs, type Deadlines } from "./deadlines.ts";
import type { EngineTime } from "./engine-time.ts";
import type { Intake } from "./intake.ts";
import type { Item } from "./items.ts";
import type { LogTracker } from "./log-progress.ts";
import type { Residency } from "./residency.ts";

/** Inputs that two batches share, if the store commits beside the loop. */
const minShared = 256;
/** A commit that takes this long is worth a warning, and how often one is given, in milliseconds. */
const [slowMs, warningMs] = [2000, 60_000];

/** How much a batch decides of what is carried over, in items and in milliseconds: the loop stands still meanwhile. */
const [maxCarriedItems, maxCarriedMs] = [500, 10];
/** How many attempts that a claim has found open begin anew at once. */
const maxBegunAnew = 500;
/** How long a batch decides inputs and callbacks, in milliseconds. To write what they come to takes about as long. */
const maxDecidingMs = 10;
/**
 * What the inputs of one batch may weigh, in bytes. Their events hold it several times: as request, data and input. To write them takes
 * some ten milliseconds for each megabyte, in which the loop stands still.
 */
const maxBatchBytes = 2 * 1024 * 1024;

/** What a pipeline works with. */
export interface PipelineOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly observe: ((event: EngineEvent) => void) | undefined;
  readonly epoch: number;
  readonly time: EngineTime;
  readonly intake: Intake;
  readonly residency: Residency;
  readonly deadlines: Deadlines;
  readonly log: LogTracker | undefined;
  readonly decider: Decider;
  readonly loop: Loop;
}

/** What the pipeline asks of its shard. */
export interface Loop {
  /** No batch is decided ahead any more. */
  readonly isStopping: boolean;
  /** A batch is committed, which took so long, and nothing of it has been handed out yet. */
  committed(commitMs: number): void;
  /** Carries out the effects of a batch, and goes on. */
  act(batch: Batch): void;
  /** Looks for what to do next. */
  goOn(): void;
  /** A commit failed, its outcome is unknown, or what it needs cannot be read. `items` belong to no batch. */
  lose(error: unknown, items: readonly Item[]): void;
  /** The store never takes what these runs bring, and has written nothing. None: the batch is too much as a whole. */
  refused(error: WheelworkError, culprits: readonly Culprit[]): void;
}

/**
 * The pipeline of one claim: it reads what inputs need, has them decided, commits, and then has the effects carried out. It is
 * the only part of the loop that knows promises, since a store may commit at once (SQLite) or later (PostgreSQL).
 *
 * ```
 *                 turn                          full enough              store is free
 *   queue ----> reading ----> OPEN batch --------------> SEALED batch --------------> COMMITTING ----> effects
 *                  |          (decided into)             (one at most)                (one at most)
 *                  |               ^                                                      |
 *                  +---------------+ decided ahead, while another batch commits           +--> lose: everything in
 *                                                                                              memory is dropped
 * ```
 *
 * - **Deciding ahead.** While a batch commits, the next one is decided on top of it. Its effects wait for both commits. If the
 *   first fails, both are dropped.
 * - Three things hold deciding back: a checkpoint that is being written, since it says what the memory holds; somebody who
 *   reads what is committed (`quiet`); and a sealed batch that waits for the store.
 * - **One idiom of staleness.** A pipeline belongs to one claim. After `end`, whatever a promise brings is dropped.
 */
export class Pipeline {
  readonly #options: PipelineOptions;
  #isOver = false;
  /** The last batch whose effects have happened. */
  #actedSeq: number;
  #open = emptyBatch();
  /** What a claim has found open, until it is made again. */
  #resuming: Resuming | undefined = undefined;
  #sealed: Batch | undefined = undefined;
  #committing: { readonly batch: Batch; readonly began: number; readonly done: Promise<void> } | undefined =
    undefined;
  /** The last commit went on beside the loop. */
  #overlaps = false;
  /** The store reads for these items, or writes the last checkpoint: nothing is decided meanwhile. */
  #busy: { readonly items: readonly Item[]; readonly done: Promise<void> } | undefined = undefined;
  #nextWarningAt = 0;
  /** Those who read what is committed: nothing is decided ahead meanwhile. */
  #readers = 0;

  constructor(options: PipelineOptions) {
    this.#options = options;
    this.#actedSeq = options.decider.seq;
  }

  /** The batch that decisions go into. */
  get open(): Batch {
    return this.#open;
  }

  /** The last batch whose effects have happened. */
  get actedSeq(): number {
    return this.#actedSeq;
  }

  /** What the pipeline waits for; undefined if it is idle. */
  get pending(): Promise<void> | undefined {
    return (this.#busy ?? this.#committing)?.done;
  }

  /** Whether something waits for a batch that follows. */
  get carries(): boolean {
    return this.#options.decider.carried > 0 || this.#options.residency.isSweeping;
  }

  /** How long the commit under way has taken so far, in milliseconds; 0: there is none. */
  committingMs(now: number): number {
    return this.#committing === undefined ? 0 : now - this.#committing.began;
  }

  /** Whether what is being committed was decided some time ago. Callbacks that are due wait for it, and its end wakes the loop. */
  get isStalled(): boolean {
    const { clock, time } = this.#options;
    const committing = this.#committing;
    if (committing === undefined) return false;
    // One that was decided ahead has waited for the commit before it.
    return clock.monotonicMs() - committing.began >= lateMs || time.now() - committing.batch.since >= lateMs;
  }

  /** Whether callbacks wait for what a claim has found open. The end of that wakes the loop. */
  get isResuming(): boolean {
    return this.#resuming !== undefined;
  }

  /** Drops everything. The result is what the batches had consumed, in its order. */
  end(): readonly Item[] {
    const batches = [this.#committing?.batch, this.#sealed, this.#open];
    const items = [...batches.flatMap((batch) => batch?.items ?? []), ...(this.#busy?.items ?? [])];
    this.#isOver = true;
    this.#committing = undefined;
    this.#sealed = undefined;
    this.#busy = undefined;
    this.#open = emptyBatch();
    return items;
  }

  /** Waits until all that is decided is committed. */
  async quiet(): Promise<void> {
    this.#readers++;
    try {
      while (this.#committing !== undefined) await this.#committing.done;
    } finally {
      this.#readers--;
    }
  }

  /** Resolves when the checkpoint that the store is writing is written, or is not: nobody knows before. */
  checkpointing(): Promise<void> | undefined {
    if (this.#committing?.batch.commit?.checkpoint !== undefined) return this.#committing.done;
    return this.#options.loop.isStopping ? this.#busy?.done : undefined;
  }

  /** Takes what is ready, and decides it, if that may be done now. */
  turn(): void {
    if (this.#busy !== undefined || this.#sealed !== undefined || !this.#mayDecide()) return;
    const { clock, residency, time } = this.#options;
    const began = clock.monotonicMs();
    this.#load(this.#next(), new Map(), began, residency.scanAt <= time.now());
  }

  /**
   * Goes on after a claim: the attempts of the open batch are made again. Before, `items` and all that waits in the queue are
   * decided, however many batches that takes. No callback fires until then: an attempt that is made again has its time anew.
   */
  resume(items: readonly Item[]): void {
    const { clock, intake } = this.#options;
    this.#resuming = {
      until: intake.underWay.pushed,
      attempts: this.#open.effects.attempts.splice(0),
      last: undefined,
    };
    if (items.length > 0) intake.putBack(items);
    if (intake.length > 0) return this.#load(this.#next(), new Map(), clock.monotonicMs(), false);
    const batch = this.#open;
    this.#open = emptyBatch();
    this.#resuming.last = batch;
    this.#act(batch);
  }

  /** A checkpoint says what the memory holds: nothing is decided before it is committed. */
  #mayDecide(): boolean {
    if (this.#committing === undefined) return true;
    const { commit } = this.#committing.batch;
    return commit?.checkpoint === undefined && this.#readers === 0 && !this.#options.loop.isStopping;
  }

  /** Takes the next inputs from the queue. */
  #next(): readonly Item[] {
    const { intake, residency } = this.#options;
    const { length } = intake;
    const most = Math.min(intake.batchInputs, residency.maxDecided);
    let count = Math.max(1, most - this.#open.inputs);
    // All that waits in one batch would leave nothing to decide while it is written.
    const shares = this.#overlaps && this.#committing === undefined && length >= minShared;
    if (shares) count = Math.min(count, Math.ceil(length / 2));
    return intake.take(count, residency.isSweeping ? maxBatchBytes / 4 : maxBatchBytes);
  }

  // ---- reading ----

  /**
   * Reads what the inputs need and is not in memory, runs that are due and what is known under their keys, and decides them.
   * What was in memory may have left it while the store was asked: it is asked until nothing is missing.
   */
  #load(items: readonly Item[], found: Map<string, Found>, began: number, scans: boolean): void {
    const { store, residency, loop } = this.#options;
    const keys = this.#unknownKeys(items, found);
    if (keys.size === 0 && !scans) return this.#decide(items, found, began);
    const keep = (list: readonly Found[]): void => {
      for (const [index, key] of [...keys].entries()) found.set(key, list[index] as Found);
    };
    let list: MaybePromise<readonly Found[]>;
    let due: MaybePromise<void>;
    try {
      list = keys.size === 0 ? [] : store.find([...keys]);
      due = scans ? residency.scan() : undefined;
      if (!(list instanceof Promise)) keep(list);
    } catch (error) {
      return loop.lose(error, items);
    }
    if (!(list instanceof Promise) && !(due instanceof Promise)) return this.#decide(items, found, began);
    const done = Promise.all([list, due]).then(
      ([given]) => {
        if (this.#isOver) return;
        keep(given);
        this.#loaded(items, found, began);
      },
      (error: unknown) => {
        if (!this.#isOver) loop.lose(error, []);
      },
    );
    this.#busy = { items, done };
  }

  /** Goes on with what was read, once it may: a checkpoint may have begun meanwhile. */
  #loaded(items: readonly Item[], found: Map<string, Found>, began: number): void {
    this.#busy = undefined;
    const before = this.#committing;
    if (before === undefined || this.#mayDecide()) return this.#load(items, found, began, false);
    const done = before.done.then(() => {
      if (!this.#isOver) this.#loaded(items, found, began);
    });
    this.#busy = { items, done };
  }

  #unknownKeys(items: readonly Item[], found: ReadonlyMap<string, Found>): Set<string> {
    const { residency } = this.#options;
    const keys = new Set<string>();
    for (const item of items) {
      // Only a run in memory has open calls, so outcomes need none from the store.
      if (item.kind === "mark" || item.kind === "relayReply") continue;
      const mayBeStored = item.kind === "request" ? !item.fresh : item.done !== undefined;
      if (mayBeStored && residency.get(item.key) === undefined && !found.has(item.key)) keys.add(item.key);
    }
    // Who is next in a lane. A run that is granted a place has a store to read from, and must be read before.
    for (const key of residency.wanted) if (!found.has(key)) keys.add(key);
    return keys;
  }

  // ---- deciding ----

  #decide(items: readonly Item[], found: ReadonlyMap<string, Found>, began: number): void {
    const { clock, decider, intake, loop, residency, time } = this.#options;
    const batch = this.#open;
    for (const item of items) intake.requestDone(item);
    let sealed: Batch | undefined;
    try {
      const callableTo = (now: number): number => {
        const to = this.#callableTo(now);
        if (this.#options.observe !== undefined) this.#noteLateness(batch, to, now);
        return to;
      };
      const maxCallbacks = Math.min(intake.batchInputs, residency.maxDecided);
      const inputs = { items, found, callableTo, maxCallbacks };
      // What a shard that stops carries is left to its next owner: it may have no end.
      const maxCarried = loop.isStopping ? 0 : Math.min(maxCarriedItems, maxCallbacks);
      const timing = { hasTime: this.#carriedTime(), isTimeUp: this.#decidingTime() };
      const putBack = (left: readonly Item[]): void => intake.putBack(left);
      decider.decide(batch, { ...inputs, maxCarried, ...timing, putBack }, time.now());
      intake.compact();
      batch.decideMs += clock.monotonicMs() - began;
      const resuming = this.#resuming;
      if (resuming !== undefined && intake.underWay.pushed - intake.underWay.length >= resuming.until)
        resuming.last ??= batch;
      // As much as is being written is enough to go on with; less takes what comes meanwhile, too.
      const writing = this.#committing?.batch;
      const enough = Math.min(writing === undefined ? 0 : sizeOf(writing), intake.batchInputs);
      if (sizeOf(batch) >= enough) sealed = this.#seal();
    } catch (error) {
      return loop.lose(error, []);
    }
    if (this.#committing !== undefined) {
      this.#sealed = sealed;
      loop.goOn();
    } else if (sealed !== undefined) this.#commit(sealed);
  }

  #noteLateness(batch: Batch, to: number, now: number): void {
    const { nextAt } = this.#options.deadlines;
    if (nextAt <= to) batch.lateMs = Math.max(batch.lateMs ?? 0, now - nextAt);
  }

  #decidingTime(): () => boolean {
    const { clock } = this.#options;
    const until = clock.monotonicMs() + maxDecidingMs;
    return () => clock.monotonicMs() >= until;
  }

  /** Whether there is time for one more carried item: it is counted from the first one on. */
  #carriedTime(): () => boolean {
    const { clock } = this.#options;
    let until: number | undefined;
    return () => {
      const now = clock.monotonicMs();
      until ??= now + maxCarriedMs;
      return now < until;
    };
  }

  #callableTo(now: number): number {
    const { log, deadlines, intake, loop } = this.#options;
    if (loop.isStopping || this.#resuming !== undefined) return 0;
    if (log?.catchesUp(now) === true) return 0;
    const committing = this.#committing;
    const commit =
      committing === undefined ? undefined : { since: committing.batch.since, isSlow: this.isStalled };
    return deadlines.callableTo(now, intake.underWay, commit);
  }

  /** Ends the batch that decisions go into; the next ones go into another. */
  #seal(): Batch {
    const batch = this.#open;
    this.#options.decider.seal(batch, this.#actedSeq);
    this.#open = emptyBatch();
    return batch;
  }

  // ---- committing ----

  /** Commits a batch, and acts. `before` is what is to happen first, once the store has the batch. */
  #commit(batch: Batch, before?: () => void): void {
    const { clock, store, loop } = this.#options;
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
      if (isRefused(error) && store.takes !== undefined) return this.#findCulprits(batch, error);
      return loop.lose(error, batch.items);
    }
    this.#overlaps = given instanceof Promise;
    if (!(given instanceof Promise)) {
      const commitMs = clock.monotonicMs() - began;
      this.#options.intake.stood(commitMs);
      before?.();
      this.#committed(batch, batch.commit, commitMs);
      return this.#act(batch);
    }
    const done = given.then(
      () => {
        if (!this.#isOver) this.#landed(batch, clock.monotonicMs() - began);
      },
      (error: unknown) => {
        if (this.#isOver) return;
        if (isRefused(error) && store.takes !== undefined) this.#findCulprits(batch, error);
        else loop.lose(error, []);
      },
    );
    this.#committing = { batch, began, done };
    before?.();
    loop.goOn();
  }

  /** Nothing is written, and nothing that was decided counts: the batch is still the one that commits until this is over. */
  #findCulprits(batch: Batch, error: WheelworkError): void {
    const { clock, loop, store } = this.#options;
    const done = culpritsOf(batch.commit as Commit, error, (commit) => store.takes?.(commit) ?? true).then(
      (culprits) => {
        if (!this.#isOver) loop.refused(error, culprits);
      },
      (problem: unknown) => {
        if (!this.#isOver) loop.lose(problem, []);
      },
    );
    this.#committing = { batch, began: clock.monotonicMs(), done };
  }

  /** A commit beside the loop has ended well: the store gets the next batch before this one's effects happen. */
  #landed(batch: Batch, commitMs: number): void {
    const { loop } = this.#options;
    this.#committing = undefined;
    this.#committed(batch, batch.commit as Commit, commitMs);
    let next: Batch | undefined;
    try {
      next = this.#sealed ?? (sizeOf(this.#open) === 0 ? undefined : this.#seal());
    } catch (error) {
      this.#act(batch);
      return loop.lose(error, []);
    }
    this.#sealed = undefined;
    if (next === undefined) this.#act(batch);
    else this.#commit(next, () => this.#act(batch));
  }

  #committed(batch: Batch, { checkpoint }: Commit, commitMs: number): void {
    const { intake, loop, observe, residency } = this.#options;
    loop.committed(commitMs);
    intake.grow();
    residency.committed(batch);
    if (commitMs >= slowMs) this.#warn(commitMs);
    if (checkpoint !== undefined) observe?.({ name: "checkpoint", runs: checkpoint.runs.length });
    if (observe === undefined) return;
    const { inputs, events, decideMs, lateMs } = batch;
    const late = lateMs === undefined ? {} : { lateMs };
    observe({ name: "batch", inputs, events, decideMs, commitMs, ...late });
  }

  /** Everybody waits for a slow store: that is worth a line now and then. */
  #warn(commitMs: number): void {
    const { clock, logger } = this.#options;
    const now = clock.monotonicMs();
    if (now < this.#nextWarningAt) return;
    this.#nextWarningAt = now + warningMs;
    logger.warn({ commitMs: Math.round(commitMs) }, "the store is slow: a commit has taken long");
  }

  #act(batch: Batch): void {
    if (batch.commit !== undefined) this.#actedSeq = batch.commit.seq;
    const { loop } = this.#options;
    const resuming = this.#resuming;
    if (resuming === undefined) return loop.act(batch);
    // Attempts begin in the order in which they have begun before, and those that are new come after them.
    for (const attempt of batch.effects.attempts.splice(0)) resuming.attempts.push(attempt);
    if (resuming.last === batch) this.#beginAnew(batch, resuming);
    else loop.act(batch);
  }

  /** Makes again what a claim has found open, some of it at a time. */
  #beginAnew(batch: Batch, resuming: Resuming): void {
    const { clock, loop } = this.#options;
    batch.effects.attempts.push(...resuming.attempts.splice(0, maxBegunAnew));
    const isLast = resuming.attempts.length === 0;
    if (isLast) this.#resuming = undefined;
    loop.act(batch);
    if (isLast) return;
    clock.soon(() => {
      if (!this.#isOver) this.#beginAnew(emptyBatch(), resuming);
    });
  }

  // ---- the end ----

  /**
   * Writes all that has changed, so that the next start has nothing to replay, and that the owner stops in order. `isWorking`:
   * attempts are under way, so that the next owner must know.
   */
  async lastCheckpoint(isWorking: boolean): Promise<void> {
    const { decider, epoch, log, residency, time } = this.#options;
    const logProgress = log?.next(this.#actedSeq);
    const moved = logProgress === undefined ? undefined : log?.hasMoved(logProgress);
    const isNews = isWorking || moved?.position === true || moved?.published === true;
    if (residency.isCheckpointed && !isNews) return;
    const commit = { epoch, now: time.now(), journal: [], answers: [] };
    const write = async (): Promise<void> => {
      residency.beginAnew();
      for (let seq = decider.seq + 1; ; seq++) {
        const checkpoint = residency.lastSweep(seq);
        const isLast = !residency.isSweeping;
        const last = isLast
          ? { stops: true as const, ...(logProgress === undefined ? {} : { logProgress }) }
          : {};
        await this.#options.store.commit({ ...commit, ...last, seq, checkpoint });
        residency.swept();
        if (isLast) return;
        await nextTurn(this.#options.clock);
      }
    };
    // A callback that comes due now finds the store taken, and then the shard stopped.
    this.#busy = { items: [], done: this.#write(write) };
    await this.#busy.done;
  }

  async #write(write: () => Promise<void>): Promise<void> {
    const { logger } = this.#options;
    try {
      await write();
    } catch (error) {
      // Nothing is lost: the journal has it all.
      logger.warn({ error: String(error) }, "the last checkpoint could not be written");
    }
  }
}

/** What a claim has found open. */
interface Resuming {
  /** What has been queued before is decided first: so many items have come by then. */
  readonly until: number;
  /** The batch that decides the last of it. */
  last: Batch | undefined;
  /** What is made again, and what is decided meanwhile. */
  readonly attempts: Batch["effects"]["attempts"];
}

const isRefused = (error: unknown): error is WheelworkError =>
  error instanceof WheelworkError && error.code === "WW_STORE_REFUSED";

/** How much a batch has decided. */
const sizeOf = ({ inputs, carried }: Batch): number => inputs + carried;
