// The hubs and spokes of the stores that earlier versions have written (former.test.ts), as they are written today.
import { end, hub, hubByHandlers, spoke, stay, type AnyHub } from "@wheelwork/core";
import { z } from "zod";

export const hour = 3_600_000;
const none = z.object({});
const days = 40 * 24 * hour;

/** Work at a place. The worker of the writer hangs where the name of the place says so. */
const work = z.object({ run: z.string(), what: z.string() });
export const lay = spoke("lay", {
  input: work,
  output: z.object({ laid: z.string() }),
  errors: ["busy", "refused"],
  timeoutMs: 100 * hour,
  retry: { attempts: 3, backoffMs: hour, maxBackoffMs: hour, jitter: 0, giveUpOn: ["refused"] },
});
export const remove = spoke("remove", { input: work, output: none, timeoutMs: 10 * hour });
export const note = spoke("note", { input: work, output: none, timeoutMs: 10 * hour });

/** What the writer's worker is to do with a piece of work. */
export const fate = (what: string): "busy" | "refused" | "hangs" | "done" =>
  what.startsWith("busy")
    ? "busy"
    : what.startsWith("bad")
      ? "refused"
      : what.startsWith("hang")
        ? "hangs"
        : "done";

/** A round: it may be in the middle of its work, or of its clean-up. */
const laying = hub(
  "laying",
  {
    request: z.object({ run: z.string(), rules: z.array(z.string()) }),
    reply: z.object({ laid: z.array(z.string()) }),
    errors: ["not-laid"],
    deadlineMs: days,
    chart: {
      Laying: { Laid: stay, NotLaid: "Removing", AllLaid: "Up", TimeRanOut: "Removing" },
      Removing: { Removed: stay, AllRemoved: "Down", TookTooLong: "Down" },
      Up: end,
      Down: end,
    },
    data: (request) => ({ ...request, laid: [] as string[], why: "" }),
  },
  {
    Laying: (s) =>
      s.each(lay, {
        inputs: ({ run, rules }) => rules.map((what) => ({ run, what })),
        limit: 4,
        ok: ({ laid }, { laid: one }) => s.raise("Laid", { laid: [...laid, one] }),
        failed: (_data, failure) =>
          s.raise("NotLaid", { why: failure.kind === "error" ? failure.message : failure.kind }),
        done: "AllLaid",
        deadline: "TimeRanOut",
      }),
    Removing: (s) =>
      s.each(remove, {
        inputs: ({ run, laid }) => laid.map((what) => ({ run, what: `hang ${what}` })),
        settled: "Removed",
        done: "AllRemoved",
        after: { TookTooLong: 20 * hour },
      }),
    Up: ({ laid }) => ({ laid: [...laid].toSorted() }),
    Down: ({ why }, s) => s.fail("not-laid", why),
  },
);

/** Two signals, one after the other. `later` may come before its time, and is kept. */
const asking = hub(
  "asking",
  {
    request: z.object({ run: z.string() }),
    reply: z.object({ heard: z.array(z.string()) }),
    deadlineMs: days,
    signals: { go: z.object({ text: z.string() }), later: z.object({ text: z.string() }) },
    cancel: "TimeRanOut",
    chart: {
      First: { Went: "Second", TimeRanOut: "Over" },
      Second: { Heard: "Over", TimeRanOut: "Over" },
      Over: end,
    },
    data: () => ({ heard: [] as string[] }),
  },
  {
    First: (s) =>
      s.wait({
        on: { go: ({ heard }, { text }) => s.raise("Went", { heard: [...heard, text] }) },
        deadline: "TimeRanOut",
      }),
    Second: (s) =>
      s.wait({
        on: { later: ({ heard }, { text }) => s.raise("Heard", { heard: [...heard, text] }) },
        deadline: "TimeRanOut",
      }),
    Over: ({ heard }) => ({ heard: [...heard] }),
  },
);

/** Two timers, one after the other: after 2 h, and after 3 h more. */
const timing = hub(
  "timing",
  {
    request: z.object({ run: z.string() }),
    reply: z.object({ said: z.array(z.string()) }),
    deadlineMs: days,
    signals: { never: none },
    chart: {
      First: { NoAnswer: "Second", Came: "Over" },
      Second: { TooLate: "Over", Came: "Over" },
      Over: end,
    },
    data: () => ({ said: [] as string[] }),
  },
  {
    First: (s) =>
      s.wait({
        on: { never: "Came" },
        deadline: { raise: "NoAnswer", patch: ({ said }) => ({ said: [...said, "no answer"] }) },
        after: { NoAnswer: { ms: 2 * hour, patch: ({ said }) => ({ said: [...said, "no answer"] }) } },
      }),
    Second: (s) =>
      s.wait({
        on: { never: "Came" },
        after: { TooLate: { ms: 3 * hour, patch: ({ said }) => ({ said: [...said, "too late"] }) } },
      }),
    Over: ({ said }) => ({ said: [...said] }),
  },
);

