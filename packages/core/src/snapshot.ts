import type { NamedCommand } from "./commands.ts";
import { deepFreeze } from "./json.ts";
import type { KeptSignal, OpenedCalls } from "./events.ts";
import { restoredInputsLeft, storedInputsLeft, type StoredInputsLeft } from "./round.ts";
import { Call, Run } from "./run.ts";

/** The stored form of a run: plain JSON, without its history. The key is stored beside it. */
export interface RunSnapshot {
  readonly [field: string]: unknown;
}

/** A run as plain JSON. `restore` makes the run of it again. */
export function snapshot(run: Run): RunSnapshot {
  return {
    hub: run.hub,
    version: run.version,
    request: run.request,
    hash: run.hash,
    status: run.status,
    eventCount: Number.isNaN(run.eventCount) ? undefined : run.eventCount,
    state: run.state,
    enteredAt: run.enteredAt,
    epoch: run.epoch,
    data: run.data,
    nextCall: run.nextCall,
    nextQueued: run.nextQueued,
    calls: Array.from(run.calls.values(), (call) => ({
      first: call.number,
      callee: call.callee,
      hub: call.isHub ? true : undefined,
      index: call.index,
      tag: call.tag,
      inputs: [call.input],
      keys: call.key === undefined ? undefined : [call.key],
      transformed: call.transformed ? true : undefined,
      due: call.due,
      firstDue: call.firstDue,
      progress: call.progress,
      attempt: call.attempt,
      since: call.since,
      backoff: call.backoff ? true : undefined,
      deaths: call.deaths === 0 ? undefined : call.deaths,
      alone: call.alone ? true : undefined,
    })),
    inputsLeft: storedInputsLeft(run),
    held: run.held,
    deadline: run.deadline,
    late: run.late,
    due: run.due,
    timers: run.timers,
    answerBy: run.answerBy,
    answer: run.answer,
    parent: run.parent,
    caller: run.caller,
    replyTo: run.replyTo,
    trace: run.trace,
    lane: run.lane,
    startAt: run.startAt,
    arrival: run.arrival,
    recheck: run.recheck,
    cancelling: run.cancelling,
    cancelled: run.cancelled,
    signals: run.signals,
    commands: [...run.commands],
    named: run.named === undefined ? undefined : namesOf(run.named),
    incident: run.incident,
    createdAt: run.createdAt,
    updatedAt: run.updatedAt,
    answeredAt: run.answeredAt,
    endedAt: run.endedAt,
  };
}

type StoredName = readonly [hash: string, at: number, number?: number];

const namesOf = (named: ReadonlyMap<string, NamedCommand>): Record<string, StoredName> =>
  Object.fromEntries(
    Array.from(named, ([name, { hash, at, number }]) => [
      name,
      number === undefined ? [hash, at] : [hash, at, number],
    ]),
  );

interface StoredCall extends OpenedCalls {
  readonly attempt: number;
  readonly since?: number;
  readonly firstDue?: number;
  readonly progress?: unknown;
  readonly backoff?: boolean;
  readonly deaths?: number;
  readonly alone?: boolean;
}

/** Makes the run again that `snapshot` wrote. */
export function restore(key: string, stored: RunSnapshot): Run {
  const run = new Run(key);
  const { calls, commands, inputsLeft, named, signals, ...plain } = stored as RunSnapshot & {
    readonly calls: readonly StoredCall[];
    readonly commands: readonly string[];
    readonly inputsLeft?: StoredInputsLeft;
    readonly named?: Readonly<Record<string, string | StoredName>>;
    readonly signals: readonly KeptSignal[];
  };
  Object.assign(run, plain);
  // Earlier versions stored neither.
  run.eventCount = (stored["eventCount"] as number | undefined) ?? Number.NaN;
  if (stored["enteredAt"] === undefined) run.enteredAt = run.updatedAt;
  deepFreeze(run.data);
  deepFreeze(run.request);
  run.inputsLeft = restoredInputsLeft(deepFreeze(inputsLeft), run.data);
  for (const held of calls) {
    const call = new Call(run, deepFreeze(held), 0);
    call.attempt = held.attempt;
    call.since = held.since;
    call.backoff = held.backoff === true;
    call.deaths = held.deaths ?? 0;
    call.alone = held.alone === true;
    call.due = held.due;
    call.firstDue = held.firstDue;
    call.progress = held.progress;
    run.calls.set(call.number, call);
  }
  for (const id of commands) run.commands.add(id);
  for (const [name, known] of Object.entries(named ?? {})) {
    // Earlier versions did not store when a command came.
    const [hash, at, number] = typeof known === "string" ? [known, run.updatedAt] : known;
    (run.named ??= new Map()).set(name, number === undefined ? { hash, at } : { hash, at, number });
  }
  for (const signal of signals) run.signals.push(deepFreeze(signal));
  return run;
}
