import { rootOf } from "../root.ts";
import type { TraceEntry } from "../trace.ts";
import type { Violation } from "../world.ts";
import { Attempts } from "./attempts.ts";
import { ClientChecks } from "./clients.ts";
import { Evidence, type CheckedSystem } from "./evidence.ts";
import { noDeadline } from "@wheelwork/core/kernel";
import { Heartbeats } from "./heartbeats.ts";
import { LaneChecks } from "./lanes.ts";
import { dueOf, type RunModel } from "./model.ts";
import { Owed } from "./owed.ts";
import { Ownership } from "./ownership.ts";
import { Transitions } from "./transitions.ts";
import { WatchChecks } from "./watches.ts";

/** What the checker found. */
export interface Checked {
  /** `place`: where in the trace it was found. */
  readonly violations: readonly (Violation & { readonly place: number })[];
  /** How often each invariant was held against something. */
  readonly exercised: ReadonlyMap<string, number>;
  /** Edges that runs have taken: `hub: State --Event--> State`. */
  readonly edges: ReadonlySet<string>;
}

/**
 * Holds a trace against the invariants. It shares no code with the engine: it has its own model of what a run is,
 * made only of the events that were committed, and looks at everything else from outside.
 */
export function checkTrace(trace: readonly TraceEntry[], system: CheckedSystem): Checked {
  const evidence = new Evidence(system);
  const checker = new Checker(evidence);
  for (const [place, entry] of trace.entries()) {
    evidence.place = place;
    evidence.at = entry.at;
    checker.take(entry);
  }
  const { violations, exercised, edges } = evidence;
  return { violations, exercised, edges };
}

/** What is committed: batch by batch, in time (I6, I7), and by the owner alone (I21). The rest it gives to the others. */
class Checker {
  readonly #evidence: Evidence;
  readonly #ownership: Ownership;
  readonly #attempts: Attempts;
  readonly #heartbeats: Heartbeats;
  readonly #owed: Owed;
  readonly #lanes: LaneChecks;
  readonly #transitions: Transitions;
  readonly #clients: ClientChecks;
  readonly #watches: WatchChecks;
  #seq = 0;

  constructor(evidence: Evidence) {
    this.#evidence = evidence;
    this.#ownership = new Ownership(evidence);
    this.#attempts = new Attempts(evidence, this.#ownership);
    this.#owed = new Owed(evidence, this.#ownership);
    this.#heartbeats = new Heartbeats(evidence, this.#ownership);
    const [attempts, heartbeats] = [this.#attempts, this.#heartbeats];
    this.#lanes = new LaneChecks(evidence, this.#ownership);
    this.#transitions = new Transitions(
      evidence,
      this.#ownership,
      attempts,
      heartbeats,
      this.#owed,
      this.#lanes,
    );
    this.#clients = new ClientChecks(evidence, this.#ownership);
    this.#watches = new WatchChecks(evidence);
  }

  take(entry: TraceEntry): void {
    switch (entry.type) {
      case "committed":
        return this.#commit(entry);
      case "purged":
        return this.#purge(entry.endedBefore);
      case "archived":
        return this.#watches.archived(entry.before);
      case "attempt":
        this.#heartbeats.made(entry);
        return this.#attempts.made(entry);
      case "beat":
        return this.#heartbeats.beat(entry);
      case "ordered":
        return this.#attempts.handedOut(entry);
      case "outcome":
        return this.#attempts.said(entry);
      case "limited":
        return this.#demand("I27", entry.problem === undefined, () => `${entry.request}: ${entry.problem}`);
      case "passed":
        return this.#transitions.passed(entry);
      case "shown":
        return this.#watches.shown(entry);
      case "shown-all":
        return this.#watches.shownAll(entry);
      case "ended":
        return this.#clients.end(entry.problem);
      default:
        this.#ownership.take(entry);
        this.#clients.take(entry);
    }
  }

