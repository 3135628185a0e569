import type { Clock } from "@wheelwork/engine";

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly task: () => void;
  readonly process: SimulatedProcess;
}

/** How many turns of the real event loop must pass with nothing ready before simulated time may move. */
const quietTurns = 2;

/** After so many turns without time passing, `settle` gives up: something keeps itself busy for ever. */
const maxTurns = 1_000_000;

/** One turn of the real event loop: it runs promises that are ready, and all that they make ready. */
const realTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** How the clocks of a host differ from those of the others. */
export interface HostClock {
  /** How far its wall clock is ahead, in milliseconds; negative: behind. */
  readonly aheadMs?: number;
  /** How much faster its clocks go, in millionths; negative: slower. */
  readonly driftPpm?: number;
}

/**
 * One process on a simulated machine. It is the clock that an engine gets. Its tasks die with it, so a killed engine
 * never acts again, as after `kill -9`.
 */
export class SimulatedProcess implements Clock {
  readonly #machine: SimulatedClock;
  readonly #aheadMs: number;
  /** How much faster than time its clocks go. */
  readonly #drift: number;
  #alive = true;
  /** The tasks that became due while it was frozen. undefined: it is not frozen. */
  #held: (() => void)[] | undefined = undefined;

  /** @internal Use `SimulatedClock.process`. */
  constructor(machine: SimulatedClock, { aheadMs = 0, driftPpm = 0 }: HostClock = {}) {
    this.#machine = machine;
    this.#aheadMs = aheadMs;
    this.#drift = driftPpm / 1_000_000;
  }

  /** Whether it has not been killed yet. */
  get alive(): boolean {
    return this.#alive;
  }

  /** Ends the process at once. None of its tasks will run. */
  kill(): void {
    this.#alive = false;
  }

  /** Whether it is frozen. */
  get frozen(): boolean {
    return this.#held !== undefined;
  }

  /** Freezes the process, as SIGSTOP does. Tasks that become due run after `thaw`, in their order. Time goes on. */
  freeze(): void {
    this.#held ??= [];
  }

  /** Lets a frozen process go on. */
  thaw(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const task of held) this.soon(task);
  }

  /** @internal Runs a task that is due: now, after `thaw` if the process is frozen, or never if it is dead. */
  run(task: () => void): void {
    if (!this.#alive) return;
    if (this.#held === undefined) task();
    else this.#held.push(task);
  }

  wallMs(): number {
    const now = this.#machine.monotonicMs();
    return this.#machine.wallMs() + this.#aheadMs + now * this.#drift;
  }

  monotonicMs(): number {
    return this.#machine.monotonicMs() * (1 + this.#drift);
  }

  after(delayMs: number, task: () => void): () => void {
    let isCancelled = false;
    // Not earlier by its own clock: who asks again for the rest would ask for ever.
    const ms = this.#drift === 0 ? delayMs : Math.ceil(delayMs / (1 + this.#drift));
    const cancel = this.#machine.plan(this, ms, () => {
      if (!isCancelled) task();
    });
    return () => {
      // A task that became due while the process was frozen is planned no more, and has not run.
      isCancelled = true;
      cancel();
    };
  }

  soon(task: () => void): void {
    this.#machine.planSoon(this, task);
  }

  /** Waits, in milliseconds of simulated time. Never settles if the process dies meanwhile. */
  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => void this.after(delayMs, resolve));
  }
}

/**
 * A clock with simulated time, in milliseconds. Time moves only when a test says so (`advance`, `runUntil`), and only
 * when nothing is ready (I22). Promises and tasks of `soon` run by themselves and take no time. The wall clock can
 * jump. The monotonic one cannot.
 */
export class SimulatedClock implements Clock {
  #now = 0;
  #wallOffset: number;
  #order = 0;
  #ready = 0;
  readonly #timers: Timer[] = [];
  readonly #own: SimulatedProcess;

  /** @param options `wallMs`: what the wall clock shows first. Default: 1 January 2026, 00:00 UTC. */
  constructor(options: { readonly wallMs?: number } = {}) {
    this.#wallOffset = options.wallMs ?? Date.UTC(2026, 0, 1);
    this.#own = new SimulatedProcess(this);
  }