/** A mistake in a hub parks its run. Today it is corrected. */
const parking = (broken: boolean): AnyHub =>
  hub(
    "parking",
    {
      request: z.object({ run: z.string(), n: z.number() }),
      reply: z.number(),
      errors: ["odd"],
      deadlineMs: days,
      chart: { Deciding: { Even: "Even", Odd: "Odd" }, Even: end, Odd: end },
      data: ({ n }) => ({ n }),
    },
    {
      Deciding: (s) =>
        s.pick(({ n }) => {
          if (broken && n < 0) throw new Error("it is negative");
          return n % 2 === 0 ? "Even" : "Odd";
        }),
      Even: ({ n }) => n,
      Odd: (_data, s) => s.fail("odd", "the number is odd", { hint: "take an even one" }),
    },
  );

/** Its answer is a timeout. */
const short = hub(
  "short",
  {
    request: z.object({ run: z.string() }),
    reply: none,
    deadlineMs: 1,
    chart: { Laying: { Laid: "Over", TimeRanOut: "Over" }, Over: end },
    data: ({ run }) => ({ run }),
  },
  {
    Laying: (s) =>
      s.call(lay, {
        input: ({ run }) => ({ run, what: "hang" }),
        settled: "Laid",
        deadline: "TimeRanOut",
      }),
    Over: () => ({}),
  },
);

/** A sequence, whose second step is under way. */
const fetching = hub(
  "fetching",
  {
    request: z.object({ run: z.string() }),
    reply: z.object({ fetched: z.array(z.string()) }),
    deadlineMs: days,
    chart: { Fetching: { Fetched: "Over", Failed: "Over" }, Over: end },
    data: ({ run }) => ({ run, fetched: [] as string[] }),
  },
  {
    Fetching: (s) => {
      const one = (what: string) =>
        s.step(lay, {
          input: ({ run }) => ({ run, what }),
          ok: ({ fetched }, { laid }) => ({ fetched: [...fetched, laid] }),
        });
      return s.sequence([one("one"), one("hang two"), one("three")], {
        failed: "Failed",
        done: "Fetched",
        deadline: "Failed",
      });
    },
    Over: ({ fetched }) => ({ fetched: [...fetched] }),
  },
);

/** It calls a hub, and tells a spoke something. */
const parent = hub(
  "parent",
  {
    request: z.object({ run: z.string() }),
    reply: z.object({ child: z.array(z.string()) }),
    errors: ["failed"],
    deadlineMs: days,
    chart: {
      Telling: { Told: "Calling" },
      Calling: { Called: "Over", Failed: "Bad" },
      Over: end,
      Bad: end,
    },
    data: ({ run }) => ({ run, child: [] as string[] }),
  },
  {
    Telling: (s) => s.tell(note, { input: ({ run }) => ({ run, what: "hang" }), next: "Told" }),
    Calling: (s) =>
      s.call(fetching, {
        input: ({ run }) => ({ run }),
        ok: (_data, { fetched }) => s.raise("Called", { child: [...fetched] }),
        failed: "Failed",
        deadline: "Failed",
      }),
    Over: ({ child }) => ({ child: [...child] }),
    Bad: (_data, s) => s.fail("failed", "the call has failed"),
  },
);

const handling = hubByHandlers(
  "handling",
  {
    request: z.object({ run: z.string() }),
    reply: z.object({ got: z.array(z.string()) }),
    deadlineMs: days,
    cleanUpMs: hour,
    calls: [lay],
    signals: { enough: none },
    data: ({ run }) => ({ run, got: [] as string[] }),
  },
  {
    request: (s) => {
      for (const what of ["now", "hang on"]) s.call(lay, { run: s.data.run, what }, { tag: what });
    },
    response: (s, call, outcome) => {
      s.patch({ got: [...s.data.got, `${call.tag}: ${outcome.kind}`] });
    },
    signal: (s) => s.reply({ got: [...s.data.got] }),
    timeout: (s) => s.reply({ got: [...s.data.got, "timeout"] }),
  },
);

const movingSpec = {
  request: z.object({ run: z.string() }),
  reply: z.object({ text: z.string() }),
  deadlineMs: days,
  signals: { go: z.object({ text: z.string() }) },
} as const;
/** A hub whose version was 1 then. */
const movingThen = hub(
  "moving",
  {
    ...movingSpec,
    chart: { Waits: { Went: "Over", TimeRanOut: "Over" }, Over: end },
    data: ({ run }) => ({ old: run }),
  },
  {
    Waits: (s) => s.wait({ on: { go: "Went" }, deadline: "TimeRanOut" }),
    Over: ({ old }) => ({ text: old }),
  },
);
const movingNow = hub(
  "moving",
  {
    ...movingSpec,
    version: 2,
    migrate: { 1: ({ data }) => ({ state: "Waiting", data: { text: `was ${String(data["old"])}` } }) },
    chart: { Waiting: { Went: "Over", TimeRanOut: "Over" }, Over: end },
    data: ({ run }) => ({ text: run }),
  },
  {
    Waiting: (s) =>
      s.wait({
        on: { go: ({ text }, given) => s.raise("Went", { text: `${text}, ${given.text}` }) },
        deadline: "TimeRanOut",
      }),
    Over: ({ text }) => ({ text }),
  },
);

/** The hubs that every version has. `then`: with the mistake that parks, and in the versions of then. */
export const oldestHubs = (when: "then" | "now"): readonly AnyHub[] => [
  laying,
  asking,
  timing,
  parking(when === "then"),
  short,
  fetching,
  parent,
  handling,
  when === "then" ? movingThen : movingNow,
];
