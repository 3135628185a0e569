import { stormTopology } from "@wheelwork/storm/parts";
import { drawFor, type Ledger, type Stage } from "@wheelwork/testing/simulator";
import type { Delivery, Tree } from "./acker.ts";
import type { Child } from "./child.ts";
import type { Faults } from "./faults.ts";
import type { Hubs } from "./hubs.ts";
import { Jvm } from "./jvm.ts";
import { Layout, type Task } from "./layout.ts";
import type { Parts } from "./parts.ts";
import { calmTuples, type StormPlan } from "./plan.ts";

/** The tasks of one of Storm's workers, and who runs them. */
interface Slot {
  readonly tasks: readonly Task[];
  jvm: Jvm;
}

/** So long a tuple may be delayed besides, in milliseconds: it is overtaken, and may come to those who begin anew. */
const maxDelayMs = 5_000;
/** Nimbus takes a worker for dead that stands still for so long, in milliseconds. */
const nimbusTimeoutMs = 3_000;
/** How long a worker that was replaced may live on, in milliseconds. */
const maxZombieMs = 4_000;
/** How long the supervisor takes to start a worker again, in milliseconds. */
const maxRestartMs = 6_000;

/** What surrounds a simulated Storm. */
export interface StormOptions {
  readonly plan: StormPlan;
  readonly stage: Stage;
  readonly ledger: Ledger;
  readonly parts: Parts;
  readonly hubs: Hubs;
  readonly faults: Faults;
  /** Where the parts leave the files that name their processes. */
  readonly folder: string;
}

/** Storm in memory: its workers, the tuples between their tasks, and who starts what has died. */
export class Storm {
  readonly plan: StormPlan;
  readonly stage: Stage;
  readonly ledger: Ledger;
  readonly parts: Parts;
  readonly hubs: Hubs;
  readonly faults: Faults;
  readonly folder: string;
  readonly layout: Layout;
  /** Up to where the spouts have noted that they have read. */
  readonly offsets = new Map<string, number>();
  /** All of Storm's workers that there have been. */
  readonly jvms: Jvm[] = [];
  /** The version of the topology that is deployed, and the newest that ever was. */
  version = 1;
  newest = 1;
  #calm = false;
  #slots: readonly Slot[] = [];
  #tuples = 0;
  /** When the last tuple of a connection arrives: it carries them in their order. */
  readonly #arrivals = new Map<string, number>();

  constructor({ plan, stage, ledger, parts, hubs, faults, folder }: StormOptions) {
    this.plan = plan;
    this.stage = stage;
    this.ledger = ledger;
    this.parts = parts;
    this.hubs = hubs;
    this.faults = faults;
    this.folder = folder;
    this.layout = new Layout(
      stormTopology({
        name: "simulated",
        config: parts.config,
        app: { channels: stage.channels, workers: parts.workers },
        workerTasks: plan.workerTasks,
        workers: plan.workers,
        settings: { "topology.subprocess.timeout.secs": 10 },
      }),
    );
  }

  get chronicle(): Stage["chronicle"] {
    return this.stage.chronicle;
  }

  get subprocessTimeoutMs(): number {
    return Number(this.layout.topology.config["topology.subprocess.timeout.secs"]) * 1_000;
  }

  /** Storm's workers that are there, and not replaced. */
  get running(): readonly Jvm[] {
    return this.#slots.map(({ jvm }) => jvm).filter(({ process }) => process.alive);
  }

  /** The programs that run. */
  get children(): readonly Child[] {
    return this.running.flatMap(({ children }) => children).filter(({ process }) => process.alive);
  }

  // ---- Nimbus and the supervisors ----

  /** Spreads all tasks over so many workers. */
  deploy(workers: number, turn = 0): void {
    this.#slots = Array.from({ length: workers }, (_, place) => {
      const tasks = this.layout.tasks.filter(({ id }) => (id + turn) % workers === place);
      return { tasks, jvm: this.#make(tasks) };
    });
    for (const { jvm } of this.#slots) jvm.start();
  }

