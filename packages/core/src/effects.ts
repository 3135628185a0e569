import type { OpenedCalls, RunEvent } from "./events.ts";
import { maxOpened } from "./round.ts";
import { apply, isOpen, isRunning, type Call, type Run } from "./run.ts";

/**
 * What follows from an event for the owner of the run. Effects are data: the core names them, and the owner carries them
 * out. Those that touch the outside world (an attempt, an answer) wait until the event is committed (I9).
 */
export type Effect =
  /** The call, or its present attempt, is over: its callback never fires (I8), and its attempt is told to stop. */
  | { readonly type: "close"; readonly call: Call }
  /** An attempt begins. The call is called back when `call.due` passes. */
  | { readonly type: "attempt"; readonly call: Call; readonly attempt: number }
  /** The call is called back at `call.due`: for its next attempt, or since its attempt has more time. */
  | { readonly type: "callback"; readonly call: Call }
  /** The hub that is called begins a run of its own. */
  | { readonly type: "startChild"; readonly call: Call }
  /** The run that the call has begun is no longer wanted. */
  | { readonly type: "cancelChild"; readonly call: Call }
  /** A spoke is told something, another run is started, or gets a signal, and nobody waits for what comes of it. */
  | { readonly type: "post"; readonly posted: Extract<RunEvent, { type: "told" | "posted" }> }
  /** The run has its answer. */
  | { readonly type: "answer" }
  /** The run has ended. */
  | { readonly type: "end" }
  /** The run is retried, over several batches (redelivery.ts). */
  | { readonly type: "redeliver" }
  /** The run is parked: its calls are not called back until it resumes. */
  | { readonly type: "park"; readonly error: Extract<RunEvent, { type: "incident" }>["error"] }
  | ManyEffects;

/**
 * An event concerns so many calls that to carry out what follows for all of them would hold up the loop. `each` says what follows for one
 * of them. The owner of the run asks for some at a time, in batches that follow. If it dies meanwhile, the next owner finds in
 * the run what is owed.
 */
export interface ManyEffects {
  readonly type: "many";
  readonly calls: readonly Call[];
  readonly each: (call: Call) => readonly Effect[];
}

const nothing: readonly Effect[] = [];

/**
 * Applies an event to a run, and says what follows from it, in the order in which it is to be done. `most`: for so many calls
 * at once.
 */
export function step(run: Run, event: RunEvent, most = maxOpened): readonly Effect[] {
  // What an event closes is known only before it is applied, and what it opens only after.
  const effects = closed(run, event, most);
  apply(run, event);
  return opened(run, event, effects, most) ?? nothing;
}

/** Effects so far. Most events have none or one, and this is the hottest path: a list of one takes a third of a list that has grown. */
type Effects = Effect[] | undefined;

function add(effects: Effects, effect: Effect): Effect[] {
  if (effects === undefined) return [effect];
  effects.push(effect);
  return effects;
}

/** Calls that an event closes (I12). */
function closed(run: Run, event: RunEvent, most: number): Effects {
  switch (event.type) {
    case "settled": {
      const call = run.calls.get(event.call);
      let effects: Effects = call === undefined ? undefined : [{ type: "close", call }];
      if (event.closes !== undefined) effects = closeCalls(run, event.closes, effects);
      if (event.held !== undefined) effects = closeForDrain(run, { settled: event.call, most }, effects);
      return effects;
    }
    case "cancelling":
      return event.held === undefined ? undefined : closeForDrain(run, { cancels: true, most }, undefined);
    case "fired":
    case "signalled":
    case "received": {
      let effects: Effects;
      if (event.closes !== undefined) effects = closeCalls(run, event.closes, effects);
      if (event.held !== undefined) effects = closeForDrain(run, { most }, effects);
      return effects;
    }
    case "entered":
    case "ended":
      if (event.type === "entered" && event.kept === true) return undefined;
      return forAll(run.calls, closeCall, undefined, most);
    case "failed": {
      const call = run.calls.get(event.call);
      return call === undefined ? undefined : [{ type: "close", call }];
    }
    default:
      return undefined;
  }
}

