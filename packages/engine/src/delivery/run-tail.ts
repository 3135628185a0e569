import type { RunEvent } from "@wheelwork/core";
import type { Run } from "@wheelwork/core/kernel";
import { Doorbell } from "../ports/doorbell.ts";
import type { Clock } from "../ports/ports.ts";
import type { RunFeed } from "../requests/access.ts";

/** So many events are kept at most for a reader that is slow. */
const maxKept = 256;
/** How long its reader waits at most, in milliseconds: this process may own the shard by then. */
const maxWaitMs = 2000;

/** The last events of a run that another process works on, numbered, as the journal of its shard says them. */
export class RunTail implements RunFeed {
  run: Run | undefined = undefined;
  isOver = false;
  readonly #clock: Clock;
  readonly #bell = new Doorbell();
  /** What has come before it was known how many events were before that. */
  #early: { readonly seq: number; readonly events: readonly RunEvent[] }[] | undefined = [];
  #events: RunEvent[] = [];
  /** How many events the run has had, the last one of the tail included. NaN: nobody knows. */
  #count = Number.NaN;
  /** The last batch that it knows. */
  #seq = 0;
  readonly #forget: () => void;

  constructor(clock: Clock, forget: (tail: RunTail) => void) {
    this.#clock = clock;
    this.#forget = () => forget(this);
  }

  /** The run as it is after a batch; undefined: it has ended. */
  begin(run: Run | undefined, seq: number): void {
    const early = this.#early ?? [];
    this.#early = undefined;
    if (run === undefined || Number.isNaN(run.events.count)) return;
    this.run = run;
    if (this.isOver) return;
    this.#count = run.events.count;
    this.#seq = seq;
    for (const batch of early) this.#add(batch.events, batch.seq);
  }

  /** What has happened to the run in a batch. */
  take(events: readonly RunEvent[], seq: number): void {
    if (this.#early === undefined) this.#add(events, seq);
    else this.#early.push({ seq, events });
    this.#bell.ring();
  }

  /** Batches were left out: the journal has them no longer. */
  miss(): void {
    this.isOver = true;
    this.#count = Number.NaN;
    this.#bell.ring();
  }

  /** The run may have been read further than the journal by then. */
  #add(events: readonly RunEvent[], seq: number): void {
    if (seq <= this.#seq) return;
    this.#seq = seq;
    this.#count += events.length;
    this.#events.push(...events.slice(-maxKept));
    if (this.#events.length > maxKept) this.#events = this.#events.slice(-maxKept);
  }

  after(count: number): readonly RunEvent[] | undefined {
    // It is not so if nobody knows the count.
    const first = this.#count - this.#events.length;
    return count >= first ? this.#events.slice(count - first) : undefined;
  }

  async more(): Promise<void> {
    const cancel = this.#clock.after(maxWaitMs, this.#bell.ring);
    await this.#bell.rung();
    cancel();
  }

  end(): void {
    this.#forget();
    this.#bell.ring();
  }
}