  #make(tasks: readonly Task[]): Jvm {
    const jvm = new Jvm(this, this.jvms.length + 1, this.version, tasks);
    this.jvms.push(jvm);
    const names = tasks.map(({ id, component }) => `${component}#${id}`);
    this.chronicle.say("jvm started", jvm, `version ${this.version}: ${names.join(", ")}`);
    return jvm;
  }

  /** One of the workers has died: its supervisor starts it again. */
  died(jvm: Jvm): void {
    const slot = this.#slots.find((one) => one.jvm === jvm);
    if (slot === undefined) return;
    const restartMs = this.#calm ? 1_000 : 200 + this.stage.delay("restart", maxRestartMs);
    this.stage.clock.after(restartMs, () => {
      if (this.#slots.includes(slot) && slot.jvm === jvm) this.#replace(slot);
    });
  }

  #replace(slot: Slot): void {
    slot.jvm = this.#make(slot.tasks);
    slot.jvm.start();
  }

  /** It stands still, and its tasks are given to another worker if that lasts for long. */
  freeze(jvm: Jvm, forMs: number): void {
    const { clock } = this.stage;
    jvm.freeze();
    clock.after(forMs, () => jvm.thaw());
    clock.after(nimbusTimeoutMs, () => {
      const slot = this.#slots.find((one) => one.jvm === jvm);
      if (slot === undefined || !jvm.process.alive || !jvm.process.frozen) return;
      this.#retire(jvm, forMs - nimbusTimeoutMs);
      this.#replace(slot);
    });
  }

  /** Its tasks are another worker's, and nobody has told it yet. */
  #retire(jvm: Jvm, frozenMs = 0): void {
    jvm.isZombie = true;
    this.chronicle.count("zombie");
    this.chronicle.say("jvm replaced", jvm);
    const livesMs = this.#calm ? 0 : this.stage.delay("zombie", maxZombieMs);
    this.stage.clock.after(Math.max(0, frozenMs) + livesMs, () => jvm.die());
  }

  /** Spreads the tasks anew: the old workers live on for a while. */
  rebalance(workers: number, turn: number): void {
    const old = this.running;
    this.deploy(workers, turn);
    for (const jvm of old) this.#retire(jvm);
  }

  /** Ends the topology, and submits it in another version. */
  redeploy(version: number, pauseMs: number): void {
    const old = this.running;
    this.version = version;
    this.newest = Math.max(this.newest, version);
    const none: readonly Slot[] = (this.#slots = []);
    for (const jvm of old) jvm.die();
    this.stage.clock.after(pauseMs, () => {
      if (this.#slots === none) this.deploy(this.plan.workers);
    });
  }

  /** The topology is submitted under another name: nobody knows how far its spouts have read. */
  reread(): void {
    this.chronicle.count("all is read again");
    this.offsets.clear();
    this.redeploy(this.version, 1_000);
  }

  /** Nothing goes wrong any more. */
  becalm(): void {
    this.#calm = true;
    for (const jvm of this.jvms) {
      jvm.logGone = false;
      if (jvm.process.alive) jvm.thaw();
      for (const child of jvm.children) child.storeGone = false;
    }
    if (this.version < this.newest || this.#slots.length === 0) this.redeploy(this.newest, 1_000);
  }

  /** What the spouts have emitted and nobody has acked; empty: nothing. */
  unrest(): string {
    return this.running.flatMap(({ unacked }) => unacked).join(", ");
  }

  // ---- tuples ----

  /** A task emits a tuple: to all to whom it goes, each on its own way. */
  emit(
    from: Jvm,
    { id, component }: Task,
    stream: string,
    values: readonly unknown[],
    trees: readonly Tree[],
  ): void {
    const any = (count: number): number => this.stage.delay("shuffle", count - 1);
    for (const target of this.layout.targets(component, stream, values, any)) {
      const tuple = String(++this.#tuples);
      for (const tree of trees) tree.add(tuple);
      this.#travel(from, target, { id: tuple, component, stream, task: id, values, trees });
    }
  }

  #travel(from: Jvm, target: number, delivery: Delivery): void {
    const { seed, netMs } = this.plan;
    const { lost, doubled, delayed } = this.#calm ? calmTuples : this.plan.tuples;
    const random = drawFor(seed, "tuple", delivery.id);
    const isLocal = from === this.#jvmOf(from, target);
    if (random.chance(lost)) return this.chronicle.count("tuple lost");
    const delayMs = isLocal ? 0 : random.int(netMs + 1);
    if (random.chance(doubled)) {
      this.chronicle.count("tuple doubled");
      const copy = { ...delivery, id: `${delivery.id}+`, trees: [] };
      this.#arriveAfter(delayMs + random.int(maxDelayMs), from, target, copy, true);
    }
    if (random.chance(delayed)) {
      this.chronicle.count("tuple delayed");
      return this.#arriveAfter(delayMs + random.int(maxDelayMs), from, target, delivery, random.chance(0.5));
    }
    const connection = `${from.number} ${target}`;
    const now = this.stage.clock.monotonicMs();
    const at = Math.max(now + delayMs, this.#arrivals.get(connection) ?? 0);
    this.#arrivals.set(connection, at);
    this.#arriveAfter(at - now, from, target, delivery, false);
  }

  /** `finds`: it comes to the process that has the task by then. */
  #arriveAfter(ms: number, from: Jvm, target: number, delivery: Delivery, finds: boolean): void {
    const { clock } = this.stage;
    const meant = this.#jvmOf(from, target);
    const arrive = (): void => {
      const jvm = finds ? this.#jvmOf(from, target) : meant;
      // It may stand still, or have died.
      jvm?.process.soon(() => jvm.deliver(target, delivery));
    };
    if (ms <= 0) clock.soon(arrive);
    else clock.after(ms, arrive);
  }

  /** Who runs a task, for all that one of the workers knows. */
  #jvmOf(from: Jvm, task: number): Jvm | undefined {
    if (from.isZombie && from.runs(task)) return from;
    return this.#slots.find(({ jvm }) => jvm.runs(task))?.jvm;
  }

  /** A task has done its part with a tuple, or not. */
  settle(from: Jvm, { id, trees }: Delivery, how: "ack" | "fail"): void {
    if (trees.length === 0) return;
    const { seed, netMs, tuples } = this.plan;
    const random = drawFor(seed, "ack", id);
    if (!this.#calm && random.chance(tuples.lost / 2)) return this.chronicle.count("ack lost");
    const arrive = (): void => {
      for (const tree of trees)
        if (how === "ack") tree.acked(id);
        else tree.failed();
    };
    from.process.after(random.int(netMs + 1), arrive);
  }
}
