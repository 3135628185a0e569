import { WheelworkError } from "./errors.ts";
import { deepFreeze } from "./json.ts";
import type { CallRequest, OpenCall, Turn } from "./logic.ts";
import {
  hasCommand,
  isRunning,
  patched,
  type Answer,
  type Call,
  type OpenedCalls,
  type ParkedInput,
  type Run,
  type RunEvent,
} from "./run.ts";
import { stay } from "./chart.ts";
import { demand } from "./schema.ts";
import { backoffOf, isDuration, type Outcome, type Spoke } from "./spoke.ts";
import type { Failing, HubDefinition, StateDefinition } from "./hub.ts";

/** What a decision may know besides the run and the input (I1). */
export interface Env {
  /** Engine time, in whole milliseconds. */
  readonly now: number;
  /** Engine time when this owner began, in milliseconds: what was due before passed while nobody worked. */
  readonly since?: number;
  /** A number in [0, 1) for the jitter of retries. */
  readonly random: number;
  /** For tests: freeze what handlers get, and refuse what is not plain JSON (I19). */
  readonly strict?: boolean;
  /** Refuse what cannot be written as JSON at all. */
  readonly verifyJson?: boolean;
}

/** What can happen to a run that has started. */
export type Input =
  | {
      readonly kind: "outcome";
      readonly call: number;
      readonly attempt: number;
      readonly epoch: number;
      readonly outcome: Outcome;
    }
  | { readonly kind: "callDue"; readonly call: number }
  | { readonly kind: "due" }
  | { readonly kind: "signal"; readonly id: string; readonly signal: string; readonly payload: unknown }
  /** The run is no longer parked: it takes the signals that came meanwhile, if it waits for them. */
  | { readonly kind: "buffered" }
  | { readonly kind: "cancel"; readonly id: string }
  | { readonly kind: "retry"; readonly id: string }
  | { readonly kind: "resolve"; readonly id: string; readonly message: string };

/** Why an input changed nothing: it came too late, or twice, or does not fit the run's status. */
export type Ignored = "full" | "late" | "stale" | "duplicate" | "ended" | "cleaning-up" | "not-incident";

/** What follows from an input: events to persist and apply, in order. Nothing has happened yet. */
export interface Decision {
  readonly events: readonly RunEvent[];
  readonly ignored?: Ignored;
  /** Inputs of a parked run that are to be decided next, after the events are applied. */
  readonly redeliver?: readonly Input[];
}

/** What a new run is made from. The request has been validated by the hub's schema. */
export interface StartOptions {
  readonly request: unknown;
  /** Hash of the canonical request body, to tell a repetition from another request under the same key. */
  readonly hash: string;
  /** The caller's own deadline, in milliseconds from now; it can only shorten the hub's. */
  readonly deadlineMs?: number;
  readonly parent?: { readonly key: string; readonly call: number };
  /** Where the answer is to be published, besides being stored. */
  readonly replyTo?: string;
}

type Writable<T> = { -readonly [Field in keyof T]: T[Field] };

/** Cycles of picks are bounded when they run (I15). */
const maxSteps = 1000;

/** Signals that a run keeps until it waits for them. */
const maxSignals = 1000;

