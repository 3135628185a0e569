import type { Answer, RunEvent } from "./events.ts";
import type { Call, Run } from "./run.ts";

/*
 * Spans: what a run has done, from when to when. Traces and figures are made of them. They follow from the events of a run alone, as
 * `apply` does, so that they are the same at work, after a restart, and when they are made of a history.
 *
 *   event                                       spans that it ends
 *   started, accepted                           run: it is of no length. What the run does later is below it
 *   granted, ended while it is pending          pending
 *   entered, ended                              state, and the attempts that are under way (`closed`)
 *   settled, failed                             attempt
 *   fired, signalled, received, settled         the attempts of calls that it closes by their tags
 *   answered, ended with an answer              answer: from the request to its answer
 *   incident                                    incident: it is of no length
 */

interface Times {
  /** In milliseconds of engine time. */
  readonly from: number;
  readonly to: number;
}

/** Something that a run has done. */
export type RunSpan =
  /** The request is accepted. Its length is 0, so that it can be told at once: what follows may take months. */
  | (Times & { readonly kind: "run" })
  /** The run has waited for its time, or for its turn in a lane. */
  | (Times & { readonly kind: "pending" })
  /** A state that the run has left. `epoch` is unique in the run. */
  | (Times & {
      readonly kind: "state";
      readonly state: string;
      readonly epoch: number;
      /** The event of the chart that led out of it. Absent: the run has ended, or a migration has moved it. */
      readonly by?: string;
    })
  /** An attempt of a call that has ended, or a call of a hub that has. The two numbers are unique in the run. */
  | (Times & {
      readonly kind: "attempt";
      readonly callee: string;
      readonly hub?: true;
      readonly call: number;
      readonly attempt: number;
      /** Of the state that it was made in. */
      readonly epoch: number;
      /** `ok`, `timeout`, `closed` (nobody wants it any more), or the code of an error. */
      readonly outcome: string;
      /** The message of the error. */
      readonly message?: string;
      /** How often a process has ended with it under way. It was made once more each time. */
      readonly deaths?: number;
    })
  /** The request has its answer. */
  | (Times & {
      readonly kind: "answer";
      readonly answer: Answer["kind"];
      /** Of an error, or of a timeout. */
      readonly code?: string;
      readonly message?: string;
    })
  /** The run is parked. */
  | (Times & {
      readonly kind: "incident";
      readonly state: string;
      readonly code: string;
      readonly message: string;
    });

/** The spans that an event ends. `run` is as it is before the event. undefined: none. */
export function spansOf(run: Run, event: RunEvent): readonly RunSpan[] | undefined {
  const spans: RunSpan[] = [];
  endSpans(run, event, spans);
  return spans.length === 0 ? undefined : spans;
}

function endSpans(run: Run, event: RunEvent, spans: RunSpan[]): void {
  const { at } = event;
  switch (event.type) {
    case "started":
    case "accepted":
      spans.push({ kind: "run", from: at, to: at });
      return;
    case "granted":
      spans.push({ kind: "pending", from: run.createdAt, to: at });
      return;
    case "entered":
      if (event.kept === true) return;
      endState(run, at, event.by, spans);
      return;
    case "ended":
      if (run.status === "pending") spans.push({ kind: "pending", from: run.createdAt, to: at });
      endState(run, at, undefined, spans);
      if (event.answer !== undefined) spans.push(answered(run, at, event.answer));
      return;
    case "answered":
      spans.push(answered(run, at, event.answer));
      return;
    case "settled":
    case "failed": {
      const failure = event.type === "failed" ? event.failure : event.outcome;
      const isError = failure !== "ok" && failure.kind === "error";
      const outcome = isError ? failure.code : failure === "ok" ? "ok" : "timeout";
      endAttempt(run.calls.get(event.call), at, outcome, isError ? failure.message : undefined, spans);
      if (event.type === "settled") endClosed(run, event.closes, at, spans);
      return;
    }
    case "fired":
    case "signalled":
    case "received":
      endClosed(run, event.closes, at, spans);
      return;
    case "incident": {
      const { code, message } = event.error;
      spans.push({ kind: "incident", from: at, to: at, state: run.state, code, message });
      return;
    }
    default:
  }
}

function endState(run: Run, at: number, by: string | undefined, spans: RunSpan[]): void {
  for (const call of run.calls.values()) endAttempt(call, at, "closed", undefined, spans);
  const { state, epoch, enteredAt: from } = run;
  if (state === "") return;
  spans.push({ kind: "state", from, to: at, state, epoch, ...(by === undefined ? {} : { by }) });
}

function endClosed(run: Run, closes: readonly number[] | undefined, at: number, spans: RunSpan[]): void {
  for (const call of closes ?? []) endAttempt(run.calls.get(call), at, "closed", undefined, spans);
}

/** A call that is queued, or waits for its next attempt, has none under way. */
function endAttempt(
  call: Call | undefined,
  to: number,
  outcome: string,
  message: string | undefined,
  spans: RunSpan[],
): void {
  if (call === undefined || call.attempt === 0 || call.backoff) return;
  const { attempt, callee, deaths, isHub, number, run } = call;
  spans.push({
    kind: "attempt",
    // Earlier versions did not store it.
    from: call.since ?? run.enteredAt,
    to,
    callee,
    ...(isHub ? { hub: true } : {}),
    call: number,
    attempt,
    epoch: run.epoch,
    outcome,
    ...(message === undefined ? {} : { message }),
    ...(deaths === 0 ? {} : { deaths }),
  });
}

function answered(run: Run, to: number, answer: Answer): RunSpan {
  const span = { kind: "answer", from: run.createdAt, to, answer: answer.kind } as const;
  return answer.kind === "result" ? span : { ...span, code: answer.code, message: answer.message };
}
