import {
  WheelworkError,
  type Answer,
  type HeldPlace,
  type RunEvent,
  type RunLane,
  type WhenBusy,
} from "@wheelwork/core";
import {
  canonicalJson,
  grant,
  incidentOf,
  laneError,
  laneKeyOf,
  pend,
  unbegunAfterWait,
  waitedRequest,
  whenBusyOf,
  type Env,
  type ExclusiveDefinition,
  type HubDefinition,
  type Input,
  type Run,
  type RunOrigin,
  type StartOptions,
} from "@wheelwork/core/kernel";
import { givenKey, keyInLane, rootOf, routeOf } from "../ports/keys.ts";
import type { Batch, Culprit, LiveRun } from "./batch.ts";
import type { CarriedItem } from "./carried.ts";
import type { Lane } from "./lanes.ts";
import type { Residency } from "./residency.ts";

/** Rank is the time of acceptance, less so much for each step of priority: nothing waits for ever behind what is urgent. */
const priorityMs = 60_000;
/** So many places a batch may grant. It leaves 40 bits for the number of the batch. */
const grantsOfBatch = 2 ** 13;
/** Ids of runs that are in the way which an error names. */
const maxNamed = 20;

/** What a new run is made from, and how urgent it is. */
export interface ArrivalOptions extends StartOptions {
  readonly priority?: number;
}

/** Somebody comes to a lane. */
export interface Arrival {
  readonly key: string;
  readonly definition: HubDefinition;
  readonly exclusive: ExclusiveDefinition;
  readonly lane: Pick<RunLane, "name" | "key">;
  /** What it does if all places are taken. */
  readonly whenBusy: WhenBusy;
  readonly options: ArrivalOptions;
  /** Begins the run, with its place. */
  readonly begin: (options: StartOptions) => void;
  /** A run that was accepted before: its time has come. */
  readonly live?: LiveRun;
}

/**
 * Somebody comes to a lane, whose key is made here, once.
 * @throws WheelworkError WW_DEFECT when the hub cannot say the key of its lane, or what a busy lane means to it.
 */
export function arrivalOf(
  key: string,
  definition: HubDefinition,
  exclusive: ExclusiveDefinition,
  options: ArrivalOptions,
  begin: Arrival["begin"],
): Arrival {
  const lane = { name: exclusive.lane, key: laneKeyOf(definition, options.request) };
  const whenBusy = whenBusyOf(definition, options.request);
  return { key, definition, exclusive, lane, whenBusy, options, begin };
}

/** A request must be in the shard of its lane. @throws WheelworkError WW_DEFECT when it is not. */
export function demandLane({ key, definition, lane }: Arrival): void {
  if (keyInLane(key, lane.name, lane.key) === key) return;
  throw new WheelworkError(
    "WW_DEFECT",
    `exclusive.by of the hub ${definition.name} gave another key than before`,
    {
      next: "Make it a pure function of the request.",
    },
  );
}

/** What says by which call a run was begun, if it was. */
interface Called {
  readonly parent?: RunOrigin["parent"];
  readonly caller?: RunOrigin["caller"];
}

/** What the keeper of lanes asks of the decider. */
export interface Deciding {
  record(batch: Batch, live: LiveRun, events: readonly RunEvent[]): undefined;
  decide(batch: Batch, live: LiveRun, input: Input, now: number): void;
  envAt(now: number): Env;
  definition(hub: string): HubDefinition;
  /** The number of the batch that is decided. */
  nextSeq(): number;
  /** What the store has said of a run that it has refused. */
  culprit(key: string): Culprit | undefined;
  carry(item: CarriedItem): void;
  /** Decides an input in the same batch, once the present decision is recorded. */
  atOnce(key: string, input: Input): void;
}

/**
 * Gives the places of lanes to runs, as a part of the decider: what comes and what ends is decided together with who begins, in one
 * commit. There is no message for it, and no commit more.
 *
 * ```
 *   a request comes    a place is free, and nobody waits     it begins
 *                      otherwise                             what the hub says: it waits, joins, replaces or is refused
 *   a run has ended    its place is free                     the next one is granted it, in the same batch
 *   a claim            a place is free, somebody waits       the next one is granted it
 * ```
 *
 * The next one may not be in memory, if the place became free in the very batch that made it the next one. Then its grant is carried
 * over to the batch that has read it. That follows from what is stored, as all that is carried does (I23).
 */
