import { WheelworkError } from "@wheelwork/core";
import type { Clock, MaybePromise, Message } from "@wheelwork/engine";
import {
  assignPartitions,
  type Log,
  type LogReader,
  type LogReading,
  type LogRecord,
  type LogTopic,
  type MemberOptions,
  type MemberState,
  type Membership,
  type Partitions,
} from "@wheelwork/engine/cluster";

/**
 * What happens to a record on its way to the broker.
 * - `fail`: it is not written, and its sender gets an error.
 * - `unseen`: it is written, and its sender gets an error.
 * - `twice`: it is written twice.
 * - `lost`: it is not written, and its sender hears nothing. The sender died before it could send the record.
 */
export type LogFault = "fail" | "unseen" | "twice" | "lost";

/** The options of a `MemoryBroker`. */
export interface MemoryBrokerOptions {
  readonly clock: Clock;
  /** A member that is silent for so long is removed from its group, in milliseconds. Default: 6000. */
  readonly sessionTimeoutMs?: number;
  /** How long the next message to or from the broker takes, in milliseconds. Default: no time. */
  readonly delayMs?: () => number;
  /** The most bytes of a record: larger ones are refused with WW_TOO_LARGE. Default: no bound. */
  readonly maxBytes?: number;
  /** Called with each record that is written. */
  readonly written?: (record: LogRecord) => void;
}

/** How one process is connected to the broker. */
export interface MemoryLogOptions {
  /** The clock of the process. Its tasks die with the process. */
  readonly clock: Clock;
  /** Whether the process is still alive to send the next message. Default: it is. */
  readonly sends?: () => boolean;
  /** Chooses the fault of a record. Default: none. */
  readonly faultAt?: (topic: string, message: Message) => LogFault | undefined;
  /** Whether the process can reach the broker now. Default: it can. */
  readonly reaches?: () => boolean;
}

/** After how long a process notices that it cannot reach the broker, in milliseconds. */
const requestTimeoutMs = 500;
/** The pause before the next try, in milliseconds. */
const retryMs = 100;
/** How many records a reader gets at once, at most. */
const maxRecords = 100;

interface Partition {
  /** The offset of the first record that was not deleted. */
  first: number;
  readonly records: LogRecord[];
  /** Wakes the readers that wait for more. */
  waiting: (() => void)[];
}

interface Topic {
  readonly id: string;
  readonly partitions: Partition[];
}

const emptyPartition = (): Partition => ({ first: 0, records: [], waiting: [] });

/** A broker in memory: topics, and groups that distribute partitions. It outlives the processes that use it. */
export class MemoryBroker {
  readonly clock: Clock;
  readonly sessionTimeoutMs: number;
  readonly delayMs: () => number;
  readonly #topics = new Map<string, Topic>();
  readonly #groups = new Map<string, Group>();
  readonly #written: LogRecord[] = [];
  readonly #seen: (record: LogRecord) => void;
  readonly #maxBytes: number;
  #made = 0;

  constructor({
    clock,
    sessionTimeoutMs = 6000,
    delayMs = () => 0,
    maxBytes = Number.POSITIVE_INFINITY,
    written = () => {},
  }: MemoryBrokerOptions) {
    this.clock = clock;
    this.sessionTimeoutMs = sessionTimeoutMs;
    this.delayMs = delayMs;
    this.#maxBytes = maxBytes;
    this.#seen = written;
  }

