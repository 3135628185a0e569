import {
  decide,
  isRunning,
  type Call,
  type HubDefinition,
  type Input,
  type Run,
} from "@wheelwork/core/kernel";
import { nextTurn } from "../ports/clock.ts";
import type { Clock } from "../ports/ports.ts";
import type { InputItem } from "./items.ts";

/*
 * What a process that claims a shard for the first time tells the runs before it goes on with them. Each is decided and
 * committed like any other input, and nearly always there is none of the first kind, and after a stop in order none of the
 * second.
 */

type Died = Extract<Input, { kind: "died" }>;

const toRun = (run: Run, input: Input): InputItem => ({ kind: "input", key: run.key, input });

/** So many calls are checked together, and for so long, in milliseconds, before the loop goes on. */
const [checkedTogether, maxCheckMs] = [100, 10];

/**
 * Runs with open calls whose inputs are not as today's schemas want them: another version may have stored them. A run may have 100,000
 * calls, and a process many runs, so the loop goes on meanwhile.
 */
export async function outdated(
  runs: Iterable<Run>,
  hubs: ReadonlyMap<string, HubDefinition>,
  now: number,
  clock: Clock,
): Promise<InputItem[]> {
  const items: InputItem[] = [];
  let [checked, until] = [0, clock.monotonicMs() + maxCheckMs];
  for (const run of runs) {
    const definition = run.status === "running" ? hubs.get(run.hub) : undefined;
    if (definition === undefined) continue;
    const open = [...run.calls.keys()];
    for (let from = 0; from < open.length; from += checkedTogether) {
      const input: Input = { kind: "recheck", calls: open.slice(from, from + checkedTogether) };
      if (decide(definition, run, input, { now, random: 0 }).events.length > 0) items.push(toRun(run, input));
      checked += input.calls?.length ?? 0;
      if (checked < 10 * checkedTogether && clock.monotonicMs() < until) continue;
      await nextTurn(clock);
      [checked, until] = [0, clock.monotonicMs() + maxCheckMs];
    }
  }
  return items;
}

/**
 * Attempts that were under way when the process before this one died (core/src/deaths.ts). `underWay` says which of the open
 * attempts may have been.
 */
export function died(
  runs: Iterable<Run>,
  underWay: (calls: readonly Call[]) => readonly Call[],
): InputItem[] {
  const open: Call[] = [];
  for (const run of runs) {
    // The attempts of a parked run are not made again, so that they end no process.
    if (run.status !== "running") continue;
    for (const call of run.calls.values()) if (isRunning(call) && !call.isHub) open.push(call);
  }
  const found = underWay(open);
  const suspects = found.filter(({ alone }) => alone);
  const lone = suspects.length === 1 ? suspects[0] : undefined;
  const attempts = new Map<Run, Died["attempts"][number][]>();
  for (const { run, number: call, attempt, deaths } of found) {
    const ofRun = attempts.get(run) ?? [];
    ofRun.push({ call, attempt, deaths: deaths + 1 });
    attempts.set(run, ofRun);
  }
  return Array.from(attempts, ([run, ofRun]) => {
    const input: Died = { kind: "died", attempts: ofRun };
    return toRun(run, lone?.run === run ? { ...input, lone: lone.number } : input);
  });
}
