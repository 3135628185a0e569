import type { Answer, HistoryEvent, RunEvent } from "@wheelwork/core";
import { restore, Run, snapshot } from "@wheelwork/core/kernel";
import { nextTurn } from "../ports/clock.ts";
import {
  endWithRest,
  HistoryReader,
  withRest,
  type Collected,
  type HistoryEnd,
  type HistoryPart,
  type HistoryRange,
} from "../ports/history.ts";
import type { Clock, Store, StoredAnswer } from "../ports/ports.ts";
import type { LiveRun } from "./batch.ts";
import { ColdReads, type ColdRead } from "./cold-reads.ts";
import { stopping, unavailable } from "./options.ts";
import { committedHistory } from "./residency.ts";
import type { Tenure } from "./tenure.ts";
import type { Ending } from "./watchers.ts";

/** So many events are kept at most for those who watch the end of a run. */
const maxKept = 256;

/** What is read. */
interface Source {
  readonly store: Store;
  readonly clock: Clock;
  readonly status: () => "starting" | "running" | "store-lost" | "stopping" | "stopped";
  /** What the last claim knows. */
  readonly tenure: () => Tenure | undefined;
}

/** Names a run for ever: a later one may have its key. */
type RunName = Pick<Run, "key" | "createdAt">;

/** What is read of the runs of a shard: what is committed of them, in memory or in the store. */
export class CommittedRuns {
  readonly #source: Source;
  readonly #coldReads: ColdReads;
  readonly #histories: HistoryReader;

  constructor(source: Source) {
    this.#source = source;
    this.#histories = new HistoryReader((key) => source.store.history(key), source.clock);
    this.#coldReads = new ColdReads(source.store);
  }

  /** A run in memory. Undefined while the store is lost, since it may never have been committed. */
  find(key: string): Run | undefined {
    return this.#working(key)?.run;
  }

  #working(key: string): LiveRun | undefined {
    return this.#source.status() === "store-lost" ? undefined : this.#live(key);
  }

  #live(key: string): LiveRun | undefined {
    return this.#source.tenure()?.residency.get(key);
  }

  /** What is known of a request: its run, or else its answer. */
  async lookUp(key: string): Promise<Run | StoredAnswer | undefined> {
    // What a batch has made of it is not shown before it is committed: it may never be.
    const staged = this.#live(key)?.stagedFrom ?? -1;
    if (staged >= 0) await this.#source.tenure()?.pipeline.quiet();
    const before = this.#working(key);
    // What the shard has decided last is never committed then. The next owner tells how the run is.
    if (before !== undefined && before.stagedFrom >= 0 && this.#source.status() === "stopped")
      throw stopping();
    if (before !== undefined) return before.run;
    let found: ColdRead;
    let deletions: number | undefined;
    // It may have come into memory, ended, and lost its row to a checkpoint while the store was asked. Then its answer is there by now.
    do {
      deletions = this.#source.tenure()?.residency.deletions;
      found = await this.#read(key);
    } while (
      found.run !== undefined &&
      found.answer === undefined &&
      this.#source.tenure()?.residency.deletions !== deletions
    );
    // It has ended while the store was asked, so its answer is there by now.
    if (found.answer === undefined && this.#hasEndedRow(key)) found = await this.#read(key);
    // While the store was asked, the run may have come into memory, and moved on.
    if (this.find(key) !== undefined) return this.lookUp(key);
    if (found.damage !== undefined) throw found.damage;
    if (found.run === undefined || this.#source.status() === "store-lost" || this.#hasEndedRow(key))
      return found.answer;
    return found.run();
  }

  /** The answer to a request whose run may be damaged. */
  async storedAnswer(key: string): Promise<Answer | undefined> {
    return (await this.#read(key)).answer?.answer;
  }

  #hasEndedRow(key: string): boolean {
    return this.#source.tenure()?.residency.hasEndedRow(key) === true;
  }

  async #read(key: string): Promise<ColdRead> {
    try {
      return await this.#coldReads.read(key, this.#source.tenure()?.pipeline.actedSeq ?? -1);
    } catch (error) {
      // The loop will notice by itself; the caller is told that the store is away.
      if (this.#source.status() === "store-lost") return {};
      throw error;
    }
  }

  /** What is committed of what happened to a run. */
  history(run: RunName, range: HistoryRange): Promise<readonly HistoryEvent[]> {
    return this.#readHistory(run, range, (stored, rest) => withRest(stored, rest, range));
  }

  /** The end of that. */
  historyEnd(run: RunName, end: HistoryEnd): Promise<HistoryPart> {
    return this.#readHistory(run, end, (stored, rest) => endWithRest(stored, rest, end));
  }

  async #readHistory<T>(
    { key, createdAt }: RunName,
    range: HistoryRange | HistoryEnd,
    made: (stored: Collected, rest: readonly RunEvent[]) => T,
  ): Promise<T> {
    for (;;) {
      const before = this.#live(key)?.history;
      const stored = await this.#histories.read(key, createdAt, range);
      if (stored.isWhole) return made(stored, []);
      const live = this.#live(key);
      // What was only in memory has been written while the store was asked: it is asked again.
      if (live?.history !== before) continue;
      if (live === undefined) return made(stored, []);
      const writing = this.#source.tenure()?.pipeline.checkpointing();
      if (writing !== undefined) {
        await writing;
        continue;
      }
      if (this.#source.status() === "store-lost") throw unavailable();
      if (this.#source.status() === "stopped") throw stopping();
      return made(stored, committedHistory(live));
    }
  }

  /** A copy of a run as it is committed; undefined: it has ended, or is not known. */
  async copy(key: string): Promise<Run | undefined> {
    for (;;) {
      // What it has decided last is never committed then.
      if (this.#source.status() === "stopped") throw stopping();
      const before = this.#live(key)?.run;
      const known = await this.lookUp(key);
      // While the store is lost, only the answer of a run is told, which may have come before its end.
      if (!(known instanceof Run) && this.#source.status() === "store-lost") throw unavailable();
      if (!(known instanceof Run)) return undefined;
      const now = this.#working(key);
      if (now?.run === known && now.stagedFrom < 0) return restore(key, snapshot(known));
      // It was just made of its row, maybe for others, too.
      if (now?.run !== known && before !== known) return restore(key, snapshot(known));
      await nextTurn(this.#source.clock);
    }
  }

  /**
   * The events of a run after so many, as far as they are committed: some of them, oldest first. undefined: they are not in memory, or
   * not all of them.
   */
  eventsAfter(key: string, count: number): readonly RunEvent[] | undefined {
    const live = this.#working(key);
    if (live === undefined) return undefined;
    const first = live.run.events.count - live.history.length;
    // It is not so if nobody has counted its events.
    return count >= first ? committedHistory(live).slice(count - first) : undefined;
  }
}

/** The end of a run that has ended with the last commit; undefined: it goes on. */
export function endingOf({ run, history }: LiveRun): Ending | undefined {
  return run.status === "ended" ? { count: run.events.count, events: history.slice(-maxKept) } : undefined;
}
