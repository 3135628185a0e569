import { end, hub, spoke, stay, type Exclusive, type Hub } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { z } from "zod";
import { World, type WorldOptions } from "./world.ts";

/** Hubs that exclude one another, and a world that notes who works at the same time. */

const request = z.object({ flow: z.string(), ms: z.number().default(100), note: z.string().default("") });
type Request = z.infer<typeof request>;

export const work = spoke("work", {
  input: z.object({ flow: z.string(), ms: z.number(), of: z.string() }),
  output: z.object({}),
  timeoutMs: 1_000_000,
});

export type LaneOptions = Partial<Omit<Exclusive<Request>, "lane" | "by">>;

/** Works for `ms` milliseconds, and cleans up for 50 if it is cancelled or late. */
export const operation = (
  name: string,
  options: LaneOptions = {},
  deadlineMs = 1000,
): Hub<{ flow: string }> =>
  hub(
    name,
    {
      request,
      reply: z.object({ did: z.string() }),
      errors: ["given-up"],
      deadlineMs,
      exclusive: { lane: "flow", by: ({ flow }) => flow, whenBusy: "queue", ...options },
      chart: {
        Working: { Done: "Done", Failed: "GivenUp", Late: "Undoing" },
        Undoing: { Undone: "GivenUp", Late: "GivenUp" },
        Done: end,
        GivenUp: end,
      },
      data: (given) => given,
    },
    {
      Working: (s) =>
        s.call(work, {
          input: ({ flow, ms }) => ({ flow, ms, of: name }),
          ok: "Done",
          failed: "Failed",
          deadline: "Late",
        }),
      Undoing: (s) =>
        s.call(work, {
          input: ({ flow }) => ({ flow, ms: 50, of: `undo ${name}` }),
          ok: "Undone",
          failed: "Undone",
          after: { Late: 500 },
        }),
      Done: ({ note, flow }) => ({ did: note === "" ? flow : note }),
      GivenUp: (_data, s) => s.fail("given-up", "it was undone"),
    },
  ) as Hub<{ flow: string }>;

/** Ends in its first turn. */
export const instant = (name: string, options: LaneOptions = {}): Hub<{ flow: string }> =>
  hub(
    name,
    {
      request,
      reply: z.object({ did: z.string() }),
      deadlineMs: 1e6,
      exclusive: { lane: "flow", by: ({ flow }) => flow, whenBusy: "queue", ...options },
      chart: { Beginning: { Ended: "Done" }, Done: end },
      data: (given) => given,
    },
    { Beginning: "Ended", Done: ({ flow }) => ({ did: flow }) },
  ) as Hub<{ flow: string }>;

/** Works, as `operation` does, and excludes nobody. */
export const plain = (name: string): Hub<{ flow: string }> =>
  hub(
    name,
    {
      request,
      reply: z.object({ did: z.string() }),
      deadlineMs: 1e6,
      chart: { Working: { Done: "Done", Late: "Done" }, Done: end },
      data: (given) => given,
    },
    {
      Working: (s) =>
        s.call(work, {
          input: ({ flow, ms }) => ({ flow, ms, of: name }),
          ok: "Done",
          failed: "Done",
          deadline: "Late",
        }),
      Done: ({ flow }) => ({ did: flow }),
    },
  ) as Hub<{ flow: string }>;

/** Calls a hub for each of the flows that it is given, and shares the lane with it. */
export const caller = (name: string, callee: Hub<{ flow: string }>): Hub<{ flow: string }> =>
  hub(
    name,
    {
      request: z.object({ flow: z.string(), calls: z.array(z.string()) }),
      reply: z.object({ did: z.string() }),
      errors: ["given-up"],
      deadlineMs: 10_000,
      exclusive: { lane: "flow", by: ({ flow }) => flow, whenBusy: "queue" },
      chart: {
        Calling: { One: stay, All: "Done", Failed: "GivenUp", Late: "GivenUp" },
        Done: end,
        GivenUp: end,
      },
      data: ({ calls }): { calls: string[]; why?: string } => ({ calls }),
    },
    {
      Calling: (s) =>
        s.each(callee, {
          inputs: ({ calls }) => calls.map((flow) => ({ flow })),
          ok: "One",
          failed: (_data, failure) =>
            s.raise("Failed", { why: failure.kind === "error" ? failure.code : "timeout" }),
          done: "All",
          deadline: "Late",
        }),
      Done: () => ({ did: "ok" }),
      GivenUp: ({ why = "late" }, s) => s.fail("given-up", why),
    },
  ) as Hub<{ flow: string }>;

/** Waits for a signal, so that its run leaves the memory. */
export const patient = (
  name: string,
  options: LaneOptions = {},
  deadlineMs = 100_000,
): Hub<{ flow: string }> =>
  hub(
    name,
    {
      request,
      reply: z.object({ did: z.string() }),
      deadlineMs,
      signals: { go: z.object({}), tell: z.object({}) },
      exclusive: { lane: "flow", by: ({ flow }) => flow, whenBusy: "queue", ...options },
      chart: { Waiting: { Told: stay, Went: "Done", Late: "Done" }, Done: end },
      data: (given) => given,
    },
    {
      Waiting: (s) => s.wait({ on: { go: "Went", tell: () => "Told" as const }, deadline: "Late" }),
      Done: ({ note, flow }) => ({ did: note === "" ? flow : note }),
    },
  ) as Hub<{ flow: string }>;

/** A world whose worker notes how many work at the same time in each flow, and the highest number of that. */
export async function laneWorld(
  hubs: WorldOptions["hubs"],
  options: Partial<WorldOptions> = {},
): Promise<{ world: World; begun: string[]; most: Map<string, number> }> {
  const begun: string[] = [];
  const now = new Map<string, number>();
  const most = new Map<string, number>();
  const world = new World({
    hubs,
    workers: (sleep) => {
      now.clear();
      return [
        worker(work, async ({ flow, ms, of }, { signal }) => {
          begun.push(`${of} ${flow}`);
          now.set(flow, (now.get(flow) ?? 0) + 1);
          most.set(flow, Math.max(most.get(flow) ?? 0, now.get(flow) ?? 0));
          const leave = (): void => void now.set(flow, (now.get(flow) ?? 0) - 1);
          signal.addEventListener("abort", leave, { once: true });
          await sleep(ms);
          if (!signal.aborted) leave();
          return {};
        }),
      ];
    },
    ...options,
  });
  await world.start();
  return { world, begun, most };
}
