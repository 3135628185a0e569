import type { Partitions } from "../ports/log.ts";

/** A map whose keys are partitions of topics. */
export class PartitionMap<T> {
  readonly #topics = new Map<string, Map<number, T>>();

  get(topic: string, partition: number): T | undefined {
    return this.#topics.get(topic)?.get(partition);
  }

  has(topic: string, partition: number): boolean {
    return this.#topics.get(topic)?.has(partition) === true;
  }

  set(topic: string, partition: number, value: T): void {
    let partitions = this.#topics.get(topic);
    if (partitions === undefined) this.#topics.set(topic, (partitions = new Map()));
    partitions.set(partition, value);
  }

  delete(topic: string, partition: number): void {
    const partitions = this.#topics.get(topic);
    if (partitions?.delete(partition) === true && partitions.size === 0) this.#topics.delete(topic);
  }

  get size(): number {
    let size = 0;
    for (const partitions of this.#topics.values()) size += partitions.size;
    return size;
  }

  /** As it is now: what is deleted meanwhile is given all the same. */
  entries(): { readonly topic: string; readonly partition: number; readonly value: T }[] {
    return Array.from(this.#topics, ([topic, partitions]) =>
      Array.from(partitions, ([partition, value]) => ({ topic, partition, value })),
    ).flat();
  }

  /** The keys, as a group hears of them. */
  keys(): Partitions[] {
    return Array.from(this.#topics, ([topic, partitions]) => ({ topic, partitions: [...partitions.keys()] }));
  }
}
