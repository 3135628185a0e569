import { end, hub, spoke, stay } from "@wheelwork/core";
import { worker, type Worker } from "@wheelwork/engine";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";

const Rule = z.object({ flow: z.string(), rule: z.int() });
const spokeOf = (name: string) =>
  spoke(name, {
    input: Rule,
    output: z.object({}),
    errors: ["full"],
    timeoutMs: 5000,
    retry: { attempts: 5, backoffMs: 20, giveUpOn: ["full"] },
  });

const install = spokeOf("install");
const remove = spokeOf("remove");

const rulesOf = ({ flow, length }: { readonly flow: string; readonly length: number }) =>
  Array.from({ length }, (_, rule) => ({ flow, rule }));

/** Installs the rules of a flow, and removes them all when one cannot be installed. */
export const flowCreate = hub(
  "flow-create",
  {
    request: z.object({ flow: z.string(), length: z.int(), fails: z.boolean() }),
    reply: z.object({ installed: z.int() }),
    errors: ["failed"],
    deadlineMs: 60_000,
    chart: {
      Installing: { Installed: stay, Next: "Finished", Failed: "Removing" },
      Removing: { Removed: stay, Next: "Failed" },
      Finished: end,
      Failed: end,
    },
    data: (request) => request,
  },
  {
    Installing: (s) =>
      s.each(install, {
        inputs: (data) =>
          rulesOf(data).map((rule) => ({ ...rule, rule: data.fails ? -1 - rule.rule : rule.rule })),
        drain: true,
        ok: "Installed",
        failed: "Failed",
        done: "Next",
        deadline: "Failed",
      }),
    Removing: (s) =>
      s.each(remove, {
        inputs: rulesOf,
        settled: "Removed",
        done: "Next",
        after: { Next: 60_000 },
      }),
    Finished: ({ length }) => ({ installed: length }),
    Failed: (_data, s) => s.fail("failed", "a rule could not be installed"),
  },
);

/** Workers that take a moment; a rule below zero is refused when it is the first one, so that others are to be removed. */
export const workers: readonly Worker[] = [
  worker(install, async ({ rule }, { fail }) => {
    await sleep(1 + (Math.abs(rule) % 5));
    if (rule === -1) fail("full", "the table is full");
    return {};
  }),
  worker(remove, async ({ rule }) => {
    await sleep(1 + (rule % 5));
    return {};
  }),
];
