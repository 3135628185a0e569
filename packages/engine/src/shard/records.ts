import type { Answer, Failure, Outcome, RunEvent, RunSpan } from "@wheelwork/core";
import {
  incidentKind,
  isRetrying,
  isUnbegun,
  Secrets,
  snapshot,
  type Call,
  type HubDefinition,
  type Input,
  type Run,
  type StartOptions,
  type Writable,
  secretsOfAll,
} from "@wheelwork/core/kernel";
import type { CarriedAnswer } from "../ports/calls.ts";
import { isRoot, toldSpoke } from "../ports/keys.ts";
import type { AuditEntry, StoredAnswer, StoredRun } from "../ports/ports.ts";
import { contextOf, hasSpans, type Tracing } from "../ports/trace.ts";
import type { Batch } from "./batch.ts";
import { activityOf, attemptsOf } from "./listed.ts";
import type { AttemptId, RequestItem } from "./items.ts";
import type { Reply } from "./outbox.ts";

/**
 * Whether a run must be in memory: it has open calls, or its round has inputs without one, another run waits for its answer, its first
 * turn or the rest of a retry is due, or its lane needs it there.
 */
export const isHot = (run: Run): boolean =>
  run.calls.size > 0 ||
  run.round.left !== undefined ||
  (run.origin.parent !== undefined && run.answer === undefined) ||
  isUnbegun(run) ||
  isRetrying(run) ||
  run.lane?.stays === true;

/** The first event of a run. */
export type Beginning = Extract<RunEvent, { type: "started" | "accepted" }>;

export const isBeginning = (event: RunEvent | undefined): event is Beginning =>
  event?.type === "started" || event?.type === "accepted";

/** Whether an event gave the answer of its request. */
export const gaveAnswer = (event: RunEvent): boolean =>
  event.type === "answered" || (event.type === "ended" && event.answer !== undefined);

/** An answer as it is published. Its id is the same each time, and another one if the key is used again after its retention. */
export const replyOf = (
  known: Pick<StoredAnswer, "key" | "createdAt">,
  replyTo: string,
  answer: Answer,
): Reply => ({
  key: known.key,
  replyTo,
  id: `${known.key}@${known.createdAt}`,
  answer,
});

/** The same, with the span of its run. */
export const tracedReplyOf = (
  run: Run,
  replyTo: string,
  answer: Answer,
  tracing: Tracing | undefined,
): Reply => ({ ...replyOf(run, replyTo, answer), trace: contextOf(tracing, run, { kind: "run" }) });

/** What the answer of a hub is for the hub that called it. */
export function outcomeOf(answer: Answer): Outcome {
  switch (answer.kind) {
    case "result":
      return { kind: "ok", output: answer.value };
    case "timeout":
      return { kind: "timeout" };
    case "error": {
      const { code, message, details } = answer;
      const failed = { kind: "error" as const, code, message };
      return details === undefined ? failed : { ...failed, details };
    }
  }
}

/** What the answer of the carrier of a call is for the caller: that of its callee. */
export const calleesOutcome = (answer: Answer): Outcome =>
  outcomeOf(answer.kind === "result" ? (answer.value as CarriedAnswer).answer : answer);

/**
 * The row of a live run. Its snapshot is made when the store reads it, run by run: those of all runs at once would need as
 * much memory as the runs. Nothing is decided while a checkpoint is written, so that it says what the run is now: after the batch
 * `seq`.
 */
export function storedRun(run: Run, seq: number): StoredRun {
  return {
    seq,
    key: run.key,
    hub: run.hub,
    version: run.version,
    status: run.status,
    state: run.state,
    ...(run.status === "running" ? { activity: activityOf(run), attempts: attemptsOf(run) } : {}),
    createdAt: run.createdAt,
    answeredAt: run.answered?.at,
    hot: isHot(run),
    due: run.nextDue,
    root: isRoot(run),
    ...(run.lane === undefined ? {} : { lane: run.lane }),
    ...(run.origin.labels === undefined ? {} : { labels: run.origin.labels }),
    ...(run.incident === undefined ? {} : { incident: incidentKind(run.incident.error) }),
    get snapshot() {
      return snapshot(run);
    },
  };
}

