import { end, stay } from "./chart.ts";
import { isSuspect, maxDeaths, workerDied } from "./deaths.ts";
import type { Decision, Env, Ignored, Input } from "./decision.ts";
import { WheelworkError } from "./errors.ts";
import type { Failing, HubDefinition, StateDefinition } from "./hub.ts";
import { growth } from "./growth.ts";
import { plain, plainKey, plainPatch, setField, stackOf, synchronous, textOf } from "./plain.ts";
import { inputSchema, type CallRequest, type OpenCall, type StateLogic, type Turn } from "./logic.ts";
import {
  isRunning,
  knownCommand,
  patched,
  refusedSignal,
  type Answer,
  type Call,
  type KeptSignal,
  type OpenedCalls,
  type ParkedInput,
  type Run,
  type RunEvent,
} from "./run.ts";
import { demand } from "./schema.ts";
import { payloadOf, keptSignal, signalled } from "./signals.ts";
import { backoffOf, type Outcome, type Spoke } from "./spoke.ts";
import { checkStored, extendsStored } from "./stored.ts";

/*
 * How a turn works. A turn decides one input. It reads the run as it was before, and never changes it. What the turn
 * has changed so far (state, data, deadlines, the next call number) is in the fields of TurnBuilder. Its result is a
 * list of events.
 *
 * Entering a state. `enter` merges the patch and asks the logic of the state. The logic
 *   - ends the run: the run gives its answer, unless it has one already; or
 *   - raises an event at once (a pick, a state that passes, a tell, a round without inputs): the turn follows the edge
 *     and enters the next state. No wait separates these steps, so they are counted and bounded (maxSteps, I15); or
 *   - waits: the turn opens its calls, sets its deadline, and takes signals that came before.
 *
 * While a state waits. A settled call, a signal or a deadline makes a handler raise an event. Where the chart says
 * `stay`, the wait goes on: one event holds the patch and the calls to open. Otherwise the turn follows the edge. The
 * event `entered` closes all open calls (I12) and raises the epoch of the run, so that no outcome of an earlier state
 * counts later (I3).
 *
 * Rounds. A failed attempt is repeated while its spoke allows another one. A settled call lets the next queued call
 * begin (`limit`). When the last one has settled, `done` raises the event that leaves the state. With `drain`, an event
 * that would leave the state is held (`run.held`) until the running calls are over, calls of hubs included. A round
 * that holds an event is decided: it starts nothing more. The patches of its outcomes still count, since the clean-up
 * must know what was done.
 *
 * Cancels. A cancel raises the hub's own event for it, or else the deadline event of the present state. If no edge for
 * the event leaves the state, the cancel stays pending, and moves the run in the first state that has such an edge. It
 * moves the run once, and never out of a late state. If the hub's cancel is `end`, the run ends at once.
 *
 * Late states are the clean-up (chart.ts). The hub's deadline no longer counts there: each wait has its own `withinMs`.
 * Entering one moves `answerBy`, if need be, to leave time for the longest path from it to an end. If the deadline of a
 * late state passed while nobody worked (`env.since`), or while the run was parked, it begins anew.
 *
 * Answers. A run gives one answer, at its end (I5). If `answerBy` passes before, the engine answers with a timeout. The
 * run then goes on with its clean-up, and ends without another answer.
 */

type Writable<T> = { -readonly [Field in keyof T]: T[Field] };

/** States that one turn may enter. The chart check does not see cycles of picks, so they are bounded here (I15). */
const maxSteps = 1000;

/** Signals that a run keeps until it waits for them. More would let one client fill the memory. */
export const maxSignals = 1000;

/** One turn: the events so far, and what of the run they change. */
export class TurnBuilder implements Decision {
  events: RunEvent[] = [];
  data: unknown;
  /** The data after the events so far. */
  #recorded: unknown;
  deadline: number;
  answerBy: number;
  #state: string;
  #late: boolean;
  #answered: boolean;
  #cancelling: boolean;
  #nextCall: number;
  #steps = 0;
  /** The kept signals that this turn has not taken yet. A copy of `run.signals`, made when the turn takes the first. */
  #signals: KeptSignal[] | undefined = undefined;
  readonly #definition: HubDefinition;
  readonly #run: Run;
  readonly #env: Env;

