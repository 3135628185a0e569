import { Consumer, type GroupAssignment, type GroupPartitionsAssignments } from "@platformatic/kafka";
import { WheelworkError } from "@wheelwork/core";
import {
  assignPartitions,
  type MemberOptions,
  type MemberState,
  type Membership,
  type Partitions,
} from "@wheelwork/engine/cluster";
import { retrying, systemClock, type RetryPolicy } from "@wheelwork/engine/parts";
import type { clientOptions } from "./connection.ts";
import { isUnknownTopic, kafkaErrors, messageOf, unavailable } from "./errors.ts";

const protocol = "wheelwork";
const joining: RetryPolicy = { minMs: 100, maxMs: 2000 };

/** A place in a consumer group that only distributes partitions. `PartitionReader` reads them. */
export class GroupMembership implements Membership {
  readonly #options: ReturnType<typeof clientOptions>;
  readonly #member: MemberOptions;
  readonly #sessionTimeoutMs: number;
  #consumer: Consumer | undefined = undefined;
  readonly #left = new AbortController();
  #joining = false;
  /** How many partitions each topic had when it was last seen: one that is gone keeps its readers, and comes back perhaps. */
  readonly #counts = new Map<string, number>();
  #again = false;

  constructor(options: ReturnType<typeof clientOptions>, member: MemberOptions, sessionTimeoutMs: number) {
    this.#options = options;
    this.#member = member;
    this.#sessionTimeoutMs = sessionTimeoutMs;
  }

  /** Asks for a place until there is one. */
  async join(): Promise<void> {
    if (this.#hasLeft) return;
    this.#again = true;
    if (this.#joining) return;
    this.#joining = true;
    const { signal } = this.#left;
    while (this.#again && !this.#hasLeft) {
      let isTold = false;
      const onFailure = (error: unknown): void => {
        const failure = unavailable(`the group ${this.#member.group} could not be joined`, error);
        if (failure.retryable || isTold) return;
        isTold = true;
        this.#member.failed?.(failure);
      };
      await retrying(systemClock, joining, () => this.#joinOnce(), { signal, onFailure });
    }
    this.#joining = false;
  }

  async #joinOnce(): Promise<void> {
    this.#again = false;
    try {
      const consumer = this.#open();
      await this.#track(consumer);
      await consumer.joinGroup({});
    } catch (error) {
      this.#discard();
      throw error;
    }
  }

  /** The client joins for no topic that is not there. The group must go on with the others. */
  async #track(consumer: Consumer): Promise<void> {
    for (const topic of this.#member.topics) {
      try {
        const { topics } = await consumer.metadata({ topics: [topic], forceUpdate: true });
        this.#counts.set(topic, topics.get(topic)?.partitionsCount ?? 0);
        if (!consumer.topics.has(topic)) consumer.topics.track(topic);
      } catch (error) {
        if (!isUnknownTopic(error)) throw error;
        consumer.topics.untrack(topic);
      }
    }
  }

  get #hasLeft(): boolean {
    return this.#left.signal.aborted;
  }

  rejoin(): void {
    void this.join();
  }

  async leave(): Promise<void> {
    if (this.#hasLeft) return;
    this.#left.abort();
    const consumer = this.#consumer;
    this.#consumer = undefined;
    if (consumer === undefined) return;
    try {
      await consumer.leaveGroup();
    } catch {
      // It went without a word, as if its process had died.
    }
    await consumer.close(true).catch(() => {});
  }

  async committed(topic: string, partition: number): Promise<number | undefined> {
    try {
      const offsets = await this.#open().listCommittedOffsets({
        topics: [{ topic, partitions: [partition] }],
      });
      // The list holds a place for each partition that was asked for.
      const offset = Number(offsets.get(topic)?.at(-1) ?? -1);
      return offset < 0 ? undefined : offset;
    } catch (error) {
      throw unavailable(`how far ${topic} has been read could not be asked`, error);
    }
  }

  async commit(topic: string, partition: number, offset: number): Promise<void> {
    try {
      const offsets = [{ topic, partition, offset: BigInt(offset), leaderEpoch: 0 }];
      await this.#open().commit({ offsets });
    } catch (error) {
      throw unavailable(`how far ${topic} has been read could not be noted`, error);
    }
  }

  #open(): Consumer {
    if (this.#consumer !== undefined) return this.#consumer;
    if (this.#hasLeft) throw new WheelworkError("WW_STOPPING", "the node has left its group");
    const { group, topics, state, assigned } = this.#member;
    const consumer = new Consumer({
      ...this.#options,
      groupId: group,
      autocommit: false,
      sessionTimeout: this.#sessionTimeoutMs,
      rebalanceTimeout: this.#sessionTimeoutMs,
      // The member that shares out must know of partitions that were added just now.
      metadataMaxAge: 0,
      heartbeatInterval: Math.min(300, Math.floor(this.#sessionTimeoutMs / 4)),
      protocols: [{ name: protocol, version: 1 }],
      protocolsMetadata: () => Buffer.from(JSON.stringify(state())),
      partitionAssigner: (_current, members, _topics, { topics: known }): GroupPartitionsAssignments[] => {
        const all = Array.from(members, ([id, { metadata }]) => ({ id, state: stateOf(metadata) }));
        const shares = all.map(({ id }) => ({
          memberId: id,
          assignments: new Map<string, GroupAssignment>(),
        }));
        for (const topic of topics) {
          const count = known.get(topic)?.partitionsCount ?? this.#counts.get(topic) ?? 0;
          const shared = assignPartitions(topic, count, all);
          for (const { memberId, assignments } of shares)
            assignments.set(topic, { topic, partitions: shared.get(memberId) ?? [] });
        }
        return shares;
      },
    });
    consumer.on("consumer:group:join", ({ assignments }) => {
      if (this.#consumer === consumer && !this.#hasLeft)
        assigned(this.#withGone(consumer, assignments ?? []));
    });
    const again = (): void => {
      if (this.#consumer !== consumer || this.#hasLeft) return;
      this.#discard();
      void this.join();
    };
    // When the client gives up, a new one goes on.
    consumer.on("error", again);
    consumer.on("consumer:heartbeat:error", ({ error }) => {
      const errors = kafkaErrors(error);
      // The client rejoins by itself when the broker tells it to.
      if (errors.length === 0 && !/rebalance/i.test(messageOf(error))) again();
    });
    this.#consumer = consumer;
    return consumer;
  }

  /**
   * The client does not ask a lone member how it shares out: it gives it all partitions of the topics that are there. Those of a topic
   * that is gone are its own, too. Where we have shared out, each topic is named.
   */
  #withGone(consumer: Consumer, assigned: readonly GroupAssignment[]): readonly Partitions[] {
    const named = new Set(assigned.map(({ topic }) => topic));
    const gone = this.#member.topics.filter((topic) => !named.has(topic) && !consumer.topics.has(topic));
    const all = (topic: string): number[] => [...Array(this.#counts.get(topic) ?? 0).keys()];
    return [...assigned, ...gone.map((topic) => ({ topic, partitions: all(topic) }))];
  }

  #discard(): void {
    const consumer = this.#consumer;
    this.#consumer = undefined;
    void consumer?.close(true).catch(() => {});
  }
}

function stateOf(metadata: unknown): MemberState {
  try {
    const { owns, refuses } = JSON.parse(String(metadata)) as Partial<MemberState>;
    return { owns: owns ?? [], refuses: refuses ?? [] };
  } catch {
    return { owns: [], refuses: [] };
  }
}
