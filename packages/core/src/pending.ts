import { cancelled, deadlineMsOf, fallbackDeadlineMs, firstData, incidentOf } from "./answers.ts";
import type { Decision, Env, Input, StartOptions } from "./decision.ts";
import { queueMsOf } from "./exclusive.ts";
import type { HubDefinition } from "./hub.ts";
import { labelsOf, missingLabels, type Labels } from "./labels.ts";
import type { Answer, ArrivalBounds, RunEvent, RunLane } from "./events.ts";
import { refusedSignal } from "./commands.ts";
import type { Run } from "./run.ts";
import { accepts } from "./schema.ts";
import { keptSignal } from "./signals.ts";
import { unbegunAfterWait, waitedRequest } from "./stored.ts";
import { maxSignals } from "./turn.ts";

/*
 * Lanes: who may run when. A hub with `exclusive` puts each of its requests into a lane: the lane's name, and a key that is made of
 * the request. A lane has so many places. A run holds its place from its grant to its end.
 *
 *   place free      `started`, with the lane: the run begins at once
 *   all taken       `accepted`: the run is pending. It has a rank, and a time until which it waits
 *   its turn        `granted`: its deadline counts from here, and its first turn follows
 *   its time comes  (`startAt`) `granted`, or `arrived` if it has a lane whose places are all taken
 *   time is up      `ended`, with a timeout
 *
 * The kernel knows one run. Which places are free, and who is next, is known by the owner of the runs: they all live in one
 * shard, and its batches are serial.
 */

/** What a request that waits is made from. */
export interface PendingOptions extends StartOptions {
  readonly lane?: RunLane;
}

/** Accepts a request that waits for its turn, or for the answer of another one. */
export function pend(definition: HubDefinition, options: PendingOptions, env: Env): RunEvent {
  const { exclusive, afterDeadlineMs } = definition;
  const { request, hash, lane, parent, caller, replyTo, trace, givenBy } = options;
  const at = env.now;
  const deadlineMs = tryDeadline(definition, request) ?? options.deadlineMs ?? fallbackDeadlineMs;
  // The caller's own deadline bounds all: the wait, and then the work.
  const callerBy = at + Math.ceil(options.deadlineMs ?? Number.POSITIVE_INFINITY);
  const labels = tryLabels(definition, request);
  const queueBy = Math.min(at + Math.ceil(queueMsOf(exclusive, deadlineMs)), callerBy);
  const answerBy = Math.min(queueBy + Math.ceil(deadlineMs), callerBy) + afterDeadlineMs;
  return {
    type: "accepted",
    at,
    hub: definition.name,
    version: definition.version,
    request,
    hash,
    ...(lane === undefined ? {} : { lane }),
    ...recheckOf(definition, options),
    // The answer that it waits for may come as late as its own would.
    due: lane?.joins === undefined ? queueBy : Math.min(answerBy, callerBy),
    answerBy,
    ...(parent === undefined ? {} : { parent }),
    ...(caller === undefined ? {} : { caller }),
    ...(replyTo === undefined ? {} : { replyTo }),
    ...(trace === undefined ? {} : { trace }),
    ...(labels === undefined ? {} : { labels }),
    ...(givenBy === undefined ? {} : { givenBy }),
  };
}

/** Which requests are held against the schema once they begin, besides those whose hub has another version by then. */
function recheckOf(
  definition: HubDefinition,
  { request, isStored }: StartOptions,
): { readonly recheck?: "always" | "never" } {
  if (isStored === true) return { recheck: "always" };
  return accepts(definition.request, request) ? {} : { recheck: "never" };
}

/** Accepts a request whose time has not come. */
export function postpone(
  definition: HubDefinition,
  options: StartOptions & { readonly startAt: number; readonly priority?: number },
  env: Env,
): RunEvent {
  const { startAt, priority, deadlineMs } = options;
  const arrival: ArrivalBounds = {
    ...(priority === undefined ? {} : { priority }),
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
  };
  const bounds = Object.keys(arrival).length === 0 ? {} : { arrival };
  const { lane: _, ...accepted } = pend(definition, options, { ...env, now: startAt }) as RunEvent & {
    type: "accepted";
  };
  return { ...accepted, at: env.now, startAt, ...bounds, due: startAt };
}

