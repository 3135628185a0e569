/** A cluster: nodes over a log, clients of theirs, and what others need who deal with its topics. */
export { createNode } from "./node.ts";
export { createClient } from "./client.ts";
export type { ClientOptions, ClusterNode, ClusterOptions, NodeOptions, ShardView } from "./options.ts";
export { clusterTopics } from "./topics.ts";
export type { Channel, MessageTrace } from "../delivery/channel.ts";
export {
  deadLetterTopic,
  readDeadLetter,
  replayDeadLetter,
  type DeadLetter,
} from "../delivery/dead-letters.ts";
export { letterAt, listDeadLetters } from "../delivery/letters.ts";
export type { Origin } from "../delivery/inbox.ts";
export type {
  Log,
  LogReader,
  LogReading,
  LogRecord,
  LogTopic,
  MemberOptions,
  MemberState,
  Membership,
  Partitions,
} from "../ports/log.ts";
export { shardOf } from "../ports/keys.ts";
export { assignPartitions, type GroupMember } from "./assign-partitions.ts";
export { asyncApi } from "./asyncapi.ts";
export { unpublishedAnswers } from "../shard/unpublished.ts";