/** Decides the first turn of a run. A handler that throws parks it (I16). */
export function start(definition: HubDefinition, run: Run, options: StartOptions, env: Env): RunEvent[] {
  const { request, hash, parent, replyTo } = options;
  let deadlineMs = options.deadlineMs ?? 60_000;
  let data: unknown = null;
  let failure: unknown;
  try {
    const given = definition.deadlineMs(request);
    if (!isDuration(given))
      throw new WheelworkError("WW_DEFECT", `deadlineMs of ${definition.name} gave ${given}`);
    deadlineMs = Math.min(given, options.deadlineMs ?? given);
    data = firstData(definition, request, env);
  } catch (error) {
    failure = error;
  }
  deadlineMs = Math.ceil(deadlineMs);
  const deadline = env.now + deadlineMs;
  const started: RunEvent = {
    type: "started",
    at: env.now,
    hub: definition.name,
    version: definition.version,
    request,
    hash,
    data,
    deadline,
    answerBy: deadline + definition.afterDeadlineMs,
    ...(parent === undefined ? {} : { parent }),
    ...(replyTo === undefined ? {} : { replyTo }),
  };
  if (failure !== undefined) return [started, incidentOf(failure, { kind: "start" }, env)];
  const turn = new TurnBuilder(definition, run, env);
  turn.data = data;
  turn.deadline = deadline;
  turn.answerBy = started.answerBy;
  try {
    turn.enter(definition.initial, undefined, undefined);
    turn.check();
    return [started, ...turn.events];
  } catch (error) {
    return [started, incidentOf(error, { kind: "start" }, env)];
  }
}

function firstData(definition: HubDefinition, request: unknown, env: Env): unknown {
  const data = definition.data(request);
  if (env.verifyJson === true) JSON.stringify(data);
  if (env.strict === true) demandJson(data, "data");
  return env.strict === true ? deepFreeze(data) : data;
}

/** Decides what an input does to a run: a synchronous function of its arguments, which it does not change (I1, I2). */
export function decide(definition: HubDefinition, run: Run, input: Input, env: Env): Decision {
  if (run.status === "ended") return { events: [], ignored: "ended" };
  if (run.status === "incident") return decideParked(definition, run, input, env);
  const turn = new TurnBuilder(definition, run, env);
  try {
    const ignored = turn.take(input);
    turn.check();
    return ignored === undefined ? turn : { events: turn.events, ignored };
  } catch (error) {
    return { events: [incidentOf(error, input, env)] };
  }
}

/** Moves a run of an older version of its hub to the present one (I20). Called before the turn that needs it. */
export function migrate(definition: HubDefinition, run: Run, input: Input, env: Env): readonly RunEvent[] {
  const turn = new TurnBuilder(definition, run, env);
  try {
    turn.migrate();
    turn.check();
    return turn.events;
  } catch (error) {
    return [incidentOf(error, input, env)];
  }
}

/** A run is parked: what comes is kept for its retry, and only commands and its engine answer go on (I16). */
function decideParked(definition: HubDefinition, run: Run, input: Input, env: Env): Decision {
  const at = env.now;
  switch (input.kind) {
    case "outcome": {
      const ignored = staleness(run, input);
      if (ignored !== undefined) return { events: [], ignored };
      if (isParked(run, (parked) => parked.kind === "outcome" && parked["call"] === input.call)) {
        return { events: [], ignored: "duplicate" };
      }
      if (run.signals.length >= maxSignals) return { events: [], ignored: "full" };
      return { events: [{ type: "parked", at, input }] };
    }
    case "callDue":
    case "buffered":
      return { events: [] };
    case "due":
      return {
        events: run.answer === undefined && run.answerBy <= at ? [timeoutAnswer(definition, at)] : [],
      };
    case "signal":
      if (
        hasCommand(run, "signal", input.id) ||
        isParked(run, (parked) => parked.kind === "signal" && parked["id"] === input.id)
      ) {
        return { events: [], ignored: "duplicate" };
      }
      return {
        events: [{ type: "signalled", at, id: input.id, signal: input.signal, payload: input.payload }],
      };
    case "cancel":
      if (run.cancelling || isParked(run, ({ kind }) => kind === "cancel")) {
        return { events: [], ignored: "duplicate" };
      }
      if (definition.cancel === undefined) return { events: cancelled(run, input.id, at) };
      return { events: [{ type: "parked", at, input }] };
    case "retry": {
      if (hasCommand(run, "retry", input.id)) return { events: [], ignored: "duplicate" };
      const resumed: RunEvent = { type: "resumed", at, id: input.id };
      const parked = (run.incident?.inputs ?? []) as readonly (Input | { readonly kind: "start" })[];
      const fresh = run.state === "";
      if (run.answer !== undefined) {
        // The caller has been told: all that is left to do is to clean up.
        if (fresh) return { events: [resumed, { type: "ended", at }] };
        const turn = new TurnBuilder(definition, run, env);
        turn.events.push(resumed);
        try {
          turn.migrate();
          turn.raiseDeadline();
          turn.check();
          return turn;
        } catch (error) {
          return { events: [resumed, incidentOf(error, input, env)] };
        }
      }
      if (!fresh)
        return { events: [resumed], redeliver: [...(parked as readonly Input[]), { kind: "buffered" }] };
      const others = parked.filter((input): input is Input => input.kind !== "start");
      return { events: [resumed, ...restart(definition, run, env)], redeliver: others };
    }
    case "resolve": {
      const answer: Answer = { kind: "error", code: "WW_INCIDENT", message: input.message };
      return { events: [run.answer === undefined ? { type: "ended", at, answer } : { type: "ended", at }] };
    }
  }
}

