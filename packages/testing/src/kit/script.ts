import type { Outcome, Spoke, StoredData, WorkerTypes } from "@wheelwork/core";
import type { AttemptContext, Clock, Worker } from "@wheelwork/engine";

/**
 * What a scripted spoke does with an attempt. `afterMs`: after so many milliseconds of simulated time. Default: at
 * once. Until then the attempt says that it goes on, if the spoke wants heartbeats.
 */
export type ScriptedAnswer<O = unknown, E extends string = string> =
  | { readonly ok: O; readonly afterMs?: number }
  | { readonly fail: E; readonly message?: string; readonly details?: unknown; readonly afterMs?: number }
  /** No outcome and no heartbeat: the attempt times out, unless the test settles it. */
  | "hang";

/** The attempt that a script gets. */
export interface ScriptedAttempt {
  /** The id of the request whose hub made the call. */
  readonly request: string;
  /** Number of the call in its run. */
  readonly call: number;
  /** From 1. Each retry adds 1. */
  readonly attempt: number;
  /** What an earlier attempt has said of its progress. */
  readonly lastProgress: unknown;
  /** As `ctx.fence` of a worker. */
  readonly fence: number | undefined;
}

/**
 * What a scripted spoke does, in one of three forms:
 * - one answer for all attempts;
 * - a list, with one answer for each attempt in order. The last one is also for all later attempts;
 * - a function that chooses.
 */
export type Script<I = unknown, O = unknown, E extends string = string> =
  | ScriptedAnswer<O, E>
  | readonly [ScriptedAnswer<O, E>, ...ScriptedAnswer<O, E>[]]
  | ((input: I, attempt: ScriptedAttempt) => ScriptedAnswer<O, E>);

/** A spoke with its types as a worker sees them: the input after its validation, the output before it. */
export type TypedSpoke<I, O, E extends string> = Spoke<never, unknown, E> & WorkerTypes<I, O>;

/** An attempt of a call, as a test sees it. */
export interface TestCall<I = unknown, O = unknown, E extends string = string> extends ScriptedAttempt {
  readonly spoke: string;
  readonly input: I;
  readonly idempotencyKey: string;
  /** The worker says that it goes on, and how far it is. Waits for all that follows. */
  progress<T>(value?: T & StoredData<T>): Promise<void>;
  /** The attempt succeeds. Waits for all that follows. Changes nothing if the attempt is over. */
  ok(output: O): Promise<void>;
  /** The attempt fails with a code that the spoke declares. Waits for all that follows. */
  fail(code: E, message?: string, details?: unknown): Promise<void>;
}

/** The workers of all spokes that have no other: they follow scripts, or leave their attempts to the test. */
export class ScriptedWorkers {
  /** Every attempt, in order. */
  readonly attempts: TestCall[] = [];
  readonly #open = new Set<TestCall>();
  readonly #scripts = new Map<string, (input: unknown, attempt: ScriptedAttempt) => ScriptedAnswer>();
  readonly #settled: () => Promise<void>;

  /** @param settled Waits for all that follows after the test has settled an attempt. */
  constructor(settled: () => Promise<void>) {
    this.#settled = settled;
  }

  /** The attempts that wait for the test. */
  get open(): readonly TestCall[] {
    return [...this.#open];
  }

  script(spoke: string, script: Script<never>): void {
    this.#scripts.set(spoke, answering(script as Script));
  }

  /** The process has died, and its attempts with it. */
  forget(): void {
    this.#open.clear();
  }

  worker(spoke: Spoke, clock: Clock): Worker {
    return {
      spoke,
      attempt: (input, context) =>
        new Promise((resolve) => this.#attempt(spoke, input, context, clock, resolve)),
    };
  }

  #attempt(
    spoke: Spoke,
    input: unknown,
    context: AttemptContext,
    clock: Clock,
    resolve: (outcome: Outcome) => void,
  ): void {
    const { requestId: request, call, attempt, idempotencyKey, lastProgress, fence } = context;
    const settle = (outcome: Outcome): Promise<void> => {
      this.#open.delete(made);
      resolve(outcome);
      return this.#settled();
    };
    const made: TestCall = {
      request,
      spoke: spoke.name,
      call,
      attempt,
      idempotencyKey,
      lastProgress,
      fence,
      input,
      progress: (value) => {
        context.progress(value as never);
        return this.#settled();
      },
      ok: (output) => settle({ kind: "ok", output }),
      fail: (code, message, details) => settle(outcomeOf({ fail: code, ...given({ message, details }) })),
    };
    this.attempts.push(made);
    const answer = this.#scripts.get(spoke.name)?.(input, made) ?? "hang";
    if (answer === "hang") {
      this.#open.add(made);
      context.onAbort(() => this.#open.delete(made));
    } else if (answer.afterMs === undefined) {
      resolve(outcomeOf(answer));
    } else {
      goOn(answer.afterMs, spoke.heartbeatMs, context, clock, () => resolve(outcomeOf(answer)));
    }
  }
}

/** Lets time pass, in which an attempt says that it goes on. */
function goOn(
  forMs: number,
  heartbeatMs: number | undefined,
  context: AttemptContext,
  clock: Clock,
  then: () => void,
): void {
  const stepMs = Math.min(forMs, heartbeatMs === undefined ? forMs : heartbeatMs / 2);
  clock.after(stepMs, () => {
    if (stepMs === forMs) return then();
    context.progress();
    goOn(forMs - stepMs, heartbeatMs, context, clock, then);
  });
}

function answering(script: Script): (input: unknown, attempt: ScriptedAttempt) => ScriptedAnswer {
  if (typeof script === "function") return script;
  const answers = (Array.isArray(script) ? script : [script]) as readonly ScriptedAnswer[];
  let next = 0;
  return () => answers[Math.min(next++, answers.length - 1)] ?? "hang";
}

function outcomeOf(answer: Exclude<ScriptedAnswer, "hang">): Outcome {
  if ("ok" in answer) return { kind: "ok", output: answer.ok };
  const { fail, message = "as the test says", details } = answer;
  // The engine checks that the spoke declares the code.
  const failed = { kind: "error" as const, code: fail as "WW_WORKER_FAILED", message };
  return details === undefined ? failed : { ...failed, details };
}

/** Options without those that are undefined. */
function given<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never;
}
