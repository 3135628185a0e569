import { isRouted, type RoutedOutcomes, type Worker } from "../attempts/worker.ts";
import { admit } from "../delivery/admit.ts";
import { Router, type Routed, type RouterOptions, type Source } from "../delivery/router.ts";
import type { LogRecord, Partitions } from "../ports/log.ts";
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
export interface RoutingOptions extends RouterOptions {
  readonly channels: Iterable<Channel>;
  readonly workers: readonly Worker[];
  readonly retentionMs: number | undefined;
}

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
    const { log } = this.#options;
    for (const { from } of this.#channels) await log.topic(from);
    for (const topic of this.#relays.keys()) {
      const { partitions: count } = await log.topic(topic);
      const ends = Array.from({ length: count }, (_, partition) => log.end(topic, partition));
      this.#begins.set(topic, await Promise.all(ends));
    }
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
        sources.set(source.topic, partition, source);
    }
    for (const { topic, partition, value: router } of this.#routers.entries()) {
      if (sources.has(topic, partition)) continue;
      router.end();
      this.#routers.delete(topic, partition);
    }
    for (const { topic, partition, value: source } of sources.entries()) {
      if (!this.#routers.has(topic, partition))
        this.#routers.set(topic, partition, new Router(this.#options, source, partition));
    }
  }

  /** Reads nothing any more. The result tells the group how far all is settled by then. */
  end(): () => Promise<void> {
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
    for (const [topic, begins] of this.#begins)
      for (const partition of begins.keys()) ends.set(topic, partition, await log.end(topic, partition));
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
    const { clock, retentionMs = defaultRetentionMs } = this.#options;
    const channels = this.#channels.map((channel): Source => ({
      topic: channel.from,
      route: (record) => [admit(channel, record, clock.wallMs() - retentionMs)],
    }));
    const relays = Array.from(this.#relays, ([topic, list]): Source => ({
      topic,
      route: (record) => list.flatMap((relay) => repliesIn(relay, record)),
      begins: this.#begins.get(topic) ?? [],
    }));
    return [...channels, ...relays];
  }
}

/** What a message back says to a shard, if the relay understands it. */
function repliesIn(relay: Relay, record: LogRecord): Routed[] {
  const reply = relay.read(record);
  if (reply === undefined) return [];
  const { request: key, correlation, outcome } = reply;
  return [{ key, entry: { type: "relayReply", spoke: relay.spoke, correlation, outcome } }];
}
