import { end, hub, spoke, stay } from "@wheelwork/core";
import { worker, type Worker } from "@wheelwork/engine";
import { z } from "zod";

const input = z.object({ n: z.number() });

export const step = spoke("step", {
  input,
  output: z.object({ n: z.number() }),
  errors: ["refused", "busy"],
  timeoutMs: 100,
  retry: { attempts: 3, backoffMs: 20, giveUpOn: ["refused"] },
});

const undo = spoke("undo", { input, output: z.object({}), timeoutMs: 100, retry: { attempts: 2 } });

const note = spoke("note", {
  input: z.object({ text: z.string() }),
  output: z.object({}),
  timeoutMs: 50,
  retry: { attempts: 3, backoffMs: 10 },
});

const reply = z.object({ log: z.array(z.string()) });

/** Numbers of at least 100 are refused; those that end with 7 are busy at first; those of at least 50 and below 100 hang. */
const behaviour = { refused: 100, hangs: 50 };

/** A round of steps, undone when one fails; then it tells, and ends. */
export const rounds = hub(
  "rounds",
  {
    request: z.object({ steps: z.array(z.number()) }),
    reply,
    errors: ["failed"],
    deadlineMs: 1000,
    chart: {
      Preparing: { Next: "Working" },
      Working: {
        Stepped: stay,
        Next: "Telling",
        Failed: "Undoing",
        TimeoutRaised: "Undoing",
        Cancel: "Undoing",
      },
      Telling: { Next: "Finished" },
      Undoing: { Undone: stay, Next: "Failed", TimeoutRaised: "Failed" },
      Finished: end,
      Failed: end,
    },
    labels: ({ steps: [first] }) => ({
      kind: "steps",
      ...(first === undefined ? {} : { first: `${first}` }),
    }),
    data: ({ steps }) => ({ steps, done: [] as number[], why: "" }),
    cancel: { raise: "Cancel", patch: () => ({ why: "cancelled" }) },
  },
  {
    Preparing: "Next",
    Working: (s) =>
      s.each(step, {
        inputs: ({ steps }) => steps.map((n) => ({ n })),
        limit: 3,
        drain: true,
        ok: ({ done }, output) => s.raise("Stepped", { done: [...done, output.n] }),
        failed: (_data, failure) =>
          s.raise("Failed", { why: failure.kind === "timeout" ? "timeout" : failure.code }),
        done: "Next",
        deadline: { raise: "TimeoutRaised", patch: () => ({ why: "deadline" }) },
      }),
    Telling: (s) => s.tell(note, { input: ({ done }) => ({ text: `did ${done.length}` }), next: "Next" }),
    Undoing: (s) =>
      s.each(undo, {
        inputs: ({ done }) => done.map((n) => ({ n })),
        settled: "Undone",
        done: "Next",
        after: { TimeoutRaised: 500 },
      }),
    Finished: ({ done }) => ({ log: done.map(String).toSorted() }),
    Failed: ({ why }, s) => s.fail("failed", why),
  },
);

/** Waits for a signal, then runs two steps one after the other. */
export const approved = hub(
  "approved",
  {
    request: z.object({ n: z.number(), withinMs: z.number() }),
    reply,
    deadlineMs: ({ withinMs }) => withinMs,
    labels: ({ n }) => ({ kind: n % 2 === 0 ? "even" : "odd" }),
    signals: { approve: z.object({ by: z.string() }), note: z.string() },
    cancel: "Cancel",
    chart: {
      Waiting: { Approved: "Stepping", Noted: stay, TimeoutRaised: "Late", Cancel: "Late" },
      Stepping: { Next: "Done", Failed: "Late" },
      Done: end,
      Late: end,
    },
    data: ({ n }) => ({ n, log: [] as string[] }),
  },
  {
    Waiting: (s) =>
      s.wait({
        on: {
          approve: ({ log }, { by }) => s.raise("Approved", { log: [...log, `by ${by}`] }),
          note: ({ log }, text) => s.raise("Noted", { log: [...log, text] }),
        },
        deadline: "TimeoutRaised",
      }),
    Stepping: (s) =>
      s.sequence(
        [
          s.step(step, {
            input: ({ n }) => ({ n }),
            ok: ({ log }, { n }) => ({ log: [...log, `step ${n}`] }),
          }),
          s.step(step, {
            input: ({ n }) => ({ n: n + 1 }),
            ok: ({ log }, { n }) => ({ log: [...log, `step ${n}`] }),
          }),
        ],
        { failed: "Failed", done: "Next", deadline: "Failed" },
      ),
    Done: ({ log }) => ({ log: [...log] }),
    Late: ({ log }) => ({ log: [...log, "late"] }),
  },
);

/** Calls two hubs side by side, and undoes when one fails. */
export const parent = hub(
  "parent",
  {
    request: z.object({ children: z.array(z.array(z.number())) }),
    reply,
    deadlineMs: 2000,
    chart: {
      Calling: { Called: stay, Next: "Done", Failed: "Lost", TimeoutRaised: "Lost" },
      Done: end,
      Lost: end,
    },
    data: ({ children }) => ({ children, log: [] as string[] }),
  },
  {
    Calling: (s) =>
      s.each(rounds, {
        inputs: ({ children }) => children.map((steps) => ({ steps: [...steps] })),
        ok: ({ log }, output, { index }) =>
          s.raise("Called", { log: [...log, `${index}: ${output.log.join("+")}`] }),
        failed: ({ log }, failure, { index }) =>
          s.raise("Failed", {
            log: [
              ...log,
              `${index}: ${failure.kind === "timeout" ? "timeout" : `${failure.code} ${failure.message}`}`,
            ],
          }),
        done: "Next",
        deadline: "TimeoutRaised",
      }),
    Done: ({ log }) => ({ log: [...log].toSorted() }),
    Lost: ({ log }) => ({ log: [...log, "lost"] }),
  },
);

/** What the workers have done, by idempotency key: the world outside. */
export interface Outside {
  readonly steps: Map<string, number>;
  readonly undone: Map<string, number>;
  readonly notes: Map<string, string>;
  attempts: number;
}

export const outside = (): Outside => ({
  steps: new Map(),
  undone: new Map(),
  notes: new Map(),
  attempts: 0,
});

/** Workers that take as many milliseconds as their input says, modulo 10, and one more. */
export const workersOf =
  (world: Outside) =>
  (sleep: (ms: number) => Promise<void>): Worker[] => [
    worker(step, async ({ n }, ctx) => {
      world.attempts++;
      await sleep(1 + (n % 10));
      if (n >= behaviour.refused) ctx.fail("refused", `${n} is too much`);
      if (n >= behaviour.hangs) await sleep(1_000_000);
      if (n % 10 === 7 && ctx.attempt === 1) ctx.fail("busy", "come again");
      world.steps.set(ctx.idempotencyKey, n);
      return { n };
    }),
    worker(undo, async ({ n }, ctx) => {
      await sleep(2);
      world.undone.set(ctx.idempotencyKey, n);
      return {};
    }),
    worker(note, async ({ text }, ctx) => {
      await sleep(3);
      world.notes.set(ctx.idempotencyKey, text);
      return {};
    }),
  ];
