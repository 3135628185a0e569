import { Callback } from "./coordinator.ts";
import { WheelworkError } from "./errors.ts";
import type { Failure } from "./spoke.ts";

/** The answer to a request: the hub's result, an error (the hub's or the engine's), or a timeout. */
export type Answer<R = unknown, E extends string = string> =
  | { readonly kind: "result"; readonly value: R }
  | {
      readonly kind: "error";
      readonly code: E | "WW_CANCELLED" | "WW_INCIDENT";
      readonly message: string;
      readonly details?: unknown;
    }
  | { readonly kind: "timeout"; readonly code: "WW_TIMEOUT"; readonly message: string };

/** Where a run stands: it works, it is parked after an exception in a handler (I16), or it has ended. */
export type RunStatus = "running" | "incident" | "ended";

/** Calls that one turn opens together: same spoke, same deadline. */
export interface OpenedCalls {
  /** The hub or spoke that is called. */
  readonly callee: string;
  readonly hub?: true;
  /** Number of the first; the others follow (I3: numbers are never reused in a run). */
  readonly first: number;
  /** Position of the first in its round; the others follow. */
  readonly index?: number;
  readonly tag?: string;
  readonly inputs: readonly unknown[];
  /** Idempotency keys where the hub gives its own. */
  readonly keys?: readonly string[];
  /** How many start at once; default all. The others wait for a place in the round's limit. */
  readonly started?: number;
  /** Deadline of the first attempt, in milliseconds of engine time; a call of a hub has that of its run. */
  readonly due?: number;
}

/** The input of a turn that failed, kept so that it can be made again. */
export interface ParkedInput {
  readonly kind: "start" | "outcome" | "due" | "callDue" | "signal" | "cancel";
  readonly [field: string]: unknown;
}

/**
 * What happened to a run, in the order in which it happened. These events are all that is stored of a run: its state
 * is what `apply` makes of them, the journal is a list of them, and so is the history that users see. They carry the
 * state after, so replaying them needs no code of any hub (DESIGN, layout).
 */
export type RunEvent =
  | {
      readonly type: "started";
      readonly at: number;
      readonly hub: string;
      readonly version: number;
      readonly request: unknown;
      readonly hash: string;
      readonly data: unknown;
      readonly deadline: number;
      readonly answerBy: number;
      readonly parent?: { readonly key: string; readonly call: number };
      /** Where the answer is to be published, besides being stored. */
      readonly replyTo?: string;
    }
  | {
      readonly type: "entered";
      readonly at: number;
      readonly state: string;
      /** The event that led here; absent in the first state. */
      readonly by?: string;
      readonly patch?: object;
      readonly unset?: readonly string[];
      /** The deadline of the wait that begins here. */
      readonly due?: number;
      /** No answer of the hub by then: the engine answers. Only where it moves. */
      readonly answerBy?: number;
      /** The state is entered after the work: the hub's deadline no longer counts. */
      readonly late?: true;
      /** A cancel led here. */
      readonly cancelled?: true;
      readonly calls?: readonly OpenedCalls[];
    }
  | {
      readonly type: "settled";
      readonly at: number;
      readonly call: number;
      readonly outcome: "ok" | Failure;
      readonly by?: string;
      readonly patch?: object;
      readonly unset?: readonly string[];
      /** The event that the round holds until its other calls have settled. */
      readonly held?: string;
      readonly calls?: readonly OpenedCalls[];
    }
  | {
      readonly type: "failed";
      readonly at: number;
      readonly call: number;
      readonly attempt: number;
      readonly failure: Failure;
      /** When the next attempt begins. */
      readonly due: number;
    }
  | {
      readonly type: "attempt";
      readonly at: number;
      readonly call: number;
      readonly attempt: number;
      readonly due?: number;
    }
  | {
      readonly type: "told";
      readonly at: number;
      readonly call: number;
      readonly spoke: string;
      readonly input: unknown;
    }
  | {
      readonly type: "signalled";
      readonly at: number;
      readonly id: string;
      readonly signal: string;
      readonly payload: unknown;
      readonly taken?: true;
      readonly patch?: object;
      readonly unset?: readonly string[];
      readonly by?: string;
      readonly calls?: readonly OpenedCalls[];
    }
  | {
      readonly type: "received";
      readonly at: number;
      readonly signal: string;
      readonly by?: string;
      readonly patch?: object;
      readonly unset?: readonly string[];
      readonly calls?: readonly OpenedCalls[];
    }
  | {
      readonly type: "cancelling";
      readonly at: number;
      readonly id: string;
      readonly held?: string;
      readonly patch?: object;
      readonly unset?: readonly string[];
    }
  | { readonly type: "answered"; readonly at: number; readonly answer: Answer }
  | { readonly type: "ended"; readonly at: number; readonly answer?: Answer }
  | {
      readonly type: "incident";
      readonly at: number;
      readonly error: { readonly code: string; readonly message: string; readonly stack?: string };
      readonly input: ParkedInput;
    }
  | {
      /** The deadline of a clean-up passed while nobody worked: it begins anew. */
      readonly type: "rearmed";
      readonly at: number;
      readonly due: number;
      readonly answerBy?: number;
    }
  | { readonly type: "parked"; readonly at: number; readonly input: ParkedInput }
  | { readonly type: "resumed"; readonly at: number; readonly id: string }
  | { readonly type: "migrated"; readonly at: number; readonly version: number; readonly data?: unknown };

