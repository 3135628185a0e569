import { end } from "./chart.ts";
import type { Env, Input } from "./decision.ts";
import { WheelworkError } from "./errors.ts";
import type { HubDefinition } from "./hub.ts";
import type { Failing } from "./states.ts";
import { namesOf } from "./keys.ts";
import type { StateLogic } from "./logic.ts";
import { isError, plain, scalar, stackOf, synchronous, textOf } from "./plain.ts";
import type { Answer, ParkedInput, RunEvent } from "./events.ts";
import type { Run } from "./run.ts";
import { demand } from "./schema.ts";
import { isDuration } from "./duration.ts";
import type { Outcome } from "./spoke.ts";

/*
 * What is made of what goes into handlers and comes out of them: the first data, outcomes, answers, and exceptions.
 */

/**
 * The answer that the reply of an end state stands for.
 * @throws WheelworkError WW_INVALID_REPLY when the hub does not declare the reply or its error.
 */
export function answerOf(definition: HubDefinition, reply: unknown): Answer {
  const failing = (reply as Partial<Failing<string>> | null | undefined)?.["~fail"];
  if (failing !== undefined) {
    // Only hubs by handlers end like this: their clean-up has run out of time.
    if (failing.code === "WW_TIMEOUT")
      return { kind: "timeout", code: "WW_TIMEOUT", message: failing.message };
    if (!definition.errors.includes(failing.code)) {
      throw new WheelworkError(
        "WW_INVALID_REPLY",
        `the hub ${definition.name} fails with the code ${failing.code}, which it does not declare`,
        {
          next: "Add the code to the hub's errors. Then retry the incident.",
        },
      );
    }
    const { code, message, details } = failing;
    const failed = { kind: "error" as const, code, message: textOf(message) };
    if (details === undefined) return failed;
    return { ...failed, details: plain(details, "WW_INVALID_REPLY", `the details of ${code}`) };
  }
  const what = `the reply of the hub ${definition.name}`;
  const value = demand(definition.reply, synchronous(reply, what), "WW_INVALID_REPLY", what);
  return { kind: "result", value: plain(value, "WW_INVALID_REPLY", what) };
}

/** The engine's own answer. It names the incident that has kept the run from an answer. */
export function timeoutAnswer(definition: HubDefinition, run: Run, at: number): RunEvent {
  const late = { kind: "timeout", code: "WW_TIMEOUT" } as const;
  const message = `the hub ${definition.name} reached no end within its time`;
  if (run.incident === undefined) return { type: "answered", at, answer: { ...late, message } };
  const { code, message: why } = run.incident.error;
  const details = { incident: { code, message: why, state: run.state } };
  return {
    type: "answered",
    at,
    answer: { ...late, message: `${message}: an incident has parked it`, details },
  };
}

/** A cancel of a hub whose `cancel` is `end`: the run ends at once, without a clean-up. */
export function cancelled(run: Run, id: string, at: number): RunEvent[] {
  const answer: Answer = { kind: "error", code: "WW_CANCELLED", message: "the request was cancelled" };
  return [
    { type: "cancelling", at, id },
    run.answer === undefined ? { type: "ended", at, answer } : { type: "ended", at },
  ];
}

/** What a handler has thrown, as the event that parks the run with its input (I16). */
export function incidentOf(error: unknown, input: Input | ParkedInput, env: Env): RunEvent {
  const code = codeOf(error);
  const message = textOf(error);
  const stack = stackOf(error);
  return {
    type: "incident",
    at: env.now,
    error: stack === undefined ? { code, message } : { code, message, stack },
    input: input as ParkedInput,
  };
}

/** The code of one of our errors. Users may throw one, too, and may have changed it: then it counts as any other exception. */
function codeOf(error: unknown): string {
  try {
    if (isError(error, WheelworkError) && typeof error.code === "string" && ownCode.test(error.code))
      return error.code;
  } catch {
    // It cannot be read.
  }
  return "WW_DEFECT";
}

const ownCode = /^WW_[A-Z_]{1,60}$/;

/** An outcome as handlers see it. The stack of an exception is for those who read the log and the history. */
export function shown(outcome: Outcome): Outcome {
  if (outcome.kind !== "error" || outcome.stack === undefined) return outcome;
  const { stack: _, ...rest } = outcome;
  return rest;
}

/** The deadline of a run whose hub could not give one, in milliseconds. */
export const fallbackDeadlineMs = 60_000;

/** The deadline that a hub gives a request, in milliseconds from now. @throws WheelworkError WW_DEFECT when it gives none. */
export function deadlineMsOf({ deadlineMs, name }: HubDefinition, request: unknown): number {
  const given = scalar(deadlineMs(request), "deadlineMs");
  if (isDuration(given)) return given;
  throw new WheelworkError("WW_DEFECT", `deadlineMs of the hub ${name} returned ${textOf(given)}`, {
    next: "Return a number of milliseconds above 0. Then retry the incident.",
  });
}

/** The data of a new run. `key`: that of the run, as it is stored. */
export function firstData(definition: HubDefinition, key: string, request: unknown, { now }: Env): unknown {
  const what = `data of the hub ${definition.name}`;
  const given = synchronous(definition.data(request, { ...namesOf(key), now }), what);
  return plain(given, "WW_DEFECT", `what ${what} returned`);
}

/** What a cancel raises in a state: the hub's own event for it, or the deadline's, as if the time were over now. */
export const cancelEvent = ({ cancel }: HubDefinition, logic: StateLogic): string | undefined =>
  cancel === end ? undefined : (cancel ?? logic.deadline)?.raise;
