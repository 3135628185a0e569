import type { Store } from "@wheelwork/engine";
import { shardOf, type LogRecord } from "@wheelwork/engine/cluster";
import {
  commandOf,
  inbox,
  requestOf,
  SimulatedStore,
  typeOf,
  type Ledger,
  type Scene,
  type Seen,
  type Stage,
  type StoreFault,
} from "@wheelwork/testing/simulator";
import type { Child } from "./child.ts";
import type { Faults } from "./faults.ts";
import { taskOf } from "./layout.ts";

/** An owner of a shard. */
interface Owner {
  readonly number: number;
  readonly child: Child;
  readonly shard: number;
}

/** The hubs' tasks: which of them owns a shard, what its store does, and what it hands out. */
export class Hubs {
  readonly #stage: Stage;
  readonly #ledger: Ledger;
  readonly #requests: Scene["requests"];
  /** The last owner of each shard. */
  readonly #owners = new Map<number, Owner>();
  #numbers = 0;

  constructor({ stage, ledger, requests }: Scene) {
    this.#stage = stage;
    this.#ledger = ledger;
    this.#requests = requests;
  }

  /** The number of the last owner of a shard. */
  ownerOf(shard: number): number | undefined {
    return this.#owners.get(shard)?.number;
  }

  /** Something that concerns the shard of a task, if it has one. */
  see(child: Child, type: "died" | "frozen" | "thawed" | "stopping" | "store-failed"): void {
    for (const { number, shard, child: owning } of this.#owners.values())
      if (owning === child) this.#stage.chronicle.see(shard, { type, node: number });
  }

  /** The store of a shard, as a task has it. */
  openStore(child: Child, shard: number, faults: Faults): Store {
    const stage = this.#stage;
    const number = ++this.#numbers;
    return new SimulatedStore(stage.open(shard), {
      number,
      process: child.process,
      server: { clock: stage.clock, delayMs: () => stage.delay("store", stage.plan.storeMs) },
      see: (seen) => this.#seeOfStore(child, shard, number, seen),
      storeFault: (operation) => faults.at(operation, child) as StoreFault | undefined,
      reachStore: () => {
        if (child.storeGone) throw new Error("the store cannot be reached, as planned");
      },
      kill: () => child.kill(),
    });
  }

  #seeOfStore(child: Child, shard: number, number: number, seen: Seen): void {
    const { chronicle } = this.#stage;
    if (seen.type === "claimed") return this.#claimed(child, shard, number, seen);
    chronicle.see(shard, seen);
    if (seen.type === "committed") this.#ledger.committed(shard, seen.seq, seen.journal);
    if (seen.type === "purged") this.#ledger.purged(shard, seen.endedBefore);
  }

  #claimed(child: Child, shard: number, number: number, seen: Seen & { type: "claimed" }): void {
    const { chronicle, clock, plan } = this.#stage;
    const hubs = this.#stage.hubsOf(child.jvm.version);
    const versions = Object.fromEntries(hubs.map(({ name, definition }) => [name, definition.version]));
    chronicle.see(shard, { type: "started", node: number, versions });
    chronicle.see(shard, seen);
    chronicle.see(shard, { type: "behind", node: number });
    chronicle.say("(owner)", child, `owner=${number} task=${child.task.id}`);
    child.owner = number;
    const owner = { number, child, shard };
    this.#owners.set(shard, owner);
    // From here on it is to blame for what it does not do.
    clock.after(1_000 + 40 * plan.storeMs, () => {
      if (this.#owners.get(shard) === owner && child.process.alive && !child.process.frozen)
        chronicle.see(shard, { type: "ready", node: number });
    });
  }

  /** A task emits a tuple: those with attempts are of interest. */
  emitted({ owner: node = 0 }: Child, stream: string, [, body]: readonly unknown[]): void {
    if (stream !== "stream-hub-bolt-to-worker-bolt") return;
    const orders = JSON.parse(String(body)) as readonly Partial<Seen & { type: "ordered" }>[];
    for (const { spoke, request, call, attempt } of orders) {
      if (spoke === undefined || request === undefined || call === undefined || attempt === undefined)
        continue;
      const ordered = { type: "ordered", node, spoke, request, call, attempt } as const;
      this.#stage.chronicle.see(this.#stage.shardOf(request), ordered);
    }
  }

  /** A spout has heard that a record is done with. */
  acked(record: LogRecord): void {
    const { topic, key: given, partition, offset } = record;
    const { stories, inboxed, letters } = this.#ledger;
    const type = topic === inbox ? typeOf(record) : topic.startsWith("to-") ? "request" : undefined;
    const { shards } = this.#stage.plan;
    // What Storm gives to another task than that of its lane is handed on, and done with once it has come there.
    const root = topic === inbox ? requestOf(record) : given;
    if (topic === inbox && taskOf(given, shards) !== shardOf(root, shards)) return;
    if (type === "command") {
      const { id, kind, run } = commandOf(record) ?? {};
      if (id === undefined || kind === undefined) return;
      const shard = shardOf(root, shards);
      return this.#stage.chronicle.see(shard, { type: "passed", key: run ?? root, kind, id });
    }
    if (type !== "request") return;
    const key = this.#requests.storedUnder(root);
    const isBuried = letters.some(
      ({ headers }) =>
        headers["dlt-topic"] === topic &&
        headers["dlt-partition"] === String(partition) &&
        headers["dlt-offset"] === String(offset),
    );
    this.#ledger.demand(
      "acked",
      stories.has(key) || isBuried || (topic !== inbox && inboxed.has(key)),
      () =>
        `${topic}/${partition}/${offset} is acked, and ${given} is neither committed, in an inbox, nor a dead letter`,
    );
  }
}
