import { incidentOf } from "./answers.ts";
import { maxDeaths, workerDied } from "./deaths.ts";
import type { Env, Input } from "./decision.ts";
import type { HubDefinition } from "./hub.ts";
import { inputSchema } from "./logic.ts";
import { plain } from "./plain.ts";
import { isRunning, type Call, type Run, type RunEvent } from "./run.ts";
import { checkStored } from "./stored.ts";

/* What a claim asks of the runs that it finds. */

/** What workers and hubs are still to be given is held against the schemas of today. */
export function* recheck(definition: HubDefinition, run: Run, at: number): Iterable<RunEvent> {
  for (const call of run.calls.values()) {
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
