import type { Violation } from "../world.ts";
import type { RunModel } from "./model.ts";

/** What the checker knows of a state. */
export interface CheckedState {
  /** Its round drains. */
  readonly drains: boolean;
  /** The event of its deadline. */
  readonly deadline: string | undefined;
  /** The signals that it takes. */
  readonly signals: ReadonlySet<string>;
  /** The signals that it takes, or a state that can be reached from it. */
  readonly takes: ReadonlySet<string>;
  /** The signals that its hub does not keep. */
  readonly drops: ReadonlySet<string>;
  /** A run leaves it in the turn that has entered it. */
  readonly passes?: boolean;
}

const none: CheckedState = {
  drains: false,
  deadline: undefined,
  signals: new Set(),
  takes: new Set(),
  drops: new Set(),
};

/** What the checker knows of a system besides the trace: plain data, and what hubs show of theirs. */
export interface CheckedSystem {
  /** The chart of each hub: state × event → state; a text for an end. */
  readonly charts: ReadonlyMap<
    string,
    { readonly [state: string]: string | { readonly [event: string]: string } }
  >;
  /**
   * Attempts that a call of a spoke may have, also by the code of a failure, and how long its worker may be silent, in
   * milliseconds.
   */
  readonly spokes: ReadonlyMap<
    string,
    {
      readonly attempts: number;
      readonly on?: ReadonlyMap<string, number>;
      readonly heartbeatMs?: number | undefined;
    }
  >;
  /** What states do, by `hub: State`. */
  readonly states: ReadonlyMap<string, CheckedState>;
  /** How many places the lanes have, by their names. */
  readonly slots: ReadonlyMap<string, number>;
  /** What hubs show of the data of a run, by their names. */
  readonly views: ReadonlyMap<string, (data: unknown) => unknown>;
  /** So long is what has ended known at least, in milliseconds. */
  readonly retentionMs: number;
  /** So long are the events of a run that lives known at least, in milliseconds. */
  readonly historyRetentionMs: number;
  /** What engine time may be at most, at a simulated time: one clock that is ahead must not count alone. */
  readonly latestNow: (at: number) => number;
  /** A callback may be so late without anybody to blame, in milliseconds. */
  readonly graceMs: number;
  /** So long may the owner not know yet what its store has done, in milliseconds. */
  readonly lagMs: number;
  /** So long may an owner that has its store's content read what waits for it in logs, in milliseconds. */
  readonly catchUpMs: number;
}

/** What all parts of the checker share while they go through a trace: what they know so far, and what they have found. */
export class Evidence {
  readonly system: CheckedSystem;
  readonly violations: (Violation & { readonly place: number })[] = [];
  readonly exercised = new Map<string, number>();
  readonly edges = new Set<string>();
  readonly runs = new Map<string, RunModel>();
  /** Keys that were purged, and came again. */
  readonly startedAgain = new Set<string>();
  /** Runs of which the store has not taken something. */
  readonly refused = new Set<string>();
  /** The place in the trace that is looked at, and when that was seen, in simulated time. */
  place = 0;
  at = 0;
  /** Engine time of the last commit. */
  now = 0;
  /** How far engine time is ahead of simulated time, as far as commits show. */
  aheadMs = Number.NEGATIVE_INFINITY;
  #later: (() => void)[] = [];

  constructor(system: CheckedSystem) {
    this.system = system;
  }

  /** The state that a run is in. */
  stateOf({ hub, state }: RunModel): CheckedState & { readonly isKnown: boolean } {
    const known = this.system.states.get(`${hub}: ${state}`);
    // The hubs of tells are the engine's own.
    return { ...(known ?? none), isKnown: known !== undefined };
  }

  demand(invariant: string, holds: boolean, message: () => string): void {
    this.exercised.set(invariant, (this.exercised.get(invariant) ?? 0) + 1);
    if (!holds) this.violations.push({ invariant, message: message(), place: this.place });
  }

  /** What can be judged only when a commit is seen whole. */
  later(judge: () => void): void {
    this.#later.push(judge);
  }

  /** The commit is seen whole. */
  judge(): void {
    for (const judge of this.#later.splice(0)) judge();
  }

  /** Whether a request may be unknown by now. */
  isPurged(key: string): boolean {
    return this.runs.get(key)?.purged === true;
  }
}
