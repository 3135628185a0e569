import type { SimulatedProcess } from "@wheelwork/testing";
import type { Delivery } from "./acker.ts";
import { Child } from "./child.ts";
import { KafkaBolt } from "./kafka-bolt.ts";
import { KafkaSpout } from "./kafka-spout.ts";
import type { Task } from "./layout.ts";
import type { Runner } from "./runner.ts";
import type { Storm } from "./storm.ts";

/** One of Storm's workers: a Java process that runs tasks. Some tasks run in child processes. */
export class Jvm {
  readonly number: number;
  readonly storm: Storm;
  readonly process: SimulatedProcess;
  /** The version of the topology that it has. */
  readonly version: number;
  readonly tasks: readonly Task[];
  /** Its tasks were given to others, and it does not know. */
  isZombie = false;
  /** It cannot reach the brokers. */
  logGone = false;
  readonly #runners: ReadonlyMap<number, Runner>;

  constructor(storm: Storm, number: number, version: number, tasks: readonly Task[]) {
    this.storm = storm;
    this.number = number;
    this.version = version;
    this.tasks = tasks;
    this.process = storm.stage.clock.process();
    this.#runners = new Map(tasks.map((task) => [task.id, this.#runner(task)] as const));
  }

  #runner(task: Task): Runner {
    const kind = this.storm.layout.kindOf(task.component);
    switch (kind.type) {
      case "kafka-spout":
        return new KafkaSpout(this, task, kind.topics);
      case "kafka-bolt":
        return new KafkaBolt(this, task);
      default:
        return new Child(this, task, kind);
    }
  }

  get children(): readonly Child[] {
    return [...this.#runners.values()].filter((runner) => runner instanceof Child);
  }

  /** The records that its spouts have emitted and that are not acked. */
  get unacked(): readonly string[] {
    const runners = [...this.#runners.values()];
    return runners.flatMap((runner) => (runner instanceof KafkaSpout ? runner.unacked : []));
  }

  runs(task: number): boolean {
    return this.#runners.has(task);
  }

  start(): void {
    for (const runner of this.#runners.values()) runner.start();
  }

  /** A tuple arrives for one of its tasks. */
  deliver(task: number, delivery: Delivery): void {
    this.#runners.get(task)?.take(delivery);
  }

  /** It dies, and the programs of its tasks notice: they end in order, if they can within half a second. */
  die(): void {
    if (!this.process.alive) return;
    this.process.kill();
    this.storm.chronicle.say("jvm died", this);
    for (const runner of this.#runners.values()) runner.orphan();
    this.storm.died(this);
  }

  /** Its whole machine dies. */
  crash(): void {
    for (const runner of this.#runners.values()) runner.kill();
    this.die();
  }

  freeze(): void {
    this.process.freeze();
    for (const child of this.children) child.freeze();
  }

  thaw(): void {
    this.process.thaw();
    for (const child of this.children) child.thaw();
  }
}
