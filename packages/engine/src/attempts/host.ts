import { WheelworkError, type Outcome, type Spoke } from "@wheelwork/core";
import { beforeStored, isThenable, type Secrets } from "@wheelwork/core/kernel";
import { timerMs } from "../ports/clock.ts";
import { runFields } from "../ports/log-fields.ts";
import type { Clock, Logger } from "../ports/ports.ts";
import type { Tracing } from "../ports/trace.ts";
import { Attempt } from "./attempt.ts";
import { underWay, type FormerRequest } from "./under-way.ts";
import type { AttemptRequest } from "./context.ts";
import { Heart, tolerated } from "./heart.ts";
import { limiterOf, type Limiter } from "./limiter.ts";
import { OpenAttempts } from "./open-attempts.ts";
import { asOutcome, checkedOutcome, failureOf, invalid, type OutcomeCheck, type Redact } from "./outcomes.ts";
import { userTimeOf, type UserTime } from "./user-time.ts";
import { comesThroughLog, isRouted, type Worker, type WorkerPorts } from "./worker.ts";

/** Takes the outcome of an attempt. */
export type Report = (attempt: Attempt, outcome: Outcome) => void;

/** A worker, and what limits it. */
interface Served {
  readonly worker: Worker;
  readonly limiter: Limiter | undefined;
  readonly make: (attempt: Attempt) => void;
}

/** What a worker host needs. */
export interface WorkerHostOptions {
  readonly workers: readonly Worker[];
  readonly ports: WorkerPorts;
  readonly report: Report;
  /** Takes what the worker of an attempt says of its progress, to be stored; undefined: only that it lives. */
  readonly progress?: (attempt: Attempt, value: unknown) => void;
  readonly clock: Clock;
  readonly logger: Logger;
  /** See `CommonOptions.redact`. */
  readonly redact?: Redact | undefined;
  readonly tracing?: Tracing | undefined;
  /** Somebody wants to know how long workers take. */
  readonly isTimed?: boolean;
  /**
   * What hides the secrets of the run that makes an attempt, and those of its output; undefined: there are none. Without a request nobody
   * knows the run: then what any hub names is hidden.
   */
  readonly secrets?: (request: AttemptRequest | undefined, output?: unknown) => Secrets | undefined;
  /** Whether an attempt that has its place must not be made yet. It is made when it is begun once more. */
  readonly holds?: (request: AttemptRequest) => boolean;
}

/**
 * Makes attempts, and reports their outcomes (the WorkerBolt of the original proof of concept). It holds nothing that
 * matters (I10): what it forgets is found by a deadline, or at the next claim.
 *
 * An attempt goes through these states:
 *
 *     begin ──▶ queued ──▶ (held) ──▶ made ──▶ settled: its outcome is reported
 *                  ▲                    │
 *     adopt ──▶ awaiting log            └────▶ ended: its call is closed, or its time is over
 *
 * One that is adopted may have been made by an earlier owner of the shard. Its outcome may be in the log that is being read,
 * so that it is made again only after that.
 */
export class WorkerHost {
  readonly #served = new Map<string, Served>();
  readonly #open = new OpenAttempts();
  /** Attempts whose outcomes come through a topic, by spoke and correlation. */
  readonly #expected = new Map<string, Attempt>();
  /** Attempts that an earlier owner may have made. */
  #adopted: Attempt[] = [];
  /** While the engine stops: the attempts that it waits for, with what cancels the timer of each. */
  #draining: { readonly left: Map<Attempt, () => void>; readonly resolve: () => void } | undefined =
    undefined;
  #isDraining = false;
  /** Attempts that are over, whose work still holds a place. */
  readonly #lingering = new Map<Attempt, Limiter>();
  /** Those of the attempts whose spokes want heartbeats. */
  readonly #hearts = new Map<Attempt, Heart>();
  readonly #secrets: WorkerHostOptions["secrets"];
  readonly #clock: Clock;
  readonly #ports: WorkerPorts;
  readonly #report: Report;
  readonly #progress: NonNullable<WorkerHostOptions["progress"]>;
  readonly #check: OutcomeCheck;
  readonly #tracing: Tracing | undefined;
  readonly #isTimed: boolean;
  readonly #userTime: UserTime;
  readonly #holds: ((request: AttemptRequest) => boolean) | undefined;
  readonly #detach: (() => void)[] = [];

