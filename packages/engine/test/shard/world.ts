import { WheelworkError, type AnyHub } from "@wheelwork/core";
import type { HubDefinition } from "@wheelwork/core/kernel";
import type { Clock, Found } from "@wheelwork/engine";
import { MemoryStore } from "@wheelwork/testing";
import { tellHubs } from "../../src/requests/hubs.ts";
import { emptyBatch, type Batch } from "../../src/shard/batch.ts";
import { Decider } from "../../src/shard/decider.ts";
import { Deadlines } from "../../src/shard/deadlines.ts";
import { EngineTime } from "../../src/shard/engine-time.ts";
import type { Item, RequestItem } from "../../src/shard/items.ts";
import { Lanes } from "../../src/shard/lanes.ts";
import { Residency } from "../../src/shard/residency.ts";
import { Retention } from "../../src/shard/retention.ts";
import { outside, workersOf } from "../hubs.ts";

/** A clock that a test moves by hand. Nothing runs by itself. */
export class HandClock implements Clock {
  nowMs = 1000;
  readonly timers: { readonly at: number; readonly task: () => void }[] = [];

  wallMs(): number {
    return this.nowMs;
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  after(delayMs: number, task: () => void): () => void {
    const timer = { at: this.nowMs + delayMs, task };
    this.timers.push(timer);
    return () => {
      const place = this.timers.indexOf(timer);
      if (place >= 0) this.timers.splice(place, 1);
    };
  }

  soon(): void {
    throw new WheelworkError("WW_DEFECT", "deciding plans nothing");
  }
}

/** The deciding part of a shard, by itself: no store is written, no worker asked, nothing awaited. */
export class DecidingWorld {
  readonly clock = new HandClock();
  readonly time = new EngineTime(this.clock);
  readonly deadlines = new Deadlines(this.time, this.clock, () => {});
  readonly residency: Residency;
  readonly decider: Decider;
  /** How many carried items a batch decides. */
  maxCarried = 100;
  isTimeUp: () => boolean = () => false;
  /** What the last batch has left for the next one. */
  left: readonly Item[] = [];

  constructor(hubs: readonly AnyHub[], openedCalls = 500) {
    this.time.begin(0);
    const told = tellHubs(workersOf(outside())(async () => {}));
    const all = [...hubs.map(({ definition }) => definition), ...told];
    const definitions = new Map<string, HubDefinition>(
      all.map((definition) => [definition.name, definition]),
    );
    const limits = { liveRuns: 1000, checkpointEvents: 1000, checkpointRuns: 500, horizonMs: 60_000 };
    this.residency = new Residency(
      new MemoryStore(),
      this.deadlines,
      this.time,
      limits,
      new Lanes(definitions),
    );
    this.decider = new Decider({
      epoch: 1,
      seq: 0,
      retention: new Retention({ epoch: 1, engineTime: 0, seq: 0 }, this.time.began, 1000),
      since: this.time.began,
      hubs: definitions,
      residency: this.residency,
      deadlines: this.deadlines,
      log: undefined,
      outcomes: {
        redact: (error) => error,
        dueAfterWait: () => undefined,
        unsavedProgress: () => undefined,
        check: (_spoke, outcome) => outcome,
        expected: () => undefined,
      },
      culprits: new Map(),
      isObserved: false,
      tracing: undefined,
      random: () => 0,
      openedCalls,
    });
  }

  /** Decides items, and the callbacks that are due by now, into a batch. `found`: what the store has said of their keys. */
  decide(
    items: readonly Item[],
    batch: Batch = emptyBatch(),
    found: ReadonlyMap<string, Found> = new Map(),
  ): Batch {
    const callableTo = (now: number): number => now;
    const { maxCarried, isTimeUp } = this;
    const most = { maxCallbacks: 100, maxCarried, hasTime: () => true };
    const putBack = (left: readonly Item[]): void => void (this.left = left);
    const inputs = { items, found, callableTo, ...most, isTimeUp, putBack };
    this.decider.decide(batch, inputs, this.time.now());
    return batch;
  }

  /** The batch is what the store has. */
  commit(batch: Batch): void {
    this.decider.seal(batch, this.decider.seq);
    this.residency.committed(batch);
  }
}

/** A request as a caller sends it. */
export function requestOf(key: string, hub: string, request: unknown): RequestItem {
  return {
    kind: "request",
    key,
    hub,
    request,
    hash: JSON.stringify(request),
    isSame: (stored) => stored === JSON.stringify(request),
    fresh: false,
    accept: () => {},
    refuse: () => {},
  };
}
