import type { RemoteCaller, RunEvent, RunLane } from "@wheelwork/core";
import { isDeepStrictEqual } from "node:util";
import type { Evidence } from "./evidence.ts";
import { plain, type RunModel } from "./model.ts";
import type { Ownership } from "./ownership.ts";

interface LaneModel {
  /** The runs under each place, by the run that was granted it. */
  readonly places: Map<string, Set<string>>;
  /** Those who wait for their turn. */
  readonly queue: Map<string, RunLane>;
  /** Since when a place is free and somebody waits for it, in simulated time. */
  freeSince: number | undefined;
}

/**
 * Who holds the places of lanes, and who waits for them, as the committed events say. No more runs hold places than there are (I29).
 * A place that somebody waits for is not free for long (I30). Whose rank is lowest goes first, and nobody waits longer than was
 * said (I31).
 */
export class LaneChecks {
  readonly #evidence: Evidence;
  readonly #ownership: Ownership;
  readonly #lanes = new Map<string, LaneModel>();
  /** The lanes of runs that have not ended. */
  readonly #lane = new Map<string, RunLane>();
  /** Who waits for the answer of a run. */
  readonly #joined = new Map<string, Set<string>>();
  readonly #changed = new Set<string>();
  /** The highest fence that was given with a place of each lane. */
  readonly #fences = new Map<string, number>();
  /** Those who hold a place since the commit that is looked at. */
  readonly #held: { readonly key: string; readonly lane: RunLane }[] = [];
  /** Those who have come with this commit. */
  readonly #new = new Set<string>();

  constructor(evidence: Evidence, ownership: Ownership) {
    this.#evidence = evidence;
    this.#ownership = ownership;
  }

  /** An event of a run. It is not applied to the model yet. */
  take(run: RunModel, event: RunEvent): void {
    switch (event.type) {
      case "started":
        return event.lane === undefined ? undefined : this.#hold(run.key, event.lane);
      case "accepted":
      case "arrived":
        return event.lane === undefined ? undefined : this.#waits(run.key, event.lane, event);
      case "granted":
        return event.lane === undefined ? this.#granted(run.key, event) : this.#hold(run.key, event.lane);
      case "answered":
        return this.#answered(run.key);
      case "ended":
        if (event.answer !== undefined) this.#answered(run.key);
        return this.#ended(run, event);
      default:
    }
  }

  /** A commit is looked at: what was free before it, and nobody was granted, was so for too long. */
  look(): void {
    for (const [id, { freeSince }] of this.#lanes)
      this.#demand(
        "I30",
        freeSince === undefined || !this.#ownership.hadTime(freeSince),
        () => `a place of ${id} is free, and nobody is granted it`,
      );
  }

  /** The commit is seen whole. */
  end(): void {
    this.#checkFences();
    for (const id of this.#changed) {
      const lane = this.#lanes.get(id);
      if (lane === undefined) continue;
      const slots = this.#evidence.system.slots.get(id.slice(0, id.indexOf(" "))) ?? Number.POSITIVE_INFINITY;
      const { places, queue } = lane;
      this.#demand(
        "I29",
        places.size <= slots,
        () => `${[...places.keys()].join(", ")} hold places of ${id}, which has ${slots}`,
      );
      const isFree = places.size < slots && queue.size > 0;
      lane.freeSince = isFree ? (lane.freeSince ?? this.#evidence.at) : undefined;
      if (places.size === 0 && queue.size === 0) this.#lanes.delete(id);
    }
    this.#changed.clear();
    this.#new.clear();
  }

