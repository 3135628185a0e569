import { remember, type NamedCommand } from "./commands.ts";
import { Callback } from "./coordinator.ts";
import { callersCancel } from "./decision.ts";
import { suspectDeaths } from "./deaths.ts";
import { WheelworkError } from "./errors.ts";
import type {
  DataChange,
  Stay,
  Answer,
  ArrivalBounds,
  KeptSignal,
  OpenedCalls,
  RunEvent,
  RemoteCaller,
  RunLane,
  RunStatus,
  Timer,
  TraceContext,
} from "./events.ts";
import { grown } from "./growth.ts";
import { deepFreeze } from "./json.ts";
import { KeptInputs } from "./kept-inputs.ts";
import type { Labels } from "./labels.ts";
import { setField } from "./plain.ts";
import { moveRound, noteOpened, type InputsLeft } from "./round.ts";
import { nextTimer } from "./timers.ts";

/** An open call of a run. As a callback, it is due when its attempt times out, or when its next attempt begins. */
export class Call extends Callback {
  /** Unique in its run, for good (I3). */
  readonly number: number;
  /** The hub or spoke that is called. */
  readonly callee: string;
  readonly isHub: boolean;
  /** Position in its round, from 0. */
  readonly index: number;
  readonly tag: string | undefined;
  /** Only an upgrade changes it: it may fill in fields. */
  input: unknown;
  /** See `OpenedCalls`. */
  readonly transformed: boolean;
  /** The hub's own idempotency key, if it gave one. */
  readonly key: string | undefined;
  /** The present attempt, from 1. 0: the call is queued, since its round has a limit. */
  attempt: number;
  /** When the present attempt was decided, in milliseconds of engine time. undefined: it is queued, or an earlier version stored it. */
  since: number | undefined;
  /** The attempt has failed, and the next one begins at `due`. */
  backoff = false;
  /** How often a process has ended with the present attempt under way (deaths.ts). */
  deaths = 0;
  /** The present attempt was begun as a suspect. */
  alone = false;
  /** When the attempt times out, or, in backoff, when the next one begins. In milliseconds of engine time. */
  due: number | undefined;
  /** When its present attempt would have timed out if it had not waited for its turn; undefined: it has not waited, or not past its first due time. */
  firstDue: number | undefined = undefined;
  /** The last progress that its attempts reported; undefined: none. */
  progress: unknown = undefined;
  /**
   * What the owner of the run has under way for the call. The core neither reads nor writes it, and it is not stored.
   * It is a field of the call because a Map in the owner would cost more than 2 % of the throughput.
   */
  work: unknown = undefined;
  readonly run: Run;

  constructor(run: Run, opened: OpenedCalls, position: number, at?: number) {
    super();
    this.run = run;
    this.number = opened.first + position;
    this.callee = opened.callee;
    this.isHub = opened.hub === true;
    this.index = (opened.index ?? 0) + position;
    this.tag = opened.tag;
    this.input = opened.inputs[position];
    this.transformed = opened.transformed === true;
    this.key = opened.keys?.[position];
    const started = position < (opened.started ?? opened.inputs.length);
    this.attempt = started ? 1 : 0;
    this.since = started ? at : undefined;
    this.due = started ? opened.due : undefined;
  }
}

/** What the request of a run has brought. */
export interface RunOrigin {
  readonly request: unknown;
  /** Hash of the canonical request body. */
  readonly hash: string;
  /** The call of another run that started this one. */
  readonly parent: { readonly key: string; readonly call: number } | undefined;
  /** Instead of `parent`: the call is in another shard. */
  readonly caller: RemoteCaller | undefined;
  /** Where to publish the answer, besides storing it. */
  readonly replyTo: string | undefined;
  /** What the hub has made of the request, for lists. */
  readonly labels: Labels | undefined;
}

const noOrigin: RunOrigin = {
  request: null,
  hash: "",
  parent: undefined,
  caller: undefined,
  replyTo: undefined,
  labels: undefined,
};

/** How far a round has come. */
interface Round {
  /** Number of the next queued call, if there is one. */
  nextQueued: number;
  /** The inputs that have no call yet. */
  left: InputsLeft | undefined;
  /** The event that the round follows as soon as its running attempts are over. */
  held: string | undefined;
}

