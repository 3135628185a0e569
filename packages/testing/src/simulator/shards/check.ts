import { chartsOf } from "../charts.ts";
import { checkCalls } from "../checker/calls.ts";
import { checkTrace } from "../checker/check.ts";
import type { CheckedSystem } from "../checker/evidence.ts";
import { checkPosts } from "../checker/posts.ts";
import { checkSchedules } from "../checker/schedules.ts";
import { checkStarts, type Asked } from "../checker/starts.ts";
import { latestNowOf } from "../plans.ts";
import { addCounts, type Play } from "../world.ts";
import type { Ledger } from "./ledger.ts";
import type { Stage } from "./stage.ts";

/** Holds what was seen of each shard against the invariants, and adds what the ledger has found of all together. */
export function checkShards(
  { plan, opened, chronicle, clock }: Stage,
  ledger: Ledger,
  asked: readonly Asked[],
  patience: Pick<CheckedSystem, "graceMs" | "lagMs" | "catchUpMs">,
): Play {
  const { retentionMs = Number.POSITIVE_INFINITY, historyRetentionMs = Number.POSITIVE_INFINITY } = plan;
  const system = {
    ...chartsOf(opened.hubs),
    retentionMs,
    historyRetentionMs,
    latestNow: latestNowOf(plan, clock),
    ...patience,
  };
  const violations = [...ledger.violations];
  const exercised = new Map(ledger.exercised);
  const edges = new Set<string>();
  for (const [shard, trace] of chronicle.traces.entries()) {
    const checked = checkTrace(trace, system);
    addCounts(exercised, checked.exercised);
    for (const edge of checked.edges) edges.add(edge);
    for (const { invariant, message, place } of checked.violations)
      violations.push({ invariant, message: `shard ${shard} at ${trace[place]?.at} ms: ${message}` });
  }
  const { traces } = chronicle;
  const others = [
    checkPosts(traces),
    checkCalls(traces),
    checkSchedules(traces),
    checkStarts(traces, asked, opened.hubs),
  ];
  for (const other of others) {
    addCounts(exercised, other.exercised);
    violations.push(...other.violations);
  }
  const { commits, attempts, faults, happened, signals } = chronicle;
  return {
    violations,
    simulatedMs: clock.monotonicMs(),
    requests: plan.requests.length,
    attempts,
    commits,
    faults,
    happened,
    signals,
    exercised,
    edges,
    hubs: opened.hubs,
    lines: () => chronicle.lines(),
  };
}
