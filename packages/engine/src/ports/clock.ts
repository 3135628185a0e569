import { uptime } from "node:os";
import type { Clock } from "./ports.ts";

/** What a host says of the time, in milliseconds. */
export interface HostTime {
  /** Wall clock, since 1970. */
  wallMs(): number;
  /** Goes on while the host runs. On Linux and macOS it stands still while the host is suspended. */
  monotonicMs(): number;
  /** Since the host was started, suspended or not. */
  uptimeMs(): number;
}

/** The longest delay that `Clock.after` takes: timers hold 31 bits of milliseconds. */
const maxTimerMs = 2 ** 31 - 1;

/** A delay as `Clock.after` takes it: what is past is due now, and what is too long is armed in steps. */
export const timerMs = (delayMs: number): number => Math.max(0, Math.min(delayMs, maxTimerMs));

/** Lets the event loop go on with what else is due. */
export const nextTurn = (clock: Clock): Promise<void> => new Promise((resolve) => clock.soon(resolve));

/** So long does somebody go on in one turn of the event loop who looks at requests, in milliseconds: those who make them come first. */
export const readMs = 1;

/**
 * So long does somebody go on who has much to do, in milliseconds, before the event loop goes on with what else is due; and with so many
 * things.
 */
const [busyMs, busyItems] = [10, 1000];

/** Says when it is time for another turn of the event loop. */
export class BusyTurns {
  readonly #clock: Clock;
  readonly #most: number;
  #until: number;
  #items = 0;

  /** @param most So many things are done in one turn at most. */
  constructor(clock: Clock, most: number = busyItems) {
    this.#clock = clock;
    this.#most = most;
    this.#until = clock.monotonicMs() + busyMs;
  }

  /** One more thing is done. Whether the turn is over. */
  tookOne(): boolean {
    return this.took(1);
  }

  /** So many more things are done. Whether the turn is over. */
  took(items: number): boolean {
    this.#items += items;
    return this.#items >= this.#most || this.#clock.monotonicMs() >= this.#until;
  }

  async next(): Promise<void> {
    await nextTurn(this.#clock);
    this.#items = 0;
    this.#until = this.#clock.monotonicMs() + busyMs;
  }
}

/** How often the clock looks whether the host was suspended, in milliseconds. */
const lookMs = 1000;
/** A timer looks at the time this often at least, in milliseconds: so late does it fire after the host has woken. */
const stepMs = 5000;
/** What the two clocks of the host may differ by without a reason, in milliseconds: the uptime counts in whole seconds on some. */
const slackMs = 3000;

/**
 * A clock that goes on while the host is suspended: a laptop that sleeps, a host that hibernates. Node's monotonic clock and its
 * timers stand still then, so that a deadline would fire as much too late as the host slept. The host's uptime goes on, and
 * does not follow the wall clock, which somebody may set while the engine runs.
 */
export function clockOf(host: HostTime): Clock {
  let sleptMs = 0;
  let lookedAt = Number.NEGATIVE_INFINITY;
  const awakeSince = host.uptimeMs() - host.monotonicMs();
  const monotonicMs = (): number => {
    const awakeMs = host.monotonicMs();
    if (awakeMs - lookedAt >= lookMs) {
      lookedAt = awakeMs;
      const slept = host.uptimeMs() - awakeMs - awakeSince;
      if (slept > sleptMs + slackMs) sleptMs = slept;
    }
    return awakeMs + sleptMs;
  };
  const after = (delayMs: number, task: () => void): (() => void) => {
    if (delayMs <= stepMs) {
      const timer = setTimeout(task, Math.max(0, delayMs));
      return () => clearTimeout(timer);
    }
    const at = monotonicMs() + delayMs;
    let cancel: () => void = () => {};
    const step = (): void => {
      const leftMs = at - monotonicMs();
      cancel = after(Math.max(0, Math.min(leftMs, stepMs)), leftMs <= stepMs ? task : step);
    };
    step();
    return () => cancel();
  };
  return { wallMs: () => host.wallMs(), monotonicMs, after, soon: (task) => void setImmediate(task) };
}

/** The clock of this host. */
export const systemClock: Clock = clockOf({
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  uptimeMs: () => uptime() * 1000,
});
