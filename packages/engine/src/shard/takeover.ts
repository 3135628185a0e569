import {
  decide,
  isRunning,
  type Call,
  type HubDefinition,
  type Input,
  type Run,
} from "@wheelwork/core/kernel";
import { BusyTurns } from "../ports/clock.ts";
import type { Clock } from "../ports/ports.ts";
import type { InputItem } from "./items.ts";

/*
 * What a process that claims a shard for the first time tells the runs before it goes on with them. Each is decided and
 * committed like any other input, and nearly always there is none of the first kind, and after a stop in order none of the
 * second.
 */

type Died = Extract<Input, { kind: "died" }>;

const toRun = (run: Run, input: Input): InputItem => ({ kind: "input", key: run.key, input });

/** So many calls are checked together. */
const checkedTogether = 100;

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
  const turns = new BusyTurns(clock, 10 * checkedTogether);
  for (const run of runs) {
    if (turns.tookOne()) await turns.next();
    const definition = run.status === "running" ? hubs.get(run.hub) : undefined;
    if (definition === undefined) continue;
    const open = [...run.calls.keys()];
    for (let from = 0; from < open.length; from += checkedTogether) {
      const input: Input = { kind: "recheck", calls: open.slice(from, from + checkedTogether) };
      if (decide(definition, run, input, { now, random: 0 }).events.length > 0) items.push(toRun(run, input));
      if (turns.took(checkedTogether)) await turns.next();
    }
  }
  return items;
}

/**
 * Attempts that were under way when the process before this one died (core/src/deaths.ts). `underWay` says which of the open
 * attempts may have been.
 */
export async function died(
  runs: Iterable<Run>,
  underWay: (calls: readonly Call[]) => readonly Call[],
  clock: Clock,
): Promise<InputItem[]> {
  const turns = new BusyTurns(clock);
  const open: Call[] = [];
  for (const run of runs) {
    // The attempts of a parked run are not made again, so that they end no process.
    if (run.status === "running")
      for (const call of run.calls.values()) if (isRunning(call) && !call.isHub) open.push(call);
    if (turns.took(1 + run.calls.size)) await turns.next();
  }
  const found = underWay(open);
  const suspects = found.filter(({ alone }) => alone);
  const lone = suspects.length === 1 ? suspects[0] : undefined;
  const attempts = new Map<Run, Died["attempts"][number][]>();
  for (const { run, number: call, attempt, deaths } of found) {
    const ofRun = attempts.get(run) ?? [];
    ofRun.push({ call, attempt, deaths: deaths + 1 });
    attempts.set(run, ofRun);
    if (turns.tookOne()) await turns.next();
  }
  const items: InputItem[] = [];
  for (const [run, ofRun] of attempts) {
    const input: Died = { kind: "died", attempts: ofRun };
    items.push(toRun(run, lone?.run === run ? { ...input, lone: lone.number } : input));
    if (turns.tookOne()) await turns.next();
  }
  return items;
}
