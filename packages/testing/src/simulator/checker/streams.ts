import type { RunEvent } from "@wheelwork/core";
import { givenKey } from "@wheelwork/core/kernel";
import type { EventsPage, ToldEvent } from "@wheelwork/engine";

/** Which events somebody reads. All that is given must hold. */
export interface StreamFilter {
  readonly hub?: string;
  readonly type?: readonly RunEvent["type"][];
  readonly state?: string;
}

/** An event as it was committed. */
interface Committed {
  readonly id: string;
  readonly hub: string;
  readonly type: string;
  readonly state: string | undefined;
  readonly text: string;
  /** When it was committed, in simulated time. */
  readonly seenAt: number;
}

/** A batch as it was committed. */
interface BatchSeen {
  readonly from: number;
  readonly to: number;
  readonly seenAt: number;
}

/** How far somebody has come in a shard: it has read at least the first `from` events, and no more than the first `to`. */
interface Stand {
  readonly from: number;
  readonly to: number;
}

/** What the checks of streams need to know of their world. */
export interface StreamWorld {
  readonly shards: number;
  readonly now: () => number;
  readonly demand: (invariant: string, holds: boolean, message: () => string) => void;
  /** Whether what was committed at a time may be forgotten by now. Both are simulated time. */
  readonly mayBeForgotten: (committedAt: number) => boolean;
}

/**
 * Holds what readers of all events are told against what was committed (I38): each event once, those of a shard in their order, from the
 * position on that the reader gave, whichever process told it of that position. It looks into no position: it remembers what was told
 * with each.
 */
export class StreamChecks {
  readonly #world: StreamWorld;
  readonly #shards: readonly Committed[][];
  /** When each batch was committed, also one without events, and how many events there were before and after it. */
  readonly #batches: readonly BatchSeen[][];
  readonly #hubs = new Map<string, string>();
  readonly #shardOf = new Map<string, number>();
  /** Where a reader is that has been told a position. */
  readonly #positions = new Map<string, readonly Stand[]>();

  constructor(world: StreamWorld) {
    this.#world = world;
    this.#shards = Array.from({ length: world.shards }, () => []);
    this.#batches = Array.from({ length: world.shards }, () => []);
  }

  /** A batch is committed. */
  committed(
    shard: number,
    journal: readonly { readonly key: string; readonly events: readonly RunEvent[] }[],
  ): void {
    const seenAt = this.#world.now();
    const from = this.#shards[shard]?.length ?? 0;
    const to = journal.reduce((sum, { events }) => sum + events.length, from);
    this.#batches[shard]?.push({ from, to, seenAt });
    for (const { key, events } of journal) {
      const id = givenKey(key);
      this.#shardOf.set(id, shard);
      for (const event of events) {
        if (event.type === "started" || event.type === "accepted") this.#hubs.set(key, event.hub);
        const hub = this.#hubs.get(key) ?? "";
        const state = event.type === "entered" ? event.state : undefined;
        this.#shards[shard]?.push({ id, hub, type: event.type, state, text: textOf(event), seenAt });
      }
    }
  }

  /** Somebody begins to read: behind a position, or now. */
  begins(who: string, filter: StreamFilter, after: string | undefined): StreamReading {
    const known = after === undefined ? undefined : this.#positions.get(after);
    return new StreamReading({
      who,
      world: this.#world,
      filter,
      shards: this.#shards,
      batches: this.#batches,
      shardOf: this.#shardOf,
      positions: this.#positions,
      stands: known ?? this.#shards.map(({ length }) => ({ from: length, to: length })),
      isNew: known === undefined,
    });
  }
}

/** What a reading needs. */
interface ReadingOptions {
  readonly who: string;
  readonly world: StreamWorld;
  readonly filter: StreamFilter;
  readonly shards: readonly (readonly Committed[])[];
  readonly batches: readonly (readonly BatchSeen[])[];
  readonly shardOf: ReadonlyMap<string, number>;
  readonly positions: Map<string, readonly Stand[]>;
  readonly stands: readonly Stand[];
  readonly isNew: boolean;
}

/** One reading: from a position on, to the time when the reader leaves. */
export class StreamReading {
  readonly #of: ReadingOptions;
  readonly #stands: Stand[];
  #isNew: boolean;