/** undefined: the hub could not give it. The failure shows when its turn has come. */
function tryDeadline(definition: HubDefinition, request: unknown): number | undefined {
  try {
    return deadlineMsOf(definition, request);
  } catch {
    return undefined;
  }
}

/** The same of the labels. */
function tryLabels(definition: HubDefinition, request: unknown): Labels | undefined {
  try {
    return labelsOf(definition, request);
  } catch {
    return undefined;
  }
}

/**
 * It is the turn of a pending run, or its time has come. Its first turn follows with `begin`, unless its hub could not give its deadline
 * or its data. `lane`: its place, if it has not waited for it; `fence`: if it has.
 */
export function grant(
  definition: HubDefinition,
  run: Run,
  env: Env,
  { lane, fence }: { readonly lane?: RunLane; readonly fence?: number } = {},
): RunEvent[] {
  const { afterDeadlineMs, version } = definition;
  const at = env.now;
  let deadlineMs = fallbackDeadlineMs;
  let data: unknown = null;
  let labels: Labels | undefined;
  let failure: { readonly error: unknown } | undefined;
  try {
    const request = waitedRequest(definition, run);
    labels = missingLabels(definition, run, request);
    deadlineMs = deadlineMsOf(definition, request);
    data = firstData(definition, run.key, request, env);
  } catch (error) {
    failure = { error };
  }
  // What was promised when the request was accepted holds, whatever the hub's present version says. If nobody worked when its time
  // came, all of it is so much later.
  const lateMs = run.start?.at === undefined ? 0 : Math.max(0, at - run.start.at);
  const latest = run.answerBy + lateMs - afterDeadlineMs;
  const deadline = Math.max(at, Math.min(at + Math.ceil(deadlineMs), latest));
  const granted: RunEvent = {
    type: "granted",
    at,
    version,
    data,
    deadline,
    answerBy: deadline + afterDeadlineMs,
    ...(lane === undefined ? {} : { lane }),
    ...(fence === undefined ? {} : { fence }),
    ...(labels === undefined ? {} : { labels }),
  };
  if (failure === undefined) return [granted];
  return [granted, incidentOf(failure.error, unbegunAfterWait(run), env)];
}

/** The error that a request is answered with, which another one of its lane is in the way of. */
export const laneError = (code: "WW_BUSY" | "WW_REPLACED", message: string, details: unknown): Answer => ({
  kind: "error",
  code,
  message,
  details,
});

/** Decides what an input does to a run that waits for its turn. */
export function decidePending(definition: HubDefinition, run: Run, input: Input, env: Env): Decision {
  const at = env.now;
  switch (input.kind) {
    case "due":
      return run.due === undefined || run.due > at
        ? { events: [], ignored: "stale" }
        : { events: [{ type: "ended", at, answer: waitedInVain(run) }] };
    case "signal": {
      const refused =
        refusedSignal(run, input, env.memory) ??
        (run.received.signals.length >= maxSignals ? "full" : undefined);
      if (refused !== undefined) return { events: [], ignored: refused };
      return { events: [keptSignal(definition, run, input, env)] };
    }
    case "cancel":
      return { events: cancelled(run, input.id, at) };
    case "retry":
    case "resolve":
      return { events: [], ignored: "not-incident" };
    default:
      return { events: [], ignored: "stale" };
  }
}

function waitedInVain({ lane, hub }: Run): Answer {
  const what = lane?.joins === undefined ? "its turn" : "the answer of another request";
  const message = `the request to ${hub} has waited too long for ${what} in the lane ${lane?.name} ${lane?.key}`;
  return { kind: "timeout", code: "WW_TIMEOUT", message };
}
