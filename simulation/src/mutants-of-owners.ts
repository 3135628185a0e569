import type { Mutant } from "./mutant.ts";

/** One seed in many finds these. It is among the known ones. */
const ofSeeds = { tests: ["simulation/test/known-seeds.test.ts"] };
const ofTurns = { tests: ["packages/engine/test/user-time.test.ts"] };

/** Mutants of what an owner does that was taken over and does not know it, and of how long the functions of users hold a process. */
export const mutantsOfOwners: readonly Mutant[] = [
  {
    name: "never look whether an idle shard has another owner",
    file: "packages/engine/src/shard/ownership-look.ts",
    from: "if (isIdle) this.#shard.look?.()",
    to: "if (isIdle && this.#lookMs < 0) this.#shard.look?.()",
    ...ofSeeds,
  },
  {
    name: "say that events are gone whose runs another owner has begun",
    file: "packages/engine/src/requests/run-facts.ts",
    from: "for await (const batch of store.journal((await store.peek()).checkpoint))",
    to: "for await (const batch of live !== undefined ? [] : store.journal((await store.peek()).checkpoint))",
    ...ofSeeds,
  },
  {
    name: "let workers and schemas of many runs hold the loop together",
    file: "packages/engine/src/attempts/user-time.ts",
    from: "    this.#usedMs += now - began;\n",
    to: "",
    ...ofTurns,
  },
  {
    name: "decide all that has come in one turn, however long it takes",
    file: "packages/engine/src/shard/decider.ts",
    from: "if (decided > 0 && inputs.isTimeUp()) break;",
    to: "if (decided > 1000 && inputs.isTimeUp()) break;",
    ...ofTurns,
  },
];