  /** Creates a topic. Without effect if it exists, also with another number of partitions. */
  createTopic(name: string, partitions = 1): void {
    if (this.#topics.has(name)) return;
    const made = Array.from({ length: partitions }, emptyPartition);
    this.#topics.set(name, { id: `${name}-${++this.#made}`, partitions: made });
  }

  /** Adds partitions to a topic until it has so many. */
  addPartitions(name: string, partitions: number): void {
    const found = this.#topics.get(name)?.partitions ?? [];
    while (found.length < partitions) found.push(emptyPartition());
  }

  /** Deletes a topic with its records. Its readers are told that the log is lost. */
  deleteTopic(name: string): void {
    const topic = this.#topics.get(name);
    this.#topics.delete(name);
    for (const partition of topic?.partitions ?? []) wake(partition);
  }

  /** Deletes the records before an offset, as a broker does when their retention is over. */
  trim(topic: string, partition: number, before: number): void {
    const kept = this.#topics.get(topic)?.partitions[partition];
    if (kept === undefined || before <= kept.first) return;
    kept.records.splice(0, before - kept.first);
    kept.first = before;
    wake(kept);
  }

  /** Loses the records from an offset on, as brokers do that were not in sync when one of them came to lead. */
  loseEnd(topic: string, partition: number, from: number): void {
    const kept = this.#topics.get(topic)?.partitions[partition];
    if (kept === undefined) return;
    kept.records.splice(Math.max(0, from - kept.first));
    wake(kept);
  }

  /** All records that were ever written to a topic, in their order, deleted ones included. */
  records(topic: string): readonly LogRecord[] {
    return this.#written.filter((record) => record.topic === topic);
  }

  /** The offset that a group has committed. undefined: none yet. */
  committed(group: string, topic: string, partition: number): number | undefined {
    return this.group(group).committed(topic, partition);
  }

  /** @internal */
  topic(name: string): LogTopic | undefined {
    const topic = this.#topics.get(name);
    return topic === undefined ? undefined : { id: topic.id, partitions: topic.partitions.length };
  }

  /** @internal */
  group(name: string): Group {
    let group = this.#groups.get(name);
    if (group === undefined) this.#groups.set(name, (group = new Group(this)));
    return group;
  }

  /** @internal The offset of the first record that a partition still has, and the offset after its last one. */
  bounds(topic: string, partition: number): { first: number; end: number } | undefined {
    const found = this.#topics.get(topic)?.partitions[partition];
    return found === undefined ? undefined : { first: found.first, end: endOf(found) };
  }

  /** @internal */
  write(
    topic: string,
    { key, value, headers = {}, timestampMs = this.clock.wallMs() }: Message,
    number?: number,
  ): void {
    const partitions = this.#topics.get(topic)?.partitions;
    const index = number ?? partitionOf(key, partitions?.length ?? 1);
    const partition = partitions?.[index];
    if (partition === undefined) throw unavailable(`there is no partition ${index} of ${topic}`);
    const bytes = Buffer.byteLength(JSON.stringify([key, value, headers]));
    if (bytes > this.#maxBytes)
      throw new WheelworkError("WW_TOO_LARGE", `a record of ${bytes} bytes is more than ${topic} takes`);
    const record = { topic, partition: index, offset: endOf(partition), key, value, headers: { ...headers } };
    const written = { ...record, timestampMs: Math.floor(timestampMs) };
    partition.records.push(written);
    this.#written.push(written);
    this.#seen(written);
    wake(partition);
  }

  /** @internal The records of a partition from an offset on. It waits until there is one. */
  async fetch(topic: string, id: string, number: number, from: number): Promise<readonly LogRecord[]> {
    for (;;) {
      const found = this.#topics.get(topic);
      const partition = found?.id === id ? found.partitions[number] : undefined;
      if (partition === undefined) throw lost(topic, number, from, "the topic was deleted or made anew");
      if (from < partition.first) throw lost(topic, number, from, `it begins at ${partition.first}`);
      if (from > endOf(partition)) throw lost(topic, number, from, `it ends at ${endOf(partition)}`);
      const records = partition.records.slice(from - partition.first, from - partition.first + maxRecords);
      if (records.length > 0) return records;
      await new Promise<void>((resolve) => void partition.waiting.push(resolve));
    }
  }
}

const endOf = ({ first, records }: Partition): number => first + records.length;

function wake(partition: Partition): void {
  const { waiting } = partition;
  partition.waiting = [];
  for (const resolve of waiting) resolve();
}

/** What a member gets when the group has distributed the partitions. */
interface Seat {
  readonly id: string;
  readonly generation: number;
  readonly assigned: readonly Partitions[];
}

interface Member {
  readonly id: string;
  state: MemberState;
  topics: readonly string[];
  /** When it last sent something, in the monotonic time of the broker. */
  seenAt: number;
  /** It has joined, and waits until all others have joined too. */
  joins: ((seat: Seat) => void) | undefined;
}

/**
 * A group, as in Kafka's classic protocol. When a member joins or leaves, all members must join again (a rebalance).
 * Then a new generation begins, and each member gets its partitions.
 */
class Group {
  readonly #broker: MemoryBroker;
  readonly #members = new Map<string, Member>();
  readonly #committed = new Map<string, number>();
  /** How many partitions each topic had when it was last shared out: one that is gone keeps its readers, as with our members on Kafka. */
  readonly #counts = new Map<string, number>();
  #generation = 0;
  #made = 0;
  /** A rebalance is under way: it waits until all members have joined. */
  #joining = false;

  constructor(broker: MemoryBroker) {
    this.#broker = broker;
  }

  join(id: string | undefined, topics: readonly string[], state: MemberState): Promise<Seat> {
    return new Promise((resolve) => {
      let member = id === undefined ? undefined : this.#members.get(id);
      if (member === undefined) {
        member = { id: `member-${++this.#made}`, state, topics, seenAt: this.#now(), joins: undefined };
        this.#members.set(member.id, member);
        this.#expire(member);
      }
      Object.assign(member, { state, topics, seenAt: this.#now(), joins: resolve });
      this.#prepare();
    });
  }

  /** A member says that it is alive. It gets back whether it stays, must join again, or is unknown. */
  heartbeat(id: string, generation: number): "stays" | "joins" | "unknown" {
    const member = this.#members.get(id);
    if (member === undefined) return "unknown";
    member.seenAt = this.#now();
    const waits = this.#joining && member.joins === undefined;
    return waits || (!this.#joining && generation !== this.#generation) ? "joins" : "stays";
  }

  leave(id: string): void {
    if (this.#members.delete(id)) this.#prepare();
  }

  commit(id: string | undefined, generation: number, topic: string, partition: number, offset: number): void {
    const member = id === undefined ? undefined : this.#members.get(id);
    if (member === undefined || generation !== this.#generation)
      throw unavailable("the group has distributed the partitions without this member");
    member.seenAt = this.#now();
    this.#committed.set(`${topic}/${partition}`, offset);
  }

  committed(topic: string, partition: number): number | undefined {
    return this.#committed.get(`${topic}/${partition}`);
  }

  #now(): number {
    return this.#broker.clock.monotonicMs();
  }

  #expire(member: Member): void {
    const { clock, sessionTimeoutMs } = this.#broker;
    const left = member.seenAt + sessionTimeoutMs - this.#now();
    clock.after(Math.max(1, left), () => {
      if (this.#members.get(member.id) !== member) return;
      if (member.joins !== undefined || this.#now() < member.seenAt + sessionTimeoutMs)
        return this.#expire(member);
      this.leave(member.id);
    });
  }

  /** Begins a rebalance. Members that do not join in time are removed. */
  #prepare(): void {
    if (!this.#joining) {
      this.#joining = true;
      const generation = this.#generation;
      const { clock, sessionTimeoutMs } = this.#broker;
      clock.after(sessionTimeoutMs, () => {
        if (!this.#joining || this.#generation !== generation) return;
        for (const { id, joins } of this.#members.values()) if (joins === undefined) this.#members.delete(id);
        this.#complete();
      });
    }
    if ([...this.#members.values()].every(({ joins }) => joins !== undefined)) this.#complete();
  }

  #complete(): void {
    this.#joining = false;
    this.#generation++;
    const members = [...this.#members.values()];
    const topics = new Set(members.flatMap((member) => member.topics));
    const shared = Array.from(members.length === 0 ? [] : topics, (topic) => {
      const count = this.#broker.topic(topic)?.partitions ?? this.#counts.get(topic) ?? 0;
      this.#counts.set(topic, count);
      return [topic, assignPartitions(topic, count, members)] as const;
    });
    for (const member of members) {
      const { id, joins } = member;
      member.joins = undefined;
      member.seenAt = this.#now();
      const assigned = shared.map(([topic, shares]) => ({ topic, partitions: shares.get(id) ?? [] }));
      joins?.({ id, generation: this.#generation, assigned });
    }
  }
}

/**
 * A log in memory, as one process has it. Messages to and from the broker take as long as the broker says, and suffer
 * the faults that a test plans. It uses only the time of its clocks.
 */
export class MemoryLog implements Log {
  readonly #broker: MemoryBroker;
  readonly #options: MemoryLogOptions;
  readonly #readings = new Set<MemoryReading>();
  readonly #members = new Set<MemoryMembership>();
  /**
   * When the last sent record arrives. No later record arrives before it: one process writes in its order of sending.
   */
  #arrival = 0;
  #closed = false;

  constructor(broker: MemoryBroker, options: MemoryLogOptions) {
    this.#broker = broker;
    this.#options = options;
  }

  async topic(name: string): Promise<LogTopic> {
    const found = await this.#ask(() => this.#broker.topic(name));
    if (found !== undefined) return found;
    throw new WheelworkError("WW_CONFIG", `there is no topic ${name}`, {
      next: "Create it with `createTopic` of the broker.",
    });
  }

  async end(topic: string, partition: number): Promise<number> {
    const found = await this.#ask(() => this.#broker.bounds(topic, partition));
    if (found !== undefined) return found.end;
    throw new WheelworkError("WW_CONFIG", `there is no partition ${partition} of ${topic}`, {
      next: "Create the topic with enough partitions.",
    });
  }

  publish(topic: string, message: Message): Promise<void> {
    return this.append(topic, message);
  }

  append(topic: string, message: Message, partition?: number): Promise<void> {
    const fault = this.#options.faultAt?.(topic, message);
    if (fault === "lost") return never();
    const clock = this.#broker.clock;
    this.#arrival = Math.max(this.#arrival, clock.monotonicMs() + this.#broker.delayMs());
    return this.#ask(() => {
      if (fault === "fail") throw unavailable("a record is not written, as planned");
      this.#broker.write(topic, message, partition);
      if (fault === "twice") this.#broker.write(topic, message, partition);
      if (fault === "unseen") throw unavailable("a record is written unseen, as planned");
    }, this.#arrival - clock.monotonicMs());
  }

  subscribe(topic: string, receive: (message: Message) => void): () => void {
    const readings: LogReading[] = [];
    let ended = false;
    const begin = (fresh: boolean): void => {
      if (ended) return;
      const { id, partitions } = this.#broker.topic(topic) ?? { id: "", partitions: 0 };
      if (partitions === 0) return void this.#options.clock.after(retryMs, () => begin(true));
      for (let partition = 0; partition < partitions; partition++) {
        const { first, end } = this.#broker.bounds(topic, partition) as { first: number; end: number };
        const place = { topic, id, partition, from: fresh ? first : end, end };
        const take = (record: LogRecord): void => {
          try {
            receive(record);
          } catch {
            // A subscriber that throws has missed this message. The others get it.
          }
        };
        readings.push(
          this.#read(place, { records: (records) => records.forEach(take), lost: () => begin(false) }),
        );
      }
    };
    begin(false);
    return () => {
      ended = true;
      for (const reading of readings) reading.stop();
    };
  }

  async read(
    topic: string,
    partition: number,
    from: number | undefined,
    reader: LogReader,
  ): Promise<LogReading> {
    const place = await this.#ask(() => {
      const id = this.#broker.topic(topic)?.id;
      const bounds = this.#broker.bounds(topic, partition);
      if (id === undefined || bounds === undefined) throw unavailable(`there is no ${topic}/${partition}`);
      const { first, end } = bounds;
      if (from !== undefined && (from < first || from > end))
        throw lost(topic, partition, from, `it has ${first} to ${end}`);
      return { topic, id, partition, from: from ?? first, end };
    });
    return this.#read(place, reader);
  }

  #read(place: ReadPlace, reader: LogReader): LogReading {
    const reading = new MemoryReading(place, reader, this.#options.clock, ({ topic, id, partition, from }) =>
      this.#ask(() => this.#broker.fetch(topic, id, partition, from)),
    );
    this.#readings.add(reading);
    return reading;
  }

  async join(options: MemberOptions): Promise<Membership> {
    const group = this.#broker.group(options.group);
    const intervalMs = Math.max(1, Math.floor(this.#broker.sessionTimeoutMs / 4));
    const member = new MemoryMembership(group, options, this.#options.clock, intervalMs, (carryOut) =>
      this.#ask(carryOut),
    );
    this.#members.add(member);
    return member;
  }

  async close(): Promise<void> {
    for (const reading of this.#readings) reading.stop();
    await Promise.all(Array.from(this.#members, (member) => member.leave()));
    this.#closed = true;
  }

  /** A message to the broker, and its reply. What a process has sent arrives even if the process dies meanwhile. */
  #ask<T>(carryOut: () => MaybePromise<T>, delayMs = this.#broker.delayMs()): Promise<T> {
    const { clock, sends, reaches = () => true } = this.#options;
    if (this.#closed) return Promise.reject(unavailable("the log is closed"));
    if (sends?.() === false) return never();
    return new Promise((resolve, reject) => {
      const silence = (): void => {
        clock.after(requestTimeoutMs, () => reject(unavailable("the broker does not answer")));
      };
      const back = (reply: () => void): void => {
        if (reaches()) clock.after(this.#broker.delayMs(), reply);
        else silence();
      };
      if (!reaches()) return silence();
      this.#broker.clock.after(delayMs, () => {
        if (!reaches()) return silence();
        // In a promise, so that an exception rejects.
        new Promise<T>((given) => given(carryOut())).then(
          (value) => back(() => resolve(value)),
          (error: unknown) => back(() => reject(error as Error)),
        );
      });
    });
  }
}

/** Where a reader begins. `id` tells a recreated topic from the one before. */
interface ReadPlace {
  readonly topic: string;
  readonly id: string;
  readonly partition: number;
  readonly from: number;
  readonly end: number;
}

class MemoryReading implements LogReading {
  readonly from: number;
  readonly end: number;
  readonly #place: ReadPlace;
  readonly #reader: LogReader;
  readonly #clock: Clock;
  readonly #fetch: (place: ReadPlace) => Promise<readonly LogRecord[]>;
  #position: number;
  #stopped = false;

  constructor(
    place: ReadPlace,
    reader: LogReader,
    clock: Clock,
    fetch: (place: ReadPlace) => Promise<readonly LogRecord[]>,
  ) {
    this.#place = place;
    this.#reader = reader;
    this.#clock = clock;
    this.#fetch = fetch;
    this.from = place.from;
    this.end = place.end;
    this.#position = place.from;
    void this.#run();
  }

  stop(): void {
    this.#stopped = true;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      try {
        const records = await this.#fetch({ ...this.#place, from: this.#position });
        // It may have been stopped while it waited.
        if (this.#isStopped()) return;
        this.#position = (records.at(-1)?.offset ?? this.#position - 1) + 1;
        await this.#reader.records(records);
      } catch (error) {
        if (this.#isStopped()) return;
        if (error instanceof WheelworkError && error.code === "WW_LOG_LOST") {
          this.stop();
          return this.#reader.lost(error);
        }
        await new Promise<void>((resolve) => void this.#clock.after(retryMs, resolve));
      }
    }
  }

  #isStopped(): boolean {
    return this.#stopped;
  }
}

class MemoryMembership implements Membership {
  readonly #group: Group;
  readonly #options: MemberOptions;
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #ask: <T>(carryOut: () => MaybePromise<T>) => Promise<T>;
  #id: string | undefined = undefined;
  #generation = 0;
  #left = false;
  #joining = false;
  #again = false;

  constructor(
    group: Group,
    options: MemberOptions,
    clock: Clock,
    intervalMs: number,
    ask: <T>(carryOut: () => MaybePromise<T>) => Promise<T>,
  ) {
    this.#group = group;
    this.#options = options;
    this.#clock = clock;
    this.#intervalMs = intervalMs;
    this.#ask = ask;
    this.rejoin();
    this.#beat();
  }

  rejoin(): void {
    void this.#join();
  }

  committed(topic: string, partition: number): Promise<number | undefined> {
    return this.#ask(() => this.#group.committed(topic, partition));
  }

  commit(topic: string, partition: number, offset: number): Promise<void> {
    const [id, generation] = [this.#id, this.#generation];
    return this.#ask(() => this.#group.commit(id, generation, topic, partition, offset));
  }

  async leave(): Promise<void> {
    if (this.#left) return;
    this.#left = true;
    const id = this.#id;
    // If the broker does not hear of it, the session times out.
    if (id !== undefined) await this.#ask(() => this.#group.leave(id)).catch(() => {});
  }

  /** Joins the group, and tries until it succeeds. */
  async #join(): Promise<void> {
    this.#again = true;
    if (this.#joining) return;
    this.#joining = true;
    while (this.#again && !this.#left) {
      this.#again = false;
      const [id, state] = [this.#id, this.#options.state()];
      try {
        const seat = await this.#ask(() => this.#group.join(id, this.#options.topics, state));
        if (this.#isLeft()) return;
        this.#id = seat.id;
        this.#generation = seat.generation;
        this.#options.assigned(seat.assigned);
      } catch {
        this.#id = undefined;
        this.#again = true;
        await new Promise<void>((resolve) => void this.#clock.after(retryMs, resolve));
      }
    }
    this.#joining = false;
  }

  #isLeft(): boolean {
    return this.#left;
  }

  /** Sends heartbeats. */
  #beat(): void {
    this.#clock.after(this.#intervalMs, () => {
      if (this.#left) return;
      this.#beat();
      const [id, generation] = [this.#id, this.#generation];
      if (id === undefined || this.#joining) return;
      this.#ask(() => this.#group.heartbeat(id, generation)).then(
        (verdict) => {
          if (verdict === "stays" || this.#id !== id || this.#generation !== generation) return;
          if (verdict === "unknown") this.#id = undefined;
          this.rejoin();
        },
        () => {
          // A Kafka client would be closed and created again: it joins as a new member.
          if (this.#id === id) this.#id = undefined;
          this.rejoin();
        },
      );
    });
  }
}

/** The partition of a key, as Kafka's Java client chooses it: murmur2 without its sign bit, modulo the partitions. */
function partitionOf(key: string, partitions: number): number {
  const bytes = Buffer.from(key);
  const factor = 0x5bd1e995;
  let hash = 0x9747b28c ^ bytes.length;
  let place = 0;
  for (; place + 4 <= bytes.length; place += 4) {
    let part = Math.imul(bytes.readInt32LE(place), factor);
    part = Math.imul(part ^ (part >>> 24), factor);
    hash = Math.imul(hash, factor) ^ part;
  }
  const rest = bytes.subarray(place);
  if (rest.length > 0) {
    for (const [index, byte] of rest.entries()) hash ^= byte << (8 * index);
    hash = Math.imul(hash, factor);
  }
  hash = Math.imul(hash ^ (hash >>> 13), factor);
  hash ^= hash >>> 15;
  return (hash & 0x7fffffff) % partitions;
}

const unavailable = (message: string): WheelworkError =>
  new WheelworkError("WW_BUS_UNAVAILABLE", message, {
    next: "Try again. An engine does so by itself.",
    retryable: true,
  });

const lost = (topic: string, partition: number, offset: number, why: string): WheelworkError =>
  new WheelworkError("WW_LOG_LOST", `offset ${offset} of partition ${partition} of ${topic}: ${why}`, {
    next: "Records were deleted before they were read, or the topic was recreated. Read the log from its beginning.",
  });

/** What a dead process gets. A new promise each time: one that is shared would keep all that wait for it in memory. */
const never = <T>(): Promise<T> => new Promise(() => {});
