import { WheelworkError, type AnyHub } from "@wheelwork/core";
import { isRouted, type RoutedOutcomes, type Worker } from "../attempts/worker.ts";
import { admit } from "../delivery/admit.ts";
import { readInbox } from "../delivery/inbox.ts";
import { place } from "../delivery/place.ts";
import { Router, type Routed, type RouterOptions, type Source } from "../delivery/router.ts";
import type { Log, LogRecord, LogTopic, Partitions } from "../ports/log.ts";
import { pause } from "../ports/retry.ts";
import { defaultRetentionMs } from "../requests/options.ts";
import type { Channel } from "../delivery/channel.ts";
import { PartitionMap } from "./partition-map.ts";
import { config } from "./topics.ts";

/** A relay whose messages back are shared out. */
interface Relay extends RoutedOutcomes {
  readonly spoke: string;
}

/** What the routing of a node needs. */
export interface RoutingOptions extends Omit<RouterOptions, "lost"> {
  readonly hubs: ReadonlyMap<string, AnyHub>;
  readonly channels: Iterable<Channel>;
  readonly workers: readonly Worker[];
  readonly retentionMs: number | undefined;
  /** Records were deleted before they were read. */
  readonly onLost: (error: Error) => void;
  /** Wall clock, in milliseconds since 1970, as `HostClock` knows it. */
  readonly wallMs: () => number;
}

/** How often is looked whether a topic has more partitions than before, in milliseconds. */
const refreshMs = 5000;
/** How often is looked whether what waited in the topics of relays has been handed on, in milliseconds. */
const passMs = 50;

/**
 * The topics besides the inbox that the nodes of a cluster share out: those of channels and of relays. This node reads its
 * partitions, each through its own router.
 */
export class Routing {
  readonly #options: RoutingOptions;
  readonly #channels: readonly Channel[];
  /** The topics that the outcomes of relays come through, with those of their workers. */
  readonly #relays: ReadonlyMap<string, readonly Relay[]>;
  /** Where the partitions of these topics ended when the node began. */
  readonly #begins = new Map<string, readonly number[]>();
  readonly #routers = new PartitionMap<Router>();
  /** How each topic is, as far as this node has noticed. */
  readonly #known = new Map<string, LogTopic>();
  /** The topics that are not there any more, and how often that was seen. */
  readonly #gone = new Map<string, number>();
  /** What was lost last of each partition. */
  readonly #losses = new PartitionMap<string>();
  #cancelRefresh: () => void = () => {};

  /** @throws WheelworkError WW_CONFIG. */
  constructor(options: RoutingOptions) {
    this.#options = options;
    this.#channels = [...options.channels];
    const relays = options.workers.flatMap(({ spoke, outcomes }) =>
      isRouted(outcomes) ? [{ ...outcomes, spoke: spoke.name }] : [],
    );
    this.#relays = Map.groupBy(relays, ({ topic }) => topic);
    for (const { from } of this.#channels) {
      if (this.#relays.has(from))
        throw config(`a channel and a relay both read ${from}`, "Give each its own topic.");
    }
  }

  get hasRelays(): boolean {
    return this.#relays.size > 0;
  }

  get topics(): readonly string[] {
    return [...new Set([...this.#channels.map(({ from }) => from), ...this.#relays.keys()])];
  }

  /** Checks that the topics are there, and notes where those of relays end. @throws WheelworkError WW_CONFIG. */
  async begin(): Promise<void> {
    const { log, inbox, shards } = this.#options;
    this.#known.set(inbox, { ...(await log.topic(inbox)), partitions: shards });
    for (const { from } of this.#channels) this.#known.set(from, await log.topic(from));
    for (const topic of this.#relays.keys()) {
      const known = await log.topic(topic);
      const { partitions: count } = known;
      this.#known.set(topic, known);
      const ends = Array.from({ length: count }, (_, partition) => log.end(topic, partition));
      this.#begins.set(topic, await Promise.all(ends));
    }
    this.#refreshLater();
  }

  #refreshLater(): void {
    const { clock } = this.#options;
    this.#cancelRefresh = clock.after(refreshMs, () => {
      this.#refresh().then(
        () => this.#refreshLater(),
        // A broker that is away now is asked again.
        () => this.#refreshLater(),
      );
    });
  }

  /** The group shares out the partitions that it knows of: those that were added are nobody's before it does so anew. */
  async #refresh(): Promise<void> {
    const { log, logger, membership } = this.#options;
    for (const [topic, before] of this.#known) {
      const present = await presentTopic(log, topic);
      if (present === undefined) {
        this.#tellGone(topic);
        continue;
      }
      this.#gone.delete(topic);
      const { id, partitions } = present;
      if (id === before.id && partitions === before.partitions) continue;
      this.#known.set(topic, present);
      logger.warn({ topic, partitions, before: before.partitions }, "a topic is another one, or has grown");
      membership()?.rejoin();
    }
  }

