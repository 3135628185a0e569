import type { Answer, HistoryEvent, RunEvent } from "@wheelwork/core";
import { apply, isWaiting, restore, Run, snapshot, type HubDefinition } from "@wheelwork/core/kernel";
import { nextAfter } from "../ports/history.ts";
import type { Clock } from "../ports/ports.ts";
import { pause } from "../ports/retry.ts";
import { toldOf, type RequestRecord, type RunFeed, type ShardAccess } from "./access.ts";
import type { RequestView } from "./api.ts";
import { unavailable } from "../shard/options.ts";
import { ownView } from "./views.ts";

/** What a run shows of itself after one of its events. */
export interface RunUpdate<O = unknown, E extends string = string> {
  /**
   * How many events the run had by then. `watch({ after })` goes on after this one, and `history(id, { after })` gives the events
   * that follow.
   */
  readonly event: number;
  readonly status: RequestView["status"];
  readonly state: string;
  /** What the hub's view makes of the data. */
  readonly view: unknown;
  /** Why there is no view: the function threw, or did not return plain JSON. */
  readonly viewProblem?: string;
  readonly answer: Answer<O, E> | undefined;
}

/** How somebody watches a run. */
export interface WatchOptions {
  /**
   * Tell only what comes after so many events: the `event` of the last update that was seen. Default: begin with how it is now. If
   * the first events of the run are archived by then, nobody knows how it was after so many: it begins with how it is now, too, unless
   * nothing has happened since.
   */
  readonly after?: number;
  /** When to stop: with the answer, or with the end of the run, which may come later. Default: `answer`. */
  readonly until?: "answer" | "end";
  /** Ends it early. */
  readonly signal?: AbortSignal;
}

/** What a watch needs of the engine. */
export interface WatchedRun {
  readonly key: string;
  readonly clock: Clock;
  /** The shard of the request, as it is reached now. @throws WheelworkError WW_STOPPING. */
  readonly access: () => ShardAccess;
  readonly definition: (hub: string) => HubDefinition | undefined;
}

/** So many events of a history are read at once. */
const pageEvents = 256;
/** How long a watch pauses while nobody can tell anything of the shard, in milliseconds. */
const awayMs = 200;

/**
 * Watches a run: applies its events to a copy of its own, and tells how it is at the end of each turn that has changed that. Only
 * what is committed has events, so nothing is told that a lost commit takes back. Nothing waits for the reader: one that is slow gets
 * what it has missed from the history.
 */
export async function* watchRun(
  of: WatchedRun,
  { after, until = "answer", signal }: WatchOptions,
): AsyncGenerator<RunUpdate> {
  const source = new EventSource(of, signal);
  try {
    // Who begins with the present needs nothing of what was before. Who comes again must know what has changed since.
    let run = (after === undefined ? await source.copy() : undefined) ?? new Run(of.key);
    const shown = new Shown(of);
    let silentTo = after ?? Number.POSITIVE_INFINITY;
    while (source.isWanted) {
      const events = await source.after(run.events.count);
      if (!source.isWanted) return;
      if (events[0]?.type === "archived") {
        // What has changed meanwhile cannot be told any more: it goes on with the present.
        run = await source.present();
        if (run.events.count === silentTo) shown.look(run);
        continue;
      }
      for (const event of events as readonly RunEvent[]) {
        apply(run, event);
        if (run.events.count < silentTo) continue;
        const isNew = (run.events.count === silentTo || shown.isAtRest(run)) && shown.look(run);
        if (isNew && run.events.count > silentTo) yield shown.update(run);
      }
      if (events.length > 0) continue;
      // All that is committed is known.
      const isNew = shown.look(run);
      if (isNew || run.events.count < silentTo) yield shown.update(run);
      silentTo = 0;
      if (run.status === "ended" || (until === "answer" && run.answer !== undefined)) return;
      await source.more();
    }
  } finally {
    source.end();
  }
}

/** The events of a run, wherever its shard is. */
class EventSource {
  readonly #of: WatchedRun;
  readonly #signal: AbortSignal | undefined;
  #access: ShardAccess | undefined = undefined;
  #feed: RunFeed | undefined = undefined;

