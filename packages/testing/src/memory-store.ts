import { WheelworkError, type ArchivedEvents, type HistoryEvent, type RunEvent } from "@wheelwork/core";
import { rootOf } from "@wheelwork/core/kernel";
import type {
  AuditAbout,
  AuditBatch,
  AuditPlace,
  Batch,
  BegunRuns,
  Claim,
  Commit,
  Downtime,
  DueRuns,
  Facet,
  FacetCount,
  Found,
  Harm,
  LaneRun,
  LogProgress,
  StoreFilter,
  PinnedStore,
  RequestList,
  RequestRow,
  ShardState,
  Store,
  StoredAnswer,
  StoredRun,
} from "@wheelwork/engine";
import { compareInList, facetOf, FacetSums, isAbout, isListedAfter, isMeant } from "@wheelwork/engine/stores";

/**
 * What is durable. It holds only strings and numbers, so it shares no object with the memory of a dead engine (I19).
 */
interface Disk {
  owner: string;
  epoch: number;
  engineTime: number;
  checkpoint: number;
  lastSeq: number;
  logProgress: LogProgress | undefined;
  downtimes: string | undefined;
  harms: string | undefined;
  /** The last epoch whose owner has stopped in order. */
  stopped: number;
  readonly journal: Map<number, string>;
  readonly runs: Map<string, string>;
  /**
   * In the order in which the requests were answered. `checkpoint` is the last one before the answer: the journal after
   * it holds the rest of the history, so it is kept as long as the answer.
   */
  readonly answers: Map<string, { readonly text: string; readonly checkpoint: number }>;
  readonly histories: Map<string, readonly HistoryPart[]>;
  readonly archived: Map<string, ArchivedEvents>;
  /** Batches with commands that somebody gave, the oldest first. */
  audit: readonly string[];
}

/** What lists and counts are made of. */
type Rows = Pick<Disk, "runs" | "answers">;

/** What the journal has of a batch. */
type JournalRecord = Pick<Batch, "at" | "entries">;

/** A part of a history. Numbers rise. */
interface HistoryPart {
  readonly number: number;
  readonly text: string;
}

/**
 * A store in memory, for tests. Like a real store, it holds JSON: what you read is never the object that was written.
 */
export class MemoryStore implements Store {
  readonly #disk: Disk;
  /** The epoch of the last claim through this object: others may have claimed since. */
  #epoch = 0;
  #closed = false;

  /** @param like A store whose durable content this one shares. Default: it is empty. */
  constructor(like?: MemoryStore) {
    this.#disk = like === undefined ? newDisk() : like.#disk;
  }

  /** Opens the same durable content as another process. Once that one claims it, the present owner is fenced (I21). */
  reopen(): MemoryStore {
    return new MemoryStore(this);
  }

  /** How many batches the journal holds. */
  get journalLength(): number {
    return this.#disk.journal.size;
  }

  /** Forgets how far the log was read, as an operator does after a topic was cut or recreated. */
  forgetLog(): void {
    const { logProgress } = this.#disk;
    this.#disk.logProgress = logProgress === undefined ? undefined : { ...logProgress, log: "", position: 0 };
  }

  claim(owner: string, again = false): Claim {
    this.#check();
    const disk = this.#disk;
    if (again && disk.owner !== owner) throw fenced();
    disk.owner = owner;
    disk.epoch++;
    this.#epoch = disk.epoch;
    const { epoch, engineTime, lastSeq: seq, logProgress, downtimes, harms, stopped } = disk;
    return {
      epoch,
      engineTime,
      seq,
      ...(stopped === epoch - 1 ? { afterStop: true as const } : {}),
      ...(downtimes === undefined ? {} : { downtimes: JSON.parse(downtimes) as Downtime[] }),
      ...(harms === undefined ? {} : { harms: JSON.parse(harms) as Harm[] }),
      ...(logProgress === undefined ? {} : { logProgress }),
    };
  }

  peek(): ShardState {
    this.#check();
    const { owner, epoch, engineTime, lastSeq: seq, checkpoint, harms, logProgress } = this.#disk;
    return {
      owner,
      epoch,
      engineTime,
      seq,
      checkpoint,
      ...(harms === undefined ? {} : { harms: JSON.parse(harms) as Harm[] }),
      ...(logProgress === undefined ? {} : { logProgress }),
    };
  }