export class LaneKeeper {
  readonly #residency: Residency;
  readonly #deciding: Deciding;
  readonly #isOnly: boolean;
  #fence = 0;

  /** @param isOnly There is no other shard in which a lane could be. */
  constructor(residency: Residency, deciding: Deciding, isOnly: boolean) {
    this.#isOnly = isOnly;
    this.#residency = residency;
    this.#deciding = deciding;
  }

  /**
   * Begins a run of a hub with a lane, or lets it wait. The result is why it does neither, as an answer.
   * @throws WheelworkError WW_DEFECT when the lane may be in another shard.
   */
  arrive(batch: Batch, arrival: Arrival, now: number): Answer | undefined {
    const { definition, exclusive, lane: of, whenBusy, options, begin, key } = arrival;
    const lane = this.#residency.lanes.get(of);
    const shares = lane === undefined ? undefined : this.#placeAbove(options, lane);
    if (shares === undefined) this.#demandHere(rootOf(key), of, exclusive, definition.name);
    if (lane === undefined || lane.isOpen || shares !== undefined) {
      const stays = whenBusy === "join" || whenBusy === "replace" ? ({ stays: true } as const) : {};
      const held: RunLane =
        shares === undefined
          ? { ...of, fence: this.#nextFence(), ...stays }
          : { ...of, ...(shares.fence === undefined ? {} : { fence: shares.fence }), shares: shares.place };
      return void begin({ ...options, lane: held });
    }
    const rank = lane.rankAt(now - (options.priority ?? 0) * priorityMs);
    switch (whenBusy) {
      case "refuse":
        return busy(lane);
      case "queue":
        if (lane.queued >= exclusive.queueLimit) return full(lane);
        return this.#wait(batch, arrival, { ...of, rank }, now);
      case "join":
        return this.#join(batch, arrival, lane, now);
      case "latest":
      case "replace": {
        const before = lane.newestOf(definition.name);
        if (before === undefined && lane.queued >= exclusive.queueLimit) return full(lane);
        if (before !== undefined) this.#end(batch, before, replaced(lane, key), now);
        this.#wait(batch, arrival, { ...of, rank, stays: true }, now);
        if (whenBusy === "replace") this.#cancelHolders(lane, definition, key);
        return undefined;
      }
    }
  }

  /** The time of a run has come: it begins, or comes to its lane as a request that is sent now. */
  comes(batch: Batch, live: LiveRun, now: number): undefined {
    const deciding = this.#deciding;
    const { run } = live;
    const { key, hub, origin, start } = run;
    const definition = deciding.definition(hub);
    const { exclusive } = definition;
    const begin = ({ lane }: Pick<StartOptions, "lane">): void =>
      this.#begin(batch, live, lane === undefined ? {} : { lane }, now);
    // It was accepted before its hub had a lane, which may be in another shard now.
    if (exclusive === undefined || (!this.#isOnly && routeOf(key) === key)) return void begin({});
    let busy: Answer | undefined;
    try {
      const options = { request: laneRequest(definition, run), hash: origin.hash, ...start?.arrival };
      const arrival = { ...arrivalOf(key, definition, exclusive, options, begin), live };
      busy = this.arrive(batch, arrival, now);
    } catch (error) {
      // It was accepted by a version that could tell its lane, or by one to which it was another lane.
      busy = { kind: "error", code: "WW_INCIDENT", message: (error as Error).message };
    }
    if (busy !== undefined) this.#end(batch, key, busy, now);
  }

  /** Accepts a request, and answers it in the same batch: its sender can be told in no other way. */
  answer(batch: Batch, arrival: Arrival, answer: Answer, now: number): void {
    this.#wait(batch, arrival, arrival.lane, now);
    this.#end(batch, arrival.key, answer, now);
  }

  /** Gives the free places of a lane to those who are next. */
  grant(batch: Batch, lane: Lane, now: number): void {
    lane.isCarried = false;
    while (lane.canGrant) {
      const next = lane.next();
      if (next === undefined) return;
      const live = this.#residency.fetch(next.key, batch.found);
      if (live === undefined && !batch.found.has(next.key)) return this.#carry(lane, next.key);
      if (live === undefined) {
        // The store has no such run any more.
        lane.leave(next.key, next.hub);
        continue;
      }
      const { run } = live;
      if (run.due !== undefined && run.due <= now) {
        // Its time was over before its turn came.
        this.#deciding.decide(batch, live, { kind: "due" }, now);
        continue;
      }
      this.#begin(batch, live, { fence: this.#nextFence() }, now);
    }
    this.#residency.prepare(lane);
  }

  /** A run with a lane has its answer: so have those that wait for it. */
  answered(batch: Batch, run: Run, now: number): void {
    const { answer, key, lane } = run;
    if (lane === undefined || answer === undefined) return;
    for (const joined of this.#residency.lanes.get(lane)?.joinedTo(key) ?? [])
      this.#end(batch, joined, answer, now);
  }

  /** What is owed at a claim: places that are free, and that somebody waits for. */
  resume(lane: Lane): void {
    if (!lane.canGrant) return;
    const next = lane.next();
    if (next !== undefined) this.#carry(lane, next.key);
  }

  #isHere(
    root: string,
    { name, key }: Pick<RunLane, "name" | "key">,
    exclusive: ExclusiveDefinition,
  ): boolean {
    return this.#isOnly || exclusive.isOfShard === true || keyInLane(root, name, key) === root;
  }

  /** A run is in the shard of its request. It can wait for no place of another one. */
  #demandHere(root: string, lane: Arrival["lane"], exclusive: ExclusiveDefinition, hub: string): void {
    if (this.#isHere(root, lane, exclusive)) return;
    const what = `the request to ${hub} was accepted for another lane than ${lane.name} ${lane.key}`;
    throw new WheelworkError("WW_DEFECT", `${what}, which may be in another shard`, {
      next: "Send it again.",
    });
  }

  #begin(
    batch: Batch,
    live: LiveRun,
    place: { readonly lane?: RunLane; readonly fence?: number },
    now: number,
  ): void {
    const { run } = live;
    const deciding = this.#deciding;
    const refused = deciding.culprit(run.key);
    const events = grant(deciding.definition(run.hub), run, deciding.envAt(now), place);
    const [granted] = events;
    if (refused !== undefined && granted?.type === "granted") {
      // It holds its place, as each run that is parked, and begins with its retry.
      const parked = incidentOf(refused.error, unbegunAfterWait(run), deciding.envAt(now));
      deciding.record(batch, live, [{ ...granted, data: null }, parked]);
      return;
    }
    deciding.record(batch, live, events);
    if (events.length === 1) deciding.carry({ kind: "begin", key: run.key });
  }

  /** It rises from batch to batch, over all claims, and within a batch. */
  #nextFence(): number {
    this.#fence = Math.max(this.#fence + 1, this.#deciding.nextSeq() * grantsOfBatch);
    return this.#fence;
  }

  #carry(lane: Lane, next: string): void {
    this.#residency.want(next);
    if (lane.isCarried) return;
    lane.isCarried = true;
    this.#deciding.carry({ kind: "grant", lane });
  }