  #demand(invariant: string, holds: boolean, message: () => string): void {
    this.#evidence.demand(invariant, holds, message);
  }

  #commit({ epoch, node, seq, now, journal }: TraceEntry & { type: "committed" }): void {
    const evidence = this.#evidence;
    const { runs } = evidence;
    this.#demand(
      "I21",
      epoch === this.#ownership.epoch && node === this.#ownership.owner,
      () => `the epoch ${epoch} commits, when ${this.#ownership.epoch} is the owner's`,
    );
    this.#demand("I9", seq === this.#seq + 1, () => `batch ${seq} follows batch ${this.#seq}`);
    this.#demand("Time", now >= evidence.now, () => `engine time goes back from ${evidence.now} to ${now}`);
    const latest = evidence.system.latestNow(evidence.at);
    this.#demand(
      "Time",
      now <= latest,
      () => `engine time is ${now}, and no later than ${latest} can be right`,
    );
    this.#seq = seq;
    evidence.now = now;
    evidence.aheadMs = Math.max(evidence.aheadMs, now - evidence.at);
    this.#transitions.begin();
    this.#attempts.begin();
    for (const run of runs.values()) this.#onTime(run, now);
    this.#owed.look();
    this.#lanes.look();
    for (const { key, events } of journal) {
      for (const event of events) {
        this.#demand("Time", event.at <= now, () => `an event of ${key} is later than its batch`);
        if (event.type === "started" || event.type === "accepted") this.#clients.started(key);
        this.#transitions.take(key, event);
      }
    }
    this.#attempts.end();
    this.#lanes.end();
    evidence.judge();
    this.#watches.committed(journal);
    for (const { key } of journal) {
      const run = runs.get(key);
      // One that is parked waits for an operator; only its caller must not.
      if (run === undefined || run.status === "ended") continue;
      if (run.status === "incident" && run.answer !== undefined) continue;
      // After its own answer a hub may wait for ever.
      if (run.deadline >= noDeadline) continue;
      this.#demand("I6", dueOf(run) !== undefined, () => `${key} waits in ${run.state} without a deadline`);
    }
  }

  /** Whatever is overdue should have been done, if there was time for it; results should have counted. */
  #onTime(run: RunModel, now: number): void {
    if (run.status === "ended") return;
    const { graceMs } = this.#evidence.system;
    const healthy = this.#ownership.hadTime(run.changedAt);
    const due = dueOf(run);
    this.#demand(
      "I7",
      due === undefined || !healthy || due + graceMs >= now,
      () => `${run.key} in ${run.state} was due at ${due}; it is ${now}, and it was not called back`,
    );
    // The store may have refused an outcome: that is not kept, and its attempt is made again after a retry.
    if (run.status === "incident" && this.#evidence.refused.has(run.key)) return;
    for (const call of run.calls.values()) {
      if (call.outcomeAt === undefined || call.backoff) continue;
      this.#demand(
        "I9",
        !this.#ownership.hadTime(call.outcomeAt),
        () => `the outcome of call ${call.number} of ${run.key} did not count, though nothing was lost`,
      );
    }
  }

  /** What ended before a time, in engine time, may be unknown from now on, but no request while a run that it has begun is known. */
  #purge(endedBefore: number): void {
    const { runs } = this.#evidence;
    const kept = new Set<string>();
    const requests: RunModel[] = [];
    for (const run of runs.values()) {
      const root = rootOf(run.key);
      if (root === run.key) requests.push(run);
      else if (!this.#isForgotten(run, endedBefore)) kept.add(root);
    }
    for (const run of requests) if (!kept.has(run.key)) this.#isForgotten(run, endedBefore);
  }

  /** Whether a run may be unknown, if what ended before a time may be. */
  #isForgotten(run: RunModel, endedBefore: number): boolean {
    const { system, at } = this.#evidence;
    if (run.purged) return true;
    if (run.status !== "ended" || (run.events.at(-1)?.at ?? 0) >= endedBefore) return false;
    run.purged = true;
    // It may have ended some time before its store, which hung, has committed that.
    const endedAt = (run.events.at(-1)?.at ?? 0) - this.#evidence.aheadMs;
    const since = Math.min(run.changedAt, endedAt);
    this.#demand(
      "I5",
      this.#ownership.hasJumped || since + system.retentionMs <= at + system.lagMs,
      () => `${run.key} is purged ${at - run.changedAt} ms after its end`,
    );
    return true;
  }
}
