import { WheelworkError, type Outcome } from "@wheelwork/core";
import {
  isOpen,
  isRunning,
  isSuspect,
  suspectDeaths,
  textOf,
  type Call,
  type Input,
  type Run,
} from "@wheelwork/core/kernel";
import type { Attempt } from "../attempts/attempt.ts";
import { WorkerHost } from "../attempts/host.ts";
import { redacted } from "../attempts/outcomes.ts";
import { Suspects } from "../attempts/suspects.ts";
import { BusyTurns } from "../ports/clock.ts";
import type { RequestRow } from "../ports/ports.ts";
import { Admission } from "./admission.ts";
import type { Batch, Culprit } from "./batch.ts";
import { CommittedRuns, endingOf } from "./committed.ts";
import { Drain } from "./drain.ts";
import { EngineTime } from "./engine-time.ts";
import { Intake } from "./intake.ts";
import { outlives, refuse } from "./items.ts";
import type {
  Arriving,
  AttemptId,
  IgnoredReason,
  InputItem,
  Item,
  RelayReplyItem,
  RequestItem,
} from "./items.ts";
import type { Lane } from "./lanes.ts";
import { countMemory, memoryInUse, waiterBytes } from "./memory.ts";
import {
  checkClocks,
  endsShard,
  overloaded,
  stopping,
  unavailable,
  type Overload,
  type ShardOptions,
} from "./options.ts";
import { OwnershipLook } from "./ownership-look.ts";
import { secretsOfCall, tracedReplyOf } from "./records.ts";
import { died, outdated } from "./takeover.ts";
import { outcomeEvent, report } from "./report.ts";
import { SuspectTurns } from "./suspect-turns.ts";
import { takeUp } from "./take-up.ts";
import type { Residency } from "./residency.ts";
import { Tenure } from "./tenure.ts";
import { TurnSchedule } from "./turn-schedule.ts";
import { Waiters, type Waiter } from "./waiters.ts";
import { Watchers } from "./watchers.ts";

type Status = "starting" | "running" | "store-lost" | "stopping" | "stopped";

/** How long a shard that stops waits for the broker to take its answers, in milliseconds. */
const maxDrainMs = 500;
/** How often a run may be refused by the store before it counts as lost. */
const maxRefusals = 2;
/** So few runs and requests are not too many, however late the loop is, for a sender that waits: something else holds it up. */
const fewRuns = 256;
const [minRecoveryMs, maxRecoveryMs] = [10, 2000];

/**
 * The durable loop over one shard: it takes all inputs that are ready, decides them one after the other in memory, writes
 * everything in one transaction, and only then acts.
 *
 * ```
 *   starting --> running --> stopping --> stopped
 *                 |   ^          |           ^
 *          lose() |   | claim    | lose()    |  another owner has the shard,
 *                 v   |          v           |  or the store has lost commits
 *               store-lost ------------------+
 * ```
 *
 * The shard itself keeps what outlives a claim: the queue, those who wait for answers, the worker host, the time. All that a
 * claim knows is its tenure. **A commit that fails may have happened**, so nothing in memory can be trusted after it: the
 * tenure is thrown away, nobody has been told anything of it, and the next claim reads back what the store really has.
 */