function isParked(run: Run, is: (input: ParkedInput) => boolean): boolean {
  return run.incident?.inputs.some(is) === true;
}

/** Makes the first turn again that threw when the request came. */
function restart(definition: HubDefinition, run: Run, env: Env): readonly RunEvent[] {
  const turn = new TurnBuilder(definition, run, env);
  try {
    turn.data = firstData(definition, run.request, env);
    turn.events.push({ type: "migrated", at: env.now, version: definition.version, data: turn.data });
    turn.enter(definition.initial, undefined, undefined);
    turn.check();
    return turn.events;
  } catch (error) {
    return [incidentOf(error, { kind: "start" }, env)];
  }
}

/** One turn: the events so far, and the run as it is after them. */
class TurnBuilder implements Decision {
  events: RunEvent[] = [];
  data: unknown;
  deadline: number;
  answerBy: number;
  #state: string;
  #late: boolean;
  #answered: boolean;
  #cancelling: boolean;
  #nextCall: number;
  #steps = 0;
  /** The buffered signals that this turn has not taken; made when the first is taken. */
  #signals: { readonly signal: string; readonly payload: unknown }[] | undefined = undefined;
  readonly #definition: HubDefinition;
  readonly #run: Run;
  readonly #env: Env;

  constructor(definition: HubDefinition, run: Run, env: Env) {
    this.#definition = definition;
    this.#run = run;
    this.#env = env;
    this.data = run.data;
    this.deadline = run.deadline;
    this.answerBy = run.answerBy;
    this.#state = run.state;
    this.#late = run.late;
    this.#answered = run.answer !== undefined;
    this.#cancelling = run.cancelling && !run.cancelled;
    this.#nextCall = run.nextCall;
    if (env.strict === true) deepFreeze(this.data);
  }