  *journal(after = this.#disk.checkpoint): Iterable<Batch> {
    for (const [seq, text] of this.#disk.journal) {
      if (seq > after) yield { seq, bytes: text.length, ...(JSON.parse(text) as JournalRecord) };
    }
  }

  hubVersions(ended: ReadonlySet<string>): { hub: string; version: number }[] {
    const found = new Map<string, { hub: string; version: number }>();
    for (const { key, hub, version } of this.#runs())
      if (!ended.has(key)) found.set(`${hub} ${version}`, { hub, version });
    return [...found.values()];
  }

  hotRuns(): StoredRun[] {
    return this.#runs().filter(({ hot }) => hot);
  }

  laneRuns(): LaneRun[] {
    return this.#runs().flatMap(({ key, hub, status, lane }) =>
      lane === undefined ? [] : [{ key, hub, status, lane }],
    );
  }

  dueRuns(after: { due: number; key: string }, before: number, limit: number): DueRuns {
    const due = (run: StoredRun): number => run.due ?? Number.POSITIVE_INFINITY;
    const cold = this.#runs()
      .filter((run) => !run.hot && run.due !== undefined)
      .toSorted((a, b) => due(a) - due(b) || (a.key < b.key ? -1 : 1));
    const runs = cold
      .filter((run) => due(run) < before)
      .filter((run) => due(run) > after.due || (due(run) === after.due && run.key > after.key))
      .slice(0, limit);
    if (runs.length === limit) return { runs, next: undefined };
    return { runs, next: cold.find((run) => due(run) >= before)?.due };
  }

  find(keys: readonly string[]): Found[] {
    this.#check();
    const { runs, answers } = this.#disk;
    return keys.map((key) => {
      const run = runs.get(key);
      return {
        run: run === undefined ? undefined : (JSON.parse(run) as StoredRun),
        answer: this.#answer(answers.get(key)?.text),
      };
    });
  }