export class Shard {
  readonly #options: ShardOptions;
  readonly #host: WorkerHost;
  readonly #time: EngineTime;
  readonly #intake: Intake;
  readonly #admission: Admission;
  #forgetMemory: () => void = () => {};
  readonly #suspects: SuspectTurns;
  readonly #look: OwnershipLook;
  readonly #waiters = new Waiters(() => this.#look.begin());
  readonly watchers = new Watchers(() => this.#look.begin());
  /** What is read of its runs. */
  readonly committed: CommittedRuns;
  #status: Status = "starting";
  /** What the last claim knows; undefined before the first, and while the store is lost. */
  #tenure: Tenure | undefined = undefined;
  #hasClaimed = false;
  readonly #turns: TurnSchedule;
  /** How long the first item of the queue had waited at the last turn, in milliseconds. */
  #waitedMs = 0;
  #idle: (() => void)[] = [];
  #recoveryMs = minRecoveryMs;
  /** The runs that the store has refused: how often, and those that are not dealt with yet. */
  readonly #refusals = new Map<string, number>();
  readonly #culprits = new Map<string, Culprit>();
  /** What was decided is read back, and nothing else is lost: requests wait, and attempts go on. */
  #isReloading = false;
  #cancelRecovery: (() => void) | undefined = undefined;
  /** Why it does not run. */
  #failure: unknown = undefined;
  #stopping: Promise<void> | undefined = undefined;
  #drainUnderWay: Drain | undefined = undefined;

  constructor(options: ShardOptions) {
    this.#options = options;
    const { store, workers, bus, replies, clock, logger, redact, observe, tracing } = options;
    this.committed = new CommittedRuns({
      store,
      clock,
      status: () => this.#status,
      tenure: () => this.#tenure,
    });
    this.#look = new OwnershipLook(clock, {
      isAwaited: () => this.#waiters.size + this.watchers.size > 0 && this.#status !== "stopped",
      committed: () => this.committedSeq,
      look:
        store.check === undefined
          ? async () => this.#status === "running" && (await this.isOwned())
          : undefined,
    });
    this.#time = new EngineTime(options.clock);
    this.#intake = new Intake(options.limits.batchInputs);
    this.#admission = new Admission(options.limits.lateMs);
    this.#turns = new TurnSchedule(options.clock, (now) => this.#turn(now), this.#intake);
    this.#suspects = new SuspectTurns({
      suspects: options.suspects ?? new Suspects(),
      clock: options.clock,
      owner: this,
      isRunning: () => this.#status === "running",
      push: (item) => this.#push(item),
      renew: (call, then) => this.#host.renew(call, then),
    });
    this.#host = new WorkerHost({
      workers,
      ports: { bus, replies },
      report: (attempt, outcome) => this.#reported(attempt, outcome),
      progress: (attempt, value) => this.#progressed(attempt, value),
      clock,
      logger,
      redact,
      tracing,
      isTimed: observe !== undefined,
      holds: (request) => !isOpen(request as Call) || this.#suspects.holds(request as Call),
      secrets: (request, output) => secretsOfCall(options.hubs, request as Call | undefined, output),
    });
  }

  get status(): Status {
    return this.#status;
  }

  /** Why the shard does not take requests, if it should: what the store says. */
  get reason(): string | undefined {
    const lost = this.#status === "store-lost" || this.#status === "stopped";
    return lost && this.#failure !== undefined ? textOf(this.#failure) : undefined;
  }

  get sizes(): {
    readonly liveRuns: number;
    readonly openAttempts: number;
    readonly queued: number;
    readonly callbacks: number;
    readonly unpublished: number;
  } {
    return {
      liveRuns: this.#tenure?.residency.size ?? 0,
      openAttempts: this.#host.size,
      queued: this.#intake.length,
      callbacks: this.#tenure?.deadlines.size ?? 0,
      unpublished: this.#tenure?.log?.outbox.size ?? 0,
    };
  }

  serves(spoke: string): boolean {
    return this.#host.serves(spoke);
  }

  /** Engine time, in milliseconds since 1970. It never runs backward. */
  now(): number {
    return this.#time.now();
  }

  /** Deletes some of what has outlived its retention: see `Store.purge`. */
  async purge(limit: number): Promise<number> {
    if (this.#status !== "running") return 0;
    return this.#tenure?.purge(limit) ?? 0;
  }

  /** Archives some events of live runs that happened so many milliseconds ago; whether there is more: see `Store.archive`. */
  async archive(historyRetentionMs: number, limit: number): Promise<boolean> {
    if (this.#status !== "running") return false;
    return (await this.#tenure?.archive(historyRetentionMs, limit)) ?? false;
  }

  /** Deletes commands of the audit list that are as old as that; whether there is more: see `Store.purgeAudit`. */
  async purgeAudit(auditRetentionMs: number, limit: number): Promise<boolean> {
    if (this.#status !== "running") return false;
    return (await this.#tenure?.purgeAudit(auditRetentionMs, limit)) ?? false;
  }

  /** Looks whether there is anything to do, or to commit. */
  wake(): void {
    this.#turns.schedule();
  }

  /** Which claim this is. */
  get epoch(): number {
    return this.#tenure?.claim.epoch ?? 0;
  }

  /** How far the shard has come with its log. */
  get position(): number {
    return this.#tenure?.log?.position ?? 0;
  }

  /** Claims the shard, loads what is open, and goes on with it. */
  async start(): Promise<void> {
    await this.#claim();
    if (this.#status !== "starting") return;
    const findings = await this.#findings();
    if (this.status !== "starting") return;
    this.#host.attach();
    this.#forgetMemory = countMemory(this.#options.clock, this);
    this.#status = "running";
    this.#resume(findings);
  }

  /**
   * Takes no more requests and begins no more attempts. Those that are under way here may end within `drainMs` milliseconds;
   * the others are aborted, and made again at the next start. Then it commits what is decided, and stops. A later call may
   * leave them less time.
   */
  stop(drainMs: number): Promise<void> {
    this.#drainUnderWay?.limit(drainMs);
    this.#stopping ??= this.#stop(drainMs);
    return this.#stopping;
  }

  async #stop(drainMs: number): Promise<void> {
    if (this.#status === "stopped") return;
    const working = this.#status === "running" ? this.#tenure : undefined;
    this.#status = "stopping";
    this.#options.feed?.end();
    if (working !== undefined) {
      await this.#settleQueue();
      if (drainMs > 0) await this.#drain(drainMs);
      await working.log?.outbox.drained(maxDrainMs);
      // Outcomes may have come meanwhile.
      await this.#settleQueue();
      if (this.status === "stopping") await working.pipeline.lastCheckpoint(this.#host.size > 0);
    }
    this.#status = "stopped";
    this.#suspects.forget();
    this.#host.endAll();
    this.#host.detach();
    this.#cancelRecovery?.();
    this.#tenure?.end();
    this.#refuseAll();
  }

  // ---- what comes in ----

  /**
   * Queues a request. It is made only if it is taken, since to look at its body costs more than to refuse it. The result is the refusal,
   * which nobody else is told.
   */
  request(request: Arriving, make: () => RequestItem): WheelworkError | undefined {
    const refusal = this.#refusal();
    if (refusal !== undefined) return refusal;
    this.#turns.handOverAt();
    const { key, hub, isOwed } = request;
    // One whose run is in memory takes no room, and is answered whatever comes.
    const isNew = isOwed !== true && this.find(key) === undefined;
    const overload = isNew ? this.#overload(request) : undefined;
    if (overload === undefined) return void this.#push(make());
    this.#options.observe?.({ name: "refused", hub, key });
    return overloaded(overload);
  }

  #overload({ beginWithinMs = Number.POSITIVE_INFINITY }: Arriving): Overload | undefined {
    const { limits } = this.#options;
    // While the shard is read back, nobody can tell whether a run is there: its request waits.
    const liveRuns = this.#working?.residency.size ?? 0;
    if (this.#intake.requests >= limits.queuedRequests || liveRuns >= limits.liveRuns) return "count";
    if (memoryInUse(this.#options.clock) >= limits.memoryBytes) return "memory";
    const now = this.#turns.handOverAt();
    const isDone = this.#intake.length === 0 && this.#tenure?.pipeline.pending === undefined;
    const isIdle = isDone && this.#turns.isIdle(now);
    const waitMs = isIdle ? 0 : Math.max(this.#intake.waitMs(now), this.#waitedMs);
    const { aheadMs, requests } = this.#intake;
    this.#admission.look(waitMs, this.#tenure?.pipeline.committingMs(now) ?? 0, now);
    if (liveRuns + requests < fewRuns && Math.max(waitMs, aheadMs) < beginWithinMs) return undefined;
    return this.#admission.admits(waitMs, aheadMs) ? undefined : "lateness";
  }

  /** About how many bytes the shard holds in memory. */
  get heldBytes(): number {
    const runs = this.#tenure?.residency.weight ?? 0;
    return runs + this.#intake.requestBytes + waiterBytes * this.#waiters.size;
  }

  /** Takes what a record of the log says. Records come in their order. */
  feed(item: Item & { readonly offset: number }): void {
    this.#push(item);
  }

  /** The committed position does not pass a record before the result is called: its effect is not durable yet. */
  pinOffset(offset: number): () => void {
    return this.#tenure?.log?.pin(offset) ?? (() => {});
  }

  /** Takes what an external worker says of an attempt, in a record of the log. */
  outcome(spoke: string, key: string, attempt: AttemptId, outcome: Outcome, offset: number): void {
    const input = this.#outcomeOf(spoke, key, attempt, outcome);
    this.#push({ kind: "input", key, ...sinceOf(attempt), input, offset });
  }

  /** The same where records have no offsets: the outcome is committed when this resolves, or it changed nothing. */
  async respond(spoke: string, key: string, attempt: AttemptId, outcome: Outcome): Promise<void> {
    const input = this.#outcomeOf(spoke, key, attempt, outcome);
    const reason = await this.#give({ kind: "input", key, ...sinceOf(attempt), input });
    if (reason !== undefined) this.#options.observe?.({ name: "ignored", key, reason });
  }

  #outcomeOf(spoke: string, key: string, { call, attempt, epoch }: AttemptId, given: Outcome): Input {
    const outcome = this.#host.check(spoke, given);
    this.#options.observe?.({ name: "outcome", callee: spoke, key, call, outcome: outcome.kind });
    return { kind: "outcome", call, attempt, epoch, outcome };
  }

  /** Takes what a message to a relay says. It is committed when this resolves, or concerns no open attempt. */
  relayReply(item: Omit<RelayReplyItem, "kind" | "done" | "offset">): Promise<void> {
    return new Promise((resolve, reject) => {
      const refusal = this.#refusal();
      if (refusal !== undefined) return reject(refusal);
      this.#push({ kind: "relayReply", ...item, done: { resolve, reject } });
    });
  }

  /** Gives a command to a run. The result is why it changed nothing, or undefined. */
  command(key: string, input: Input): Promise<IgnoredReason | undefined> {
    return this.#give({ kind: "input", key, input });
  }

  #give(item: Omit<InputItem, "done">): Promise<IgnoredReason | undefined> {
    return new Promise((resolve, reject) => {
      const refusal = this.#refusal();
      if (refusal !== undefined) return reject(refusal);
      this.#push({ ...item, done: { resolve, reject } });
    });
  }

  /** What a worker of this process reports. */
  #reported(attempt: Attempt, outcome: Outcome): void {
    if (this.#status === "stopped") return;
    const { request, attempt: number, epoch, requestId: key } = attempt;
    const { number: call, run } = request as Call;
    this.#suspects.ended(request as Call);
    const input: Input = { kind: "outcome", call, attempt: number, epoch, outcome };
    this.#push({ kind: "input", key, since: run.createdAt, input });
    this.#options.observe?.(outcomeEvent(attempt, outcome, this.#options.clock));
  }

  #progressed({ requestId: key, call, attempt, epoch }: Attempt, value: unknown): void {
    const input: Input = { kind: "progress", call, attempt, epoch, value };
    if (value !== undefined && this.#status !== "stopped") this.#push({ kind: "input", key, input });
  }

  /** What an external worker says of its progress. `offset`: that of its record, which is read once more after a failure. */
  progress(key: string, of: AttemptId, value: unknown, offset?: number): void {
    const { call: number, attempt, epoch } = of;
    const run = this.find(key);
    const call = (of.since ?? run?.createdAt) === run?.createdAt ? run?.calls.get(number) : undefined;
    const isPresent = call?.attempt === attempt && call.run.epoch === epoch;
    const unsaved = isPresent ? this.#host.heard(call, value) : undefined;
    if (unsaved !== undefined) {
      const input: Input = { kind: "progress", call: number, attempt, epoch, value: unsaved };
      this.#push({ kind: "input", key, ...sinceOf(of), input, ...(offset === undefined ? {} : { offset }) });
    } else if (offset !== undefined) this.#push({ kind: "mark", offset });
  }

  #push(item: Item): void {
    if (!this.#turns.isScheduled) this.#intake.mark(this.#options.clock.monotonicMs());
    this.#tenure?.log?.queued(item);
    this.#intake.push(item);
    this.#turns.schedule();
  }

  #refusal(): WheelworkError | undefined {
    switch (this.#status) {
      case "running":
        return undefined;
      case "store-lost":
        return this.#isReloading ? undefined : unavailable();
      default:
        return stopping();
    }
  }

  /** Calls back when the request has its answer. The result takes that back. */
  wait(key: string, waiter: Waiter): () => void {
    return this.#waiters.add(key, waiter);
  }

  /** The engine has ended: those who wait are told so. */
  #refuseAll(): void {
    this.#forgetMemory();
    this.#look.end();
    // The next owner reads again what a record said.
    for (const item of this.#intake.drain()) if (item.offset === undefined) refuse(item, stopping());
    this.#waiters.refuseAll(stopping());
    this.watchers.wakeAll();
  }

  // ---- what is read ----

  /** See `CommittedRuns.find`. */
  find(key: string): Run | undefined {
    return this.committed.find(key);
  }

  /** The tenure, while what it knows may be shown. */
  get #working(): Tenure | undefined {
    return this.#status === "store-lost" ? undefined : this.#tenure;
  }

  /** Who holds the places of a run's lane, and which place it has in the queue. */
  lane({ key, status, lane: of }: Run): { readonly holders: readonly string[]; readonly position?: number } {
    const lane = of === undefined ? undefined : this.#working?.residency.lanes.get(of);
    const position = status === "pending" ? lane?.positionOf(key) : undefined;
    return { holders: [...(lane?.holders ?? [])], ...(position !== undefined && { position }) };
  }

  /** Whether nobody has taken the shard over. If somebody has, unnoticed, the shard ends: it knows nothing of what is new. */
  async isOwned(): Promise<boolean> {
    const tenure = this.#tenure;
    const { epoch } = await this.#options.store.peek();
    if (tenure === undefined || tenure.isOver || this.#status === "stopped") return false;
    if (epoch === tenure.claim.epoch) return true;
    this.#lose(new WheelworkError("WW_STORE_LOCKED", "another owner has taken the shard over (I21)"), []);
    return false;
  }

  /** Whether the answer that `find` shows is committed. */
  isCommitted(key: string): boolean {
    return this.#tenure?.residency.get(key)?.answering !== true;
  }

  /** The runs in memory. */
  liveRuns(): Iterable<Run> {
    return this.#tenure?.residency.committedRuns() ?? [];
  }

  /** The runs that have moved on since their row was written: what a list of stored rows must be overlaid with. */
  movedRuns(): ReturnType<Residency["moved"]> {
    return this.#tenure?.residency.moved() ?? [];
  }

  /** The last batch that is committed and acted on. Another claim has other ones. */
  get committedSeq(): string {
    return `${this.#tenure?.claim.epoch} ${this.#tenure?.pipeline.actedSeq}`;
  }

  /** The lanes that somebody is in. */
  lanes(): Iterable<Lane> {
    return this.#working?.residency.lanes.values() ?? [];
  }

  /** Whether a stored row of a list is as its run is now. */
  isListed(row: RequestRow): boolean {
    return this.#tenure?.residency.isListed(row) ?? true;
  }

  // ---- one turn ----

  #turn(now: number): void {
    this.#waitedMs = this.#intake.turn(now);
    this.#admission.look(this.#waitedMs, this.#tenure?.pipeline.committingMs(now) ?? 0, now);
    if (this.#status === "running" || this.#status === "stopping") this.#tenure?.pipeline.turn();
  }

  /** Goes on: at once if there is work, else when the next callback is due. */
  #goOn(): void {
    const tenure = this.#tenure;
    if (tenure === undefined || (this.#status !== "running" && this.#status !== "stopping")) return;
    if (this.#intake.length > 0) {
      this.#turns.schedule(this.#intake.heldMs);
      return;
    }
    if (!this.#turns.isScheduled) for (const resolve of this.#idle.splice(0)) resolve();
    // Timers that come due again and again would keep a shard from ever stopping. They fire at the next start.
    if (this.#status === "stopping") return;
    const { deadlines, log, pipeline, residency } = tenure;
    if (pipeline.carries) return this.#turns.schedule();
    const next = Math.min(deadlines.nextAt, residency.scanAt);
    // Records that come wake the shard by themselves.
    const before = log?.catchesUpBefore ?? 0;
    const until = this.#host.hasAdopted ? before : Math.max(next, before);
    const at = log?.catchesUp(this.#time.last) === true ? until : next;
    // What is due waits for a commit that takes long, whose end wakes the shard, too.
    if (at === Number.POSITIVE_INFINITY || pipeline.isStalled || pipeline.isResuming) return;
    if (at <= this.now()) this.#turns.schedule();
    else deadlines.arm(at);
  }

  // ---- effects, after the commit ----

  #act(tenure: Tenure, batch: Batch): void {
    const { found, effects, touched } = batch;
    tenure.residency.forget(found);
    if (this.watchers.size > 0) for (const live of touched) this.watchers.wake(live.run.key, endingOf(live));
    const { accepted, refused, attempts, closed, commanded, relayReplies } = effects;
    const { observe } = this.#options;
    report(batch, this.#options);
    this.#host.end(closed);
    this.#suspects.letGo(effects, tenure.residency);
    if (attempts.length > 0)
      this.#host.inARow(() => {
        for (const { call, attempt, anew } of attempts)
          if (call.attempt === attempt) this.#dispatch(call, anew === true ? this.#time.last : undefined);
      });
    if (this.#host.hasAdopted && tenure.log?.catchesUp(this.now()) !== true) this.#readopt();
    for (const { item, known } of accepted) {
      observe?.({ name: known ? "known" : "accepted", hub: item.hub, key: item.key });
      item.accept(known);
    }
    for (const { item, error } of refused) refuse(item, error);
    this.#tell(tenure, effects);
    for (const { item, ignored } of commanded) item.done?.resolve(ignored);
    for (const durable of relayReplies) durable();
    this.#suspects.next();
    this.#goOn();
  }

  /** Tells those who wait of the answers that are committed, and publishes them. */
  #tell(tenure: Tenure, { answered, repeated }: Batch["effects"]): void {
    const { observe, tracing } = this.#options;
    for (const live of answered) {
      const { run } = live;
      live.answering = false;
      const { answer, hub, key } = run;
      const { replyTo } = run.origin;
      if (answer === undefined) continue;
      if (replyTo !== undefined) repeated.push(tracedReplyOf(run, replyTo, answer, tracing));
      const durationMs = this.#time.last - run.createdAt;
      observe?.({ name: "answered", hub, key, answer: answer.kind, durationMs });
      this.#waiters.answer(key, answer);
    }
    tenure.log?.outbox.send(tenure.pipeline.actedSeq, repeated);
  }

  #dispatch(call: Call, anewAt?: number): void {
    const { run } = call;
    // What is handed out while stopping would be lost at once; it is made at the next start.
    if (this.#status === "stopping") return;
    if (!isOpen(call) || !isRunning(call) || run.status !== "running") return;
    const { callee, number, attempt } = call;
    // It is begun when it has its place, and its turn.
    if (isSuspect(call)) return this.#host.begin(call, anewAt);
    if (call.deaths >= suspectDeaths) this.#suspects.begun(call);
    const { logger, observe } = this.#options;
    const event = { name: "attempt", callee, key: run.key, call: number, attempt } as const;
    logger.debug(event, "attempt");
    observe?.(event);
    this.#host.begin(call, anewAt);
  }

  /** The outcomes of an earlier owner's attempts would have come by now: those that are not overdue are made again. */
  #readopt(): void {
    for (const { request, attempt } of this.#host.readopt()) {
      const call = request as Call;
      // A later attempt may be decided, and not be committed.
      if (call.attempt === attempt && (call.due ?? 0) > this.#time.last) this.#dispatch(call);
    }
  }

  async #drain(drainMs: number): Promise<void> {
    const { clock, logger } = this.#options;
    this.#drainUnderWay = new Drain(this.#host, clock, logger);
    await this.#drainUnderWay.end(drainMs, this.now());
    this.#drainUnderWay = undefined;
    // What the last ones reported is committed before the log is left.
    await this.#settleQueue();
  }

  async #settleQueue(): Promise<void> {
    // A store that fails meanwhile ends it, too.
    while (
      this.status === "stopping" &&
      (this.#intake.length > 0 || this.#tenure?.pipeline.pending !== undefined || this.#turns.isScheduled)
    ) {
      await new Promise<void>((resolve) => {
        this.#idle.push(resolve);
        this.#turns.schedule();
      });
      await this.#tenure?.pipeline.pending;
    }
  }

  // ---- claim, recovery, loss ----

  /** Claims the shard, and reads everything back. */
  async #claim(): Promise<void> {
    const { store, owner, clock, limits, logger, observe } = this.#options;
    this.#tenure?.end();
    const claim = await store.claim(owner, this.#hasClaimed);
    if (!this.#hasClaimed) checkClocks(claim, clock.wallMs(), this.#options);
    this.#hasClaimed = true;
    if (claim.lost !== undefined) {
      const message = `the store has lost ${claim.lost} batches that were committed: it goes on without them`;
      logger.error({ batches: claim.lost }, message);
      observe?.({ name: "commits-lost", message });
    }
    const tenure = new Tenure(claim, this.#tenureOptions());
    this.#tenure = tenure;
    await tenure.load();
    const taking = { host: this.#host, suspects: this.#suspects, intake: this.#intake };
    const turns = new BusyTurns(clock, limits.openedCalls);
    await takeUp(tenure, { ...taking, goesOn: this.#isReloading }, turns);
    await this.#waiters.answerKnown(tenure.residency, store);
    if (this.#status !== "stopped") await tenure.readLog();
  }

  #tenureOptions(): ConstructorParameters<typeof Tenure>[1] {
    const host = this.#host;
    const isStopping = (): boolean => this.#status === "stopping";
    return {
      ...this.#options,
      feed: this.#options.feed,
      time: this.#time,
      intake: this.#intake,
      outcomes: {
        redact: (error) => redacted(this.#options.redact, error),
        check: (spoke, outcome, name) => host.check(spoke, outcome, host.expected(spoke, name)),
        expected: (spoke, correlation) => host.expected(spoke, correlation),
        dueAfterWait: (call, now) => host.dueAfterWait(call, now),
        unsavedProgress: (call) => host.unsavedProgress(call),
      },
      culprits: this.#culprits,
      loop: {
        get isStopping() {
          return isStopping();
        },
        committed: (commitMs) => {
          this.#recoveryMs = minRecoveryMs;
          this.#admission.committed(commitMs);
        },
        act: (batch) => {
          if (this.#tenure !== undefined) this.#act(this.#tenure, batch);
        },
        goOn: () => this.#goOn(),
        lose: (error, items) => this.#lose(error, items),
        refused: (error, culprits) => this.#refused(error, culprits),
        wake: () => this.#turns.schedule(),
      },
    };
  }

  /** What the first claim of a process has to tell the runs: another version may have stored them, or the process have died. */
  async #findings(): Promise<InputItem[]> {
    const { claim, residency } = this.#tenure as Tenure;
    const { clock, hubs } = this.#options;
    const items = await outdated(residency.runs(), hubs, this.now(), clock);
    if (claim.afterStop === true) return items;
    return [...items, ...(await died(residency.runs(), (calls) => this.#host.underWay(calls), clock))];
  }

  /** Goes on with what the claim has taken up. `items`: what is to be decided first. */
  #resume(items: readonly InputItem[]): void {
    this.#isReloading = false;
    this.#tenure?.pipeline.resume(items);
  }

  /**
   * Drops everything in memory, and reads it back from the store. For an exception that nobody caught: anything in memory may
   * be wrong after it, as after a commit whose outcome is unknown.
   */
  reloadFromStore(error: unknown): void {
    if (this.#status === "running") this.#lose(error, [], "an exception was caught by nobody");
  }

  /** What was claimed is no longer there, or no longer this owner's: found by looking, and not by a commit. */
  storeFailed(error: unknown): void {
    if (this.#status === "running") this.#lose(error, []);
  }

  /**
   * The store never takes what some runs bring, and has written nothing. What was decided is dropped, read back, and decided
   * again without them; nobody else notices: requests wait, and attempts go on.
   */
  #refused(error: WheelworkError, culprits: readonly Culprit[]): void {
    // What parks or ends a run may be refused, too.
    const isHopeless = culprits.some(({ key }) => (this.#refusals.get(key) ?? 0) >= maxRefusals);
    const isWhole = culprits.length === 0;
    if (this.#status !== "running" || isHopeless || (isWhole && this.#intake.batchInputs === 1))
      return this.#lose(error, []);
    const items = this.#tenure?.end() ?? [];
    if (isWhole) this.#intake.shrink(items.length);
    for (const culprit of culprits) {
      this.#culprits.set(culprit.key, culprit);
      this.#refusals.set(culprit.key, (this.#refusals.get(culprit.key) ?? 0) + 1);
    }
    const runs = culprits.map(({ key }) => key);
    this.#options.logger.error(
      { error: error.message, runs },
      "the store does not take what these runs bring: they are refused or parked, and their batch is decided again",
    );
    this.#intake.restore([...items, ...this.#intake.drain()].filter(outlives));
    this.#suspects.forget();
    this.#status = "store-lost";
    this.#isReloading = true;
    this.#recover(0);
  }

  /** A commit failed, or its outcome is unknown: nothing in memory counts any more. */
  #lose(error: unknown, given: readonly Item[], why = "the store failed"): void {
    if (this.#status === "stopped") return;
    const { logger, observe } = this.#options;
    const message = textOf(error);
    this.#failure = error;
    const items = [...(this.#tenure?.end() ?? []), ...given];
    this.#intake.shrink(items.length);
    logger.error({ error: message }, `${why}; the shard is read back from its store`);
    observe?.({ name: "store-lost", message });
    const wasStopping = this.#status === "stopping";
    this.#isReloading = false;
    this.#status = "store-lost";
    this.#host.endAll();
    this.#suspects.forget();
    this.watchers.wakeAll();
    const over = endsShard(error);
    const kept: Item[] = [];
    for (const item of [...items, ...this.#intake.drain()].filter(outlives)) {
      // A request may be sent again under its key; outcomes and commands are decided once the store is back.
      if (item.kind === "request" || over) refuse(item, unavailable());
      else kept.push(item);
    }
    this.#intake.restore(kept);
    if (over || wasStopping) this.#end(over ? error : undefined);
    else this.#recover();
  }

  /** The shard cannot go on here, or it stops: nothing more is done. */
  #end(why: WheelworkError | undefined): void {
    const { feed, logger, observe, onEnded } = this.#options;
    this.#status = "stopped";
    this.#failure = why;
    if (why !== undefined) logger.error({ error: why.message }, "the shard has ended");
    if (why?.code === "WW_COMMITS_LOST") observe?.({ name: "commits-lost", message: why.message });
    this.#tenure?.end();
    feed?.end();
    this.#host.detach();
    this.#refuseAll();
    for (const resolve of this.#idle.splice(0)) resolve();
    if (why !== undefined) onEnded?.(why);
  }

  /** Reads everything back, later and later until a commit succeeds again. */
  #recover(delay = this.#recoveryMs): void {
    const { clock, logger, observe } = this.#options;
    this.#recoveryMs = Math.min(this.#recoveryMs * 2, maxRecoveryMs);
    this.#cancelRecovery = clock.after(delay, () => {
      if (this.#status !== "store-lost") return;
      this.#claim().then(
        () => {
          if (this.#status !== "store-lost") return;
          this.#status = "running";
          this.watchers.wakeAll();
          if (!this.#isReloading) {
            observe?.({ name: "store-back" });
            logger.info({}, "the store is back");
          }
          this.#resume([]);
        },
        (error: unknown) => {
          if (this.#status !== "store-lost") return;
          // The store is lost now, and not only what it refused.
          if (endsShard(error) || this.#isReloading) return this.#lose(error, []);
          this.#failure = error;
          logger.warn({ error: textOf(error) }, "the store is not back yet");
          this.#recover();
        },
      );
    });
  }
}

const sinceOf = ({ since }: AttemptId): Pick<AttemptId, "since"> => (since === undefined ? {} : { since });
