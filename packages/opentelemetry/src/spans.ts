import {
  context,
  createTraceState,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Attributes,
  type Context,
  type HrTime,
  type Link,
  type SpanContext,
  type Tracer,
} from "@opentelemetry/api";
import {
  readTraceparent,
  spanIdOf,
  traceIdOf,
  type EngineEvent,
  type SpanName,
  type TracedRun,
  type Tracing,
} from "@wheelwork/engine";
import type { RunIds } from "./ids.ts";

export type SpanEvent = Extract<EngineEvent, { name: "span" }>;
type RunSpan = SpanEvent["span"];
type Cause = NonNullable<SpanEvent["trace"]>;

/** Which runs that nothing has caused are recorded: the share of their traces, from 0 to 1. The same runs in each process. */
function isChosen(traceId: string, share: number): boolean {
  return Number.parseInt(traceId.slice(-8), 16) < share * 2 ** 32;
}

const isRecorded = (flags: string): boolean => (Number.parseInt(flags, 16) & TraceFlags.SAMPLED) !== 0;

/** How the spans of a run are told, and how its trace is carried on. */
export class RunTraces implements Tracing {
  readonly #share: number;
  readonly #tracer: () => Tracer;
  readonly #ids: RunIds;

  constructor(share: number, tracer: () => Tracer, ids: RunIds) {
    this.#share = share;
    this.#tracer = tracer;
    this.#ids = ids;
  }

  isSampled(run: TracedRun): boolean {
    const cause = run.trace?.link === true ? undefined : readTraceparent(run.trace?.parent);
    return cause === undefined ? isChosen(traceIdOf(run), this.#share) : isRecorded(cause.flags);
  }

  active(): Cause | undefined {
    const span = trace.getSpanContext(context.active());
    if (span === undefined || !trace.isSpanContextValid(span)) return undefined;
    const flags = (span.traceFlags & TraceFlags.SAMPLED) === 0 ? "00" : "01";
    const state = span.traceState?.serialize();
    const parent = `00-${span.traceId}-${span.spanId}-${flags}`;
    return state === undefined || state === "" ? { parent } : { parent, state };
  }

  within<T>(cause: Cause, make: () => T): T {
    const span = spanContextOf(cause, false);
    return span === undefined ? make() : context.with(trace.setSpanContext(context.active(), span), make);
  }

  /** Tells the SDK of a span, all at once: it has ended. */
  tell(event: SpanEvent): void {
    if (!this.isSampled(event)) return;
    const { span, trace: cause } = event;
    const given = { traceId: traceIdOf(event), spanId: spanIdOf(event, nameOf(span)) };
    const { name, kind, attributes, error } = describe(event);
    const links: Link[] = [];
    let above: Context = ROOT_CONTEXT;
    if (span.kind === "run") {
      const caused = cause === undefined ? undefined : spanContextOf(cause, true);
      if (caused !== undefined && cause?.link === true) links.push({ context: caused });
      else if (caused !== undefined) above = trace.setSpanContext(ROOT_CONTEXT, caused);
    } else {
      const spanId = spanIdOf(event, aboveOf(span));
      above = trace.setSpanContext(ROOT_CONTEXT, {
        traceId: given.traceId,
        spanId,
        traceFlags: TraceFlags.SAMPLED,
      });
    }
    const options = { kind, attributes, links, startTime: timeOf(span.from) };
    const started = this.#ids.with(given, () => this.#tracer().startSpan(name, options, above));
    if (error !== undefined) started.setStatus({ code: SpanStatusCode.ERROR, message: error });
    started.end(timeOf(span.to));
  }
}

function spanContextOf({ parent, state }: Cause, isRemote: boolean): SpanContext | undefined {
  const read = readTraceparent(parent);
  if (read === undefined) return undefined;
  const { traceId, spanId, flags } = read;
  const traceFlags = isRecorded(flags) ? TraceFlags.SAMPLED : TraceFlags.NONE;
  const given = { traceId, spanId, traceFlags, isRemote };
  return state === undefined ? given : { ...given, traceState: createTraceState(state) };
}

/** Milliseconds since 1970, as the API takes them whatever they are. */
function timeOf(ms: number): HrTime {
  const seconds = Math.floor(ms / 1000);
  return [seconds, Math.round((ms - seconds * 1000) * 1e6)];
}

function nameOf(span: RunSpan): SpanName {
  switch (span.kind) {
    case "state":
      return { kind: "state", epoch: span.epoch };
    case "attempt":
      return { kind: "attempt", call: span.call, attempt: span.attempt };
    case "incident":
      return { kind: "incident", from: span.from };
    default:
      return { kind: span.kind };
  }
}

/** What a span is below: an attempt is below its state, all else is below the run. */
const aboveOf = (span: RunSpan): SpanName =>
  span.kind === "attempt" ? { kind: "state", epoch: span.epoch } : { kind: "run" };

interface Description {
  readonly name: string;
  readonly kind: SpanKind;
  readonly attributes: Attributes;
  /** Why it has failed. */
  readonly error?: string;
}

function describe({ hub, key, version, span }: SpanEvent): Description {
  const run = { "wheelwork.hub": hub, "wheelwork.request": key };
  switch (span.kind) {
    case "run":
      return { name: hub, kind: SpanKind.SERVER, attributes: { ...run, "wheelwork.hub.version": version } };
    case "pending":
      return { name: `${hub} pending`, kind: SpanKind.INTERNAL, attributes: run };
    case "state": {
      const by = span.by === undefined ? {} : { "wheelwork.event": span.by };
      const attributes = { ...run, "wheelwork.state": span.state, ...by };
      return { name: `${hub} ${span.state}`, kind: SpanKind.INTERNAL, attributes };
    }
    case "attempt": {
      const { callee, call, attempt, outcome, deaths, message = outcome } = span;
      const attributes = {
        ...run,
        [span.hub === true ? "wheelwork.callee" : "wheelwork.spoke"]: callee,
        "wheelwork.call": call,
        "wheelwork.attempt": attempt,
        "wheelwork.outcome": outcome,
        ...(deaths === undefined ? {} : { "wheelwork.deaths": deaths }),
      };
      const made = { name: callee, kind: SpanKind.CLIENT, attributes };
      return outcome === "ok" || outcome === "closed" ? made : { ...made, error: message };
    }
    case "answer": {
      const { answer, code, message = answer } = span;
      const coded = code === undefined ? {} : { "wheelwork.code": code };
      const attributes = { ...run, "wheelwork.answer": answer, ...coded };
      const made = { name: `${hub} answer`, kind: SpanKind.INTERNAL, attributes };
      return answer === "result" ? made : { ...made, error: message };
    }
    case "incident": {
      const attributes = { ...run, "wheelwork.state": span.state, "wheelwork.code": span.code };
      return { name: `${hub} incident`, kind: SpanKind.INTERNAL, attributes, error: span.message };
    }
  }
}