  #emit(event: RunEvent): void {
    // Nearly every turn has one event: a list of one is a tenth of what a push makes room for.
    if (this.events.length === 0) this.events = [event];
    else this.events.push(event);
  }

  take(input: Input): Ignored | undefined {
    switch (input.kind) {
      case "outcome":
        return this.#outcome(input);
      case "callDue":
        return this.#callDue(input.call);
      case "due":
        return this.#due();
      case "signal":
        return this.#signal(input);
      case "buffered":
        this.#takeBuffered(this.#current());
        return undefined;
      case "cancel":
        return this.#cancel(input.id);
      case "retry":
      case "resolve":
        return hasCommand(this.#run, "retry", input.id) ? "duplicate" : "not-incident";
    }
  }

  /** In tests: what is stored must be plain JSON, and nobody may change it later. */
  check(): void {
    const { strict, verifyJson } = this.#env;
    // Throws for what no store can hold: a bigint, a cycle.
    if (verifyJson === true) JSON.stringify(this.events);
    if (strict !== true) return;
    for (const event of this.events) demandJson(event, event.type);
    deepFreeze(this.events);
  }

  migrate(): void {
    const definition = this.#definition;
    const run = this.#run;
    if (run.version === definition.version) return;
    let moved = { state: run.state, data: run.data as Readonly<Record<string, unknown>> };
    for (let version = run.version; version < definition.version; version++) {
      moved = definition.migrate[version]?.(moved) ?? moved;
    }
    if (run.version > definition.version || !definition.states.has(moved.state)) {
      throw new WheelworkError(
        "WW_UNMAPPED_STATE",
        `run ${run.key} is in state ${run.state} of ${definition.name} version ${run.version}, ` +
          `which version ${definition.version} does not have`,
        { next: `Give the hub a migrate function for version ${run.version}, then retry the incident.` },
      );
    }
    const at = this.#env.now;
    const { version } = definition;
    const changed = moved.data !== run.data;
    this.#emit(
      changed ? { type: "migrated", at, version, data: moved.data } : { type: "migrated", at, version },
    );
    this.data = moved.data;
    if (moved.state !== run.state) this.enter(moved.state, undefined, undefined);
  }

  #outcome(input: Extract<Input, { kind: "outcome" }>): Ignored | undefined {
    const ignored = staleness(this.#run, input);
    if (ignored !== undefined) return ignored;
    this.#conclude(this.#run.calls.get(input.call) as Call, input.outcome);
    return undefined;
  }

  #callDue(number: number): Ignored | undefined {
    const { now } = this.#env;
    const call = this.#run.calls.get(number);
    if (call === undefined) return "late";
    if (call.due === undefined || call.due > now) return "stale";
    if (call.backoff) this.#attempt(call, call.attempt + 1);
    else this.#conclude(call, { kind: "timeout" });
    return undefined;
  }

  /** An attempt has ended: another one, or the outcome of the call. */
  #conclude(call: Call, outcome: Outcome): void {
    if (outcome.kind === "ok" || call.isHub || this.#run.held !== undefined)
      return this.#settle(call, outcome);
    const { retry } = this.#callee(call.callee) as Spoke;
    const hopeless = outcome.kind === "error" && retry.giveUpOn.includes(outcome.code);
    if (hopeless || call.attempt >= retry.attempts) return this.#settle(call, outcome);
    const at = this.#env.now;
    const pause = backoffOf(retry, call.attempt, this.#env.random);
    this.#emit({
      type: "failed",
      at,
      call: call.number,
      attempt: call.attempt,
      failure: outcome,
      due: at + pause,
    });
    if (pause === 0) this.#attempt(call, call.attempt + 1);
  }

  #attempt(call: Call, attempt: number): void {
    const at = this.#env.now;
    if (call.isHub) {
      this.#emit({ type: "attempt", at, call: call.number, attempt });
      return;
    }
    const due = at + (this.#callee(call.callee) as Spoke).timeoutMs;
    this.#emit({ type: "attempt", at, call: call.number, attempt, due });
  }

  #settle(call: Call, outcome: Outcome): void {
    const run = this.#run;
    const { logic, row } = this.#current();
    const at = this.#env.now;
    const others = run.calls.size - 1;
    const turn = logic.outcome?.(this.data, call as OpenCall, outcome, others) ?? {};
    const { raise } = turn;
    const result = outcome.kind === "ok" ? ("ok" as const) : outcome;
    // Nearly every outcome stays in its round: its event is made at once, in one shape.
    const stays = raise !== undefined && run.held === undefined && this.#target(row, raise) === stay;
    const settled: Extract<RunEvent, { type: "settled" }> = stays
      ? { type: "settled", at, call: call.number, outcome: result, by: raise }
      : { type: "settled", at, call: call.number, outcome: result };
    if (run.held !== undefined) {
      // The round is lost already: only what succeeded is noted.
      this.#emit(outcome.kind === "ok" ? this.#patched(settled, turn.patch) : settled);
      if (others > 0) return;
      const byCancel = this.#cancelling && run.held === this.#definition.cancel?.raise;
      if (byCancel) this.#cancelling = false;
      this.#go(run.held, undefined, byCancel);
      return;
    }
    if (raise !== undefined && !stays) {
      if (logic.drain === true && this.#othersRun(call)) {
        this.#emit(this.#patched({ ...settled, held: raise }, turn.patch));
        return;
      }
      this.#emit(settled);
      this.#go(raise, turn.patch);
      return;
    }
    const calls = this.#open(turn.open, undefined);
    const event = this.#patched(settled, turn.patch);
    this.#emit(calls === undefined ? event : { ...event, calls });
    const next = run.calls.get(run.nextQueued);
    if (next?.attempt === 0) this.#attempt(next, 1);
    if (others === 0 && calls === undefined && logic.done !== undefined) {
      const { raise: done, patch } = logic.done(this.data);
      if (done !== undefined) this.#go(done, patch);
    }
  }

  #due(): Ignored | undefined {
    const { now, since = 0 } = this.#env;
    const { due, late } = this.#run;
    const overdue = due !== undefined && due <= now;
    if (overdue && late && due < since) return this.#rearm();
    if (overdue) this.raiseDeadline();
    if (!this.#answered && this.answerBy <= now) {
      this.#emit(timeoutAnswer(this.#definition, now));
      return undefined;
    }
    return overdue ? undefined : "stale";
  }

  /** Clean-up has the time that it was promised: an outage must not use it up, and leave things undone. */
  #rearm(): undefined {
    const state = this.#current();
    const due = this.#waitUntil(state);
    const answerBy = this.#moveAnswer(state);
    const rearmed = { type: "rearmed" as const, at: this.#env.now, due };
    this.#emit(answerBy === undefined ? rearmed : { ...rearmed, answerBy });
  }

  raiseDeadline(): void {
    const { deadline } = this.#current().logic;
    if (deadline === undefined) throw new WheelworkError("WW_DEFECT", `${this.#state} does not wait`);
    const open =
      deadline.patch === undefined ? [] : (Array.from(this.#run.calls.values()) as readonly OpenCall[]);
    this.#go(deadline.raise, deadline.patch?.(this.data, open));
  }

  #signal(input: Extract<Input, { kind: "signal" }>): Ignored | undefined {
    if (hasCommand(this.#run, "signal", input.id)) return "duplicate";
    const { logic } = this.#current();
    const { id, signal, payload } = input;
    const event = { type: "signalled" as const, at: this.#env.now, id, signal, payload };
    if (logic.signals?.includes(signal) !== true) {
      if (this.#run.signals.length >= maxSignals) return "full";
      this.#emit(event);
    } else this.#signalled({ ...event, taken: true }, logic.signal?.(this.data, signal, payload) ?? {});
    return undefined;
  }

  #signalled(event: Extract<RunEvent, { type: "signalled" }>, turn: Turn): void {
    const { raise } = turn;
    if (raise !== undefined && this.#target(this.#current().row, raise) !== stay) {
      this.#emit(event);
      this.#go(raise, turn.patch);
      return;
    }
    const calls = this.#open(turn.open, undefined);
    const patched = this.#patched(raise === undefined ? event : { ...event, by: raise }, turn.patch);
    this.#emit(calls === undefined ? patched : { ...patched, calls });
  }

  #cancel(id: string): Ignored | undefined {
    const run = this.#run;
    const { cancel } = this.#definition;
    const at = this.#env.now;
    if (run.cancelling) return "duplicate";
    const { late, row, logic } = this.#current();
    if (late) return "cleaning-up";
    if (cancel === undefined) {
      for (const event of cancelled(run, id, at)) this.#emit(event);
      return undefined;
    }
    const moves = row[cancel.raise] !== undefined && row[cancel.raise] !== stay;
    if (!moves) {
      this.#emit({ type: "cancelling", at, id });
    } else if (run.held !== undefined || (logic.drain === true && this.#othersRun(undefined))) {
      const event = { type: "cancelling" as const, at, id };
      // A round that holds another event already goes its way; the cancel waits for a state that has its event.
      if (run.held !== undefined && run.held !== cancel.raise) this.#emit(event);
      else this.#emit(this.#patched({ ...event, held: cancel.raise }, cancel.patch?.(this.data)));
    } else {
      this.#emit({ type: "cancelling", at, id });
      this.#cancelling = true;
      this.#goCancelled();
    }
    return undefined;
  }

  #goCancelled(): void {
    const { cancel } = this.#definition;
    if (cancel === undefined) return;
    this.#cancelling = false;
    this.#go(cancel.raise, cancel.patch?.(this.data), true);
  }

  /** Follows an event along its edge (I14). */
  #go(event: string, patch: object | undefined, byCancel = false): void {
    const target = this.#target(this.#current().row, event);
    if (target === stay) {
      throw new WheelworkError("WW_UNDECLARED_EDGE", `${event} does not leave the state ${this.#state}`, {
        next: "Raise an event that leads to another state where a round or a wait ends.",
      });
    }
    this.enter(target, event, patch, byCancel);
  }

  /** Enters a state and all that follow from it without a wait. */
  enter(target: string, by: string | undefined, patch: object | undefined, byCancel = false): void {
    if (++this.#steps > maxSteps) {
      throw new WheelworkError(
        "WW_DEFECT",
        `the hub took ${maxSteps} steps without a wait, at last into ${target} (I15)`,
        {
          next: "Correct the picks that lead around in a circle, then retry the incident.",
        },
      );
    }
    const at = this.#env.now;
    const state = this.#definition.states.get(target);
    if (state === undefined)
      throw new WheelworkError("WW_DEFECT", `${this.#definition.name} has no state ${target}`);
    const { logic, row } = state;
    this.#state = target;
    this.#merge(patch);
    const entered: Writable<Extract<RunEvent, { type: "entered" }>> = { type: "entered", at, state: target };
    if (by !== undefined) entered.by = by;
    if (byCancel) entered.cancelled = true;
    if (state.late) {
      if (!this.#late) entered.late = true;
      this.#late = true;
      const answerBy = this.#moveAnswer(state);
      if (answerBy !== undefined) entered.answerBy = answerBy;
    }
    if (this.#cancelling && !state.late && this.#cancels(row)) {
      this.#emit(withPatch(entered, patch));
      this.#goCancelled();
      return;
    }
    const turn = logic.enter(this.data);
    if (logic.kind === "end") {
      this.#emit(withPatch(entered, patch));
      this.#end(turn.answer);
      return;
    }
    if (turn.raise !== undefined) {
      this.#emit(withPatch(entered, patch));
      this.#tell(turn);
      this.#go(turn.raise, turn.patch);
      return;
    }
    const whole = turn.patch === undefined ? patch : { ...patch, ...turn.patch };
    this.#merge(turn.patch);
    const calls = this.#open(turn.open, logic.limit);
    withPatch(entered, whole);
    entered.due = this.#waitUntil(state);
    if (calls !== undefined) entered.calls = calls;
    this.#emit(entered);
    this.#takeBuffered(state);
  }

  /** Signals that came before the wait for them began. */
  #takeBuffered(state: StateDefinition): void {
    const { signals, signal: handle } = state.logic;
    if (signals === undefined || handle === undefined) return;
    if (this.#run.signals.length === 0) return;
    this.#signals ??= [...this.#run.signals];
    const position = this.#signals.findIndex(({ signal }) => signals.includes(signal));
    const [next] = position < 0 ? [] : this.#signals.splice(position, 1);
    if (next === undefined) return;
    const received = { type: "received" as const, at: this.#env.now, signal: next.signal };
    const turn = handle(this.data, next.signal, next.payload);
    if (turn.raise !== undefined && this.#target(state.row, turn.raise) !== stay) {
      this.#emit(received);
      this.#go(turn.raise, turn.patch);
      return;
    }
    const calls = this.#open(turn.open, undefined);
    const event = this.#patched(
      turn.raise === undefined ? received : { ...received, by: turn.raise },
      turn.patch,
    );
    this.#emit(calls === undefined ? event : { ...event, calls });
    this.#takeBuffered(state);
  }

  #tell(turn: Turn): void {
    if (turn.tell === undefined) return;
    const { callee, input } = turn.tell;
    this.#emit({ type: "told", at: this.#env.now, call: this.#nextCall++, spoke: callee.name, input });
  }

  #end(reply: unknown): void {
    const at = this.#env.now;
    if (this.#answered) {
      this.#emit({ type: "ended", at });
      return;
    }
    this.#answered = true;
    this.#emit({ type: "ended", at, answer: answerOf(this.#definition, reply) });
  }

  #open(requests: readonly CallRequest[] | undefined, limit: number | undefined): OpenedCalls[] | undefined {
    if (requests === undefined || requests.length === 0) return undefined;
    return requests.map((request) => {
      const { callee, inputs, keys, index, tag } = request;
      const first = this.#nextCall;
      this.#nextCall += inputs.length;
      const opened: Writable<OpenedCalls> = { callee: callee.name, first, inputs };
      if (callee.kind === "hub") opened.hub = true;
      else opened.due = this.#env.now + (callee as Spoke).timeoutMs;
      if (index !== undefined) opened.index = index;
      if (tag !== undefined) opened.tag = tag;
      if (keys !== undefined) opened.keys = keys;
      if (limit !== undefined && limit < inputs.length) opened.started = limit;
      return opened;
    });
  }

  /** Clean-up moves the engine's own answer: its new time, if it does. */
  #moveAnswer(state: StateDefinition): number | undefined {
    const answerBy = this.#env.now + state.remainingMs;
    if (!state.late || answerBy <= this.answerBy) return undefined;
    return (this.answerBy = answerBy);
  }

  #waitUntil(state: StateDefinition): number {
    const within =
      state.logic.withinMs === undefined ? undefined : this.#env.now + Math.ceil(state.logic.withinMs);
    if (within === undefined) return this.deadline;
    return state.late ? within : Math.min(within, this.deadline);
  }

  #cancels(row: StateDefinition["row"]): boolean {
    const target = row[this.#definition.cancel?.raise ?? ""];
    return target !== undefined && target !== stay;
  }

  #othersRun(settling: Call | undefined): boolean {
    for (const call of this.#run.calls.values()) if (call !== settling && isRunning(call)) return true;
    return false;
  }

  #current(): StateDefinition {
    const state = this.#definition.states.get(this.#state);
    if (state !== undefined) return state;
    throw new WheelworkError(
      "WW_UNMAPPED_STATE",
      `${this.#definition.name} has no state ${this.#state} (I20)`,
      {
        next: "Give the hub a migrate function, then retry the incident.",
      },
    );
  }

  #target(row: StateDefinition["row"], event: string): string {
    const target = row[event];
    if (target !== undefined) return target;
    throw new WheelworkError(
      "WW_UNDECLARED_EDGE",
      `the state ${this.#state} has no edge for the event ${event} (I14)`,
      {
        next: "Declare the edge in the chart, or raise another event.",
      },
    );
  }

  #callee(name: string): Spoke {
    const callee = this.#definition.callees.get(name);
    if (callee !== undefined) return callee as Spoke;
    throw new WheelworkError("WW_UNMAPPED_STATE", `${this.#definition.name} no longer calls ${name}`, {
      next: "Keep the spoke until its calls have ended, or migrate the runs, then retry the incident.",
    });
  }

  #merge(patch: object | undefined): void {
    if (patch === undefined) return;
    this.data = patched(this.data, patch);
    if (this.#env.strict === true) deepFreeze(this.data);
  }

  #patched<Event extends object>(event: Event, patch: object | undefined): Event {
    this.#merge(patch);
    return withPatch(event, patch);
  }
}