  #demand(invariant: string, holds: boolean, message: () => string): void {
    this.#evidence.demand(invariant, holds, message);
  }

  #open(lane: RunLane): LaneModel {
    const id = `${lane.name} ${lane.key}`;
    this.#changed.add(id);
    let open = this.#lanes.get(id);
    if (open === undefined)
      this.#lanes.set(id, (open = { places: new Map(), queue: new Map(), freeSince: undefined }));
    return open;
  }

  #hold(key: string, lane: RunLane): void {
    this.#lane.set(key, lane);
    const { places } = this.#open(lane);
    const place = lane.shares ?? key;
    this.#demand(
      "I29",
      lane.shares === undefined || places.has(place),
      () => `${key} shares the place of ${place}, which has none`,
    );
    places.set(place, (places.get(place) ?? new Set()).add(key));
    this.#held.push({ key, lane });
  }

  /**
   * The fence rises with each place that is granted, and who shares a place has a fence that was granted. A commit names its runs in
   * the order in which it has come to them, and not in that of its grants.
   */
  #checkFences(): void {
    const granted = this.#held.splice(0);
    const byFence = granted.toSorted(
      ({ lane: { fence: one = 0 } }, { lane: { fence: other = 0 } }) => one - other,
    );
    for (const isShared of [false, true])
      for (const { key, lane } of byFence)
        if ((lane.shares !== undefined) === isShared) this.#checkFence(key, lane);
  }

  #checkFence(key: string, { name, key: of, shares, fence }: RunLane): void {
    const id = `${name} ${of}`;
    const last = this.#fences.get(id) ?? 0;
    const isSound = fence !== undefined && (shares === undefined ? fence > last : fence <= last);
    this.#demand("I29", isSound, () => `${key} has the fence ${fence}, and the last one of ${id} is ${last}`);
    if (fence !== undefined) this.#fences.set(id, Math.max(last, fence));
  }

  #waits(
    key: string,
    lane: RunLane,
    { due, answerBy, caller }: { due: number; answerBy: number; caller?: RemoteCaller },
  ): void {
    this.#lane.set(key, lane);
    const { places } = this.#open(lane);
    const above = caller?.places?.find(({ name, key: of }) => name === lane.name && of === lane.key)?.place;
    this.#demand(
      "I29",
      above === undefined || !places.has(above),
      () => `${key} waits for the place ${above}, which those above it hold`,
    );
    this.#new.add(key);
    this.#demand(
      "I31",
      Number.isFinite(due) && due <= answerBy,
      () => `${key} waits until ${due}, and is answered by ${answerBy}`,
    );
    if (lane.rank !== undefined) this.#open(lane).queue.set(key, lane);
    if (lane.joins !== undefined)
      this.#joined.set(lane.joins, (this.#joined.get(lane.joins) ?? new Set()).add(key));
  }

  /** Those who wait for the answer of a run have it with the same commit. */
  #answered(key: string): void {
    const joined = this.#joined.get(key);
    if (joined === undefined) return;
    this.#joined.delete(key);
    this.#evidence.later(() => {
      const left = [...joined].find((one) => this.#evidence.runs.get(one)?.status === "pending");
      this.#demand("I31", left === undefined, () => `${left} waits for the answer of ${key}, which is there`);
    });
  }

  #granted(key: string, { at, fence }: RunEvent & { type: "granted" }): void {
    const lane = this.#lane.get(key);
    if (lane === undefined) return;
    const { queue } = this.#open(lane);
    const { rank = Number.NaN } = lane;
    // A commit does not say in which order it has decided: only those count that waited before it, and wait still.
    const before = [...queue.keys()].filter((other) => other !== key && !this.#new.has(other));
    this.#evidence.later(() => {
      const first = before.find((other) => (queue.get(other)?.rank ?? Number.POSITIVE_INFINITY) < rank);
      this.#demand("I31", first === undefined, () => `${key} goes before ${first}, whose rank is lower`);
    });
    const { due } = this.#evidence.runs.get(key) ?? {};
    this.#demand(
      "I31",
      due !== undefined && at < due,
      () => `${key} begins at ${at}, and waited until ${due}`,
    );
    queue.delete(key);
    this.#hold(key, { name: lane.name, key: lane.key, ...(fence === undefined ? {} : { fence }) });
  }

  #ended({ key, hub }: RunModel, { answer }: RunEvent & { type: "ended" }): void {
    const lane = this.#lane.get(key);
    if (lane === undefined) return;
    this.#lane.delete(key);
    const { places, queue } = this.#open(lane);
    queue.delete(key);
    const place = lane.shares ?? key;
    const others = places.get(place);
    others?.delete(key);
    if (others?.size === 0) places.delete(place);
    const code = answer?.kind === "error" ? answer.code : undefined;
    if (code === "WW_REPLACED") {
      const { by } = (answer as { details: { readonly by: string } }).details;
      this.#evidence.later(() => {
        const { hub: otherHub, events = [] } = this.#evidence.runs.get(by) ?? {};
        // One that is to begin later has its place in the queue from then on.
        const [other] = events.flatMap((event) =>
          (event.type === "accepted" || event.type === "arrived") && event.lane !== undefined
            ? [event.lane]
            : [],
        );
        const isLater = otherHub === hub && other?.key === lane.key && (other.rank ?? 0) > (lane.rank ?? 0);
        this.#demand(
          "I31",
          isLater,
          () => `${key} is replaced by ${by}, which is none of its hub that came later`,
        );
      });
    }
    if (lane.joins !== undefined && answer?.kind !== "timeout" && code !== "WW_CANCELLED") {
      const { joins } = lane;
      this.#evidence.later(() => {
        const joined = this.#evidence.runs.get(joins)?.answer;
        this.#demand(
          "I31",
          isDeepStrictEqual(plain(answer), joined),
          () => `${key} has not the answer of ${joins}`,
        );
      });
    }
  }
}