/** Whether a run was a tell that has failed for good. */
const isLost = (run: Run): boolean =>
  run.status === "ended" && run.answer?.kind !== "result" && toldSpoke(run) !== undefined;

/** The row of an answer. `isViewed`: the hub of the run has a view. */
export function storedAnswer(run: Run, firstSeq: number, lastSeq: number, isViewed: boolean): StoredAnswer {
  const { labels, replyTo } = run.origin;
  const stored: Writable<StoredAnswer> = {
    key: run.key,
    hub: run.hub,
    version: run.version,
    hash: run.origin.hash,
    state: run.state,
    status: isLost(run) ? "lost" : run.status,
    createdAt: run.createdAt,
    answeredAt: run.answered?.at ?? run.events.lastAt,
    endedAt: run.endedAt,
    root: isRoot(run),
    answer: run.answer as Answer,
    request: run.origin.request,
    firstSeq,
    lastSeq,
  };
  if (labels !== undefined) stored.labels = labels;
  if (replyTo !== undefined) stored.replyTo = replyTo;
  if (isViewed && run.status === "ended") stored.data = run.data;
  return stored;
}

/** What the outcome of a call is for its run. */
export const outcomeInput = ({ number, attempt, run }: Call, outcome: Outcome): Input => ({
  kind: "outcome",
  call: number,
  attempt,
  epoch: run.epoch,
  outcome,
});

/** Notes what a run has done. */
export function noteSpans(batch: Batch, run: Run, spans: readonly RunSpan[]): void {
  if (!hasSpans(run)) return;
  const { key, hub, version, createdAt, trace } = run;
  const isRequest = isRoot(run);
  for (const span of spans)
    batch.effects.observed.push({ name: "span", key, hub, version, createdAt, isRequest, trace, span });
}

/** Notes attempts that a process has died with. */
export function noteDeaths(batch: Batch, run: Run, { attempts }: Extract<RunEvent, { type: "died" }>): void {
  for (const { call: number, deaths } of attempts) {
    const { callee = "", attempt = 0 } = run.calls.get(number) ?? {};
    batch.effects.observed.push({
      name: "attempt-died",
      callee,
      key: run.key,
      call: number,
      attempt,
      deaths,
    });
  }
}

/** Notes an attempt that has not succeeded. */
export function noteFailure(
  batch: Batch,
  run: Run,
  event: Extract<RunEvent, { type: "failed" | "settled" }>,
): void {
  const failure = event.type === "failed" ? event.failure : event.outcome;
  if (failure === "ok") return;
  const call = run.calls.get(event.call);
  if (call === undefined || call.isHub) return;
  const { callee, number, attempt } = call;
  const { observed } = batch.effects;
  const of = { callee, key: run.key, call: number, attempt };
  if (failure.kind === "timeout") observed.push({ name: "attempt-timeout", ...of });
  if (event.type === "settled") return;
  const why = failure.kind === "timeout" ? "timeout" : failure.code;
  observed.push({ name: "retry", ...of, failure: why, inMs: event.due - event.at });
}

type Incident = Extract<RunEvent, { type: "incident" }>;

/** What deciding must know of workers, and of what they and handlers throw. */
export interface OutcomeRules {
  /** An outcome that another process reports, checked against the contract of its spoke. */
  check(spoke: string, outcome: Outcome, correlation: string): Outcome;
  /** When an attempt times out, if it has waited for a place at its worker; `now`: engine time. */
  dueAfterWait(call: Call, now: number): number | undefined;
  /** What the worker of a call has said last of its progress, if it is not stored. */
  unsavedProgress(call: Call): unknown;
  /** An exception of a handler without what nobody should keep. */
  redact(error: Incident["error"]): Incident["error"];
  /** The open attempt of a spoke that has this correlation. */
  expected(spoke: string, correlation: string): (AttemptId & { readonly requestId: string }) | undefined;
}

