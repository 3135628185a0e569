import type { LogRecord } from "@wheelwork/engine/cluster";
import { MemoryLog } from "@wheelwork/testing";
import { Tree, type TreeOwner } from "./acker.ts";
import type { Jvm } from "./jvm.ts";
import type { Task } from "./layout.ts";
import type { Runner } from "./runner.ts";

/** How often offsets are noted, in milliseconds. */
const commitMs = 1_000;
/** How soon a record that was failed is sent again: at once, then after pauses that double, in milliseconds. */
const minRetryMs = 2;
const maxRetryMs = 10_000;

/** One partition, as the spout reads it. */
interface Reading {
  readonly place: string;
  /** Up to which record all are acked. */
  position: number;
  /** Those after it that are acked. */
  readonly acked: Set<number>;
}

/**
 * Storm's own Kafka spout: emits records, notes how far all of them are acked, and sends again what was failed, after later
 * ones if need be. What it has not noted comes again after its death.
 */
export class KafkaSpout implements Runner, TreeOwner {
  readonly #jvm: Jvm;
  readonly #task: Task;
  readonly #topics: readonly string[];
  readonly #log: MemoryLog;
  readonly #readings = new Map<string, Reading>();
  readonly #records = new Map<string, { readonly record: LogRecord; failures: number }>();

  constructor(jvm: Jvm, task: Task, topics: readonly string[]) {
    this.#jvm = jvm;
    this.#task = task;
    this.#topics = topics;
    const { process } = jvm;
    this.#log = new MemoryLog(jvm.storm.stage.broker, {
      clock: process,
      sends: () => process.alive,
      reaches: () => !jvm.logGone,
    });
  }

  get unacked(): readonly string[] {
    return [...this.#records.keys()];
  }

  start(): void {
    const { broker } = this.#jvm.storm.stage;
    for (const topic of this.#topics) {
      broker.createTopic(topic);
      const { partitions = 0 } = broker.topic(topic) ?? {};
      for (let partition = 0; partition < partitions; partition++) void this.#read(topic, partition);
    }
    this.#commit();
  }

  async #read(topic: string, partition: number): Promise<void> {
    const place = `${topic}/${partition}`;
    const position = this.#jvm.storm.offsets.get(`${this.#task.component} ${place}`) ?? 0;
    this.#readings.set(place, { place, position, acked: new Set() });
    const records = (given: readonly LogRecord[]): void => {
      for (const record of given) this.#begin(record);
    };
    for (;;) {
      try {
        await this.#log.read(topic, partition, position, { records, lost: () => {} });
        return;
      } catch {
        await this.#jvm.process.sleep(commitMs);
      }
    }
  }

  #begin(record: LogRecord): void {
    const id = `${record.topic}/${record.partition}/${record.offset}`;
    this.#records.set(id, { record, failures: 0 });
    this.#emit(id);
  }

  #emit(id: string): void {
    const { record } = this.#records.get(id) ?? {};
    if (record === undefined) return;
    const { storm, process } = this.#jvm;
    const { topic, partition, offset, key, value } = record;
    const tree = new Tree(this, id);
    const values = [topic, partition, offset, key === "" ? null : key, value];
    storm.emit(this.#jvm, this.#task, "default", values, [tree]);
    process.after(storm.plan.messageTimeoutSecs * 1_000, () => {
      if (!tree.isOver) storm.chronicle.count("tuple timed out");
      tree.failed();
    });
  }

  acked(id: string): void {
    this.#jvm.process.soon(() => this.#done(id));
  }

  failed(id: string): void {
    this.#jvm.process.soon(() => this.#again(id));
  }

  #done(id: string): void {
    const { record } = this.#records.get(id) ?? {};
    if (record === undefined) return;
    this.#records.delete(id);
    this.#jvm.storm.hubs.acked(record);
    const reading = this.#readings.get(`${record.topic}/${record.partition}`) as Reading;
    reading.acked.add(record.offset);
    while (reading.acked.delete(reading.position)) reading.position++;
  }

  #again(id: string): void {
    const found = this.#records.get(id);
    if (found === undefined) return;
    const { storm, process } = this.#jvm;
    storm.chronicle.count("tuple sent again");
    const retryMs = found.failures === 0 ? 0 : Math.min(minRetryMs * 2 ** (found.failures - 1), maxRetryMs);
    found.failures++;
    process.after(retryMs, () => this.#emit(id));
  }

  /** Notes how far it has come. The next reader begins there. */
  #commit(): void {
    const { process, storm, logGone } = this.#jvm;
    if (!logGone)
      for (const { place, position } of this.#readings.values())
        storm.offsets.set(`${this.#task.component} ${place}`, position);
    process.after(commitMs, () => this.#commit());
  }

  /** Nothing comes to a spout. */
  take(): void {}

  orphan(): void {}

  kill(): void {}
}