  #answer(text: string | undefined): StoredAnswer | undefined {
    return text === undefined ? undefined : (JSON.parse(text) as StoredAnswer);
  }

  *history(key: string): Iterable<readonly HistoryEvent[]> {
    this.#check();
    const { archived, histories, journal } = this.#disk;
    for (let [after, gone] = [-1, 0]; ;) {
      const before = archived.get(key);
      if (before !== undefined && before.events > gone) {
        gone = before.events;
        yield [before];
        continue;
      }
      const part = histories.get(key)?.find(({ number }) => number > after);
      if (part === undefined) break;
      yield JSON.parse(part.text) as RunEvent[];
      after = part.number;
    }
    const answer = this.#answer(this.#disk.answers.get(key)?.text);
    if (answer?.endedAt === undefined) return;
    for (const [seq, text] of journal) {
      if (seq < answer.firstSeq || seq > answer.lastSeq) continue;
      for (const entry of (JSON.parse(text) as JournalRecord).entries)
        if (entry.key === key) yield entry.events;
    }
  }

  list(list: RequestList): RequestRow[] {
    this.#check();
    return listed(this.#disk, list);
  }

  facets(filter: StoreFilter): FacetCount[] {
    this.#check();
    return counted(this.#disk, filter);
  }

  /**
   * What it has now, for lists and counts. It is not called `pin`: most tests want a store that pins nothing, as a server does, so that what is
   * committed meanwhile must be taken into account.
   */
  moment(): PinnedStore {
    this.#check();
    // Its values are texts, so nothing in it changes.
    const moment = { runs: new Map(this.#disk.runs), answers: new Map(this.#disk.answers) };
    return {
      list: (list) => listed(moment, list),
      facets: (filter) => counted(moment, filter),
      end: () => {
        moment.runs.clear();
        moment.answers.clear();
      },
    };
  }

  audit({ at, seq }: AuditPlace, limit: number, about: AuditAbout = {}): AuditBatch[] {
    this.#check();
    return this.#disk.audit
      .map((text) => JSON.parse(text) as AuditBatch)
      .filter((batch) => batch.at < at || (batch.at === at && batch.seq < seq))
      .filter(({ entries }) => entries.some((entry) => isAbout(entry, about)))
      .slice(-limit)
      .toReversed();
  }

  purgeAudit(before: number, limit: number): boolean {
    this.#check();
    const disk = this.#disk;
    if (this.#epoch !== disk.epoch) return false;
    const old = disk.audit.filter((text) => (JSON.parse(text) as AuditBatch).at < before).length;
    disk.audit = disk.audit.slice(Math.min(old, limit));
    return old >= limit;
  }

  commit(commit: Commit): void {
    this.#check();
    const disk = this.#disk;
    if (commit.epoch !== disk.epoch) throw fenced();
    if (commit.seq !== disk.lastSeq + 1)
      throw new Error(`batch ${commit.seq} does not follow batch ${disk.lastSeq}`);
    const { record, answers, runs, histories, audit } = textsOf(commit);
    // Everything is serialised. From here on nothing can fail, so the commit is written whole or not at all.
    disk.engineTime = commit.now;
    disk.lastSeq = commit.seq;
    if (commit.logProgress !== undefined) disk.logProgress = { ...commit.logProgress };
    if (commit.downtimes !== undefined) disk.downtimes = JSON.stringify(commit.downtimes);
    if (commit.harms !== undefined) disk.harms = JSON.stringify(commit.harms);
    if (commit.stops === true) disk.stopped = commit.epoch;
    if (audit !== undefined) disk.audit = [...disk.audit, audit];
    disk.journal.set(commit.seq, record);
    for (const [key, text] of answers) {
      disk.answers.set(key, { text, checkpoint: disk.answers.get(key)?.checkpoint ?? disk.checkpoint });
    }
    if (commit.checkpoint === undefined) return;
    for (const [key, text] of runs) disk.runs.set(key, text);
    for (const key of commit.checkpoint.ended) disk.runs.delete(key);
    for (const [key, text] of histories) {
      const parts = disk.histories.get(key) ?? [];
      const number = (parts.at(-1)?.number ?? -1) + 1;
      disk.histories.set(key, [...parts, { number, text }]);
    }
    disk.checkpoint = Math.max(disk.checkpoint, commit.checkpoint.covers ?? commit.seq);
  }

  takes(commit: Commit): boolean {
    this.#check();
    try {
      textsOf(commit);
      return true;
    } catch {
      return false;
    }
  }

  purge(endedBefore: number, limit: number, begun: BegunRuns): number {
    this.#check();
    const { answers, histories, journal, checkpoint, epoch } = this.#disk;
    if (this.#epoch !== epoch) return 0;
    let purged = 0;
    for (const [key, { text }] of answers) {
      if (purged === limit) break;
      const { endedAt } = JSON.parse(text) as StoredAnswer;
      if (endedAt === undefined || endedAt >= endedBefore) continue;
      if (rootOf(key) === key && this.#hasBegunRun(key, begun)) continue;
      answers.delete(key);
      histories.delete(key);
      this.#disk.archived.delete(key);
      purged++;
    }
    let oldest = checkpoint;
    for (const { text, checkpoint: before } of answers.values()) {
      if ((JSON.parse(text) as StoredAnswer).endedAt !== undefined) oldest = Math.min(oldest, before);
    }
    for (const [seq, text] of journal) {
      if (seq > oldest || (JSON.parse(text) as JournalRecord).at >= endedBefore) break;
      journal.delete(seq);
    }
    return purged;
  }

  archive(before: number, limit: number): boolean {
    this.#check();
    const { answers, archived, histories, epoch } = this.#disk;
    if (this.#epoch !== epoch) return false;
    for (let left = limit; left > 0; left--) {
      let oldest:
        { readonly key: string; readonly events: readonly RunEvent[]; readonly at: number } | undefined;
      for (const [key, [part]] of histories) {
        if (part === undefined || this.#answer(answers.get(key)?.text)?.endedAt !== undefined) continue;
        const events = JSON.parse(part.text) as RunEvent[];
        const at = events.at(-1)?.at ?? 0;
        if (at < (oldest?.at ?? before)) oldest = { key, events, at };
      }
      if (oldest === undefined) return false;
      const { key, events, at } = oldest;
      const gone = archived.get(key);
      const entered = events.findLast((event) => event.type === "entered");
      archived.set(key, {
        type: "archived",
        at,
        events: (gone?.events ?? 0) + events.length,
        state: entered?.state ?? gone?.state ?? "",
      });
      histories.set(key, (histories.get(key) ?? []).slice(1));
    }
    return true;
  }

  /** Whether a run that a request has begun lives, or is known. */
  #hasBegunRun(root: string, { living, ended }: BegunRuns): boolean {
    if (living.has(root)) return true;
    const { runs, answers } = this.#disk;
    const isOf = (key: string): boolean => key.startsWith(`${root}/`);
    return [...runs.keys()].some((key) => isOf(key) && !ended.has(key)) || [...answers.keys()].some(isOf);
  }

  close(): void {
    this.#closed = true;
  }

  #runs(): StoredRun[] {
    this.#check();
    return Array.from(this.#disk.runs.values(), (text) => JSON.parse(text) as StoredRun);
  }

  #check(): void {
    if (this.#closed) throw new Error("the store is closed");
  }
}

/** The rows of all runs and of all answers. */
const rowsOf = ({ runs, answers }: Rows): (StoredRun | StoredAnswer)[] => [
  ...Array.from(runs.values(), (text) => JSON.parse(text) as StoredRun),
  ...Array.from(answers.values(), ({ text }) => JSON.parse(text) as StoredAnswer),
];

function listed(rows: Rows, list: RequestList): RequestRow[] {
  return rowsOf(rows)
    .filter((row) => isMeant(row, list) && isListedAfter(row, list))
    .toSorted((a, b) => compareInList(a, b, list.order))
    .slice(0, list.limit)
    .map((row) => {
      const { key, version, createdAt, answeredAt } = row;
      const { hub, status, state, activity, outcome, code } = facetOf(row) as Facet;
      const { lane } = row as Partial<StoredRun>;
      const facts = { key, hub, version, status, state, activity, createdAt, answeredAt, outcome, code };
      return { ...facts, lane, labels: row.labels };
    });
}

function counted(rows: Rows, filter: StoreFilter): FacetCount[] {
  const sums = new FacetSums();
  for (const row of rowsOf(rows)) {
    const { incident } = row as Partial<StoredRun>;
    const message = filter.byMessage === true ? incident?.message : undefined;
    if (isMeant(row, filter)) sums.add(facetOf(row) as Facet, 1, message);
  }
  return sums.counts();
}

/** What is written of a commit. @throws WheelworkError WW_STORE_REFUSED when it is no JSON. */
function textsOf({ journal, answers, checkpoint, audit, now, seq }: Commit) {
  const { runs = [], histories = [] } = checkpoint ?? {};
  try {
    return {
      record: JSON.stringify({ at: now, entries: journal } satisfies JournalRecord),
      answers: answers.map((answer) => [answer.key, JSON.stringify(answer)] as const),
      runs: runs.map((run) => [run.key, JSON.stringify(run)] as const),
      histories: histories.map(({ key, events }) => [key, JSON.stringify(events)] as const),
      audit: audit === undefined ? undefined : JSON.stringify({ at: now, seq, entries: audit }),
    };
  } catch (error) {
    const message = `the store does not take what it is given: ${String(error)}`;
    throw new WheelworkError("WW_STORE_REFUSED", message, { cause: error });
  }
}

const fenced = (): WheelworkError =>
  new WheelworkError("WW_STORE_LOCKED", "another owner has taken over the store", {
    next: "Stop this engine, or the other one.",
  });

const newDisk = (): Disk => ({
  owner: "",
  epoch: 0,
  engineTime: 0,
  checkpoint: 0,
  lastSeq: 0,
  logProgress: undefined,
  downtimes: undefined,
  harms: undefined,
  stopped: -1,
  journal: new Map(),
  runs: new Map(),
  answers: new Map(),
  histories: new Map(),
  archived: new Map(),
  audit: [],
});