  constructor(definition: HubDefinition, run: Run, env: Env) {
    this.#definition = definition;
    this.#run = run;
    this.#env = env;
    this.data = run.data;
    this.#recorded = run.data;
    this.deadline = run.deadline;
    this.answerBy = run.answerBy;
    this.#state = run.state;
    this.#late = run.late;
    this.#answered = run.answer !== undefined;
    // A cancel moves a run once.
    this.#cancelling = run.cancelling && !run.cancelled;
    this.#nextCall = run.nextCall;
  }

  #emit(event: RunEvent): void {
    // Nearly every turn has one event. A literal of one takes a tenth of the memory that an array takes after a push.
    if (this.events.length === 0) this.events = [event];
    else this.events.push(event);
  }

  /** Decides the input. Says why if it changes nothing. */
  take(input: Input): Ignored | undefined {
    switch (input.kind) {
      case "outcome":
        return this.#outcome(input);
      case "callDue":
        return this.#callDue(input);
      case "due":
        return this.#due();
      case "signal":
        return this.#signal(input);
      case "recheck":
        return this.#recheck();
      case "died":
        return this.#died(input);
      case "begin":
        return this.#beginSuspect(input);
      case "buffered":
        this.#takeBuffered(this.#current());
        return undefined;
      case "cancel":
        return this.#cancel(input.id);
      case "retry":
      case "resolve":
        return knownCommand(this.#run, "retry", input) === undefined ? "not-incident" : "duplicate";
    }
  }

  /**
   * Moves the run to the present version of the hub, one version at a time.
   * @throws WheelworkError WW_UNMAPPED_STATE when the run ends up in a state that the hub does not have.
   */
  migrate(): void {
    const definition = this.#definition;
    const run = this.#run;
    if (run.version === definition.version) return;
    let moved = { state: run.state, data: run.data as Readonly<Record<string, unknown>> };
    for (let version = run.version; version < definition.version; version++) {
      const step = definition.migrate[version];
      if (step !== undefined) moved = synchronous(step(moved), `migrate of version ${version}`) ?? moved;
    }
    if (run.version > definition.version || !definition.states.has(moved.state)) {
      throw new WheelworkError(
        "WW_UNMAPPED_STATE",
        `the run ${run.key} is in the state ${run.state} of ${definition.name} version ${run.version}. ` +
          `Version ${definition.version} of the hub does not have this state`,
        { next: `Give the hub a migrate function for version ${run.version}. Then retry the incident.` },
      );
    }
    const at = this.#env.now;
    const { version } = definition;
    if (moved.data === run.data) this.#emit({ type: "migrated", at, version });
    else {
      this.data = plain(moved.data, "WW_DEFECT", `what migrate of ${definition.name} returned`);
      this.#emit({ type: "migrated", at, version, data: this.data });
    }
    if (moved.state === run.state) return;
    const state = definition.states.get(moved.state) as StateDefinition;
    if (this.#leavesAlone(state)) this.#rename(state);
    else this.enter(moved.state, undefined, undefined);
  }

  /**
   * Whether each open call is one that the state would open, too. Then a migration to it has only renamed the state: the
   * work goes on, under the same idempotency keys.
   */
  #leavesAlone({ late, logic, row }: StateDefinition): boolean {
    const { calls, held, late: wasLate } = this.#run;
    if (calls.size === 0 || late !== wasLate) return false;
    if (held !== undefined && (row[held] ?? stay) === stay) return false;
    for (const call of calls.values()) {
      const request = logic.callAt?.(this.data, call.index);
      if (request?.callee.name !== call.callee || request.keys?.[0] !== call.key) return false;
      // Today's schema may fill in what the stored input lacks.
      const input = plain(request.inputs[0], "WW_DEFECT", `the input of ${call.callee}`);
      if (!extendsStored(input, call.input)) return false;
    }
    return true;
  }

  #rename(state: StateDefinition): void {
    const { due } = this.#run;
    this.#state = state.name;
    const entered = { type: "entered", at: this.#env.now, state: state.name, kept: true } as const;
    this.#emit(due === undefined ? entered : { ...entered, due });
    this.#takeBuffered(state);
  }

  /** What workers and hubs are still to be given is held against the schemas of today. */
  #recheck(): undefined {
    for (const call of this.#run.calls.values()) {
      const callee = this.#definition.callees.get(call.callee);
      // A hub that is called has its request already, unless the call is queued.
      if (callee === undefined || call.transformed || (call.isHub && call.attempt > 0)) continue;
      const what = `the input of the call ${call.number} of ${call.callee}`;
      const input = checkStored(inputSchema(callee), call.input, what);
      if (input !== call.input)
        this.#emit({
          type: "filled",
          at: this.#env.now,
          call: call.number,
          input: plain(input, "WW_DEFECT", what),
        });
    }
  }

  /** Counts a death of the process for attempts that were under way. A lone suspect is parked, and not begun once more. */
  #died({ attempts, lone }: Extract<Input, { kind: "died" }>): Ignored | undefined {
    // A claim that follows a commit whose outcome was unknown says it again.
    const counted = attempts.filter(({ call: number, attempt, deaths }) => {
      const call = this.#run.calls.get(number);
      return call?.attempt === attempt && isRunning(call) && call.deaths < deaths;
    });
    if (counted.length === 0) return "stale";
    const at = this.#env.now;
    this.#emit({ type: "died", at, attempts: counted.map(({ call, deaths }) => ({ call, deaths })) });
    const suspect = counted.find(({ call, deaths }) => call === lone && deaths >= maxDeaths);
    if (suspect === undefined) return undefined;
    const error = workerDied(this.#run.calls.get(suspect.call) as Call, suspect.deaths);
    this.#emit(incidentOf(error, { kind: "recheck" }, this.#env));
    return undefined;
  }

  #beginSuspect({ call: number, attempt }: Extract<Input, { kind: "begin" }>): Ignored | undefined {
    const call = this.#run.calls.get(number);
    if (call === undefined) return "late";
    if (call.attempt !== attempt || !isRunning(call) || !isSuspect(call)) return "stale";
    const at = this.#env.now;
    const due = at + (this.#callee(call.callee) as Spoke).timeoutMs;
    this.#emit({ type: "attempt", at, call: number, attempt, due, alone: true });
    return undefined;
  }

  #outcome(input: Extract<Input, { kind: "outcome" }>): Ignored | undefined {
    const ignored = staleness(this.#run, input);
    if (ignored !== undefined) return ignored;
    this.#conclude(this.#run.calls.get(input.call) as Call, input.outcome);
    return undefined;
  }

  #callDue({ call: number, due = 0 }: Extract<Input, { kind: "callDue" }>): Ignored | undefined {
    const { now } = this.#env;
    const call = this.#run.calls.get(number);
    if (call === undefined) return "late";
    if (call.due === undefined || call.due > now) return "stale";
    if (call.backoff) this.#attempt(call, call.attempt + 1);
    else if (due > now) this.#emit({ type: "waited", at: now, call: number, attempt: call.attempt, due });
    else this.#conclude(call, { kind: "timeout" });
    return undefined;
  }

  /** An attempt has ended. Either another one follows, or the call settles with its outcome. */
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

  /** The call is over: its round goes on, ends, or waits for the running attempts (`drain`). */
  #settle(call: Call, outcome: Outcome): void {
    const run = this.#run;
    const { logic, row } = this.#current();
    const at = this.#env.now;
    const others = run.calls.size - 1;
    const turn = this.#kept(logic.outcome?.(this.data, call as OpenCall, shown(outcome), others));
    const { raise } = turn;
    const result = outcome.kind === "ok" ? ("ok" as const) : outcome;
    // Nearly every outcome stays in its round. This is the hottest path, so its event is made as one literal: V8 then
    // gives all of them the same hidden class.
    const stays = raise !== undefined && run.held === undefined && this.#target(row, raise) === stay;
    const settled: Extract<RunEvent, { type: "settled" }> = stays
      ? { type: "settled", at, call: call.number, outcome: result, by: raise }
      : { type: "settled", at, call: call.number, outcome: result };
    if (run.held !== undefined) {
      // The round is decided already. The patches still count, so that the clean-up knows what was done.
      this.#emit(this.#patched(settled, turn.patch));
      if (others > 0) return;
      const byCancel = this.#cancelling && run.held === this.#cancelEvent(logic);
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
    const event = this.#withPatch(settled, turn.patch);
    this.#emit(calls === undefined ? event : { ...event, calls });
    const next = run.calls.get(run.nextQueued);
    if (next?.attempt === 0) this.#attempt(next, 1);
    if (others > 0 || calls !== undefined || logic.done === undefined) return;
    // Only now somebody looks at the data: `apply` merges the patch once more.
    this.#merge(turn.patch);
    this.#recorded = this.data;
    const { raise: done, patch } = this.#kept(logic.done(Object.freeze(this.data)));
    if (done !== undefined) this.#go(done, patch);
  }

  #due(): Ignored | undefined {
    const { now, since = 0 } = this.#env;
    const { due, late } = this.#run;
    const overdue = due !== undefined && due <= now;
    if (overdue && late && due < since) return this.rearm();
    if (overdue) this.raiseDeadline();
    if (!this.#answered && this.answerBy <= now) {
      this.#emit(timeoutAnswer(this.#definition, this.#run, now));
      return undefined;
    }
    return overdue ? undefined : "stale";
  }

  /**
   * The deadline of a late state passed while nobody worked: it begins anew. The clean-up gets the time that it was
   * promised. If an outage used it up, things would be left undone.
   */
  rearm(): undefined {
    const state = this.#current();
    const due = this.#waitUntil(state);
    const answerBy = this.#moveAnswer(state);
    const rearmed = { type: "rearmed" as const, at: this.#env.now, due };
    this.#emit(answerBy === undefined ? rearmed : { ...rearmed, answerBy });
  }

  /** The deadline of the open wait has passed: the run leaves its state by its deadline event. */
  raiseDeadline(): void {
    const { logic } = this.#current();
    if (logic.deadline === undefined)
      throw new WheelworkError("WW_DEFECT", `the state ${this.#state} does not wait, so it has no deadline`, {
        next: "Resolve the incident, and report this with the history of the run.",
      });
    this.#go(logic.deadline.raise, this.#deadlinePatch(logic));
  }

  #signal(input: Extract<Input, { kind: "signal" }>): Ignored | undefined {
    const refused = refusedSignal(this.#run, input);
    if (refused !== undefined) return refused;
    const { logic } = this.#current();
    const { signal } = input;
    if (logic.signals?.includes(signal) !== true) {
      if (this.#run.signals.length >= maxSignals) return "full";
      this.#emit(keptSignal(this.#definition, input, this.#env.now));
      return undefined;
    }
    const payload = input.stored === true ? payloadOf(this.#definition, input) : input.payload;
    const event = signalled(input, this.#env.now, payload);
    this.#signalled({ ...event, taken: true }, this.#kept(logic.signal?.(this.data, signal, payload)));
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
    if (cancel === end) {
      for (const event of cancelled(run, id, at)) this.#emit(event);
      return undefined;
    }
    const raise = this.#cancelEvent(logic);
    if (raise === undefined || row[raise] === undefined || row[raise] === stay) {
      this.#emit({ type: "cancelling", at, id });
    } else if (run.held !== undefined || (logic.drain === true && this.#othersRun(undefined))) {
      const event = { type: "cancelling" as const, at, id };
      // If the round holds another event already, it goes that way. The cancel waits for a state that has its event.
      if (run.held !== undefined && run.held !== raise) this.#emit(event);
      else this.#emit(this.#patched({ ...event, held: raise }, this.#cancelPatch(logic)));
    } else {
      this.#emit({ type: "cancelling", at, id });
      this.#cancelling = true;
      this.#goCancelled();
    }
    return undefined;
  }

  /** Follows the event of the pending cancel. */
  #goCancelled(): void {
    const { logic } = this.#current();
    const raise = this.#cancelEvent(logic);
    if (raise === undefined) return;
    this.#cancelling = false;
    this.#go(raise, this.#cancelPatch(logic), true);
  }

  #cancelEvent(logic: StateLogic): string | undefined {
    return cancelEvent(this.#definition, logic);
  }

  #cancelPatch(logic: StateLogic): object | undefined {
    const { cancel } = this.#definition;
    if (cancel === end) return undefined;
    if (cancel !== undefined) return this.#keptPatch(cancel.patch?.(this.data), "the patch of a cancel");
    return this.#deadlinePatch(logic);
  }

  /** The patch of a deadline's event. It is told which calls are open. */
  #deadlinePatch({ deadline }: StateLogic): object | undefined {
    if (deadline?.patch === undefined) return undefined;
    const open = Array.from(this.#run.calls.values()) as readonly OpenCall[];
    return this.#keptPatch(deadline.patch(this.data, open), "the patch of a deadline");
  }

  /** Follows an event along its edge (I14). */
  #go(event: string, patch: object | undefined, byCancel = false): void {
    const target = this.#target(this.#current().row, event);
    if (target === stay) {
      throw new WheelworkError("WW_UNDECLARED_EDGE", `${event} does not leave the state ${this.#state}`, {
        next: "Where a round or a wait ends, raise an event that leads to another state. Then retry the incident.",
      });
    }
    this.enter(target, event, patch, byCancel);
  }

  /** Enters a state, and all states that follow without a wait. `by` is the event that led here, if one did. */
  enter(target: string, by: string | undefined, patch: object | undefined, byCancel = false): void {
    if (++this.#steps > maxSteps) {
      throw new WheelworkError(
        "WW_DEFECT",
        `the hub took ${maxSteps} steps without a wait, the last one into the state ${target}`,
        {
          next: "Correct the picks that lead in a circle. Then retry the incident.",
        },
      );
    }
    const at = this.#env.now;
    const state = this.#definition.states.get(target);
    if (state === undefined)
      throw new WheelworkError("WW_DEFECT", `the hub ${this.#definition.name} has no state ${target}`, {
        next: "Resolve the incident, and report this with the history of the run.",
      });
    const { logic } = state;
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
    if (this.#cancelling && !state.late && this.#cancels(state)) {
      this.#emit(this.#withPatch(entered, patch));
      this.#goCancelled();
      return;
    }
    const turn = this.#kept(logic.enter(Object.freeze(this.data)));
    if (logic.kind === "end") {
      this.#emit(this.#withPatch(entered, patch));
      this.#end(turn.answer);
      return;
    }
    if (turn.raise !== undefined) {
      this.#emit(this.#withPatch(entered, patch));
      this.#tell(turn);
      this.#go(turn.raise, turn.patch);
      return;
    }
    const whole = turn.patch === undefined ? patch : { ...patch, ...turn.patch };
    this.#merge(turn.patch);
    const calls = this.#open(turn.open, logic.limit);
    this.#withPatch(entered, whole);
    entered.due = this.#waitUntil(state);
    if (calls !== undefined) entered.calls = calls;
    this.#emit(entered);
    this.#takeBuffered(state);
  }

  /** Takes the signals that came before the wait for them began, in their order, until one leaves the state. */
  #takeBuffered(state: StateDefinition): void {
    const { signals, signal: handle } = state.logic;
    if (signals === undefined || handle === undefined) return;
    if (this.#run.signals.length === 0) return;
    this.#signals ??= [...this.#run.signals];
    const position = this.#signals.findIndex(({ signal }) => signals.includes(signal));
    const [next] = position < 0 ? [] : this.#signals.splice(position, 1);
    if (next === undefined) return;
    const received = { type: "received" as const, at: this.#env.now, signal: next.signal };
    const turn = this.#kept(handle(Object.freeze(this.data), next.signal, payloadOf(this.#definition, next)));
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

  /** A tell has a call number, but no open call. Its own run works on it, and may outlive this one. */
  #tell(turn: Turn): void {
    if (turn.tell === undefined) return;
    const { callee } = turn.tell;
    const input = plain(turn.tell.input, "WW_DEFECT", `what ${callee.name} is told`);
    const told = {
      type: "told" as const,
      at: this.#env.now,
      call: this.#nextCall++,
      spoke: callee.name,
      input,
    };
    this.#emit(callee.kind === "hub" ? { ...told, hub: true } : told);
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

  /** Numbers the calls that a turn opens. `limit`: how many of each request start at once. */
  #open(requests: readonly CallRequest[] | undefined, limit: number | undefined): OpenedCalls[] | undefined {
    if (requests === undefined || requests.length === 0) return undefined;
    return requests.map((request) => {
      const { callee, keys, index, tag, transformed } = request;
      const what = `the input of ${callee.name}`;
      const inputs = request.inputs.map((input) => plain(input, "WW_DEFECT", what));
      const first = this.#nextCall;
      this.#nextCall += inputs.length;
      const opened: Writable<OpenedCalls> = { callee: callee.name, first, inputs };
      if (callee.kind === "hub") opened.hub = true;
      else opened.due = this.#env.now + (callee as Spoke).timeoutMs;
      if (index !== undefined) opened.index = index;
      if (tag !== undefined) opened.tag = tag;
      if (keys !== undefined) opened.keys = keys.map((key) => plainKey(key, callee.name));
      if (transformed === true) opened.transformed = true;
      if (limit !== undefined && limit < inputs.length) opened.started = limit;
      return opened;
    });
  }

  /** Entering a late state may move the engine's own answer: its new time, if it moves. It never moves back. */
  #moveAnswer(state: StateDefinition): number | undefined {
    const answerBy = this.#env.now + state.remainingMs;
    if (!state.late || answerBy <= this.answerBy) return undefined;
    return (this.answerBy = answerBy);
  }

  /** When the wait of a state gives up: by `withinMs`, and before the late states also by the hub's deadline. */
  #waitUntil(state: StateDefinition): number {
    const within =
      state.logic.withinMs === undefined ? undefined : this.#env.now + Math.ceil(state.logic.withinMs);
    if (within === undefined) return this.deadline;
    return state.late ? within : Math.min(within, this.deadline);
  }

  /** Whether the event of a cancel leaves a state. */
  #cancels({ logic, row }: StateDefinition): boolean {
    const target = row[this.#cancelEvent(logic) ?? ""];
    return target !== undefined && target !== stay;
  }

  /** Whether an attempt of another call is under way. */
  #othersRun(settling: Call | undefined): boolean {
    for (const call of this.#run.calls.values()) if (call !== settling && isRunning(call)) return true;
    return false;
  }

  #current(): StateDefinition {
    const state = this.#definition.states.get(this.#state);
    if (state !== undefined) return state;
    throw new WheelworkError(
      "WW_UNMAPPED_STATE",
      `the run is in the state ${this.#state}, which the hub ${this.#definition.name} does not have`,
      {
        next: "Raise the version of the hub and give it a migrate function. Then retry the incident.",
      },
    );
  }

  #target(row: StateDefinition["row"], event: string): string {
    const target = row[event];
    if (target !== undefined) return target;
    throw new WheelworkError(
      "WW_UNDECLARED_EDGE",
      `the state ${this.#state} has no edge for the event ${event}`,
      {
        next: "Declare the edge in the chart, or raise another event. Then retry the incident.",
      },
    );
  }

  #callee(name: string): Spoke {
    const callee = this.#definition.callees.get(name);
    if (callee !== undefined) return callee as Spoke;
    throw new WheelworkError(
      "WW_UNMAPPED_STATE",
      `the hub ${this.#definition.name} no longer calls ${name}`,
      {
        next: "Keep the spoke in the hub until its calls have ended, or migrate the runs. Then retry the incident.",
      },
    );
  }

  #merge(patch: object | undefined): void {
    if (patch === undefined) return;
    this.data = patched(this.data, patch);
  }

  #patched<Event extends object>(event: Event, patch: object | undefined): Event {
    this.#merge(patch);
    return this.#withPatch(event, patch);
  }

  /**
   * Gives an event its patch, which is merged already. JSON has no undefined, so `unset` names the fields to remove. Of a list
   * or a map that has grown, `grown` holds what is new.
   */
  #withPatch<Event extends object>(event: Event, patch: object | undefined): Event {
    if (patch === undefined) return event;
    const fields = patch as Record<string, unknown>;
    const recorded = this.#recorded as Record<string, unknown> | undefined;
    this.#recorded = this.data;
    let unset: string[] | undefined;
    let added: Record<string, object> | undefined;
    for (const key in fields) {
      const value = fields[key];
      if (value === undefined) (unset ??= []).push(key);
      else if (typeof value === "object") {
        const more = growth(recorded?.[key], value);
        if (more !== undefined) setField((added ??= {}), key, more);
      }
    }
    if (added === undefined) {
      const changed: Event & { patch?: object; unset?: readonly string[] } = event;
      changed.patch = patch;
      if (unset !== undefined) changed.unset = unset;
      return changed;
    }
    const rest: Record<string, unknown> = {};
    for (const key in fields) if (!Object.hasOwn(added, key)) setField(rest, key, fields[key]);
    return Object.assign(event, unset === undefined ? { patch: rest } : { patch: rest, unset }, {
      grown: added,
    });
  }

  /** What a handler returned, as it is kept. Its calls are copied where they are opened. */
  #kept(turn: Turn | undefined): Turn {
    if (turn === undefined) return {};
    synchronous(turn, "a handler");
    if (typeof turn !== "object" || turn === null)
      throw new WheelworkError("WW_DEFECT", `a handler returned ${textOf(turn)}, which raises nothing`, {
        next: "Return s.raise(event, patch), or the name of an event. Then retry the incident.",
      });
    return turn.patch === undefined
      ? turn
      : { ...turn, patch: this.#keptPatch(turn.patch, "a patch") as object };
  }

  #keptPatch(patch: object | undefined, what: string): object | undefined {
    return plainPatch(synchronous(patch, what), this.data);
  }
}