/** Gives an event its patch: JSON has no undefined, so fields that are to go are named. */
function withPatch<Event extends object>(event: Event, patch: object | undefined): Event {
  if (patch === undefined) return event;
  const unset = Object.entries(patch).flatMap(([key, value]) => (value === undefined ? [key] : []));
  return Object.assign(event, unset.length === 0 ? { patch } : { patch, unset });
}

/** Whether the outcome of an attempt no longer counts (I3, I4). */
function staleness(run: Run, input: Extract<Input, { kind: "outcome" }>): Ignored | undefined {
  const call = run.calls.get(input.call);
  if (call === undefined) return "late";
  return input.epoch !== run.epoch || input.attempt !== call.attempt || call.backoff ? "stale" : undefined;
}

function answerOf(definition: HubDefinition, reply: unknown): Answer {
  const failing = (reply as Partial<Failing<string>> | null | undefined)?.["~fail"];
  if (failing !== undefined) {
    // Only the engine's own kinds of hubs give up with it.
    if (failing.code === "WW_TIMEOUT")
      return { kind: "timeout", code: "WW_TIMEOUT", message: failing.message };
    if (!definition.errors.includes(failing.code)) {
      throw new WheelworkError(
        "WW_INVALID_REPLY",
        `${definition.name} fails with ${failing.code}, which it does not declare`,
        {
          next: "Add the code to the hub's errors, then retry the incident.",
        },
      );
    }
    return { kind: "error", ...failing };
  }
  return {
    kind: "result",
    value: demand(definition.reply, reply, "WW_INVALID_REPLY", `the reply of ${definition.name}`),
  };
}