  /**
   * The place that a run shares: it belongs to the calls of a run that has one. The run that was granted it may have ended. One that
   * was named by another shard may be free by now.
   */
  #placeAbove(of: Called, lane: Lane): HeldPlace | undefined {
    const { name, key } = lane;
    for (const held of this.#heldAbove(of))
      if (held.name === name && held.key === key && lane.isHeld(held)) return held;
    return undefined;
  }

  /** The places of those that a run belongs to, the nearest first. Where the calls come from another shard, that has named its own. */
  *#heldAbove({ parent, caller }: Called): Iterable<HeldPlace> {
    if (parent === undefined) return void (yield* caller?.places ?? []);
    const above = this.#residency.get(parent.key)?.run;
    if (above !== undefined) yield* this.#heldOf(above);
  }

  *#heldOf(run: Run): Iterable<HeldPlace> {
    const { key, lane } = run;
    if (lane !== undefined && lane.rank === undefined && lane.joins === undefined) {
      const { name, key: of, shares: place = key, fence } = lane;
      yield { name, key: of, place, ...(fence === undefined ? {} : { fence }) };
    }
    yield* this.#heldAbove(run.origin);
  }

  /** How many calls of hubs are above a run, in this shard and in those that have called it. */
  depthOf({ key }: Run): number {
    const root = rootOf(key);
    const caller = this.#residency.get(root)?.run.origin.caller;
    return key.slice(root.length).split("/").length - 1 + (caller?.depth ?? 0);
  }

  /** Whether a call needs a place of a lane that may be in another shard. */
  isElsewhere({ key, lane, exclusive, options }: Arrival): boolean {
    if (this.#isHere(rootOf(key), lane, exclusive)) return false;
    const open = this.#residency.lanes.get(lane);
    return open === undefined || this.#placeAbove(options, open) === undefined;
  }

  /** The places that what a run calls in another shard shares: the nearest of each lane. */
  placesOf(run: Run): readonly HeldPlace[] {
    const places = new Map<string, HeldPlace>();
    for (const held of this.#heldOf(run)) {
      const id = `${held.name} ${held.key}`;
      if (!places.has(id)) places.set(id, held);
    }
    return [...places.values()];
  }

  #wait(batch: Batch, { key, definition, options, live }: Arrival, lane: RunLane, now: number): undefined {
    const event = pend(definition, { ...options, lane }, this.#deciding.envAt(now));
    if (live === undefined) return this.#deciding.record(batch, this.#residency.begin(key), [event]);
    const { due, answerBy } = event as RunEvent & { type: "accepted" };
    this.#deciding.record(batch, live, [{ type: "arrived", at: now, lane, due, answerBy }]);
  }

  /** An equal request gets the answer of a run that holds a place. */
  #join(batch: Batch, arrival: Arrival, lane: Lane, now: number): Answer | undefined {
    const { definition, exclusive, options } = arrival;
    const body = canonicalJson(options.request);
    for (const holder of lane.holders) {
      const run = this.#residency.get(holder)?.run;
      if (run?.hub !== definition.name || canonicalJson(run.origin.request) !== body) continue;
      if (run.answer === undefined && lane.joined >= exclusive.queueLimit) return full(lane);
      const joining: RunLane = { name: lane.name, key: lane.key, joins: holder, stays: true };
      this.#wait(batch, arrival, joining, now);
      // It cleans up by now.
      if (run.answer !== undefined) this.#end(batch, arrival.key, run.answer, now);
      return undefined;
    }
    return busy(lane);
  }

  #cancelHolders(lane: Lane, { name }: HubDefinition, key: string): void {
    for (const holder of lane.holders) {
      if (this.#residency.get(holder)?.run.hub !== name) continue;
      this.#deciding.atOnce(holder, { kind: "cancel", id: `replaced by ${key}` });
    }
  }

  /** Ends a run that waits. */
  #end(batch: Batch, key: string, answer: Answer, now: number): undefined {
    const live = this.#residency.get(key);
    if (live?.run.status !== "pending") return;
    this.#deciding.record(batch, live, [{ type: "ended", at: now, answer }]);
  }
}

