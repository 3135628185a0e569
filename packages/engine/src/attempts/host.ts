import { WheelworkError, type Failed, type Outcome } from "@wheelwork/core";
import { check, idempotencyKey } from "@wheelwork/core/kernel";
import type { Bus, Logger } from "../ports/ports.ts";
import { failureOf, WorkerFailure, type AttemptContext, type Worker } from "./worker.ts";

/** What an attempt is made for: a call of a run, or what another process tells of one. */
export interface AttemptRequest {
  readonly run: { readonly key: string; readonly epoch: number };
  readonly number: number;
  readonly callee: string;
  readonly attempt: number;
  readonly input: unknown;
  /** The author's own idempotency key. */
  readonly key: string | undefined;
  readonly due: number | undefined;
  /** The attempt that is under way for it. */
  work: unknown;
}

/** Takes the outcome of an attempt. */
export type Report = (attempt: Attempt, outcome: Outcome) => void;

interface Lane {
  readonly worker: Worker;
  running: number;
  readonly queue: Attempt[];
  /** Places of `queue` before this one have been served. */
  served: number;
  /** The queue is being served. */
  leaving: boolean;
}

/** The seed's WorkerBolt: makes attempts, and reports their outcomes. It holds nothing that matters (I10). */
export class WorkerHost {
  readonly #lanes = new Map<string, Lane>();
  readonly #open: Attempt[] = [];
  /** Attempts whose outcomes come through a topic, by spoke and correlation. */
  readonly #expected = new Map<string, Attempt>();
  /** Attempts that an earlier owner may have made. */
  #adopted: Attempt[] = [];
  readonly #bus: Bus;
  readonly #report: Report;
  readonly #logger: Logger;
  readonly #detach: (() => void)[] = [];

  constructor(workers: readonly Worker[], bus: Bus, report: Report, logger: Logger) {
    this.#bus = bus;
    this.#report = report;
    this.#logger = logger;
    for (const worker of workers) {
      if (this.#lanes.has(worker.spoke.name)) {
        throw new WheelworkError("WW_CONFIG", `two workers serve the spoke ${worker.spoke.name}`, {
          next: "Give the engine one worker for each spoke.",
        });
      }
      this.#lanes.set(worker.spoke.name, { worker, running: 0, queue: [], served: 0, leaving: false });
    }
  }

  /** What workers give must be JSON: looked at once a commit has failed for what it was to write. */
  verifyJson = false;

  /** Attempts that are under way or queued. */
  get size(): number {
    return this.#open.length;
  }

  serves(spoke: string): boolean {
    return this.#lanes.has(spoke);
  }