/**
 * Why the outcome of an attempt no longer counts, if it does not (I3, I4): its call is closed, or the input names
 * another attempt or epoch than the present one.
 */
export function staleness(run: Run, input: Extract<Input, { kind: "outcome" }>): Ignored | undefined {
  const call = run.calls.get(input.call);
  if (call === undefined) return "late";
  return input.epoch !== run.epoch || input.attempt !== call.attempt || call.backoff ? "stale" : undefined;
}

/**
 * The answer that the reply of an end state stands for.
 * @throws WheelworkError WW_INVALID_REPLY when the hub does not declare the reply or its error.
 */
function answerOf(definition: HubDefinition, reply: unknown): Answer {
  const failing = (reply as Partial<Failing<string>> | null | undefined)?.["~fail"];
  if (failing !== undefined) {
    // Only hubs by handlers end like this: their clean-up has run out of time.
    if (failing.code === "WW_TIMEOUT")
      return { kind: "timeout", code: "WW_TIMEOUT", message: failing.message };
    if (!definition.errors.includes(failing.code)) {
      throw new WheelworkError(
        "WW_INVALID_REPLY",
        `the hub ${definition.name} fails with the code ${failing.code}, which it does not declare`,
        {
          next: "Add the code to the hub's errors. Then retry the incident.",
        },
      );
    }
    const { code, message, details } = failing;
    const failed = { kind: "error" as const, code, message: textOf(message) };
    if (details === undefined) return failed;
    return { ...failed, details: plain(details, "WW_INVALID_REPLY", `the details of ${code}`) };
  }
  const what = `the reply of the hub ${definition.name}`;
  const value = demand(definition.reply, synchronous(reply, what), "WW_INVALID_REPLY", what);
  return { kind: "result", value: plain(value, "WW_INVALID_REPLY", what) };
}

