import { WheelworkError } from "@wheelwork/core";
import { knownCommand, Run, textOf } from "@wheelwork/core/kernel";
import { scheduleHubName, scheduleKey } from "../ports/keys.ts";
import { dueOf, triggerKey, upcoming, type ScheduleCommand, type ScheduleData } from "../schedules/hub.ts";
import type { ShardAccess, Shards } from "./access.ts";
import type { CommandOptions } from "./api.ts";
import { commandResult, isNotFound } from "./commands.ts";
import { commandIdOf, giverOf, signalHash } from "./validate.ts";

/** A schedule, as an operator sees it. */
export interface ScheduleView {
  readonly name: string;
  /**
   * `active`: it ticks. `paused`: somebody has paused it. `absent`: a tick is due, and the engine that works on it does not have it: one
   * that has it makes up for what was missed. `removed`: no engine has had it for a day, or somebody has removed it. `incident`: its
   * `request` has thrown, or made what the hub refuses: retry the request `id`.
   */
  readonly status: "active" | "paused" | "absent" | "removed" | "incident";
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
 *
 * A command with a `commandId` counts once, however often it is sent: send it again with the same one if you do not know whether it has
 * come. Another command under the same id is refused with WW_KEY_REUSED.
 */
export interface ScheduleHandle {
  readonly name: string;
  view(): Promise<ScheduleView>;
  /** The instants of the next ticks, in milliseconds since 1970: as many as that, or fewer if there are no more. */
  next(count: number): Promise<readonly number[]>;
  /** It ticks no more, until somebody resumes it. */
  pause(options?: CommandOptions): Promise<void>;
  /** It ticks again. What was due meanwhile is left out: ask for it with `backfill`. */
  resume(options?: CommandOptions): Promise<void>;
  /** It ticks no more, and what it owes is forgotten. The next start of an engine that has it brings it back. */
  remove(options?: CommandOptions): Promise<void>;
  /** Makes a request now, also while it is paused. The result is its key: for the same `commandId` the same one. */
  trigger(options?: CommandOptions): Promise<string>;
  /**
   * Makes the requests of all ticks of the past from one time to another, both included, in milliseconds since 1970. Those that were
   * made before are known by their keys, as long as they are kept.
   * @throws WheelworkError WW_INVALID_INPUT.
   */
  backfill(range: { readonly from: number; readonly to: number }, options?: CommandOptions): Promise<void>;
}

/** What a Date can hold. */
const isInstant = (time: unknown): time is number =>
  typeof time === "number" && !Number.isNaN(new Date(time).getTime());

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
          : run.state === "Absent"
            ? "absent"
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
    if (typeof count !== "number" || Number.isNaN(count))
      throw new WheelworkError("WW_INVALID_REQUEST", "the ticks that are asked for are not valid", {
        problems: [{ path: "count", message: "must be a number" }],
      });
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

  async pause(options?: CommandOptions): Promise<void> {
    await this.#send(options, () => ({ name: "pause", payload: {} }));
  }

  async resume(options?: CommandOptions): Promise<void> {
    await this.#send(options, () => ({ name: "resume", payload: {} }));
  }

  async remove(options?: CommandOptions): Promise<void> {
    await this.#send(options, () => ({ name: "remove", payload: {} }));
  }

  async trigger(options?: CommandOptions): Promise<string> {
    const id = await this.#send(options, (commandId) => ({ name: "trigger", payload: { id: commandId } }));
    return triggerKey(this.name, id);
  }

  async backfill(
    range: { readonly from: number; readonly to: number },
    options?: CommandOptions,
  ): Promise<void> {
    const { from, to } = range;
    const isSound = isInstant(from) && isInstant(to) && from <= to;
    if (!isSound)
      throw new WheelworkError("WW_INVALID_INPUT", "the schedule cannot be filled", {
        problems: [
          { path: "from", message: "and `to` must be times, in milliseconds since 1970, in this order" },
        ],
      });
    const payload = { from: Math.floor(from), to: Math.floor(to) };
    await this.#send(options, () => ({ name: "backfill", payload }), { from, to });
  }

  get #key(): string {
    return scheduleKey(this.name);
  }

  get #access(): ShardAccess {
    return this.#shards.of(this.#key);
  }

  async #run(): Promise<Run> {
    const found = await this.#access.lookUp(this.#key).catch((error: unknown) => {
      if (isNotFound(error)) return undefined;
      throw error;
    });
    if (found?.known instanceof Run && found.known.hub === scheduleHubName) return found.known;
    throw new WheelworkError("WW_NOT_FOUND", `there is no schedule ${textOf(this.name)}`, {
      next: "Check its name in the list of schedules. A new one: give it to the engine, to the nodes or to the topology (`schedules`).",
    });
  }

  /** Sends a command. `said`: what its sender says, which is the same when it is sent again. The result is its id. */
  async #send(
    options: CommandOptions | undefined,
    make: (id: string) => ScheduleCommand,
    said: object = {},
  ): Promise<string> {
    const id = commandIdOf(options);
    const giver = giverOf(options);
    const run = await this.#run();
    const { name: signal, payload } = make(id);
    const hash = options?.commandId === undefined ? {} : { hash: signalHash(signal, said) };
    // One that came before it was removed has counted.
    if (run.state === "Removed" && knownCommand(run, "signal", { id, ...hash }) === undefined)
      throw this.#isRemoved();
    const ignored = await this.#access.deliver(this.#key, {
      kind: "signal",
      id,
      signal,
      payload,
      ...hash,
      ...giver,
    });
    if (commandResult(this.#key, ignored) === "ended") throw this.#isRemoved();
    return id;
  }

  #isRemoved(): WheelworkError {
    return new WheelworkError("WW_NOT_FOUND", `the schedule ${this.name} is removed`, {
      next: "Give it to the engine, to the nodes or to the topology (`schedules`).",
    });
  }
}
