import type { Processes } from "../shards/asking.ts";
import type { Cluster } from "./cluster.ts";
import { Member } from "./member.ts";

/** Whoever stops a process does not wait for ever, in milliseconds. */
const maxStopMs = 30_000;

/** What stores have held up is over so long after they go on, in milliseconds. */
const hangRestMs = 100;

/** The processes of a cluster: all that there have been. */
export class Members implements Processes {
  readonly all: Member[] = [];
  /** The version of the program that is deployed, and the newest that ever was. */
  version = 1;
  newest = 1;
  readonly #cluster: Cluster;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  get askable(): readonly Member[] {
    return this.all;
  }

  isOwner(shard: number, member: unknown): boolean {
    return this.#cluster.owners.isOwner(shard, member);
  }

  /** Those that work, and go on. */
  get living(): readonly Member[] {
    return this.all.filter(({ process, stopping }) => process.alive && !stopping);
  }

  boot(): void {
    const { clock, chronicle } = this.#cluster.stage;
    const member = new Member(this.#cluster, this.all.length + 1, this.version);
    this.all.push(member);
    chronicle.say("started", member, `version ${member.version}`);
    member.engine.start().then(
      () => {
        member.ready = true;
        member.wellSince = clock.monotonicMs();
      },
      () => {
        member.kill();
        clock.after(1_000, () => this.boot());
      },
    );
  }

  stop(member: Member, then: () => void): void {
    const { clock, chronicle } = this.#cluster.stage;
    member.stopping = true;
    this.#cluster.owners.see(member, "stopping");
    chronicle.say("stopping", member);
    let isOver = false;
    const over = (): void => {
      if (isOver) return;
      isOver = true;
      member.kill();
      then();
    };
    member.engine.stop().then(over, over);
    clock.after(maxStopMs, over);
  }

  freeze(member: Member): void {
    member.process.freeze();
    this.#cluster.owners.see(member, "frozen");
    this.cutOff(member);
  }

  thaw(member: Member): void {
    if (!member.process.frozen) return;
    this.#recovered(member);
    if (member.process.alive) this.#cluster.owners.see(member, "thawed");
    if (member.process.alive && member.hangMs > 0) this.#cluster.owners.see(member, "hangs");
    member.process.thaw();
  }

  /** It cannot read its inboxes any more. */
  cutOff(member: Member): void {
    member.wellSince = Number.POSITIVE_INFINITY;
    for (const number of member.owners.values()) this.#cluster.inboxes.cutOff(number);
  }

  /** Its stores do nothing for a while, and then all that they were asked for. */
  hang(member: Member, forMs: number): void {
    const { clock, plan } = this.#cluster.stage;
    member.hangsUntil = Math.max(member.hangsUntil, clock.monotonicMs() + forMs);
    this.#cluster.owners.see(member, "hangs");
    this.cutOff(member);
    clock.after(member.hangMs + hangRestMs + 10 * plan.storeMs, () => {
      if (member.hangMs > 0 || member.process.frozen || !member.process.alive) return;
      this.#recovered(member);
      this.#cluster.owners.see(member, "hangs-no-more");
    });
  }

  loseLog(member: Member): void {
    member.logGone = true;
    this.cutOff(member);
  }

  loseStore(member: Member): void {
    member.storeGone = true;
    this.#cluster.owners.see(member, "store-failed");
  }

  /** It can reach this again. */
  regain(member: Member, what: "logGone" | "storeGone"): void {
    member[what] = false;
    this.#recovered(member);
  }

  #recovered(member: Member): void {
    member.wellSince = this.#cluster.stage.clock.monotonicMs();
  }

  /** Nothing is in anybody's way any more, and those that the newest ones make useless are replaced. */
  becalm(): void {
    for (const member of this.all) {
      member.logGone = member.storeGone = false;
      this.#recovered(member);
      this.thaw(member);
    }
    this.version = this.newest;
    // Those who refuse what newer ones have begun, are replaced.
    for (const member of this.living) if (member.version < this.newest) this.stop(member, () => this.boot());
    while (this.living.length < Math.min(2, this.#cluster.plan.nodes)) this.boot();
  }
}
