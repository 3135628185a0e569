import { count, type Violation } from "./world.ts";

/** What is demanded of what was seen, and what does not hold. */
export class Findings {
  readonly violations: Violation[] = [];
  readonly exercised = new Map<string, number>();

  demand(invariant: string, holds: boolean, message: () => string): void {
    count(this.exercised, invariant);
    if (!holds) this.violations.push({ invariant, message: message() });
  }
}
