import type { CommandMemory, HubDefinition } from "@wheelwork/core/kernel";
import type { Downtime, Found } from "../ports/ports.ts";
import type { Tracing } from "../ports/trace.ts";
import type { Culprit } from "./batch.ts";
import type { Deadlines } from "./deadlines.ts";
import type { Item } from "./items.ts";
import type { LogTracker } from "./log-progress.ts";
import type { OutcomeRules } from "./records.ts";
import type { Residency } from "./residency.ts";

/** What a decider works with. */
export interface DeciderOptions {
  readonly epoch: number;
  /** The downtimes that the next commit must say, once. */
  readonly retention: { unsaved(): readonly Downtime[] | undefined; memory(now: number): CommandMemory };
  /** Number of the last committed batch. */
  readonly seq: number;
  /** Engine time of the claim. */
  readonly since: number;
  readonly hubs: ReadonlyMap<string, HubDefinition>;
  readonly residency: Residency;
  readonly deadlines: Deadlines;
  readonly log: LogTracker | undefined;
  readonly outcomes: OutcomeRules;
  /** The runs that the store has refused, by key: each is dealt with at its next decision, once. */
  readonly culprits: Map<string, Culprit>;
  readonly random: () => number;
  /** How many calls of a round one turn opens at most. */
  readonly openedCalls: number;
  /** Somebody wants to know what runs do. */
  readonly isObserved: boolean;
  readonly tracing: Tracing | undefined;
}

/** What the loop decides on at once. */
export interface Inputs {
  readonly items: readonly Item[];
  /** What the store holds under the keys that the items name, where that is not in memory. */
  readonly found: ReadonlyMap<string, Found>;
  /** Up to when callbacks may fire, once the items are decided: asked then, since the items may have settled some. */
  readonly callableTo: (now: number) => number;
  /** How many callbacks may fire. */
  readonly maxCallbacks: number;
  /** How many carried items are decided, if there is time for one more; 0: none. */
  readonly maxCarried: number;
  readonly hasTime: () => boolean;
  /** Whether the batch has decided inputs and callbacks for long enough: the others wait for the next one. */
  readonly isTimeUp: () => boolean;
  /** Takes back items that are left for the next batch. */
  readonly putBack: (items: readonly Item[]) => void;
}
