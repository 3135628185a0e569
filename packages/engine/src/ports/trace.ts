import type { TraceContext } from "@wheelwork/core";
import { hash as digest } from "node:crypto";
import { callHubName } from "./calls.ts";
import { bulkHubName } from "./bulks.ts";
import { givenKey, scheduleHubName, tellHubName } from "./keys.ts";
import { postSpokeName } from "./posts.ts";

/*
 * Traces. A run that something outside has caused belongs to the trace of that; a call of a hub belongs to the trace of its
 * caller; every other run has a trace of its own. Ids are hashes of what names a span for good: the key of the run, when it was
 * created (the key may be used again), and what the span is of. So each process makes the same ids, a span that is told twice is
 * one span, and a worker's span finds its parent before that is told.
 */

/** What the ids of a run's spans are made of. */
export interface TracedRun {
  /** The key as its sender gave it. A run that a request has begun: its stored key. */
  readonly key: string;
  readonly hub: string;
  readonly createdAt: number;
  readonly trace?: TraceContext | undefined;
}

/** What a tracer tells the engine. `@wheelwork/opentelemetry` has one. */
export interface Tracing {
  /** Whether the spans of a run are recorded: what a run causes elsewhere is told so. It must not throw. */
  isSampled(run: TracedRun): boolean;
  /** The span that is active where it is called, if there is one. */
  active(): TraceContext | undefined;
  /** Calls the function of a worker, with the span of its attempt as the active one. */
  within<T>(context: TraceContext, make: () => T): T;
}

/** A `traceparent` in its parts. */
interface Traceparent {
  readonly traceId: string;
  readonly spanId: string;
  readonly flags: string;
}

const traceparentPattern =
  /^(?!ff)[\da-f]{2}-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-([\da-f]{2})(?:$|-)/;

/** Reads a `traceparent`. undefined: it is not valid, and so it counts as absent. */
export function readTraceparent(text: string | undefined): Traceparent | undefined {
  // Callers may give anything.
  const [, traceId, spanId, flags] = typeof text === "string" ? (traceparentPattern.exec(text) ?? []) : [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  // Of version 00, nothing follows.
  if (text?.startsWith("00") === true && text.length !== 55) return undefined;
  return { traceId, spanId, flags };
}

/** W3C Trace Context asks for so many characters of a `tracestate` to be handed on. */
const maxState = 512;

/** The context of the headers of a message. undefined: there is no valid one. */
export function traceContext(
  parent: string | undefined,
  state?: string | undefined,
  link?: boolean,
): TraceContext | undefined {
  const read = readTraceparent(parent);
  if (read === undefined) return undefined;
  const hasState = typeof state === "string" && state !== "" && state.length <= maxState && isAscii(state);
  return {
    parent: textOf(read),
    ...(hasState ? { state } : {}),
    ...(link === true ? { link } : {}),
  };
}

const isAscii = (text: string): boolean => /^[\t\x20-\x7e]*$/.test(text);

const textOf = ({ traceId, spanId, flags }: Traceparent): string => `00-${traceId}-${spanId}-${flags}`;

/** Headers of a message that carry a context on. */
export const traceHeaders = (context: TraceContext | undefined): Readonly<Record<string, string>> =>
  context === undefined
    ? {}
    : {
        traceparent: context.parent,
        ...(context.state === undefined ? {} : { tracestate: context.state }),
      };

/** The trace of a run: 32 hex digits. */
export function traceIdOf({ key, createdAt, trace }: TracedRun): string {
  const caused = trace?.link === true ? undefined : readTraceparent(trace?.parent);
  return caused?.traceId ?? digest("sha256", `${key}@${createdAt}`, "hex").slice(0, 32);
}

/** What names a span in its run. */
export type SpanName =
  | { readonly kind: "run" | "pending" | "answer" }
  | { readonly kind: "state"; readonly epoch: number }
  | { readonly kind: "attempt"; readonly call: number; readonly attempt: number }
  | { readonly kind: "incident"; readonly from: number };

function nameOf(span: SpanName): string {
  switch (span.kind) {
    case "state":
      return `state ${span.epoch}`;
    case "attempt":
      return `attempt ${span.call}.${span.attempt}`;
    case "incident":
      return `incident ${span.from}`;
    default:
      return span.kind;
  }
}

/** The id of a span of a run: 16 hex digits. */
export const spanIdOf = ({ key, createdAt }: TracedRun, span: SpanName): string =>
  digest("sha256", `${key}@${createdAt} ${nameOf(span)}`, "hex").slice(0, 16);

/** A run as the loop has it. */
interface StoredTracedRun {
  readonly key: string;
  readonly hub?: string;
  readonly createdAt?: number;
  readonly trace?: TraceContext | undefined;
}

/** A run as its ids are made of it. */
const tracedRun = ({ key, hub = "", createdAt = 0, trace }: StoredTracedRun): TracedRun => ({
  key: givenKey(key),
  hub,
  createdAt,
  trace,
});

/** Runs of the engine itself: they have no spans, and what they cause is linked to what has caused them. */
export const hasSpans = ({ hub }: { readonly hub: string }): boolean =>
  hub !== scheduleHubName && hub !== bulkHubName && hub !== callHubName && hub !== tellHubName(postSpokeName);

/** What a span of a run causes gets this context. An engine that traces nothing hands on what it was given itself. */
export function contextOf(
  tracing: Tracing | undefined,
  given: StoredTracedRun,
  span: SpanName,
): TraceContext | undefined {
  if (tracing === undefined) {
    const { trace } = given;
    return trace?.link === true ? undefined : trace;
  }
  const run = tracedRun(given);
  const spanId = spanIdOf(run, span);
  const flags = tracing.isSampled(run) ? "01" : "00";
  const parent = textOf({ traceId: traceIdOf(run), spanId, flags });
  const state = run.trace?.link === true ? undefined : run.trace?.state;
  return state === undefined ? { parent } : { parent, state };
}

/** The same for what a state causes and does not wait for: it may outlive the run. */
export function linkOf(
  tracing: Tracing | undefined,
  run: StoredTracedRun & { readonly hub: string; readonly epoch: number },
): TraceContext | undefined {
  if (!hasSpans(run)) return run.trace;
  const context = contextOf(tracing, run, { kind: "state", epoch: run.epoch });
  return context === undefined ? undefined : { ...context, link: true };
}
