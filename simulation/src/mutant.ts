import type { WorldName } from "./worlds.ts";

/** A deliberate defect: its name says what it does wrong, and `to` replaces `from` in a file. */
export interface Mutant {
  readonly name: string;
  readonly file: string;
  /** Occurs exactly once in the file. */
  readonly from: string;
  readonly to: string;
  /** The world in which it is looked for. Default: that of one engine. */
  readonly world?: WorldName;
  /** The files of tests in which it is looked for, instead of a world: what no simulated hub sees. */
  readonly tests?: readonly string[];
}
