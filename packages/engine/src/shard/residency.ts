import { WheelworkError, type RunEvent } from "@wheelwork/core";
import { apply, deepFreeze, restore, Run, type HubDefinition } from "@wheelwork/core/kernel";
import { BusyTurns } from "../ports/clock.ts";
import { damageOf, hasEnded, isDamaged } from "../ports/damage.ts";
import { goingOn } from "../ports/found.ts";
import { Harms } from "../ports/harms.ts";
import { rootOf } from "../ports/keys.ts";
import type {
  Clock,
  Batch as JournalBatch,
  BegunRuns,
  Checkpoint,
  DamagedBatch,
  DamagedRun,
  DueRuns,
  Found,
  MaybePromise,
  RequestRow,
  RunEvents,
  Store,
  StoredRun,
} from "../ports/ports.ts";
import type { Batch, LiveRun } from "./batch.ts";
import type { Deadlines } from "./deadlines.ts";
import type { EngineTime } from "./engine-time.ts";
import { eventBytes, valuesOf, weightOfRun } from "./memory.ts";
import type { Lane, Lanes } from "./lanes.ts";
import { listedAs, listedRow, type ListedAs } from "./listed.ts";
import { isBeginning, isHot, storedRun } from "./records.ts";
import { TurnoverMap } from "./turnover-map.ts";

/** Runs that come into memory before a checkpoint lets those go that wait for long. */
const maxNewRuns = 10_000;
/** Runs that one scan for due runs brings into memory. */
const maxDueRuns = 1000;

/**
 * Runs that one batch looks at for a checkpoint, and about how many bytes it writes for each that it may write: the loop stands still
 * meanwhile.
 */
const [maxLookedAt, maxSweptBytes] = [20_000, 4 * 1024];
/** A batch writes 1.25 times as many rows of a checkpoint as it has changed runs, so that the checkpoint comes to its end. */
const sweepFactor = 1.25;
/**
 * While a checkpoint is written, a batch decides 0.4 inputs for each run that it may write, and as many carried items: 16 of each at
 * least.
 */
const [decidedFactor, minDecided] = [0.4, 16];
/** A run whose events weigh a quarter of its row is written before its turn: it would have more than one batch may write. */
const longFactor = 0.25;

/**
 * A checkpoint is noted when three quarters of the events before it have come, and covers the journal up to there. The runs that have begun
 * since are not written: most end soon, and would have been written for nothing.
 */
const notedFactor = 0.75;

/** Rows of runs that are looked up at once. */
const maxFound = 500;

/** Events of a history that one row holds. */
const maxPartEvents = 1000;

export interface ResidencyLimits {
  /** Runs in memory. */
  readonly liveRuns: number;
  /** Events between two checkpoints. */
  readonly checkpointEvents: number;
  /** Runs that one batch writes at most of a checkpoint. */
  readonly checkpointRuns: number;
  /** Runs that are due later than this leave the memory, in milliseconds. */
  readonly horizonMs: number;
}

/**
 * Which runs of a shard are in memory, for one claim. What is here is newer than the rows of the store:
 *
 * ```
 *            begin, restore, replay                  checkpoint: row written
 *   (none) ------------------------> live, dirty ----------------------------> live, clean
 *      ^                                  ^                                        |
 *      |                                  | restore (due soon, or asked for)       | evict, unless hot or due soon
 *      |                                  +---------------------- row only <-------+
 *      |                ended: leaves with its commit; its row, if it has one, goes with the next checkpoint
 *      +------------------------------------------------------------------------------------------------------
 * ```
 *
 * **A checkpoint is a sweep.** To write all runs that have changed at once would hold up the loop for seconds, so each batch writes
 * some of them, until all that were in memory at the beginning are looked at. Meanwhile runs move on. So each row says which batch it
 * knows, and a replay leaves out for each run what its row has. A sweep covers the journal up to a batch that was noted some time
 * before it began: when it is over, every event up to there is in some row, and the journal is needed only from there on. So it does
 * not write the many runs that have begun since, and will have ended soon.
 *
 * A run stays while it is hot (`isHot`), such as while it has open calls, or another run calls it. So a call always finds its caller and
 * its callee in memory.
 * Others come back when they are due: `scan` loads them some time ahead, and `scanAt` says when to look next.
 */
