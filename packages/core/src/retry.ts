import { maxMs } from "./duration.ts";
import { demandsOf, type ErrorCode, type Problem } from "./errors.ts";
import type { Failure, Outcome } from "./spoke.ts";

/*
 * How failed attempts are retried. An author writes a policy, with rules for single codes (`RetryPolicy`). The spoke holds
 * one whole rule for each code that differs, and one for all others (`Retries`). So the kernel looks up one rule for each
 * failure, and copies nothing.
 */

/** How often, and when, an attempt is retried that has failed in some way. */
export interface RetryRule {
  /**
   * Number of attempts, the first one included. Default: 1, so no retry. `"unlimited"`: until the state that calls gives up,
   * or the request. Such a rule needs a backoff.
   */
  readonly attempts?: number | "unlimited";
  /** Backoff before the second attempt, in milliseconds. Default: 0. */
  readonly backoffMs?: number;
  /** The backoff grows by this factor from attempt to attempt. Default: 2. */
  readonly factor?: number;
  /** Longest backoff, in milliseconds. Default: 60,000. */
  readonly maxBackoffMs?: number;
  /** Largest share of the backoff that is left out at random, 0 to 1. It spreads retries over time. Default: 0.2. */
  readonly jitter?: number;
}

/** How often, and when, a failed attempt of a call is retried. */
export interface RetryPolicy<E extends string = string> extends RetryRule {
  /** Failures after which there is no retry. Default: none. `WW_TIMEOUT` names the timeout of an attempt. */
  readonly giveUpOn?: readonly FailureCode<E>[];
  /**
   * Other rules for some failures. What a rule leaves out is as the policy says. `attempts` of a rule counts all attempts of the
   * call: a failure is not retried if it is of that attempt or a later one.
   */
  readonly on?: { readonly [Code in FailureCode<E>]?: RetryRule };
}

/**
 * Errors that a call may come to besides those that its spoke or hub declares: the worker threw, its output does not
 * match the schema, or it was silent for `heartbeatMs`; the child run was cancelled, or was resolved as an incident;
 * another run was in its way (`exclusive`); the hubs call one another too deep.
 */
export type EngineFailure = Extract<
  ErrorCode,
  | "WW_WORKER_FAILED"
  | "WW_INVALID_OUTPUT"
  | "WW_NO_HEARTBEAT"
  | "WW_BUSY"
  | "WW_REPLACED"
  | "WW_CANCELLED"
  | "WW_INCIDENT"
  | "WW_DEFECT"
>;

/** How an attempt may fail, for its retry policy: by an error, or by its timeout (`WW_TIMEOUT`). */
export type FailureCode<E extends string = string> = E | EngineFailure | "WW_TIMEOUT";

/** A rule with everything that it leaves out. Unlimited attempts are `Infinity`. */
export type WholeRule = { readonly [Field in keyof RetryRule]-?: number };

/** The policy of a spoke as the kernel reads it: the rule for all failures but those of `on`. */
export interface Retries extends WholeRule {
  /** By the code of the failure. Those that are given up on are here, too. */
  readonly on: ReadonlyMap<string, WholeRule>;
}

/** The retries that a policy stands for. */
export function retriesOf({ giveUpOn = [], on = {}, ...policy }: RetryPolicy): Retries {
  const whole = wholeRule(policy, {
    attempts: 1,
    backoffMs: 0,
    factor: 2,
    maxBackoffMs: 60_000,
    jitter: 0.2,
  });
  const rules = new Map<string, WholeRule>();
  for (const [code, rule] of Object.entries(on))
    if (rule !== undefined) rules.set(code, wholeRule(rule, whole));
  for (const code of giveUpOn) rules.set(code, { ...whole, attempts: 1 });
  return { ...whole, on: rules };
}

function wholeRule(
  { attempts, backoffMs, factor, maxBackoffMs, jitter }: RetryRule,
  otherwise: WholeRule,
): WholeRule {
  return {
    attempts: attempts === "unlimited" ? Number.POSITIVE_INFINITY : (attempts ?? otherwise.attempts),
    backoffMs: backoffMs ?? otherwise.backoffMs,
    factor: factor ?? otherwise.factor,
    maxBackoffMs: maxBackoffMs ?? otherwise.maxBackoffMs,
    jitter: jitter ?? otherwise.jitter,
  };
}

/** The rule for a failure of an attempt. */
export function ruleFor(retries: Retries, failure: Failure): WholeRule {
  if (retries.on.size === 0) return retries;
  return retries.on.get(failure.kind === "timeout" ? "WW_TIMEOUT" : failure.code) ?? retries;
}

