import { end, hub, spoke, stay, WheelworkError } from "@wheelwork/core";
import { createEngine, worker, type Engine } from "@wheelwork/engine";
import { MemoryStore } from "@wheelwork/testing";
import { isDeepStrictEqual } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import * as z from "zod";
import { OneProcessor } from "./virtual-load.ts";

/**
 * An engine on a machine whose processor can do only so much. Time is simulated, so that the figures are the same everywhere: each
 * outcome takes a fifth of a millisecond to be decided.
 */
const [costMs, calls] = [0.2, 100];
/** How many runs the processor can do in a second. */
const capacity = 1000 / (costMs * calls);

interface Load {
  /** As a multiple of what the processor can do. */
  readonly times: number;
  /** How long a worker takes. */
  readonly workMs: number;
  readonly deadlineMs: number;
}

interface Seen {
  /** Runs that have done all of their work. */
  results: number;
  refused: number;
  /** How long each answer took: from the request, and from when it was accepted. */
  readonly answerMs: number[];
  readonly runMs: number[];
  /** How long the slowest refusal took. */
  refusalMs: number;
}

/** How long requests come, in seconds: longer where a worker takes long. */
const secondsOf = ({ workMs }: Load): number => (workMs < 1000 ? 8 : 20);

/** Sends requests at a steady rate, whatever becomes of the others. */
async function openLoop(load: Load): Promise<Seen> {
  const { times, workMs, deadlineMs } = load;
  const seconds = secondsOf(load);
  const clock = new OneProcessor();
  const step = spoke("step", { input: z.number(), output: z.number(), timeoutMs: 60_000 });
  const rounds = hub(
    "rounds",
    {
      request: z.null(),
      reply: z.number(),
      deadlineMs,
      chart: { Working: { Stepped: stay, Done: "Finished", Late: "Finished" }, Finished: end },
      data: () => ({ sum: 0 }),
    },
    {
      Working: (s) =>
        s.each(step, {
          inputs: () => Array.from({ length: calls }, (_, number) => number),
          settled: ({ sum }) => {
            clock.spend(costMs);
            return { raise: "Stepped", patch: { sum: sum + 1 } };
          },
          done: "Done",
          deadline: "Late",
        }),
      Finished: ({ sum }) => sum,
    },
  );
  const engine: Engine = createEngine({
    hubs: [rounds],
    workers: [
      worker(step, (input) => new Promise((resolve) => void clock.after(workMs, () => resolve(input)))),
    ],
    store: new MemoryStore(),
    clock,
    drainMs: 0,
  });
  const seen: Seen = { results: 0, refused: 0, answerMs: [], runMs: [], refusalMs: 0 };
  const ask = async (): Promise<void> => {
    const since = clock.monotonicMs();
    let id: string;
    try {
      ({ id } = await engine.submit(rounds, null, { beginWithinMs: 200 }));
    } catch (error) {
      if (!(error instanceof WheelworkError && error.code === "WW_OVERLOADED")) throw error;
      seen.refused++;
      seen.refusalMs = Math.max(seen.refusalMs, clock.monotonicMs() - since);
      return;
    }
    const begun = clock.monotonicMs();
    if (isDeepStrictEqual(await engine.answer(id), { kind: "result", value: calls })) seen.results++;
    seen.runMs.push(clock.monotonicMs() - begun);
    seen.answerMs.push(clock.monotonicMs() - since);
  };
  await clock.until(engine.start());
  onTestFinished(() => clock.until(engine.stop()));
  const asked: Promise<void>[] = [];
  const everyMs = 1000 / (capacity * times);
  for (let number = 0; number < seconds * capacity * times; number++)
    clock.after(number * everyMs, () => asked.push(ask()));
  await clock.until(new Promise<void>((resolve) => void clock.after(seconds * 1000 + 1, resolve)));
  await clock.until(Promise.all(asked));
  return seen;
}

const percentile = (values: number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.floor(share * values.length)] ?? 0;

test.each<Load>([
  { times: 1.5, workMs: 5, deadlineMs: 500 },
  { times: 3, workMs: 5, deadlineMs: 500 },
  { times: 10, workMs: 5, deadlineMs: 500 },
  { times: 3, workMs: 100, deadlineMs: 600 },
  { times: 3, workMs: 1000, deadlineMs: 10_000 },
])(
  "at $times times the capacity, with work of $workMs ms, nearly all that can be done is done, and in time",
  async (load) => {
    const { results, refused, answerMs, runMs, refusalMs } = await openLoop(load);
    const seconds = secondsOf(load);
    console.log(
      results,
      [0.5, 0.9, 0.99, 1]
        .map((x) =>
          [percentile(runMs, x * 0.9999), percentile(answerMs, x * 0.9999)].map(Math.round).join("/"),
        )
        .join(" "),
      "p50",
    );
    expect(results).toBeGreaterThan(0.8 * seconds * capacity);
    // Whatever is accepted is done.
    expect(results + refused).toBe(Math.round(seconds * capacity * load.times));
    expect(percentile(runMs, 0.99)).toBeLessThan(load.deadlineMs);
    expect(percentile(answerMs, 0.5)).toBeLessThan(500 + 3 * load.workMs);
    expect(refusalMs).toBeLessThan(100);
  },
);
