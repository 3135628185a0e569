import type { Message } from "@wheelwork/engine";
import type { LogFault } from "../../memory-log.ts";
import { drawFor, PlannedOperations } from "../plans.ts";
import { inbox } from "../shards/stage.ts";
import type { Cluster } from "./cluster.ts";
import type { Member } from "./member.ts";
import { strayMessage } from "./strays.ts";
import {
  clusterOperations,
  type ClusterFault,
  type ClusterFaultKind,
  type ClusterOperation,
} from "./plan.ts";

const latestVersion = 3;

const appendFaults: Partial<Record<string, LogFault>> = {
  "append-lost": "lost",
  "append-fails": "fail",
  "append-unseen": "unseen",
  "append-twice": "twice",
};

/** What goes wrong in a cluster, as its plan says; and the operator who sets right what the nodes cannot. */
export class Faults {
  readonly #cluster: Cluster;
  readonly #operations: PlannedOperations<ClusterFault>;
  #calm = false;
  #strays = 0;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    // Of two faults at one operation, the first one counts.
    const faults = cluster.plan.faults.toReversed();
    this.#operations = new PlannedOperations(faults, (kind) => clusterOperations[kind]);
  }

  /** All that has its time will happen then. */
  begin(): void {
    const { plan, stage } = this.#cluster;
    for (const fault of plan.faults)
      if (clusterOperations[fault.kind] === undefined) stage.clock.after(fault.at, () => this.#strike(fault));
  }

  /** From here on nothing fails. */
  becalm(): void {
    this.#calm = true;
  }

  /** The fault that the plan has for this operation, which is the next of its kind. */
  at(operation: ClusterOperation, member: Member): ClusterFaultKind | undefined {
    if (this.#calm) return undefined;
    const fault = this.#operations.next(operation);
    if (fault === undefined) return undefined;
    this.#struck(fault, member);
    return fault.kind;
  }

  /** A record that a node writes. */
  append(member: Member, topic: string, message: Message): LogFault | undefined {
    const { stage, ledger, inboxes } = this.#cluster;
    if (!member.process.alive) return "lost";
    const kind = this.at("append", member);
    const fault = kind === undefined ? undefined : appendFaults[kind];
    if (fault === "lost") {
      member.kill();
      return fault;
    }
    const { key, value } = message;
    stage.chronicle.say("append", member, `${topic} ${key} ${value.slice(0, 100)} ${fault ?? ""}`);
    if (topic.startsWith("from-")) {
      const story = ledger.publishes(message);
      if (story !== undefined) inboxes.published(member.owners.get(stage.shardOf(key)) ?? 0, story);
    }
    return fault;
  }

  #struck({ kind, forMs }: ClusterFault, member?: Member): void {
    this.#cluster.stage.chronicle.struck(kind, forMs, member);
  }

  #strike(fault: ClusterFault): void {
    const { stage, members } = this.#cluster;
    const { clock } = stage;
    const { kind, forMs, node } = fault;
    if (this.#calm) return;
    const { living } = members;
    const member = living[node % Math.max(1, living.length)];
    switch (kind) {
      case "add":
        this.#struck(fault);
        return members.boot();
      case "rebalance":
        this.#struck(fault);
        members.boot();
        clock.after(Math.min(forMs, 3_000), () => members.all.at(-1)?.kill());
        return;
      case "upgrade":
      case "roll-back":
        return this.#deploy(fault, member);
      case "cut":
      case "recreate":
        return this.#cut(fault);
      case "stray":
        return this.#stray(fault);
      case "clock-jump":
        this.#struck(fault);
        for (const shard of stage.chronicle.traces.keys())
          stage.chronicle.see(shard, { type: "fault", kind, node: undefined });
        return clock.jumpWall(forMs);
      case "defect":
        this.#struck(fault);
        stage.defective = true;
        clock.after(forMs, () => (stage.defective = false));
        return;
      default:
        if (member !== undefined) this.#strikeMember(fault, member);
    }
  }

  #strikeMember(fault: ClusterFault, member: Member): void {
    const { stage, members } = this.#cluster;
    const { kind, forMs, at } = fault;
    const later = (task: () => void): void => void stage.clock.after(forMs, task);
    this.#struck(fault, member);
    switch (kind) {
      case "kill":
        member.kill();
        return later(() => members.boot());
      case "stop":
        return members.stop(member, () => later(() => members.boot()));
      case "freeze":
        members.freeze(member);
        return later(() => members.thaw(member));
      case "store-hangs":
        return members.hang(member, forMs);
      case "log-gone":
        members.loseLog(member);
        return later(() => members.regain(member, "logGone"));
      case "store-gone":
        members.loseStore(member);
        return later(() => members.regain(member, "storeGone"));
      default:
        throw new TypeError(`${kind} strikes at no time: ${at}`);
    }
  }

  /** Another version is deployed, to one node, or to one after the other. */
  #deploy(fault: ClusterFault, first: Member | undefined): void {
    const { stage, members } = this.#cluster;
    const { kind, forMs, at } = fault;
    const version = members.version + (kind === "upgrade" ? 1 : -1);
    if (stage.opened.upgraded === undefined || version < 1 || version > latestVersion) return;
    if (first === undefined) return;
    this.#struck(fault, first);
    members.version = version;
    members.newest = Math.max(members.newest, version);
    const others = at % 3 === 0 ? [] : members.living.filter((member) => member !== first);
    for (const [place, member] of [first, ...others].entries()) {
      stage.clock.after(Math.ceil((place * forMs) / 4), () => {
        if (this.#calm || member.stopping || !member.process.alive) return;
        if (at % 2 === 0) members.stop(member, () => members.boot());
        else {
          member.kill();
          members.boot();
        }
      });
    }
  }

  /** Records are deleted before they were read; or the topic is made anew. */
  #cut(fault: ClusterFault): void {
    const { stage, inboxes } = this.#cluster;
    const { shards } = stage.plan;
    const shard = fault.node % shards;
    if (fault.kind === "recreate") {
      this.#struck(fault);
      inboxes.recreated();
      stage.broker.deleteTopic(inbox);
      stage.broker.createTopic(inbox, shards);
      return this.#mayRepair(fault);
    }
    // What has been read may go.
    if (!inboxes.cut(shard)) return;
    this.#struck(fault);
    const end = stage.broker.bounds(inbox, shard)?.end ?? 0;
    stage.chronicle.say("(cut)", undefined, `shard ${shard} before ${end}`);
    stage.broker.trim(inbox, shard, end);
    this.#mayRepair(fault);
  }

  /** Another program writes into an inbox. */
  #stray(fault: ClusterFault): void {
    const { stage } = this.#cluster;
    const { seed, shards } = stage.plan;
    this.#struck(fault);
    const random = drawFor(seed, "stray", fault.at, fault.node);
    for (let count = 1 + random.int(4); count > 0; count--) {
      const message = strayMessage(random, ++this.#strays);
      void stage.outside.append(inbox, message, random.int(shards)).catch(() => {});
    }
  }

  /** Nodes go on by themselves. An operator may be faster, and let the shards begin their logs anew. */
  #mayRepair({ at }: ClusterFault): void {
    if (at % 3 === 0) this.#repair();
  }

  #repair(): void {
    const { stage, members, inboxes } = this.#cluster;
    const { broker, chronicle } = stage;
    const living = members.all.filter(({ process }) => process.alive);
    chronicle.count("repaired");
    chronicle.say("repair");
    for (const member of living) member.kill();
    const id = broker.topic(inbox)?.id ?? "";
    for (const [shard, disk] of stage.disks.entries()) {
      const { logProgress } = disk.reopen().peek();
      const first = broker.bounds(inbox, shard)?.first ?? 0;
      if (logProgress === undefined || (logProgress.log.endsWith(`/${id}`) && logProgress.position >= first))
        continue;
      disk.forgetLog();
      inboxes.reset(shard, first);
    }
    for (let number = 0; number < Math.max(1, living.length); number++) members.boot();
  }
}
