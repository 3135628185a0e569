import type { Mutant } from "./mutant.ts";

const watch = "packages/engine/src/requests/run-watch.ts";
const tail = "packages/engine/src/delivery/run-tail.ts";
const reader = "packages/engine/src/delivery/remote-shard-reader.ts";
const shard = "packages/engine/src/shard/shard.ts";

/** Mutants of what those are told who watch a request. */
export const mutantsOfWatches: readonly Mutant[] = [
  {
    name: "tell again what a watch has seen before it goes on",
    file: watch,
    from: "let silentTo = after ?? Number.POSITIVE_INFINITY;",
    to: "let silentTo = after === undefined ? Number.POSITIVE_INFINITY : 0;",
  },
  {
    name: "tell only the last change of what is read at once",
    file: watch,
    from: "shown.isAtRest(run)) && shown.look(run);",
    to: "shown.isAtRest(run)) && event === events.at(-1) && shown.look(run);",
  },
  {
    name: "tell of states that only pass",
    file: watch,
    from: 'return state !== "" && (logic === undefined || isWaiting(logic));',
    to: "return true;",
  },
  {
    name: "tell what is not committed",
    file: "packages/engine/src/shard/committed.ts",
    from: "return count >= first ? committedHistory(live).slice(count - first) : undefined;",
    to: "return count >= first ? live.history.slice(count - first) : undefined;",
  },
  {
    name: "end a watch before the run",
    file: watch,
    from: 'if (run.status === "ended" || (until === "answer" && run.answer !== undefined)) return;',
    to: "if (run.answer !== undefined) return;",
  },
  {
    name: "end a watch when its store is away",
    file: watch,
    from: "if (!toldOf(error).retryable && this.#of.access() === access) throw error;",
    to: "if (this.#of.access() === access) throw error;",
  },
  {
    name: "tell who leaves how far it has come",
    file: watch,
    from: "      if (!source.isWanted) return;\n",
    to: "",
  },
  {
    name: "do not wake those who watch when a batch is committed",
    file: shard,
    from: "if (this.watchers.size > 0) for (const live of touched)",
    to: "if (this.watchers.size < 0) for (const live of touched)",
  },
  {
    name: "tell a batch twice that a watch has begun with",
    file: tail,
    from: "    if (seq <= this.#seq) return;\n",
    to: "",
    world: "cluster",
  },
  {
    name: "do not notice what a checkpoint has taken out of the journal",
    file: tail,
    from: "    this.isOver = true;\n    this.#count = Number.NaN;\n",
    to: "",
    world: "cluster",
  },
  {
    name: "read what a checkpoint moves at both places",
    file: reader,
    from: "await this.#eventsSince(key, written) : [];",
    to: "await this.#eventsSince(key, checkpoint) : [];",
    world: "cluster",
  },
];
