import type { Input } from "@wheelwork/core/kernel";
import { weightOfItem, type Item } from "./items.ts";
import { Line } from "./line.ts";
import { Pace } from "./pace.ts";

/** An item that brings so many bytes is heavy: its batch takes long although nobody has too much to do. */
const heavyBytes = 256 * 1024;
/** New requests are begun at a pace once the first one has waited for so long, in milliseconds. */
const pacedMs = 10;

/**
 * The queue of a shard's inputs: what is under way, and new requests.
 *
 * **New requests wait by themselves.** A request that is begun brings work for a long time. If it took its place among the outcomes
 * of those that were begun before, an engine with too much to do would begin more and more and finish nothing in its time. So
 * new requests are begun at the pace at which work is done (`Pace`). The time that they wait says how many are too many, and it
 * costs a sender a refusal at worst. Who has no sender to refuse to (a record of a log, what a run has started) is under way.
 *
 * It outlives a loss of memory: outcomes and commands that wait are decided once the store is back. It also holds how much one
 * batch may take, which a failed commit halves, in case the batch was too big.
 */
export class Intake {
  readonly #underWay = new Line<Item>();
  /** New requests, and what has come for their keys since. */
  readonly #new = new Line<Item>();
  /** The keys of new requests that are not decided, and how many each has: commands for these keys wait behind. */
  readonly #newKeys = new Map<string, number>();
  #requests = 0;
  /** About how many bytes the requests weigh that wait to be decided. */
  #requestBytes = 0;
  /** How much of all waiting says nothing of how much there is to do, in milliseconds. */
  #excusedMs = 0;
  /** When the last turn began, and the part of the bytes taken then that heavy items have brought: 0 to 1. */
  #turnedAt = 0;
  #heavyShare = 0;
  readonly #pace = new Pace();
  #isPaced = false;
  /** The last turn has left over what is under way: there is more than a turn has time for. */
  #isFull = false;
  readonly #maxInputs: number;
  #batchInputs: number;

  constructor(maxInputs: number) {
    this.#maxInputs = maxInputs;
    this.#batchInputs = maxInputs;
  }

  get length(): number {
    return this.#underWay.length + this.#new.length;
  }

  /** What is under way. */
  get underWay(): { readonly length: number; readonly pushed: number } {
    return this.#underWay;
  }

  /** Requests that wait to be decided. */
  get requests(): number {
    return this.#requests;
  }

  /** About how many bytes these requests weigh. */
  get requestBytes(): number {
    return this.#requestBytes;
  }

  /** How many inputs one batch may have. */
  get batchInputs(): number {
    return this.#batchInputs;
  }

  /** What waits now has waited so long for what is no sign of overload. */
  excuse(ms: number): void {
    this.#excusedMs += ms;
  }

  /**
   * A turn begins: how long the first item has waited. Large values take their time, which is no sign of too many
   * requests: the memory that they take bounds them. So what waits is excused for the last turn, as far as such values
   * have filled it.
   */
  turn(now: number): number {
    this.#excusedMs += this.#heavyMs(now);
    this.#turnedAt = now;
    this.#isPaced = this.#new.waitMs(now, this.#excusedMs) >= pacedMs;
    const waitMs = this.waitMs(now);
    // A loop that is never idle has a turn due whenever something comes.
    this.mark(now);
    return waitMs;
  }

  #heavyMs(now: number): number {
    return (now - this.#turnedAt) * this.#heavyShare;
  }

  /** Notes the time: what is pushed from now on waits since then. */
  mark(now: number): void {
    this.#underWay.mark(now, this.#excusedMs);
    this.#new.mark(now, this.#excusedMs);
  }

  /** How long the first item has waited since it was marked, without what is excused, in milliseconds; 0 if there is none. */
  waitMs(now: number): number {
    const excusedMs = this.#excusedMs + this.#heavyMs(now);
    return Math.max(this.#underWay.waitMs(now, excusedMs), this.#new.waitMs(now, excusedMs));
  }

  /**
   * How long a request that comes now would wait for those before it, in milliseconds. The first one tells only once it has waited
   * for as long.
   */
  get aheadMs(): number {
    return this.#pace.requestMs * this.#new.length;
  }

  /** How long nothing may be taken, although something waits, in milliseconds. */
  get heldMs(): number {
    return this.#underWay.length === 0 && (this.#isPaced || this.#isFull) ? this.#pace.heldMs : 0;
  }

  push(item: Item): void {
    this.#count(item);
    this.#lineOf(item).push(item);
  }

  #lineOf(item: Item): Line<Item> {
    const isBehind = this.#newKeys.size > 0 && mayNeedRequest(item) && this.#newKeys.has(item.key);
    return isBehind ? this.#new : this.#underWay;
  }

