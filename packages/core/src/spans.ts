import type { Answer, RunEvent } from "./events.ts";
import type { Call, Run } from "./run.ts";
import type { Outcome } from "./spoke.ts";

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

/** Spans so far. Most events end one or none, and each event of each run that is observed comes here: a list of one is small. */
type Spans = readonly RunSpan[] | undefined;

const add = (spans: Spans, span: RunSpan | undefined): Spans => {
  if (span === undefined) return spans;
  return spans === undefined ? [span] : [...spans, span];
};

/** The spans that an event ends. `run` is as it is before the event. undefined: none. */
export function spansOf(run: Run, event: RunEvent): readonly RunSpan[] | undefined {
  const { at } = event;
  switch (event.type) {
    case "started":
    case "accepted":
      return [{ kind: "run", from: at, to: at }];
    case "granted":
      return [pending(run, at)];
    case "entered":
      return event.kept === true ? undefined : endState(run, at, event.by);
    case "ended": {
      const waited = run.status === "pending" ? pending(run, at) : undefined;
      const ended = endState(run, at, undefined);
      const spans = waited === undefined ? ended : [waited, ...(ended ?? [])];
      return event.answer === undefined ? spans : add(spans, answered(run, at, event.answer));
    }
    case "answered":
      return [answered(run, at, event.answer)];
    case "settled":
    case "failed": {
      const failure = event.type === "failed" ? event.failure : event.outcome;
      const call = run.calls.get(event.call);
      const own = add(undefined, attemptSpan(run, call, at, failure));
      return event.type === "failed" || event.closes === undefined
        ? own
        : endClosed(run, event.closes, at, own);
    }
    case "fired":
    case "signalled":
    case "received":
      return event.closes === undefined ? undefined : endClosed(run, event.closes, at, undefined);
    case "incident": {
      const { code, message } = event.error;
      return [{ kind: "incident", from: at, to: at, state: run.state, code, message }];
    }
    default:
      return undefined;
  }
}

const pending = (run: Run, at: number): RunSpan => ({ kind: "pending", from: run.createdAt, to: at });

function endState(run: Run, at: number, by: string | undefined): Spans {
  const spans: RunSpan[] = [];
  for (const call of run.calls.values()) {
    const span = attemptSpan(run, call, at, "closed");
    if (span !== undefined) spans.push(span);
  }
  const { state, epoch, enteredAt: from } = run;
  if (state !== "") {
    const span = { kind: "state", from, to: at, state, epoch } as const;
    spans.push(by === undefined ? span : { ...span, by });
  }
  return spans.length === 0 ? undefined : spans;
}

function endClosed(run: Run, closes: readonly number[], at: number, before: Spans): Spans {
  const spans = [...(before ?? [])];
  for (const number of closes) {
    const span = attemptSpan(run, run.calls.get(number), at, "closed");
    if (span !== undefined) spans.push(span);
  }
  return spans.length === 0 ? undefined : spans;
}

/** A call that is queued, or waits for its next attempt, has none under way. */
function attemptSpan(
  { enteredAt, epoch }: Run,
  call: Call | undefined,
  to: number,
  end: "ok" | "closed" | Exclude<Outcome, { kind: "ok" }>,
): RunSpan | undefined {
  if (call === undefined || call.attempt === 0 || call.backoff) return undefined;
  const { attempt, callee, deaths, isHub, number, since } = call;
  const outcome = typeof end === "string" ? end : end.kind === "error" ? end.code : "timeout";
  // Earlier versions did not store when an attempt began.
  const span = {
    kind: "attempt",
    from: since ?? enteredAt,
    to,
    callee,
    call: number,
    attempt,
    epoch,
    outcome,
  } as const;
  const isPlain = !isHub && deaths === 0 && (typeof end === "string" || end.kind !== "error");
  if (isPlain) return span;
  return {
    ...span,
    ...(isHub ? { hub: true } : {}),
    ...(typeof end === "string" || end.kind !== "error" ? {} : { message: end.message }),
    ...(deaths === 0 ? {} : { deaths }),
  };
}

function answered(run: Run, to: number, answer: Answer): RunSpan {
  const span = { kind: "answer", from: run.createdAt, to, answer: answer.kind } as const;
  return answer.kind === "result" ? span : { ...span, code: answer.code, message: answer.message };
}