function closeCalls(run: Run, numbers: readonly number[], before: Effects): Effects {
  let effects = before;
  for (const number of numbers) {
    const call = run.calls.get(number);
    if (call !== undefined) effects = closeCall(call, effects);
  }
  return effects;
}

const closeCall = (call: Call, before: Effects): Effects =>
  cancelChild(call, add(before, { type: "close", call }));

/** What follows for all open calls: at once if they are few. */
function forAll(
  calls: ReadonlyMap<number, Call>,
  each: (call: Call, before: Effects) => Effects,
  before: Effects,
  most: number,
): Effects {
  if (calls.size > most) {
    const many = { calls: [...calls.values()], each: (call: Call) => each(call, undefined) ?? nothing };
    return add(before, { type: "many", ...many });
  }
  let effects = before;
  for (const call of calls.values()) effects = each(call, effects);
  return effects;
}

/**
 * A round that drains waits for its calls that are under way, those of hubs included: what they do counts. Calls that are not
 * under way are given up. A cancel reaches the children, whose clean-up is waited for.
 */
function closeForDrain(
  run: Run,
  { settled, cancels, most }: { readonly settled?: number; readonly cancels?: true; readonly most: number },
  before: Effects,
): Effects {
  const one = (call: Call, effects: Effects): Effects => {
    if (call.number === settled) return effects;
    if (!isRunning(call)) return add(effects, { type: "close", call });
    return cancels === true ? cancelChild(call, effects) : effects;
  };
  return forAll(run.calls, one, before, most);
}

const cancelChild = (call: Call, effects: Effects): Effects =>
  call.isHub && call.attempt > 0 ? add(effects, { type: "cancelChild", call }) : effects;

/** Calls that an event opens, and what else it brings. */
function opened(run: Run, event: RunEvent, before: Effects, most: number): Effects {
  switch (event.type) {
    case "entered":
    case "settled":
    case "opened":
    case "fired":
    case "signalled":
    case "received":
      return event.calls === undefined ? before : open(run, event.calls, before);
    case "failed":
    case "attempt":
      return begin(run.calls.get(event.call), before);
    case "waited": {
      const call = run.calls.get(event.call);
      return call === undefined ? before : add(before, { type: "callback", call });
    }
    case "told":
    case "posted":
      return add(before, { type: "post", posted: event });
    case "answered":
      return add(before, { type: "answer" });
    case "ended": {
      const answered = event.answer === undefined ? before : add(before, { type: "answer" });
      return add(answered, { type: "end" });
    }
    case "incident":
      return add(before, { type: "park", error: event.error });
    case "resumed":
      return event.left === true ? add(before, { type: "redeliver" }) : resume(run, event.at, before, most);
    case "redelivered":
      return event.last === true ? resume(run, event.at, before, most) : before;
    default:
      return before;
  }
}

function open(run: Run, groups: readonly OpenedCalls[], before: Effects): Effects {
  let effects = before;
  for (const { first, inputs } of groups)
    for (let number = first; number < first + inputs.length; number++)
      effects = begin(run.calls.get(number), effects);
  return effects;
}

function begin(call: Call | undefined, effects: Effects): Effects {
  // A call without an attempt waits for a place in its round.
  if (call === undefined || call.attempt === 0) return effects;
  if (call.backoff) return add(effects, { type: "callback", call });
  return add(
    effects,
    call.isHub ? { type: "startChild", call } : { type: "attempt", call, attempt: call.attempt },
  );
}

const resume = (run: Run, at: number, before: Effects, most: number): Effects =>
  forAll(run.calls, (call, effects) => resumed(call, at, effects), before, most);

/** The run goes on: an attempt that was lost while it was parked is made again, unless its time is over. */
function resumed(call: Call, at: number, effects: Effects): Effects {
  // It may have been closed since.
  if (!isOpen(call)) return effects;
  const isMade = isRunning(call) && !call.isHub && (call.due ?? 0) > at;
  return add(effects, isMade ? { type: "attempt", call, attempt: call.attempt } : { type: "callback", call });
}
