import { systemClock, type Clock } from "wheelwork";
import type { Speaker, SpeakerAnswer, SpeakerCommand } from "../controller/speaker.ts";
import type { StoreAge } from "../controller/store.ts";

/** So long an age that was read holds, and so long a command waits for one, in milliseconds. */
const holdsMs = 1_000;
/** How often the age is read without a command, in milliseconds. */
const everyMs = 3_000;
/** Commands have numbers that follow the version of their plan, below this: see `Plan.version`. */
const planStep = 1_000;

/** What a guarded speaker is made with. */
export interface GuardedSpeakerOptions {
  readonly speaker: Speaker;
  /** Reads how old the store of flows is. */
  readonly age: () => Promise<StoreAge>;
  /** What people do when the store is older than it was. */
  readonly next: string;
  /** Told once, when the store is older than it was. */
  readonly onProblem: (problem: string) => void;
  /** For tests: the clock. */
  readonly clock?: Pick<Clock, "after" | "monotonicMs">;
}

/**
 * A speaker that notices when its store of flows was restored from an older backup while it runs. Such a store gives numbers of commands and
 * ids of paths a second time, and knows nothing of rules that are on the switches. So nothing more is done for it, until somebody has made
 * the book of rules anew.
 *
 * Numbers of a store only rise. It is older than it was when they are lower: that is looked at every 3 s, and before each command that is older
 * than the newest plan that was seen. A store that does not answer is no older one: what comes late of it, each address refuses by itself.
 */
export class GuardedSpeaker implements Speaker {
  readonly #options: GuardedSpeakerOptions;
  readonly #clock: Pick<Clock, "after" | "monotonicMs">;
  #seen: StoreAge = { lastPlan: 0, nextPath: 0 };
  #readAt = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;
  #problem: string | undefined;
  #cancel = (): void => {};
  #isClosed = false;

  constructor(options: GuardedSpeakerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#lookLater(0);
  }

  /** Why it does nothing more; undefined: it does. */
  get problem(): string | undefined {
    return this.#problem;
  }

  async execute(command: SpeakerCommand): Promise<SpeakerAnswer | undefined> {
    if (command.command === "read") return this.#options.speaker.execute(command);
    const plan = command.seq - (command.seq % planStep);
    const isNewest = plan > this.#seen.lastPlan;
    if (!isNewest && this.#clock.monotonicMs() - this.#readAt >= holdsMs) await this.#read();
    if (this.#problem !== undefined) {
      // An obligation cannot be refused: whoever has it goes on to ask.
      if (command.command === "remove" || command.must) return undefined;
      return { answer: "halted", reason: this.#problem };
    }
    this.#seen = { ...this.#seen, lastPlan: Math.max(this.#seen.lastPlan, plan) };
    return this.#options.speaker.execute(command);
  }

  unconfirmed(limit: number): ReturnType<Speaker["unconfirmed"]> {
    return this.#options.speaker.unconfirmed(limit);
  }

  /** Looks no more. It does not end the speaker. */
  close(): void {
    this.#isClosed = true;
    this.#cancel();
  }

  #lookLater(delayMs: number): void {
    if (this.#isClosed || this.#problem !== undefined) return;
    this.#cancel = this.#clock.after(delayMs, () => {
      void this.#read().finally(() => this.#lookLater(everyMs));
    });
  }

  /** Reads the age. It ends when that is read, or takes too long. */
  #read(): Promise<void> {
    // What comes while it is read may be newer than what is read.
    const before = this.#seen;
    this.#reading ??= this.#options
      .age()
      .then((age) => this.#compare(before, age))
      .catch(() => {
        // It cannot be said now.
      })
      .finally(() => (this.#reading = undefined));
    const late = Promise.withResolvers<void>();
    const cancel = this.#clock.after(holdsMs, late.resolve);
    return Promise.race([this.#reading, late.promise]).finally(cancel);
  }

  #compare(before: StoreAge, { lastPlan, nextPath }: StoreAge): void {
    const seen = this.#seen;
    this.#readAt = this.#clock.monotonicMs();
    this.#seen = {
      lastPlan: Math.max(lastPlan, seen.lastPlan),
      nextPath: Math.max(nextPath, seen.nextPath),
    };
    if (this.#problem !== undefined || (lastPlan >= before.lastPlan && nextPath >= before.nextPath)) return;
    this.#problem =
      `the store of flows is older than it was, as after it was restored from a backup: its last plan was ${before.lastPlan}, ` +
      `and is ${lastPlan}. The switches keep what they have. ${this.#options.next}`;
    this.#options.onProblem(this.#problem);
  }
}