  /** @throws WheelworkError WW_CONFIG when two workers serve one spoke. */
  constructor(options: WorkerHostOptions) {
    const { workers, ports, report, progress, clock, logger, redact, holds } = options;
    this.#ports = ports;
    this.#report = report;
    this.#progress = progress ?? (() => {});
    this.#clock = clock;
    this.#check = {
      logger,
      redact,
      fieldsOf: (attempt) => this.#fieldsOf(attempt),
      secretsOf: (attempt, output) => options.secrets?.(attempt?.request, output),
    };
    this.#holds = holds;
    this.#secrets = options.secrets;
    this.#tracing = options.tracing;
    this.#isTimed = options.isTimed === true;
    this.#userTime = userTimeOf(clock);
    for (const worker of workers) {
      const { name } = worker.spoke;
      if (this.#served.has(name)) {
        throw new WheelworkError("WW_CONFIG", `two workers serve the spoke ${name}`, {
          next: "Give the engine one worker for each spoke.",
        });
      }
      const served: Served = {
        worker,
        limiter: limiterOf(worker.spoke, clock),
        make: (attempt) => this.#make(served, attempt),
      };
      this.#served.set(name, served);
    }
  }

  /** Attempts that are under way or queued. */
  get size(): number {
    return this.#open.size;
  }

  serves(spoke: string): boolean {
    return this.#served.has(spoke);
  }

  attach(): void {
    for (const { worker } of this.#served.values()) {
      if (comesThroughLog(worker, this.#ports.replies)) continue;
      const detach = worker.attach?.(this.#ports.bus);
      if (detach !== undefined) this.#detach.push(detach);
    }
  }

  /** The engine has stopped. */
  detach(): void {
    for (const detach of this.#detach.splice(0)) detach();
    for (const [attempt, limiter] of this.#lingering) limiter.orphan(attempt);
    this.#lingering.clear();
  }

  /**
   * Makes an attempt, or queues it behind the limit of its spoke. `anewAt`: an earlier process may have begun it, so that its
   * time begins anew, at this engine time.
   */
  begin(request: AttemptRequest, anewAt?: number): void {
    const served = this.#served.get(request.callee);
    if (served === undefined) return;
    const open = this.#open.of(request);
    if (open?.attempt === request.attempt) {
      if (open.awaitingLog) {
        open.awaitingLog = false;
        return this.#enter(served, open);
      }
      // It is under way already, or waits: a retry of a parked run asks for all that is open.
      if (!open.isHeld) return;
      const now = this.#clock.monotonicMs();
      return this.renew(request, () => {
        open.beginAnew((request.due ?? 0) + this.#clock.monotonicMs() - now);
        this.#make(served, open);
      });
    }
    if (open !== undefined) this.end([request]);
    const attempt = new Attempt(request, this.#tracing);
    if (anewAt !== undefined) attempt.beginAnew(anewAt + served.worker.spoke.timeoutMs);
    this.#open.add(attempt);
    this.#enter(served, attempt);
  }

  /** Begins several attempts, one after the other: `begin` is called in `run`. */
  inARow(run: () => void): void {
    this.#userTime.inARow(run);
  }

  /** An attempt that was held may begin. `then` is called when the limit of its spoke allows that, which may be later. */
  renew(request: AttemptRequest, then: () => void): void {
    const limiter = this.#served.get(request.callee)?.limiter;
    const attempt = this.#open.of(request);
    if (limiter === undefined || attempt === undefined) then();
    else limiter.renew(attempt, then);
  }

  /** Begins an attempt when there is time for it, and a place under the limit of its spoke. */
  #enter(served: Served, attempt: Attempt): void {
    if (this.#userTime.isFree) return this.#enterNow(served, attempt);
    const since = (attempt.turnSince = this.#clock.monotonicMs());
    this.#userTime.wait(() => {
      attempt.turnSince = undefined;
      if (!this.#open.has(attempt) || this.#isDraining) return;
      attempt.waited(this.#clock.monotonicMs() - since);
      this.#enterNow(served, attempt);
    });
  }

  #enterNow({ limiter, make }: Served, attempt: Attempt): void {
    const began = this.#userTime.begins();
    try {
      if (limiter === undefined) make(attempt);
      else limiter.enter(attempt, make);
    } catch (error) {
      // The author's function has no key for it.
      this.#forget(attempt);
      this.#report(attempt, this.#warned(attempt, failureOf(error)));
    }
    this.#userTime.used(began);
  }

  /**
   * Takes only the outcome of an attempt that an earlier owner may have made, until it is begun. False: such an outcome would
   * be lost, so that the attempt is made again at once.
   */
  adopt(request: AttemptRequest): boolean {
    const served = this.#served.get(request.callee);
    if (served === undefined || !comesThroughLog(served.worker, this.#ports.replies)) return false;
    const attempt = new Attempt(request, this.#tracing);
    attempt.awaitingLog = true;
    this.#open.add(attempt);
    this.#adopted.push(attempt);
    try {
      this.#expect(served.worker, attempt);
    } catch {
      // It fails with it when it is made.
    }
    return true;
  }

  /**
   * The runs were read back while their attempts went on. The result gives a call the attempt that is under way for it, if there is one;
   * without a call, it ends those that nobody has asked for. `over`: it has ended meanwhile, and was reported.
   */
  handOver(): (request?: AttemptRequest) => "under-way" | "over" | undefined {
    const left = new Map(this.#open.list().map((attempt) => [nameOf(attempt, attempt.epoch), attempt]));
    return (request) => {
      if (request === undefined) {
        this.end(Array.from(left.values(), (attempt) => attempt.request));
        return undefined;
      }
      const { run, number: call, attempt } = request;
      const name = nameOf({ requestId: run.key, call, attempt }, run.epoch);
      const open = left.get(name);
      if (open === undefined) return undefined;
      left.delete(name);
      if (!this.#open.has(open)) return "over";
      this.#open.move(open, request);
      return "under-way";
    };
  }

  /** Whether attempts are adopted that `readopt` has not given. */
  get hasAdopted(): boolean {
    return this.#adopted.length > 0;
  }

  /** Gives the attempts that are adopted and still open, to be begun if they are not overdue. */
  readopt(): Attempt[] {
    const adopted = this.#adopted;
    this.#adopted = [];
    return adopted.filter((attempt) => this.#open.has(attempt));
  }

  /**
   * When the present attempt of a call times out, if it has waited for a place. One that still waits has all its time left.
   * `now` and the result are engine time. undefined: it did not wait, so its time began when it was decided.
   */
  dueAfterWait(request: AttemptRequest, now: number): number | undefined {
    const attempt = this.#open.of(request);
    if (attempt === undefined || attempt.attempt !== request.attempt) return undefined;
    // One that has ended, and is not checked yet, is not late.
    const hasBegun = (attempt.isMade && attempt.turnSince === undefined) || attempt.awaitingLog;
    if (hasBegun) {
      const { deadline } = attempt.context;
      const isLater = attempt.hasWaited || deadline > (request.due ?? deadline);
      return isLater ? Math.ceil(deadline) : undefined;
    }
    const served = this.#served.get(request.callee);
    return served === undefined ? undefined : now + served.worker.spoke.timeoutMs;
  }

  /** What the worker of the present attempt of a call has said last of its progress, if it is not stored. */
  unsavedProgress(request: AttemptRequest): unknown {
    const attempt = this.#open.of(request);
    return attempt === undefined ? undefined : this.#hearts.get(attempt)?.unsaved;
  }

  /**
   * The worker of the present attempt of a call, which is in another process, has said how far it is. The result is to be stored at
   * once: that of an attempt of an earlier owner, which is not made again yet.
   */
  heard(request: AttemptRequest, value: unknown): unknown {
    const kept = tolerated(value);
    const attempt = this.#open.of(request);
    const heart = attempt === undefined ? undefined : this.#hearts.get(attempt);
    if (heart === undefined) return kept;
    heart.progress(kept);
    return undefined;
  }

  /** Whether an attempt waits for a place. */
  waits(request: AttemptRequest): boolean {
    return this.#open.of(request)?.waits !== undefined;
  }

  /** Whether the present attempt of a call has its place, and is not to be made yet. */
  isHeld(request: AttemptRequest): boolean {
    return this.#open.of(request)?.isHeld === true;
  }

  /** Those of a former process's open attempts that may have been under way there: see under-way.ts. */
  underWay<Request extends FormerRequest>(requests: readonly Request[]): Request[] {
    return [...Map.groupBy(requests, ({ callee }) => callee)].flatMap(([callee, ofSpoke]) => {
      const served = this.#served.get(callee);
      return served !== undefined && this.#isDoneHere(served.worker)
        ? underWay(ofSpoke, served.limiter, served.worker.spoke.timeoutMs)
        : [];
    });
  }

  /** Whether the work of a spoke is done in this process, which it may end. */
  #isDoneHere(worker: Worker): boolean {
    return worker.otherProcess !== true && !comesThroughLog(worker, this.#ports.replies);
  }

  /** The open attempt of a spoke that messages call so. */
  expected(spoke: string, correlation: string): Attempt | undefined {
    return this.#expected.get(`${spoke} ${correlation}`);
  }

  /**
   * The calls are closed, or their attempts over: the workers are told to stop. A place is free when the work has ended, and
   * not before: a worker that pays no heed still talks to what its spoke protects. Calls that are closed together are given
   * together: none of them may take the place of another.
   */
  end(requests: Iterable<AttemptRequest>): void {
    const ended: Attempt[] = [];
    for (const request of requests) {
      const attempt = this.#open.of(request);
      if (attempt === undefined) continue;
      this.#forget(attempt);
      attempt.abort();
      ended.push(attempt);
    }
    for (const attempt of ended) if (attempt.place !== undefined) this.#linger(attempt);
  }

  /** Waits for the work of an attempt that is over: it keeps its place. */
  #linger(attempt: Attempt): void {
    const served = this.#served.get(attempt.request.callee);
    if (served?.limiter === undefined) return;
    const { limiter, worker } = served;
    if (!attempt.isMade) return limiter.leave(attempt);
    const { name: spoke, timeoutMs, abandonAfterMs } = worker.spoke;
    this.#lingering.set(attempt, limiter);
    limiter.linger(attempt, () => {
      this.#lingering.delete(attempt);
      this.#check.logger.error(
        { spoke, ...this.#fieldsOf(attempt), timeoutMs, abandonAfterMs },
        "the work of an attempt has not ended long after its timeout: it is abandoned, and goes on beside others",
      );
    });
  }

  /** Ends everything: the engine stops, or has lost its memory. */
  endAll(): void {
    this.#adopted = [];
    this.end(this.#open.requests());
  }

  /**
   * Begins nothing more that waits for a place. Resolves when the attempts that are under way in this process are over: they
   * have ended, or their own time has. One whose outcome comes through a log is not waited for: the next owner of the shard
   * reads it there. `now`: engine time.
   */
  drain(now: number): Promise<void> {
    this.#isDraining = true;
    for (const attempt of this.#open.list()) this.#stopWaiting(attempt);
    const left = new Map<Attempt, () => void>();
    for (const attempt of this.#open.list()) {
      if (!this.#isOurs(attempt)) continue;
      const delayMs = timerMs(attempt.context.deadline - now);
      // The callbacks of the shard do not come any more.
      const timeOut = (): void => {
        if (attempt.turnSince !== undefined) return;
        this.end([attempt.request]);
        this.#report(attempt, { kind: "timeout" });
      };
      left.set(attempt, this.#clock.after(delayMs, timeOut));
    }
    if (left.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#draining = { left, resolve };
    });
  }

  /** Whether an attempt is under way, and its outcome is lost with this process. */
  #isOurs({ isMade, request }: Attempt): boolean {
    const served = this.#served.get(request.callee);
    return isMade && served !== undefined && !comesThroughLog(served.worker, this.#ports.replies);
  }

  /** An outcome that an external worker or a relay gave, held against the contract of its spoke. `attempt`: whose it is, if it is open here. */
  check(spoke: string, given: Outcome, attempt?: Attempt): Outcome {
    const served = this.#served.get(spoke);
    if (served === undefined) return invalid(`this engine has no spoke ${spoke}`);
    return checkedOutcome(served.worker.spoke, asOutcome(spoke, given), this.#check, attempt);
  }

  /** Takes down what messages call the attempt, if its outcome comes by such a message. */
  #expect({ spoke, outcomes }: Worker, attempt: Attempt): void {
    if (!isRouted(outcomes) || !comesThroughLog({ outcomes }, this.#ports.replies)) return;
    if (attempt.name !== "") return;
    attempt.name = `${spoke.name} ${outcomes.correlation(attempt.request.input, attempt.context)}`;
    this.#expected.set(attempt.name, attempt);
  }

  /** It gives up its place in the queue. */
  #stopWaiting(attempt: Attempt): void {
    const { waits } = attempt;
    if (waits !== undefined) this.#served.get(attempt.request.callee)?.limiter?.remove(attempt, waits);
  }

  #forget(attempt: Attempt): void {
    this.#stopWaiting(attempt);
    this.#open.delete(attempt);
    if (this.#hearts.size > 0) {
      this.#hearts.get(attempt)?.stop();
      this.#hearts.delete(attempt);
    }
    if (this.#expected.get(attempt.name) === attempt) this.#expected.delete(attempt.name);
    const draining = this.#draining;
    if (draining === undefined) return;
    draining.left.get(attempt)?.();
    if (draining.left.delete(attempt) && draining.left.size === 0) draining.resolve();
  }

  #make(served: Served, attempt: Attempt): void {
    if (this.#holds?.(attempt.request) === true) return;
    let outcome: PromiseLike<Outcome> | Outcome;
    attempt.isMade = true;
    if (this.#isTimed) attempt.madeAt = this.#clock.monotonicMs();
    if (served.worker.spoke.heartbeatMs !== undefined) this.#listen(attempt, served.worker.spoke);
    try {
      this.#expect(served.worker, attempt);
      outcome = this.#begun(served.worker, attempt);
    } catch (error) {
      outcome = failureOf(error);
    }
    if (isThenable(outcome)) {
      Promise.resolve(outcome).then(
        (settled) => this.#ended(served, attempt, settled),
        (error: unknown) => this.#ended(served, attempt, failureOf(error)),
      );
    } else {
      this.#settle(served, attempt, outcome);
    }
  }

  /** The work of an attempt has ended. Its outcome is checked when there is time for it. */
  #ended(served: Served, attempt: Attempt, outcome: Outcome): void {
    const settle = (): void => {
      const began = this.#userTime.begins();
      attempt.turnSince = undefined;
      this.#settle(served, attempt, outcome);
      this.#userTime.used(began);
    };
    if (this.#userTime.isFree) return settle();
    attempt.turnSince = this.#clock.monotonicMs();
    this.#userTime.wait(settle);
  }

  #begun(worker: Worker, { request, context }: Attempt): PromiseLike<Outcome> | Outcome {
    const trace = this.#tracing === undefined ? undefined : context.trace;
    const input = beforeStored(worker.spoke.input, request.input);
    if (this.#tracing === undefined || trace === undefined)
      return worker.attempt(input, context, this.#ports);
    return this.#tracing.within(trace, () => worker.attempt(input, context, this.#ports));
  }

  /** Fails an attempt early if its worker falls silent. */
  #listen(attempt: Attempt, { name, heartbeatMs = 0 }: Spoke): void {
    const heart = new Heart(heartbeatMs, this.#clock, {
      save: (value) => this.#progress(attempt, value),
      beat: () => this.#progress(attempt, undefined),
      silent: () => {
        heart.save();
        this.#forget(attempt);
        attempt.abort();
        const message = `the worker of ${name} has said nothing for ${heartbeatMs} ms`;
        this.#report(attempt, { kind: "error", code: "WW_NO_HEARTBEAT", message });
        if (attempt.place !== undefined) this.#linger(attempt);
      },
    });
    this.#hearts.set(attempt, heart);
    attempt.listen(heart);
  }

  #settle({ worker, limiter }: Served, attempt: Attempt, given: Outcome): void {
    const { spoke } = worker;
    const outcome = asOutcome(spoke.name, given);
    const open = this.#open.has(attempt);
    // How a worker fails because it was told to stop says nothing; a success still counts if it is not late (I4).
    if (open || outcome.kind === "ok") {
      const checked = checkedOutcome(spoke, outcome, this.#check, attempt);
      if (open && checked.kind !== "ok") this.#hearts.get(attempt)?.save();
      if (open) this.#forget(attempt);
      this.#report(attempt, this.#warned(attempt, checked));
    }
    if (limiter === undefined) return;
    this.#lingering.delete(attempt);
    limiter.leave(attempt);
  }

  /** Logs an exception that the worker should not have thrown. */
  #warned(attempt: Attempt, outcome: Outcome): Outcome {
    if (outcome.kind !== "error" || outcome.code !== "WW_WORKER_FAILED") return outcome;
    const { message, stack } = outcome;
    const shown = this.#secrets?.(attempt.request)?.hide({ error: message, stack }) ?? {
      error: message,
      stack,
    };
    const fields = { spoke: attempt.request.callee, ...this.#fieldsOf(attempt), ...shown };
    this.#check.logger.warn(fields, "a worker has thrown an exception");
    return outcome;
  }

  /** What a log line says of an attempt. */
  #fieldsOf({ request, attempt }: Attempt): object {
    return { ...runFields(request.run, this.#tracing !== undefined), call: request.number, attempt };
  }
}

const nameOf = (
  { requestId, call, attempt }: Pick<Attempt, "requestId" | "call" | "attempt">,
  epoch: number,
): string => `${requestId} ${call} ${attempt} ${epoch}`;
