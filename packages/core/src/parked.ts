import { progressed, staleness } from "./attempt.ts";
import { cancelled, firstData, incidentOf, timeoutAnswer } from "./answers.ts";
import type { Decision, Env, Input } from "./decision.ts";
import { end } from "./chart.ts";
import type { HubDefinition } from "./hub.ts";
import { missingLabels } from "./labels.ts";
import type { Answer, ParkedInput, RunEvent } from "./events.ts";
import { knownCommand, refusedSignal } from "./commands.ts";
import { keepsOutcome, noDeadline, refusedCancel, type Run } from "./run.ts";
import { keptSignal } from "./signals.ts";
import { maxOpened } from "./round.ts";
import { storedRequest, unbegunAfterWait } from "./stored.ts";
import { maxSignals, TurnBuilder } from "./turn.ts";

/*
 * A run is parked when one of its handlers has thrown (I16). Its state, its calls and its attempts stay as they are. It
 * takes no turn, and its own deadline does not count. What comes meanwhile is treated like this:
 *
 *   outcome          kept with the incident, once for each call
 *   signal           kept by the run, as in any other state that does not take it
 *   cancel           kept with the incident; if the hub's cancel is `end`, the run ends at once
 *   callback         dropped: `resumed` registers the callbacks of open calls again
 *   answerBy passes  the engine answers with a timeout; the run stays parked
 *   resolve          the run ends, with the error WW_INCIDENT if it had no answer
 *   retry            the run resumes. What comes next depends on the run:
 *     it had not begun        its first turn is made again, then the kept inputs are decided; if the request has its
 *                             answer by now, the run ends
 *     it has much to decide   it stays parked until all of that is decided, over several batches (redelivery.ts)
 *     it worked               what it has stored is checked again (stored.ts). The input that failed and all kept
 *                             inputs are decided, in their order; if the request has
 *                             its answer by now, the run raises its deadline event instead: only the clean-up is left
 *     it cleaned up (late)    a deadline that passed meanwhile begins anew, then the inputs are decided
 */

/** Decides what an input does to a parked run. */
export function decideParked(definition: HubDefinition, run: Run, input: Input, env: Env): Decision {
  const at = env.now;
  switch (input.kind) {
    case "outcome": {
      const ignored = staleness(run, input);
      if (ignored !== undefined) return { events: [], ignored };
      if (keepsOutcome(run, input.call)) {
        return { events: [], ignored: "duplicate" };
      }
      // The answer of a hub comes once only.
      const isHub = run.calls.get(input.call)?.isHub === true;
      if (!isHub && run.received.signals.length >= maxSignals) return { events: [], ignored: "full" };
      return { events: [{ type: "parked", at, input }] };
    }
    case "callDue":
    case "buffered":
    case "recheck":
    case "open":
      return { events: [] };
    case "progress":
      return { events: staleness(run, input) === undefined ? [progressed(input, at)] : [] };
    case "died":
    case "begin":
      // Its attempts are made again once it goes on.
      return { events: [], ignored: "stale" };
    case "due":
      return {
        events: run.answer === undefined && run.answerBy <= at ? [timeoutAnswer(definition, run, at)] : [],
      };
    case "signal": {
      const known =
        refusedSignal(run, input, env.memory) ??
        (run.incident?.inputs.hasSignal(input.id) === true
          ? "duplicate"
          : run.received.signals.length >= maxSignals
            ? "full"
            : undefined);
      if (known !== undefined) return { events: [], ignored: known };
      return { events: [keptSignal(definition, run, input, env)] };
    }
    case "cancel":
      if (refusedCancel(run, input) !== undefined) return { events: [], ignored: "duplicate" };
      if (definition.cancel === end) return { events: cancelled(run, input.id, at) };
      return { events: [{ type: "parked", at, input }] };
    case "retry": {
      const isKnown = knownCommand(run, "retry", input) !== undefined || run.incident?.retrying === true;
      if (isKnown) return { events: [], ignored: "duplicate" };
      const { id, hash } = input;
      const resumed: RunEvent = { type: "resumed", at, id, ...(hash === undefined ? {} : { hash }) };
      const kept = run.incident?.inputs.list ?? [];
      const hasBegun = run.state !== "";
      if (run.answer !== undefined && !run.late && run.deadline !== noDeadline) {
        // The engine has answered, so more work would be in vain: only the clean-up is left.
        if (!hasBegun) return { events: [resumed, { type: "ended", at }] };
        const turn = new TurnBuilder(definition, run, env);
        turn.events.push(resumed);
        try {
          turn.migrate();
          turn.raiseDeadline();
          return turn;
        } catch (error) {
          return { events: [resumed, incidentOf(error, input, env)] };
        }
      }
      if (hasBegun && kept.length + run.calls.size > (env.maxOpened ?? maxOpened))
        return { events: [{ ...resumed, left: true }] };
      const parked = kept.map(storedInput);
      if (hasBegun) {
        const events = [resumed, ...rearmed(definition, run, env)];
        const first: Input = { kind: "recheck" };
        return { events, redeliver: [first, ...(parked as readonly Input[]), { kind: "buffered" }] };
      }
      const others = parked.filter((input): input is Input => input.kind !== "start");
      return { events: [resumed, ...restart(definition, run, env)], redeliver: others };
    }
    case "resolve": {
      const answer: Answer = { kind: "error", code: "WW_INCIDENT", message: input.message };
      const ended = { type: "ended", at, id: input.id } as const;
      return { events: [run.answer === undefined ? { ...ended, answer } : ended] };
    }
  }
}

/** An input that was kept. Its schema may have changed since. The event that has kept it says who gave it. */
export function storedInput({ givenBy: _said, ...input }: ParkedInput): Input | { readonly kind: "start" } {
  return (input.kind === "signal" ? { ...input, stored: true } : input) as Input | { readonly kind: "start" };
}

/** The clean-up gets the time that it was promised: time that passed while the run was parked does not count. */
export function rearmed(definition: HubDefinition, run: Run, env: Env): readonly RunEvent[] {
  if (!run.late || run.due === undefined || run.due > env.now) return [];
  const turn = new TurnBuilder(definition, run, env);
  try {
    turn.rearm();
    return turn.events;
  } catch {
    // The hub does not have the state. The next turn migrates the run.
    return [];
  }
}

/** Makes the first turn again, which threw when the request came. The hub may have a new version by now. */
export function restart(definition: HubDefinition, run: Run, env: Env): readonly RunEvent[] {
  const turn = new TurnBuilder(definition, run, env);
  const start = run.incident?.inputs.list.find(({ kind }) => kind === "start");
  try {
    const isChecked = start === undefined ? run.start?.recheck !== "never" : start["transformed"] !== true;
    const request = isChecked ? storedRequest(definition, run.origin.request) : run.origin.request;
    turn.data = firstData(definition, run.key, request, env);
    const labels = missingLabels(definition, run, request);
    const migrated = { type: "migrated", at: env.now, version: definition.version, data: turn.data } as const;
    turn.events.push(labels === undefined ? migrated : { ...migrated, labels });
    turn.enter(definition.initial, undefined, undefined);
    return turn.events;
  } catch (error) {
    return [incidentOf(error, start ?? unbegunAfterWait(run), env)];
  }
}