  attach(): void {
    for (const { worker } of this.#lanes.values()) {
      const detach = worker.attach?.(this.#bus);
      if (detach !== undefined) this.#detach.push(detach);
    }
  }

  detach(): void {
    for (const detach of this.#detach.splice(0)) detach();
  }

  /** Makes an attempt, or queues it behind the limit of its spoke. */
  begin(attempt: Attempt): void {
    const lane = this.#lanes.get(attempt.request.callee);
    if (lane === undefined) return;
    const open = attempt.request.work as Attempt | undefined;
    if (open?.attempt === attempt.attempt) {
      // It is under way already: a retry of a parked run asks for all that is open.
      if (!open.awaitingLog) return;
      open.awaitingLog = false;
      return this.#enter(lane, open);
    }
    if (open !== undefined) this.end([attempt.request]);
    this.#register(attempt);
    this.#enter(lane, attempt);
  }

  /**
   * Only takes what came of an attempt that an earlier owner may have made, until it is begun; false: what came of it would
   * be lost, so that it is made again at once.
   */
  adopt(attempt: Attempt): boolean {
    const lane = this.#lanes.get(attempt.request.callee);
    if (lane === undefined || !comesThroughLog(lane.worker, this.#bus)) return false;
    attempt.awaitingLog = true;
    this.#register(attempt);
    this.#adopted.push(attempt);
    try {
      this.#expect(lane.worker, attempt);
    } catch {
      // It fails with it when it is made.
    }
    return true;
  }

  /** Whether attempts are held that `release` has not given. */
  get hasAdopted(): boolean {
    return this.#adopted.length > 0;
  }

  /** Gives the attempts that are held, to be begun if they are not overdue. */
  readopt(): Attempt[] {
    const held = this.#adopted;
    this.#adopted = [];
    return held.filter((attempt) => attempt.request.work === attempt);
  }

  /** The open attempt of a spoke that messages call so. */
  expected(spoke: string, correlation: string): Attempt | undefined {
    return this.#expected.get(`${spoke} ${correlation}`);
  }

  #register(attempt: Attempt): void {
    attempt.request.work = attempt;
    attempt.place = this.#open.push(attempt) - 1;
  }

  #expect({ spoke, outcomes }: Worker, attempt: Attempt): void {
    if (typeof outcomes !== "object" || this.#bus.partitionedReplies !== true || attempt.name !== "") return;
    attempt.name = `${spoke.name} ${outcomes.correlation(attempt.request.input, attempt)}`;
    this.#expected.set(attempt.name, attempt);
  }

  #enter(lane: Lane, attempt: Attempt): void {
    if (lane.running < lane.worker.spoke.concurrency) this.#make(lane, attempt);
    else lane.queue.push(attempt);
  }

  /**
   * The calls are closed, or their attempts over: the workers are told to stop, and their places are free. Calls that
   * are closed together are given together: none of them may take the place of another.
   */
  end(calls: Iterable<AttemptRequest>): void {
    const ended: Attempt[] = [];
    for (const call of calls) {
      const attempt = call.work as Attempt | undefined;
      if (attempt === undefined) continue;
      this.#forget(attempt);
      attempt.abort();
      ended.push(attempt);
    }
    // A worker that never settles must not block its spoke for ever.
    for (const attempt of ended) this.#leave(attempt);
  }

  /** Ends everything: the engine stops, or has lost its memory. */
  endAll(): void {
    for (const lane of this.#lanes.values()) {
      lane.queue.length = 0;
      lane.served = 0;
    }
    this.#adopted = [];
    this.end(this.#open.map(({ request: made }) => made));
  }

  #forget(attempt: Attempt): void {
    const last = this.#open.pop();
    if (last !== undefined && last !== attempt) {
      this.#open[attempt.place] = last;
      last.place = attempt.place;
    }
    attempt.request.work = undefined;
    if (this.#expected.get(attempt.name) === attempt) this.#expected.delete(attempt.name);
  }

  #make(lane: Lane, attempt: Attempt): void {
    lane.running++;
    attempt.lane = lane;
    let outcome: Promise<Outcome> | Outcome;
    try {
      this.#expect(lane.worker, attempt);
      outcome = lane.worker.attempt(attempt.request.input, attempt, this.#bus);
    } catch (error) {
      outcome = failureOf(error);
    }
    if (outcome instanceof Promise) {
      outcome.then(
        (settled) => this.#settle(lane, attempt, settled),
        (error: unknown) => this.#settle(lane, attempt, failureOf(error)),
      );
    } else {
      this.#settle(lane, attempt, outcome);
    }
  }

  #settle(lane: Lane, attempt: Attempt, given: Outcome): void {
    // Relays and workers of others' making may hand on anything.
    const outcome = isOutcome(given)
      ? given
      : invalid(`the worker of ${lane.worker.spoke.name} gave no outcome`);
    const open = attempt.request.work === attempt;
    if (open) this.#forget(attempt);
    // How a worker fails because it was told to stop says nothing; a success still counts if it is not late (I4).
    if (open || outcome.kind === "ok") this.#report(attempt, this.#checked(lane, outcome));
    this.#leave(attempt);
  }

  /** Gives the attempt's place in its lane to the next in the queue. */
  #leave(attempt: Attempt): void {
    const { lane } = attempt;
    if (lane === undefined) return;
    attempt.lane = undefined;
    lane.running--;
    // Workers that answer at once come back here from within the loop.
    if (lane.leaving) return;
    lane.leaving = true;
    while (lane.running < lane.worker.spoke.concurrency && lane.served < lane.queue.length) {
      const next = lane.queue[lane.served++] as Attempt;
      if (lane.served > 1024 && lane.served * 2 > lane.queue.length) {
        lane.queue.splice(0, lane.served);
        lane.served = 0;
      }
      // One that was closed while it waited is passed over.
      if (next.request.work === next) this.#make(lane, next);
    }
    lane.leaving = false;
  }

  /** What a worker elsewhere gave, held against the contract of its spoke. */
  check(spoke: string, given: Outcome): Outcome {
    const lane = this.#lanes.get(spoke);
    if (lane === undefined) return invalid(`this engine has no spoke ${spoke}`);
    return isOutcome(given) ? this.#checked(lane, given) : invalid(`the worker of ${spoke} gave no outcome`);
  }

  /** What the worker gave, held against the contract of its spoke. */
  #checked(lane: Lane, outcome: Outcome): Outcome {
    // Details pass no schema. Outputs do, and are looked at only when something could not be written.
    if ((this.verifyJson || outcome.kind === "error") && !isJson(outcome))
      return invalid(`the worker of ${lane.worker.spoke.name} gave what is not JSON`);
    const { spoke } = lane.worker;
    if (outcome.kind === "timeout") return outcome;
    if (outcome.kind === "error") {
      if (spoke.errors.includes(outcome.code) || outcome.code.startsWith("WW_")) return outcome;
      return invalid(
        `the worker of ${spoke.name} failed with ${outcome.code}, which the spoke does not declare`,
      );
    }
    let checked;
    try {
      checked = check(spoke.output, outcome.output);
    } catch (error) {
      return failureOf(error);
    }
    if (checked.problems === undefined) return { kind: "ok", output: checked.value };
    const list = checked.problems
      .map(({ path, message }) => (path === "" ? message : `${path}: ${message}`))
      .join("; ");
    this.#logger.error({ spoke: spoke.name, problems: checked.problems }, "a worker's output is not valid");
    return invalid(`the output of the worker of ${spoke.name} is not valid: ${list}`);
  }
}