/** Whether a failure is retried until the state that calls gives up: a call never comes to it. */
export const isRetriedForever = (retries: Retries, outcome: Outcome): boolean =>
  outcome.kind !== "ok" && ruleFor(retries, outcome).attempts === Number.POSITIVE_INFINITY;

/** The backoff after attempt number `attempt`, in milliseconds. `random`, in [0, 1), draws the jitter. */
export function backoffOf(rule: WholeRule, attempt: number, random: number): number {
  if (rule.backoffMs === 0) return 0;
  const full = Math.min(rule.maxBackoffMs, rule.backoffMs * rule.factor ** (attempt - 1));
  const backoff = Math.round(full * (1 - rule.jitter * random));
  // Attempts without end must not follow one another in no time.
  return rule.attempts === Number.POSITIVE_INFINITY ? Math.max(1, backoff) : backoff;
}

/**
 * A time within which a call ends over all its attempts, in milliseconds (I17: it is finite, unless its attempts are unlimited;
 * then it is some hundred years). There may be any number of attempts, so nothing counts them one by one.
 */
export function maxCallMs({
  timeoutMs,
  retry,
}: {
  readonly timeoutMs: number;
  readonly retry: Retries;
}): number {
  const rules = [retry, ...retry.on.values()];
  const attempts = maxAttempts(retry);
  if (attempts === Number.POSITIVE_INFINITY) return maxMs / 2;
  // Each of the failures may be of any code, so the backoffs of all rules together are a bound.
  const kinds = new Map(
    rules.map((rule) => [JSON.stringify({ ...rule, on: 0, attempts: 0, jitter: 0 }), rule]),
  );
  let sum = timeoutMs * attempts;
  for (const rule of kinds.values()) sum += maxBackoffsMs({ ...rule, attempts });
  return Math.min(maxMs / 2, sum);
}

const maxAttempts = (retry: Retries): number =>
  Math.max(retry.attempts, ...Array.from(retry.on.values(), ({ attempts }) => attempts));

/** Whether only the state that calls ends the attempts of a call. */
export const hasNoEnd = ({ retry }: { readonly retry: Retries }): boolean =>
  maxAttempts(retry) === Number.POSITIVE_INFINITY;

/** A bound of the sum of all backoffs: a geometric series up to `maxBackoffMs`, and that for each one after it. */
function maxBackoffsMs({ attempts, backoffMs, factor, maxBackoffMs }: WholeRule): number {
  const count = attempts - 1;
  if (backoffMs === 0) return 0;
  if (factor === 1 || backoffMs >= maxBackoffMs) return count * Math.min(backoffMs, maxBackoffMs);
  const growth = Math.log(factor);
  const growing = Math.min(count, Math.ceil(Math.log(maxBackoffMs / backoffMs) / growth));
  const series = (backoffMs * Math.expm1(growing * growth)) / (factor - 1);
  // Each backoff is rounded to a whole millisecond.
  return Math.ceil(series + growing / 2 + (count - growing) * maxBackoffMs);
}

/** What the rules of a spoke must be besides what each option of them may be. `errors`: the codes that it declares. */
export function problemsOfRetries({ on, ...rule }: Retries, errors: readonly string[]): Problem[] {
  const problems: Problem[] = [];
  const known = new Set<string>([...errors, ...engineFailures]);
  demandPause(rule, "retry", problems);
  const isToldOnce = problems.length > 0;
  for (const [code, one] of on) {
    const path = `retry.on[${JSON.stringify(code)}]`;
    demandsOf(problems)(known.has(code), path, "is no code that an attempt of this spoke may fail with");
    // What it has of the policy is reported once.
    if (!isToldOnce) demandPause(one, path, problems);
  }
  return problems;
}

const engineFailures: readonly FailureCode<never>[] = [
  "WW_WORKER_FAILED",
  "WW_INVALID_OUTPUT",
  "WW_NO_HEARTBEAT",
  "WW_CANCELLED",
  "WW_INCIDENT",
  "WW_DEFECT",
  "WW_TIMEOUT",
];

/** Attempts without end must not follow one another in no time. */
function demandPause({ attempts, backoffMs }: WholeRule, path: string, problems: Problem[]): void {
  demandsOf(problems, `${path}.`)(
    attempts !== Number.POSITIVE_INFINITY || backoffMs > 0,
    "backoffMs",
    "must be above 0 where attempts are unlimited",
  );
}
