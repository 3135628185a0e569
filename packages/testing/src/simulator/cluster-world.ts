import { WheelworkError, type AnyHub, type Outcome } from "@wheelwork/core";
import {
  clusterTopics,
  replayDeadLetter,
  shardOf,
  type AttemptContext,
  type Bus,
  type Channel,
  type CommandResult,
  type EngineEvent,
  type LogRecord,
  type Message,
  type Partitions,
  type Worker,
  type WorkerPorts,
} from "@wheelwork/engine";
import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { SimulatedClock } from "../clock.ts";
import { MemoryBroker, MemoryLog, type LogFault } from "../memory-log.ts";
import { MemoryStore } from "../memory-store.ts";
import { seededRandom } from "../random.ts";
import { isRouted, observed, type AttemptsIn, type RoutedWorker } from "./attempts.ts";
import { attemptOf, Ledger, refusedHubName, type Body } from "./cluster-ledger.ts";
import { Member } from "./cluster-member.ts";
import {
  clusterOperations,
  type ClusterCommand,
  type ClusterFault,
  type ClusterPlan,
  type ClusterRead,
  type ClusterRequest,
} from "./cluster-plan.ts";
import { Passages } from "./network.ts";
import { drawFor } from "./plan.ts";
import { lineOf, type Seen, type TraceEntry } from "./trace.ts";
import type { EndedRequest, OpenedSystem, SimulatedSystem } from "./world.ts";

const inbox = "wheelwork-inbox";
/** A claim has come to work, or never will, after so long, in milliseconds: callbacks wait no longer for the inbox. */
const maxClaimMs = 10_500;
/** For how long a client waits for what it has asked, in milliseconds. */
const patienceMs = 12_000;
const latestVersion = 3;

const appendFaults: Partial<Record<string, LogFault>> = {
  "append-lost": "lost",
  "append-fails": "fail",
  "append-unseen": "unseen",
  "append-twice": "twice",
};

/** A request of the plan, with what it asks for. */
interface Wanted {
  readonly plan: ClusterRequest;
  /** The key that its sender gives, and the one that it is stored under. */
  readonly given: string;
  readonly key: string;
  readonly hub: AnyHub;
  readonly body: unknown;
  /** Another request to the same hub, if there is one. */
  readonly other: unknown;
}

/** One sending of a request, and what became of it. */
interface Sending {
  readonly wanted: Wanted;
  readonly differs: boolean;
  readonly body: unknown;
  accepted: boolean;
  /** The code with which it was refused for good. */
  refused: string | undefined;
}

interface Asked {
  readonly request: string;
  readonly call: number;
  readonly attempt: number;
}

/** The attempts that a relay calls the same, and what was heard of them. */
interface Relayed {
  readonly asked: Map<string, Asked>;
  readonly said: Outcome[];
}

/** An owner of a shard. */
interface Owner {
  readonly number: number;
  readonly member: Member;
  readonly shard: number;
  /** It works, for all that is known. */
  ready: boolean;
  readonly at: number;
}

/** A cluster, its log and stores, and all who deal with it. */
export class ClusterWorld {
  readonly plan: ClusterPlan;
  readonly clock = new SimulatedClock();
  readonly broker: MemoryBroker;
  readonly opened: OpenedSystem;
  readonly honest: boolean;
  readonly channels: readonly Channel[];
  /** The topics of spokes that are served elsewhere. */
  readonly elsewhere: ReadonlyMap<string, string>;
  readonly ledger: Ledger;
  readonly lines: string[] = [];
  readonly happened = new Map<string, number>();
  readonly signals = new Map<string, number>();
  /** What was seen of each shard, for the checker of single ones. */
  readonly traces: readonly TraceEntry[][];
  commits = 0;
  /** Relays whose messages back are shared out. */
  #relaying: readonly RoutedWorker[] = [];
  /** By spoke and correlation. */
  readonly #relayed = new Map<string, Relayed>();
  readonly #scaleMs: number;
  readonly #disks: readonly MemoryStore[];
  readonly #outside: MemoryLog;
  readonly #wanted: readonly Wanted[];
  readonly #sendings: Sending[] = [];
  readonly #hubs = new Map<number, readonly AnyHub[]>();
  readonly #members: Member[] = [];
  /** Up to which record each partition of the channels was looked at. */
  readonly #routed = new Map<string, number>();
  /** The last owner of each shard. */
  readonly #owners = new Map<number, Owner>();
  readonly #operations = new Map<string, number>();
  readonly #draws = new Map<string, number>();
  #made = 0;
  #numbers = 0;
  #version = 1;
  #newest = 1;
  #calm = false;
  #defective = false;
  /** Clients that are still asking. */
  #asking = 0;
  /** When the last thing that is planned happens. */
  #lastAt = 0;

