import type { Bus, MaybePromise, Message } from "./ports.ts";

/** A record of a log. */
export interface LogRecord extends Message {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly headers: Readonly<Record<string, string>>;
  /** When it was written, in milliseconds since 1970. */
  readonly timestampMs: number;
  /** The record has so many bytes, more than any that a node writes. Its value and headers are left out, and a key as long as that. */
  readonly oversizeBytes?: number;
}

/** A topic as it is now. */
export interface LogTopic {
  /** Another one when the topic is deleted and made anew. */
  readonly id: string;
  readonly partitions: number;
}

/** Who reads a partition. */
export interface LogReader {
  /** Takes records in their order; the next ones come when its promise is settled. */
  records(records: readonly LogRecord[]): MaybePromise<void>;
  /** The log has no longer what was to be read next (WW_LOG_LOST), or may not be read (WW_CONFIG): the reading has ended. */
  lost(error: Error): void;
}

/** A partition that is being read. */
export interface LogReading {
  /** Where the reading began. */
  readonly from: number;
  /** The end of the partition when it began. */
  readonly end: number;
  /** No more records are given, not even those that are under way. */
  stop(): void;
}

/** Partitions of a topic. */
export interface Partitions {
  readonly topic: string;
  readonly partitions: readonly number[];
}

/** A node as the others of its group see it. */
export interface MemberState {
  /** What it works on, so that it may keep it. */
  readonly owns: readonly Partitions[];
  /** What it cannot work on. */
  readonly refuses: readonly Partitions[];
}

/** What a node tells its group, and hears from it. */
export interface MemberOptions {
  readonly group: string;
  readonly topics: readonly string[];
  /** Asked whenever the group shares its partitions out. */
  state(): MemberState;
  /** The partitions that this node is to work on from now on: all others are somebody else's. */
  assigned(partitions: readonly Partitions[]): void;
  /** Somebody must set something right before there is a place in the group (WW_CONFIG); it is asked for all the same. */
  failed?(error: Error): void;
}

/** A place in a group. */
export interface Membership {
  /** Asks the group to share its partitions out anew. */
  rejoin(): void;
  /** The group's own note of how far a partition has been read; undefined: not at all. */
  committed(topic: string, partition: number): Promise<number | undefined>;
  /** Notes how far a partition has been read. It fails for a node that the partition is no longer assigned to. */
  commit(topic: string, partition: number, offset: number): Promise<void>;
  leave(): Promise<void>;
}

/**
 * Durable logs in partitions, and the group of nodes that shares them out. A promise that rejects does so with a
 * WheelworkError: WW_BUS_UNAVAILABLE (retryable) or WW_CONFIG.
 */
export interface Log extends Bus {
  /** @throws WheelworkError WW_CONFIG when there is no such topic. */
  topic(name: string): Promise<LogTopic>;
  /** The end of a partition as it is now: the offset of what is written next. @throws WheelworkError WW_CONFIG when there is none. */
  end(topic: string, partition: number): Promise<number>;
  /** Adds a record: durable when it returns. By default the key chooses the partition, as Java's clients do. */
  append(topic: string, message: Message, partition?: number): Promise<void>;
  /**
   * Reads a partition from an offset on; undefined: from its beginning.
   * @throws WheelworkError WW_LOG_LOST when the partition no longer has that offset, or not yet.
   */
  read(topic: string, partition: number, from: number | undefined, reader: LogReader): Promise<LogReading>;
  /** Takes a place in a group. A topic that is gone keeps the partitions that the group knew of: those who work on them go on. */
  join(options: MemberOptions): Promise<Membership>;
  close(): Promise<void>;
}
