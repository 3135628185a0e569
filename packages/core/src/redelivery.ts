import type { Env, Input } from "./decision.ts";
import type { RunEvent } from "./events.ts";
import type { HubDefinition } from "./hub.ts";
import { decide, migrate, redecide } from "./kernel.ts";
import { rearmed, storedInput } from "./parked.ts";
import { maxOpened } from "./round.ts";
import type { Run } from "./run.ts";

/*
 * A retry that decides much. A run that is parked may have 100,000 open calls, and keep the outcomes of all of them: to decide these in
 * one turn would hold up the loop. So such a run stays parked while its retry goes on, over several batches:
 *
 *   resumed, left       the retry is accepted
 *   filled              the inputs of its calls, some at a time, held against the schemas of today
 *   …, redelivered      the kept inputs, some at a time: what each of them does, and how many these are
 *   redelivered, last   the run is no longer parked. It takes the signals that came meanwhile
 *
 * What comes meanwhile is kept after what is there already, and decided in its turn. If a handler throws again, the run is parked with
 * the input that failed, and with all that are left. After a crash the next owner goes on: what is decided is gone from what is kept.
 */

/** Whether a retry of a parked run is under way. */
export const isRetrying = ({ incident }: Run): boolean => incident?.retrying === true;

/**
 * Decides the next part of a retry: the inputs of these calls, or, if there are none, kept inputs, `maxOpened` at most. It gives the
 * events of one input at a time. Apply them before the next one.
 */
export function* redeliver(
  definition: HubDefinition,
  run: Run,
  calls: readonly number[],
  env: Env,
): Generator<readonly RunEvent[]> {
  const { now: at, maxOpened: most = maxOpened } = env;
  if (run.version !== definition.version) yield migrate(definition, run, { kind: "recheck" }, env);
  if (!isRetrying(run)) return;
  if (calls.length > 0) return yield redecide(definition, run, { kind: "recheck", calls }, env).events;
  const kept = run.incident?.inputs.list.slice(0, most) ?? [];
  if (kept.length === 0) {
    yield [{ type: "redelivered", at, count: 0, last: true }];
    yield rearmed(definition, run, env);
    return yield decide(definition, run, { kind: "buffered" }, env).events;
  }
  let count = 0;
  for (const input of kept) {
    count++;
    // The inputs of all calls are checked already.
    if (input.kind === "recheck") continue;
    const { events } = redecide(definition, run, storedInput(input) as Input, env);
    if (events.some(({ type }) => type === "incident"))
      return yield [{ type: "redelivered", at, count }, ...events];
    yield events;
    if (run.status === "ended") return;
  }
  yield [{ type: "redelivered", at, count }];
}
