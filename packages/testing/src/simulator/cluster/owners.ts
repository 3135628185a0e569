import type { Ledger } from "../shards/ledger.ts";
import type { Requests } from "../shards/requests.ts";
import { inbox, type Stage } from "../shards/stage.ts";
import type { Seen } from "../trace.ts";
import type { Inboxes } from "./inboxes.ts";
import type { Member } from "./member.ts";

/** A claim has come to work, or never will, after so long, in milliseconds: callbacks wait no longer for the inbox. */
const maxClaimMs = 10_500;
/** Channels have so many partitions. */
const partitions = [0, 1];

/** An owner of a shard. */
interface Owner {
  readonly number: number;
  readonly member: Member;
  readonly shard: number;
  /** It works, for all that is known. */
  ready: boolean;
}

/** Who owns which shard, what their stores do, and what follows from it for the ledger and the checker. */
export class Owners {
  readonly #stage: Stage;
  readonly #ledger: Ledger;
  readonly #inboxes: Inboxes;
  readonly #requests: Requests;
  /** The last owner of each shard. */
  readonly #owners = new Map<number, Owner>();
  /** Up to which record each partition of the channels was looked at. */
  readonly #routed = new Map<string, number>();

  constructor(stage: Stage, ledger: Ledger, inboxes: Inboxes, requests: Requests) {
    this.#stage = stage;
    this.#ledger = ledger;
    this.#inboxes = inboxes;
    this.#requests = requests;
  }

  isOwner(shard: number, member: unknown): boolean {
    return this.#owners.get(shard)?.member === member;
  }

  /** Something that concerns the shards of a process. */
  see(
    member: Member,
    type: "died" | "frozen" | "thawed" | "hangs" | "hangs-no-more" | "stopping" | "store-failed",
  ): void {
    for (const { number, shard, member: owning, ready } of this.#owners.values())
      if (owning === member && ((type !== "thawed" && type !== "hangs-no-more") || ready))
        this.#stage.chronicle.see(shard, { type, node: number });
  }

  /** The group tells a node which shards it is to work on: it lets go of all others. */
  assigned(member: Member, given: readonly number[]): void {
    for (const { number, shard, member: owning } of this.#owners.values())
      if (owning === member && !given.includes(shard))
        this.#stage.chronicle.see(shard, { type: "stopping", node: number });
  }

  /** What a store has done for one who has it open, under this number. */
  seeOfStore(member: Member, shard: number, number: number, seen: Seen): void {
    const { chronicle } = this.#stage;
    switch (seen.type) {
      case "claimed":
        return this.#claimed(member, shard, number, seen);
      case "committed":
        this.checkRouted();
        chronicle.see(shard, seen);
        return this.#committed(shard, number, seen);
      case "purged":
        this.#ledger.purged(shard, seen.endedBefore);
        return chronicle.see(shard, seen);
      default:
        return chronicle.see(shard, seen);
    }
  }

  #committed(
    shard: number,
    number: number,
    { seq, journal, logProgress }: Seen & { type: "committed" },
  ): void {
    this.#ledger.committed(shard, seq, journal);
    this.#inboxes.committed(number, journal);
    const passed = logProgress === undefined ? [] : this.#inboxes.passed(shard, logProgress);
    for (const command of passed) this.#stage.chronicle.see(shard, { type: "passed", ...command });
    const owner = this.#owners.get(shard);
    if (owner?.number === number && this.#hasCaughtUp(number)) this.#isReady(owner);
  }

  /** What the group counts as routed is committed, in an inbox, or a dead letter. */
  checkRouted(): void {
    const { channels, broker } = this.#stage;
    const { stories, inboxed, letters } = this.#ledger;
    for (const { from } of channels) {
      for (const partition of partitions) {
        const place = `${from}/${partition}`;
        const before = this.#routed.get(place) ?? 0;
        const now = broker.committed("wheelwork", from, partition) ?? 0;
        if (now <= before) continue;
        this.#routed.set(place, now);
        const records = broker.records(from).filter((record) => record.partition === partition);
        for (const { key: given, offset } of records.slice(before, now)) {
          const key = this.#requests.storedUnder(given);
          this.#ledger.demand(
            "routed",
            stories.has(key) || inboxed.has(key) || letters.some((letter) => letter.key === given),
            () => `${place} is routed past ${offset}, and ${given} is neither committed nor in an inbox`,
          );
        }
      }
    }
  }

  #claimed(member: Member, shard: number, number: number, seen: Seen & { type: "claimed" }): void {
    const { chronicle, clock, plan } = this.#stage;
    member.owners.set(shard, number);
    const versions = Object.fromEntries(
      member.hubs.map(({ name, definition }) => [name, definition.version]),
    );
    chronicle.see(shard, { type: "started", node: number, versions });
    chronicle.see(shard, seen);
    chronicle.see(shard, { type: "behind", node: number });
    chronicle.say("(owner)", member, `owner=${number}`);
    this.#inboxes.claimed(shard, number, member.logGone);
    const owner = { number, member, shard, ready: false };
    this.#owners.set(shard, owner);
    clock.after(1_000 + 40 * plan.storeMs, () => {
      if (this.#hasCaughtUp(number)) this.#isReady(owner);
    });
    clock.after(maxClaimMs, () => this.#isReady(owner));
  }

  #hasCaughtUp(number: number): boolean {
    return this.#inboxes.hasCaughtUp(number, (topic, partition) =>
      this.#stage.broker.committed("wheelwork", topic, partition),
    );
  }

  /** From here on an owner is to blame for what it does not do. */
  #isReady(owner: Owner): void {
    const { shard, number, member } = owner;
    if (owner.ready || this.#owners.get(shard) !== owner || !member.process.alive) return;
    owner.ready = true;
    // One that stands still, or whose store does, is well when that goes on.
    if (member.process.frozen || member.hangMs > 0) return;
    this.#stage.chronicle.see(shard, { type: "ready", node: number });
  }
}

/** The shards among what the group has given to a node. */
export const shardsOf = (
  given: readonly { readonly topic: string; readonly partitions: readonly number[] }[],
): readonly number[] => given.find(({ topic }) => topic === inbox)?.partitions ?? [];