export class Residency {
  readonly #store: Store;
  readonly #deadlines: Deadlines;
  readonly #time: EngineTime;
  readonly #limits: ResidencyLimits;
  readonly #live = new TurnoverMap<LiveRun>();
  /** Who holds the places of lanes, and who waits for them, in memory or not. */
  readonly lanes: Lanes;
  /** Runs that are soon to be granted a place. They are read with the next batch. */
  readonly #wanted = new Set<string>();
  /** Ended runs whose row the next checkpoint deletes, and what that says. */
  readonly #endedStored = new Map<string, ListedAs | undefined>();
  /** Runs that were to come into memory, and cannot be read. They stay in the store as they are, and nobody works on them. */
  readonly #damaged = new Map<string, DamagedRun>();
  readonly #harms: Harms;
  /** About how many bytes the runs in memory take. */
  #weight = 0;
  #eventsSinceCheckpoint = 0;
  /** What the next checkpoint covers, and how many of the events since the last one that is. */
  #noted: { readonly from: number; readonly events: number } | undefined = undefined;
  #sweep: Sweep | undefined = undefined;
  /** What the last part of a sweep writes: it is being committed. */
  #sweeping: { readonly runs: readonly LiveRun[]; readonly ended: readonly string[] } = {
    runs: [],
    ended: [],
  };
  /** How many checkpoints were committed: they write rows, and let runs leave the memory. */
  #checkpoints = 0;
  #deletions = 0;
  /** Runs that the last checkpoint left in memory. */
  #kept = 0;
  /** Stored runs that are due before this point are in memory. */
  #loadedTo = { due: 0, key: "" };
  #scanAt = Number.POSITIVE_INFINITY;

  constructor(
    store: Store,
    deadlines: Deadlines,
    time: EngineTime,
    limits: ResidencyLimits,
    lanes: Lanes,
    harms = new Harms(),
  ) {
    this.lanes = lanes;
    this.#harms = harms;
    this.#store = store;
    this.#deadlines = deadlines;
    this.#time = time;
    this.#limits = limits;
  }

  get size(): number {
    return this.#live.size;
  }

  /** About how many bytes the runs in memory take. What a batch has changed counts once it is committed. */
  get weight(): number {
    return this.#weight;
  }

  /** How often rows of runs that have ended were deleted. */
  get deletions(): number {
    return this.#deletions;
  }

  /** When to look in the store for runs that are due. */
  get scanAt(): number {
    return this.#scanAt;
  }

  get(key: string): LiveRun | undefined {
    return this.#live.get(key);
  }

  values(): Iterable<LiveRun> {
    return this.#live.values();
  }

  *runs(): Iterable<Run> {
    for (const { run } of this.#live.values()) yield run;
  }

  /** Whether the run has ended and its row is still there. */
  hasEndedRow(key: string): boolean {
    return this.#endedStored.has(key);
  }

  /** Whether a stored row of a list is as its run is now. */
  isListed({ key, status }: RequestRow): boolean {
    if (status === "ended" || status === "lost") return true;
    return this.#live.get(key)?.dirty !== true && !this.#endedStored.has(key);
  }

  /** Runs in memory, without those that only uncommitted batches know: they may never be. */
  *committedRuns(): Iterable<Run> {
    for (const live of this.#live.values()) if (isKnown(live)) yield live.run;
  }

  /** The runs that have moved on since their row was written, and what it says. undefined: this one has not. */
  *moved(): Iterable<{ readonly run: Run | undefined; readonly row: ListedAs | undefined } | undefined> {
    for (const live of this.#live.values())
      yield live.dirty && isKnown(live) ? { run: live.run, row: live.listed } : undefined;
    for (const row of this.#endedStored.values()) yield { run: undefined, row };
  }

  /** What a purge must know of the runs that requests have begun. All runs in memory count, also those that end with a batch under way. */
  async begunRuns(clock: Clock): Promise<BegunRuns> {
    const turns = new BusyTurns(clock);
    const living = new Set<string>();
    // Others begin and end meanwhile. One that has a caller when this begins is seen, or what that has begun since, which comes later.
    for (const key of this.#live.keys()) {
      const root = rootOf(key);
      if (root !== key) living.add(root);
      if (turns.tookOne()) await turns.next();
    }
    // A copy: the store may use it when a checkpoint has deleted those rows, and written others.
    return { living, ended: new Set(this.#endedStored.keys()) };
  }

  // ---- coming in ----

  /** A new run. A key that is free again may have a row of its former run, which no longer counts. */
  begin(key: string): LiveRun {
    const listed = this.#endedStored.get(key);
    const live = newLive(new Run(key), this.#endedStored.delete(key), 0);
    live.listed = listed;
    this.#live.set(key, live);
    return live;
  }

  /** The run in memory, or brought there from what was found; undefined if it has ended or never was. */
  fetch(key: string, found: ReadonlyMap<string, Found>): LiveRun | undefined {
    const live = this.#live.get(key);
    if (live !== undefined || this.#endedStored.has(key)) return live;
    const known = found.get(key);
    if (known?.damagedRun !== undefined) this.#noteDamaged(known.damagedRun, known);
    const stored = known && goingOn(known);
    if (stored === undefined) return undefined;
    const restored = this.#restore(stored);
    // Its callback was not in memory either.
    this.#deadlines.registerRun(restored.run);
    return restored;
  }

  /** Why a run that should be in memory is not there; undefined: it is, or has ended, or never was. */
  damageOf(key: string): WheelworkError | undefined {
    const damage = this.#damaged.get(key)?.damage;
    if (damage !== undefined || this.#live.has(key) || this.#endedStored.has(key)) return damage;
    return this.#harms.ofMissing(key);
  }

  /** Why what is known of a request cannot be given; undefined: it can be, or there is nothing. */
  damageUnder(key: string, found: ReadonlyMap<string, Found>): WheelworkError | undefined {
    if (this.#live.has(key)) return undefined;
    const stored = found.get(key);
    // Its row goes with the next checkpoint, and what is there of the run no longer counts.
    if (this.#endedStored.has(key)) return stored?.damagedAnswer?.damage;
    return stored === undefined ? this.damageOf(key) : damageOf(stored);
  }

  #restore(stored: StoredRun): LiveRun {
    const live = newLive(restore(stored.key, stored.snapshot), true, stored.seq ?? 0);
    live.listed = listedAs(stored);
    this.#live.set(stored.key, live);
    live.values = valuesOf(live.run);
    this.#weigh(live);
    const { lane, status } = live.run;
    const open = lane === undefined || status === "pending" ? undefined : this.lanes.get(lane);
    if (open !== undefined) this.prepare(open);
    return live;
  }

  #weigh(live: LiveRun): void {
    const weight = weightOfRun(live.run, live.values, live.history.length);
    this.#weight += weight - live.weight;
    live.weight = weight;
  }

  /** A run leaves the memory. */
  #remove(live: LiveRun): void {
    this.#live.delete(live.run.key);
    this.#weight -= live.weight;
    live.weight = 0;
  }

  /**
   * Reads back all that must be in memory: runs that are hot, and what the journal says since the last checkpoint.
   * @throws WheelworkError WW_STORE_CORRUPT when a batch of the journal is damaged, and nobody knows which runs it was about.
   */
  async load(turns: BusyTurns): Promise<void> {
    for await (const stored of this.#store.hotRuns()) {
      if (isDamaged(stored)) this.#damaged.set(stored.key, stored);
      else this.#restore(stored);
      if (turns.tookOne()) await turns.next();
    }
    for await (const batch of this.#store.journal()) {
      if (isDamaged(batch)) await this.#harm(batch);
      else await this.#replay(batch);
      if (turns.tookOne()) await turns.next();
    }
    await this.#leaveEnded();
    for (const [key, live] of this.#live) {
      if (turns.tookOne()) await turns.next();
      if (live.run.status !== "ended") {
        live.values = valuesOf(live.run);
        this.#weigh(live);
        // A sweep has written it after the batches that were replayed.
        if (!live.dirty) this.#evict(live);
        continue;
      }
      this.#remove(live);
      if (live.stored) this.#endedStored.set(key, live.listed);
    }
    await this.#loadLanes(turns);
  }

  async #loadLanes(turns: BusyTurns): Promise<void> {
    const { lanes } = this;
    for await (const stored of this.#store.laneRuns()) {
      // One that waits begins when its time is over, if it can be read.
      if (isDamaged(stored)) continue;
      if (!this.#live.has(stored.key) && !this.#endedStored.has(stored.key)) lanes.add(stored);
      if (turns.tookOne()) await turns.next();
    }
    for (const { run } of this.#live.values()) {
      const { key, hub, status, lane } = run;
      if (lane !== undefined) lanes.add({ key, hub, status, lane });
      if (turns.tookOne()) await turns.next();
    }
    for (const lane of lanes.values()) {
      this.prepare(lane);
      if (turns.tookOne()) await turns.next();
    }
  }

  // ---- lanes ----

  /** An event was applied to a run that has a lane. */
  laneChanged(run: Run, event: RunEvent): void {
    if (!this.lanes.applied(run, event)) return;
    const lane = run.lane === undefined ? undefined : this.lanes.get(run.lane);
    if (lane !== undefined) this.prepare(lane);
  }

  /**
   * While a run is in memory that holds a place, the one that is next must be there, too: the end of the one and the grant of the
   * other are one commit.
   */
  prepare(lane: Lane): void {
    const next = lane.next();
    if (next !== undefined && !this.#live.has(next.key) && this.#holds(lane)) this.#wanted.add(next.key);
  }

  #holds(lane: Lane): boolean {
    for (const holder of lane.holders) if (this.#live.has(holder)) return true;
    return false;
  }

  /** A run must be in memory soon. */
  want(key: string): void {
    this.#wanted.add(key);
  }

  /** The runs that are to be read with the next batch. */
  get wanted(): ReadonlySet<string> {
    return this.#wanted;
  }

  /** Takes those of them that were read. */
  bring(found: ReadonlyMap<string, Found>): void {
    for (const key of this.#wanted)
      if (this.fetch(key, found) !== undefined || found.has(key)) this.#wanted.delete(key);
  }

  async #replay({ seq, entries }: JournalBatch): Promise<void> {
    // A sweep may have written also those that have begun since the last checkpoint.
    const stored = entries.filter(({ key }) => !this.#live.has(key)).map(({ key }) => key);
    if (stored.length > 0) {
      for (const { run, damagedRun } of await this.#store.find(stored)) {
        if (run !== undefined) this.#restore(run);
        if (damagedRun !== undefined) this.#damaged.set(damagedRun.key, damagedRun);
      }
    }
    for (const entry of entries) this.#replayRun(entry, seq);
  }

  /** A batch cannot be read: the runs that it was about leave, unless their rows are newer. */
  async #harm({ seq, damage }: DamagedBatch): Promise<void> {
    if (!this.#harms.has(seq)) throw unknownRuns(seq, damage);
    const harmed = [...this.#live.values()].filter(
      ({ run, rowSeq }) => rowSeq < seq && this.#harms.of(run.key, rowSeq) !== undefined,
    );
    for (const live of harmed) this.#remove(live);
    for (let from = 0; from < harmed.length; from += maxFound) {
      const keys = harmed.slice(from, from + maxFound).map(({ run }) => run.key);
      for (const { damagedRun } of await this.#store.find(keys))
        if (damagedRun !== undefined) this.#damaged.set(damagedRun.key, damagedRun);
    }
  }

  /** Runs whose rows are damaged may have ended since: then their answers say all. */
  async #leaveEnded(): Promise<void> {
    const keys = [...this.#damaged.keys()];
    for (let from = 0; from < keys.length; from += maxFound)
      for (const found of await this.#store.find(keys.slice(from, from + maxFound)))
        if (found.damagedRun !== undefined) this.#noteDamaged(found.damagedRun, found);
  }

  #noteDamaged(run: DamagedRun, found: Found | undefined): void {
    if (found !== undefined && hasEnded(run, found)) this.#leaveDamaged(run);
    else this.#damaged.set(run.key, run);
  }

  #replayRun({ key, events }: RunEvents, seq: number): void {
    let live = this.#live.get(key);
    const [first] = events;
    const begins = isBeginning(first);
    const damaged = live === undefined ? this.#damaged.get(key) : undefined;
    // What the row has of its run cannot be known, so that nothing can be added to it.
    if (damaged !== undefined && !(begins && first.at > damaged.createdAt)) {
      if (events.some(({ type }) => type === "ended")) this.#leaveDamaged(damaged);
      return;
    }
    // A sweep has written the run after this batch, or has deleted its row since it has ended.
    if (live === undefined ? !begins : seq <= live.rowSeq) return;
    // A key that is free again begins another run.
    if (live === undefined || begins) {
      if (live !== undefined) this.#remove(live);
      const former = live;
      this.#live.set(key, (live = newLive(new Run(key), former?.stored ?? damaged !== undefined, 0)));
      live.listed = former?.listed ?? (damaged && listedAs(damaged));
      this.#damaged.delete(key);
    }
    if (live.history.length === 0) live.firstSeq = seq;
    for (const event of events) {
      // What handlers get is frozen, also when it comes from the journal.
      apply(live.run, deepFreeze(event));
      live.history.push(event);
    }
    live.dirty = true;
    this.#eventsSinceCheckpoint += events.length;
  }

  /** It has ended: its row goes with the next checkpoint. */
  #leaveDamaged(run: DamagedRun): void {
    this.#damaged.delete(run.key);
    this.#endedStored.set(run.key, listedAs(run));
  }

  /** Knows every hub version that is stored, or the shard does not begin (I20). */
  async checkVersions(hubs: ReadonlyMap<string, HubDefinition>, turns: BusyTurns): Promise<void> {
    const problems = new Set<string>();
    const known = (hub: string, version: number): void => {
      const definition = hubs.get(hub);
      if (definition === undefined)
        problems.add(`runs of the hub ${hub} are stored, and this engine has no such hub`);
      else if (definition.version < version) {
        problems.add(
          `runs of ${hub} version ${version} are stored; this engine has version ${definition.version}`,
        );
      }
    };
    for (const { hub, version } of await this.#store.hubVersions(new Set(this.#endedStored.keys())))
      known(hub, version);
    for (const { run } of this.#live.values()) {
      known(run.hub, run.version);
      if (turns.tookOne()) await turns.next();
    }
    if (problems.size === 0) return;
    throw new WheelworkError("WW_HUB_UNKNOWN", "the store holds runs that this engine cannot continue", {
      problems: [...problems].map((message) => ({ path: "", message })),
      next: "Start the engine with these hubs, in these versions or later ones, or let the old engine finish its runs.",
    });
  }

  /** Brings the stored runs that are due soon into memory, some at a time. */
  scan(): MaybePromise<void> {
    const to = this.#time.now() + this.#limits.horizonMs;
    const due = this.#store.dueRuns(this.#loadedTo, to, maxDueRuns);
    if (!(due instanceof Promise)) return this.#scanned(due, to);
    const checkpoints = this.#checkpoints;
    return due.then((given) => {
      // Rows from before a checkpoint are too old: their runs may have moved on or ended since, and others may have left
      // the memory. They are read again.
      if (this.#checkpoints === checkpoints) this.#scanned(given, to);
    });
  }

  #scanned({ runs, next }: DueRuns, to: number): void {
    for (const stored of runs) {
      if (this.#live.has(stored.key) || this.#endedStored.has(stored.key)) continue;
      if (isDamaged(stored)) {
        this.#damaged.set(stored.key, stored);
        continue;
      }
      this.#deadlines.registerRun(this.#restore(stored).run);
    }
    const last = runs.length < maxDueRuns ? undefined : runs.at(-1);
    this.#loadedTo = last === undefined ? { due: to, key: "" } : { due: last.due ?? to, key: last.key };
    this.#scanAt = last === undefined ? Number.POSITIVE_INFINITY : 0;
    if (next !== undefined) this.#scanBefore(next);
  }

  #scanBefore(due: number): void {
    this.#scanAt = Math.min(this.#scanAt, due - Math.floor(this.#limits.horizonMs / 2));
  }

  // ---- going out ----

  /** Counts the events of a batch that is sealed; its part of a checkpoint, if it is time for one, or one is under way. */
  checkpointAfter({ events, touched }: Batch, seq: number): Checkpoint | undefined {
    this.#eventsSinceCheckpoint += events;
    // Runs leave the memory at checkpoints only, so one comes when many have come, and before the memory is full.
    const hasRoom = this.#live.size < Math.max(maxNewRuns, 2 * this.#kept);
    const { checkpointEvents, liveRuns } = this.#limits;
    const limit = Math.min(checkpointEvents, liveRuns);
    const isDue = !hasRoom || this.#eventsSinceCheckpoint >= limit;
    if (this.#eventsSinceCheckpoint >= notedFactor * limit)
      this.#noted ??= { from: seq, events: this.#eventsSinceCheckpoint };
    // It lets go of all runs that it can.
    if (!hasRoom) this.#noted = undefined;
    const most = this.#limits.checkpointRuns;
    if (this.#sweep !== undefined) return this.#sweepOn(seq, Math.max(most, sweepFactor * touched.length));
    // The batch that makes it due may have changed many.
    return isDue ? this.#sweepOn(seq, most) : this.#writeLong(touched, seq);
  }

  /** A part that no checkpoint has, of runs with many events: they write a little often, and not all of it at once. */
  #writeLong(touched: readonly LiveRun[], seq: number): Checkpoint | undefined {
    let runs: LiveRun[] | undefined;
    let bytes = 0;
    for (const live of touched) {
      if (!isLong(live) || bytes >= this.#limits.checkpointRuns * maxSweptBytes) continue;
      (runs ??= []).push(live);
      bytes += live.weight;
    }
    if (runs === undefined) return undefined;
    this.#sweeping = { runs, ended: [] };
    return { ...partOf(runs, seq), ended: [], covers: 0 };
  }

  /** How many inputs one batch decides at most, and how much of what is carried. */
  get maxDecided(): number {
    if (this.#sweep === undefined) return Number.POSITIVE_INFINITY;
    return Math.max(minDecided, Math.floor(decidedFactor * this.#limits.checkpointRuns));
  }

  /** Whether nothing has happened since the last checkpoint. */
  get isCheckpointed(): boolean {
    return this.#eventsSinceCheckpoint === 0 && this.#sweep === undefined;
  }

  /** Whether a checkpoint is under way: the next batches write the rest of it. */
  get isSweeping(): boolean {
    return this.#sweep !== undefined;
  }

  /** The next part of the last checkpoint. */
  lastSweep(seq: number): Checkpoint {
    return this.#sweepOn(seq, this.#limits.checkpointRuns);
  }

  /** The next part of a checkpoint, or the first one of another; `seq`: the batch that writes it, with so many runs at most. */
  #sweepOn(seq: number, most: number): Checkpoint {
    this.#sweep ??= this.#beginSweep(seq);
    const sweep = this.#sweep;
    const swept: LiveRun[] = [];
    const ended: string[] = [];
    let bytes = 0;
    const hasRoom = (): boolean => swept.length < most && ended.length < most && bytes < most * maxSweptBytes;
    for (let looked = 0; looked < maxLookedAt && hasRoom() && sweep.left > 0; looked++) {
      const { value: live } = sweep.runs.next();
      sweep.left = live === undefined ? 0 : sweep.left - 1;
      if (live === undefined) break;
      if (live.run.status === "ended") {
        if (live.stored) ended.push(live.run.key);
      } else if (live.dirty && live.firstSeq <= sweep.from) {
        swept.push(live);
        bytes += live.weight;
      }
    }
    for (const key of this.#endedStored.keys()) {
      if (ended.length >= most) break;
      ended.push(key);
    }
    // A row that lacks what the journal had of its run may not outlive the sweep.
    const isOver = sweep.left === 0 && ended.length < most;
    if (isOver) this.#sweep = undefined;
    this.#sweeping = { runs: swept, ended };
    return { ...partOf(swept, seq), ended, covers: isOver ? sweep.from : 0 };
  }

  /** The next part is the first one of another checkpoint, which writes everything. */
  beginAnew(): void {
    this.#sweep = undefined;
    this.#noted = undefined;
  }

  #beginSweep(seq: number): Sweep {
    const { from, events } = this.#noted ?? { from: seq, events: this.#eventsSinceCheckpoint };
    this.#noted = undefined;
    this.#eventsSinceCheckpoint -= events;
    return { from, runs: this.#live.values(), left: this.#live.size };
  }

  /** A batch is committed: its runs are as the store has them, and those that have ended leave. */
  committed(batch: Batch): void {
    if (batch.commit?.checkpoint !== undefined) this.swept();
    for (const live of batch.touched) {
      const again = live.batch !== batch;
      live.stagedFrom = again ? live.batchFrom : -1;
      if (!again) live.batch = undefined;
      // The checkpoint may have let it go.
      if (live.run.status === "ended" || this.#live.get(live.run.key) !== live) continue;
      if (live.values === 0) live.values = valuesOf(live.run);
      this.#weigh(live);
    }
    for (const live of batch.ended) {
      const { run, stored, listed } = live;
      this.#remove(live);
      this.#deadlines.cancel(run);
      if (stored) this.#endedStored.set(run.key, listed);
    }
  }

  /** The part of a checkpoint that was made last is committed. */
  swept(): void {
    this.#checkpoints++;
    if (this.#sweeping.ended.length > 0) this.#deletions++;
    for (const key of this.#sweeping.ended) {
      this.#endedStored.delete(key);
      // It has ended with this batch.
      const live = this.#live.get(key);
      if (live !== undefined) live.listed = undefined;
    }
    for (const live of this.#sweeping.runs) {
      live.dirty = false;
      live.stored = true;
      live.listed = listedAs(listedRow(live.run));
      live.history = [];
      live.values = valuesOf(live.run);
      this.#weigh(live);
      this.#evict(live);
    }
    this.#sweeping = { runs: [], ended: [] };
    this.#kept = this.#live.size;
  }

  /** Runs that were looked up and have not changed need not stay. */
  forget(found: ReadonlyMap<string, Found>): void {
    for (const key of found.keys()) {
      const live = this.#live.get(key);
      if (live !== undefined && !live.dirty) this.#evict(live);
    }
  }

  /** A run that waits for long leaves the memory; its row says when it is due. */
  #evict(live: LiveRun): void {
    const { run } = live;
    const due = run.nextDue;
    // As of now, whenever its batch was decided: what is due until the horizon may have been looked for since.
    if (isHot(run) || (due !== undefined && due <= this.#time.last + this.#limits.horizonMs)) return;
    const lane = run.status === "pending" && run.lane !== undefined ? this.lanes.get(run.lane) : undefined;
    if (lane?.next()?.key === run.key && this.#holds(lane)) return;
    this.#remove(live);
    this.#deadlines.cancel(run);
    if (due !== undefined) this.#scanBefore(due);
  }
}

/** A checkpoint under way. */
interface Sweep {
  /** The batch up to which it covers the journal. */
  readonly from: number;
  /** The runs that are not looked at yet: `left` of them were there when it began. */
  readonly runs: Iterator<LiveRun, undefined>;
  left: number;
}

const unknownRuns = (seq: number, damage: WheelworkError): WheelworkError =>
  new WheelworkError(
    "WW_STORE_CORRUPT",
    `batch ${seq} of the journal is damaged in the store, and nobody knows which runs it was about`,
    {
      next: `Restore the store from a backup, or let the shard go on without the batch: wheelwork repair --give-up ${seq}. Then all runs that were there, and have not been written since, are refused. See docs/durability.md.`,
      cause: damage,
    },
  );

/** Whether something of the run is committed. */
const isKnown = ({ stored, stagedFrom }: LiveRun): boolean => stored || stagedFrom !== 0;

/** Whether a run has so many events that no checkpoint has written that the next one would take long. */
function isLong({ history, run, weight }: LiveRun): boolean {
  if (history.length < maxPartEvents || run.status === "ended") return false;
  const bytes = eventBytes * history.length;
  return bytes >= longFactor * (weight - bytes);
}

/** Rows of runs, and what they did since a part of their history was last written. */
function partOf(swept: readonly LiveRun[], seq: number): { runs: StoredRun[]; histories: RunEvents[] } {
  const histories: RunEvents[] = [];
  for (const { run, history } of swept) {
    // In parts, so that each is written and read in a short time.
    for (let from = 0; from < history.length; from += maxPartEvents)
      histories.push({ key: run.key, events: history.slice(from, from + maxPartEvents) });
  }
  return { runs: swept.map(({ run }) => storedRun(run, seq)), histories };
}

/** Adds an event to what the batch makes of a run. */
export function stage(batch: Batch, live: LiveRun, events: number, nextSeq: number): void {
  const { history } = live;
  if (live.batch !== batch) {
    live.batch = batch;
    live.batchFrom = history.length;
    if (live.stagedFrom < 0) live.stagedFrom = history.length;
    batch.touched.push(live);
  }
  batch.events += events;
  if (history.length === 0) live.firstSeq = nextSeq;
  live.dirty = true;
}

/** What is committed of a run's history in memory. */
export const committedHistory = ({ history, stagedFrom }: LiveRun): readonly RunEvent[] =>
  stagedFrom < 0 ? history : history.slice(0, stagedFrom);

function newLive(run: Run, stored: boolean, rowSeq: number): LiveRun {
  return {
    rowSeq,
    run,
    stagedFrom: -1,
    batch: undefined,
    batchFrom: 0,
    answering: false,
    opens: false,
    history: [],
    firstSeq: 0,
    dirty: !stored,
    stored,
    listed: undefined,
    values: 0,
    weight: 0,
  };
}
