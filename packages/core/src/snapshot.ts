import type { NamedCommand } from "./commands.ts";
import { deepFreeze } from "./json.ts";
import { KeptInputs } from "./kept-inputs.ts";
import type { Answer, ArrivalBounds, KeptSignal, OpenedCalls, ParkedInput } from "./events.ts";
import { restoredInputsLeft, storedInputsLeft, type StoredInputsLeft } from "./round.ts";
import { Call, callsOf, Run, type RunOrigin, type RunStart } from "./run.ts";

/** The stored form of a run: plain JSON, without its history. The key is stored beside it. */
export interface RunSnapshot {
  readonly [field: string]: unknown;
}

/** A run as plain JSON. `restore` makes the run of it again. */
export function snapshot(run: Run): RunSnapshot {
  return {
    hub: run.hub,
    version: run.version,
    request: run.origin.request,
    hash: run.origin.hash,
    status: run.status,
    eventCount: Number.isNaN(run.events.count) ? undefined : run.events.count,
    state: run.state,
    enteredAt: run.enteredAt,
    epoch: run.epoch,
    data: run.data,
    nextCall: run.nextCall,
    nextQueued: run.round.nextQueued,
    calls: storedCalls(run),
    inputsLeft: storedInputsLeft(run),
    held: run.round.held,
    deadline: run.deadline,
    late: run.late,
    due: run.due,
    timers: run.timers,
    answerBy: run.answerBy,
    answer: run.answer,
    parent: run.origin.parent,
    caller: run.origin.caller,
    replyTo: run.origin.replyTo,
    labels: run.origin.labels,
    trace: run.trace,
    lane: run.lane,
    startAt: run.start?.at,
    arrival: run.start?.arrival,
    recheck: run.start?.recheck,
    cancelling: run.cancel !== "none",
    cancelled: run.cancel === "moved",
    signals: run.received.signals,
    commands: [...(run.received.unnamed ?? [])],
    named: run.received.named === undefined ? undefined : namesOf(run.received.named),
    incident: run.incident && { ...run.incident, inputs: run.incident.inputs.list },
    createdAt: run.createdAt,
    updatedAt: run.events.lastAt,
    answeredAt: run.answered?.at,
    endedAt: run.endedAt,
  };
}

/**
 * The open calls. Those of a round that are alike but for their inputs are written together: a run may have 100,000 of them, and the
 * loop stands still while it is written.
 */
function storedCalls(run: Run): readonly StoredCall[] {
  const stored: StoredCall[] = [];
  let group: { readonly last: Call; readonly inputs: unknown[]; readonly keys: string[] } | undefined;
  for (const call of run.calls.values()) {
    const { last, inputs, keys } = group ?? {};
    if (last !== undefined && goesOn(last, call, inputs?.length ?? 0)) {
      inputs?.push(call.input);
      if (call.key !== undefined) keys?.push(call.key);
      continue;
    }
    group = { last: call, inputs: [call.input], keys: call.key === undefined ? [] : [call.key] };
    stored.push({
      first: call.number,
      callee: call.callee,
      ...(call.isHub && { hub: true }),
      index: call.index,
      ...(call.tag !== undefined && { tag: call.tag }),
      inputs: group.inputs,
      ...(call.key !== undefined && { keys: group.keys }),
      ...(call.transformed && { transformed: true }),
      ...(call.due !== undefined && { due: call.due }),
      ...(call.firstDue !== undefined && { firstDue: call.firstDue }),
      ...(call.progress !== undefined && { progress: call.progress }),
      attempt: call.attempt,
      ...(call.since !== undefined && { since: call.since }),
      ...(call.backoff && { backoff: true }),
      ...(call.deaths !== 0 && { deaths: call.deaths }),
      ...(call.alone && { alone: true }),
    });
  }
  return stored;
}

/** Whether a call follows on those of a group that begins with `first`, and is like them but for its input and its key. */
const goesOn = (first: Call, call: Call, count: number): boolean =>
  call.number === first.number + count &&
  call.index === first.index + count &&
  call.callee === first.callee &&
  call.isHub === first.isHub &&
  call.tag === first.tag &&
  (call.key === undefined) === (first.key === undefined) &&
  call.transformed === first.transformed &&
  call.due === first.due &&
  call.firstDue === first.firstDue &&
  call.progress === undefined &&
  first.progress === undefined &&
  call.attempt === first.attempt &&
  call.since === first.since &&
  call.backoff === first.backoff &&
  call.deaths === first.deaths &&
  call.alone === first.alone;

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