const commandOf: { readonly [type in RunEvent["type"]]?: AuditEntry["command"] } = {
  started: "submit",
  accepted: "submit",
  signalled: "signal",
  cancelling: "cancel",
  resumed: "retry",
  ended: "resolve",
};

/** Notes a command for the audit list, if somebody has given it: its first event says so. */
export function noteGiver(batch: Batch, { key, hub }: Run, events: readonly RunEvent[]): void {
  const event = events[0];
  if (event?.givenBy === undefined) return;
  const input = event.type === "parked" || event.type === "incident" ? event.input : undefined;
  const command = commandOf[event.type] ?? (input?.kind as AuditEntry["command"] | undefined) ?? "submit";
  const signal = event.type === "signalled" ? event.signal : input?.["signal"];
  const named = typeof signal === "string" ? { signal } : {};
  batch.audit.push({ at: event.at, by: event.givenBy, command, key, hub, ...named });
}

/** What the run of a new request is made from. */
export function startOptions(item: RequestItem): StartOptions {
  const { request, hash, caller, isStored, deadlineMs, replyTo, trace, givenBy } = item;
  // One literal, and then what few requests have: each spread of a field that may be absent makes an object.
  const options: Writable<StartOptions> = { request, hash };
  if (caller !== undefined) options.caller = caller;
  if (isStored !== undefined) options.isStored = isStored;
  if (deadlineMs !== undefined) options.deadlineMs = deadlineMs;
  if (replyTo !== undefined) options.replyTo = replyTo;
  if (trace !== undefined) options.trace = trace;
  if (givenBy !== undefined) options.givenBy = givenBy;
  return options;
}

/** An event without what the texts of a failure repeat of secrets. `run` is as it was before the event. */
export function withoutSecrets(hubs: Hubs, run: Run, event: RunEvent): RunEvent {
  const { type } = event;
  if (type !== "incident" && type !== "failed" && !(type === "settled" && event.outcome !== "ok"))
    return event;
  const input = type === "incident" ? undefined : run.calls.get(event.call)?.input;
  const secrets = secretsOf(hubs, run, input);
  if (secrets === undefined) return event;
  if (type === "incident") return { ...event, error: secrets.hide(event.error) as typeof event.error };
  if (type === "failed") return { ...event, failure: secrets.hide(event.failure) as Failure };
  return { ...event, outcome: secrets.hide(event.outcome) as Failure };
}

type Hubs = ReadonlyMap<string, HubDefinition>;

/** What hides the secrets of a run, and those of other values, such as the input of one of its calls. undefined: there are none. */
export function secretsOf(
  hubs: Hubs,
  { hub, origin, data }: Run,
  ...others: readonly unknown[]
): Secrets | undefined {
  const paths = hubs.get(hub)?.secrets ?? [];
  return paths.length === 0 ? undefined : new Secrets(paths, [origin.request, data, ...others]);
}

/** What hides the secrets of a call and its output. Without a call nobody knows the run: then what any hub names is hidden. */
export function secretsOfCall(hubs: Hubs, call: Call | undefined, output: unknown): Secrets | undefined {
  if (call !== undefined) return secretsOf(hubs, call.run, call.input, output);
  const paths = secretsOfAll(hubs);
  return paths.length === 0 ? undefined : new Secrets(paths, [output]);
}

/** Spans whose messages repeat no secret of their run. */
export function shownSpans(hubs: Hubs, run: Run, spans: readonly RunSpan[]): readonly RunSpan[] {
  if ((hubs.get(run.hub)?.secrets ?? []).length === 0) return spans;
  return spans.map((span) => {
    if (!("message" in span) || span.message === undefined) return span;
    return { ...span, message: secretsOf(hubs, run)?.hideIn(span.message) ?? span.message };
  });
}
