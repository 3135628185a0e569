import type { EngineEvent } from "@wheelwork/engine";
import { responseInHeaders, serveExternally } from "../shards/external.ts";
import type { Ledger } from "../shards/ledger.ts";
import { bodyOf } from "../shards/requests.ts";
import { Scene, type Actors } from "../shards/scene.ts";
import { inbox, type Stage } from "../shards/stage.ts";
import type { SimulatedSystem } from "../systems.ts";
import { count } from "../world.ts";
import { Faults } from "./faults.ts";
import { Inboxes } from "./inboxes.ts";
import type { Member } from "./member.ts";
import { Members } from "./members.ts";
import { Owners } from "./owners.ts";
import type { ClusterPlan } from "./plan.ts";
import { RoutedRelays } from "./relays.ts";

/** A cluster, its log and stores, and all who deal with it. */
export class Cluster implements Actors {
  readonly plan: ClusterPlan;
  readonly scene: Scene;
  readonly stage: Stage;
  readonly ledger: Ledger;
  readonly inboxes: Inboxes;
  readonly relays: RoutedRelays;
  readonly owners: Owners;
  readonly members: Members;
  readonly faults: Faults;
  /** The topics of spokes that external workers serve. */
  readonly external: ReadonlyMap<string, string>;
  #numbers = 0;

  constructor(system: SimulatedSystem, plan: ClusterPlan) {
    this.plan = plan;
    this.members = new Members(this);
    this.scene = new Scene(system, plan, this.members);
    this.stage = this.scene.stage;
    this.ledger = this.scene.ledger;
    const { stage, ledger, scene } = this;
    const { clock, broker } = stage;
    this.inboxes = new Inboxes({
      inbox,
      shards: plan.shards,
      ledger,
      now: () => clock.monotonicMs(),
      inboxId: () => broker.topic(inbox)?.id ?? "",
      bodyOf: (hub, request) => bodyOf(stage, hub, request),
    });
    this.owners = new Owners(stage, ledger, this.inboxes, scene.requests);
    this.external = serveExternally(stage, responseInHeaders, (task) => scene.at(0, task));
    this.relays = new RoutedRelays(stage, this.inboxes);
    this.faults = new Faults(this);
    stage.wrote = (record) => {
      ledger.wrote(record);
      this.inboxes.wrote(record);
      this.relays.wrote(record);
    };
  }

  /** A number for another owner of a shard. */
  owner(): number {
    return ++this.#numbers;
  }

  signal(member: Member, { name }: EngineEvent): void {
    const { chronicle } = this.stage;
    count(chronicle.signals, name);
    if (name.startsWith("shard-") || name === "log-lost") chronicle.say(name, member);
  }

  // ---- the scene ----

  begin(): void {
    for (let number = 0; number < this.plan.nodes; number++) this.members.boot();
  }

  schedule(): void {
    this.faults.begin();
  }

  becalm(): void {
    this.faults.becalm();
    this.members.becalm();
  }

  check(): void {
    this.owners.checkRouted();
  }

  end(): void {
    for (const { process } of this.members.all) process.kill();
  }
}