  /** Nobody answers those whose requests it held. Who creates a topic again at once is told by its readers. */
  #tellGone(topic: string): void {
    const times = (this.#gone.get(topic) ?? 0) + 1;
    this.#gone.set(topic, times);
    if (times !== 2) return;
    const next = "Create it again. What it held and no node had read is lost: its senders get no answer.";
    this.lost(topic, 0, new WheelworkError("WW_LOG_LOST", `the topic ${topic} is gone`, { next }));
  }

  /** What was deleted before it was read, since this node has begun. */
  get losses(): readonly string[] {
    return this.#losses.entries().map(({ value }) => value);
  }

  /** Records of a channel or of the inbox were deleted before they were read: somebody must know of it. */
  lost(topic: string, partition: number, error: Error): void {
    const { logger, observe, onLost } = this.#options;
    const { message } = error;
    this.#losses.set(topic, partition, message);
    logger.error({ topic, partition, error: message }, "records were deleted before they were read");
    observe?.({ name: "log-lost", topic, message });
    onLost(error);
  }

  /** The partitions that this node reads. */
  get owns(): readonly Partitions[] {
    return this.#routers.keys();
  }

  /** The group says which partitions this node is to read from now on. */
  assign(assigned: readonly Partitions[]): void {
    const sources = new PartitionMap<Source>();
    for (const source of this.#sources()) {
      for (const partition of assigned.find(({ topic }) => topic === source.topic)?.partitions ?? [])
        if (partition >= (source.firstPartition ?? 0)) sources.set(source.topic, partition, source);
    }
    for (const { topic, partition, value: router } of this.#routers.entries()) {
      if (sources.has(topic, partition)) continue;
      router.end();
      this.#routers.delete(topic, partition);
    }
    const lost = (topic: string, partition: number, error: Error): void => this.lost(topic, partition, error);
    const options: RouterOptions = { ...this.#options, lost };
    for (const { topic, partition, value: source } of sources.entries()) {
      if (!this.#routers.has(topic, partition))
        this.#routers.set(topic, partition, new Router(options, source, partition));
    }
  }

  /** Reads nothing any more. The result tells the group how far all is settled by then. */
  end(): () => Promise<void> {
    this.#cancelRefresh();
    const routers = this.#routers.entries();
    this.assign([]);
    return async () => {
      await Promise.all(routers.map(({ value: router }) => router.note()));
    };
  }

  /**
   * Resolves when what waits in the topics of relays now has been handed on, by whatever node, to where it does not get
   * lost; or when nobody wants to know any more.
   */
  async passRelays(isWanted: () => boolean): Promise<void> {
    const { log, membership, clock } = this.#options;
    const ends = new PartitionMap<number>();
    for (const topic of this.#begins.keys())
      for (let partition = 0; partition < (this.#known.get(topic)?.partitions ?? 0); partition++)
        ends.set(topic, partition, await log.end(topic, partition));
    while (isWanted()) {
      for (const { topic, partition, value: end } of ends.entries()) {
        const router = this.#routers.get(topic, partition);
        const position = router?.position ?? (await membership()?.committed(topic, partition)) ?? 0;
        if (position >= end) ends.delete(topic, partition);
      }
      if (ends.size === 0) return;
      await pause(clock, passMs);
    }
  }

  #sources(): Source[] {
    const { hubs, inbox, shards, wallMs, retentionMs = defaultRetentionMs } = this.#options;
    const channels = this.#channels.map((channel): Source => ({
      topic: channel.from,
      route: (record) => {
        const admitted = admit(channel, record, wallMs() - retentionMs);
        return ["reason" in admitted ? admitted : place(hubs, admitted.key, admitted.entry)];
      },
    }));
    const relays = Array.from(this.#relays, ([topic, list]): Source => ({
      topic,
      route: (record) => list.flatMap((relay) => repliesIn(relay, record)),
      begins: this.#begins.get(topic) ?? [],
    }));
    // No shard has these partitions. Somebody has added them, and a producer that chooses partitions by itself writes into them.
    const strays: Source = {
      topic: inbox,
      firstPartition: shards,
      route: (record) => [strayOf(hubs, record)],
    };
    return [...channels, ...relays, strays];
  }
}

/** How a topic is; undefined: there is none. */
async function presentTopic(log: Log, topic: string): Promise<LogTopic | undefined> {
  try {
    return await log.topic(topic);
  } catch (error) {
    if (error instanceof WheelworkError && error.code === "WW_CONFIG") return undefined;
    throw error;
  }
}

/** What a record of an inbox that belongs to no shard says to its own. */
function strayOf(hubs: ReadonlyMap<string, AnyHub>, record: LogRecord): Routed {
  try {
    return place(hubs, record.key, readInbox(record));
  } catch (error) {
    return { reason: error instanceof Error ? error.message : String(error) };
  }
}

/** What a message back says to a shard, if the relay understands it. */
function repliesIn(relay: Relay, record: LogRecord): Routed[] {
  const reply = relay.read({ ...record, value: record.value.toWellFormed() });
  if (reply === undefined) return [];
  const { request, orRequest, correlation, outcome } = reply;
  const entry = { type: "relayReply", spoke: relay.spoke, correlation, outcome } as const;
  // A shard that has not asked drops it.
  return (orRequest === undefined ? [request] : [request, orRequest]).map((key) => ({ key, entry }));
}
