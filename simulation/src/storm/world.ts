import { readDeadLetter, type LogRecord } from "@wheelwork/engine/cluster";
import type { SimulatedSystem } from "@wheelwork/testing";
import {
  checkShards,
  describeShardsPlan,
  responseInValue,
  Scene,
  serveExternally,
  type Actors,
  type Askable,
  type World,
} from "@wheelwork/testing/simulator";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "./client.ts";
import { Faults } from "./faults.ts";
import { Hubs } from "./hubs.ts";
import { Parts } from "./parts.ts";
import { smallerStormPlans, stormFaultKinds, stormPlanOf, type StormPlan } from "./plan.ts";
import { Storm } from "./storm.ts";

const clients = 2;

/** The parts of the topology on a Storm in memory, with all who deal with them. */
class StormScene implements Actors {
  readonly scene: Scene;
  readonly #plan: StormPlan;
  readonly #folder = mkdtempSync(join(tmpdir(), "wheelwork-storm-"));
  readonly #faults: Faults;
  readonly #storm: Storm;
  readonly #clients: Askable[] = [];

  constructor(system: SimulatedSystem, plan: StormPlan) {
    this.#plan = plan;
    this.scene = new Scene(system, plan, { askable: this.#clients, isOwner: () => false });
    const { scene } = this;
    const { stage, ledger } = scene;
    const external = serveExternally(stage, responseInValue, (task) => scene.at(0, task));
    const hubs = new Hubs(scene);
    this.#faults = new Faults(plan, stage, ledger);
    const parts = new Parts(plan, stage, hubs, this.#faults, external);
    this.#storm = new Storm({ plan, stage, ledger, parts, hubs, faults: this.#faults, folder: this.#folder });
    stage.wrote = (record) => {
      ledger.wrote(record);
      // Its request may have been answered, and nobody remembers.
      if (this.excuses(record)) ledger.lost.add(scene.requests.storedUnder(record.key));
    };
  }

  begin(): void {
    this.#storm.deploy(this.#plan.workers);
    for (let number = 1; number <= clients; number++)
      this.#clients.push(new Client(this.scene.stage, number));
  }

  schedule(): void {
    this.#faults.begin(this.#storm);
    const { retentionMs, rereadMs, forMs } = this.#plan;
    if (retentionMs === undefined || rereadMs === undefined) return;
    this.scene.at(forMs + retentionMs + rereadMs, async () => this.#storm.reread());
  }

  becalm(): void {
    this.#faults.becalm();
    this.#storm.becalm();
  }

  unrest(): string {
    return this.#storm.unrest();
  }

  check(): void {}

  /** Whether it is the dead letter of a record that is older than answers are kept. */
  excuses(letter: LogRecord): boolean {
    const { retentionMs = Number.POSITIVE_INFINITY } = this.#plan;
    const { origin, at } = readDeadLetter(letter);
    if (origin.topic === "") return false;
    const record = this.scene.stage.broker
      .records(origin.topic)
      .find(({ partition, offset }) => partition === origin.partition && offset === origin.offset);
    return record !== undefined && record.timestampMs < at - retentionMs;
  }

  end(): void {
    for (const { process, children } of this.#storm.jvms) {
      process.kill();
      for (const child of children) child.process.kill();
    }
    for (const { process } of this.#clients) process.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The world of Storm: the bolts and spouts of a topology, with tuples between them that are lost, doubled and delayed. */
export const stormWorld: World<StormPlan> = {
  name: "storm",
  faultKinds: stormFaultKinds,
  plan: stormPlanOf,
  play: async (system, plan) => {
    const storm = new StormScene(system, plan);
    const { scene } = storm;
    await scene.play(storm);
    const { storeMs, netMs } = plan;
    return checkShards(scene.stage, scene.ledger, scene.requests.asked, {
      // Without the coordinator, a callback comes a second later. Each batch goes over the network, and may be small.
      graceMs: 4_000 + 200 * storeMs,
      lagMs: 5 + 10 * storeMs + 2 * netMs,
      catchUpMs: 25 + 50 * storeMs,
    });
  },
  smaller: smallerStormPlans,
  describe: describeShardsPlan,
};
