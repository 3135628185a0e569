import { frame, FrameReader, type Wire } from "@wheelwork/storm/multilang";
import { startPart } from "@wheelwork/storm/parts";
import type { SimulatedProcess } from "@wheelwork/testing";
import type { Delivery, Tree } from "./acker.ts";
import type { Jvm } from "./jvm.ts";
import type { Kind, Task } from "./layout.ts";
import type { Runner } from "./runner.ts";

/** A message of the multilang protocol. */
interface Said {
  readonly command?: string;
  readonly id?: string;
  readonly stream?: string;
  readonly tuple?: readonly unknown[];
  readonly anchors?: readonly string[];
  readonly msg?: string;
}

/** What is left of a process whose pipes are closed is ended after so long, in milliseconds. */
const maxOrphanMs = 1_100;

/** A child process that runs a task. It speaks with its Java process through two pipes. */
export class Child implements Runner {
  readonly jvm: Jvm;
  readonly task: Task;
  readonly process: SimulatedProcess;
  /** The shard that it owns, if it is a hub, under this number. */
  owner: number | undefined = undefined;
  storeGone = false;
  readonly #kind: Extract<Kind, { part: string }>;
  readonly #reader = new FrameReader();
  /** Tuples that it has been given, and has not settled. */
  readonly #given = new Map<string, Delivery>();
  #take: (chunk: Buffer | undefined) => void = () => {};
  #uncaught: (error: unknown) => void = () => {};

  constructor(jvm: Jvm, task: Task, kind: Extract<Kind, { part: string }>) {
    this.jvm = jvm;
    this.task = task;
    this.process = jvm.storm.stage.clock.process();
    this.#kind = kind;
  }

  get number(): number {
    return this.jvm.number;
  }

  start(): void {
    const { storm } = this.jvm;
    startPart(this.#kind.part, () => storm.parts.app(this), this.#wire(), storm.parts.ports(this));
    this.#send({ pidDir: storm.folder, ...storm.layout.handshake(this.task) });
    if (this.#kind.type === "shell-spout") this.#next();
  }

  take(delivery: Delivery): void {
    this.#given.set(delivery.id, delivery);
    const { id, component: comp, stream, task, values: tuple } = delivery;
    this.#send({ id, comp, stream, task, tuple });
  }

  orphan(): void {
    if (!this.process.alive) return;
    this.jvm.storm.hubs.see(this, "stopping");
    this.process.soon(() => this.#take(undefined));
    // Java uses its own clock, so it also ends a child that stands still.
    this.jvm.storm.stage.clock.after(maxOrphanMs, () => this.kill());
  }

  /** As `kill -9`: its Java notices. */
  kill(): void {
    if (!this.process.alive) return;
    this.process.kill();
    this.jvm.storm.hubs.see(this, "died");
    this.jvm.process.soon(() => this.jvm.die());
  }

  freeze(): void {
    if (!this.process.alive || this.process.frozen) return;
    this.process.freeze();
    const { storm } = this.jvm;
    storm.hubs.see(this, "frozen");
    // Its Java notices that it hangs, unless that stands still as well.
    this.jvm.process.after(storm.subprocessTimeoutMs, () => {
      if (this.process.frozen && !this.jvm.process.frozen) this.kill();
    });
  }

  thaw(): void {
    if (!this.process.frozen) return;
    if (this.process.alive) this.jvm.storm.hubs.see(this, "thawed");
    this.process.thaw();
  }

  /** Something is thrown where nobody catches it. */
  throws(error: Error): void {
    this.jvm.storm.hubs.see(this, "store-failed");
    this.process.soon(() => this.#uncaught(error));
  }

  /** It cannot reach its store for a while. */
  loseStore(): void {
    this.storeGone = true;
    this.jvm.storm.hubs.see(this, "store-failed");
  }

  // ---- the pipes ----

  #send(message: object): void {
    const data = Buffer.from(frame(message));
    this.process.soon(() => this.#take(data));
  }

  #wire(): Wire {
    return {
      read: (take) => (this.#take = take),
      pause: () => {},
      resume: () => {},
      write: (data, done) => {
        this.process.soon(() => {
          for (const message of this.#reader.feed(data))
            this.jvm.process.soon(() => this.#hear(message as Said));
        });
        done();
      },
      uncaught: (take) => (this.#uncaught = take),
      after: (ms, task) => void this.process.after(ms, task),
      exit: () => this.kill(),
    };
  }

  #hear({ command, id = "", stream = "default", tuple = [], anchors = [], msg = "" }: Said): void {
    const { storm } = this.jvm;
    switch (command) {
      case "emit": {
        const trees = new Set(anchors.flatMap((anchor) => this.#given.get(anchor)?.trees ?? []));
        return this.#emit(stream, tuple, [...trees]);
      }
      case "ack":
      case "fail":
        return this.#settle(id, command);
      case "sync":
        // A spout has done what it was asked for; a bolt lives.
        if (this.#kind.type === "shell-spout") this.jvm.process.after(storm.plan.spoutMs, () => this.#next());
        return;
      case "error":
      case "log":
        return storm.chronicle.say(command, this, `${this.task.component}: ${msg.split("\n")[0]}`);
      default:
    }
  }

  #next(): void {
    this.#send({ command: "next" });
  }

  #emit(stream: string, tuple: readonly unknown[], trees: readonly Tree[]): void {
    const { storm } = this.jvm;
    storm.hubs.emitted(this, stream, tuple);
    storm.emit(this.jvm, this.task, stream, tuple, trees);
  }

  #settle(id: string, how: "ack" | "fail"): void {
    const delivery = this.#given.get(id);
    const { storm } = this.jvm;
    // To settle a tuple twice kills Storm's worker.
    storm.ledger.demand("tuples", delivery !== undefined, () => `${this.task.component} settles ${id} twice`);
    if (delivery === undefined) return;
    this.#given.delete(id);
    storm.settle(this.jvm, delivery, how);
  }
}
