// A hub and its worker without types, as somebody writes them who knows JavaScript only.
import { end, hub, spoke, stay } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { z } from "zod";

const translate = spoke("translate", {
  input: z.object({ word: z.string() }),
  output: z.object({ word: z.string() }),
  errors: ["unknown-word"],
  timeoutMs: 5_000,
});

export const text = hub(
  "text",
  {
    request: z.object({ words: z.array(z.string()) }),
    reply: z.object({ words: z.array(z.string()), unknown: z.number() }),
    deadlineMs: 60_000,
    deadline: "Over",
    cancel: "Over",
    exclusive: { lane: "texts", by: () => "all", slots: 2, whenBusy: "queue" },
    chart: { Translating: { One: stay, All: "Done", Over: "Done" }, Done: end },
    data: ({ words }) => ({ words, done: {}, unknown: 0 }),
    view: ({ done }) => Object.keys(done).length,
  },
  {
    Translating: (s) =>
      s.each(translate, {
        inputs: ({ words }) => words.map((word) => ({ word })),
        limit: 2,
        ok: ({ done }, output, { input }) => s.raise("One", { done: { ...done, [input.word]: output.word } }),
        failed: ({ unknown }) => s.raise("One", { unknown: unknown + 1 }),
        done: "All",
      }),
    Done: ({ words, done, unknown }) => ({
      words: words.filter((word) => done[word]).map((word) => done[word]),
      unknown,
    }),
  },
);

export const workers = [
  worker(translate, async ({ word }, ctx) =>
    word === "Unübersetzbares"
      ? ctx.fail("unknown-word", `nobody knows ${word}`)
      : { word: word.toUpperCase() },
  ),
];
