import type { Spoke } from "@wheelwork/core";
import { scalar } from "@wheelwork/core/kernel";
import { timerMs } from "../ports/clock.ts";
import { rootOf } from "../ports/keys.ts";
import type { Clock } from "../ports/ports.ts";
import type { Attempt } from "./attempt.ts";
import { LimitKey, placed } from "./limit-key.ts";
import { LinkedList } from "./list.ts";
import type { Waiting } from "./turns.ts";

/** The limits of a spoke as they are declared, where there are any. */
export type Limits = NonNullable<Spoke["limit"]>;

/** An attempt that is over, whose work goes on. */
interface Lingering {
  /** When it is abandoned, in monotonic time. */
  readonly at: number;
  /** Says so in the log. */
  readonly log: () => void;
  /** Cancels its timer; undefined: its engine has stopped, so that only those who wait look after it. */
  cancel: (() => void) | undefined;
}

/**
 * What of one spoke may be under way in this process. All engines and shards of the process share it, and it outlives them, since
 * the work does: a place is free when the work of its attempt has ended, whoever had asked for it.
 *
 * An attempt begins when there is a place for it among all, a place for its key, and a token in the bucket of its key. So there
 * are two lists of keys that have all that is theirs to have, and some attempt that waits: one for clean-up, which goes first,
 * and one for everything else. Each grant takes the first of a list, and puts it at the end. So the cost of a grant depends
 * neither on the attempts that wait nor on the keys.
 *
 * A bucket is one number: when it is full (`fullAt`). Each token that is taken moves that by the time in which one comes.
 * All buckets are empty when the process starts, also those of keys that nobody has asked for yet. So a key without work
 * whose bucket is full need not be kept.
 */
export class Limiter {
  readonly limits: Limits;
  readonly #clock: Clock;
  readonly #abandonAfterMs: number;
  /** In which time one token comes, in milliseconds; undefined: none is needed. */
  readonly #tokenMs: number | undefined;
  /** When the buckets of keys that have not been used are full. */
  readonly #fullAt: number;
  readonly #keys = new Map<string, LimitKey>();
  /** Keys whose turn may come. */
  readonly #late = new LinkedList<LimitKey>();
  readonly #others = new LinkedList<LimitKey>();
  /** Keys that have nothing to do, and whose buckets are not full. */
  readonly #idle = new LinkedList<LimitKey>();
  readonly #lingering = new Map<Attempt, Lingering>();
  #cancelLook: (() => void) | undefined = undefined;
  #running = 0;
  #waiting = 0;
  #isServing = false;

  constructor(limits: Limits, abandonAfterMs: number, clock: Clock) {
    this.limits = limits;
    this.#clock = clock;
    this.#abandonAfterMs = abandonAfterMs;
    this.#tokenMs = limits.perSecond === Number.POSITIVE_INFINITY ? undefined : 1000 / limits.perSecond;
    this.#fullAt = this.#tokenMs === undefined ? 0 : clock.monotonicMs() + limits.burst * this.#tokenMs;
  }

  /** Places that are taken. */
  get running(): number {
    return this.#running;
  }

