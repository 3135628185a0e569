import { end, hub, spoke, stay } from "@wheelwork/core";
import { worker, type Channel } from "@wheelwork/engine";
import { runPart } from "@wheelwork/storm/parts";
import * as z from "zod";

const double = spoke("double", {
  input: z.object({ n: z.number() }),
  output: z.object({ doubled: z.number() }),
  errors: ["refused"],
  timeoutMs: 5000,
});

/** Doubles three numbers, or waits until its time is up. */
const job = hub(
  "job",
  {
    request: z.object({ n: z.number(), wait: z.boolean().optional() }),
    reply: z.object({ sum: z.number() }),
    errors: ["failed"],
    signals: { go: z.object({}) },
    deadlineMs: ({ wait }) => (wait === true ? 1000 : 20_000),
    chart: {
      Begun: { Wait: "Waiting", Next: "Working" },
      Waiting: { Go: "Finished", TimeUp: "Failed" },
      Working: { Doubled: stay, Next: "Finished", WorkerError: "Failed", TimeUp: "Failed" },
      Finished: end,
      Failed: end,
    },
    data: (request) => ({ ...request, sum: 0 }),
  },
  {
    Begun: (s) => s.pick(({ wait }) => (wait === true ? "Wait" : "Next")),
    Waiting: (s) => s.wait({ on: { go: () => s.raise("Go") }, deadline: "TimeUp" }),
    Working: (s) =>
      s.each(double, {
        inputs: ({ n }) => [{ n }, { n: n + 1 }, { n: n + 2 }],
        ok: ({ sum }, { doubled }) => s.raise("Doubled", { sum: sum + doubled }),
        failed: "WorkerError",
        done: "Next",
        deadline: "TimeUp",
      }),
    Finished: ({ sum }) => ({ sum }),
    Failed: (_data, s) => s.fail("failed", "its time was up"),
  },
);

const channel: Channel = {
  name: "test",
  from: "requests",
  to: "answers",
  hub: "job",
  request: ({ value }) => JSON.parse(value) as unknown,
  answer: (answer) => ({ value: answer.kind === "result" ? JSON.stringify(answer.value) : answer.kind }),
};

runPart(() => ({
  hubs: [job],
  workers: [worker(double, ({ n }) => ({ doubled: n * 2 }))],
  channels: [channel],
}));
