import { WheelworkError } from "@wheelwork/core";
import { Run } from "@wheelwork/core/kernel";
import { randomUUID } from "node:crypto";
import { scheduleHubName, scheduleKey } from "../ports/keys.ts";
import { dueOf, tickKey, upcoming, type ScheduleCommand, type ScheduleData } from "../schedules/hub.ts";
import type { ShardAccess, Shards } from "./access.ts";

/** A schedule, as an operator sees it. */
export interface ScheduleView {
  readonly name: string;
  /**
   * `active`: it ticks. `paused`: somebody has paused it. `removed`: the engine that works on it does not have it any more, or somebody
   * has cancelled it. `incident`: its `request` has thrown, or made what the hub refuses: retry the request `id`.
   */
  readonly status: "active" | "paused" | "removed" | "incident";
  /** The id of the request that is the schedule: its history has all that happened to it. */
  readonly id: string;
  /** Ticks up to this instant are done, or left out. */
  readonly lastAt: number;
  /** The instant of the next tick. Absent: there is none. */
  readonly nextAt?: number;
  /** When that begins: later by its jitter. */
  readonly nextDue?: number;
}

/**
 * One schedule. `engine.schedule(name)` makes it. Each method rejects with WW_NOT_FOUND if there is no such schedule. So do commands if
 * it is removed.
 */
export interface ScheduleHandle {
  readonly name: string;
  view(): Promise<ScheduleView>;
  /** The instants of the next ticks, in milliseconds since 1970: as many as that, or fewer if there are no more. */
  next(count: number): Promise<readonly number[]>;
  /** It ticks no more, until somebody resumes it. */
  pause(): Promise<void>;
  /** It ticks again. What was due meanwhile is left out: ask for it with `backfill`. */
  resume(): Promise<void>;
  /** Makes a request now, also while it is paused. The result is its key. */
  trigger(): Promise<string>;
  /**
   * Makes the requests of all ticks of the past from one time to another, both included, in milliseconds since 1970. Those that were
   * made before are known by their keys, as long as they are kept.
   * @throws WheelworkError WW_INVALID_INPUT.
   */
  backfill(range: { readonly from: number; readonly to: number }): Promise<void>;
}

/** What a Date can hold. */
const isInstant = (time: number): boolean => !Number.isNaN(new Date(time).getTime());

/** The most instants that one question gives. */
const maxNext = 10_000;

/** A schedule of any engine: its run is asked, and gets signals. */
export class EngineSchedule implements ScheduleHandle {
  readonly name: string;
  readonly #shards: Pick<Shards, "of">;

  constructor(shards: Pick<Shards, "of">, name: string) {
    this.#shards = shards;
    this.name = name;
  }

  async view(): Promise<ScheduleView> {
    const run = await this.#run();
    const data = run.data as ScheduleData;
    const { name } = this;
    const status =
      run.status === "incident"
        ? "incident"
        : run.state === "Removed"
          ? "removed"
          : data.paused === true
            ? "paused"
            : "active";
    const [next, due] = status === "active" || status === "incident" ? [upcoming(data), dueOf(data)] : [];
    return {
      name,
      status,
      id: run.key,
      lastAt: data.last,
      ...(next === undefined ? {} : { nextAt: next.at }),
      ...(due === undefined ? {} : { nextDue: due }),
    };
  }

  async next(count: number): Promise<readonly number[]> {
    const { data, state } = await this.#run();
    const found: number[] = [];
    if (state === "Removed") return found;
    let next = upcoming(data as ScheduleData);
    while (next !== undefined && found.length < Math.min(count, maxNext)) {
      found.push(next.at);
      next = upcoming({ ...next, last: next.at });
    }
    return found;
  }

  async pause(): Promise<void> {
    await this.#send(() => ({ name: "pause", payload: {} }));
  }

  async resume(): Promise<void> {
    await this.#send((at) => ({ name: "resume", payload: { at } }));
  }

  async trigger(): Promise<string> {
    const at = await this.#send((now) => ({ name: "trigger", payload: { at: now } }));
    return tickKey(this.name, at);
  }

  async backfill({ from, to }: { readonly from: number; readonly to: number }): Promise<void> {
    const isSound = isInstant(from) && isInstant(to) && from <= to;
    if (!isSound)
      throw new WheelworkError("WW_INVALID_INPUT", "the schedule cannot be filled", {
        problems: [
          { path: "from", message: "and `to` must be times, in milliseconds since 1970, in this order" },
        ],
      });
    await this.#send((at) => ({
      name: "backfill",
      // What is to come will tick by itself.
      payload: { from: Math.floor(from), to: Math.min(Math.floor(to), at) },
    }));
  }

  get #key(): string {
    return scheduleKey(this.name);
  }

  get #access(): ShardAccess {
    return this.#shards.of(this.#key);
  }

  async #run(): Promise<Run> {
    const { known } = await this.#access.lookUp(this.#key);
    if (known instanceof Run && known.hub === scheduleHubName) return known;
    throw new WheelworkError("WW_NOT_FOUND", `there is no schedule ${this.name}`, {
      next: "Give it to the engine (`schedules`).",
    });
  }

  /** Sends a command, made of the time. The result is that time, in milliseconds since 1970. */
  async #send(make: (at: number) => ScheduleCommand): Promise<number> {
    const { state } = await this.#run();
    if (state === "Removed")
      throw new WheelworkError("WW_NOT_FOUND", `the schedule ${this.name} is removed`, {
        next: "Give it to the engine (`schedules`).",
      });
    const at = Math.floor(this.#access.now());
    const { name: signal, payload } = make(at);
    const id = randomUUID();
    const ignored = await this.#access.deliver(this.#key, { kind: "signal", id, signal, payload });
    if (ignored === undefined) return at;
    throw new WheelworkError("WW_NOT_FOUND", `the schedule ${this.name} takes nothing more: ${ignored}`);
  }
}
