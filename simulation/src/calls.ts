import { end, hub, spoke, stay, type AnyHub, type Hub, type WhenBusy } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import type { OpenedSystem, SeededRandom, SimulatedSystem } from "@wheelwork/testing";
import { z } from "zod";

const request = z.object({ flow: z.string(), way: z.array(z.string()) });
type Request = z.infer<typeof request>;
type Callee = Hub<Request, { did: string }>;

const workOf = (scaleMs: number) =>
  spoke("work", {
    input: z.object({ flow: z.string() }),
    output: z.object({}),
    errors: ["broken"],
    timeoutMs: scaleMs / 8,
    retry: { attempts: 2, backoffMs: 10 },
  });

/** Hubs with lanes that call one another, each flow in a lane of its own: `way` says which flows, the last one works. */
const hubsOf = (
  random: SeededRandom,
  work: ReturnType<typeof workOf>,
  scaleMs: number,
): readonly AnyHub[] => {
  const exclusive = (lane: string, whenBusy: WhenBusy, slots = 1) => ({
    lane,
    by: ({ flow }: Request) => flow,
    whenBusy,
    slots,
    queueMs: scaleMs,
  });
  const leaf = (name: string, whenBusy: WhenBusy): Callee =>
    hub(
      name,
      {
        request,
        reply: z.object({ did: z.string() }),
        errors: ["undone"],
        deadlineMs: scaleMs / 2,
        deadline: "Late",
        exclusive: exclusive("one", whenBusy),
        signals: { go: z.object({}) },
        chart: {
          Working: { Worked: "Waiting", Failed: "Undoing", Late: "Undoing" },
          Waiting: { Went: "Done", Late: "Undoing" },
          Undoing: { Undone: "Undone", Late: "Undone" },
          Done: end,
          Undone: end,
        },
        data: ({ flow }) => ({ flow }),
      },
      {
        Working: (s) => s.call(work, { input: ({ flow }) => ({ flow }), ok: "Worked", failed: "Failed" }),
        Waiting: (s) => s.wait({ on: { go: "Went" }, after: { Went: random.pick([1, scaleMs / 4]) } }),
        Undoing: (s) =>
          s.call(work, {
            input: ({ flow }) => ({ flow }),
            ok: "Undone",
            failed: "Undone",
            after: { Late: scaleMs / 8 },
          }),
        Done: ({ flow }) => ({ did: flow }),
        Undone: (_data, s) => s.fail("undone", "as it happens"),
      },
    );
  const leaves = (["queue", "refuse", "join", "latest", "replace"] as const).map((kind) => leaf(kind, kind));
  const next = (way: readonly string[]): Request => ({ flow: way[0] ?? "", way: way.slice(1) });
  /** It calls a hub in each of the lanes of its way, or in the next one of them, which goes on from there. */
  const caller = (name: string, lane: string | undefined, callee: Callee, isWay: boolean): Callee => {
    const drain = random.chance(0.5) ? { drain: true as const } : {};
    const limit = random.chance(0.3) ? { limit: 1 } : {};
    const isRace = random.chance(0.3);
    return hub(
      name,
      {
        request,
        reply: z.object({ did: z.string(), outcomes: z.array(z.string()) }),
        errors: ["failed"],
        deadlineMs: random.pick([scaleMs / 4, scaleMs, scaleMs * 2]),
        deadline: "Late",
        ...(lane === undefined ? {} : { exclusive: exclusive(lane, "queue") }),
        signals: { go: z.object({}) },
        chart: {
          Calling: { One: stay, First: "Done", All: "Done", Failed: "Failed", Late: "Failed" },
          Done: end,
          Failed: end,
        },
        data: ({ flow, way }) => ({ flow, way, outcomes: [] as string[] }),
      },
      {
        Calling: (s) =>
          s.each(callee, {
            inputs: ({ way }) =>
              isWay ? (way.length === 0 ? [] : [next(way)]) : way.map((flow) => next([flow])),
            ok: ({ outcomes }, { did }) =>
              s.raise(isRace ? "First" : "One", { outcomes: [...outcomes, did] }),
            failed: ({ outcomes }, failure) => {
              const why = failure.kind === "timeout" ? "timeout" : failure.code;
              const raise = why === "WW_BUSY" || why === "WW_REPLACED" ? "One" : "Failed";
              return s.raise(raise, { outcomes: [...outcomes, why] });
            },
            done: "All",
            ...(random.chance(0.3) ? { on: { go: "First" as const } } : {}),
            ...limit,
            ...drain,
          }),
        Done: ({ flow, outcomes }) => ({ did: flow, outcomes: [...outcomes] }),
        Failed: ({ outcomes }, s) => s.fail("failed", outcomes.join(" ")),
      },
    ) as unknown as Callee;
  };
  const last = random.pick(leaves);
  // Its lane is that of the leaves: a way that comes back to a flow shares its place.
  const inner = caller("inner", "one", last, true);
  const plain = caller("plain", undefined, inner, true);
  const middle = caller("middle", "two", plain, true);
  const outer = caller("outer", "one", middle, true);
  const fan = caller("fan", random.pick([undefined, "one", "two"]), random.pick(leaves), false);
  return [outer, fan, ...leaves, middle, plain, inner];
};

/** Hubs that call hubs in lanes of other shards, to and fro. */
export const calls = (name: string, scaleMs: number): SimulatedSystem => ({
  name,
  scaleMs,
  open: ({ random: outside }): OpenedSystem => {
    const work = workOf(scaleMs);
    const hubs = hubsOf(outside, work, scaleMs);
    return {
      hubs,
      workers: () => [worker(work, () => ({}))],
      request: (random) => {
        const flows = Array.from({ length: random.int(5) }, () => random.pick(["a", "b", "c"]));
        return {
          hub: random.chance(0.2) ? random.pick(hubs) : random.pick(hubs.slice(0, 2)),
          request: { flow: random.pick(["a", "b"]), way: flows },
        };
      },
      signal: () => ({ name: "go", payload: {} }),
    };
  },
});
