import type { HeldPlace, RunEvent, RunLane } from "@wheelwork/core";
import { Heap, type HubDefinition, type Run } from "@wheelwork/core/kernel";
import type { LaneRun } from "../ports/ports.ts";

/** A run that waits for its turn. It need not be in memory. */
interface Waiting {
  readonly key: string;
  readonly hub: string;
  readonly rank: number;
}

const goesBefore = (a: Waiting, b: Waiting): boolean =>
  a.rank < b.rank || (a.rank === b.rank && a.key < b.key);

/** The least step between two ranks: engine time has 41 bits, which leaves 12 for parts of a millisecond. */
const rankStep = 2 ** -10;

/** A lane: its places, and those who wait. It holds keys only, since most of those who wait are not in memory. */
export class Lane {
  readonly name: string;
  readonly key: string;
  readonly slots: number;
  /** How many runs work under each place, and its fence. A place is named by the run that was granted it. */
  readonly #places = new Map<string, { runs: number; fence: number | undefined }>();
  /** The first one is next. */
  readonly #heap = new Heap<Waiting>(goesBefore);
  /** Those of the heap that no longer wait. */
  readonly #gone = new Set<string>();
  /** Those that wait for the answer of a run. */
  readonly #joined = new Map<string, Set<string>>();
  /** Who waits of the hubs of which only the newest does, by hub. */
  readonly #newest = new Map<string, string>();
  /** The last rank that was given, and the time that it was made of. */
  #last = { base: 0, rank: 0 };
  /** Its next grant is carried over to a later batch. */
  isCarried = false;

  constructor(name: string, key: string, slots: number) {
    this.name = name;
    this.key = key;
    this.slots = slots;
  }

  /** The runs that were granted a place which is not free yet. */
  get holders(): Iterable<string> {
    return this.#places.keys();
  }

  /** How many places are taken. */
  get held(): number {
    return this.#places.size;
  }

  /** How many wait for their turn. */
  get queued(): number {
    return this.#heap.size - this.#gone.size;
  }

  /** A place is free, and nobody waits for it. */
  get isOpen(): boolean {
    return this.#places.size < this.slots && this.queued === 0;
  }

  /** A place is free, and somebody waits for it. */
  get canGrant(): boolean {
    return this.#places.size < this.slots && this.queued > 0;
  }

  get isEmpty(): boolean {
    return this.#places.size === 0 && this.queued === 0 && this.#joined.size === 0;
  }

