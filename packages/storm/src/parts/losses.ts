import type { GroupProgress } from "@wheelwork/kafka";

/**
 * Finds records that were deleted before Storm's spout has read them. The spout goes on with the first record that is left, and tells
 * nobody. But the group of the spout says how far it had come, and the topic where it begins.
 *
 * The spout may have read a record within the last look's time, and somebody have deleted it at once. That is told as a loss, too.
 */
export class Losses {
  /** How far the spout had come at the last look, by topic and partition. */
  readonly #read = new Map<string, number>();

  /** What the topic lacks that was not read at the last look: a text for each partition. */
  found(topic: string, partitions: readonly GroupProgress[]): readonly string[] {
    const lost: string[] = [];
    for (const [partition, { first, committed }] of partitions.entries()) {
      const place = `${topic}/${partition}`;
      const before = this.#read.get(place) ?? committed;
      if (before !== undefined && first > before)
        lost.push(
          `partition ${partition} of ${topic} begins at ${first}, and was read up to ${before}: records were deleted before they were read`,
        );
      if (committed !== undefined) this.#read.set(place, Math.max(committed, first));
    }
    return lost;
  }
}
