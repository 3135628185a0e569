import { WheelworkError, type AnyHub } from "@wheelwork/core";
import type { Bus, Schedule } from "@wheelwork/engine";
import { clusterTopics, shardOf, type Channel, type LogRecord } from "@wheelwork/engine/cluster";
import type { SimulatedClock } from "../../clock.ts";
import { MemoryBroker, MemoryLog } from "../../memory-log.ts";
import { MemoryStore } from "../../memory-store.ts";
import { Passages } from "../network.ts";
import { drawFor } from "../plans.ts";
import { clockOf, type OpenedSystem, type SimulatedSystem } from "../systems.ts";
import { Chronicle } from "./chronicle.ts";
import type { ShardsPlan } from "./plan.ts";

/** The topic of the inboxes. */
export const inbox = "wheelwork-inbox";
const partitionsOfChannels = 2;

/** What outlives all processes in a world of several shards: the clock, the log, the stores, and the world outside. */
export class Stage {
  readonly plan: ShardsPlan;
  /** The time in which the system's hubs do their work, in milliseconds. */
  readonly scaleMs: number;
  /** Errors that spokes declare come from their workers only. */
  readonly honest: boolean;
  readonly clock: SimulatedClock;
  readonly broker: MemoryBroker;
  /** The log, as those who are no process of the engine have it. */
  readonly outside: MemoryLog;
  readonly opened: OpenedSystem;
  readonly channels: readonly Channel[];
  readonly chronicle: Chronicle;
  /** What is durable of the shards' stores. */
  readonly disks: readonly MemoryStore[];
  /** The wall clock at the beginning. */
  readonly startedAt: number;
  /** Handlers that ask for it throw. */
  defective = false;
  /** Told of each record that is written. */
  wrote: (record: LogRecord) => void = () => {};
  readonly #hubs = new Map<number, readonly AnyHub[]>();
  readonly #schedules = new Map<number, readonly Schedule[]>();
  readonly #draws = new Map<string, number>();

  constructor(system: SimulatedSystem, plan: ShardsPlan) {
    const clock = clockOf(system, plan.seed);
    this.clock = clock;
    this.startedAt = clock.wallMs();
    this.plan = plan;
    this.scaleMs = system.scaleMs;
    this.honest = system.honest ?? false;
    this.broker = new MemoryBroker({
      clock,
      delayMs: () => this.delay("log", plan.logMs),
      written: (record) => this.wrote(record),
    });
    this.chronicle = new Chronicle(clock, plan.shards);
    this.disks = Array.from({ length: plan.shards }, () => new MemoryStore());
    this.outside = new MemoryLog(this.broker, { clock });
    this.opened = system.open({
      clock,
      bus: this.relays(),
      random: drawFor(plan.seed, "system"),
      defective: () => this.defective,
    });
    this.channels = this.opened.hubs.map((hub) => channelTo(hub));
    const topics = clusterTopics({ shards: plan.shards, channels: this.channels });
    for (const { name, partitions = partitionsOfChannels } of topics)
      this.broker.createTopic(name, partitions);
  }

  /** The shard of a request, and of all runs that it has begun. */
  shardOf(key: string): number {
    const slash = key.indexOf("/");
    return shardOf(slash < 0 ? key : key.slice(0, slash), this.plan.shards);
  }

  /** The hubs of a version of the program. */
  hubsOf(version: number): readonly AnyHub[] {
    let hubs = this.#hubs.get(version);
    if (hubs === undefined) {
      hubs = version === 1 ? this.opened.hubs : (this.opened.upgraded?.(version) ?? this.opened.hubs);
      this.#hubs.set(version, hubs);
    }
    return hubs;
  }

  /** The schedules of a version of the program. */
  schedulesOf(version: number): readonly Schedule[] {
    let schedules = this.#schedules.get(version);
    if (schedules === undefined)
      this.#schedules.set(version, (schedules = this.opened.schedules?.(version) ?? []));
    return schedules;
  }

  /** The store of a shard, as another process has it. */
  open(shard: number): MemoryStore {
    return (this.disks[shard] as MemoryStore).reopen();
  }

  /** How long something is under way, in milliseconds; or another number from 0 to `max`. */
  delay(what: string, max: number): number {
    const draw = (this.#draws.get(what) ?? 0) + 1;
    this.#draws.set(what, draw);
    return max === 0 ? 0 : drawFor(this.plan.seed, what, draw).int(max + 1);
  }

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => void this.clock.after(ms, resolve));
  }

  /** The other end of the topics that relays use. */
  relays(): Bus {
    const passages = new Passages(this.plan);
    const outside = (): MemoryLog => this.outside;
    return {
      publish: (topic, message) => {
        this.broker.createTopic(topic);
        for (const delay of passages.of(topic, message))
          this.clock.after(delay, () => void outside().append(topic, message));
      },
      subscribe: (topic, receive) => {
        this.broker.createTopic(topic);
        return outside().subscribe(topic, (message) => {
          for (const delay of passages.of(topic, message)) this.clock.after(delay, () => receive(message));
        });
      },
    };
  }
}

/** Requests to a hub as JSON, and its answers as JSON. */
function channelTo(hub: AnyHub): Channel {
  return {
    name: hub.name,
    from: `to-${hub.name}`,
    to: `from-${hub.name}`,
    hub: hub.name,
    request: ({ value }) => {
      try {
        return JSON.parse(value) as unknown;
      } catch {
        throw new WheelworkError("WW_INVALID_REQUEST", "the value is not JSON");
      }
    },
    answer: (answer) => ({ value: JSON.stringify(answer) }),
  };
}

/** What is told of an error that nobody expected. */
export const problemOf = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message) : String(error);