  /** Makes an attempt, now or when it is its turn. */
  enter(attempt: Attempt, make: (attempt: Attempt) => void): void {
    const { request } = attempt;
    const key = this.#keyOf(request.input);
    const isFree = this.#running < this.limits.concurrency && key.running < this.limits.concurrent;
    // If others of the key wait, it is not this one's turn.
    const isFirst = key.waiting === 0 && key.renewals.size === 0;
    if (isFree && isFirst && !this.#isServing && this.#toTokenMs(key) <= 0) {
      this.#take(key, attempt);
      return make(attempt);
    }
    const now = this.#clock.monotonicMs();
    attempt.waits = key.add(rootOf(request.run.key), request.run.late === true, attempt, make, now);
    this.#waiting++;
    this.#update(key);
    this.#serve();
    if (this.#lingering.size > 0) this.#look();
  }

  /**
   * An attempt has its place, and did not begin when it got it: it may begin now. Its token is of a former time, and others have had
   * theirs since. `then` is called at once, or when there is a token for it.
   */
  renew(attempt: Attempt, then: () => void): void {
    const { place } = attempt;
    if (place === undefined || this.#tokenMs === undefined) return then();
    const { key, since } = place;
    const now = this.#clock.monotonicMs();
    const lateMs = now - since;
    if (lateMs >= this.#tokenMs) {
      key.renewals.set(attempt, then);
      return this.#update(key);
    }
    // Nobody can have had a token meanwhile because of it. So it has taken its own now.
    key.fullAt += lateMs;
    place.since = now;
    then();
  }

  /** An attempt that waits is no longer wanted. */
  remove(attempt: Attempt, waits: Waiting): void {
    const { key } = waits;
    attempt.waits = undefined;
    this.#waiting--;
    key.remove(waits);
    this.#update(key);
  }

  /** The work of an attempt has ended: its place is free. Nothing happens if it has none. */
  leave(attempt: Attempt): void {
    const key = attempt.place?.key;
    if (key === undefined) return;
    const lingering = this.#lingering.get(attempt);
    if (lingering !== undefined) {
      lingering.cancel?.();
      this.#lingering.delete(attempt);
    }
    attempt.place = undefined;
    key.renewals.delete(attempt);
    this.#running--;
    key.running--;
    this.#update(key);
    this.#serve();
  }

  /**
   * An attempt is over, and its work has not ended. One that never ends must not block its spoke for ever. `log`: says that it is
   * abandoned.
   */
  linger(attempt: Attempt, log: () => void): void {
    const at = (attempt.place?.since ?? 0) + this.#abandonAfterMs;
    const delayMs = timerMs(Math.max(0, at - this.#clock.monotonicMs()));
    const cancel = this.#clock.after(delayMs, () => this.#abandon(attempt, log));
    this.#lingering.set(attempt, { at, log, cancel });
  }

  /** The engine of an attempt has stopped. No timer keeps the process alive for it, unless somebody waits for its place. */
  orphan(attempt: Attempt): void {
    const lingering = this.#lingering.get(attempt);
    if (lingering === undefined) return;
    lingering.cancel?.();
    lingering.cancel = undefined;
    if (this.#waiting > 0) this.#look();
  }

  #abandon(attempt: Attempt, log: () => void): void {
    log();
    this.leave(attempt);
  }

  /** Looks after what stopped engines have left behind, as long as somebody waits. */
  #look(): void {
    const now = this.#clock.monotonicMs();
    let next = Number.POSITIVE_INFINITY;
    for (const [attempt, { at, log, cancel }] of this.#lingering) {
      if (cancel !== undefined) continue;
      if (at <= now) this.#abandon(attempt, log);
      else next = Math.min(next, at);
    }
    this.#cancelLook?.();
    this.#cancelLook = undefined;
    if (next === Number.POSITIVE_INFINITY || this.#waiting === 0) return;
    this.#cancelLook = this.#clock.after(timerMs(next - now), () => this.#look());
  }

  /** What the key of an input is called. @throws what `by` throws, and TypeError for what is no key. */
  keyFor(input: unknown): string {
    const { by } = this.limits;
    if (by === undefined) return "";
    const key = scalar(by(input), "limit.by");
    if (typeof key === "string") return key;
    if (typeof key === "number") return `${key}`;
    throw new TypeError(`limit.by gave ${typeof key}, and no text or number`);
  }

  #keyOf(input: unknown): LimitKey {
    const name = this.keyFor(input);
    const known = this.#keys.get(name);
    if (known !== undefined) {
      known.idleItem = placed(this.#idle, known, known.idleItem, false);
      return known;
    }
    this.#forgetIdle();
    const key = new LimitKey(name, this.#fullAt);
    this.#keys.set(name, key);
    return key;
  }

  #forgetIdle(): void {
    const now = this.#clock.monotonicMs();
    for (let key = this.#idle.first; key !== undefined && key.fullAt <= now; key = this.#idle.first) {
      key.idleItem = placed(this.#idle, key, key.idleItem, false);
      this.#keys.delete(key.key);
    }
  }

  /** How long until there is a token for a key, in milliseconds; 0 or less: there is one. */
  #toTokenMs({ fullAt }: LimitKey): number {
    if (this.#tokenMs === undefined) return 0;
    return fullAt - (this.limits.burst - 1) * this.#tokenMs - this.#clock.monotonicMs();
  }

  #take(key: LimitKey, attempt: Attempt): void {
    this.#running++;
    key.running++;
    attempt.place = { key, since: this.#takeToken(key) };
  }

  /** The result is when that was, in monotonic time. */
  #takeToken(key: LimitKey): number {
    const now = this.#clock.monotonicMs();
    if (this.#tokenMs !== undefined) key.fullAt = Math.max(key.fullAt, now) + this.#tokenMs;
    return now;
  }

  #renewNext(key: LimitKey): void {
    for (const [attempt, then] of key.renewals) {
      if (this.#toTokenMs(key) > 0) return;
      key.renewals.delete(attempt);
      if (attempt.place !== undefined) attempt.place.since = this.#takeToken(key);
      then();
    }
  }

  /** Puts a key where it belongs: among those whose turn may come, those that wait for a token, or those with nothing to do. */
  #update(key: LimitKey): void {
    if (key.renewals.size > 0) this.#renewNext(key);
    const isFirst = key.renewals.size > 0;
    const isFree = key.waiting > 0 && key.running < this.limits.concurrent;
    const toTokenMs = isFirst || isFree ? this.#toTokenMs(key) : 0;
    const isReady = isFree && !isFirst && toTokenMs <= 0;
    key.lateItem = placed(this.#late, key, key.lateItem, isReady && key.hasLate);
    key.item = placed(this.#others, key, key.item, isReady && key.hasOthers);
    if (toTokenMs > 0) {
      key.cancelTimer ??= this.#clock.after(timerMs(Math.ceil(toTokenMs)), () => {
        key.cancelTimer = undefined;
        this.#update(key);
        this.#serve();
      });
      return;
    }
    key.cancelTimer?.();
    key.cancelTimer = undefined;
    if (key.running > 0 || key.waiting > 0 || this.limits.by === undefined) return;
    // A new bucket would be as full, or as empty, as this one.
    if (this.#tokenMs === undefined) this.#keys.delete(key.key);
    else key.idleItem = placed(this.#idle, key, key.idleItem, true);
  }

  /** Gives places to those that wait, as long as there are any. */
  #serve(): void {
    // Workers that answer at once come back here from within the loop.
    if (this.#isServing) return;
    this.#isServing = true;
    while (this.#running < this.limits.concurrency) {
      const isLate = !this.#late.isEmpty;
      const key = isLate ? this.#late.first : this.#others.first;
      const waiting = key?.take(isLate);
      if (key === undefined || waiting === undefined) break;
      // The other keys are next.
      if (isLate) key.lateItem = placed(this.#late, key, key.lateItem, false);
      else key.item = placed(this.#others, key, key.item, false);
      const { attempt, make } = waiting;
      this.#waiting--;
      this.#take(key, attempt);
      this.#update(key);
      attempt.endWait(this.#clock.monotonicMs());
      make(attempt);
    }
    this.#isServing = false;
    if (this.#waiting > 0) return;
    this.#cancelLook?.();
    this.#cancelLook = undefined;
  }
}

/** The limiters of this process: by the clock, since a simulation has many processes, and by the spoke. */
const limiters = new WeakMap<Clock, WeakMap<Spoke, Limiter>>();

/** What limits a spoke in this process; undefined: it has no limit. */
export function limiterOf(spoke: Spoke, clock: Clock): Limiter | undefined {
  const { limit, abandonAfterMs } = spoke;
  if (limit === undefined) return undefined;
  let ofClock = limiters.get(clock);
  if (ofClock === undefined) limiters.set(clock, (ofClock = new WeakMap()));
  let limiter = ofClock.get(spoke);
  if (limiter === undefined) ofClock.set(spoke, (limiter = new Limiter(limit, abandonAfterMs, clock)));
  return limiter;
}
