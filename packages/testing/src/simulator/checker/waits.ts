import type { RunEvent } from "@wheelwork/core";
import { noDeadline, type Timer } from "@wheelwork/core/kernel";
import type { Evidence } from "./evidence.ts";
import type { RunModel } from "./model.ts";
import { scheduleHub } from "./schedules.ts";

type EventOf<Type extends RunEvent["type"]> = RunEvent & { type: Type };

/** Looks whether the timers of states fire as they were armed (I25), and whether signals come in their order (I26). */
export class Waits {
  readonly #evidence: Evidence;

  constructor(evidence: Evidence) {
    this.#evidence = evidence;
  }

  /** The run has entered a state. */
  entered(run: RunModel, event: EventOf<"entered">): void {
    run.enteredAt = event.at;
    run.held = undefined;
    run.timers = this.#armed(run, event, []);
    if (event.due === undefined) return;
    const due = dueOf(run);
    this.#timer(
      event.due === due,
      () => `${run.key}: ${run.state} is due at ${event.due}, and not at ${due}`,
    );
    run.due = event.due;
    this.#dropped(run, event.drops ?? []);
    this.#takesLater(run);
    const { takes } = this.#state(run);
    const left = run.kept.filter((signal) => !takes.has(signal));
    this.#signal(left.length === 0, () => `${run.key} keeps ${left.join(", ")} in ${run.state}, for nobody`);
  }

  /** A turn stays in its state. */
  stays(
    run: RunModel,
    event: RunEvent & { readonly timers?: readonly Timer[]; readonly held?: string },
  ): void {
    if (event.type === "fired") this.#fires(run, event);
    if (event.timers !== undefined) {
      run.timers = this.#armed(run, event, run.timers);
      run.due = dueOf(run);
    }
    if (event.held === undefined) return;
    run.held = event.held;
    run.due = dueOf(run);
  }

  /** The time of a clean-up begins anew. */
  rearmed(run: RunModel, event: EventOf<"rearmed">): void {
    run.enteredAt = event.at;
    run.timers = this.#armed(run, event, []);
  }

  /**
   * The run leaves a state that waits, and nothing came for it: time has passed. Says whether that was a timer; undefined: the
   * event before tells why it leaves.
   */
  timeOf(run: RunModel, event: EventOf<"entered">): "timer" | "deadline" | undefined {
    const before = run.events.at(-2);
    const { deadline, isKnown } = this.#state(run);
    const waits = isKnown && run.due !== undefined && event.by !== undefined && event.cancelled !== true;
    if (!waits || before === undefined || before.at === event.at) return undefined;
    const { at, by } = event;
    const next = nextOf(run);
    // Once the engine's own answer is due, only the clean-up is left.
    const isOver = run.answer === undefined && Math.max(run.deadline, run.answerBy) <= at;
    if (!run.late && (isOver || next === undefined || run.deadline <= next.due)) {
      const why = (): string =>
        `${run.key} leaves ${run.state} by ${by} at ${at}; its deadline: ${run.deadline}`;
      this.#timer(by === deadline && run.deadline <= at, why);
      return "deadline";
    }
    const why = (): string =>
      `${run.key} leaves ${run.state} by ${by} at ${at}; its timers: ${textOf(run.timers)}`;
    // A schedule finds out only then that its engine does not have it.
    const isBy = next !== undefined && (next.set === true || by === next.event || run.hub === scheduleHub);
    this.#timer(isBy && next.due <= at, why);
    return "timer";
  }

  signalled(run: RunModel, event: EventOf<"signalled">): void {
    const { signal, taken, dropped } = event;
    const { signals, takes, drops } = this.#state(run);
    const { key, state } = run;
    if (taken === true) {
      const isNext = !run.kept.includes(signal) || isRedelivered(run, event);
      const isFirst = signals.has(signal) && isNext && run.held === undefined;
      this.#signal(isFirst, () => `${key} takes the signal ${signal} in ${state}, out of turn`);
    } else if (dropped === true) {
      const isUnwanted = !takes.has(signal) || drops.has(signal);
      this.#signal(isUnwanted, () => `${key} drops the signal ${signal} in ${state}, which may be taken yet`);
    } else {
      const keeps = run.status !== "running" || run.held !== undefined || !signals.has(signal);
      this.#signal(keeps, () => `${key} keeps the signal ${signal} in ${state}, which takes it`);
      run.kept.push(signal);
    }
  }

  received(run: RunModel, { signal }: EventOf<"received">): void {
    const { signals } = this.#state(run);
    const first = run.kept.findIndex((kept) => signals.has(kept));
    this.#signal(
      run.kept[first] === signal && run.held === undefined,
      () => `${run.key} takes the kept signal ${signal} in ${run.state}, and has ${run.kept.join(", ")}`,
    );
    if (first >= 0) run.kept.splice(first, 1);
  }

  /** The run is no longer parked: it takes what came meanwhile. */
  resumed(run: RunModel): void {
    this.#takesLater(run);
  }

  /** Once the commit is seen whole, the run has no kept signal that its state takes. */
  #takesLater(run: RunModel): void {
    this.#evidence.later(() => {
      const { signals } = this.#state(run);
      const isWaiting = run.status === "running" && run.held === undefined && run.due !== undefined;
      if (!isWaiting) return;
      const left = run.kept.filter((signal) => signals.has(signal));
      this.#signal(left.length === 0, () => `${run.key} still keeps ${left.join(", ")} in ${run.state}`);
    });
  }

  #dropped(run: RunModel, drops: readonly string[]): void {
    const { takes } = this.#state(run);
    for (const signal of drops)
      this.#signal(
        !takes.has(signal),
        () => `${run.key} drops ${signal} in ${run.state}, which may be taken yet`,
      );
    run.kept = run.kept.filter((signal) => !drops.includes(signal));
  }

  #fires(run: RunModel, { at, timer }: EventOf<"fired">): void {
    const next = nextOf(run);
    const isDue = next?.event === timer && next.due <= at && (run.late || next.due < run.deadline);
    this.#timer(isDue, () => `${run.key}: ${timer} fires at ${at}; the timers are ${textOf(run.timers)}`);
  }

  /** Each timer that is new, or has another value, is armed for its instant. The others are as they were. */
  #armed(
    run: RunModel,
    event: {
      readonly type: string;
      readonly at: number;
      readonly timers?: readonly Timer[];
      readonly timer?: string;
    },
    before: readonly Timer[],
  ): readonly Timer[] {
    const timers = event.timers ?? [];
    for (const timer of timers) {
      const known = before.find((one) => one.event === timer.event && one.set === timer.set);
      const isKept = known?.ms === timer.ms && known.due === timer.due;
      const firesNow = event.type === "fired" && event.timer === timer.event;
      const since = timer.set === true ? event.at : run.enteredAt;
      const isArmed =
        timer.fired !== true &&
        timer.due > event.at &&
        timer.due === Math.max(since + timer.ms, event.at + 1);
      const isSame = isKept && (timer.fired === known.fired || firesNow);
      this.#timer(
        known?.ms === timer.ms && timer.set !== true ? isSame : isSame || isArmed,
        () => `${run.key}: ${textOf([timer])} at ${event.at} in ${run.state}, entered at ${run.enteredAt}`,
      );
    }
    return timers;
  }

  #state(run: RunModel): ReturnType<Evidence["stateOf"]> {
    return this.#evidence.stateOf(run);
  }

  #timer(holds: boolean, message: () => string): void {
    this.#evidence.demand("I25", holds, message);
  }

  #signal(holds: boolean, message: () => string): void {
    this.#evidence.demand("I26", holds, message);
  }
}

/** Whether a run has been parked by this signal, which a retry brings once more: what it keeps has come later. */
function isRedelivered({ events }: RunModel, { id }: EventOf<"signalled">): boolean {
  const incident = events.findLast(({ type }) => type === "incident") as EventOf<"incident"> | undefined;
  return incident?.input.kind === "signal" && incident.input["id"] === id;
}

/** The timer that fires next. A round that holds an event has none, but in the clean-up. */
function nextOf({ timers, held, late }: RunModel): Timer | undefined {
  if (held !== undefined && !late) return undefined;
  return timers.filter(({ fired }) => fired !== true).toSorted((a, b) => a.due - b.due)[0];
}

/** undefined: never, after the hub's answer. */
function dueOf(run: RunModel): number | undefined {
  const next = nextOf(run)?.due ?? Number.POSITIVE_INFINITY;
  const due = run.late ? next : Math.min(next, run.deadline);
  return due < noDeadline ? due : undefined;
}

const textOf = (timers: readonly Timer[]): string => JSON.stringify(timers);
