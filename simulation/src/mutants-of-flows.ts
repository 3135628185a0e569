import type { Mutant } from "./mutant.ts";

const operations = "examples/flow-crud/src/controller/operations.ts";
const store = "examples/flow-crud/src/controller/flow-operations.ts";
const rules = "examples/flow-crud/src/controller/rules.ts";

/** Mutants of the life of flows. */
export const mutantsOfFlows: readonly Mutant[] = (
  [
    {
      name: "let a late step of a flow count",
      file: store,
      from: "if (order > 0) return undefined;",
      to: "if (order !== 0) return undefined;",
    },
    {
      name: "undo a flow whose commit may be settled",
      file: operations,
      from: 'const recalledAs = { open: "Open", committed: "Stands", settled: "Nothing" } as const;',
      to: 'const recalledAs = { open: "Open", committed: "Open", settled: "Open" } as const;',
    },
    {
      name: "forget what a flow was for when its next try finds no path",
      file: store,
      from: "conclude(call, isOwn ? known : record,",
      to: "conclude(call, isOwn && isBeingDeleted ? known : record,",
    },
    {
      name: "leave the rules of a path that was given up",
      file: operations,
      from: "absent: [...stepsOf(data).withdrawn],",
      to: "absent: [],",
    },
    {
      name: "leave the entries of a path that was given up",
      file: rules,
      from: "return there !== undefined && !isSameRule(there, rule);",
      to: "return there === undefined && !isSameRule(rule, rule);",
    },
    {
      name: "remove the old rules of a flow under the number of its install",
      file: operations,
      from: "{ install: 1, restore: 2, clear: 3 }[phase]",
      to: "{ install: 3, restore: 2, clear: 1 }[phase]",
    },
  ] satisfies readonly Mutant[]
).map((mutant) => ({ ...mutant, world: "flows" }));