  constructor(of: ReadingOptions) {
    this.#of = of;
    this.#stands = [...of.stands];
    this.#isNew = of.isNew;
  }

  /** A page has come. */
  told({ events, position }: EventsPage): void {
    for (const event of events) {
      this.#event(event);
      this.#note(event.position);
    }
    for (const [shard, { from, to }] of this.#stands.entries())
      // What is not meant it may have passed.
      this.#stands[shard] = { from, to: this.#isNew ? this.#length(shard) : this.#next(shard, to) };
    this.#isNew = false;
    this.#note(position);
  }

  /** It is told that what follows is not kept. */
  gone(): void {
    const oldest = this.#stands.flatMap(
      (stand, shard) =>
        this.#of.batches[shard]?.find(({ from, to }) => from >= stand.from || to > stand.from) ?? [],
    );
    this.#demand(
      oldest.some(({ seenAt }) => this.#of.world.mayBeForgotten(seenAt)),
      () => `is told that what follows is gone, and none of it is old enough`,
    );
  }

  /** Whether it has been told all that is committed. */
  get isWhole(): boolean {
    return this.#stands.every(({ to }, shard) => this.#next(shard, to) === this.#length(shard));
  }

  /** It has had the time to read all. */
  ends(): void {
    for (const [shard, { to }] of this.#stands.entries()) {
      const missing = this.#of.shards[shard]?.[this.#next(shard, to)];
      this.#demand(
        missing === undefined,
        () => `is never told of ${missing?.id} ${missing?.text} in shard ${shard}`,
      );
    }
  }

  /** The generator has ended, and nobody has asked for that. */
  stopped(): void {
    this.#demand(false, () => "is told that there is no more");
  }

  #event({ id, hub, event }: ToldEvent): void {
    const shard = this.#of.shardOf.get(id);
    const text = textOf(event);
    if (shard === undefined) return this.#demand(false, () => `is told of ${id}, which is not committed`);
    const list = this.#of.shards[shard] as readonly Committed[];
    const { from, to } = this.#stands[shard] as Stand;
    const last = this.#next(shard, to);
    let at = this.#next(shard, from);
    while (at < last && !isSame(list[at], id, text)) at = this.#next(shard, at + 1);
    const due = list[at];
    const fits = isSame(due, id, text) && due?.hub === hub;
    this.#demand(fits, () => {
      const place = list.findIndex((one) => isSame(one, id, text));
      const why =
        place < 0
          ? "which is not committed"
          : place < from
            ? "which it knows"
            : `and ${due?.id} ${due?.text} comes first`;
      return `is told of ${id} of ${hub}, ${text}, ${why}`;
    });
    const next =
      (fits
        ? at
        : Math.max(
            list.findLastIndex((one) => isSame(one, id, text)),
            from - 1,
          )) + 1;
    this.#stands[shard] = { from: next, to: next };
  }

  #note(position: string): void {
    const { positions } = this.#of;
    const known = positions.get(position);
    // Of two readers with one position, one may know more precisely where that is.
    if (known === undefined) positions.set(position, [...this.#stands]);
    else
      positions.set(
        position,
        known.map(({ from, to }, shard) => {
          const stand = this.#stands[shard] as Stand;
          return { from: Math.max(from, stand.from), to: Math.max(from, stand.from, Math.min(to, stand.to)) };
        }),
      );
  }

  #length(shard: number): number {
    return this.#of.shards[shard]?.length ?? 0;
  }

  /** The first event from a place on that the reader means; the end: there is none yet. */
  #next(shard: number, from: number): number {
    const list = this.#of.shards[shard] as readonly Committed[];
    const { hub, type, state } = this.#of.filter;
    let at = from;
    for (; at < list.length; at++) {
      const one = list[at] as Committed;
      if (hub !== undefined && one.hub !== hub) continue;
      if (type !== undefined && !type.includes(one.type as never)) continue;
      if (state === undefined || one.state === state) break;
    }
    return at;
  }

  #demand(holds: boolean, message: () => string): void {
    this.#of.world.demand("I38", holds, () => `${this.#of.who} ${message()}`);
  }
}

const isSame = (one: Committed | undefined, id: string, text: string): boolean =>
  one?.id === id && one.text === text;

const textOf = (event: RunEvent): string => JSON.stringify(event);
