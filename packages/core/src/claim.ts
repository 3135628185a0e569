import { incidentOf } from "./answers.ts";
import { isSuspect, maxDeaths, workerDied } from "./deaths.ts";
import type { Env, Ignored, Input } from "./decision.ts";
import { WheelworkError } from "./errors.ts";
import type { HubDefinition } from "./hub.ts";
import { inputSchema } from "./logic.ts";
import { plain } from "./plain.ts";
import type { RunEvent } from "./events.ts";
import { isRunning, type Call, type Run } from "./run.ts";
import type { Spoke } from "./spoke.ts";
import { checkStored } from "./stored.ts";

/* What a claim asks of the runs that it finds. */

/** What workers and hubs are still to be given is held against the schemas of today. */
export function* recheck(
  definition: HubDefinition,
  run: Run,
  { calls: numbers }: Extract<Input, { kind: "recheck" }>,
  at: number,
): Iterable<RunEvent> {
  for (const call of numbers?.map((number) => run.calls.get(number)) ?? run.calls.values()) {
    if (call === undefined) continue;
    const callee = definition.callees.get(call.callee);
    // A hub that is called has its request already, unless the call is queued.
    if (callee === undefined || call.transformed || (call.isHub && call.attempt > 0)) continue;
    const what = `the input of the call ${call.number} of ${call.callee}`;
    const input = checkStored(inputSchema(callee), call.input, what);
    if (input !== call.input)
      yield { type: "filled", at, call: call.number, input: plain(input, "WW_DEFECT", what) };
  }
}

/**
 * Counts a death of the process for attempts that were under way. A lone suspect is parked, and not begun once more. No event:
 * the deaths are counted already.
 */
export function countDeaths(
  run: Run,
  { attempts, lone }: Extract<Input, { kind: "died" }>,
  env: Env,
): RunEvent[] {
  // A claim that follows a commit whose outcome was unknown says it again.
  const counted = attempts.filter(({ call: number, attempt, deaths }) => {
    const call = run.calls.get(number);
    return call?.attempt === attempt && isRunning(call) && call.deaths < deaths;
  });
  if (counted.length === 0) return [];
  const died: RunEvent = {
    type: "died",
    at: env.now,
    attempts: counted.map(({ call, deaths }) => ({ call, deaths })),
  };
  const suspect = counted.find(({ call, deaths }) => call === lone && deaths >= maxDeaths);
  if (suspect === undefined) return [died];
  const error = workerDied(run.calls.get(suspect.call) as Call, suspect.deaths);
  return [died, incidentOf(error, { kind: "recheck" }, env)];
}

/** A suspect begins, alone. A text: why it does not. */
export function beginSuspect(
  run: Run,
  { call: number, attempt }: Extract<Input, { kind: "begin" }>,
  definition: HubDefinition,
  at: number,
): RunEvent | Ignored {
  const call = run.calls.get(number);
  if (call === undefined) return "late";
  if (call.attempt !== attempt || !isRunning(call) || !isSuspect(call)) return "stale";
  const due = at + spokeOf(definition, call.callee).timeoutMs;
  return { type: "attempt", at, call: number, attempt, due, alone: true };
}

/**
 * A spoke that the hub calls.
 * @throws WheelworkError WW_UNMAPPED_STATE when it no longer does.
 */
export function spokeOf(definition: HubDefinition, name: string): Spoke {
  const callee = definition.callees.get(name);
  if (callee !== undefined) return callee as Spoke;
  throw new WheelworkError("WW_UNMAPPED_STATE", `the hub ${definition.name} no longer calls ${name}`, {
    next: "Keep the spoke in the hub until its calls have ended, or migrate the runs. Then retry the incident.",
  });
}