/** An open call of a run. */
export class Call extends Callback {
  readonly number: number;
  readonly callee: string;
  readonly isHub: boolean;
  readonly index: number;
  readonly tag: string | undefined;
  readonly input: unknown;
  readonly key: string | undefined;
  /** The current attempt, from 1; 0 while the call waits for a place in its round. */
  attempt: number;
  /** The attempt has failed, and the next one begins at `due`. */
  backoff = false;
  due: number | undefined;
  /**
   * A place for the owner of the run: what it has under way for the call. The core neither reads nor writes it, and it is not
   * stored. It is a field of the call because a Map in the owner costs more than 2 % of the throughput.
   */
  work: unknown = undefined;
  readonly run: Run;

  constructor(run: Run, opened: OpenedCalls, position: number) {
    super();
    this.run = run;
    this.number = opened.first + position;
    this.callee = opened.callee;
    this.isHub = opened.hub === true;
    this.index = (opened.index ?? 0) + position;
    this.tag = opened.tag;
    this.input = opened.inputs[position];
    this.key = opened.keys?.[position];
    const started = position < (opened.started ?? opened.inputs.length);
    this.attempt = started ? 1 : 0;
    this.due = started ? opened.due : undefined;
  }
}

/** One request and all that the engine knows of it. Only `apply` changes it. */
export class Run extends Callback {
  readonly key: string;
  hub = "";
  version = 0;
  request: unknown = null;
  hash = "";
  status: RunStatus = "running";
  state = "";
  /** How often the run has changed state (I3). */
  epoch = 0;
  data: unknown = null;
  nextCall = 0;
  readonly calls = new Map<number, Call>();
  /** Calls of the round that wait for a place: the numbers from here on. */
  nextQueued = 0;
  held: string | undefined = undefined;
  deadline = 0;
  late = false;
  due: number | undefined = undefined;
  answerBy = 0;
  answer: Answer | undefined = undefined;
  parent: { readonly key: string; readonly call: number } | undefined = undefined;
  replyTo: string | undefined = undefined;
  /** A cancel was accepted, and waits for a state that has its event. */
  cancelling = false;
  /** A cancel has led the run to another state. */
  cancelled = false;
  readonly signals: { readonly signal: string; readonly payload: unknown }[] = [];
  readonly commands = new Set<string>();
  incident:
    | {
        readonly at: number;
        readonly error: { readonly code: string; readonly message: string; readonly stack?: string };
        readonly inputs: ParkedInput[];
      }
    | undefined = undefined;
  createdAt = 0;
  updatedAt = 0;
  answeredAt: number | undefined = undefined;
  endedAt: number | undefined = undefined;

  constructor(key: string) {
    super();
    this.key = key;
  }

