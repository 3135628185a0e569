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
      from: 'conclude(call, { ...known, ...waiting }, "plan", decision);',
      to: 'conclude(call, { ...record, ...waiting }, "plan", decision);',
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
    {
      name: "free what an ended run has left, and leave its rules",
      file: store,
      from: "if (known.planned !== null && known.planned.fence !== guard.fence) {",
      to: "if (known.planned?.isCommitted === true && known.planned.fence > guard.fence) {",
    },
    {
      name: "undo what an ended run has left with what the next one has done",
      file: store,
      from: "const isOwn = record.planned?.fence === call.guard.fence;",
      to: "const isOwn = record.planned !== null;",
    },
    {
      name: "close what an ended run has committed as if it had not",
      file: operations,
      from: "return abandoned?.isCommitted === true\n",
      to: "return abandoned?.isCommitted === false\n",
    },
  ] satisfies readonly Mutant[]
).map((mutant) => ({ ...mutant, world: "flows" }));
