import type { Writable } from "./json-types.ts";
import { cancelEvent, deadlineMsOf, fallbackDeadlineMs, firstData, incidentOf } from "./answers.ts";
import type { Decision, Env, Input, StartOptions } from "./decision.ts";
import type { HubDefinition } from "./hub.ts";
import { labelsOf, type Labels } from "./labels.ts";
import { decideParked, restart } from "./parked.ts";
import { decidePending } from "./pending.ts";
import type { ParkedInput, RunEvent } from "./events.ts";
import type { Run } from "./run.ts";
import { accepts } from "./schema.ts";
import { parkedInput } from "./signals.ts";
import { storedRequest } from "./stored.ts";
import { TurnBuilder } from "./turn.ts";

/*
 * The kernel decides what an input does to a run. It is three functions: `start` for the first turn (`accept` and `begin`
 * are its halves), `decide` for every other one, and `migrate` before the first turn under a new version of the hub. All
 * are synchronous. They read
 * the run and change nothing (I1, I2). What they return is a list of events. The owner of the run then
 *
 *   1. applies the events to the run in memory (`step`, effects.ts),
 *   2. commits them,
 *   3. does what follows from them: starts attempts, tells answers (I9).
 *
 * So a crash before the commit is as if the input had not come, and a test can play any history without an engine.
 *
 * A handler is code of the user, and it may throw. Then the whole turn is dropped, and the only event is `incident`:
 * the run is parked with the input that it failed on (I16). Other runs do not notice. Until somebody retries or
 * resolves it, parked.ts decides what happens to it; turn.ts decides for a run that works, and pending.ts for one that waits for
 * its turn.
 *
 * `start` commits `started` even if the first turn throws. The request is accepted by then, so it needs a deadline and
 * an answer. If the hub's own `deadlineMs` is at fault, the client's deadline stands in, or one minute.
 */

/**
 * Decides the first turn of a run. The result begins with `started`. If a handler throws, it ends with `incident`
 * (I16).
 */
export function start(definition: HubDefinition, run: Run, options: StartOptions, env: Env): RunEvent[] {
  const accepted = accept(definition, run.key, options, env);
  const [started] = accepted;
  if (accepted.length > 1) return accepted;
  const turn = new TurnBuilder(definition, run, env);
  turn.data = started.data;
  turn.deadline = started.deadline;
  turn.answerBy = started.answerBy;
  try {
    turn.enter(definition.initial, undefined, undefined);
    return [started, ...turn.events];
  } catch (error) {
    return [started, incidentOf(error, unbegun(definition, options.request), env)];
  }
}

type Started = Extract<RunEvent, { type: "started" }>;

/** The first half of `start`: the run is known, and has not begun. `begin` is the other half, then or later. */
export function accept(
  definition: HubDefinition,
  key: string,
  options: StartOptions,
  env: Env,
): [Started, ...RunEvent[]] {
  const { hash, parent, caller, replyTo, trace, givenBy, lane } = options;
  let { request } = options;
  let deadlineMs = options.deadlineMs ?? fallbackDeadlineMs;
  let data: unknown = null;
  let labels: Labels | undefined;
  let failure: { readonly error: unknown } | undefined;
  try {
    if (options.isStored === true) request = storedRequest(definition, request);
    labels = labelsOf(definition, request);
    const given = deadlineMsOf(definition, request);
    deadlineMs = Math.min(given, options.deadlineMs ?? given);
    data = firstData(definition, key, request, env);
  } catch (error) {
    // Anything may be thrown, also undefined.
    failure = { error };
  }
  deadlineMs = Math.ceil(deadlineMs);
  const deadline = env.now + deadlineMs;
  const started: Writable<Started> = {
    type: "started",
    at: env.now,
    hub: definition.name,
    version: definition.version,
    request,
    hash,
    data,
    deadline,
    answerBy: deadline + definition.afterDeadlineMs,
  };
  if (parent !== undefined) started.parent = parent;
  if (caller !== undefined) started.caller = caller;
  if (replyTo !== undefined) started.replyTo = replyTo;
  if (trace !== undefined) started.trace = trace;
  if (lane !== undefined) started.lane = lane;
  if (labels !== undefined) started.labels = labels;
  if (givenBy !== undefined) started.givenBy = givenBy;
  if (failure === undefined) return [started];
  const input = options.isStored === true ? { kind: "start" as const } : unbegun(definition, request);
  return [started, incidentOf(failure.error, input, env)];
}

/** Whether a run was accepted, and has not begun: its first turn is due. */
export const isUnbegun = (run: Run): boolean => run.state === "" && run.status === "running";

/** The first turn of a run that was accepted. The hub may have another version by now. */
export function begin(definition: HubDefinition, run: Run, env: Env): readonly RunEvent[] {
  if (run.version !== definition.version) return restart(definition, run, env);
  const turn = new TurnBuilder(definition, run, env);
  try {
    turn.enter(definition.initial, undefined, undefined);
    return turn.events;
  } catch (error) {
    return [incidentOf(error, unbegun(definition, run.origin.request), env)];
  }
}

/** Whether a cancel has reached the calls that the run's round waits for: those of hubs are told to end. */
export function cancelsRound(definition: HubDefinition, run: Run): boolean {
  if (run.round.held === undefined || run.cancel !== "accepted") return false;
  const state = definition.states.get(run.state);
  return state !== undefined && cancelEvent(definition, state.logic) === run.round.held;
}

/** A first turn that is to be made again. The schema of the request may be another one by then (stored.ts). */
function unbegun({ request: schema }: HubDefinition, request: unknown): ParkedInput {
  return accepts(schema, request) ? { kind: "start" } : { kind: "start", transformed: true };
}

/**
 * Decides what an input does to a run. An input that comes too late, twice, or at the wrong time gives no event, and
 * `ignored` says why. If a handler throws, the only event is `incident` (I16).
 */
export function decide(definition: HubDefinition, run: Run, input: Input, env: Env): Decision {
  const decision = decideInput(definition, run, input, env);
  if (!("givenBy" in input) || input.givenBy === undefined) return decision;
  const { events, ignored, redeliver } = decision;
  return {
    events: events.map((event, at) => (at === 0 ? { ...event, givenBy: input.givenBy as string } : event)),
    ...(ignored === undefined ? {} : { ignored }),
    ...(redeliver === undefined ? {} : { redeliver }),
  };
}

function decideInput(definition: HubDefinition, run: Run, input: Input, env: Env): Decision {
  if (run.status === "ended") return { events: [], ignored: "ended" };
  if (run.status === "incident") return decideParked(definition, run, input, env);
  if (run.status === "pending") return decidePending(definition, run, input, env);
  return redecide(definition, run, input, env);
}

/** Decides an input as if the run were not parked: a retry decides what was kept (redelivery.ts). */
export function redecide(definition: HubDefinition, run: Run, input: Input, env: Env): Decision {
  const turn = new TurnBuilder(definition, run, env);
  try {
    const ignored = turn.take(input);
    return ignored === undefined ? turn : { events: turn.events, ignored };
  } catch (error) {
    return { events: [incidentOf(error, parkedInput(definition, input), env)] };
  }
}

/**
 * Moves a run of an older version of its hub to the present version (I20). Call it before the turn for `input`. If it
 * fails, `input` is kept with the incident.
 */
export function migrate(definition: HubDefinition, run: Run, input: Input, env: Env): readonly RunEvent[] {
  const turn = new TurnBuilder(definition, run, env);
  try {
    turn.migrate();
    return turn.events;
  } catch (error) {
    return [incidentOf(error, parkedInput(definition, input), env)];
  }
}