  /** Whose turn is next. */
  next(): Waiting | undefined {
    for (let first = this.#heap.first; first !== undefined; first = this.#heap.first) {
      if (!this.#gone.has(first.key)) return first;
      this.#gone.delete(first.key);
      this.#heap.pop();
    }
    return undefined;
  }

  /** How many go before a run, from 1; undefined: it does not wait. It looks at all who wait. */
  positionOf(key: string): number | undefined {
    const waiting = this.#heap.values().find((one) => one.key === key && !this.#gone.has(key));
    if (waiting === undefined) return undefined;
    let position = 1;
    for (const other of this.#heap.values())
      if (!this.#gone.has(other.key) && goesBefore(other, waiting)) position++;
    return position;
  }

  /** Who waits of a hub of which only the newest does. */
  newestOf(hub: string): string | undefined {
    return this.#newest.get(hub);
  }

  /** A rank for a run that comes now: in the order of their coming, also within a millisecond. */
  rankAt(base: number): number {
    const { base: before, rank: last } = this.#last;
    const rank = base >= before && base <= last ? last + rankStep : base;
    this.#last = { base, rank };
    return rank;
  }

  hold(place: string, fence: number | undefined): void {
    const held = this.#places.get(place);
    if (held === undefined) this.#places.set(place, { runs: 1, fence });
    else {
      held.runs++;
      held.fence ??= fence;
    }
  }

  free(place: string): void {
    const held = this.#places.get(place);
    if (held !== undefined && --held.runs === 0) this.#places.delete(place);
  }

  /** Whether a place is still the one that was granted with this fence. */
  isHeld({ place, fence }: HeldPlace): boolean {
    const held = this.#places.get(place);
    if (held === undefined) return false;
    return held.fence === fence || held.fence === undefined || fence === undefined;
  }

  wait(waiting: Waiting, isNewest: boolean): void {
    // The key of a run that no longer waits is free again.
    if (this.#gone.has(waiting.key)) this.#compact();
    this.#heap.push(waiting);
    if (isNewest) this.#newest.set(waiting.hub, waiting.key);
  }

  /** A run no longer waits for its turn. */
  leave(key: string, hub: string): void {
    if (this.#newest.get(hub) === key) this.#newest.delete(hub);
    if (this.#heap.first?.key === key) return this.#heap.pop();
    this.#gone.add(key);
    if (this.#gone.size > 100 && this.#gone.size * 2 > this.#heap.size) this.#compact();
  }

  join(holder: string, key: string): void {
    const joined = this.#joined.get(holder);
    if (joined === undefined) this.#joined.set(holder, new Set([key]));
    else joined.add(key);
  }

  /** A run no longer waits for an answer. */
  part(holder: string, key: string): void {
    const joined = this.#joined.get(holder);
    joined?.delete(key);
    if (joined?.size === 0) this.#joined.delete(holder);
  }

  /** Those that wait for the answer of a run. */
  joinedTo(holder: string): readonly string[] {
    return [...(this.#joined.get(holder) ?? [])];
  }

  /** How many wait for an answer. */
  get joined(): number {
    let count = 0;
    for (const keys of this.#joined.values()) count += keys.size;
    return count;
  }

  #compact(): void {
    this.#heap.replace(this.#heap.values().filter(({ key }) => !this.#gone.has(key)));
    this.#gone.clear();
  }
}

/**
 * Who holds the places of the lanes of a shard, and who waits for them (core/src/pending.ts). It is an index over the runs, and
 * nothing more: a claim makes it anew of what is stored, and each event of a run changes it. So a place cannot be lost: no
 * record of it outlives its run. Nor is it doubled: one owner decides, batch by batch (I13, I21).
 *
 * Only lanes with somebody in them are here.
 */
export class Lanes {
  readonly #lanes = new Map<string, Lane>();
  /** How many places each lane has, by its name. */
  readonly #slots = new Map<string, number>();
  /** The hubs of which only the newest request waits. */
  readonly #replacing = new Set<string>();

  constructor(hubs: ReadonlyMap<string, HubDefinition>) {
    for (const { name, exclusive } of hubs.values()) {
      if (exclusive === undefined) continue;
      this.#slots.set(exclusive.lane, exclusive.slots);
      if (exclusive.whenBusy === "latest" || exclusive.whenBusy === "replace") this.#replacing.add(name);
    }
  }

  get size(): number {
    return this.#lanes.size;
  }

  values(): Iterable<Lane> {
    return this.#lanes.values();
  }

  /** The lane, if anybody is in it. */
  get({ name, key }: Pick<RunLane, "name" | "key">): Lane | undefined {
    return this.#lanes.get(`${name} ${key}`);
  }

  /** Takes up a run that is stored and has not ended. */
  add({ key, hub, status, lane }: LaneRun): void {
    if (status === "pending") this.#wait(key, hub, lane);
    else this.#open(lane).hold(lane.shares ?? key, lane.fence);
  }

  /** An event was applied to a run that has a lane. The result is whether it has changed the lane. */
  applied(run: Run, event: RunEvent): boolean {
    const { hub, key, lane } = run;
    if (lane === undefined) return false;
    switch (event.type) {
      case "started":
        this.#open(lane).hold(lane.shares ?? key, lane.fence);
        return true;
      case "accepted":
      case "arrived":
        this.#wait(key, hub, lane);
        return true;
      case "granted": {
        const open = this.#open(lane);
        // One whose time has come has not waited here.
        if (event.lane === undefined) open.leave(key, hub);
        open.hold(key, lane.fence);
        return true;
      }
      case "ended":
        this.#leave(key, hub, lane);
        return true;
      default:
        return false;
    }
  }

  #wait(key: string, hub: string, lane: RunLane): void {
    if (lane.joins !== undefined) this.#open(lane).join(lane.joins, key);
    else if (lane.rank !== undefined)
      this.#open(lane).wait({ key, hub, rank: lane.rank }, this.#replacing.has(hub));
  }

  #leave(key: string, hub: string, lane: RunLane): void {
    const open = this.get(lane);
    if (open === undefined) return;
    if (lane.joins !== undefined) open.part(lane.joins, key);
    else if (lane.rank === undefined) open.free(lane.shares ?? key);
    else open.leave(key, hub);
    if (open.isEmpty) this.#lanes.delete(`${lane.name} ${lane.key}`);
  }

  #open({ name, key }: RunLane): Lane {
    const id = `${name} ${key}`;
    let lane = this.#lanes.get(id);
    // A lane that no hub names any more excludes nobody: who still waits there begins.
    if (lane === undefined)
      this.#lanes.set(id, (lane = new Lane(name, key, this.#slots.get(name) ?? Number.POSITIVE_INFINITY)));
    return lane;
  }
}