/** Whether what comes of attempts comes through a log, where it waits for whoever owns the shard. */
const comesThroughLog = ({ outcomes }: Worker, { replyTo, partitionedReplies: sharesOut }: Bus): boolean =>
  outcomes === "inbox" ? replyTo !== undefined : outcomes !== undefined && sharesOut === true;

/** Whether a value can be written as JSON at all. */
export function isJson(value: unknown): boolean {
  try {
    JSON.stringify(value);
    return true;
  } catch {
    return false;
  }
}

function isOutcome(value: unknown): value is Outcome {
  if (typeof value !== "object" || value === null) return false;
  const { kind, code, message } = value as { kind?: unknown; code?: unknown; message?: unknown };
  if (kind === "error") return typeof code === "string" && typeof message === "string";
  return kind === "ok" || kind === "timeout";
}

/** The outcome of an attempt whose outcome is not one. */
export function invalid(message: string): Failed {
  return { kind: "error", code: "WW_INVALID_OUTPUT", message };
}

/** One attempt of a call; it is also what the worker gets as its context. */
export class Attempt implements AttemptContext {
  readonly request: AttemptRequest;
  readonly epoch: number;
  readonly attempt: number;
  readonly deadline: number;
  /** Its place among the attempts that are under way or queued. */
  place = -1;
  /** Where it has a place; undefined while it is queued, and when it is over. */
  lane: Lane | undefined = undefined;
  /** An earlier owner may have made it, and it is not made again yet. */
  awaitingLog = false;
  /** Its spoke and its correlation, where its outcome comes through a topic. */
  name = "";
  #controller: AbortController | undefined = undefined;
  #onAbort: (() => void) | undefined = undefined;
  #aborted = false;

  constructor(made: AttemptRequest) {
    this.request = made;
    this.epoch = made.run.epoch;
    this.attempt = made.attempt;
    this.deadline = made.due ?? 0;
  }

  get requestId(): string {
    return this.request.run.key;
  }

  get call(): number {
    return this.request.number;
  }

  get idempotencyKey(): string {
    return idempotencyKey(this.request.run, this.request);
  }

  /** Made only if the worker asks for it: most do not, and an AbortController is dear. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted) this.#controller.abort();
    }
    return this.#controller.signal;
  }

  onAbort(callback: () => void): void {
    if (this.#aborted) callback();
    else this.#onAbort = callback;
  }

  abort(): void {
    this.#aborted = true;
    this.#onAbort?.();
    this.#controller?.abort();
  }

  fail(code: string, message: string, details?: unknown): never {
    const failed = { kind: "error" as const, code: code as Failed["code"], message };
    throw new WorkerFailure(details === undefined ? failed : { ...failed, details });
  }
}