  /** When this run itself is next due: its wait, or the engine's own answer. */
  get nextDue(): number | undefined {
    const answerBy = this.answer === undefined && this.status !== "ended" ? this.answerBy : undefined;
    const due = this.status === "running" ? this.due : undefined;
    if (due === undefined) return answerBy;
    return answerBy === undefined || due <= answerBy ? due : answerBy;
  }
}

/** The idempotency key of a call: the same over attempts and restarts, never shared by two requests (I11). */
export function idempotencyKey(run: Pick<Run, "key">, call: Pick<Call, "key" | "number" | "callee">): string {
  return call.key === undefined
    ? `${run.key}/${call.number}`
    : `/${call.callee}/${run.key}/k:${encodeURIComponent(call.key)}`;
}

/** Applies an event to a run: the only code that changes runs, in operation and in recovery alike. */
export function apply(run: Run, event: RunEvent): void {
  run.updatedAt = event.at;
  switch (event.type) {
    case "started":
      run.hub = event.hub;
      run.version = event.version;
      run.request = event.request;
      run.hash = event.hash;
      run.data = event.data;
      run.deadline = event.deadline;
      run.answerBy = event.answerBy;
      run.parent = event.parent;
      run.replyTo = event.replyTo;
      run.createdAt = event.at;
      return;
    case "entered":
      clearCalls(run);
      run.held = undefined;
      run.state = event.state;
      run.epoch++;
      run.due = event.due;
      if (event.answerBy !== undefined) run.answerBy = event.answerBy;
      if (event.late === true) run.late = true;
      if (event.cancelled === true) run.cancelled = true;
      patch(run, event);
      open(run, event.calls);
      return;
    case "settled":
      run.calls.delete(event.call);
      if (event.held !== undefined) hold(run, event.held);
      patch(run, event);
      open(run, event.calls);
      return;
    case "failed": {
      const call = openCall(run, event.call);
      call.backoff = true;
      call.due = event.due;
      return;
    }
    case "attempt": {
      const call = openCall(run, event.call);
      if (call.attempt === 0) run.nextQueued = call.number + 1;
      call.backoff = false;
      call.attempt = event.attempt;
      call.due = event.due;
      return;
    }
    case "told":
      run.nextCall = event.call + 1;
      return;
    case "signalled":
      remember(run, "signal", event.id);
      if (event.taken !== true) run.signals.push({ signal: event.signal, payload: event.payload });
      patch(run, event);
      open(run, event.calls);
      return;
    case "received": {
      const position = run.signals.findIndex(({ signal }) => signal === event.signal);
      if (position >= 0) run.signals.splice(position, 1);
      patch(run, event);
      open(run, event.calls);
      return;
    }
    case "cancelling":
      remember(run, "cancel", event.id);
      run.cancelling = true;
      if (event.held !== undefined) hold(run, event.held);
      patch(run, event);
      return;
    case "answered":
      run.answer = event.answer;
      run.answeredAt = event.at;
      return;
    case "ended":
      clearCalls(run);
      run.held = undefined;
      run.due = undefined;
      run.status = "ended";
      run.incident = undefined;
      run.endedAt = event.at;
      if (event.answer !== undefined) {
        run.answer = event.answer;
        run.answeredAt = event.at;
      }
      return;
    case "incident":
      run.status = "incident";
      run.incident = { at: event.at, error: event.error, inputs: [event.input] };
      return;
    case "parked":
      run.incident?.inputs.push(event.input);
      return;
    case "resumed":
      remember(run, "retry", event.id);
      run.status = "running";
      run.incident = undefined;
      return;
    case "rearmed":
      run.due = event.due;
      if (event.answerBy !== undefined) run.answerBy = event.answerBy;
      return;
    case "migrated":
      run.version = event.version;
      if (event.data !== undefined) run.data = event.data;
      return;
  }
}

function clearCalls(run: Run): void {
  // Most states that are left have no open call, and clearing makes a new table.
  if (run.calls.size > 0) run.calls.clear();
}

