import { WheelworkError } from "@wheelwork/core";
import { plain } from "@wheelwork/core/kernel";
import { timerMs } from "../ports/clock.ts";
import type { Clock } from "../ports/ports.ts";

/** How large a value of progress may be, as JSON, in characters. It is stored with the run, again and again. */
const maxLength = 16_384;
/** Progress is stored this often at most, in milliseconds, and at most once in the time of a heartbeat. */
const minSaveMs = 1000;

/** What a heart tells. */
export interface HeartListener {
  /** The worker has said how far it is: that is to be stored. */
  save(value: unknown): void;
  /** The worker lives, and has said nothing new. */
  beat(): void;
  /** The worker was silent for too long. */
  silent(): void;
}

/**
 * Listens to the worker of one attempt. It looks once in the time of a heartbeat, and not at each call: workers may call as often as
 * they like.
 */
export class Heart {
  readonly #heartbeatMs: number;
  readonly #clock: Clock;
  readonly #listener: HeartListener;
  #beatAt: number;
  #saveAt = Number.NEGATIVE_INFINITY;
  #value: unknown = undefined;
  #isSaved = true;
  #isStopped = false;
  #cancel: () => void = () => {};

  constructor(heartbeatMs: number, clock: Clock, listener: HeartListener) {
    this.#heartbeatMs = heartbeatMs;
    this.#clock = clock;
    this.#listener = listener;
    this.#beatAt = clock.monotonicMs();
    this.#look(heartbeatMs);
  }

  /** What the worker has said last, if it is not stored; undefined: there is nothing. */
  get unsaved(): unknown {
    return this.#isSaved ? undefined : this.#value;
  }

  beat(): void {
    this.#beatAt = this.#clock.monotonicMs();
  }

  /**
   * The worker says how far it is; undefined: only that it lives.
   * @throws WheelworkError WW_INVALID_OUTPUT for what is no JSON, WW_TOO_LARGE.
   */
  progress(value: unknown): void {
    if (this.#isStopped) return;
    if (value !== undefined) {
      this.#value = checked(value);
      this.#isSaved = false;
    }
    this.beat();
    if (this.#beatAt >= this.#saveAt) this.save();
  }

  /** What is not stored is stored now. */
  save(): void {
    if (this.#isSaved) return;
    this.#isSaved = true;
    this.#saveAt = this.#clock.monotonicMs() + Math.max(minSaveMs, this.#heartbeatMs);
    this.#listener.save(this.#value);
  }

  /** The attempt is over. */
  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  #look(inMs: number): void {
    const at = this.#clock.monotonicMs() + inMs;
    this.#cancel = this.#clock.after(timerMs(Math.ceil(inMs)), () => {
      const now = this.#clock.monotonicMs();
      // If the process stood still, the worker could not say anything either.
      if (now - at > this.#heartbeatMs / 2) this.#beatAt = now;
      if (now - this.#beatAt >= this.#heartbeatMs) return this.#listener.silent();
      if (this.#isSaved) this.#listener.beat();
      else if (now >= this.#saveAt) this.save();
      this.#look(this.#beatAt + this.#heartbeatMs - now);
    });
  }
}

/** What another process says of its progress, if it can be kept; undefined: only that it lives. */
export function tolerated(value: unknown): unknown {
  try {
    return checked(value);
  } catch {
    return undefined;
  }
}

function checked(value: unknown): unknown {
  if (value === undefined) return undefined;
  const kept = plain(value, "WW_INVALID_OUTPUT", "what a worker says of its progress");
  const { length } = JSON.stringify(kept);
  if (length <= maxLength) return kept;
  throw new WheelworkError(
    "WW_TOO_LARGE",
    `what a worker says of its progress has ${length} characters as JSON, and ${maxLength} are kept`,
    { next: "Keep what the next attempt needs where the work is, and its name here." },
  );
}
