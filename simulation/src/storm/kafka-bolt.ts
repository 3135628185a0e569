import { MemoryLog } from "@wheelwork/testing";
import type { Delivery } from "./acker.ts";
import type { Jvm } from "./jvm.ts";
import type { Task } from "./layout.ts";
import type { Runner } from "./runner.ts";

/** Storm's own Kafka bolt: tuples become records, and are acked when the brokers have them. */
export class KafkaBolt implements Runner {
  readonly #jvm: Jvm;
  readonly #log: MemoryLog;

  constructor(jvm: Jvm, { component }: Task) {
    this.#jvm = jvm;
    const { storm } = jvm;
    this.#log = new MemoryLog(storm.stage.broker, {
      clock: jvm.process,
      sends: () => jvm.process.alive,
      reaches: () => !jvm.logGone,
      faultAt: (topic, message) => storm.faults.append(jvm, component, topic, message, () => jvm.crash()),
    });
  }

  start(): void {}

  take(delivery: Delivery): void {
    const [key, message, topic] = delivery.values;
    const { storm } = this.#jvm;
    storm.stage.broker.createTopic(String(topic));
    this.#log.publish(String(topic), { key: String(key), value: String(message) }).then(
      () => storm.settle(this.#jvm, delivery, "ack"),
      () => storm.settle(this.#jvm, delivery, "fail"),
    );
  }

  orphan(): void {}

  kill(): void {}
}
