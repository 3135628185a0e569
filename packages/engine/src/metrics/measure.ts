import type { EngineEvent } from "../ports/ports.ts";
import type { EngineHealth } from "../requests/api.ts";
import type { EngineStats } from "../requests/stats.ts";
import { metrics, type MetricDefinition, type MetricSink } from "./definitions.ts";

const seconds = (ms: number): number => ms / 1000;

/** Measures what `observe` is told. */
export function measure(event: EngineEvent, sink: MetricSink): void {
  switch (event.name) {
    case "accepted":
    case "known":
    case "refused":
      return sink.add(metrics.requests, 1, event.hub, event.name);
    case "span":
      return measureSpan(event, sink);
    case "outcome":
      if (event.waitMs !== undefined) sink.record(metrics.attemptWait, seconds(event.waitMs), event.callee);
      return;
    case "retry":
      return sink.add(metrics.retries, 1, event.callee, event.failure);
    case "attempt-died":
      return sink.add(metrics.attemptDeaths, 1, event.callee);
    case "batch":
      sink.record(metrics.commitTime, seconds(event.commitMs));
      sink.record(metrics.decideTime, seconds(event.decideMs));
      sink.record(metrics.batchInputs, event.inputs);
      sink.record(metrics.batchEvents, event.events);
      if (event.lateMs !== undefined) sink.record(metrics.callbackLateness, seconds(event.lateMs));
      return;
    case "incident":
      return sink.add(metrics.incidents, 1, event.hub, event.code);
    case "tell-lost":
      return sink.add(metrics.lostTells, 1, event.spoke);
    case "dead-letter":
      return sink.add(metrics.deadLetters, 1, event.topic);
    case "answer-unpublishable":
      return sink.add(metrics.unpublishable, 1, event.topic);
    case "log-lost":
      return sink.add(metrics.lostLogs, 1, event.topic);
    case "ignored":
      return sink.add(metrics.ignored, 1, event.reason);
    case "store-lost":
      return sink.add(metrics.storeLosses, 1);
    case "damaged":
      return sink.add(metrics.damages, 1);
    case "commits-lost":
      return sink.add(metrics.lostCommits, 1);
    case "shard-claimed":
    case "shard-released":
    case "shard-fenced":
    case "shard-refused":
      return sink.add(metrics.shardChanges, 1, event.name.slice("shard-".length));
    default:
  }
}

function measureSpan({ hub, isRequest, span }: EngineEvent & { name: "span" }, sink: MetricSink): void {
  const length = seconds(span.to - span.from);
  switch (span.kind) {
    case "answer":
      if (isRequest) sink.record(metrics.answerTime, length, hub, span.answer);
      return;
    case "state":
      return sink.record(metrics.stateTime, length, hub, span.state);
    case "attempt":
      if (span.hub !== true) sink.record(metrics.attemptTime, length, span.callee, span.outcome);
      return;
    default:
  }
}

/** The value of a gauge. */
export interface Gauge {
  readonly metric: MetricDefinition;
  readonly value: number;
  /** Those of its labels, in their order. */
  readonly values: readonly string[];
}

/** The gauges of an engine as it is now. */
export function gaugesOf({ ready }: EngineHealth, { shards }: EngineStats): Gauge[] {
  const sums = new Map<string, { metric: MetricDefinition; value: number; values: readonly string[] }>();
  const add = (metric: MetricDefinition, value: number, ...values: readonly string[]): void => {
    const name = [metric.name, ...values].join("\0");
    const sum = sums.get(name);
    if (sum === undefined) sums.set(name, { metric, value, values });
    else sum.value += value;
  };
  add(metrics.ready, ready ? 1 : 0);
  for (const stats of shards) {
    const shard = String(stats.shard);
    for (const { hub, status, state, count } of stats.runs) add(metrics.runs, count, hub, status, state);
    for (const { name, held, waiting } of stats.lanes) {
      add(metrics.laneHeld, held, name);
      add(metrics.laneWaiting, waiting, name);
    }
    add(metrics.openAttempts, stats.openAttempts, shard);
    add(metrics.queued, stats.queued, shard);
    add(metrics.callbacks, stats.callbacks, shard);
    add(metrics.unpublished, stats.unpublished, shard);
    if (stats.lag !== undefined) add(metrics.lag, stats.lag, shard);
    if (stats.storeBytes !== undefined) add(metrics.storeSize, stats.storeBytes, shard);
  }
  return [...sums.values()];
}
