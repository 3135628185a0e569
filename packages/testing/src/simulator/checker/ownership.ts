import type { TraceEntry } from "../trace.ts";
import type { Evidence } from "./evidence.ts";

/** Who owns the shard, and since when it has worked undisturbed: one epoch follows another (I21). */
export class Ownership {
  /** The process that has claimed last, and its epoch. */
  owner = 0;
  epoch = 0;
  /** How many claims there were. */
  claims = 0;
  /** When the owner claimed, in simulated time. */
  claimedAt = 0;
  /** Since when the owner has worked undisturbed, in simulated time. */
  healthySince = Number.POSITIVE_INFINITY;
  /** The wall clock has jumped, so that engine time may have run ahead. */
  hasJumped = false;
  readonly #evidence: Evidence;
  readonly #owners = new Set<number>();
  /** The versions of the hubs of each process. */
  readonly #versions = new Map<number, { readonly [hub: string]: number }>();
  /** The process that was told to stop last: it hands out nothing more. */
  #stopping: number | undefined = undefined;
  /** The owner claims again since its store has refused something. Its attempts go on. */
  #reloads = false;
  /** The store has failed the owner, which has not claimed again yet. */
  #lost = false;
  #isHanging = false;

  constructor(evidence: Evidence) {
    this.#evidence = evidence;
  }

  /** Whether the owner has had the time since then, undisturbed. */
  hadTime(since: number): boolean {
    const { at, system } = this.#evidence;
    return Math.max(since, this.healthySince) + system.graceMs < at;
  }

  /** Its store hangs, or has hung until now: what it was asked for is done all the same. */
  get isHanging(): boolean {
    return this.#isHanging;
  }

  get isDisturbed(): boolean {
    return this.healthySince === Number.POSITIVE_INFINITY;
  }

  /** The version of a hub that the owner has. */
  versionOf(hub: string): number | undefined {
    return this.#versions.get(this.owner)?.[hub];
  }

  take(entry: TraceEntry): void {
    switch (entry.type) {
      case "claimed":
        return this.#claim(entry);
      case "ready":
      case "thawed":
      case "hangs-no-more":
        // One that wakes up without its store is well again when it has claimed it.
        if (entry.node !== this.owner || entry.node === this.#stopping || this.#lost) return;
        this.healthySince = entry.at;
        this.#isHanging = false;
        return;
      case "behind":
      case "died":
      case "frozen":
      case "hangs":
      case "stopped":
      case "store-failed":
        if (entry.node !== this.owner) return;
        this.#lost ||= entry.type === "store-failed";
        this.#isHanging = entry.type === "hangs" && (this.#isHanging || !this.isDisturbed);
        return this.#disturbed();
      case "refuses":
        this.#evidence.refused.add(entry.key);
        this.#reloads = true;
        return;
      case "fault":
        if (entry.kind === "freeze") this.#disturbed();
        this.hasJumped ||= entry.kind === "clock-jump";
        return;
      case "stopping":
        this.#disturbed();
        this.#stopping = entry.node;
        return;
      case "started":
        this.#versions.set(entry.node, entry.versions);
        return;
      default:
    }
  }

  #claim({ node, epoch, at }: TraceEntry & { type: "claimed" }): void {
    const evidence = this.#evidence;
    evidence.demand("I21", epoch > this.epoch, () => `epoch ${epoch} is not new`);
    evidence.demand(
      "I21",
      this.owner === node || !this.#owners.has(node),
      () => `process ${node} was fenced, and takes the shard back`,
    );
    this.#owners.add(node);
    this.claimedAt = at;
    this.claims++;
    if (this.#reloads && this.owner === node) this.#handOver();
    this.#reloads = false;
    this.#lost = this.#isHanging = false;
    if (this.owner !== node) this.#disturbed();
    else if (this.isDisturbed && node !== this.#stopping) this.healthySince = at;
    this.epoch = epoch;
    this.owner = node;
  }

  /** What was under way is as if it had begun after the claim. */
  #handOver(): void {
    for (const { calls } of this.#evidence.runs.values())
      for (const call of calls.values()) {
        if (call.openedIn === this.claims - 1) call.openedIn = this.claims;
        if (call.begunIn === this.claims - 1) call.begunIn = this.claims;
      }
  }

  #disturbed(): void {
    this.healthySince = Number.POSITIVE_INFINITY;
    // What was on its way may be lost.
    for (const { calls } of this.#evidence.runs.values())
      for (const call of calls.values()) call.outcomeAt = undefined;
  }
}
