import { WheelworkError, type Answer, type HistoryEvent, type RunEvent } from "@wheelwork/core";
import { Run, type Ignored, type Input, type Writable } from "@wheelwork/core/kernel";
import { keyReused } from "../ports/keys.ts";
import type { FacetCount, StoreFilter, RequestList } from "../ports/filter.ts";
import type {
  AuditAbout,
  AuditBatch,
  AuditPlace,
  Clock,
  RequestRow,
  Store,
  StoredAnswer,
} from "../ports/ports.ts";
import type { RequestItem } from "../shard/items.ts";
import { stopping, unavailable } from "../shard/options.ts";
import type { Shard } from "../shard/shard.ts";
import type { Ending } from "../shard/watchers.ts";
import {
  bodyOf,
  givenAnswer,
  type askAgain,
  type NewRequest,
  type RequestRecord,
  type RunFeed,
  type ShardAccess,
} from "./access.ts";
import { notFound } from "./commands.ts";
import { timerMs } from "../ports/clock.ts";
import { Doorbell } from "../ports/doorbell.ts";
import type { HistoryEnd, HistoryPart, HistoryRange } from "../ports/history.ts";
import type { ShardSummary } from "./api.ts";
import { JournalTail } from "./journal-tail.ts";
import { longestLanes, type LaneFilter, type LongestLanes } from "./lane-list.ts";
import { countOverlaid, listOverlaid, type Overlay } from "./list.ts";
import { summaryOf } from "./shard-summary.ts";

/** A shard that this process works on: its loop is asked, and its store for what is not in memory. */
export class LocalShard implements ShardAccess {
  readonly tail: JournalTail;
  readonly #shard: Shard;
  readonly #store: Store;
  readonly #clock: Clock;

  constructor(shard: Shard, store: Store, clock: Clock) {
    this.#shard = shard;
    this.#store = store;
    this.#clock = clock;
    this.tail = new JournalTail({ store, live: (key) => this.#live(key) }, clock);
  }

  /** A run in memory. @throws WheelworkError while nobody knows which runs there are. */
  #live(key: string): Run | undefined {
    if (this.#shard.status === "stopped") throw stopping();
    if (this.#shard.status === "store-lost") throw unavailable();
    return this.#shard.find(key);
  }

  async submit(request: NewRequest): Promise<boolean> {
    try {
      return await this.#submit(request);
    } catch (error) {
      if (request.fresh || !(error instanceof WheelworkError) || error.code !== "WW_OVERLOADED") throw error;
      // A shard that takes no new requests goes on answering those that it has taken.
      const known = await this.#shard.committed.lookUp(request.key);
      if (known === undefined) throw error;
      if (request.body.isSame(bodyOf(known).hash)) return true;
      throw keyReused(request.key);
    }
  }

  #submit(request: NewRequest): Promise<boolean> {
    const {
      key,
      fresh,
      hub,
      body,
      deadlineMs,
      priority,
      startAt,
      beginWithinMs,
      isOwed,
      caller,
      transformed,
      trace,
      givenBy,
    } = request;
    return new Promise((resolve, reject) => {
      const refusal = this.#shard.request(request, () => {
        // One literal, and then what few requests have: each spread of a field that may be absent makes an object.
        const item: Writable<RequestItem> = {
          kind: "request",
          key,
          hub,
          request: body.valid,
          hash: this.hashOf(request),
          isSame: body.isSame,
          fresh,
          accept: resolve,
          refuse: reject,
        };
        if (body.invalid !== undefined) item.invalid = body.invalid;
        if (deadlineMs !== undefined) item.deadlineMs = deadlineMs;
        if (priority !== undefined) item.priority = priority;
        if (startAt !== undefined) item.startAt = startAt;
        if (beginWithinMs !== undefined) item.beginWithinMs = beginWithinMs;
        if (trace !== undefined) item.trace = trace;
        if (givenBy !== undefined) item.givenBy = givenBy;
        if (isOwed) {
          item.isOwed = isOwed;
          item.isRecord = true;
        }
        if (caller !== undefined) {
          item.caller = caller;
          if (transformed !== true) item.isStored = true;
        }
        return item;
      });
      if (refusal !== undefined) reject(refusal);
    });
  }

  /** A fresh key is not sent again, so that its hash is not compared: making it is spared. */
  protected hashOf({ fresh, body }: NewRequest): string {
    return fresh ? "" : body.hash();
  }

