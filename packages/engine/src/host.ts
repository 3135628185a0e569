import { WheelworkError, type Failed, type Outcome } from "@wheelwork/core";
import { check, type Call } from "@wheelwork/core/kernel";
import type { Bus, Logger } from "./ports.ts";
import { failureOf, WorkerFailure, type Worker, type WorkerContext } from "./worker.ts";

/** One attempt that is to be made. */
export interface Attempt {
  readonly requestId: string;
  readonly epoch: number;
  readonly call: Call;
  readonly attempt: number;
  readonly due: number;
  readonly idempotencyKey: string;
}

/** Takes the outcome of an attempt. */
export type Report = (attempt: Attempt, outcome: Outcome) => void;

interface Lane {
  readonly worker: Worker;
  running: number;
  readonly queue: Attempt[];
  /** Places of `queue` before this one have been served. */
  served: number;
}

/** The seed's WorkerBolt: makes attempts, and reports their outcomes. It holds nothing that matters (I10). */
export class WorkerHost {
  readonly #lanes = new Map<string, Lane>();
  readonly #open = new Map<Call, Running>();
  readonly #bus: Bus;
  readonly #report: Report;
  readonly #log: Logger;
  readonly #detach: (() => void)[] = [];

  constructor(workers: readonly Worker[], bus: Bus, report: Report, log: Logger) {
    this.#bus = bus;
    this.#report = report;
    this.#log = log;
    for (const worker of workers) {
      if (this.#lanes.has(worker.spoke.name)) {
        throw new WheelworkError("WW_CONFIG", `two workers serve the spoke ${worker.spoke.name}`, {
          next: "Give the engine one worker for each spoke.",
        });
      }
      this.#lanes.set(worker.spoke.name, { worker, running: 0, queue: [], served: 0 });
    }
  }

  /** Attempts that are under way or queued. */
  get size(): number {
    return this.#open.size;
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
    const lane = this.#lanes.get(attempt.call.callee);
    if (lane === undefined) return;
    this.end(attempt.call);
    this.#open.set(attempt.call, new Running(attempt));
    if (lane.running < lane.worker.spoke.concurrency) this.#make(lane, attempt);
    else lane.queue.push(attempt);
  }

  /** The call is closed, or its attempt over: the worker is told to stop, and what it reports is dropped. */
  end(call: Call): void {
    const running = this.#open.get(call);
    if (running === undefined) return;
    this.#open.delete(call);
    running.abort();
  }

  /** Ends everything: the engine stops, or has lost its memory. */
  endAll(): void {
    for (const call of this.#open.keys()) this.end(call);
    for (const lane of this.#lanes.values()) {
      lane.queue.length = 0;
      lane.served = 0;
    }
  }

  #make(lane: Lane, attempt: Attempt): void {
    const running = this.#open.get(attempt.call);
    if (running?.made !== attempt) return;
    lane.running++;
    let outcome: Promise<Outcome> | Outcome;
    try {
      outcome = lane.worker.attempt(attempt.call.input, running, this.#bus);
    } catch (error) {
      outcome = failureOf(error);
    }
    if (outcome instanceof Promise) {
      outcome.then(
        (settled) => this.#settle(lane, running, settled),
        (error: unknown) => this.#settle(lane, running, failureOf(error)),
      );
    } else {
      this.#settle(lane, running, outcome);
    }
  }

  #settle(lane: Lane, running: Running, outcome: Outcome): void {
    lane.running--;
    const { made: attempt } = running;
    // Reported even if the call has been closed meanwhile: the kernel drops it, and counts it as late (I4).
    if (this.#open.get(attempt.call) === running) this.#open.delete(attempt.call);
    this.#report(attempt, this.#checked(lane, outcome));
    while (lane.running < lane.worker.spoke.concurrency && lane.served < lane.queue.length) {
      const next = lane.queue[lane.served++] as Attempt;
      if (lane.served > 1024 && lane.served * 2 > lane.queue.length) {
        lane.queue.splice(0, lane.served);
        lane.served = 0;
      }
      this.#make(lane, next);
    }
  }

  /** What the worker gave, held against the contract of its spoke. */
  #checked(lane: Lane, outcome: Outcome): Outcome {
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
    this.#log.error({ spoke: spoke.name, problems: checked.problems }, "a worker's output is not valid");
    return invalid(`the output of the worker of ${spoke.name} is not valid: ${list}`);
  }
}

function invalid(message: string): Failed {
  return { kind: "error", code: "WW_INVALID_OUTPUT", message };
}

/** An attempt under way; it is also what the worker gets as its context. */
class Running implements WorkerContext {
  readonly made: Attempt;
  readonly attempt: number;
  readonly requestId: string;
  readonly call: number;
  readonly idempotencyKey: string;
  readonly deadline: number;
  #controller: AbortController | undefined = undefined;
  #aborted = false;

  constructor(attempt: Attempt) {
    this.made = attempt;
    this.attempt = attempt.attempt;
    this.requestId = attempt.requestId;
    this.call = attempt.call.number;
    this.idempotencyKey = attempt.idempotencyKey;
    this.deadline = attempt.due;
  }

  /** Made only if the worker asks for it: most do not, and an AbortController is dear. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted) this.#controller.abort();
    }
    return this.#controller.signal;
  }

  abort(): void {
    this.#aborted = true;
    this.#controller?.abort();
  }

  fail(code: string, message: string, details?: unknown): never {
    const failed = { kind: "error" as const, code: code as Failed["code"], message };
    throw new WorkerFailure(details === undefined ? failed : { ...failed, details });
  }
}
