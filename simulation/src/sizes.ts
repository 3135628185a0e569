import { end, hub, spoke } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import type { SeededRandom, SimulatedSystem } from "@wheelwork/testing";
import * as z from "zod";

/** How long texts are, in characters: most are short, and some fill a batch by themselves. */
const lengths = [10, 10, 10, 10, 1_000, 100_000, 300_000, 700_000, 1_200_000];

const text = z.object({ text: z.string() });

/** Gives back a text, or another one that is as long. */
const echo = spoke("echo", {
  input: text,
  output: text,
  timeoutMs: 400,
  retry: { attempts: 3, backoffMs: 20 },
});

const carry = hub(
  "carry",
  {
    request: text,
    reply: text,
    errors: ["not-carried"],
    deadlineMs: 4_000,
    chart: {
      Going: { Came: "Returning", Failed: "Failed" },
      Returning: { Came: "Done", Failed: "Failed" },
      Done: end,
      Failed: end,
    },
    data: ({ text }) => ({ text }),
  },
  {
    Going: (s) =>
      s.call(echo, {
        input: ({ text }) => ({ text }),
        ok: (_data, { text }) => s.raise("Came", { text }),
        failed: "Failed",
        deadline: "Failed",
      }),
    // What comes back short goes on as it is.
    Returning: (s) =>
      s.call(echo, {
        input: ({ text }) => ({ text: text.slice(0, 20) }),
        ok: "Came",
        failed: "Failed",
        deadline: "Failed",
      }),
    Done: ({ text }) => ({ text }),
    Failed: (_data, s) => s.fail("not-carried", "the text did not come back"),
  },
);

const drawText = (random: SeededRandom): string => {
  const length = random.chance(0.03) ? 3_000_000 : random.pick(lengths);
  return `${random.int(2 ** 31)} `.repeat(Math.ceil(length / 8)).slice(0, length);
};

/** Requests, inputs, outputs, data and answers of up to 3 MB, beside small ones. */
export const sizes: SimulatedSystem = {
  name: "sizes",
  scaleMs: 100,
  maxBatchBytes: 2 * 1024 * 1024,
  open: () => ({
    hubs: [carry],
    workers: () => [worker(echo, ({ text }) => ({ text }))],
    request: (random) => ({ hub: carry, request: { text: drawText(random) } }),
    check: (requests) =>
      requests.flatMap(({ key, request, answer }) =>
        answer.kind === "result" &&
        (answer.value as { readonly text: string }).text !== (request as { readonly text: string }).text
          ? [`${key} brings another text back`]
          : [],
      ),
  }),
};
