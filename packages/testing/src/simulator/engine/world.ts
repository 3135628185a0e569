import type { RunEvent } from "@wheelwork/core";
import { chartsOf } from "../charts.ts";
import { checkTrace, type Checked } from "../checker/check.ts";
import { checkPosts } from "../checker/posts.ts";
import { checkSchedules } from "../checker/schedules.ts";
import { checkStarts } from "../checker/starts.ts";
import { latestNowOf } from "../plans.ts";
import { rootOf } from "../root.ts";
import type { SimulatedSystem } from "../systems.ts";
import { lineOf, type TraceEntry } from "../trace.ts";
import { addCounts, count, type Play, type World } from "../world.ts";
import { Machine } from "./machine.ts";
import { engineFaultKinds, enginePlanOf, smallerEnginePlans, type EnginePlan } from "./plan.ts";

/** The world of one embedded engine: one process at a time, its store, and the network of its workers. */
export const engineWorld: World<EnginePlan> = {
  name: "engine",
  faultKinds: engineFaultKinds,
  plan: enginePlanOf,
  play,
  smaller: smallerEnginePlans,
  describe: ({ requests, commands, scheduleCommands, bulks, faults, seed: _seed, ...settings }) => [
    ...requests.map(
      ({ at, key, twice, start }) =>
        `at ${at}: request ${key}${twice ? ", twice" : ""}${start === undefined ? "" : ` to begin at ${start.at}`}`,
    ),
    ...commands.map(({ at, kind, id, request }) => `at ${at}: ${kind} ${id} to ${requests[request]?.key}`),
    ...scheduleCommands.map(
      ({ at, kind, id, seed }) => `at ${at}: ${kind} ${id} to a schedule, seed ${seed}`,
    ),
    ...bulks.map((bulk) => `at ${bulk.at}: bulk ${JSON.stringify(bulk)}`),
    ...faults.map(({ kind, at, forMs }) => `${kind} at ${at}, ${forMs} ms`),
    JSON.stringify(settings),
  ],
};

async function play(system: SimulatedSystem, plan: EnginePlan): Promise<Play> {
  const machine = await run(system, plan);
  const { trace, signals, opened, clock } = machine;
  const { violations, exercised, edges } = plan.compares
    ? await compare(system, plan, trace, check(machine))
    : check(machine);
  const totals = { requests: 0, attempts: 0, commits: 0 };
  const faults = new Map<string, number>();
  const happened = new Map<string, number>();
  const told = new Map<string, number>();
  for (const entry of trace) {
    if (entry.type === "fault") count(faults, entry.kind);
    else if (entry.type === "told") count(happened, `answer ${entry.answer.kind}`);
    else if (entry.type === "accepted") totals.requests++;
    else if (entry.type === "noted") count(happened, entry.what);
    else if (entry.type === "attempt") totals.attempts++;
    else if (entry.type === "committed") totals.commits++;
  }
  count(happened, `store ${plan.file ? "file" : plan.remote ? "network" : "memory"}`);
  for (const signal of signals) {
    count(told, signal.name);
    if (signal.name === "ignored") count(happened, `ignored ${signal.reason}`);
  }
  const until = violations[0]?.place ?? trace.length;
  return {
    ...totals,
    violations,
    simulatedMs: clock.monotonicMs(),
    faults,
    happened,
    signals: told,
    exercised,
    edges,
    hubs: opened.hubs,
    lines: () => trace.slice(0, until + 1).map(lineOf),
  };
}

async function run(system: SimulatedSystem, plan: EnginePlan): Promise<Machine> {
  const machine = new Machine(system, plan);
  await machine.play();
  return machine;
}

function check({ trace, opened, plan, clients, findings, clock }: Machine): Checked {
  const checked = checkTrace(trace, {
    ...chartsOf(opened.hubs),
    retentionMs: plan.retentionMs ?? Number.POSITIVE_INFINITY,
    historyRetentionMs: plan.historyRetentionMs ?? Number.POSITIVE_INFINITY,
    latestNow: latestNowOf(plan, clock),
    // A store over a network takes its time for each batch, and batches may be small.
    graceMs: plan.remote ? 5_000 : 1_500,
    lagMs: plan.remote ? 100 : 0,
    catchUpMs: plan.remote ? 500 : 0,
  });
  const others = [
    findings,
    checkPosts([trace]),
    checkSchedules([trace]),
    checkStarts([trace], clients.asked, opened.hubs),
  ];
  const exercised = new Map(checked.exercised);
  const violations = [...checked.violations];
  for (const other of others) {
    addCounts(exercised, other.exercised);
    violations.push(...other.violations.map((one) => ({ ...one, place: trace.length - 1 })));
  }
  return { ...checked, violations, exercised };
}

/** Plays the plan again without its faults: answers and ways must be the same (I10). */
async function compare(
  system: SimulatedSystem,
  plan: EnginePlan,
  trace: readonly TraceEntry[],
  checked: Checked,
): Promise<Checked> {
  const calm = outlines((await run(system, { ...plan, faults: [] })).trace);
  const violations = [...checked.violations];
  const slowed = retimed(trace);
  const asked = new Set(plan.requests.map(({ key }) => key));
  for (const [key, outline] of outlines(trace)) {
    // What another run has started, and gets signals of others, depends on the time.
    if (outline === calm.get(key) || slowed.has(key) || !asked.has(key)) continue;
    const message = `${key} has another answer or way than without faults: ${outline}; ${calm.get(key)}`;
    violations.push({ invariant: "I10", message, place: trace.length - 1 });
  }
  const exercised = new Map(checked.exercised);
  addCounts(exercised, new Map([["I10", calm.size]]));
  return { ...checked, violations, exercised };
}

/**
 * Requests that the plan without faults gives other times: suspects are begun one after the other, and a migration asks timers anew.
 */
function retimed(trace: readonly TraceEntry[]): Set<string> {
  const found = new Set<string>();
  for (const entry of trace) {
    if (entry.type !== "committed") continue;
    for (const { key, events } of entry.journal) if (events.some(takesOtherTimes)) found.add(rootOf(key));
  }
  return found;
}

const takesOtherTimes = (event: RunEvent): boolean =>
  (event.type === "attempt" && event.alone === true) ||
  (event.type === "migrated" && event.timers !== undefined);

/** Of each request, the states that it went through, and its answer. */
function outlines(trace: readonly TraceEntry[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const entry of trace) {
    if (entry.type !== "view") continue;
    const states = entry.history.flatMap((event) => (event.type === "entered" ? [event.state] : []));
    found.set(entry.key, `${states.join(" ")} ${JSON.stringify(entry.answer)}`);
  }
  return found;
}