/** What `snapshot` writes that is not a field of a run with the same name. */
interface Stored extends Partial<RunOrigin> {
  readonly request: unknown;
  readonly hash: string;
  readonly calls: readonly StoredCall[];
  readonly commands: readonly string[];
  readonly inputsLeft?: StoredInputsLeft;
  readonly named?: Readonly<Record<string, string | StoredName>>;
  readonly signals: readonly KeptSignal[];
  readonly answer?: Answer;
  readonly answeredAt?: number;
  readonly endedAt?: number;
  readonly startAt?: number;
  readonly arrival?: ArrivalBounds;
  readonly recheck?: RunStart["recheck"];
  readonly eventCount?: number;
  readonly updatedAt: number;
  readonly nextQueued: number;
  readonly incident?: Omit<NonNullable<Run["incident"]>, "inputs"> & {
    readonly inputs: readonly ParkedInput[];
  };
  readonly held?: string;
  readonly cancelling?: boolean;
  readonly cancelled?: boolean;
}

/**
 * The data of a run, with what it has of its request as the request has it: in a run that began here they are one object. Those that were
 * read are two, which take twice the memory.
 */
function sharing(data: unknown, request: unknown): unknown {
  // What is frozen was not read: it is that of a run in memory, which shares what it has.
  if (!isFields(data) || !isFields(request) || Object.isFrozen(data)) return data;
  if (isSame(data, request)) return request;
  for (const [name, value] of Object.entries(data)) {
    if (Object.hasOwn(request, name) && isSame(value, request[name])) data[name] = request[name];
    else if (isSame(value, request)) data[name] = request;
  }
  return data;
}

const isFields = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Whether two values that were JSON have the same one, with its properties in the same order. */
function isSame(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return false;
  if (Array.isArray(one) !== Array.isArray(other)) return false;
  const [names, others] = [Object.keys(one), Object.keys(other)];
  if (names.length !== others.length) return false;
  return names.every(
    (name, place) => name === others[place] && isSame((one as Fields)[name], (other as Fields)[name]),
  );
}

type Fields = Readonly<Record<string, unknown>>;

/** Makes the run again that `snapshot` wrote. */
export function restore(key: string, stored: RunSnapshot): Run {
  const run = new Run(key);
  const { answer, answeredAt, calls, commands, inputsLeft, named, signals, ...fields } =
    stored as RunSnapshot & Stored;
  const { request, hash, parent, caller, replyTo, labels, startAt, arrival, recheck, ...others } = fields;
  const {
    eventCount,
    incident,
    updatedAt,
    nextQueued,
    held,
    cancelling,
    cancelled,
    endedAt: _,
    ...plain
  } = others;
  Object.assign(run, plain);
  run.data = sharing(run.data, request);
  run.origin = { request: deepFreeze(request), hash, parent, caller, replyTo, labels };
  if (startAt !== undefined || recheck !== undefined) run.start = { at: startAt, arrival, recheck };
  // Earlier versions stored neither the count nor `enteredAt`.
  run.events.count = eventCount ?? Number.NaN;
  run.events.lastAt = updatedAt;
  if (stored["enteredAt"] === undefined) run.enteredAt = updatedAt;
  if (cancelling === true) run.cancel = cancelled === true ? "moved" : "accepted";
  if (incident !== undefined) run.incident = { ...incident, inputs: new KeptInputs(incident.inputs) };
  if (answer !== undefined) run.answered = { answer, at: answeredAt ?? updatedAt };
  deepFreeze(run.data);
  run.round.nextQueued = nextQueued;
  run.round.held = held;
  run.round.left = restoredInputsLeft(deepFreeze(inputsLeft), run.data);
  for (const held of calls) {
    deepFreeze(held);
    for (let position = 0; position < held.inputs.length; position++) {
      const call = new Call(run, held, position);
      call.attempt = held.attempt;
      call.since = held.since;
      call.backoff = held.backoff === true;
      call.deaths = held.deaths ?? 0;
      call.alone = held.alone === true;
      call.due = held.due;
      call.firstDue = held.firstDue;
      call.progress = held.progress;
      callsOf(run).set(call.number, call);
    }
  }
  if (commands.length > 0) run.received.unnamed = new Set(commands);
  for (const [name, known] of Object.entries(named ?? {})) {
    // Earlier versions did not store when a command came.
    const [hash, at, number] = typeof known === "string" ? [known, updatedAt] : known;
    (run.received.named ??= new Map()).set(name, number === undefined ? { hash, at } : { hash, at, number });
  }
  for (const signal of signals) run.received.signals.push(deepFreeze(signal));
  return run;
}