/** What the lane of a request is made of. One that the present schema refuses has a lane nevertheless: its grant parks it. */
function laneRequest(definition: HubDefinition, run: Run): unknown {
  try {
    return waitedRequest(definition, run);
  } catch {
    return run.origin.request;
  }
}

/** A refusal as its sender gets it who waits for the acceptance. */
export const refusalOf = (answer: Answer): WheelworkError => {
  const { message, details } = answer as Extract<Answer, { kind: "error" }>;
  return new WheelworkError("WW_BUSY", message, {
    next: "Send the request again when these have ended, with the same key.",
    details,
    retryable: true,
  });
};

const busy = (lane: Lane): Answer => {
  const holders = Array.from(lane.holders, givenKey).slice(0, maxNamed);
  return laneError("WW_BUSY", `the lane ${lane.name} ${lane.key} is taken by ${holders.join(", ")}`, {
    holders,
  });
};

const full = (lane: Lane): Answer => {
  const holders = Array.from(lane.holders, givenKey).slice(0, maxNamed);
  const message = `in the lane ${lane.name} ${lane.key} as many requests wait as may`;
  return laneError("WW_BUSY", message, { holders });
};

const replaced = (lane: Lane, key: string): Answer => {
  const by = givenKey(key);
  return laneError("WW_REPLACED", `a later request of the lane ${lane.name} ${lane.key} goes first: ${by}`, {
    by,
  });
};
