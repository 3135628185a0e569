import { end, hub, spoke, stay } from "@wheelwork/core";
import * as z from "zod";

export const install = spoke("install-rule", {
  input: z.object({ rule: z.int() }),
  output: z.object({ installed: z.int() }),
  errors: ["table-full"],
  timeoutMs: 100,
  retry: { attempts: 2, backoffMs: 10, giveUpOn: ["table-full"] },
});
export const remove = spoke("remove-rule", {
  input: z.object({ rule: z.int() }),
  output: z.object({}),
  timeoutMs: 100,
});
export const notify = spoke("notify", {
  input: z.object({ text: z.string() }),
  output: z.object({}),
  timeoutMs: 50,
});

const rules = ({ length }: { readonly length: number }) => Array.from({ length }, (_, rule) => ({ rule }));

/** Installs rules side by side, waits for an approval, and removes the rules if anything goes wrong. */
export const createFlow = hub(
  "create-flow",
  {
    request: z.object({ length: z.int().min(1).max(10) }),
    reply: z.object({ installed: z.int() }),
    errors: ["not-installed"],
    deadlineMs: 500,
    signals: { approval: z.object({ by: z.string() }) },
    cancel: "Stop",
    chart: {
      Installing: { Installed: stay, Next: "Approving", Failed: "Removing", Stop: "Removing" },
      Approving: { Approved: "Telling", Stop: "Removing" },
      Telling: { Next: "Up" },
      Removing: { Removed: stay, Next: "Down" },
      Up: end,
      Down: end,
    },
    data: (request) => ({ ...request, installed: 0, why: "stopped" }),
  },
  {
    Installing: (s) =>
      s.each(install, {
        inputs: rules,
        drain: true,
        ok: ({ installed }) => s.raise("Installed", { installed: installed + 1 }),
        failed: (_data, failure) =>
          s.raise("Failed", { why: failure.kind === "error" ? failure.message : "timeout" }),
        done: "Next",
        deadline: "Stop",
      }),
    Approving: (s) => s.wait({ on: { approval: "Approved" }, deadline: "Stop" }),
    Telling: (s) => s.tell(notify, { input: () => ({ text: "up" }), next: "Next" }),
    Removing: (s) =>
      s.each(remove, { inputs: rules, settled: "Removed", done: "Next", after: { Next: 1000 } }),
    Up: ({ installed }) => ({ installed }),
    Down: ({ why }, s) => s.fail("not-installed", why),
  },
);

/** Asks another hub. */
export const parent = hub(
  "parent",
  {
    request: z.object({}),
    reply: z.object({ text: z.string() }),
    deadlineMs: 1000,
    chart: { Asking: { Next: "Done" }, Done: end },
    data: () => ({ text: "" }),
  },
  {
    Asking: (s) =>
      s.call(createFlow, {
        input: () => ({ length: 1 }),
        settled: (_data, outcome) =>
          s.raise("Next", { text: outcome.kind === "error" ? outcome.code : outcome.kind }),
        deadline: "Next",
      }),
    Done: ({ text }) => ({ text }),
  },
);

/** Starts a flow, and approves it. It waits for nothing of that. */
export const standing = hub(
  "standing",
  {
    request: z.object({ flow: z.string().min(1), length: z.int().min(1).max(10) }),
    reply: z.object({}),
    deadlineMs: 100,
    chart: { Starting: { Started: "Approving" }, Approving: { Approved: "Done" }, Done: end },
    data: (request) => request,
  },
  {
    Starting: (s) =>
      s.start(createFlow, {
        input: ({ length }) => ({ length }),
        key: ({ flow }) => flow,
        next: "Started",
      }),
    Approving: (s) =>
      s.signalRun("create-flow", {
        id: ({ flow }) => flow,
        signal: "approval",
        payload: () => ({ by: "standing" }),
        next: "Approved",
      }),
    Done: () => ({}),
  },
);
