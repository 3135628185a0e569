import type { Delivery } from "./acker.ts";

/** What runs one task in one of Storm's workers. */
export interface Runner {
  /** Begins. */
  start(): void;
  take(delivery: Delivery): void;
  /** Storm's worker has died: what it leaves behind hears that the pipes are closed, and ends. */
  orphan(): void;
  /** Ends at once, and says nothing more. */
  kill(): void;
}
