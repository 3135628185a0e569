import type { Mutant } from "./mutant.ts";

const events = "packages/engine/src/requests/events.ts";
const tail = "packages/engine/src/requests/journal-tail.ts";

/** Mutants of what those are told who read the events of all runs. */
export const mutantsOfStreams: readonly Mutant[] = [
  {
    name: "forget how much of a batch a reader has read",
    file: events,
    from: "if (batch.seq !== seq) [seq, read] = [batch.seq, 0];",
    to: "[seq, read] = [batch.seq, 0];",
  },
  {
    name: "pass over what is not kept of a stream",
    file: tail,
    from: "else if (batch.seq !== ++last) throw gone();",
    to: "else last = batch.seq;",
  },
  {
    name: "tell an event of a batch again to who has read a part of it",
    file: events,
    from: "if (++number <= read ||",
    to: "if (++number < read ||",
  },
  {
    name: "let the position of each event be behind its batch",
    file: events,
    from: "number === count ? { seq, mark } : { seq, mark, read: number }",
    to: "{ seq, mark }",
  },
  {
    name: "leave out the next batch for a reader that shares what is read",
    file: tail,
    from: "return this.#recent.slice(seq - base.seq);",
    to: "return this.#recent.slice(seq - base.seq + (seq > base.seq ? 1 : 0));",
  },
  {
    name: "say that events are gone when the store is only away",
    file: tail,
    from: "if (committed < seq ||",
    to: "if (committed <= seq ||",
  },
  {
    name: "cut the journal of what is not old while nothing has ended",
    file: "packages/testing/src/memory-store.ts",
    from: "if (seq > oldest || (JSON.parse(text) as JournalRecord).at >= endedBefore) break;",
    to: "if (seq > oldest) break;",
  },
  {
    name: "read on at a shard that has moved",
    file: events,
    from: "if (tail === this.#tail) return tail;",
    to: "if (this.#tail !== undefined) return this.#tail;",
    world: "cluster",
  },
  {
    name: "write the place of one shard where that of another belongs",
    file: events,
    from: "const at = shards.indexOf(shard);",
    to: "const at = 0;",
    world: "cluster",
  },
];
