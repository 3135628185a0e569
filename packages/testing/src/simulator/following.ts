import { WheelworkError } from "@wheelwork/core";
import type { Engine, EventsPage } from "@wheelwork/engine";
import type { SimulatedClock, SimulatedProcess } from "../clock.ts";
import type { SeededRandom } from "../random.ts";
import type { StreamChecks, StreamFilter, StreamReading } from "./checker/streams.ts";
import { drawFor } from "./plans.ts";

/** A process at which one can read. */
interface Readable {
  readonly number: number;
  readonly process: Pick<SimulatedProcess, "alive">;
  readonly engine: Pick<Engine, "events">;
  /** Settles when it dies. */
  readonly death: Promise<void>;
}

/** Those who read the events of all runs. */
export interface FollowersOptions {
  readonly seed: number;
  /** How many there are. */
  readonly readers: number;
  readonly scaleMs: number;
  /** They come and go for so long, in milliseconds. */
  readonly forMs: number;
  readonly clock: SimulatedClock;
  readonly checks: StreamChecks;
  /** A process that can be asked now. */
  readonly any: (who: string) => Readable | undefined;
  /** What a filter may be made of. */
  readonly hubs: readonly { readonly name: string; readonly states: readonly string[] }[];
  readonly saw: (what: string, details: string) => void;
  /** Something that no reader should ever see. */
  readonly surprise: (error: unknown) => void;
}

/** A reader looks so often and so long at most, in milliseconds: each look costs the simulation time. */
const maxWindowMs = 1_200;
/** In the end each reader is told the rest within so long, in milliseconds. */
const patienceMs = 30_000;
const restMs = 60;

/**
 * Reads the events of all runs: some read slowly, all leave or lose their process, and go on at any process, behind the last event or
 * page that they have seen, or behind an earlier one. A filter may change with that.
 */
export class Followers {
  readonly #of: FollowersOptions;
  readonly #readers: readonly Follower[];

  constructor(of: FollowersOptions) {
    this.#of = of;
    this.#readers = Array.from({ length: of.readers }, (_, number) => new Follower(of, number + 1));
  }

