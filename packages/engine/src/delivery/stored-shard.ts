import { WheelworkError, type Answer, type HistoryEvent } from "@wheelwork/core";
import type { Ignored } from "@wheelwork/core/kernel";
import type { FacetCount, StoreFilter, RequestList } from "../ports/filter.ts";
import type { AuditAbout, AuditBatch, AuditPlace, Clock, RequestRow, Store } from "../ports/ports.ts";
import type { HistoryEnd, HistoryPart, HistoryRange } from "../ports/history.ts";
import {
  givenAnswer,
  type askAgain,
  type RequestRecord,
  type RunFeed,
  type ShardAccess,
} from "../requests/access.ts";
import type { ShardSummary } from "../requests/api.ts";
import { notFound } from "../requests/commands.ts";
import type { JournalTail } from "../requests/journal-tail.ts";
import type { LaneFilter, LongestLanes } from "../requests/lane-list.ts";
import { RemoteShardReader } from "./remote-shard-reader.ts";

/** A shard that nobody works on: its store is read, and takes nothing. */
export class StoredShard implements ShardAccess {
  protected readonly reader: RemoteShardReader;
  protected readonly clock: Clock;

  constructor(store: Store, clock: Clock) {
    this.reader = new RemoteShardReader(store, clock);
    this.clock = clock;
  }

  async answer(key: string, _waitMs: number): Promise<Answer | typeof askAgain | undefined> {
    return givenAnswer(this.lookUp(key), () => this.reader.storedAnswer(key));
  }

  async lookUp(key: string): Promise<RequestRecord> {
    const known = await this.reader.lookUp(key);
    if (known === undefined) throw this.missing(key);
    // The store has nothing that is not committed.
    return { known, answer: known.answer };
  }

  async history(key: string, range: HistoryRange): Promise<readonly HistoryEvent[]> {
    const events = await this.reader.history(key, range);
    if (events.length === 0 && range.after === 0) throw this.missing(key);
    return events;
  }

  async historyEnd(key: string, end: HistoryEnd): Promise<HistoryPart> {
    const part = await this.reader.historyEnd(key, end);
    if (part.events.length === 0) throw this.missing(key);
    return part;
  }

  /** What somebody is told who asks for a request that is not there. */
  protected missing(key: string): WheelworkError {
    return notFound(key);
  }

  list(list: RequestList): Promise<readonly RequestRow[]> {
    return this.reader.list(list);
  }

  facets(filter: StoreFilter): Promise<readonly FacetCount[]> {
    return this.reader.facets(filter);
  }

  audit(before: AuditPlace, limit: number, about?: AuditAbout): Promise<readonly AuditBatch[]> {
    return this.reader.audit(before, limit, about);
  }

  lanes(filter: LaneFilter): Promise<LongestLanes> {
    return this.reader.lanes(filter);
  }

  summary(): Promise<Omit<ShardSummary, "shard" | "lag">> {
    return this.reader.summary();
  }

  now(): number {
    return this.clock.wallMs();
  }

  submit(..._given: Parameters<ShardAccess["submit"]>): Promise<boolean> {
    return Promise.reject(onlyRead());
  }

  get tail(): JournalTail {
    throw onlyRead();
  }

  follow(_key: string): Promise<RunFeed> {
    return Promise.reject(onlyRead());
  }

  command(..._given: Parameters<ShardAccess["command"]>): Promise<Ignored | undefined> {
    return Promise.reject(onlyRead());
  }

  deliver(..._given: Parameters<ShardAccess["deliver"]>): Promise<Ignored | undefined> {
    return Promise.reject(onlyRead());
  }

  close(): Promise<void> {
    return this.reader.close();
  }
}

const onlyRead = (): WheelworkError =>
  new WheelworkError("WW_NOT_SUPPORTED", "the store is only read: no engine works on it", {
    next: "Start the engine, and ask that.",
  });