/** How a pending run begins. */
export interface RunStart {
  /** Its time, while that has not come. */
  readonly at: number | undefined;
  /** Only with `at`. */
  readonly arrival: ArrivalBounds | undefined;
  /**
   * Whether its request is held against the schema of its hub once it begins. undefined: if the hub has another version by then.
   * `always`: it was stored before it was accepted. `never`: the schema does not accept what it has made (stored.ts).
   */
  readonly recheck: "always" | "never" | undefined;
}

/** What others have sent a run. */
interface Received {
  /** Signals that no state has taken yet, the oldest first. */
  readonly signals: KeptSignal[];
  /** The accepted commands whose sender gave an id, and the senders of posts: see commands.ts. The oldest are first. */
  named: Map<string, NamedCommand> | undefined;
  /** The last accepted commands whose id the engine made, in the same form. Such a command comes twice only when a log delivers it again, soon after. */
  unnamed: Set<string> | undefined;
}

/** The calls of all runs that have none open: an empty map for each of them would take 200 bytes, and there may be millions. */
const noCalls: ReadonlyMap<number, Call> = new Map();

/** The open calls of a run, to be changed. */
export function callsOf(run: Run): Map<number, Call> {
  if (run.calls === noCalls) run.calls = new Map();
  return run.calls as Map<number, Call>;
}

/** One run of a hub, and all that the engine knows of it. Only `apply` changes it. All times are engine time. */
export class Run extends Callback {
  /** The key of its request. A child has `<key of its caller>/<number of the call>`. */
  readonly key: string;
  hub = "";
  /** Version of the hub that the data and the state belong to. */
  version = 0;
  /** What its request has brought. */
  origin: RunOrigin = noOrigin;
  status: RunStatus = "running";
  /** How many events it has had (NaN: it was stored by a version that did not count them), and when the last one happened. */
  readonly events = { count: 0, lastAt: 0 };
  /** Empty until the first state is entered. */
  state = "";
  /** When the run has entered its state. */
  enteredAt = 0;
  /** How many states the run has entered. An outcome counts only in the epoch that made its attempt (I3). */
  epoch = 0;
  data: unknown = null;
  /** Number of the next call. */
  nextCall = 0;
  /** The open calls, by number. Only `apply` changes them. */
  calls: ReadonlyMap<number, Call> = noCalls;
  /** How far the round of its state has come. */
  readonly round: Round = { nextQueued: 0, left: undefined, held: undefined };
  /** The hub's deadline, which bounds the work. */
  deadline = 0;
  /** The run cleans up: it has entered a late state (chart.ts). */
  late = false;
  /** When the open wait is due: by the hub's deadline, or by a timer. */
  due: number | undefined = undefined;
  /** The timers of the state, if it has any, in the order in which they are written. */
  timers: readonly Timer[] | undefined = undefined;
  /** If the hub gives no answer by then, the engine does. */
  answerBy = 0;
  /** Its answer, and when it was given. */
  answered: { readonly answer: Answer; readonly at: number } | undefined = undefined;
  /** Where it belongs in a trace, if something else has caused it. */
  trace: TraceContext | undefined = undefined;
  /** Only of a hub with a lane (pending.ts). */
  lane: RunLane | undefined = undefined;
  /** How it begins: only of a run that is or was pending. */
  start: RunStart | undefined = undefined;
  /** Whether a cancel was accepted, and has moved the run to another state. It never goes back. */
  cancel: "none" | "accepted" | "moved" = "none";
  /** What others have sent it since it began. */
  readonly received: Received = { signals: [], named: undefined, unnamed: undefined };
  /** Why the run is parked, and the inputs that are kept for its retry. */
  incident:
    | {
        readonly at: number;
        readonly error: { readonly code: string; readonly message: string; readonly stack?: string };
        readonly inputs: KeptInputs;
        /** A retry decides the inputs, over several batches (redelivery.ts). */
        readonly retrying?: true;
      }
    | undefined = undefined;
  createdAt = 0;

  constructor(key: string) {
    super();
    this.key = key;
  }

  get answer(): Answer | undefined {
    return this.answered?.answer;
  }

  get answeredAt(): number | undefined {
    return this.answered?.at;
  }

  /** When it has ended: nothing happens to it after that. */
  get endedAt(): number | undefined {
    return this.status === "ended" ? this.events.lastAt : undefined;
  }

  /**
   * When the run itself is due next: a timer fires, its wait gives up, or the engine answers. A parked run has only the
   * last. A pending run waits for its turn. undefined: it waits for nothing.
   */
  get nextDue(): number | undefined {
    const answerBy = this.answer === undefined && this.status !== "ended" ? this.answerBy : undefined;
    const due = this.status === "running" || this.status === "pending" ? this.due : undefined;
    if (due === undefined) return answerBy;
    return answerBy === undefined || due <= answerBy ? due : answerBy;
  }
}