/** The engine's own answer. It names the incident that has kept the run from an answer. */
export function timeoutAnswer(definition: HubDefinition, run: Run, at: number): RunEvent {
  const late = { kind: "timeout", code: "WW_TIMEOUT" } as const;
  const message = `the hub ${definition.name} reached no end within its time`;
  if (run.incident === undefined) return { type: "answered", at, answer: { ...late, message } };
  const { code, message: why } = run.incident.error;
  const details = { incident: { code, message: why, state: run.state } };
  return {
    type: "answered",
    at,
    answer: { ...late, message: `${message}: an incident has parked it`, details },
  };
}

/** A cancel of a hub whose `cancel` is `end`: the run ends at once, without a clean-up. */
export function cancelled(run: Run, id: string, at: number): RunEvent[] {
  const answer: Answer = { kind: "error", code: "WW_CANCELLED", message: "the request was cancelled" };
  return [
    { type: "cancelling", at, id },
    run.answer === undefined ? { type: "ended", at, answer } : { type: "ended", at },
  ];
}

/** What a handler has thrown, as the event that parks the run with its input (I16). */
export function incidentOf(error: unknown, input: Input | ParkedInput, env: Env): RunEvent {
  const code = error instanceof WheelworkError ? error.code : "WW_DEFECT";
  const message = textOf(error);
  const stack = stackOf(error);
  return {
    type: "incident",
    at: env.now,
    error: stack === undefined ? { code, message } : { code, message, stack },
    input: input as ParkedInput,
  };
}

/** An outcome as handlers see it. The stack of an exception is for those who read the log and the history. */
function shown(outcome: Outcome): Outcome {
  if (outcome.kind !== "error" || outcome.stack === undefined) return outcome;
  const { stack: _, ...rest } = outcome;
  return rest;
}

/** What a cancel raises in a state: the hub's own event for it, or the deadline's, as if the time were over now. */
export const cancelEvent = ({ cancel }: HubDefinition, logic: StateLogic): string | undefined =>
  cancel === end ? undefined : (cancel ?? logic.deadline)?.raise;

/** The data of a new run. */
export function firstData(definition: HubDefinition, request: unknown): unknown {
  const what = `data of the hub ${definition.name}`;
  return plain(synchronous(definition.data(request), what), "WW_DEFECT", `what ${what} returned`);
}