  constructor(of: WatchedRun, signal: AbortSignal | undefined) {
    this.#of = of;
    this.#signal = signal;
    signal?.addEventListener("abort", this.end);
  }

  /** Whether the reader has not left. */
  get isWanted(): boolean {
    return this.#signal?.aborted !== true;
  }

  /** A copy of the run as it is now. undefined: its history must tell. */
  copy(): Promise<Run | undefined> {
    return this.#ask(async (feed) => feed.run);
  }

  /** The run as it is now, if its history does not tell all of it any more. */
  async present(): Promise<Run> {
    this.#leave();
    const { key } = this.#of;
    return (await this.copy()) ?? (await this.#ask((_feed, access) => stored(access, key))) ?? new Run(key);
  }

  /** Events after so many; empty: there are none yet. */
  async after(count: number): Promise<readonly HistoryEvent[]> {
    const range = { after: count, limit: pageEvents };
    return (
      (await this.#ask(
        async (feed, access) => feed.after(count) ?? (await access.history(this.#of.key, range)),
      )) ?? []
    );
  }

  /** Resolves once there may be more. */
  async more(): Promise<void> {
    await this.#feed?.more();
    if (this.#feed?.isOver === true || this.#of.access() !== this.#access) this.#leave();
  }

  readonly end = (): void => {
    this.#signal?.removeEventListener("abort", this.end);
    this.#leave();
  };

  #leave(): void {
    this.#feed?.end();
    this.#feed = undefined;
  }

  /** Asks until the shard can tell: its store may be away, and its owner may change. undefined: the reader does not want it any more. */
  async #ask<T>(ask: (feed: RunFeed, access: ShardAccess) => Promise<T>): Promise<T | undefined> {
    while (this.isWanted) {
      const access = this.#of.access();
      try {
        const feed = this.#feed ?? (await access.follow(this.#of.key));
        this.#feed = feed;
        this.#access = access;
        return await ask(feed, access);
      } catch (error) {
        this.#leave();
        // A shard that has moved has closed its store here.
        if (!toldOf(error).retryable && this.#of.access() === access) throw error;
        await pause(this.#of.clock, awayMs, this.#signal);
      }
    }
    return undefined;
  }
}

/** What is stored of a run that has ended, or whose events nobody has counted. */
async function stored(access: ShardAccess, key: string): Promise<Run> {
  let count: number;
  let known: RequestRecord["known"];
  // What comes between is in the run, and not counted: it would be applied a second time.
  do {
    const events = await access.history(key, { after: 0, limit: Number.POSITIVE_INFINITY });
    count = nextAfter(events, 0);
    ({ known } = await access.lookUp(key));
    if (!(known instanceof Run) && events.at(-1)?.type !== "ended") throw unavailable();
  } while ((await access.history(key, { after: count, limit: 1 })).length > 0);
  let run = new Run(key);
  if (known instanceof Run) run = restore(key, snapshot(known));
  else
    Object.assign(run, {
      status: "ended",
      hub: known.hub,
      state: known.state,
      data: known.data,
      answered: { answer: known.answer, at: known.answeredAt },
    });
  run.events.count = count;
  return run;
}

/** What was shown last. */
class Shown {
  readonly #of: WatchedRun;
  #data: unknown = undefined;
  #view: ReturnType<typeof ownView> = {};
  #text = "";

  constructor(of: WatchedRun) {
    this.#of = of;
  }

  /** Whether no turn is under way: a state that only passes is left in the same one. */
  isAtRest({ status, state, hub }: Run): boolean {
    if (status !== "running") return true;
    const logic = this.#of.definition(hub)?.states.get(state)?.logic;
    return state !== "" && (logic === undefined || isWaiting(logic));
  }

  /** Whether there is something new to show. */
  look(run: Run): boolean {
    const { status, state, data, hub, answer } = run;
    if (data !== this.#data) {
      this.#data = data;
      this.#view = ownView(this.#of.definition(hub), data);
    }
    const text = JSON.stringify([status, state, this.#view, answer]);
    const isNew = text !== this.#text;
    this.#text = text;
    return isNew;
  }

  update({ events, status, state, answer }: Run): RunUpdate {
    return { event: events.count, status, state, view: undefined, ...this.#view, answer };
  }
}
