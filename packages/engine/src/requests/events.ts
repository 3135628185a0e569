import { WheelworkError, type Labels, type Problem, type RunEvent } from "@wheelwork/core";
import { nextTurn } from "../ports/clock.ts";
import { Doorbell } from "../ports/doorbell.ts";
import { givenKey, keyProblem } from "../ports/keys.ts";
import type { Clock } from "../ports/ports.ts";
import { pause } from "../ports/retry.ts";
import { toldOf, type ShardAccess } from "./access.ts";
import { areTexts, mustBeTexts } from "./asked.ts";
import { problemsOf } from "./filters.ts";
import { gone, type JournalPlace, type JournalTail, type ToldBatch } from "./journal-tail.ts";
import { KnownRuns, type RunFacts } from "./run-facts.ts";

/** The types of events of runs. */
export type EventType = RunEvent["type"];

const types: { readonly [type in EventType]: true } = {
  started: true,
  accepted: true,
  arrived: true,
  granted: true,
  entered: true,
  settled: true,
  opened: true,
  fired: true,
  failed: true,
  attempt: true,
  died: true,
  waited: true,
  progressed: true,
  told: true,
  posted: true,
  signalled: true,
  received: true,
  cancelling: true,
  answered: true,
  ended: true,
  incident: true,
  rearmed: true,
  parked: true,
  resumed: true,
  redelivered: true,
  migrated: true,
  filled: true,
};

/** All of them. */
export const eventTypes = Object.keys(types) as readonly EventType[];

/** Which events are told. All that is given must hold, and of several values one must. */
export interface EventFilter {
  /** Of runs of these hubs. */
  readonly hub?: string | readonly string[];
  /** By which a run enters these states. */
  readonly state?: string | readonly string[];
  /** Of these types. */
  readonly type?: EventType | readonly EventType[];
  /** Of runs with these labels. */
  readonly labels?: Readonly<Record<string, string | readonly string[]>>;
  /** Of these requests, and of the runs that they have begun under their key. */
  readonly request?: string | readonly string[];
}

/** How somebody reads events. */
export interface EventsOptions extends EventFilter {
  /** The position of the last event, or page, that was seen. Default: begin now. */
  readonly after?: string;
  /** Ends it. */
  readonly signal?: AbortSignal;
}

/** An event of a run, as it was committed. */
export interface ToldEvent {
  /** Behind this event: `events({ after })` goes on there. */
  readonly position: string;
  /** The id of the run: of a request, or of what a request has begun. */
  readonly id: string;
  readonly hub: string;
  readonly labels?: Labels;
  readonly event: RunEvent;
}

/** What has come next. */
export interface EventsPage {
  /** Those that the filter means: perhaps none. */
  readonly events: readonly ToldEvent[];
  /** Behind all that was looked at. */
  readonly position: string;
}

/** What reading needs of the engine. */
export interface EventsSource {
  readonly clock: Clock;
  /** All shards, as they are reached now. @throws WheelworkError WW_STOPPING. */
  readonly shards: () => readonly ShardAccess[];
  /** What an id may be stored under. */
  readonly keysOf: (id: string) => readonly string[];
}

/** Where a reader is in a shard. */
interface Place extends JournalPlace {
  /** So many events of the batch are read. Absent: all. */
  readonly read?: number;
}

/** So many runs does a reader remember that is behind. */
const maxRuns = 5000;
/** How long a reader pauses while a shard cannot tell, in milliseconds. */
const awayMs = 200;

/**
 * Reads what is committed on all shards: each event once, those of one shard in their order. Nothing is read ahead of the reader but a
 * page of each shard.
 */
export async function* readEvents(
  source: EventsSource,
  { after, signal, ...filter }: EventsOptions,
): AsyncGenerator<EventsPage> {
  const isMeant = meant(filter, source.keysOf);
  const bell = new Doorbell();
  const shards = source.shards().map((_, shard) => new ShardReader(source, shard, bell.ring));
  const places = after === undefined ? undefined : placesOf(after, shards.length);
  const end = (): void => {
    for (const shard of shards) shard.end();
    bell.ring();
  };
  const isWanted = (): boolean => signal?.aborted !== true;
  signal?.addEventListener("abort", end);
  try {
    if (!isWanted()) return;
    await Promise.all(shards.map((shard, index) => shard.begin(places?.[index])));
    // At once, so that who leaves before anything happens can come again.
    yield { events: [], position: positionOf(shards) };
    while (isWanted()) {
      let isNew = false;
      for (const shard of shards) {
        const batches = shard.take();
        if (batches === undefined) continue;
        isNew = true;
        yield pageOf(shards, shard, batches, isMeant);
      }
      if (!isNew) await bell.rung();
    }
  } finally {
    signal?.removeEventListener("abort", end);
    end();
  }
}

