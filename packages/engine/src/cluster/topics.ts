import { WheelworkError } from "@wheelwork/core";
import { deadLetterTopic } from "../delivery/dead-letters.ts";
import type { Log } from "../ports/log.ts";
import type { NodeOptions } from "./options.ts";

export const defaultInbox = "wheelwork-inbox";

/** The topics that a cluster needs besides those of its channels' partners, with the partitions that they must have. */
export function clusterTopics({
  shards,
  inbox = defaultInbox,
  channels = [],
}: Pick<NodeOptions, "shards" | "inbox" | "channels">): {
  name: string;
  partitions?: number;
  mayHaveMore?: true;
}[] {
  return [
    { name: inbox, partitions: shards, mayHaveMore: true },
    { name: deadLetterTopic(inbox) },
    ...channels.flatMap(({ from, to }) => [{ name: from }, { name: to }, { name: deadLetterTopic(from) }]),
  ];
}

/**
 * The inbox has a partition for each shard. More do no harm: somebody has added them, no shard has them, and the store knows how many
 * shards there are. The result is how many it has.
 * @throws WheelworkError WW_CONFIG.
 */
export async function checkInbox(log: Log, inbox: string, shards: number): Promise<number> {
  const { partitions } = await log.topic(inbox);
  if (partitions >= shards) return partitions;
  throw config(
    `the topic ${inbox} has ${partitions} partitions, and the cluster ${shards} shards`,
    "A request belongs to the shard that its key names, for good: start with that number, or with another topic and another store.",
  );
}

export const config = (message: string, next: string): WheelworkError =>
  new WheelworkError("WW_CONFIG", message, { next });
