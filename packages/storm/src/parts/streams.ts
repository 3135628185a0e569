import type { Failed, Outcome, TraceContext } from "@wheelwork/core";
import type { Clock, Message } from "@wheelwork/engine";
import { routeOf, shardOf } from "@wheelwork/engine/parts";

/** The streams between the parts: the proof of concept's names. Each body is JSON for any number of requests of one shard. */
export const hubStreams = {
  /** Attempts to make, and those to give up. */
  "stream-hub-bolt-to-worker-bolt": ["key", "body"],
  /** Answers, dead letters, and messages of relays with headers. */
  "stream-hub-bolt-to-nb": ["key", "body"],
  /** Callbacks wanted, and those that are not any more. */
  "stream-to-bolt-coordinator": ["key", "body"],
  /** In the simple case, the messages of relays without headers. */
  "stream-hub-bolt-to-fl": ["key", "message", "topic"],
} as const;

export const workerStreams = {
  "stream-worker-bolt-to-hub-bolt": ["key", "body"],
  "stream-worker-bolt-to-fl": ["key", "message", "topic"],
  /** Messages of relays with headers. */
  "stream-worker-bolt-to-nb": ["key", "body"],
} as const;

export const coordinatorStreams = {
  "stream-bolt-coordinator-to-hub": ["key", "body"],
  /** It has begun, and knows nothing: all hubs tell it again. */
  "stream-bolt-coordinator-begun": ["coordinator"],
} as const;

export const tickStreams = { default: ["tick"] } as const;

export const nbStreams = { "stream-nb-bolt-to-hub-bolt": ["key", "body"] } as const;

/** An attempt that the hub wants, or (without input) wants no more. */
export interface AttemptOrder {
  readonly spoke: string;
  readonly request: string;
  readonly call: number;
  readonly attempt: number;
  readonly epoch: number;
  /** When the run was created, in milliseconds of the hub's engine time. */
  readonly createdAt: number;
  readonly key?: string;
  /** The run cleans up. */
  readonly late?: true;
  /** What an earlier attempt has said of its progress. */
  readonly progress?: unknown;
  /** See `WorkerContext`. */
  readonly fence?: number;
  /** The span of the attempt. */
  readonly trace?: TraceContext;
  /** When it is given up, in milliseconds of the hub's engine time, and how long that is from now. */
  readonly deadline: number;
  readonly withinMs: number;
  readonly input: unknown;
}

/** An attempt that the hub has given up. */
export interface AttemptEnd {
  readonly end: string;
}

/** The name of an attempt. A later run may have the key of its run. */
export const attemptId = (request: string, createdAt: number, call: number, attempt: number): string =>
  `${request}#${createdAt}#${call}#${attempt}`;

/** What came of an attempt. */
export interface AttemptOutcome {
  readonly id: string;
  readonly request: string;
  readonly outcome: Outcome | Failed;
}

/** An attempt waits for a place at its worker until now: its time begins anew. It is said again while it waits, and at its end. */
export interface AttemptWait {
  readonly id: string;
  readonly request: string;
  readonly waits: true;
}

/** The worker of an attempt has said how far it is; without a value, only that it lives. */
export interface AttemptProgress {
  readonly id: string;
  readonly request: string;
  readonly lives: true;
  readonly progress?: unknown;
}

/** A message for Kafka; with an id, its hub waits to hear that it is there. */
export interface Publication {
  readonly topic: string;
  readonly message: Message;
  readonly id?: string;
}

/** What came of a publication with an id: the broker has it, or will never take it. */
export type Published = string | { readonly id: string; readonly refused: string };

/** What a hub tells the coordinator. `claim` is another one after each start of the hub. */
export interface CallbackOrder {
  readonly claim: string;
  readonly want: readonly { readonly id: number; readonly inMs: number }[];
  readonly cancel: readonly number[];
}

/** A text that fields grouping sends to the task of a shard: the first one, or the first one after another. */
export function keyOfShard(shard: number, shards: number, after = "-1"): string {
  for (let key = Number(after) + 1; ; key++) if (shardOf(String(key), shards) === shard) return String(key);
}

/** Items that are posted in one turn of the event loop, sent together: one tuple for each task that takes some. */
export class TupleBatcher<Item> {
  readonly #clock: Clock;
  readonly #tasks: number;
  readonly #send: (key: string, items: readonly Item[]) => void;
  #waiting = new Map<number, { readonly key: string; readonly items: Item[] }>();

  constructor(clock: Clock, tasks: number, send: (key: string, items: readonly Item[]) => void) {
    this.#clock = clock;
    this.#tasks = tasks;
    this.#send = send;
  }

  /** `key`: what the grouping sends to the right task. */
  add(key: string, item: Item): void {
    const task = shardOf(key, this.#tasks);
    if (this.#waiting.size === 0) this.#clock.soon(() => this.#flush());
    const waiting = this.#waiting.get(task);
    // Storm groups by the whole text, and a lane is found by its tag alone.
    if (waiting === undefined) this.#waiting.set(task, { key: routeOf(key), items: [item] });
    else waiting.items.push(item);
  }

  #flush(): void {
    const waiting = this.#waiting;
    this.#waiting = new Map();
    for (const { key, items } of waiting.values())
      for (let from = 0; from < items.length; from += maxItems)
        this.#send(key, items.slice(from, from + maxItems));
  }
}

/** One tuple must not hold back all others. */
const maxItems = 500;

/** The consumer group of the spout that brings requests, by the name of its topology. */
export const spoutGroup = (topology: string): string => `${topology}-spout-hub`;
