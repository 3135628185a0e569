import type { Clock } from "@wheelwork/engine";

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly task: () => void;
  readonly process: SimulatedProcess;
}

/** How many real turns of the event loop must pass without anything ready before simulated time may move. */
const quietTurns = 2;

/** So many turns without time passing: it will never end. */
const maxTurns = 1_000_000;

/** Lets everything run that is ready: promises, and what they make ready. */
const realTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/**
 * One process on a simulated machine: what it has planned dies with it. It is the clock that an engine gets, so that a
 * killed engine never acts again, as after `kill -9`.
 */
export class SimulatedProcess implements Clock {
  readonly #machine: SimulatedClock;
  #alive = true;
  /** What became due while it was frozen; undefined: it is not. */
  #held: (() => void)[] | undefined = undefined;

  /** @internal Use `SimulatedClock.process`. */
  constructor(machine: SimulatedClock) {
    this.#machine = machine;
  }

  /** Whether it has not been killed. */
  get alive(): boolean {
    return this.#alive;
  }

  /** Ends the process at once: nothing that it has planned will run. */
  kill(): void {
    this.#alive = false;
  }

  /** Whether it stands still. */
  get frozen(): boolean {
    return this.#held !== undefined;
  }

  /** Lets it stand still, as SIGSTOP does: what becomes due is done when it is thawed, in its order. Clocks run on. */
  freeze(): void {
    this.#held ??= [];
  }

  /** Lets it go on. */
  thaw(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const task of held) this.soon(task);
  }

  /** @internal Does what is due, unless the process is dead, or frozen: then later. */
  run(task: () => void): void {
    if (!this.#alive) return;
    if (this.#held === undefined) task();
    else this.#held.push(task);
  }

  wallMs(): number {
    return this.#machine.wallMs();
  }

  monotonicMs(): number {
    return this.#machine.monotonicMs();
  }

  after(delayMs: number, task: () => void): () => void {
    return this.#machine.plan(this, delayMs, task);
  }

  soon(task: () => void): void {
    this.#machine.planSoon(this, task);
  }

  /** Simulated work that takes so long. Never settles once the process is dead. */
  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => void this.after(delayMs, resolve));
  }
}

/**
 * A clock on which time moves only when nothing is ready (I22), and only when a test says so: `advance`, `runUntil`.
 * What is due soon (`soon`, promises) runs by itself and takes no time. The wall clock can jump; the monotonic one
 * cannot.
 */
export class SimulatedClock implements Clock {
  #now = 0;
  #wallOffset: number;
  #order = 0;
  #ready = 0;
  readonly #timers: Timer[] = [];
  readonly #own: SimulatedProcess;

  constructor(options: { readonly wallMs?: number } = {}) {
    this.#wallOffset = options.wallMs ?? Date.UTC(2026, 0, 1);
    this.#own = new SimulatedProcess(this);
  }

  /** A process of its own on this machine, to be killed alone. */
  process(): SimulatedProcess {
    return new SimulatedProcess(this);
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

  /** Moves the wall clock alone, as an operator or a time server does. */
  jumpWall(byMs: number): void {
    this.#wallOffset += byMs;
  }

  /** How many timers of live processes are armed. */
  get armed(): number {
    return this.#timers.filter(({ process }) => process.alive).length;
  }

  /**
   * Runs what is ready, without letting time pass.
   * @throws Error when it does not end: something keeps itself busy.
   */
  async settle(): Promise<void> {
    for (let quiet = 0, turns = 0; quiet < quietTurns; turns++) {
      if (turns > maxTurns) throw new Error(`it does not come to rest at ${this.#now} ms of simulated time`);
      const before = this.#order;
      await realTurn();
      quiet = this.#ready === 0 && this.#order === before ? quiet + 1 : 0;
    }
  }

  /** Lets so much time pass; each timer runs at its own time. */
  async advance(byMs: number): Promise<void> {
    const target = this.#now + byMs;
    await this.settle();
    for (let next = this.#next(); next !== undefined && next.at <= target; next = this.#next())
      await this.#run(next);
    this.#now = target;
    await this.settle();
  }

  /**
   * Lets time pass until the predicate holds (it is asked after each step) or the promise has settled.
   * @throws Error when nothing is left that could happen, or `withinMs` of simulated time have passed.
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
    // As Node's own timers: what does not fit into 31 bits would fire at once.
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
