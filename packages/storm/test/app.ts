import { end, hub, spoke, stay } from "@wheelwork/core";
import { externalWorker, worker } from "@wheelwork/engine";
import type { Channel } from "@wheelwork/engine/cluster";
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

// What a library throws where nobody catches it, whenever a test wants it.
process.on("SIGUSR2", () => {
  throw new Error("thrown where nobody catches it");
});

// How much its heap holds, without garbage.
process.on("SIGHUP", () => {
  globalThis.gc?.();
  process.stderr.write(`heap: ${process.memoryUsage().heapUsed}\n`);
});

let thrown = 0;
/** Its first attempt for 666 throws from a timer, and never ends. */
const doubling = worker(double, (input) => {
  if (!Object.isFrozen(input)) throw new Error("the input can be changed here, and not where a hub is");
  const { n } = input;
  if (n !== 666 || thrown++ > 0) return { doubled: n * 2 };
  setTimeout(() => {
    throw new Error("thrown by a timer");
  }, 1);
  return new Promise<never>(() => {});
});

const halve = spoke("halve", {
  input: z.object({ n: z.number() }),
  output: z.object({ halved: z.number() }),
  timeoutMs: 5000,
});

/** Its worker is elsewhere. */
const halving = hub(
  "halving",
  {
    request: z.object({ half: z.number() }),
    reply: z.object({ sum: z.number() }),
    errors: ["failed"],
    deadlineMs: 20_000,
    chart: { Working: { Next: "Finished", Failed: "Lost" }, Finished: end, Lost: end },
    data: ({ half }) => ({ n: half, sum: 0 }),
  },
  {
    Working: (s) =>
      s.call(halve, {
        input: ({ n }) => ({ n }),
        ok: (_data, { halved }) => s.raise("Next", { sum: halved }),
        failed: "Failed",
        deadline: "Failed",
      }),
    Finished: ({ sum }) => ({ sum }),
    Lost: (_data, s) => s.fail("failed", "no answer"),
  },
);

/** Starts a job that waits, and sends it the signal that ends it. */
const posting = hub(
  "posting",
  {
    request: z.object({ job: z.string() }),
    reply: z.object({ sum: z.number() }),
    deadlineMs: 20_000,
    chart: { Starting: { Started: "Sending" }, Sending: { Sent: "Done" }, Done: end },
    data: (request) => request,
  },
  {
    Starting: (s) =>
      s.start(job, { input: () => ({ n: 1, wait: true }), key: (data) => data.job, next: "Started" }),
    Sending: (s) =>
      s.signalRun(job, { id: (data) => data.job, signal: "go", payload: () => ({}), next: "Sent" }),
    Done: () => ({ sum: -1 }),
  },
);

runPart(({ app }) => ({
  ...(app as { readonly retentionMs?: number }),
  hubs: [job, halving, posting],
  workers: [doubling, externalWorker(halve, { topic: "halve" })],
  channels: [
    channel,
    { ...channel, name: "halves", from: "halves", hub: "halving" },
    { ...channel, name: "postings", from: "postings", hub: "posting" },
  ],
}));