  begin(): void {
    for (const reader of this.#readers) this.#watch(reader.comeAndGo());
  }

  /** Nothing happens any more: each of them reads the rest. */
  async finish(): Promise<void> {
    const { clock } = this.#of;
    const done = Promise.all(this.#readers.map((reader) => reader.readRest()));
    await clock.runUntil(done, patienceMs * 3);
    await done;
  }

  #watch(task: Promise<void>): void {
    task.catch((error: unknown) => this.#of.surprise(error));
  }
}

/** One of them. */
class Follower {
  readonly #of: FollowersOptions;
  readonly #who: string;
  readonly #random: SeededRandom;
  /** All positions that it was told, the last one of them last. */
  readonly #positions: string[] = [];
  #filter: StreamFilter = {};
  #isOver = false;
  #last: Promise<void> = Promise.resolve();

  constructor(of: FollowersOptions, number: number) {
    this.#of = of;
    this.#who = `reader ${number}`;
    this.#random = drawFor(of.seed, "follower", number);
  }

  async comeAndGo(): Promise<void> {
    const { clock, forMs, scaleMs } = this.#of;
    const random = this.#random;
    this.#filter = this.#draw();
    await this.#wait(random.int(forMs / 3));
    while (!this.#isOver && clock.monotonicMs() < forMs) {
      const windowMs = 1 + random.int(Math.min(maxWindowMs, scaleMs));
      this.#last = this.#read(this.#after(), windowMs).then(() => {});
      await this.#last;
      await this.#wait(random.int(random.pick([20, Math.max(200, forMs / 8)])));
    }
  }

  /** Reads from where it is, or from the first position that it was told, until it has all. */
  async readRest(): Promise<void> {
    this.#isOver = true;
    await this.#last;
    if (this.#positions.length === 0) return;
    const { clock } = this.#of;
    let after = this.#random.chance(0.5) ? this.#positions[0] : this.#positions.at(-1);
    const end = clock.monotonicMs() + patienceMs;
    for (let isWhole = false; !isWhole;) {
      const count = this.#positions.length;
      const reading = await this.#read(after, Math.max(1, end - clock.monotonicMs()), true);
      isWhole = reading === undefined || reading.isWhole;
      if (this.#positions.length > count) after = this.#positions.at(-1);
      if (isWhole || clock.monotonicMs() < end) continue;
      return reading?.ends();
    }
  }

  /** Where it goes on; undefined: now. */
  #after(): string | undefined {
    const random = this.#random;
    if (this.#positions.length === 0 || random.chance(0.05)) return undefined;
    if (random.chance(0.2)) this.#filter = this.#draw();
    return random.chance(0.7) ? this.#positions.at(-1) : random.pick(this.#positions);
  }

  #draw(): StreamFilter {
    const random = this.#random;
    if (random.chance(0.5)) return {};
    const { name: hub, states } = random.pick(this.#of.hubs);
    const type = random.pick([["started", "accepted"], ["ended"], ["entered", "settled"]] as const);
    return random.pick([{ hub }, { type }, { hub, type }, { state: random.pick(states) }]);
  }

  /** @returns The reading; undefined: what follows the position is gone, or nobody could be asked. */
  async #read(after: string | undefined, forMs: number, isLast = false): Promise<StreamReading | undefined> {
    const { any, checks, saw } = this.#of;
    const random = this.#random;
    const asked = any(this.#who);
    if (asked === undefined) {
      await this.#wait(50);
      return undefined;
    }
    const leave = new AbortController();
    const isOver = this.#wait(forMs);
    const reading = checks.begins(`${this.#who} at node ${asked.number}`, this.#filter, after);
    const options = { ...this.#filter, signal: leave.signal, ...(after === undefined ? {} : { after }) };
    saw(
      after === undefined ? "reads events" : "reads events on",
      `${this.#who} node=${asked.number} ${after}`,
    );
    const pages = asked.engine.events(options)[Symbol.asyncIterator]();
    try {
      for (let told: IteratorResult<EventsPage> | undefined; ;) {
        const next = pages.next();
        next.catch(() => {});
        // What would come once too often has so much time to do so.
        const isEnd = isLast && told !== undefined && reading.isWhole ? this.#wait(restMs) : isOver;
        told = (await Promise.race([next, asked.death, isEnd])) ?? undefined;
        if (told === undefined || !asked.process.alive) break;
        if (told.done === true) {
          reading.stopped();
          break;
        }
        const { value: page } = told;
        reading.told(page);
        saw("told of events", `${this.#who} ${page.events.length} up to ${page.position}`);
        if (!this.#take(page, isLast)) break;
        if (!isLast && random.chance(0.2)) await this.#wait(random.int(300));
      }
    } catch (error) {
      if (!(error instanceof WheelworkError)) throw error;
      saw(`events ${error.code}`, this.#who);
      if (error.code === "WW_EVENTS_GONE") {
        reading.gone();
        this.#positions.length = 0;
        return undefined;
      }
      // What cannot be read now, can be later.
      if (!error.retryable) throw error;
      await this.#wait(50);
    } finally {
      leave.abort();
    }
    return reading;
  }

  /** Notes how far it is. @returns Whether it goes on: some die in the middle of a page. */
  #take({ events, position }: EventsPage, isLast: boolean): boolean {
    if (isLast || events.length === 0 || !this.#random.chance(0.2)) {
      this.#positions.push(position);
      return true;
    }
    this.#positions.push(...events.slice(0, 1 + this.#random.int(events.length)).map((one) => one.position));
    return false;
  }

  #wait(ms: number): Promise<undefined> {
    return new Promise((resolve) => void this.#of.clock.after(ms, () => resolve(undefined)));
  }
}
