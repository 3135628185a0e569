import type { Outcome } from "@wheelwork/core";
import type { AttemptContext, RelayedOutcomes, Worker, WorkerPorts } from "@wheelwork/engine";
import type { SimulatedProcess } from "../clock.ts";
import { watchLimits } from "./limits.ts";
import { drawFor, type PlannedTrouble } from "./plans.ts";
import type { Seen } from "./trace.ts";

/** Where attempts are made, and what the plan has for them. */
export interface AttemptsIn {
  readonly plan: PlannedTrouble;
  /** Errors that spokes declare come from their workers only. */
  readonly honest: boolean;
  readonly process: SimulatedProcess;
  /** Whether the process lives to do something that the outside notices. */
  acts(): boolean;
  /** The number of the process, where the request belongs. */
  numberFor(request: string): number;
  see(seen: Seen & { readonly request: string }): void;
  /** Ends the process if the work of this key does that. */
  endedBy?(idempotencyKey: string): boolean;
}

/** A dead process waits for this promise, which is made anew for each wait. A shared one would keep all its waiters for ever. */
const never = (): Promise<never> => new Promise(() => {});

/** A relay whose messages back name their requests: a cluster routes them. */
export interface RoutedWorker extends Worker {
  readonly outcomes: RelayedOutcomes & Required<Pick<RelayedOutcomes, "read">>;
}

export const isRouted = (worker: Worker): worker is RoutedWorker =>
  typeof worker.outcomes === "object" && worker.outcomes.read !== undefined;

/** A worker that is seen, and that suffers what the plan has for it. */
export function observed<W extends Worker>(worker: W, where: AttemptsIn): W {
  watchLimits(where.process);
  return {
    ...worker,
    attempt: (input, context, ports) =>
      where.acts() ? attemptOf(worker, where, input, context, ports) : never(),
  };
}

/** Shows an attempt to the trace. */
export function seeAttempt({ spoke }: Worker, where: AttemptsIn, context: AttemptContext): void {
  const { runKey: request, call, attempt, idempotencyKey } = context;
  const node = where.numberFor(request);
  const seen = { type: "attempt", node, spoke: spoke.name, request, call, attempt, idempotencyKey } as const;
  where.see(spoke.heartbeatMs === undefined ? seen : { ...seen, lastProgress: context.lastProgress });
}

function attemptOf(
  worker: Worker,
  where: AttemptsIn,
  input: unknown,
  context: AttemptContext,
  ports: WorkerPorts,
): Promise<Outcome> | Outcome {
  const { plan, process } = where;
  const { spoke } = worker;
  const { runKey: request, call, attempt, idempotencyKey } = context;
  const node = where.numberFor(request);
  seeAttempt(worker, where, context);
  const { problem, end } = watchLimits(where.process).begin(spoke, input);
  if (spoke.limit !== undefined) where.see({ type: "limited", request, node, problem });
  const random = drawFor(plan.seed, "attempt", spoke.name, idempotencyKey, attempt);
  const { silent, slow, fails, broken, deaf } = plan.rates;
  if (random.chance(silent)) return never();
  const delay = random.chance(slow)
    ? Math.ceil(spoke.timeoutMs * (0.5 + 2 * random()))
    : random.int(plan.latencyMs + 1);
  const isDeaf = random.chance(deaf);
  const failing =
    !where.honest && spoke.errors.length > 0 && random.chance(fails) ? random.pick(spoke.errors) : undefined;
  const breaking = random.chance(broken);
  const act = (): Promise<Outcome> | Outcome => {
    if (where.endedBy?.(idempotencyKey) === true) return never();
    if (breaking) return breakDown(where, context, node, random.int(3));
    if (!isDeaf && context.signal.aborted) return { kind: "timeout" };
    if (failing !== undefined) return { kind: "error", code: failing, message: "as it happens" };
    return worker.attempt(input, context, ports);
  };
  const told = (outcome: Outcome): Outcome => {
    end();
    if (process.alive) where.see({ type: "outcome", node, request, call, attempt, outcome });
    return outcome;
  };
  // A message that cannot be sent fails the attempt of a relay.
  const failed = (error: unknown): never => {
    end();
    if (process.alive)
      where.see({ type: "outcome", node, request, call, attempt, outcome: { kind: "broken" } });
    throw error;
  };
  if (delay === 0) {
    try {
      const outcome = act();
      return outcome instanceof Promise ? outcome.then(told, failed) : told(outcome);
    } catch (error) {
      end();
      throw error;
    }
  }
  const { heartbeatMs } = spoke;
  const isMute = heartbeatMs === undefined || random.chance(0.3);
  const slept = isMute ? process.sleep(delay) : beating(where, context, node, heartbeatMs, delay);
  return slept.then(act).then(told, failed);
}

/** Waits, and says meanwhile how far it is. */
async function beating(
  where: AttemptsIn,
  context: AttemptContext,
  node: number,
  heartbeatMs: number,
  delayMs: number,
): Promise<void> {
  const { runKey: request, call, attempt } = context;
  const step = Math.max(1, Math.floor(heartbeatMs / 3));
  for (let leftMs = delayMs, value = attempt * 1000; leftMs > 0; leftMs -= step) {
    await where.process.sleep(Math.min(step, leftMs));
    if (!where.process.alive || context.signal.aborted) continue;
    where.see({ type: "beat", node, request, call, attempt, value: ++value });
    context.progress(value);
  }
}

function breakDown(where: AttemptsIn, context: AttemptContext, node: number, way: number): Outcome {
  const { runKey: request, call, attempt } = context;
  where.see({ type: "outcome", node, request, call, attempt, outcome: { kind: "broken" } });
  if (way === 0) throw new Error("the worker throws, as planned");
  return (way === 1 ? null : { kind: "ok", output: 17n }) as unknown as Outcome;
}
