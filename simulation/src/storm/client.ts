import type { Engine } from "@wheelwork/engine";
import { createClient } from "@wheelwork/engine/cluster";
import { MemoryLog, type SimulatedProcess } from "@wheelwork/testing";
import { drawFor, inbox, SimulatedStore, type Askable, type Stage } from "@wheelwork/testing/simulator";

/** How far the wall clock of a client is ahead, in milliseconds: most are right. */
const wrongMs = [0, 0, 0, 300_000, -300_000, 172_800_000, -172_800_000];

/** A program that asks for requests and gives commands through the inboxes, and reads what is known from the stores. */
export class Client implements Askable {
  readonly number: number;
  readonly process: SimulatedProcess;
  readonly engine: Engine;
  readonly death = new Promise<void>(() => {});
  readonly wellSince = 0;
  able = false;

  constructor(stage: Stage, number: number) {
    const { clock, broker, plan } = stage;
    this.number = number;
    this.process = clock.process({ aheadMs: drawFor(plan.seed, "wall", number).pick(wrongMs) });
    this.engine = createClient({
      hubs: stage.hubsOf(1),
      shards: plan.shards,
      inbox,
      store: (shard) =>
        new SimulatedStore(stage.open(shard), {
          number: 0,
          process: this.process,
          server: { clock, delayMs: () => stage.delay("store", plan.storeMs) },
          see: () => {},
          storeFault: () => undefined,
          reachStore: () => {},
          kill: () => {},
        }),
      log: new MemoryLog(broker, { clock: this.process }),
      clock: this.process,
    });
    void this.engine.start().then(() => (this.able = true));
  }

  owns(): boolean {
    return false;
  }

  hasOwned(): boolean {
    return false;
  }
}
