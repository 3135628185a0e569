import type { OpenedCalls, RunEvent } from "./events.ts";
import { apply, isRunning, type Call, type Run } from "./run.ts";

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
  /** The run is parked: its calls are not called back until it resumes. */
  | { readonly type: "park"; readonly error: Extract<RunEvent, { type: "incident" }>["error"] };

/**
 * Applies an event to a run, and says what follows from it, in the order in which it is to be done. `effects` is the list
 * that is added to: the loop passes the same one for all events of a decision, since this is its hottest path.
 */
export function step(run: Run, event: RunEvent, effects: Effect[] = []): Effect[] {
  // What an event closes is known only before it is applied, and what it opens only after.
  closed(run, event, effects);
  apply(run, event);
  opened(run, event, effects);
  return effects;
}

/** Calls that an event closes (I12). */
function closed(run: Run, event: RunEvent, effects: Effect[]): void {
  switch (event.type) {
    case "settled": {
      const call = run.calls.get(event.call);
      if (call !== undefined) effects.push({ type: "close", call });
      if (event.closes !== undefined) closeCalls(run, event.closes, effects);
      if (event.held !== undefined) closeForDrain(run, event.call, false, effects);
      return;
    }
    case "cancelling":
      if (event.held !== undefined) closeForDrain(run, undefined, true, effects);
      return;
    case "fired":
    case "signalled":
    case "received":
      if (event.closes !== undefined) closeCalls(run, event.closes, effects);
      if (event.held !== undefined) closeForDrain(run, undefined, false, effects);
      return;
    case "entered":
    case "ended":
      if (run.calls.size === 0 || (event.type === "entered" && event.kept === true)) return;
      for (const call of run.calls.values()) {
        effects.push({ type: "close", call });
        cancelChild(call, effects);
      }
      return;
    case "failed": {
      const call = run.calls.get(event.call);
      if (call !== undefined) effects.push({ type: "close", call });
      return;
    }
    default:
  }
}

function closeCalls(run: Run, numbers: readonly number[], effects: Effect[]): void {
  for (const number of numbers) {
    const call = run.calls.get(number);
    if (call === undefined) continue;
    effects.push({ type: "close", call });
    cancelChild(call, effects);
  }
}

/**
 * A round that drains waits for its calls that are under way, those of hubs included: what they do counts. Calls that are not
 * under way are given up. A cancel reaches the children, whose clean-up is waited for.
 */
function closeForDrain(run: Run, settled: number | undefined, cancels: boolean, effects: Effect[]): void {
  for (const call of run.calls.values()) {
    if (call.number === settled) continue;
    if (!isRunning(call)) effects.push({ type: "close", call });
    else if (cancels) cancelChild(call, effects);
  }
}

function cancelChild(call: Call, effects: Effect[]): void {
  if (call.isHub && call.attempt > 0) effects.push({ type: "cancelChild", call });
}

/** Calls that an event opens, and what else it brings. */
function opened(run: Run, event: RunEvent, effects: Effect[]): void {
  switch (event.type) {
    case "entered":
    case "settled":
    case "opened":
    case "fired":
    case "signalled":
    case "received":
      if (event.calls !== undefined) open(run, event.calls, effects);
      return;
    case "failed":
    case "attempt":
      begin(run.calls.get(event.call), effects);
      return;
    case "waited": {
      const call = run.calls.get(event.call);
      if (call !== undefined) effects.push({ type: "callback", call });
      return;
    }
    case "told":
    case "posted":
      effects.push({ type: "post", posted: event });
      return;
    case "answered":
      effects.push({ type: "answer" });
      return;
    case "ended":
      if (event.answer !== undefined) effects.push({ type: "answer" });
      effects.push({ type: "end" });
      return;
    case "incident":
      effects.push({ type: "park", error: event.error });
      return;
    case "resumed":
      for (const call of run.calls.values()) resume(call, event.at, effects);
      return;
    default:
  }
}

function open(run: Run, groups: readonly OpenedCalls[], effects: Effect[]): void {
  for (const { first, inputs } of groups)
    for (let number = first; number < first + inputs.length; number++) begin(run.calls.get(number), effects);
}

function begin(call: Call | undefined, effects: Effect[]): void {
  // A call without an attempt waits for a place in its round.
  if (call === undefined || call.attempt === 0) return;
  if (call.backoff) effects.push({ type: "callback", call });
  else if (call.isHub) effects.push({ type: "startChild", call });
  else effects.push({ type: "attempt", call, attempt: call.attempt });
}

/** The run goes on: an attempt that was lost while it was parked is made again, unless its time is over. */
function resume(call: Call, at: number, effects: Effect[]): void {
  if (isRunning(call) && !call.isHub && (call.due ?? 0) > at)
    effects.push({ type: "attempt", call, attempt: call.attempt });
  else effects.push({ type: "callback", call });
}