/** Reads one shard for one reader, a page ahead. */
class ShardReader {
  /** Behind what was taken. */
  place: Place = { seq: 0, mark: "" };
  readonly #source: EventsSource;
  readonly #shard: number;
  readonly #ring: () => void;
  readonly #taken = new Doorbell();
  readonly #leaving = new AbortController();
  readonly #known = new KnownRuns(maxRuns);
  #tail: JournalTail | undefined = undefined;
  #leave: () => void = () => {};
  #page: readonly ToldBatch[] | undefined = undefined;
  #failure: WheelworkError | undefined = undefined;

  constructor(source: EventsSource, shard: number, ring: () => void) {
    this.#source = source;
    this.#shard = shard;
    this.#ring = ring;
  }

  /** Begins behind a place, or now. @throws what the shard says. */
  async begin(place: Place | undefined): Promise<void> {
    try {
      if (place === undefined) this.place = await this.#join().end();
      else {
        this.place = place;
        await this.#readOn();
      }
    } catch (error) {
      throw toldOf(error);
    }
    void this.#run();
  }

  /** What has come; undefined: nothing yet. @throws WheelworkError when nothing will come any more. */
  take(): readonly ToldBatch[] | undefined {
    if (this.#failure !== undefined) throw this.#failure;
    const page = this.#page;
    this.#page = undefined;
    return page;
  }

  /** What was taken is told. */
  next(place: Place): void {
    this.place = place;
    this.#taken.ring();
  }

  end(): void {
    this.#leaving.abort();
    this.#leave();
    this.#tail = undefined;
    this.#taken.ring();
  }

  async #run(): Promise<void> {
    const { signal } = this.#leaving;
    while (!signal.aborted) {
      try {
        if (this.#page === undefined && !(await this.#readOn())) await this.#tail?.more();
      } catch (error) {
        if (!this.#mayGoOn(toldOf(error))) return;
        await pause(this.#source.clock, awayMs, signal);
      }
      if (this.#page === undefined) continue;
      this.#ring();
      await this.#taken.rung();
      // One page in a turn of the loop: there may be many readers, and much to read.
      await nextTurn(this.#source.clock);
    }
  }

  /** Whether there is something new. */
  async #readOn(): Promise<boolean> {
    const page = await this.#join().after(this.place, this.place.read !== undefined, this.#known);
    if (page.length > 0) this.#page = page;
    return page.length > 0;
  }

  /** The journal as it is reached now: the shard may have moved. */
  #join(): JournalTail {
    const tail = this.#source.shards()[this.#shard]?.tail;
    if (tail === undefined) throw gone();
    if (tail === this.#tail) return tail;
    this.#leave();
    this.#leave = this.#leaving.signal.aborted ? () => {} : tail.join();
    this.#tail = tail;
    return tail;
  }

  #mayGoOn(error: WheelworkError): boolean {
    if (this.#leaving.signal.aborted) return false;
    const isOpen = this.#isOpen();
    // A shard that has moved has closed its store here.
    if (isOpen && (error.retryable || this.#source.shards()[this.#shard]?.tail !== this.#tail)) return true;
    this.#failure = error;
    this.#ring();
    return false;
  }

  #isOpen(): boolean {
    try {
      return this.#source.shards().length > 0;
    } catch {
      return false;
    }
  }
}

/** What was taken of a shard as a page. */
function pageOf(
  shards: readonly ShardReader[],
  shard: ShardReader,
  batches: readonly ToldBatch[],
  isMeant: Meant,
): EventsPage {
  const at = shards.indexOf(shard);
  const texts = shards.map(({ place }) => `${placeText(place)}-`);
  const [before, behind] = [texts.slice(0, at).join(""), texts.slice(at + 1).join("")];
  const position = (place: Place): string => `${before}${placeText(place)}-${behind}`.slice(0, -1);
  const events: ToldEvent[] = [];
  let { seq, read = 0 } = shard.place;
  for (const batch of batches) {
    if (batch.seq !== seq) [seq, read] = [batch.seq, 0];
    const { mark, runs } = batch;
    const count = runs.reduce((sum, run) => sum + run.events.length, 0);
    let number = 0;
    for (const { key, events: all, facts } of runs)
      for (const event of all) {
        if (++number <= read || !isMeant(key, facts, event)) continue;
        const { hub, labels } = facts;
        events.push({
          position: position(number === count ? { seq, mark } : { seq, mark, read: number }),
          id: givenKey(key),
          hub,
          ...(labels === undefined ? {} : { labels }),
          event,
        });
      }
  }
  const last = batches.at(-1);
  if (last !== undefined) shard.next({ seq: last.seq, mark: last.mark });
  return { events, position: positionOf(shards) };
}

const positionOf = (shards: readonly ShardReader[]): string =>
  shards.map(({ place }) => placeText(place)).join("-");

/** A place as a text: the number of the batch, its mark, and how many of its events are read, in base 36. */
const placeText = ({ seq, mark, read }: Place): string =>
  `${seq.toString(36)}.${mark}${read === undefined ? "" : `.${read.toString(36)}`}`;

/** The places of a position, one for each shard. @throws WheelworkError WW_INVALID_REQUEST, WW_EVENTS_GONE. */
function placesOf(position: string, shards: number): Place[] {
  if (typeof position !== "string") throw invalid([{ path: "after", message: "is no position" }]);
  const places = position.split("-").map((text) => {
    const [, seq, mark, read] = /^([0-9a-z]{1,10})\.([0-9a-z]{0,5})(?:\.([0-9a-z]{1,10}))?$/.exec(text) ?? [];
    if (seq === undefined || mark === undefined)
      throw invalid([{ path: "after", message: "is no position" }]);
    const place = { seq: Number.parseInt(seq, 36), mark };
    return read === undefined ? place : { ...place, read: Number.parseInt(read, 36) };
  });
  // It is of another engine.
  if (places.length !== shards) throw gone();
  return places;
}

type Meant = (key: string, facts: RunFacts, event: RunEvent) => boolean;

/** Which events a filter means. @throws WheelworkError WW_INVALID_REQUEST with every problem. */
function meant(filter: EventFilter, keysOf: (id: string) => readonly string[]): Meant {
  const { hub, state, type, request, labels = {} } = filter;
  // Of hubs, states and labels the same is said as in the filter of a list.
  const problems = problemsOf({
    ...(hub === undefined ? {} : { hub }),
    ...(state === undefined ? {} : { state }),
    ...(filter.labels === undefined ? {} : { labels }),
  });
  for (const [path, given] of Object.entries({ type, request }))
    if (given !== undefined && !areTexts(given)) problems.push({ path, message: mustBeTexts });
  if (problems.length > 0) throw invalid(problems);
  for (const one of listOf(type) ?? [])
    if (!Object.hasOwn(types, one)) problems.push({ path: "type", message: `${one} is no type of events` });
  for (const id of listOf(request) ?? []) {
    const problem = keyProblem(id);
    if (problem !== undefined) problems.push({ path: "request", message: problem });
  }
  if (problems.length > 0) throw invalid(problems);
  const [hubs, states, kinds] = [setOf(hub), setOf(state), setOf<EventType>(type)];
  const keys = listOf(request)?.flatMap(keysOf);
  const wanted = Object.entries(labels).map(([name, values]) => [name, setOf(values)] as const);
  return (key, facts, event) =>
    hubs?.has(facts.hub) !== false &&
    kinds?.has(event.type) !== false &&
    (states === undefined || (event.type === "entered" && states.has(event.state))) &&
    (keys === undefined || keys.some((one) => key === one || key.startsWith(`${one}/`))) &&
    wanted.every(([name, values]) => {
      const value = facts.labels?.[name];
      return value !== undefined && values?.has(value) !== false;
    });
}

const listOf = <T extends string>(given: T | readonly T[] | undefined): readonly T[] | undefined =>
  given === undefined ? undefined : typeof given === "string" ? [given] : given;

const setOf = <T extends string>(given: T | readonly T[] | undefined): ReadonlySet<T> | undefined => {
  const list = listOf(given);
  return list === undefined ? undefined : new Set(list);
};

const invalid = (problems: readonly Problem[]): WheelworkError =>
  new WheelworkError("WW_INVALID_REQUEST", "the events that are asked for are not valid", { problems });