  async answer(key: string, waitMs: number): Promise<Answer | typeof askAgain | undefined> {
    const run = this.#shard.find(key);
    if (run !== undefined) {
      const answer = this.#answerOf(run);
      if (answer !== undefined || waitMs <= 0) return answer;
      return this.#wait(key, waitMs).answer;
    }
    // The wait begins before the store is asked, or an answer that is given meanwhile would be missed.
    const { answer, end } = this.#wait(key, waitMs);
    answer.catch(() => {});
    try {
      const given = await givenAnswer(this.lookUp(key), () => this.#shard.committed.storedAnswer(key));
      return given === undefined && waitMs > 0 ? await answer : given;
    } finally {
      end();
    }
  }

  async lookUp(key: string): Promise<RequestRecord> {
    const known = await this.#shard.committed.lookUp(key);
    if (known === undefined) throw await this.missing(key);
    const answer = this.#answerOf(known);
    if (!(known instanceof Run) || known.lane === undefined) return { known, answer };
    const shard = this.#shard;
    return {
      known,
      answer,
      // To tell a place in a long queue takes time, and only a view asks for it.
      get lane() {
        return shard.lane(known);
      },
    };
  }

  async history(key: string, range: HistoryRange): Promise<readonly HistoryEvent[]> {
    const { createdAt } = (await this.lookUp(key)).known;
    const events = await this.#shard.committed.history({ key, createdAt }, range);
    // It may have outlived its retention while the store was asked.
    if (events.length === 0 && range.after === 0) throw notFound(key);
    return events;
  }

  async historyEnd(key: string, end: HistoryEnd): Promise<HistoryPart> {
    const { createdAt } = (await this.lookUp(key)).known;
    const part = await this.#shard.committed.historyEnd({ key, createdAt }, end);
    // It may have outlived its retention while the store was asked.
    if (part.events.length === 0) throw notFound(key);
    return part;
  }

  async follow(key: string): Promise<RunFeed> {
    const { committed, watchers } = this.#shard;
    const bell = new Doorbell();
    let last: Ending | undefined = undefined as Ending | undefined;
    const forget = watchers.add(key, (ending) => {
      last = ending;
      bell.ring();
    });
    try {
      await this.lookUp(key);
      const run = await committed.copy(key);
      return {
        run: run === undefined || Number.isNaN(run.events.count) ? undefined : run,
        isOver: false,
        after: (count) => {
          // Nothing wakes those who watch any more. Another process may have the shard soon.
          if (this.#shard.status === "stopped") throw stopping();
          return committed.eventsAfter(key, count) ?? eventsOf(last, count);
        },
        more: () => bell.rung(),
        end: () => {
          forget();
          bell.ring();
        },
      };
    } catch (error) {
      forget();
      throw error;
    }
  }

  async list(list: RequestList): Promise<readonly RequestRow[]> {
    return listOverlaid(this.#store, list, this.#clock, this.#overlay());
  }

  async facets(filter: StoreFilter): Promise<readonly FacetCount[]> {
    return countOverlaid(this.#store, filter, this.#clock, this.#overlay());
  }

  #overlay(): Overlay {
    if (this.#shard.status === "store-lost") throw unavailable();
    return {
      moved: () => this.#shard.movedRuns(),
      isCurrent: (row) => this.#shard.isListed(row),
      find: (key) => this.#shard.find(key),
      version: () => this.#shard.committedSeq,
    };
  }

  lanes(filter: LaneFilter): Promise<LongestLanes> {
    if (this.#shard.status === "store-lost") throw unavailable();
    return longestLanes(this.#shard.lanes(), filter, this.#clock);
  }

  async summary(): Promise<Omit<ShardSummary, "shard" | "lag">> {
    return { ...(await summaryOf(this.#store)), isHere: true };
  }

  async audit(before: AuditPlace, limit: number, about?: AuditAbout): Promise<readonly AuditBatch[]> {
    if (this.#shard.status === "store-lost") throw unavailable();
    return this.#store.audit(before, limit, about);
  }

  now(): number {
    return this.#shard.now();
  }

  deliver(key: string, input: Input): Promise<Ignored | undefined> {
    return this.command(key, input);
  }

  async command(key: string, input: Input): Promise<Ignored | undefined> {
    const ignored = await this.#shard.command(key, input);
    if (ignored === "unknown") throw await this.missing(key);
    return ignored;
  }

  /** An answer that is committed. */
  #answerOf(known: Run | StoredAnswer): Answer | undefined {
    return known instanceof Run && !this.#shard.isCommitted(known.key) ? undefined : known.answer;
  }

  #wait(
    key: string,
    waitMs: number,
  ): { readonly answer: Promise<Answer | undefined>; readonly end: () => void } {
    let end = (): void => {};
    const answer = new Promise<Answer | undefined>((resolve, reject) => {
      let cancelTimer = (): void => {};
      const forget = this.#shard.wait(key, {
        resolve: (given) => {
          cancelTimer();
          resolve(given);
        },
        refuse: (error) => {
          cancelTimer();
          reject(error);
        },
      });
      end = () => {
        cancelTimer();
        forget();
      };
      if (waitMs === Number.POSITIVE_INFINITY) return;
      cancelTimer = this.#clock.after(timerMs(waitMs), () => {
        forget();
        resolve(undefined);
      });
    });
    return { answer, end };
  }

  /** While the store is lost, or another owner's, nobody is told that a request that was accepted does not exist. */
  protected async missing(key: string): Promise<WheelworkError> {
    if (this.#shard.status === "store-lost" || !(await this.#shard.isOwned())) return unavailable();
    return notFound(key);
  }
}

/** The events of an end after so many; undefined: not all of them are kept. */
function eventsOf(ending: Ending | undefined, count: number): readonly RunEvent[] | undefined {
  if (ending === undefined) return undefined;
  const first = ending.count - ending.events.length;
  return count >= first ? ending.events.slice(count - first) : undefined;
}
