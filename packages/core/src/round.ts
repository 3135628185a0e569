import type { Writable } from "./json-types.ts";
import type { OpenedCalls } from "./events.ts";
import { deepFreeze } from "./json.ts";
import type { CallRequest, OpenCall, StateLogic } from "./logic.ts";
import { plainKey, setField, weightOf } from "./plain.ts";
import type { Call, Run } from "./run.ts";
import type { Spoke } from "./spoke.ts";

/*
 * How the calls of a round are opened. A round may have 100,000 inputs: to check, copy and store all of them in one turn would hold
 * the loop up. So a turn opens so many at most, and the run keeps how far its round has come (`InputsLeft`). Once no call of
 * it is queued, the input `open` opens the next ones (the event `opened`). So a round with a limit has little more calls at
 * a time than run, and one without opens all of them in the turns that follow.
 *
 * The inputs are a pure function of the data that the run had when it entered the state (I2). So the data is kept until all are
 * opened, and not the inputs.
 */

/** How many calls one turn opens of a round, if nobody says otherwise (`Env.maxOpened`). */
export const maxOpened = 500;
/** Or calls with so many bytes of input. A list of few is not weighed. */
const [maxOpenedBytes, fewInputs] = [256 * 1024, 32];

/** The inputs of a round that have no call yet. */
export interface InputsLeft {
  /** The data of which the round's inputs are made. */
  readonly data: unknown;
  /** Position of the next input in the round. */
  from: number;
  /** How many inputs the round has. */
  readonly of: number;
}

/** Whether a round has inputs left and no call that is queued: the input `open` is due. */
export const isOpening = (run: Run): boolean =>
  run.round.left !== undefined && run.status === "running" && run.round.nextQueued >= run.nextCall;

/** How many inputs of the round have no call yet. */
export const countLeft = ({ round: { left } }: Run): number => (left === undefined ? 0 : left.of - left.from);

/** Calls were opened, which say how many their round has. */
export function noteOpened(run: Run, { index = 0, inputs, of }: OpenedCalls): void {
  if (of === undefined) return;
  const from = index + inputs.length;
  if (from >= of) run.round.left = undefined;
  // One object for the whole round: what is known of it for the while belongs to it (logic.ts).
  else if (run.round.left === undefined) run.round.left = { data: run.data, from, of };
  else run.round.left.from = from;
}

/** The round of a migrated run goes on with the inputs that the new version has at its place. */
export function moveRound(
  run: Run,
  { of, data = run.data }: { readonly of: number; readonly data?: unknown },
): void {
  const from = run.round.left?.from ?? of;
  run.round.left = from < of ? { data: deepFreeze(data), from, of } : undefined;
}

/** Whether one turn opens no more than these calls. */
export function isFull(inputs: readonly unknown[], of: number, bytes: number): boolean {
  return of > fewInputs && inputs.length > 0 && bytes >= maxOpenedBytes;
}

/** What an input counts for `isFull`. */
export const bytesOf = (input: unknown, of: number): number => (of > fewInputs ? weightOf(input) : 0);

/** Numbers calls from `first`. `limit`: how many of them start at once. */
export function openedCalls(
  { callee, inputs, keys, index, of, tag, transformed }: CallRequest,
  first: number,
  now: number,
  limit: number | undefined,
): OpenedCalls {
  const opened: Writable<OpenedCalls> = { callee: callee.name, first, inputs };
  if (callee.kind === "hub") opened.hub = true;
  else opened.due = now + (callee as Spoke).timeoutMs;
  if (index !== undefined) opened.index = index;
  if (of !== undefined) opened.of = of;
  if (tag !== undefined) opened.tag = tag;
  if (keys !== undefined) opened.keys = keys.map((key) => plainKey(key, callee.name));
  if (transformed === true) opened.transformed = true;
  if (limit !== undefined && limit < inputs.length) opened.started = limit;
  return opened;
}

/** An input that has no call yet, as handlers see it. It is checked and copied only if somebody looks at it. */
class NoCall implements OpenCall {
  readonly index: number;
  readonly tag = undefined;
  readonly callee: string;
  readonly #callAt: (index: number) => CallRequest | undefined;

  constructor(index: number, callee: string, callAt: (index: number) => CallRequest | undefined) {
    this.index = index;
    this.callee = callee;
    this.#callAt = callAt;
  }

  get input(): unknown {
    return this.#callAt(this.index)?.inputs[0];
  }
}

/** The calls that have not settled, and the inputs that have no call yet. */
export function unsettled(run: Run, { callAt, callees: [callee] }: StateLogic): readonly OpenCall[] {
  const calls = Array.from(run.calls.values()) as OpenCall[];
  const { left } = run.round;
  if (left === undefined || callAt === undefined || callee === undefined) return calls;
  const inputAt = callAt(left.data);
  for (let index = left.from; index < left.of; index++) calls.push(new NoCall(index, callee.name, inputAt));
  return calls;
}

/** Whether a state would open each call that is open, too, and the inputs that are left. */
export function opensAlike(
  { calls, round: { left } }: Run,
  logic: StateLogic,
  data: unknown,
  isAlike: (call: Call, request: CallRequest) => boolean,
): boolean {
  if (left !== undefined && logic.more === undefined) return false;
  const callAt = logic.callAt?.(data);
  for (const call of calls.values()) {
    const request = callAt?.(call.index);
    if (request === undefined || !isAlike(call, request)) return false;
  }
  return true;
}

/** What a snapshot holds of inputs that have no call yet. Their data is nearly always that of the run, as far as it has not changed. */
export interface StoredInputsLeft {
  readonly from: number;
  readonly of: number;
  /** Absent: the data is that of the run. Otherwise the names of its fields, and those that differ. */
  readonly fields?: readonly string[];
  readonly patch?: object;
}

/** The stored form of the inputs that have no call yet. */
export function storedInputsLeft({ round: { left }, data }: Run): StoredInputsLeft | undefined {
  if (left === undefined) return undefined;
  const { from, of } = left;
  if (left.data === data) return { from, of };
  const [before, now] = [left.data, data] as readonly Readonly<Record<string, unknown>>[];
  const fields = Object.keys(before as object);
  const patch: Record<string, unknown> = {};
  for (const name of fields) if (before?.[name] !== now?.[name]) setField(patch, name, before?.[name]);
  return { from, of, fields, patch };
}

/** Makes them again of their stored form, and the data of their run. */
export function restoredInputsLeft(
  stored: StoredInputsLeft | undefined,
  now: unknown,
): InputsLeft | undefined {
  if (stored === undefined) return undefined;
  const { from, of, fields, patch = {} } = stored;
  if (fields === undefined) return { data: now, from, of };
  const data: Record<string, unknown> = {};
  for (const name of fields) {
    const source = (Object.hasOwn(patch, name) ? patch : now) as Readonly<Record<string, unknown>>;
    setField(data, name, source[name]);
  }
  return { data: Object.freeze(data), from, of };
}