  constructor(system: SimulatedSystem, plan: ClusterPlan) {
    const { clock } = this;
    this.plan = plan;
    this.#scaleMs = system.scaleMs;
    this.honest = system.honest ?? false;
    this.broker = new MemoryBroker({
      clock,
      delayMs: () => this.delay("log", plan.logMs),
      written: (record) => this.#wrote(record),
    });
    this.ledger = new Ledger({
      inbox,
      shards: plan.shards,
      now: () => clock.monotonicMs(),
      say: (what, details) => this.say(what, undefined, details),
      inboxId: () => this.broker.topic(inbox)?.id ?? "",
      bodyOf: (hub, request) => this.#bodyOf(hub, request),
    });
    this.traces = Array.from({ length: plan.shards }, () => []);
    this.#disks = Array.from({ length: plan.shards }, () => new MemoryStore());
    this.#outside = new MemoryLog(this.broker, { clock });
    this.opened = system.open({
      clock,
      bus: this.#relays(),
      random: drawFor(plan.seed, "system"),
      defective: () => this.#defective,
    });
    this.channels = this.opened.hubs.map((hub) => channelTo(hub));
    for (const { name, partitions = 2 } of clusterTopics({ shards: plan.shards, channels: this.channels }))
      this.broker.createTopic(name, partitions);
    this.#wanted = plan.requests.map((request) => this.#want(request));
    this.elsewhere = new Map(this.#serve());
    this.#relaying = this.opened.workers().filter(isRouted);
    for (const { outcomes } of this.#relaying) this.broker.createTopic(outcomes.topic, 2);
  }

  // ---- what all need ----

  shardOf(key: string): number {
    const slash = key.indexOf("/");
    return shardOf(slash < 0 ? key : key.slice(0, slash), this.plan.shards);
  }

  hubsOf(version: number): readonly AnyHub[] {
    let hubs = this.#hubs.get(version);
    if (hubs === undefined) {
      hubs = version === 1 ? this.opened.hubs : (this.opened.upgraded?.(version) ?? this.opened.hubs);
      this.#hubs.set(version, hubs);
    }
    return hubs;
  }

  owner(): number {
    return ++this.#numbers;
  }

  open(shard: number): MemoryStore {
    return (this.#disks[shard] as MemoryStore).reopen();
  }

  /** How long something is under way, in milliseconds. */
  delay(what: string, mostMs: number): number {
    const draw = (this.#draws.get(what) ?? 0) + 1;
    this.#draws.set(what, draw);
    return mostMs === 0 ? 0 : drawFor(this.plan.seed, what, draw).int(mostMs + 1);
  }

  say(what: string, member?: Member, details = ""): void {
    const at = String(this.clock.monotonicMs()).padStart(9);
    const where = member === undefined ? "" : `node=${member.number}`;
    this.lines.push(`${at} ms  ${what.padEnd(12)} ${where} ${details}`);
  }

  count(what: string): void {
    this.happened.set(what, (this.happened.get(what) ?? 0) + 1);
  }

  see(shard: number, seen: Seen): void {
    const entry = { ...seen, at: this.clock.monotonicMs() };
    this.traces[shard]?.push(entry);
    this.lines.push(`${lineOf(entry)} shard=${shard}`);
  }

  /** Something that concerns the shards of a process. */
  seeOfOwner(member: Member, type: "died" | "frozen" | "thawed" | "stopping" | "store-failed"): void {
    for (const { number, shard, member: owning, ready } of this.#owners.values())
      if (owning === member && (type !== "thawed" || ready)) this.see(shard, { type, node: number });
  }

  signal(member: Member, { name }: EngineEvent): void {
    this.signals.set(name, (this.signals.get(name) ?? 0) + 1);
    if (name.startsWith("shard-") || name === "log-lost") this.say(name, member);
  }

  /** The fault that the plan has for this operation, which is the next of its kind. */
  fault(operation: "commit" | "read" | "append", member: Member): ClusterFault["kind"] | undefined {
    if (this.#calm) return undefined;
    const number = (this.#operations.get(operation) ?? 0) + 1;
    this.#operations.set(operation, number);
    const found = this.plan.faults.find(
      ({ kind, at }) => at === number && clusterOperations[kind] === operation,
    );
    if (found === undefined) return undefined;
    this.#struck(found, member);
    return found.kind;
  }

  #struck({ kind, forMs }: ClusterFault, member: Member | undefined): void {
    this.count(`fault ${kind}`);
    this.say(kind, member, `${forMs} ms`);
  }

  // ---- what nodes do ----

  /** A record that a node writes. */
  append(member: Member, topic: string, message: Message): LogFault | undefined {
    if (!member.process.alive) return "lost";
    const kind = this.fault("append", member);
    const fault = kind === undefined ? undefined : appendFaults[kind];
    if (fault === "lost") {
      member.kill();
      return fault;
    }
    this.say("append", member, `${topic} ${message.key} ${message.value.slice(0, 100)} ${fault ?? ""}`);
    if (topic.startsWith("from-"))
      this.ledger.publishes(member.owners.get(this.shardOf(message.key)) ?? 0, message);
    return fault;
  }

  /** The group tells a node what it is to work on: it lets go of all else. */
  assigned(member: Member, partitions: readonly Partitions[]): void {
    if (!member.process.alive) return;
    const given = partitions.find(({ topic }) => topic === inbox)?.partitions ?? [];
    this.say("assigned", member, given.join(", "));
    for (const { number, shard, member: owning } of this.#owners.values())
      if (owning === member && !given.includes(shard)) this.see(shard, { type: "stopping", node: number });
  }

  /** What a store has done for one who has it open. */
  seeOfStore(member: Member, shard: number, number: number, seen: Seen): void {
    switch (seen.type) {
      case "claimed":
        return this.#claimed(member, shard, number, seen);
      case "committed": {
        this.commits++;
        this.#checkRouted();
        this.see(shard, seen);
        const { seq, journal, logProgress } = seen;
        for (const passed of this.ledger.committed(shard, number, seq, journal, logProgress))
          this.see(shard, { type: "passed", ...passed });
        const owner = this.#owners.get(shard);
        if (owner?.number === number && this.#hasCaughtUp(number)) this.#isReady(owner);
        return;
      }
      case "purged":
        this.ledger.purged(shard, seen.endedBefore);
        return this.see(shard, seen);
      default:
        return this.see(shard, seen);
    }
  }

  /** What the group counts as routed is committed, in an inbox, or a dead letter. */
  #checkRouted(): void {
    for (const { from } of this.channels) {
      for (const partition of [0, 1]) {
        const place = `${from}/${partition}`;
        const before = this.#routed.get(place) ?? 0;
        const now = this.broker.committed("wheelwork", from, partition) ?? 0;
        if (now <= before) continue;
        this.#routed.set(place, now);
        const records = this.broker.records(from).filter((record) => record.partition === partition);
        for (const { key: given, offset } of records.slice(before, now)) {
          const key = this.#wanted.find((wanted) => wanted.given === given)?.key ?? given;
          this.ledger.demand(
            "routed",
            this.ledger.stories.has(key) ||
              this.ledger.inboxed.has(key) ||
              this.ledger.letters.some((letter) => letter.key === given),
            () => `${place} is routed past ${offset}, and ${given} is neither committed nor in an inbox`,
          );
        }
      }
    }
  }

  #claimed(member: Member, shard: number, number: number, seen: Seen): void {
    member.owners.set(shard, number);
    const hubs = this.hubsOf(member.version);
    const versions = Object.fromEntries(hubs.map(({ name, definition }) => [name, definition.version]));
    this.see(shard, { type: "started", node: number, versions });
    this.see(shard, seen);
    this.see(shard, { type: "behind", node: number });
    this.say("(owner)", member, `owner=${number}`);
    this.ledger.claimed(shard, number, member.logGone);
    const owner = { number, member, shard, ready: false, at: this.clock.monotonicMs() };
    this.#owners.set(shard, owner);
    this.clock.after(10 + 10 * this.plan.logMs, () => this.ledger.looked(number));
    const early = 1_000 + 40 * this.plan.storeMs;
    this.clock.after(early, () => {
      if (this.#hasCaughtUp(number)) this.#isReady(owner);
    });
    this.clock.after(maxClaimMs, () => this.#isReady(owner));
  }

  #hasCaughtUp(number: number): boolean {
    return this.ledger.hasCaughtUp(number, (topic, partition) =>
      this.broker.committed("wheelwork", topic, partition),
    );
  }

  /** From here on an owner is to blame for what it does not do. */
  #isReady(owner: Owner): void {
    const { shard, number, member } = owner;
    if (owner.ready || this.#owners.get(shard) !== owner || !member.process.alive) return;
    owner.ready = true;
    if (!member.process.frozen) this.see(shard, { type: "ready", node: number });
  }

  // ---- play ----

  async play(): Promise<void> {
    const { plan, clock, ledger } = this;
    for (let number = 0; number < plan.nodes; number++) this.#boot();
    for (const [place, wanted] of this.#wanted.entries()) {
      this.#plan(wanted.plan.at, () => this.#send(place, wanted, false));
      for (const { afterMs, differs } of wanted.plan.again)
        this.#plan(wanted.plan.at + afterMs, () => this.#send(place, wanted, differs));
    }
    for (const command of plan.commands) this.#plan(command.at, () => this.#command(command));
    for (const read of plan.reads) this.#plan(read.at, () => this.#read(read));
    for (const { at, letter } of plan.replays) this.#plan(at, () => this.#replay(letter));
    for (const fault of plan.faults)
      if (clusterOperations[fault.kind] === undefined) clock.after(fault.at, () => this.#strike(fault));
    this.#watch();
    // Answers that are not kept for ever are forgotten in the end.
    if (plan.retentionMs !== undefined)
      this.#lastAt = Math.max(this.#lastAt, plan.forMs + plan.retentionMs + 90_000);
    try {
      await clock.advance(plan.forMs);
      this.#becalm();
      await clock.runUntil(() => this.#isAtRest(), 240_000 + this.#scaleMs * 100);
      // What would come once too often has the time to do so.
      await clock.advance(10_000);
      await this.#look();
      for (const shard of this.traces.keys()) this.see(shard, { type: "ended", problem: undefined });
      this.#check();
    } catch (error) {
      ledger.demand("I6", false, () => `it never comes to rest: ${problemOf(error)}; ${this.#unrest()}`);
    } finally {
      for (const { process } of this.#members) process.kill();
    }
  }

  #plan(at: number, task: () => Promise<void>): void {
    this.#lastAt = Math.max(this.#lastAt, at);
    this.clock.after(at, () => {
      task().catch((error: unknown) => {
        this.ledger.demand("outside", false, () => `unexpected: ${problemOf(error)}`);
      });
    });
  }

  /** From here on nothing fails: all that was accepted must come to its end by itself. */
  #becalm(): void {
    this.#calm = true;
    this.#defective = false;
    this.say("calm");
    for (const member of this.#members) {
      member.logGone = member.storeGone = false;
      member.wellSince = this.clock.monotonicMs();
      this.#thaw(member);
    }
    this.#version = this.#newest;
    // Those who refuse what newer ones have begun, are replaced.
    for (const member of this.#living())
      if (member.version < this.#newest) this.#stop(member, () => this.#boot());
    while (this.#living().length < Math.min(2, this.plan.nodes)) this.#boot();
    const operate = (): void => {
      this.#plan(0, () => this.#lookAfter());
      this.clock.after(2_000, operate);
    };
    operate();
  }

  #living(): Member[] {
    return this.#members.filter(({ process, stopping }) => process.alive && !stopping);
  }

  #boot(): void {
    const member = new Member(this, ++this.#made, this.#version);
    this.#members.push(member);
    this.say("started", member, `version ${member.version}`);
    member.engine.start().then(
      () => {
        member.ready = true;
        member.wellSince = this.clock.monotonicMs();
      },
      () => {
        member.kill();
        this.clock.after(1_000, () => this.#boot());
      },
    );
  }

  #stop(member: Member, then: () => void): void {
    member.stopping = true;
    this.seeOfOwner(member, "stopping");
    this.say("stopping", member);
    let isOver = false;
    const over = (): void => {
      if (isOver) return;
      isOver = true;
      member.kill();
      then();
    };
    member.engine.stop().then(over, over);
    // Whoever stops processes does not wait for ever.
    this.clock.after(30_000, over);
  }

  #thaw(member: Member): void {
    if (!member.process.frozen) return;
    member.wellSince = this.clock.monotonicMs();
    if (member.process.alive) this.seeOfOwner(member, "thawed");
    member.process.thaw();
  }

  #strike(fault: ClusterFault): void {
    const { clock } = this;
    const { kind, forMs, node, at } = fault;
    if (this.#calm) return;
    const living = this.#living();
    const member = living[node % Math.max(1, living.length)];
    const later = (task: () => void): void => void clock.after(forMs, task);
    switch (kind) {
      case "add":
        this.#struck(fault, undefined);
        return this.#boot();
      case "rebalance":
        this.#struck(fault, undefined);
        this.#boot();
        clock.after(Math.min(forMs, 3_000), () => this.#members.at(-1)?.kill());
        return;
      case "upgrade":
      case "roll-back":
        return this.#deploy(fault, member);
      case "cut":
      case "recreate":
        return this.#cut(fault);
      case "clock-jump":
        this.#struck(fault, undefined);
        for (const shard of this.traces.keys()) this.see(shard, { type: "fault", kind, node: undefined });
        return clock.jumpWall(forMs);
      case "defect":
        this.#struck(fault, undefined);
        this.#defective = true;
        return later(() => (this.#defective = false));
      default:
    }
    if (member === undefined) return;
    this.#struck(fault, member);
    switch (kind) {
      case "kill":
        member.kill();
        return later(() => this.#boot());
      case "stop":
        return this.#stop(member, () => later(() => this.#boot()));
      case "freeze":
        member.process.freeze();
        this.seeOfOwner(member, "frozen");
        this.#cutOff(member);
        return later(() => this.#thaw(member));
      case "log-gone":
        member.logGone = true;
        this.#cutOff(member);
        return later(() => {
          member.logGone = false;
          member.wellSince = clock.monotonicMs();
        });
      case "store-gone":
        member.storeGone = true;
        this.seeOfOwner(member, "store-failed");
        return later(() => {
          member.storeGone = false;
          member.wellSince = clock.monotonicMs();
        });
      default:
        throw new TypeError(`${kind} strikes at no time: ${at}`);
    }
  }

  #cutOff(member: Member): void {
    member.wellSince = Number.POSITIVE_INFINITY;
    for (const number of member.owners.values()) this.ledger.cutOff(number);
  }

  /** Another version is deployed, to one node, or to one after the other. */
  #deploy(fault: ClusterFault, first: Member | undefined): void {
    const { kind, forMs, at } = fault;
    const version = this.#version + (kind === "upgrade" ? 1 : -1);
    if (this.opened.upgraded === undefined || version < 1 || version > latestVersion) return;
    if (first === undefined) return;
    this.#struck(fault, first);
    this.#version = version;
    this.#newest = Math.max(this.#newest, version);
    const others = at % 3 === 0 ? [] : this.#living().filter((member) => member !== first);
    for (const [place, member] of [first, ...others].entries()) {
      this.clock.after(Math.ceil((place * forMs) / 4), () => {
        if (this.#calm || member.stopping || !member.process.alive) return;
        if (at % 2 === 0) this.#stop(member, () => this.#boot());
        else {
          member.kill();
          this.#boot();
        }
      });
    }
  }

  /** Records are deleted before they were read; or the topic is made anew. */
  #cut(fault: ClusterFault): void {
    const { shards } = this.plan;
    const shard = fault.node % shards;
    if (fault.kind === "recreate") {
      this.#struck(fault, undefined);
      this.ledger.recreated();
      this.broker.deleteTopic(inbox);
      this.broker.createTopic(inbox, shards);
      return;
    }
    // What has been read may go.
    if (!this.ledger.cut(shard)) return;
    this.#struck(fault, undefined);
    const end = this.broker.bounds(inbox, shard)?.end ?? 0;
    this.say("(cut)", undefined, `shard ${shard} before ${end}`);
    this.broker.trim(inbox, shard, end);
  }

  /** Somebody looks after shards that were stopped since their log is not what it was: lets them begin anew. */
  #watch(): void {
    this.clock.after(3_000, () => {
      if (this.#living().some(({ hasLostLog }) => hasLostLog)) this.#repair();
      this.#watch();
    });
  }

  #repair(): void {
    const living = this.#members.filter(({ process }) => process.alive);
    this.count("repaired");
    this.say("repair");
    for (const member of living) member.kill();
    const id = this.broker.topic(inbox)?.id ?? "";
    for (const [shard, disk] of this.#disks.entries()) {
      const { logProgress } = disk.reopen().peek();
      const first = this.broker.bounds(inbox, shard)?.first ?? 0;
      if (logProgress === undefined || (logProgress.log.endsWith(`/${id}`) && logProgress.position >= first))
        continue;
      disk.forgetLog();
      this.ledger.reset(shard, first);
    }
    for (let number = 0; number < Math.max(1, living.length); number++) this.#boot();
  }

  // ---- the outside of relays, and workers elsewhere ----

  /** The other end of the topics that relays use. */
  #relays(): Bus {
    const passages = new Passages(this.plan);
    const outside = (): MemoryLog => this.#outside;
    return {
      publish: (topic, message) => {
        this.broker.createTopic(topic);
        for (const delay of passages.of(topic, message))
          this.clock.after(delay, () => void outside().append(topic, message));
      },
      subscribe: (topic, receive) => {
        this.broker.createTopic(topic);
        return outside().subscribe(topic, (message) => {
          for (const delay of passages.of(topic, message)) this.clock.after(delay, () => receive(message));
        });
      },
    };
  }

  #wrote(record: LogRecord): void {
    this.ledger.wrote(record);
    for (const worker of this.#relaying) {
      const { outcomes } = worker;
      if (outcomes.topic !== record.topic) continue;
      const heard = outcomes.read(record);
      const asked = heard === undefined ? [] : [...this.#relayOf(worker, heard.correlation).asked.keys()];
      this.ledger.relayed(record, asked.at(-1));
    }
  }

  /** A relay whose messages back may be heard at any node: what they say is seen of each attempt that they may be for. */
  relayed(worker: RoutedWorker): Worker {
    const { outcomes } = worker;
    const see = ({ request, call, attempt }: Asked, outcome: Outcome): void =>
      this.see(this.shardOf(request), { type: "outcome", node: 0, request, call, attempt, outcome });
    return {
      ...worker,
      outcomes: {
        ...outcomes,
        read: (message) => {
          const heard = outcomes.read(message);
          if (heard === undefined) return undefined;
          const { asked, said } = this.#relayOf(worker, heard.correlation);
          said.push(heard.outcome);
          for (const attempt of asked.values()) see(attempt, heard.outcome);
          return heard;
        },
        // Asked for when an owner begins to wait for an attempt, of its own or of an earlier one.
        correlation: (input, context) => {
          const correlation = outcomes.correlation(input, context);
          const { asked, said } = this.#relayOf(worker, correlation);
          const { requestId: request, call, attempt } = context;
          const name = `${request}/${call}/${attempt}`;
          if (!asked.has(name)) {
            asked.set(name, { request, call, attempt });
            // What waits in an inbox may still be taken for it.
            for (const outcome of said) see({ request, call, attempt }, outcome);
          }
          return correlation;
        },
      },
    };
  }

  #relayOf({ spoke }: Worker, correlation: string): Relayed {
    const name = `${spoke.name} ${correlation}`;
    let relayed = this.#relayed.get(name);
    if (relayed === undefined) this.#relayed.set(name, (relayed = { asked: new Map(), said: [] }));
    return relayed;
  }

  /** Some spokes are served elsewhere, by whoever outlives all nodes. */
  *#serve(): Iterable<[string, string]> {
    const where: AttemptsIn = {
      plan: this.plan,
      honest: this.honest,
      process: this.clock.process(),
      acts: () => true,
      numberFor: () => 0,
      see: (seen) => this.see(this.shardOf(seen.request), seen),
    };
    for (const worker of this.opened.workers()) {
      const { name } = worker.spoke;
      // Relays hear their answers at the nodes.
      if (worker.attach !== undefined) continue;
      if (!drawFor(this.plan.seed, "elsewhere", name).chance(this.plan.elsewhere)) continue;
      const topic = `work-${name}`;
      this.broker.createTopic(topic);
      const made = observed(worker, where);
      void this.#outside.read(topic, 0, undefined, {
        records: (records) => {
          for (const record of records) this.#plan(0, () => this.#work(made, record));
        },
        lost: () => {},
      });
      yield [name, topic];
    }
  }

  async #work(worker: Worker, { key, value, headers }: LogRecord): Promise<void> {
    const correlation = headers["correlation-id"] ?? "";
    const { run, call, attempt, epoch } = attemptOf(key, correlation);
    const context = {
      requestId: run,
      call,
      attempt,
      epoch,
      key: undefined,
      idempotencyKey: headers["idempotency-key"] ?? "",
      signal: new AbortController().signal,
      deadline: Number(headers["deadline"]),
      fail: () => {
        throw new Error("the workers of simulations give their outcomes");
      },
      onAbort: () => {},
    } as unknown as AttemptContext;
    const ports: WorkerPorts = { bus: this.#relays(), replies: { kind: "process" } };
    const outcome = await Promise.resolve()
      .then(() => worker.attempt(JSON.parse(value), context, ports))
      .catch((): Outcome | undefined => undefined);
    if (outcome?.kind === "timeout") return;
    const partition = Number(headers["reply-partition"]);
    const reply = { "correlation-id": correlation, ce_type: "wheelwork.response" };
    await this.#outside.append(inbox, { key, value: responseOf(outcome), headers: reply }, partition);
    this.count("response elsewhere");
  }

  // ---- requests ----

  #want(plan: ClusterRequest): Wanted {
    const { hub, request: body } = this.opened.request(seededRandom(plan.seed));
    const sound = this.opened.key?.(plan.key) ?? plan.key;
    const given = plan.body === "keyless" ? "" : plan.body === "odd-key" ? `a/${plan.key}` : sound;
    const key = plan.body === "odd-key" ? `~${createHash("sha256").update(given).digest("hex")}` : given;
    let other: unknown;
    for (let more = 1; more < 10 && other === undefined; more++) {
      const drawn = this.opened.request(seededRandom(plan.seed + more));
      const isOther =
        drawn.hub === hub && !isDeepStrictEqual(this.#bodyOf(hub.name, drawn.request).request, body);
      if (isOther) other = drawn.request;
    }
    return { plan, given, key, hub, body: plan.body === "refused" ? 17 : body, other };
  }

  /** What a hub makes of a request. */
  #bodyOf(hub: string, request: unknown): Body {
    if (hub === refusedHubName) return { hub, request };
    const served = this.opened.hubs.find(({ name }) => name === hub);
    const checked = served?.definition.request["~standard"].validate(request);
    if (checked === undefined || checked instanceof Promise || checked.issues !== undefined)
      return { hub: refusedHubName, request: {} };
    return { hub, request: JSON.parse(JSON.stringify(checked.value)) as unknown };
  }

  /** What a request is, once it has come through a channel. */
  #bodyOfSending({ wanted: { plan, hub }, body }: Sending): Body {
    if (plan.body === "broken" || plan.body === "odd-key") return { hub: refusedHubName, request: {} };
    return this.#bodyOf(hub.name, body);
  }

  async #send(place: number, wanted: Wanted, differing: boolean): Promise<void> {
    const differs = differing && wanted.other !== undefined && wanted.plan.body === "sound";
    const body = differs ? wanted.other : wanted.body;
    const sending: Sending = { wanted, differs, body, accepted: false, refused: undefined };
    this.#sendings.push(sending);
    const { by, body: what } = wanted.plan;
    this.count(`request by ${by}`);
    this.count(`request ${differs ? "of another body" : what}`);
    if (by === "channel") {
      const value = what === "broken" ? "{ no JSON" : JSON.stringify(body);
      const topic = `to-${wanted.hub.name}`;
      await this.#outside.append(topic, { key: wanted.given, value });
      sending.accepted = true;
      this.say("accepted", undefined, `${wanted.given} ${JSON.stringify(body)}`);
    } else if (by === "submit") await this.#submit(sending, `client ${place}`);
    else await this.#client(sending, `client ${place} ${this.#sendings.length}`);
  }

  /** Any node that can be asked. */
  #able(who: string): Member | undefined {
    const able = this.#members.filter((member) => member.able);
    return able[this.delay(who, Math.max(0, able.length - 1))];
  }

  /** Gives a request to one node. @returns Whether it need not be sent again. */
  async #submit(sending: Sending, who: string): Promise<boolean> {
    const { wanted, body } = sending;
    const { key, hub } = wanted;
    const member = this.#able(who);
    if (member === undefined) return false;
    const isOwner = member.owns(this.shardOf(key));
    const given = await this.#ask(member, () => member.engine.submit(hub.name, body as never, { key }));
    if (given === undefined) return false;
    if ("value" in given) {
      sending.accepted = true;
      this.say("accepted", member, key);
      this.count(isOwner ? "accepted" : "accepted elsewhere");
      this.ledger.demand(
        "I9",
        !isOwner || this.ledger.stories.has(key),
        () => `${key} is accepted before it is committed`,
      );
      this.ledger.demand("I5", wanted.plan.body === "sound", () => `${key} is accepted, and is no request`);
      return true;
    }
    const { code, retryable } = given;
    if (retryable) return false;
    sending.refused = code;
    this.count(`refused ${code}`);
    const fits = wanted.plan.body === "refused" ? code === "WW_INVALID_REQUEST" : code === "WW_KEY_REUSED";
    this.ledger.demand("I5", fits, () => `${key} is refused with ${code}`);
    return true;
  }

  /** Sends its request under its key until it is accepted, and asks any node for the answer until it has it. */
  async #client(sending: Sending, who: string): Promise<void> {
    const { key } = sending.wanted;
    this.#asking++;
    while (!(await this.#submit(sending, who))) await this.#wait(500);
    for (let told = !sending.accepted; !told;) {
      if (this.ledger.lost.has(key) && !this.ledger.stories.has(key)) break;
      told = await this.#askAnswer(key, who);
      if (!told) await this.#wait(300 + Math.ceil(this.#scaleMs / 40));
    }
    this.#asking--;
  }

  /** @returns Whether there is nothing more to ask. */
  async #askAnswer(key: string, who: string): Promise<boolean> {
    const shard = this.shardOf(key);
    const member = this.#able(who);
    if (member === undefined) return false;
    const asked = this.clock.monotonicMs();
    const before = this.ledger.stories.get(key);
    const wasThere = before !== undefined && !before.purged;
    const isOwner = member.owns(shard);
    const waitMs = [0, 200, 3_000][this.delay(`${who} waits`, 2)] ?? 0;
    const given = await this.#ask(member, () => member.engine.answer(key, { waitMs }));
    if (given === undefined) return false;
    const story = this.ledger.stories.get(key);
    if ("code" in given) {
      if (given.retryable) return false;
      this.count(`answer ${given.code}`);
      const fits = given.code === "WW_NOT_FOUND" && (!wasThere || story?.purged === true);
      this.ledger.demand("I5", fits, () => `${key} was accepted, and is answered with ${given.code}`);
      return story?.purged === true;
    }
    const answer = given.value;
    if (answer === undefined) {
      // One that takes itself for the owner, and is not, knows no better.
      if (isOwner && this.#owners.get(shard)?.member !== member) return false;
      const lateMs = 5_000 + 40 * this.plan.storeMs;
      const since = Math.max(story?.answeredAt ?? 0, member.wellSince, isOwner ? 0 : asked - lateMs);
      const isLate = story?.answer !== undefined && story.purged === false && since + lateMs < asked;
      this.ledger.demand(
        "I5",
        !isLate,
        () => `${key} has its answer, and node ${member.number} does not tell`,
      );
      return false;
    }
    this.count(isOwner ? "answer" : "answer elsewhere");
    this.see(shard, { type: "told", key, answer });
    return true;
  }

  /** Asks a node; undefined: it has died, or does not answer for long. */
  async #ask<T>(
    member: Member,
    question: () => Promise<T>,
  ): Promise<{ readonly value: T } | { readonly code: string; readonly retryable: boolean } | undefined> {
    const given = question().then(
      (value) => ({ value }),
      (error: unknown) => {
        if (error instanceof WheelworkError) return { code: error.code, retryable: error.retryable };
        return { code: String(error), retryable: true };
      },
    );
    const first = await Promise.race([given, member.death, this.#wait(patienceMs)]);
    return member.process.alive ? (first ?? undefined) : undefined;
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => void this.clock.after(ms, resolve));
  }

  // ---- operators ----

  async #command({ id, kind, request, seed }: ClusterCommand): Promise<void> {
    const wanted = this.#wanted[request];
    const member = this.#able(`operator ${seed}`);
    if (wanted === undefined || wanted.key === "" || member === undefined) return;
    const { key } = wanted;
    const commandId = { commandId: id };
    const shard = this.shardOf(key);
    const ask = (): Promise<CommandResult> => {
      switch (kind) {
        case "cancel":
          return member.engine.cancel(key, commandId);
        case "retry":
          return member.engine.retry(key, commandId);
        case "resolve":
          return member.engine.resolve(key, "as the operator says", commandId);
        case "signal": {
          const signal = this.opened.signal?.(seededRandom(seed));
          if (signal === undefined) return Promise.resolve("ended");
          return member.engine.signal(key, signal.name, signal.payload, commandId);
        }
      }
    };
    const story = this.ledger.stories.get(key);
    const wasThere = story !== undefined && !story.purged;
    const isOwner = member.owns(shard);
    const given = await this.#ask(member, ask);
    if (given === undefined) return;
    const result = "value" in given ? given.value : given.code;
    const where = isOwner ? "" : " elsewhere";
    this.count(`${kind} ${result}${where}`);
    this.say("commanded", member, `${kind} ${id} to ${key}: ${result}`);
    if (result === "WW_NOT_FOUND")
      this.ledger.demand("I5", !wasThere || story.purged, () => `${kind} ${id}: ${key} is not found`);
    if (result === "accepted" && isOwner) this.see(shard, { type: "commanded", key, id, kind, result });
    if (result === "accepted" && !isOwner && !this.ledger.lost.has(key))
      this.ledger.demand(
        "I9",
        // It may have become the owner meanwhile.
        this.ledger.hasCommand(key, id) || member.owners.has(shard),
        () => `${kind} ${id} to ${key} is accepted, and is nowhere`,
      );
  }

  async #replay(letter: number): Promise<void> {
    const { letters } = this.ledger;
    const record = letters[letter % Math.max(1, letters.length)];
    if (record === undefined) return;
    this.count("replay");
    this.say("replay", undefined, `${record.topic} ${record.key} ${record.value}`);
    await replayDeadLetter(this.#outside, record);
  }

  async #read({ kind, request, seed }: ClusterRead): Promise<void> {
    const member = this.#able(`reader ${seed}`);
    const { key } = this.#wanted[request] ?? { key: "" };
    if (member === undefined || key === "") return;
    if (kind === "list") return this.#readList(member, 1 + (seed % 4));
    const shard = this.shardOf(key);
    const story = this.ledger.stories.get(key);
    const before = { starts: story?.starts, events: story?.events.length ?? 0, answer: story?.answer };
    const isOwner = member.owns(shard);
    const where = isOwner ? "" : " elsewhere";
    const given = await this.#ask<unknown>(member, () =>
      kind === "view" ? member.engine.request(key) : member.engine.history(key),
    );
    const after = this.ledger.stories.get(key);
    if (given === undefined || after?.purged === true || before.starts !== after?.starts) return;
    if ("code" in given) {
      if (given.code === "WW_NOT_FOUND")
        this.ledger.demand(
          "reads",
          before.events === 0,
          () => `${key} is not found at node ${member.number}`,
        );
      return;
    }
    this.count(`${kind}${where}`);
    if (kind === "view") {
      const { answer } = given.value as { readonly answer?: unknown };
      // An owner learns a little later what it has committed, and one that was taken over, not at all.
      const fits =
        isDeepStrictEqual(answer, after?.answer) ||
        (answer === undefined && (isOwner || before.answer === undefined));
      this.ledger.demand("reads", fits, () => `${key} is shown with ${JSON.stringify(answer)}`);
      return;
    }
    const history = given.value as readonly unknown[];
    const isPart = isDeepStrictEqual(
      JSON.parse(JSON.stringify(history)),
      after?.events.slice(0, history.length),
    );
    this.ledger.demand(
      "reads",
      isPart && (isOwner || history.length >= before.events),
      () => `the history of ${key} at node ${member.number} has ${history.length} of ${before.events} events`,
    );
  }

  /** A list is the same wherever it is asked for, page by page. */
  async #readList(member: Member, limit: number): Promise<void> {
    const roots = (): string[] =>
      [...this.ledger.stories.values()]
        .filter(({ key, events }) => !key.includes("/") && events[0]?.type === "started")
        .map(({ key }) => key);
    const before = roots();
    const owned = new Set(member.engine.shards.map(({ shard }) => shard));
    const found: string[] = [];
    for (let cursor: string | undefined; ;) {
      const page = await this.#ask(member, () =>
        member.engine.requests({ limit, ...(cursor === undefined ? {} : { cursor }) }),
      );
      if (page === undefined || "code" in page) return;
      found.push(...page.value.items.map(({ id }) => id));
      cursor = page.value.cursor;
      if (cursor === undefined) break;
    }
    this.count("list");
    const [listed, known] = [new Set(found), new Set(roots())];
    this.ledger.demand(
      "reads",
      found.every((key) => known.has(key)) && listed.size === found.length,
      () => `the list of node ${member.number} has ${found.join(", ")}`,
    );
    // What an owner has just committed it may not know yet.
    const missing = before.filter((key) => {
      const isForgotten = this.ledger.stories.get(key)?.purged === true;
      return !listed.has(key) && !isForgotten && !owned.has(this.shardOf(key));
    });
    this.ledger.demand(
      "reads",
      missing.length === 0,
      () => `the list of node ${member.number} lacks ${missing.join(", ")}`,
    );
  }

  /** Parked runs need somebody who looks after them. */
  async #lookAfter(): Promise<void> {
    const member = this.#able("operator");
    if (member === undefined) return;
    const page = await this.#ask(member, () => member.engine.requests({ status: "incident", limit: 1000 }));
    if (page === undefined || "code" in page) return;
    for (const { id } of page.value.items) {
      const commandId = `operator ${this.clock.monotonicMs()}`;
      await this.#ask(member, () => member.engine.retry(id, { commandId }));
    }
  }

  // ---- the end ----

  #isAtRest(): boolean {
    return this.#unrest() === "";
  }

  /** What is not done yet. */
  #unrest(): string {
    const { ledger } = this;
    if (this.clock.monotonicMs() < this.#lastAt + 10_000) return "not all has been sent";
    if (this.#asking > 0) return `${this.#asking} clients ask`;
    if (ledger.live.size > 0) return `${[...ledger.live].join(", ")} go on`;
    const published = new Set(ledger.published.map(({ topic, key }) => `${topic} ${key}`));
    for (const sending of this.#sendings) {
      const { wanted } = sending;
      if (!sending.accepted || this.#isExcused(sending)) continue;
      if (wanted.given === "") {
        if (!this.#letterOf(sending)) return "a request without a key is no dead letter";
        continue;
      }
      if (ledger.stories.get(wanted.key)?.answer === undefined) return `${wanted.key} has no answer`;
      if (wanted.plan.by === "channel" && !published.has(`from-${wanted.hub.name} ${wanted.given}`))
        return `the answer of ${wanted.given} is not published`;
    }
    return "";
  }

  /** Whether nobody can be blamed for a request that has no answer. */
  #isExcused({ wanted: { key, given } }: Sending): boolean {
    return given !== "" && this.ledger.lost.has(key) && !this.ledger.stories.has(key);
  }

  #letterOf({ wanted: { hub, given }, body }: Sending): boolean {
    return this.ledger.letters.some(
      ({ topic, key, value }) =>
        topic.startsWith(`to-${hub.name}-`) && key === given && value === JSON.stringify(body),
    );
  }

  /** Whether a dead letter of a channel came under the key of another request. */
  #isOther({ key, value }: LogRecord): boolean {
    return this.#sendings.some((sending) => {
      const { wanted, body } = sending;
      const story = this.ledger.stories.get(wanted.key);
      if (wanted.given !== key || JSON.stringify(body) !== value || story === undefined) return false;
      return story.starts > 1 || !this.ledger.isBegunBy(story, this.#bodyOfSending(sending));
    });
  }

  /** What an observer finds in the end, at each node. */
  async #look(): Promise<void> {
    const members = this.#members.filter((member) => member.able);
    this.ledger.demand("I6", members.length > 0, () => "no node is left");
    for (const member of members) {
      const page = await this.#insist(member, () => member.engine.requests({ limit: 1000 }));
      const { liveRuns, openAttempts } = member.engine.health();
      const byShard = Map.groupBy(page?.items ?? [], ({ id }) => this.shardOf(id));
      for (const shard of this.traces.keys()) {
        const keys = (byShard.get(shard) ?? []).map(({ id }) => id);
        this.see(shard, { type: "listed", keys, liveRuns, openAttempts });
        for (const { id: key, status } of byShard.get(shard) ?? []) {
          const given = await this.#insist(member, () => member.engine.request(key));
          const history = await this.#insist(member, () => member.engine.history(key));
          if (given !== undefined && history !== undefined)
            this.see(shard, { type: "view", key, status, answer: given.answer, history });
          else
            this.ledger.demand(
              "reads",
              this.ledger.stories.get(key)?.purged === true,
              () => `${key} is not shown`,
            );
        }
      }
    }
  }

  /** What a question gives; undefined: the node does not tell. */
  async #insist<T>(member: Member, question: () => Promise<T>): Promise<T | undefined> {
    const asked = this.#ask(member, question);
    await this.clock.runUntil(asked, 60_000);
    const given = await asked;
    return given !== undefined && "value" in given ? given.value : undefined;
  }

  #check(): void {
    const { ledger } = this;
    for (const sending of this.#sendings) {
      const { wanted, refused, accepted, differs } = sending;
      const story = ledger.stories.get(wanted.key);
      if (wanted.given === "" || story === undefined || story.starts > 1 || story.purged) continue;
      const isBegun = ledger.isBegunBy(story, this.#bodyOfSending(sending));
      if (wanted.plan.by !== "channel" && accepted)
        ledger.demand("I5", isBegun, () => `${wanted.key} was accepted, and is another request`);
      if (wanted.plan.by === "channel" && accepted && !isBegun && !ledger.lost.has(wanted.key))
        ledger.demand(
          "dead-letter",
          ledger.letters.some(({ key }) => key === wanted.key || key === wanted.given),
          () => `another body came for ${wanted.key}, and is no dead letter`,
        );
      if (refused === "WW_KEY_REUSED")
        ledger.demand("I5", !isBegun, () => `${wanted.key} was refused as another request, and is the same`);
      if (!differs && wanted.plan.body !== "sound" && wanted.plan.by === "channel") {
        const code = story.answer?.kind === "error" ? story.answer.code : story.answer?.kind;
        ledger.demand("replies", code === "invalid-request", () => `${wanted.key} is answered with ${code}`);
      }
    }
    ledger.checkPublished();
    this.#checkRouted();
    ledger.checkLetters((letter) => letter.value === "" || this.#isOther(letter));
    const ended = this.#wanted.flatMap(({ key, hub }): EndedRequest[] => {
      const story = ledger.stories.get(key);
      const [started] = story?.events ?? [];
      if (story?.answer === undefined || started?.type !== "started" || story.starts > 1) return [];
      if (started.hub !== hub.name) return [];
      return [{ key, hub: hub.name, request: started.request, answer: story.answer, history: story.events }];
    });
    for (const problem of this.opened.check?.(ended) ?? []) ledger.demand("outside", false, () => problem);
  }
}

/** Requests to a hub as JSON, and its answers as JSON. */
function channelTo(hub: AnyHub): Channel {
  return {
    name: hub.name,
    from: `to-${hub.name}`,
    to: `from-${hub.name}`,
    hub: hub.name,
    request: ({ value }) => {
      try {
        return JSON.parse(value) as unknown;
      } catch {
        throw new WheelworkError("WW_INVALID_REQUEST", "the value is not JSON");
      }
    },
    answer: (answer) => ({ value: JSON.stringify(answer) }),
  };
}

/** What a worker elsewhere says; undefined: it broke down. */
function responseOf(outcome: Outcome | null | undefined): string {
  if (outcome === undefined)
    return JSON.stringify({ error: { code: "WW_WORKER_FAILED", message: "it broke down" } });
  try {
    if (outcome !== null && outcome.kind === "error") {
      const { code, message } = outcome;
      return JSON.stringify({ error: { code, message } });
    }
    return JSON.stringify(outcome === null ? null : { output: (outcome as { output?: unknown }).output });
  } catch {
    return "what is no JSON";
  }
}

const problemOf = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message) : String(error);