function timeoutAnswer(definition: HubDefinition, at: number): RunEvent {
  const message = `${definition.name} reached no end within its time`;
  return { type: "answered", at, answer: { kind: "timeout", code: "WW_TIMEOUT", message } };
}

function cancelled(run: Run, id: string, at: number): RunEvent[] {
  const answer: Answer = { kind: "error", code: "WW_CANCELLED", message: "the request was cancelled" };
  return [
    { type: "cancelling", at, id },
    run.answer === undefined ? { type: "ended", at, answer } : { type: "ended", at },
  ];
}

function incidentOf(error: unknown, input: Input | { readonly kind: "start" }, env: Env): RunEvent {
  const known = error instanceof Error ? error : new Error(String(error));
  const code = known instanceof WheelworkError ? known.code : "WW_DEFECT";
  const { message, stack } = known;
  return {
    type: "incident",
    at: env.now,
    error: stack === undefined ? { code, message } : { code, message, stack },
    input: input as ParkedInput,
  };
}

function demandJson(value: unknown, path: string): void {
  if (value === null || typeof value === "string" || typeof value === "boolean") return;
  if (typeof value === "number" && Number.isFinite(value)) return;
  if (Array.isArray(value)) {
    for (const [index, inner] of value.entries()) demandJson(inner, `${path}[${index}]`);
    return;
  }
  const prototype: unknown = typeof value === "object" ? Object.getPrototypeOf(value) : undefined;
  if (prototype === Object.prototype || prototype === null) {
    for (const [key, inner] of Object.entries(value as object)) {
      if (inner !== undefined) demandJson(inner, `${path}.${key}`);
    }
    return;
  }
  throw new WheelworkError("WW_DEFECT", `${path} is not plain JSON (I19)`, {
    next: "Keep dates as numbers or texts, and leave out what JSON does not have.",
  });
}
