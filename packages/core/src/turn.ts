import type { Writable } from "./json-types.ts";
import { progressed, staleness } from "./attempt.ts";
import { answerOf, cancelEvent, cancelled, shown, timeoutAnswer } from "./answers.ts";
import { end, stay } from "./chart.ts";
import { beginSuspect, countDeaths, recheck, spokeOf } from "./claim.ts";
import type { Decision, Env, Ignored, Input } from "./decision.ts";
import { WheelworkError } from "./errors.ts";
import type { HubDefinition, StateDefinition } from "./hub.ts";
import { withChange } from "./growth.ts";
import { movedRound, movedRun } from "./migrations.ts";
import { plain, plainPatch, synchronous } from "./plain.ts";
import { type CallRequest, type OpenCall, type StateLogic, type Turn } from "./logic.ts";
import { postEvent, type Posting } from "./post.ts";
import type { KeptSignal, OpenedCalls, RunEvent, Timer } from "./events.ts";
import { knownCommand, refusedSignal } from "./commands.ts";
import { isRunning, noDeadline, patched, refusedCancel, type Call, type Run } from "./run.ts";
import { countLeft, isOpening, openedCalls, opensAlike, unsettled } from "./round.ts";
import { payloadOf, keptSignal, signalled, untaken } from "./signals.ts";
import { backoffOf, ruleFor } from "./retry.ts";
import type { Callable, Outcome } from "./spoke.ts";
import { extendsStored } from "./stored.ts";
import { formerTimers, nextTimer, withFired, without } from "./timers.ts";
import { dueOf, roundLimit, Wait } from "./wait.ts";

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
 * While a state waits. A settled call, a signal, a timer or the deadline makes a handler raise an event. Where the
 * chart says `stay`, the wait goes on: one event holds the patch and the calls to open, and its timers if they change
 * (timers.ts). Otherwise the turn follows the edge. The event `entered` closes all open calls (I12) and raises the
 * epoch of the run, so that no outcome of an earlier state counts later (I3).
 *
 * Rounds. A failed attempt is repeated while its spoke allows another one. A settled call lets the next queued call
 * begin (`limit`, which is asked anew after each turn if it is a function). When the last one has settled, `done`
 * raises the event that leaves the state. With `drain`, an event that would leave the state is held (`run.round.held`) until
 * the running calls are over, calls of hubs included. A round that holds an event is decided: it starts nothing more.
 * The patches of its outcomes still count, since the clean-up must know what was done. It takes no signal, and no timer
 * fires, but for those that bound the clean-up: these cut it, as the deadline does.
 *
 * Signals. A state takes them in the order in which they have come. One that comes while the state does not take it is kept
 * until a state does, and dropped as soon as none can be reached that would (`takes`).
 *
 * Cancels. A cancel raises the hub's own event for it, or else the deadline event of the present state. If no edge for
 * the event leaves the state, the cancel stays pending, and moves the run in the first state that has such an edge. It
 * moves the run once, and never out of a late state. If the hub's cancel is `end`, the run ends at once.
 *
 * Late states are the clean-up (chart.ts). The hub's deadline no longer counts there: each wait has a timer that bounds it.
 * Entering one moves `answerBy`, if need be, to leave time for the longest path from it to an end. If the deadline of a
 * late state passed while nobody worked (`env.since`), or while the run was parked, it begins anew.
 *
 * Answers. A run gives one answer (I5): at its end, or in a state that answers and goes on (`s.answer`). After that its deadline
 * never passes. If `answerBy` passes before, the engine answers with a timeout. The run then cleans up, and gives no answer.
 */

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
  /** What the handler that was asked last has for others. It follows the event that says what else the handler has done. */
  #posts: readonly Posting[] | undefined = undefined;
  /** The kept signals that this turn has not taken yet. A copy of `run.signals`, made when the turn takes the first. */
  #signals: KeptSignal[] | undefined = undefined;
  /** The timers of the state, and its round if the limit is a function. Made when this turn needs it. */
  #wait: Wait | undefined = undefined;
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
    this.#cancelling = run.cancel === "accepted";
    this.#nextCall = run.nextCall;
  }

  #emit(event: RunEvent): void {
    // Nearly every turn has one event. A literal of one takes a tenth of the memory that an array takes after a push.
    if (this.events.length === 0) this.events = [event];
    else this.events.push(event);
    if (this.#posts === undefined) return;
    for (const post of this.#posts) this.events.push(postEvent(post, this.#env.now, this.#nextCall++));
    this.#posts = undefined;
  }

  /** Decides the input. Says why if it changes nothing. */
  take(input: Input): Ignored | undefined {
    switch (input.kind) {
      case "outcome":
      case "progress":
        return this.#ofAttempt(input);
      case "callDue":
        return this.#callDue(input);
      case "due":
        return this.#due();
      case "signal":
        return this.#signal(input);
      case "recheck":
        for (const event of recheck(this.#definition, this.#run, input, this.#env.now)) this.#emit(event);
        return undefined;
      case "died":
        this.events = countDeaths(this.#run, input, this.#env);
        return this.events.length === 0 ? "stale" : undefined;
      case "open":
        return this.#openMore();
      case "begin":
        return this.#begin(beginSuspect(this.#run, input, this.#definition, this.#env.now));
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
    const moved = movedRun(definition, run);
    const at = this.#env.now;
    const { version } = definition;
    const state = definition.states.get(moved.state) as StateDefinition;
    const migrated = { type: "migrated" as const, at, version };
    const isSame = moved.data === run.data;
    if (!isSame) this.data = plain(moved.data, "WW_DEFECT", `what migrate of ${definition.name} returned`);
    const changed = isSame ? migrated : { ...migrated, data: this.data };
    const round = movedRound(definition, run, state.logic, this.data);
    const event = round === undefined ? changed : { ...changed, round };
    if (moved.state === run.state) {
      this.#emit(this.#timed(event, state.logic));
      this.#fillRound(state.logic, 0);
      if (run.calls.size === 0 && round !== undefined && round.of <= (run.round.left?.from ?? 0))
        this.#finish(state.logic);
      return;
    }
    this.#emit(event);
    if (this.#leavesAlone(state)) this.#rename(state);
    else this.enter(moved.state, undefined, undefined);
  }

  /**
   * Whether each open call is one that the state would open, too. Then a migration to it has only renamed the state: the
   * work goes on, under the same idempotency keys.
   */
  #leavesAlone({ late, logic, row }: StateDefinition): boolean {
    const { calls, late: wasLate } = this.#run;
    const { held, left } = this.#run.round;
    if ((calls.size === 0 && left === undefined) || late !== wasLate) return false;
    if (held !== undefined && (row[held] ?? stay) === stay) return false;
    return opensAlike(
      this.#run,
      logic,
      this.data,
      ({ callee, key, input }, request) =>
        request.callee.name === callee &&
        request.keys?.[0] === key &&
        // Today's schema may fill in what the stored input lacks.
        extendsStored(request.inputs[0], input),
    );
  }

  #rename(state: StateDefinition): void {
    const { due } = this.#run;
    this.#state = state.name;
    const entered = { type: "entered", at: this.#env.now, state: state.name, kept: true } as const;
    this.#emit(this.#timed(due === undefined ? entered : { ...entered, due }, state.logic));
    this.#fillRound(state.logic, 0);
    this.#takeBuffered(state);
  }

  #begin(begun: RunEvent | Ignored): Ignored | undefined {
    if (typeof begun === "string") return begun;
    this.#emit(begun);
    return undefined;
  }

  /** What comes of an attempt: its outcome, or how far it is. */
  #ofAttempt(input: Extract<Input, { kind: "outcome" | "progress" }>): Ignored | undefined {
    const ignored = staleness(this.#run, input);
    if (ignored !== undefined) return ignored;
    if (input.kind === "progress") this.#emit(progressed(input, this.#env.now));
    else this.#conclude(this.#run.calls.get(input.call) as Call, input.outcome);
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
    if (outcome.kind === "ok" || call.isHub || this.#run.round.held !== undefined)
      return this.#settle(call, outcome);
    const rule = ruleFor(spokeOf(this.#definition, call.callee).retry, outcome);
    if (call.attempt >= rule.attempts) return this.#settle(call, outcome);
    const [at, { number, attempt }] = [this.#env.now, call];
    const pause = backoffOf(rule, attempt, this.#env.random);
    this.#emit({ type: "failed", at, call: number, attempt, failure: outcome, due: at + pause });
    if (pause === 0) this.#attempt(call, attempt + 1);
  }

  #attempt(call: Pick<Call, "number" | "callee" | "isHub">, attempt: number): void {
    const at = this.#env.now;
    if (call.isHub) {
      this.#emit({ type: "attempt", at, call: call.number, attempt });
      return;
    }
    const due = at + spokeOf(this.#definition, call.callee).timeoutMs;
    this.#emit({ type: "attempt", at, call: call.number, attempt, due });
  }

  /** The call is over: its round goes on, ends, or waits for the running attempts (`drain`). */
  #settle(call: Call, outcome: Outcome): void {
    const run = this.#run;
    const { logic, row } = this.#current();
    const at = this.#env.now;
    const others = run.calls.size - 1;
    const remaining = others + countLeft(run);
    const turn = this.#kept(logic.outcome?.(this.data, call as OpenCall, shown(outcome), remaining));
    const { raise } = turn;
    const result = outcome.kind === "ok" ? ("ok" as const) : outcome;
    // Nearly every outcome stays in its round. This is the hottest path, so its event is made as one literal: V8 then
    // gives all of them the same hidden class.
    const stays = raise !== undefined && run.round.held === undefined && this.#target(row, raise) === stay;
    const settled: Extract<RunEvent, { type: "settled" }> = stays
      ? { type: "settled", at, call: call.number, outcome: result, by: raise }
      : { type: "settled", at, call: call.number, outcome: result };
    if (run.round.held !== undefined) {
      // The round is decided already. The patches still count, so that the clean-up knows what was done.
      this.#emit(this.#patched(settled, turn.patch));
      if (others > 0) return;
      const byCancel = this.#cancelling && run.round.held === cancelEvent(this.#definition, logic);
      if (byCancel) this.#cancelling = false;
      this.#go(run.round.held, undefined, byCancel);
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
    const closes = this.#closing(turn, call);
    const event = this.#withPatch(closes === undefined ? settled : { ...settled, closes }, turn.patch);
    const asksRound = typeof logic.limit === "function";
    const left = closes === undefined ? remaining : remaining - closes.length;
    const isLast = left === 0 && calls === undefined && logic.done !== undefined;
    if (isLast || asksRound || logic.timers !== undefined || turn.after !== undefined) {
      // Somebody looks at the data in this turn: `apply` merges the patch once more.
      this.#merge(turn.patch);
      this.#recorded = this.data;
    }
    const timed = this.#timed(event, logic, turn.after);
    this.#emit(calls === undefined ? timed : { ...timed, calls });
    if (asksRound) this.#fillRound(logic, 1);
    else {
      const next = run.calls.get(run.round.nextQueued);
      if (next?.attempt === 0) this.#attempt(next, 1);
    }
    if (isLast) this.#finish(logic);
  }

  /** Opens the next calls of the round. */
  #openMore(): Ignored | undefined {
    const run = this.#run;
    const { logic } = this.#current();
    if (!isOpening(run) || run.round.left === undefined) return "stale";
    const request = logic.more?.(run.round.left, this.#env.maxOpened);
    if (request === undefined)
      throw new WheelworkError("WW_UNMAPPED_STATE", `the state ${this.#state} has no round any more`, {
        next: "Raise the version of the hub and give it a migrate function. Then retry the incident.",
      });
    const limit = roundLimit(logic, Object.freeze(this.data));
    const free = limit === undefined ? undefined : Math.max(0, limit - run.calls.size);
    this.#emit({ type: "opened", at: this.#env.now, calls: this.#open([request], free) ?? [] });
    return undefined;
  }

  /** Every call of the round has settled, or was closed. */
  #finish(logic: StateLogic): void {
    const { raise, patch } = this.#kept(logic.done?.(Object.freeze(this.data)));
    if (raise !== undefined) this.#go(raise, patch);
  }

  /** The numbers of the open calls that a turn closes by their tags. */
  #closing({ close }: Turn, settling?: Call): readonly number[] | undefined {
    return close === undefined ? undefined : this.#waitNow().close(close, settling);
  }

  #due(): Ignored | undefined {
    const { now, since = 0 } = this.#env;
    const { due, late } = this.#run;
    const overdue = due !== undefined && due <= now;
    if (overdue && late && due < since) return this.rearm();
    if (overdue) this.#timePassed();
    if (!this.#answered && this.answerBy <= now) {
      this.#emit(timeoutAnswer(this.#definition, this.#run, now));
      return undefined;
    }
    return overdue ? undefined : "stale";
  }

  /**
   * What the open wait is due for: the hub's deadline or a timer, whichever comes first. Of one instant, the deadline does. After
   * an outage the engine's own answer may be due, too. Then only the clean-up is left, and no timer goes before it.
   */
  #timePassed(): void {
    const { deadline, late, timers } = this.#run;
    const { held } = this.#run.round;
    const state = this.#current();
    const timer = nextTimer(timers ?? formerTimers(this.#run, state.logic));
    // A round that holds an event has no timers any more.
    const isHeld = held !== undefined && timers !== undefined && !late;
    const isOver = !this.#answered && Math.max(deadline, this.answerBy) <= this.#env.now;
    if (timer === undefined || isHeld || (!late && (isOver || deadline <= timer.due))) this.raiseDeadline();
    else this.#fire(state, timer);
  }

  #fire(state: StateDefinition, timer: Timer): void {
    const { logic, row, late } = state;
    const fired = { type: "fired" as const, at: this.#env.now, timer: timer.event };
    const known = this.#waitNow().timers(logic);
    const isKnown = timer.set === true || logic.timers?.some(({ event }) => event === timer.event) === true;
    // The hub no longer has it. Whoever changes a chart should raise its version.
    if (!isKnown) return this.#emit(this.#timed(fired, logic, undefined, without(known, timer)));
    const turn = this.#kept(
      timer.set === true
        ? logic.setFired?.(this.data, timer.event)
        : logic.fired?.(this.data, timer.event, unsettled(this.#run, logic), {
            enteredAt: this.#run.enteredAt,
            now: fired.at,
          }),
    );
    const { raise } = turn;
    if (raise !== undefined && this.#target(row, raise) !== stay) {
      const holds =
        logic.drain === true && !late && this.#run.round.held === undefined && this.#othersRun(undefined);
      if (holds) this.#emit(this.#patched({ ...fired, held: raise }, turn.patch));
      else this.#go(raise, turn.patch);
      return;
    }
    const after = timer.set === true ? without(known, timer) : withFired(known, timer);
    this.#stay(raise === undefined ? fired : { ...fired, by: raise }, logic, turn, after);
  }

  /**
   * A turn that stays, other than that of an outcome. `timers`: those that are left of the state's, if one has fired.
   */
  #stay(
    event: Extract<RunEvent, { type: "fired" | "signalled" | "received" }>,
    logic: StateLogic,
    turn: Turn,
    timers?: readonly Timer[],
  ): void {
    const calls = this.#open(turn.open, undefined);
    const closes = this.#closing(turn);
    const patched = this.#patched(closes === undefined ? event : { ...event, closes }, turn.patch);
    const timed = this.#timed(patched, logic, turn.after, timers);
    this.#emit(calls === undefined ? timed : { ...timed, calls });
    this.#fillRound(logic, 0);
    if (closes !== undefined && calls === undefined && this.#waitNow().open === 0) this.#finish(logic);
  }

  /** Gives an event the timers of the state, if its turn changes them. `left`: those that are left of them, if one has fired. */
  #timed<Event extends object>(
    event: Event,
    logic: StateLogic,
    after?: Turn["after"],
    left?: readonly Timer[],
  ): Event {
    // Most states have no timers.
    if (logic.timers === undefined && after === undefined && this.#run.timers === undefined) return event;
    // A round that holds an event has none any more.
    if (this.#isHeld() && !this.#late) return event;
    const timers = this.#waitNow().change(logic, this.data, after, left);
    return timers === undefined ? event : { ...event, timers };
  }

  /** After a turn that stays: a limit that is a function may let more calls begin. `settled`: calls that the turn has settled. */
  #fillRound(logic: StateLogic, settled: number): void {
    if (typeof logic.limit !== "function" || this.#isHeld()) return;
    const { name, kind } = logic.callees[0] as Callable;
    const limit = roundLimit(logic, Object.freeze(this.data)) ?? 0;
    for (const number of this.#waitNow().begin(limit, settled))
      this.#attempt({ number, callee: name, isHub: kind === "hub" }, 1);
  }

  /** Whether the round of the state holds an event: it is decided, and starts nothing more. */
  #isHeld(): boolean {
    return this.#steps === 0 && this.#run.round.held !== undefined;
  }

  #waitNow(): Wait {
    return (this.#wait ??= new Wait(this.#run, this.#env.now, this.#steps > 0 ? null : undefined));
  }

  /**
   * The time of a late state passed while nobody worked: it begins anew. The clean-up gets the time that it was promised. If an
   * outage used it up, things would be left undone.
   */
  rearm(): undefined {
    const state = this.#current();
    const at = this.#env.now;
    const timers = this.#waitNow().rearm(state.logic, this.data);
    const due = dueOf(state.late, this.deadline, timers) ?? at;
    const answerBy = this.#moveAnswer(state);
    const rearmed = { type: "rearmed" as const, at, due, timers };
    this.#emit(answerBy === undefined ? rearmed : { ...rearmed, answerBy });
  }

  /** The hub's deadline has passed, or a cancel stands for it: the run leaves its state by its deadline event. */
  raiseDeadline(): void {
    const { logic } = this.#current();
    // The state has become clean-up since the run entered it. The timer that bounds it stands for the deadline.
    const raise = logic.deadline?.raise ?? logic.timers?.find(({ ms }) => typeof ms === "number")?.event;
    if (raise === undefined)
      throw new WheelworkError("WW_DEFECT", `the state ${this.#state} does not wait, so it has no deadline`, {
        next: "Resolve the incident, and report this with the history of the run.",
      });
    this.#go(raise, this.#deadlinePatch(logic));
  }

  #signal(input: Extract<Input, { kind: "signal" }>): Ignored | undefined {
    const refused = refusedSignal(this.#run, input, this.#env.memory);
    if (refused !== undefined) return refused;
    const { logic, takes, row } = this.#current();
    const { held } = this.#run.round;
    const { signal } = input;
    if (held !== undefined || logic.signals?.includes(signal) !== true) {
      const event = keptSignal(this.#definition, this.#run, input, this.#env);
      if (!takes.has(signal) || this.#definition.dropSignals.has(signal)) {
        this.#emit({ ...event, dropped: true });
        return undefined;
      }
      if (this.#run.received.signals.length >= maxSignals) return "full";
      this.#emit(event);
      return undefined;
    }
    const payload = input.stored === true ? payloadOf(this.#definition, input) : input.payload;
    const event = { ...signalled(this.#run, input, this.#env, payload), taken: true as const };
    this.#takeSignal(
      event,
      logic,
      row,
      this.#kept(logic.signal?.(this.data, signal, payload, this.#env.now)),
    );
    return undefined;
  }

  /** A signal moves the run, or stays. Returns whether it stays. */
  #takeSignal(
    event: Extract<RunEvent, { type: "signalled" | "received" }>,
    logic: StateLogic,
    row: StateDefinition["row"],
    turn: Turn,
  ): boolean {
    const { raise } = turn;
    if (raise === undefined || this.#target(row, raise) === stay) {
      this.#stay(raise === undefined ? event : { ...event, by: raise }, logic, turn);
      return true;
    }
    // Calls that this turn has opened have not begun.
    if (logic.drain === true && this.#steps === 0 && this.#othersRun(undefined))
      this.#emit(this.#patched({ ...event, held: raise }, turn.patch));
    else {
      this.#emit(event);
      this.#go(raise, turn.patch);
    }
    return false;
  }

  #cancel(id: string): Ignored | undefined {
    const run = this.#run;
    const { cancel } = this.#definition;
    const at = this.#env.now;
    const changesNothing = refusedCancel(run, { id }, true);
    if (changesNothing !== undefined) return changesNothing;
    const { late, row, logic } = this.#current();
    if (late) return "cleaning-up";
    if (cancel === end) {
      for (const event of cancelled(run, id, at)) this.#emit(event);
      return undefined;
    }
    const raise = cancelEvent(this.#definition, logic);
    if (raise === undefined || row[raise] === undefined || row[raise] === stay) {
      this.#emit({ type: "cancelling", at, id });
    } else if (run.round.held !== undefined || (logic.drain === true && this.#othersRun(undefined))) {
      const event = { type: "cancelling" as const, at, id };
      // If the round holds another event already, it goes that way. The cancel waits for a state that has its event.
      if (run.round.held !== undefined && run.round.held !== raise) this.#emit(event);
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
    const raise = cancelEvent(this.#definition, logic);
    if (raise === undefined) return;
    this.#cancelling = false;
    this.#go(raise, this.#cancelPatch(logic), true);
  }

  #cancelPatch(logic: StateLogic): object | undefined {
    const { cancel } = this.#definition;
    if (cancel === end) return undefined;
    if (cancel !== undefined) return this.#keptPatch(cancel.patch?.(this.data), "the patch of a cancel");
    return this.#deadlinePatch(logic);
  }

  /** The patch of a deadline's event. It is told which calls are open. */
  #deadlinePatch(logic: StateLogic): object | undefined {
    const { deadline } = logic;
    if (deadline?.patch === undefined) return undefined;
    return this.#keptPatch(deadline.patch(this.data, unsettled(this.#run, logic)), "the patch of a deadline");
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
    this.#wait = undefined;
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
    if (logic.kind === "end" && this.#answered) {
      // Nobody wants its reply.
      this.#emit(this.#withPatch(entered, patch));
      this.#end(undefined);
      return;
    }
    const turn = this.#kept(logic.enter(Object.freeze(this.data), this.#env.maxOpened));
    if (logic.kind === "end") {
      this.#emit(this.#withPatch(entered, patch));
      this.#end(turn.answer);
      return;
    }
    if (turn.raise !== undefined) {
      this.#emit(this.#withPatch(entered, patch));
      if (logic.kind === "answer") this.#answer(turn.answer);
      this.#go(turn.raise, turn.patch);
      return;
    }
    const whole = turn.patch === undefined ? patch : { ...patch, ...turn.patch };
    this.#merge(turn.patch);
    const calls = this.#open(turn.open, roundLimit(logic, this.data));
    this.#withPatch(entered, whole);
    let timers: readonly Timer[] | undefined;
    const hasTags = calls?.[0]?.tag !== undefined;
    if (
      logic.timers !== undefined ||
      turn.after !== undefined ||
      typeof logic.limit === "function" ||
      hasTags
    ) {
      this.#wait = new Wait(this.#run, at, calls ?? null);
      timers = this.#wait.enter(logic, this.data, turn.after);
    }
    const due = dueOf(state.late, this.deadline, timers);
    if (due !== undefined) entered.due = due;
    if (timers !== undefined) entered.timers = timers;
    if (calls !== undefined) entered.calls = calls;
    if (this.#run.received.signals.length > 0) {
      const drops = untaken((this.#signals ??= [...this.#run.received.signals]), state.takes);
      if (drops.length > 0) entered.drops = drops;
      this.#signals = this.#signals.filter(({ signal }) => !drops.includes(signal));
    }
    this.#emit(entered);
    this.#takeBuffered(state);
  }

  /** Takes the signals that came before the wait for them began, in their order, until one leaves the state. */
  #takeBuffered({ logic, row }: StateDefinition): void {
    const { signals, signal: handle } = logic;
    if (signals === undefined || handle === undefined || this.#run.received.signals.length === 0) return;
    if (this.#isHeld()) return;
    this.#signals ??= [...this.#run.received.signals];
    for (let stays = true; stays;) {
      const position = this.#signals.findIndex(({ signal }) => signals.includes(signal));
      const [next] = position < 0 ? [] : this.#signals.splice(position, 1);
      if (next === undefined) return;
      const at = this.#env.now;
      const received = { type: "received" as const, at, signal: next.signal };
      const turn = this.#kept(
        handle(Object.freeze(this.data), next.signal, payloadOf(this.#definition, next), at),
      );
      stays = this.#takeSignal(received, logic, row, turn);
    }
  }

  /** The hub answers, and goes on. If the engine has answered before, only the clean-up is left, and this answer counts no more. */
  #answer(reply: unknown): void {
    if (this.#answered) return;
    this.#answered = true;
    this.deadline = noDeadline;
    this.#emit({ type: "answered", at: this.#env.now, answer: answerOf(this.#definition, reply), own: true });
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
      const first = this.#nextCall;
      this.#nextCall += request.inputs.length;
      return openedCalls(request, first, this.#env.now, limit);
    });
  }

  /** Entering a late state may move the engine's own answer: its new time, if it moves. It never moves back. */
  #moveAnswer(state: StateDefinition): number | undefined {
    const answerBy = this.#env.now + state.remainingMs;
    if (!state.late || answerBy <= this.answerBy) return undefined;
    return (this.answerBy = answerBy);
  }

  /** Whether the event of a cancel leaves a state. */
  #cancels({ logic, row }: StateDefinition): boolean {
    const target = row[cancelEvent(this.#definition, logic) ?? ""];
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

  #merge(patch: object | undefined): void {
    if (patch === undefined) return;
    this.data = patched(this.data, patch);
  }

  #patched<Event extends object>(event: Event, patch: object | undefined): Event {
    this.#merge(patch);
    return this.#withPatch(event, patch);
  }

  /** Gives an event its patch, which is merged already. */
  #withPatch<Event extends object>(event: Event, patch: object | undefined): Event {
    if (patch === undefined) return event;
    const recorded = this.#recorded as Readonly<Record<string, unknown>> | undefined;
    this.#recorded = this.data;
    return withChange(event, patch as Readonly<Record<string, unknown>>, recorded);
  }

  /** What a handler returned, as it is kept. Its calls are copied where they are opened. */
  #kept(turn: Turn | undefined): Turn {
    if (turn === undefined) return {};
    if (turn.posts !== undefined) this.#posts = turn.posts;
    return turn.patch === undefined
      ? turn
      : { ...turn, patch: this.#keptPatch(turn.patch, "a patch") as object };
  }

  #keptPatch(patch: object | undefined, what: string): object | undefined {
    return plainPatch(synchronous(patch, what), this.data, what);
  }
}