  /**
   * Takes the first items out, `maxCount` at most and so many that they weigh `maxBytes` at most, but one at least: what they
   * bring is written in one transaction, which no store takes in any size. Requests still count as waiting until
   * `requestDone` is told of them.
   */
  take(maxCount: number, maxBytes = Number.POSITIVE_INFINITY): readonly Item[] {
    const load = { count: maxCount, bytes: maxBytes, heavy: 0, taken: 0 };
    const [now, excusedMs] = [this.#turnedAt, this.#excusedMs];
    const waitMs = this.#underWay.waitMs(now, excusedMs);
    this.#pace.turn(now - excusedMs, this.#isFull, { waitMs, newMs: this.#new.waitMs(now, excusedMs) });
    const most = this.#isPaced || this.#isFull ? this.#pace.most : maxCount;
    const begun = this.#takeOf(this.#new, most, load);
    const underWay = this.#takeOf(this.#underWay, maxCount, load);
    this.#heavyShare = load.heavy === 0 ? 0 : load.heavy / (maxBytes - load.bytes);
    this.#pace.decided(underWay.length, outcomesOf(underWay), begun.length);
    return underWay.length === 0 ? begun : [...begun, ...underWay];
  }

  #takeOf(line: Line<Item>, most: number, load: Load): Item[] {
    let count = Math.min(most, load.count, line.length);
    if (load.bytes !== Number.POSITIVE_INFINITY) {
      for (let place = 0; place < count; place++) {
        const weight = weightOfItem(line.at(place) as Item);
        if (load.taken + place > 0 && weight > load.bytes) {
          count = place;
          break;
        }
        load.bytes -= weight;
        if (weight >= heavyBytes) load.heavy += weight;
      }
    }
    load.count -= count;
    load.taken += count;
    return line.take(count);
  }

  /** Nothing more is put back: forgets what was taken, if that is more than what waits. */
  compact(): void {
    this.#isFull = this.#underWay.length > 0;
    this.#underWay.compact();
    this.#new.compact();
  }

  /** A request was decided, or refused. */
  requestDone(item: Item): void {
    if (item.kind !== "request") return;
    this.#requests--;
    this.#requestBytes -= weightOfItem(item);
    if (!isNew(item)) return;
    const others = (this.#newKeys.get(item.key) ?? 1) - 1;
    if (others === 0) this.#newKeys.delete(item.key);
    else this.#newKeys.set(item.key, others);
  }

  /** Takes everything out, and counts anew. */
  drain(): readonly Item[] {
    this.#requests = 0;
    this.#requestBytes = 0;
    this.#newKeys.clear();
    this.#isFull = false;
    const all = [...this.#underWay.take(this.#underWay.length), ...this.#new.take(this.#new.length)];
    this.compact();
    return all;
  }

  /** Queues again what a lost memory had taken. */
  restore(items: readonly Item[]): void {
    for (const item of items) this.push(item);
  }

  /** Queues again, before all others, what was taken and could not be decided in time. */
  putBack(items: readonly Item[]): void {
    const [underWay, others]: [Item[], Item[]] = [[], []];
    for (const item of items) {
      this.#count(item);
      (this.#lineOf(item) === this.#new ? others : underWay).push(item);
    }
    this.#underWay.putBack(underWay);
    this.#new.putBack(others);
    this.#pace.decided(-underWay.length, -outcomesOf(underWay), -others.length);
  }

  #count(item: Item): void {
    if (item.kind !== "request") return;
    this.#requests++;
    this.#requestBytes += weightOfItem(item);
    if (isNew(item)) this.#newKeys.set(item.key, (this.#newKeys.get(item.key) ?? 0) + 1);
  }

  /** What waits. */
  *values(): Iterable<Item> {
    yield* this.#underWay.values();
    yield* this.#new.values();
  }

  /** A batch of so many inputs has failed. */
  shrink(inputs: number): void {
    this.#batchInputs = Math.max(1, Math.floor(Math.min(this.#batchInputs, inputs) / 2));
  }

  /** The loop has stood still for a commit, for so long: see `Pace`. */
  stood(ms: number): void {
    this.#pace.stood(ms);
  }

  /** A batch was committed. */
  grow(): void {
    this.#batchInputs = Math.min(this.#batchInputs * 2, this.#maxInputs);
  }
}

/** What a batch may still take, and what it has taken. */
interface Load {
  count: number;
  bytes: number;
  heavy: number;
  taken: number;
}

/**
 * Whether an item may mean a run that a request before it begins. What comes of attempts never does: its run is there. It must not wait
 * behind a request that is sent again, since callbacks wait for what is under way only.
 */
function mayNeedRequest(item: Item): item is Exclude<Item, { readonly kind: "mark" }> {
  if (item.kind === "request") return true;
  return item.kind === "input" && !ofAttempts.has(item.input.kind);
}

const ofAttempts: ReadonlySet<Input["kind"]> = new Set(["outcome", "progress", "begin"]);

/** Whether a request begins something whose sender hears of a refusal. */
const isNew = (item: Item): boolean =>
  item.kind === "request" && item.isOwed !== true && item.isRecord !== true && item.offset === undefined;

/** How many outcomes are among them. */
function outcomesOf(items: readonly Item[]): number {
  let count = 0;
  for (const item of items) if (item.kind === "relayReply" || isOutcome(item)) count++;
  return count;
}

const isOutcome = (item: Item): boolean => item.kind === "input" && item.input.kind === "outcome";