  /**
   * Starts another process. It can be killed and frozen by itself.
   * @param options How its clocks differ. Default: not at all.
   */
  process(options: HostClock = {}): SimulatedProcess {
    return new SimulatedProcess(this, options);
  }

  wallMs(): number {
    return this.#wallOffset + this.#now;
  }

  monotonicMs(): number {
    return this.#now;
  }

  after(delayMs: number, task: () => void): () => void {
    return this.plan(this.#own, delayMs, task);
  }

  soon(task: () => void): void {
    this.planSoon(this.#own, task);
  }

  /** Moves the wall clock, and not the monotonic one, as an operator or a time server does. */
  jumpWall(byMs: number): void {
    this.#wallOffset += byMs;
  }

  /** How many timers of live processes are armed. */
  get armed(): number {
    return this.#timers.filter(({ process }) => process.alive).length;
  }

  /**
   * Runs all that is ready, and lets no time pass.
   * @throws Error when it does not end: something keeps itself busy.
   */
  async settle(): Promise<void> {
    for (let quiet = 0, turns = 0; quiet < quietTurns; turns++) {
      if (turns > maxTurns)
        throw new Error(
          `something is always ready to run at ${this.#now} ms of simulated time: it keeps itself busy`,
        );
      const before = this.#order;
      await realTurn();
      quiet = this.#ready === 0 && this.#order === before ? quiet + 1 : 0;
    }
  }

  /** Lets time pass, in milliseconds. Each timer runs at its own time. */
  async advance(byMs: number): Promise<void> {
    const target = this.#now + byMs;
    await this.settle();
    for (let next = this.#next(); next !== undefined && next.at <= target; next = this.#next())
      await this.#run(next);
    this.#now = target;
    await this.settle();
  }

  /**
   * Lets time pass until a promise has settled, or a predicate holds. It asks the predicate after each timer.
   * @throws Error when no timer is left, or `withinMs` milliseconds of simulated time have passed.
   */
  async runUntil(
    done: (() => boolean | Promise<boolean>) | Promise<unknown>,
    withinMs = Number.MAX_SAFE_INTEGER,
  ): Promise<void> {
    let settled = false;
    const finished = (): void => void (settled = true);
    if (typeof done !== "function") done.then(finished, finished);
    const holds = typeof done === "function" ? done : (): boolean => settled;
    const limit = this.#now + withinMs;
    await this.settle();
    while (!(await holds())) {
      const next = this.#next();
      if (next === undefined)
        throw new Error(`nothing is left to happen at ${this.#now} ms of simulated time`);
      if (next.at > limit) throw new Error(`it did not happen within ${withinMs} ms of simulated time`);
      await this.#run(next);
    }
  }

  /** @internal */
  plan(process: SimulatedProcess, delayMs: number, task: () => void): () => void {
    // Like Node's own timers, which fire at once if the delay does not fit into 31 bits.
    const delay = delayMs > 2 ** 31 - 1 ? 1 : Math.max(0, delayMs);
    const timer: Timer = { at: this.#now + delay, order: this.#order++, task, process };
    this.#insert(timer);
    return () => {
      const position = this.#timers.indexOf(timer);
      if (position >= 0) this.#timers.splice(position, 1);
    };
  }

  /** @internal */
  planSoon(process: SimulatedProcess, task: () => void): void {
    this.#ready++;
    setImmediate(() => {
      this.#ready--;
      process.run(task);
    });
  }

  #insert(timer: Timer): void {
    const timers = this.#timers;
    let low = 0;
    let high = timers.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = timers[middle] as Timer;
      if (other.at < timer.at || (other.at === timer.at && other.order < timer.order)) low = middle + 1;
      else high = middle;
    }
    timers.splice(low, 0, timer);
  }

  #next(): Timer | undefined {
    for (;;) {
      const timer = this.#timers[0];
      if (timer === undefined || timer.process.alive) return timer;
      this.#timers.shift();
    }
  }

  async #run(timer: Timer): Promise<void> {
    this.#timers.splice(this.#timers.indexOf(timer), 1);
    this.#now = Math.max(this.#now, timer.at);
    timer.process.run(timer.task);
    await this.settle();
  }
}
