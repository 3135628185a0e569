import type { SimulatedClock } from "../../clock.ts";
import { lineOf, type Seen, type TraceEntry } from "../trace.ts";
import { count } from "../world.ts";

/** Who is meant by a line: a process with a number. */
interface Numbered {
  readonly number: number;
}

/** What has happened in a world of several shards: for the checker, for the report, and for people. */
export class Chronicle {
  /** What was seen of each shard. */
  readonly traces: readonly TraceEntry[][];
  readonly faults = new Map<string, number>();
  readonly happened = new Map<string, number>();
  readonly signals = new Map<string, number>();
  commits = 0;
  attempts = 0;
  readonly #clock: SimulatedClock;
  #order = 0;
  /** They are made into text only when somebody reads them. */
  readonly #lines: (() => string)[] = [];

  constructor(clock: SimulatedClock, shards: number) {
    this.#clock = clock;
    this.traces = Array.from({ length: shards }, () => []);
  }

  /** Tells people. */
  say(what: string, who?: Numbered, details = ""): void {
    const at = this.#clock.monotonicMs();
    const where = who === undefined ? "" : `node=${who.number}`;
    this.#lines.push(() => `${String(at).padStart(9)} ms  ${what.padEnd(12)} ${where} ${details}`);
  }

  /** A thing of some kind has happened. */
  count(what: string): void {
    count(this.happened, what);
  }

  /** Something has gone wrong as planned. */
  struck(kind: string, forMs: number, who?: Numbered): void {
    count(this.faults, kind);
    this.say(kind, who, `${forMs} ms`);
  }

  /** Something was seen of a shard. */
  see(shard: number, seen: Seen): void {
    if (seen.type === "committed") this.commits++;
    if (seen.type === "attempt") this.attempts++;
    const entry = { ...seen, at: this.#clock.monotonicMs(), order: ++this.#order };
    this.traces[shard]?.push(entry);
    this.#lines.push(() => `${lineOf(entry)} shard=${shard}`);
  }

  lines(): readonly string[] {
    return this.#lines.map((line) => line());
  }
}