/** The deadline of a run whose hub has given its answer: none. */
export const noDeadline = Number.MAX_SAFE_INTEGER;

/**
 * The idempotency key of a call. It is the same in every attempt and after every restart, and no two requests share one
 * (I11). A key that the hub gave is prefixed with the callee and the run. Its leading "/" keeps it apart from the other
 * form, since no key of a run begins with one.
 */
export function idempotencyKey(run: Pick<Run, "key">, call: Pick<Call, "key" | "number" | "callee">): string {
  return call.key === undefined
    ? `${run.key}/${call.number}`
    : `/${call.callee}/${run.key}/k:${encodedKey(call.key)}`;
}

/**
 * A text that was cut in the middle of a character ends with half of a surrogate pair, which encodeURIComponent refuses. Such
 * halves are written as `%uXXXX`, which it never writes: so two texts are never encoded as the same.
 */
function encodedKey(key: string): string {
  if (key.isWellFormed()) return encodeURIComponent(key);
  return key.replace(/(\p{Surrogate})|[^]/gu, (one, half?: string) =>
    half === undefined ? encodeURIComponent(one) : `%u${half.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/**
 * Applies an event to a run. This is the only code that changes runs, at work and at a restart alike.
 * @throws WheelworkError WW_STORE_CORRUPT when the event names a call that is not open.
 */
export function apply(run: Run, event: RunEvent): void {
  run.events.lastAt = event.at;
  run.events.count++;
  switch (event.type) {
    case "started":
      come(run, event);
      run.data = deepFreeze(event.data);
      run.deadline = event.deadline;
      return;
    case "accepted":
      come(run, event);
      run.status = "pending";
      run.start = { at: event.startAt, arrival: event.arrival, recheck: event.recheck };
      run.due = event.due;
      return;
    case "arrived":
      begun(run);
      run.lane = event.lane;
      run.due = event.due;
      run.answerBy = event.answerBy;
      return;
    case "granted":
      run.status = "running";
      begun(run);
      label(run, event.labels);
      if (event.lane !== undefined) run.lane = event.lane;
      run.version = event.version;
      run.data = deepFreeze(event.data);
      run.due = undefined;
      run.deadline = event.deadline;
      run.answerBy = event.answerBy;
      if (run.lane !== undefined) {
        const { name, key, stays, fence = event.fence } = run.lane;
        const lane = fence === undefined ? { name, key } : { name, key, fence };
        run.lane = stays === true ? { ...lane, stays } : lane;
      }
      return;
    case "entered":
      run.state = event.state;
      if (event.kept === true) return arm(run, event.timers);
      clearCalls(run);
      run.round.held = undefined;
      run.epoch++;
      run.enteredAt = event.at;
      run.due = event.due;
      run.timers = event.timers;
      if (event.answerBy !== undefined) run.answerBy = event.answerBy;
      if (event.late === true) run.late = true;
      if (event.cancelled === true) run.cancel = "moved";
      if (event.drops !== undefined) drop(run, event.drops);
      patch(run, event);
      if (event.calls === undefined) run.calls = noCalls;
      open(run, event.calls, event.at);
      return;
    case "settled":
      callsOf(run).delete(event.call);
      if (event.closes !== undefined) close(run, event.closes);
      if (event.held !== undefined) hold(run, event.held);
      patch(run, event);
      open(run, event.calls, event.at);
      if (event.timers !== undefined) arm(run, event.timers);
      return;
    case "opened":
      return open(run, event.calls, event.at);
    case "fired":
      return stayed(run, event);
    case "failed": {
      const call = openCall(run, event.call);
      call.backoff = true;
      call.due = event.due;
      call.deaths = 0;
      call.alone = false;
      call.firstDue = undefined;
      return;
    }
    case "attempt": {
      const call = openCall(run, event.call);
      if (call.attempt === 0) run.round.nextQueued = call.number + 1;
      call.backoff = false;
      call.attempt = event.attempt;
      call.since = event.at;
      call.due = event.due;
      call.alone = event.alone === true;
      call.firstDue = undefined;
      return;
    }
    case "died":
      for (const { call: number, deaths } of event.attempts) {
        const call = openCall(run, number);
        call.deaths = deaths;
        call.alone = false;
      }
      return;
    case "waited": {
      const call = openCall(run, event.call);
      call.firstDue ??= call.due;
      call.due = event.due;
      return;
    }
    case "progressed":
      openCall(run, event.call).progress = event.value;
      return;
    case "told":
    case "posted":
      run.nextCall = event.call + 1;
      return;
    case "signalled":
      remember(run, "signal", event);
      if (event.taken !== true && event.dropped !== true) run.received.signals.push(keptSignal(event));
      return stayed(run, event);
    case "received": {
      const position = run.received.signals.findIndex(({ signal }) => signal === event.signal);
      if (position >= 0) run.received.signals.splice(position, 1);
      return stayed(run, event);
    }
    case "cancelling":
      remember(run, "cancel", event);
      run.cancel = "accepted";
      if (event.held !== undefined) hold(run, event.held);
      patch(run, event);
      return;
    case "answered":
      run.answered = { answer: event.answer, at: event.at };
      if (event.own === true) run.deadline = noDeadline;
      return;
    case "ended":
      clearCalls(run);
      run.round.held = undefined;
      run.due = undefined;
      run.timers = undefined;
      run.status = "ended";
      run.incident = undefined;
      begun(run);
      if (event.answer !== undefined) run.answered = { answer: event.answer, at: event.at };
      return;
    case "incident": {
      const left = run.incident?.inputs.list ?? [];
      run.status = "incident";
      run.incident = { at: event.at, error: event.error, inputs: new KeptInputs([event.input, ...left]) };
      return;
    }
    case "parked":
      run.incident?.inputs.push(event.input);
      return;
    case "resumed":
      remember(run, "retry", event);
      if (event.left !== true) return resume(run);
      if (run.incident !== undefined) run.incident = { ...run.incident, retrying: true };
      return;
    case "redelivered":
      run.incident?.inputs.drop(event.count);
      if (event.last === true) resume(run);
      return;
    case "rearmed":
      run.due = event.due;
      if (event.timers !== undefined) {
        run.enteredAt = event.at;
        run.timers = event.timers;
      }
      if (event.answerBy !== undefined) run.answerBy = event.answerBy;
      return;
    case "migrated":
      run.version = event.version;
      label(run, event.labels);
      if (event.data !== undefined) run.data = deepFreeze(event.data);
      if (event.round !== undefined) moveRound(run, event.round);
      arm(run, event.timers);
      return;
    case "filled":
      openCall(run, event.call).input = event.input;
      return;
  }
}

/** The run is no longer parked. */
function resume(run: Run): void {
  run.status = "running";
  run.incident = undefined;
  // A suspect gets as many tries again, each alone.
  for (const call of run.calls.values()) {
    call.deaths = Math.min(call.deaths, suspectDeaths);
    call.alone = false;
  }
}

/** The run no longer waits for its time. */
function begun(run: Run): void {
  const { recheck } = run.start ?? {};
  run.start = recheck === undefined ? undefined : { at: undefined, arrival: undefined, recheck };
}

/** Its hub could not give its labels before. */
function label(run: Run, labels: Labels | undefined): void {
  if (labels !== undefined) run.origin = { ...run.origin, labels };
}

/** A request has come: its run begins, or waits for its turn. */
function come(run: Run, event: Extract<RunEvent, { type: "started" | "accepted" }>): void {
  run.hub = event.hub;
  run.version = event.version;
  const { request, hash, parent, caller, replyTo, labels } = event;
  run.origin = { request, hash, parent, caller, replyTo, labels };
  run.answerBy = event.answerBy;
  run.trace = event.trace;
  run.lane = event.lane;
  run.createdAt = event.at;
}

/** An event after which the run is in the same state. */
function stayed(run: Run, event: Stay & { readonly at: number }): void {
  close(run, event.closes);
  patch(run, event);
  open(run, event.calls, event.at);
  arm(run, event.timers);
  if (event.held !== undefined) hold(run, event.held);
}

function keptSignal({ signal, payload, transformed }: KeptSignal): KeptSignal {
  const kept = { signal, payload };
  return transformed === true ? { ...kept, transformed } : kept;
}

/** A turn has closed calls by their tags. */
function close(run: Run, calls: readonly number[] | undefined): void {
  if (calls !== undefined) for (const number of calls) callsOf(run).delete(number);
}

/** No state takes these signals any more. */
function drop(run: Run, names: readonly string[]): void {
  const kept = run.received.signals.filter(({ signal }) => !names.includes(signal));
  run.received.signals.splice(0, run.received.signals.length, ...kept);
}

/** The timers of the state have changed, and with them when the run is due. */
function arm(run: Run, timers: readonly Timer[] | undefined): void {
  if (timers === undefined) return;
  run.timers = timers;
  const next = nextTimer(timers)?.due;
  run.due = run.late ? next : dueBy(Math.min(next ?? run.deadline, run.deadline));
}

/** When a wait is due. undefined: never. */
export const dueBy = (due: number): number | undefined => (due < noDeadline ? due : undefined);

function clearCalls(run: Run): void {
  // Most states have no open call when a run leaves them, and `clear` allocates a new table.
  if (run.calls.size > 0) callsOf(run).clear();
  run.round.left = undefined;
}

type Fields = Readonly<Record<string, unknown>>;

function patch(run: Run, { patch: change, unset, grown: added }: DataChange): void {
  if (change === undefined) return;
  const whole = patched(run.data, change, unset);
  for (const key in added) setField(whole, key, grown((run.data as Fields)[key], added[key] as object));
  // A handler that changed the data in place would see what the store does not have. What is in the data is frozen already.
  run.data = Object.freeze(whole);
}

/** A copy of the data with a change. Fields that the change sets to undefined are removed. */
export function patched(
  data: unknown,
  change: object,
  unset: readonly string[] = [],
): Record<string, unknown> {
  const whole: Record<string, unknown> = { ...(data as object), ...change };
  for (const key of Object.keys(change)) if (whole[key] === undefined) delete whole[key];
  for (const key of unset) delete whole[key];
  return whole;
}

/**
 * The round now waits for its running attempts only. Calls that are queued or in backoff, and inputs without a call, are given up. Timers do not fire
 * any more, but for those that bound the clean-up.
 */
function hold(run: Run, event: string): void {
  run.round.held = event;
  run.round.left = undefined;
  if (run.timers !== undefined && !run.late) run.due = dueBy(run.deadline);
  for (const call of run.calls.values()) if (!isRunning(call)) callsOf(run).delete(call.number);
}

/** Whether an attempt of the call is under way. */
export function isRunning(call: Call): boolean {
  return call.attempt > 0 && !call.backoff;
}

/** Whether a call has not settled, and was not closed. */
export const isOpen = (call: Call): boolean => call.run.calls.get(call.number) === call;

/**
 * Why a cancel changes nothing, as far as the run alone tells. Only its hub says whether a state has become clean-up since the run
 * entered it. `isDecided`: a turn decides it, and it is not kept for a retry.
 */
export function refusedCancel(
  run: Run,
  { id }: { readonly id: string },
  isDecided = false,
): "duplicate" | "late" | "cleaning-up" | undefined {
  if (run.cancel !== "none") return "duplicate";
  if (run.status === "incident" && !isDecided)
    return run.incident?.inputs.hasCancel === true ? "duplicate" : undefined;
  // A hub that has answered goes on without its caller (I32).
  if (id === callersCancel && run.deadline >= noDeadline) return "late";
  return run.late ? "cleaning-up" : undefined;
}

/** Whether an event says that a cancel has been decided, or that another one would change nothing. */
export const decidesCancel = (event: RunEvent): boolean =>
  event.type === "cancelling" ||
  (event.type === "entered" && event.late === true) ||
  (event.type === "answered" && event.own === true) ||
  ((event.type === "parked" || event.type === "incident") && event.input.kind === "cancel");

function open(run: Run, groups: readonly OpenedCalls[] | undefined, at: number): void {
  if (groups === undefined) return;
  for (const group of groups) {
    const calls = callsOf(run);
    const count = group.inputs.length;
    for (let position = 0; position < count; position++) {
      calls.set(group.first + position, new Call(run, group, position, at));
    }
    run.nextCall = group.first + group.inputs.length;
    run.round.nextQueued = group.first + (group.started ?? group.inputs.length);
    noteOpened(run, group);
  }
}

function openCall(run: Run, number: number): Call {
  const call = run.calls.get(number);
  if (call === undefined) {
    throw new WheelworkError(
      "WW_STORE_CORRUPT",
      `an event of the run ${run.key} names the call ${number}, which is not open`,
      {
        next: "Restore the store from a backup. Report this with the history of the run.",
      },
    );
  }
  return call;
}

/** Whether a parked run keeps the outcome of a call: it stays open until the run goes on. */
export const keepsOutcome = ({ incident }: Run, call: number): boolean =>
  incident?.inputs.hasOutcome(call) === true;
