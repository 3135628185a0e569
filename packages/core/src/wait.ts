import { WheelworkError } from "./errors.ts";
import type { StateLogic, Turn } from "./logic.ts";
import { scalar, textOf } from "./plain.ts";
import type { OpenedCalls, Timer } from "./events.ts";
import { dueBy, type Call, type Run } from "./run.ts";
import { areSame, armedTimers, formerTimers, nextTimer } from "./timers.ts";

/**
 * What one turn knows of the wait that it finds or begins: the timers of the state, and its round. The run does not change
 * during a turn, so what the turn has changed so far is here.
 */
export class Wait {
  readonly #run: Run;
  readonly #now: number;
  /** The turn has entered the state. */
  readonly #isNew: boolean;
  #timers: readonly Timer[] | undefined = undefined;
  /** What this turn has opened, if it has entered the state. */
  readonly #opened: readonly OpenedCalls[];
  readonly #closed = new Set<number>();
  #next: number;
  readonly #end: number;
  #running: number;

  /** @param opened The calls, if this turn has entered the state; null if it has opened none. */
  constructor(run: Run, now: number, opened?: readonly OpenedCalls[] | null) {
    this.#run = run;
    this.#now = now;
    this.#isNew = opened !== undefined;
    this.#opened = opened ?? [];
    if (opened === undefined) {
      const { calls, nextCall } = run;
      const { nextQueued } = run.round;
      this.#next = nextQueued;
      this.#end = nextCall;
      this.#running = calls.size - (nextCall - nextQueued);
    } else {
      const { first, inputs, started = inputs.length } = opened?.[0] ?? { first: 0, inputs: [] };
      this.#next = first + started;
      this.#end = first + inputs.length;
      this.#running = started;
    }
  }

  /** The timers of the state as they are known so far. */
  timers(logic: StateLogic): readonly Timer[] {
    if (this.#isNew) return this.#timers ?? [];
    return this.#timers ?? this.#run.timers ?? formerTimers(this.#run, logic);
  }

  /** Arms the timers of a state that the run enters. undefined: it has none. */
  enter({ timers }: StateLogic, data: unknown, after: Turn["after"]): readonly Timer[] | undefined {
    if (timers === undefined && after === undefined) return undefined;
    const clock = { enteredAt: this.#now, now: this.#now };
    this.#timers = armedTimers(timers, [], data, clock, after);
    return this.#timers.length === 0 ? undefined : this.#timers;
  }

  /**
   * The timers after a turn that stays; undefined if they are the same as before.
   * @param left Those that are left of them, if one has fired.
   */
  change(
    logic: StateLogic,
    data: unknown,
    after: Turn["after"],
    left?: readonly Timer[],
  ): readonly Timer[] | undefined {
    const known = this.timers(logic);
    const enteredAt = this.#isNew ? this.#now : this.#run.enteredAt;
    const timers = armedTimers(logic.timers, left ?? known, data, { enteredAt, now: this.#now }, after);
    if (areSame(timers, known)) return undefined;
    return (this.#timers = timers);
  }

  /** All timers anew, as if the run had entered its state now. Those that have fired stay fired. */
  rearm(logic: StateLogic, data: unknown): readonly Timer[] {
    const fired = this.timers(logic).filter((timer) => timer.fired === true);
    const set = this.timers(logic).filter((timer) => timer.set === true && timer.fired !== true);
    const clock = { enteredAt: this.#now, now: this.#now };
    const again = set.map((timer) => ({ ...timer, due: Math.max(timer.due, this.#now + timer.ms) }));
    return (this.#timers = armedTimers(logic.timers, [...fired, ...again], data, clock));
  }

  /** Closes the open calls that have one of these tags, but for the one that settles. undefined: there is none. */
  close(tags: readonly string[], settling?: Call): readonly number[] | undefined {
    const closes = Array.from(this.#calls(), ({ number, tag }) =>
      tag !== undefined && tags.includes(tag) && number !== settling?.number && !this.#closed.has(number)
        ? [number]
        : [],
    ).flat();
    for (const number of closes) this.#closed.add(number);
    return closes.length === 0 ? undefined : closes;
  }

  /** How many calls are open. */
  get open(): number {
    return [...this.#calls()].length - this.#closed.size;
  }

  *#calls(): Iterable<Pick<Call, "number" | "tag">> {
    if (!this.#isNew) return yield* this.#run.calls.values();
    for (const { first, inputs, tag } of this.#opened)
      for (const position of inputs.keys()) yield { number: first + position, tag };
  }

  /** The numbers of the queued calls that may begin now. `settled`: how many calls this turn has settled. */
  *begin(limit: number, settled: number): Iterable<number> {
    this.#running -= settled;
    for (; this.#running < limit && this.#next < this.#end; this.#running++) yield this.#next++;
  }
}

/** How many calls of a round may run now, as far as the hub limits it. */
export function roundLimit({ limit }: StateLogic, data: unknown): number | undefined {
  if (typeof limit !== "function") return limit;
  const given = scalar(limit(data), "the limit of a round");
  if (given === Number.POSITIVE_INFINITY || (Number.isInteger(given) && given >= 0)) return given;
  throw new WheelworkError("WW_DEFECT", `the limit of a round is ${textOf(given)}`, {
    next: "Return a whole number from 0. Then retry the incident.",
  });
}

/** When a wait is due: by a timer, and before the late states also by the hub's deadline. undefined: never. */
export function dueOf(late: boolean, deadline: number, timers: readonly Timer[] = []): number | undefined {
  const next = nextTimer(timers)?.due ?? deadline;
  return dueBy(late ? next : Math.min(next, deadline));
}
