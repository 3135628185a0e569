import type { StormApp } from "@wheelwork/storm/parts";
import { end, externalWorker, hub, spoke, worker } from "wheelwork";
import * as z from "zod";
import { behave, double, honest, hostile, snare, vicious } from "../hostile/misbehave.ts";

/** Its topics and its workers' topic. */
export const hostileTopics = { from: "hostile-in", to: "hostile-out", work: "hostile-work" } as const;

/** Misbehaves at the place that its request names, and answers at such a length. */
export const spoken = hub(
  "spoken",
  {
    request: z.object({ length: z.number().default(1), how: z.string().default("nothing") }),
    reply: z.object({ text: z.string(), how: z.string() }),
    deadlineMs: 10_000,
    chart: { Asked: { Next: "Done" }, Done: end },
    data: (request) => request,
  },
  { Asked: "Next", Done: ({ length, how }) => ({ text: "x".repeat(length), how }) },
);

const asked = spoke("asked-elsewhere", {
  input: z.object({ n: z.number() }),
  output: z.object({ n: z.number() }),
  errors: ["declined"],
  timeoutMs: 20_000,
});

/** Asks a worker elsewhere, which lies. */
export const elsewhere = hub(
  "elsewhere",
  {
    request: z.object({ n: z.number() }),
    reply: z.object({ got: z.string() }),
    deadlineMs: 20_000,
    chart: { Asking: { Next: "Done" }, Done: end },
    data: ({ n }) => ({ n, got: "nothing" }),
  },
  {
    Asking: (s) =>
      s.call(asked, {
        input: ({ n }) => ({ n }),
        ok: (_data, { n }) => s.raise("Next", { got: `${n}` }),
        failed: (_data, failure) =>
          s.raise("Next", { got: failure.kind === "error" ? failure.code : failure.kind }),
        deadline: "Next",
      }),
    Done: ({ got }) => ({ got }),
  },
);

/** Whether a channel is to misbehave itself, and not the hub behind it. */
const channelMark = "channel ";

/** What must not harm a topology, beside an honest hub. */
const app: StormApp = {
  hubs: [honest, hostile, spoken, elsewhere],
  workers: [
    worker(double, async ({ n }) => ({ n: 2 * n })),
    worker(vicious, async ({ how }) => {
      if (how === "schema") return { how };
      return how === "nothing" ? null : behave(how);
    }),
    externalWorker(asked, { topic: hostileTopics.work }),
  ],
  observe: async () => snare(),
  channels: [
    {
      name: "hostile",
      from: hostileTopics.from,
      to: hostileTopics.to,
      hub: spoken as never,
      request: ({ value }) => {
        const given = JSON.parse(value) as { how?: string };
        return given.how?.startsWith(channelMark) === true
          ? behave(given.how.slice(channelMark.length))
          : given;
      },
      answer: (answer) => {
        const { how = "nothing" } = answer.kind === "result" ? (answer.value as { how?: string }) : {};
        return how === "nothing"
          ? { value: JSON.stringify(answer) }
          : (behave(how) as { readonly value: string });
      },
    },
  ],
};
export default app;