function patch(run: Run, { patch: change, unset }: { patch?: object; unset?: readonly string[] }): void {
  if (change === undefined) return;
  const data = patched(run.data, change);
  for (const key of unset ?? []) delete data[key];
  run.data = data;
}

/** Data with a change: fields that the change gives as undefined are gone. */
export function patched(data: unknown, change: object): Record<string, unknown> {
  const whole: Record<string, unknown> = { ...(data as object), ...change };
  for (const key of Object.keys(change)) if (whole[key] === undefined) delete whole[key];
  return whole;
}

/** The round now waits for its running attempts only: calls that wait for a place or a next attempt are given up. */
function hold(run: Run, event: string): void {
  run.held = event;
  for (const call of run.calls.values()) if (!isRunning(call)) run.calls.delete(call.number);
}

/** Whether an attempt of the call is under way. */
export function isRunning(call: Call): boolean {
  return call.attempt > 0 && !call.backoff;
}

type CommandKind = "signal" | "cancel" | "retry";

/** Whether the run remembers a command of this kind under this id: one id may be used once for each kind. */
export function hasCommand(run: Run, kind: CommandKind, id: string): boolean {
  return run.commands.has(`${kind} ${id}`);
}

/** Commands are remembered so that one that is sent twice counts once; the last thousand of a run suffice. */
function remember(run: Run, kind: CommandKind, id: string): void {
  run.commands.add(`${kind} ${id}`);
  if (run.commands.size > 1000) run.commands.delete(run.commands.values().next().value as string);
}

function open(run: Run, groups: readonly OpenedCalls[] | undefined): void {
  if (groups === undefined) return;
  for (const group of groups) {
    for (let position = 0; position < group.inputs.length; position++) {
      run.calls.set(group.first + position, new Call(run, group, position));
    }
    run.nextCall = group.first + group.inputs.length;
    run.nextQueued = group.first + (group.started ?? group.inputs.length);
  }
}

function openCall(run: Run, number: number): Call {
  const call = run.calls.get(number);
  if (call === undefined) {
    throw new WheelworkError(
      "WW_STORE_CORRUPT",
      `an event of run ${run.key} names call ${number}, which is not open`,
      {
        next: "Restore the store from a backup, and report this with the run's history.",
      },
    );
  }
  return call;
}

/** The stored form of a run: plain JSON, without its history. */
export interface RunSnapshot {
  readonly [field: string]: unknown;
}

/** A run as plain JSON, to be given to `restore` later. */
export function snapshot(run: Run): RunSnapshot {
  return {
    hub: run.hub,
    version: run.version,
    request: run.request,
    hash: run.hash,
    status: run.status,
    state: run.state,
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
      due: call.due,
      attempt: call.attempt,
      backoff: call.backoff ? true : undefined,
    })),
    held: run.held,
    deadline: run.deadline,
    late: run.late,
    due: run.due,
    answerBy: run.answerBy,
    answer: run.answer,
    parent: run.parent,
    replyTo: run.replyTo,
    cancelling: run.cancelling,
    cancelled: run.cancelled,
    signals: run.signals,
    commands: [...run.commands],
    incident: run.incident,
    createdAt: run.createdAt,
    updatedAt: run.updatedAt,
    answeredAt: run.answeredAt,
    endedAt: run.endedAt,
  };
}

interface StoredCall extends OpenedCalls {
  readonly attempt: number;
  readonly backoff?: boolean;
}

/** The run that `snapshot` wrote. */
export function restore(key: string, stored: RunSnapshot): Run {
  const run = new Run(key);
  const { calls, commands, signals, ...plain } = stored as RunSnapshot & {
    readonly calls: readonly StoredCall[];
    readonly commands: readonly string[];
    readonly signals: readonly { readonly signal: string; readonly payload: unknown }[];
  };
  Object.assign(run, plain);
  for (const held of calls) {
    const call = new Call(run, held, 0);
    call.attempt = held.attempt;
    call.backoff = held.backoff === true;
    call.due = held.due;
    run.calls.set(call.number, call);
  }
  for (const id of commands) run.commands.add(id);
  for (const signal of signals) run.signals.push(signal);
  return run;
}
