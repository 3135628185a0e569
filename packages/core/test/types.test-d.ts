// Mistakes that must not compile: `tsc -b` checks that each line after `@ts-expect-error` is one.
import { end, hub, spoke, stay, type Answer, type In, type Out } from "@wheelwork/core";
import type { Engine } from "@wheelwork/engine";
import { worker } from "@wheelwork/engine";
import { type } from "arktype";
import * as v from "valibot";
import { z } from "zod";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(..._proof: Equal<A, B> extends true ? [] : [never]): void => {};

const install = spoke("install", {
  input: z.object({ rule: z.string() }),
  output: z.object({ installed: z.number() }),
  errors: ["table-full", "refused"],
  timeoutMs: 100,
  retry: { attempts: 2, giveUpOn: ["table-full", "WW_INVALID_OUTPUT"] },
});
const chart = {
  A: { Installed: stay, Next: "B", TimeoutRaised: "C" },
  B: { Go: "C" },
  C: end,
} as const;
const spec = {
  request: z.object({ id: z.string() }),
  reply: z.object({ ok: z.boolean() }),
  errors: ["gone"],
  deadlineMs: 500,
  chart,
  data: (request: { id: string }) => ({ id: request.id, count: 0, list: [] as string[] }),
} as const;

// What is right compiles.
export const right = hub("right", spec, {
  A: (s) =>
    s.each(install, {
      inputs: ({ id, list }) => (list.length > 3 ? null : [{ rule: id }]),
      ok: ({ count }, output, call) => {
        same<typeof output, { readonly installed: number }>();
        same<typeof call.input, { readonly rule: string }>();
        return s.raise("Installed", { count: count + output.installed });
      },
      failed: (_data, failure) => {
        if (failure.kind === "error" && failure.code === "table-full") return "Next";
        return s.raise("TimeoutRaised");
      },
      done: "Next",
      deadline: "TimeoutRaised",
    }),
  B: "Go",
  C: ({ count }, s) => (count > 1 ? { ok: true } : s.fail("gone", "it is gone")),
});

// 1. A target that is no state.
hub(
  "m1",
  // @ts-expect-error Nowhere is no state
  { ...spec, chart: { A: { Next: "Nowhere" }, C: end } },
  { A: "Next", C: () => ({ ok: true }) },
);

// 2. An event outside the row.
hub("m2", spec, {
  // @ts-expect-error Go is an event of B
  A: "Go",
  B: "Go",
  C: () => ({ ok: true }),
});
hub("m2b", spec, {
  A: (s) =>
    s.each(install, {
      inputs: () => [],
      // @ts-expect-error Go is an event of B
      ok: () => s.raise("Go"),
      failed: "Next",
      done: "Next",
      deadline: "TimeoutRaised",
    }),
  B: "Go",
  C: () => ({ ok: true }),
});

// 3. An outcome that is not handled.
hub("m3", spec, {
  A: (s) =>
    // @ts-expect-error neither failed nor error and timeout
    s.each(install, { inputs: () => [], ok: "Installed", done: "Next", deadline: "TimeoutRaised" }),
  B: "Go",
  C: () => ({ ok: true }),
});
hub("m3b", spec, {
  A: (s) =>
    // @ts-expect-error timeout is missing
    s.each(install, {
      inputs: () => [],
      ok: "Installed",
      error: "Next",
      done: "Next",
      deadline: "TimeoutRaised",
    }),
  B: "Go",
  C: () => ({ ok: true }),
});

// 4. A timer with an event that its state does not have.
hub("m4", spec, {
  A: (s) =>
    s.each(install, {
      inputs: () => [],
      settled: "Installed",
      done: "Next",
      deadline: "TimeoutRaised",
      // @ts-expect-error no such event
      after: { Tired: 5 },
    }),
  B: "Go",
  C: () => ({ ok: true }),
});

// 5. A wrong input for a spoke.
hub("m5", spec, {
  A: (s) =>
    s.each(install, {
      // @ts-expect-error rule is a text
      inputs: ({ count }) => [{ rule: count }],
      settled: "Installed",
      done: "Next",
      deadline: "TimeoutRaised",
    }),
  B: "Go",
  C: () => ({ ok: true }),
});

// 6. A misspelt field of a patch.
hub("m6", spec, {
  A: (s) =>
    s.each(install, {
      inputs: () => [],
      // @ts-expect-error it is called count
      settled: ({ count }) => s.raise("Installed", { cuont: count + 1 }),
      done: "Next",
      deadline: "TimeoutRaised",
    }),
  B: "Go",
  C: () => ({ ok: true }),
});

// 7. A wrong reply.
hub("m7", spec, {
  A: "Next",
  B: "Go",
  // @ts-expect-error ok is a boolean
  C: () => ({ ok: "yes" }),
});

// 8. An error code that the hub does not declare.
hub("m8", spec, {
  A: "Next",
  B: "Go",
  // @ts-expect-error only gone is declared
  C: (_data, s) => s.fail("lost", "x"),
});

// 9. A transition out of an end.
hub("m9", spec, {
  A: "Next",
  B: "Go",
  // @ts-expect-error an end replies; it raises nothing
  C: "Go",
});

// 10. A state without a behaviour.
hub(
  "m10",
  spec,
  // @ts-expect-error B is missing
  { A: "Next", C: () => ({ ok: true }) },
);

// 11. A behaviour without a state.
hub("m11", spec, {
  A: "Next",
  B: "Go",
  C: () => ({ ok: true }),
  // @ts-expect-error D is no state
  D: "Go",
});

// 12. An event that stays where the run must move.
hub("m12", spec, {
  A: (s) =>
    s.each(install, {
      inputs: () => [],
      settled: "Installed",
      // @ts-expect-error Installed stays
      done: "Installed",
      deadline: "TimeoutRaised",
    }),
  B: "Go",
  C: () => ({ ok: true }),
});
hub("m12b", spec, {
  // @ts-expect-error Installed stays
  A: "Installed",
  B: "Go",
  C: () => ({ ok: true }),
});
hub("m12c", spec, {
  A: (s) =>
    s.each(install, {
      inputs: () => [],
      settled: "Installed",
      done: "Next",
      // @ts-expect-error Installed stays
      deadline: "Installed",
    }),
  B: "Go",
  C: () => ({ ok: true }),
});

// 13. Mutation of data.
hub("m13", spec, {
  A: (s) =>
    s.pick((data) => {
      // @ts-expect-error data is read-only
      data.count = 1;
      // @ts-expect-error to its depth
      data.list.push("x");
      return "Next";
    }),
  B: "Go",
  C: (data) => {
    // @ts-expect-error in ends, too
    data.count++;
    return { ok: true };
  },
});

// 14. A wrong use of an output.
hub("m14", spec, {
  A: (s) =>
    s.each(install, {
      inputs: () => [],
      // @ts-expect-error installed is a number
      ok: ({ list }, { installed }) => s.raise("Installed", { list: [...list, installed] }),
      failed: "Next",
      done: "Next",
      deadline: "TimeoutRaised",
    }),
  B: "Go",
  C: () => ({ ok: true }),
});

// 15. A comparison with an error code that the spoke does not declare.
hub("m15", spec, {
  A: (s) =>
    s.each(install, {
      inputs: () => [],
      ok: "Installed",
      failed: (_data, failure) => {
        // @ts-expect-error it is called table-full
        if (failure.kind === "error" && failure.code === "table-empty") return "Next";
        return "TimeoutRaised";
      },
      done: "Next",
      deadline: "TimeoutRaised",
    }),
  B: "Go",
  C: () => ({ ok: true }),
});

// 16. A cancel event that no state has.
hub(
  "m16",
  // @ts-expect-error no state has Stop
  { ...spec, cancel: "Stop" },
  { A: "Next", B: "Go", C: () => ({ ok: true }) },
);
hub("m16b", { ...spec, cancel: "Go" }, { A: "Next", B: "Go", C: () => ({ ok: true }) });

// Functions that have the types of their parameters themselves are right, too.
const stopped = ({ list }: { readonly list: readonly string[] }) => ({ list: [...list, "stopped"] });
const counting = ({ count }: { readonly count: number }) => ({ count });
hub(
  "named",
  { ...spec, cancel: { raise: "Go", patch: stopped }, view: counting },
  { A: "Next", B: "Go", C: () => ({ ok: true }) },
);
hub(
  "named-and-written",
  {
    request: spec.request,
    reply: spec.reply,
    deadlineMs: 1,
    chart: { A: { Go: "C" }, C: end },
    cancel: { raise: "Go", patch: stopped },
    view: counting,
    data: ({ id }) => ({ id, count: 0, list: [] as string[] }),
  },
  { A: "Go", C: ({ count }) => ({ ok: count > 0 }) },
);

// 17. An error after which no attempt helps that the spoke does not declare.
spoke("m17", {
  input: z.string(),
  output: z.string(),
  errors: ["full"],
  timeoutMs: 1,
  // @ts-expect-error it is called full
  retry: { giveUpOn: ["empty"] },
});

// 18. A spoke without a timeout.
// @ts-expect-error timeoutMs is missing
spoke("m18", { input: z.string(), output: z.string() });

// 19. A signal that the hub does not declare.
hub(
  "m19",
  { ...spec, signals: { go: z.object({ by: z.string() }) } },
  {
    A: (s) =>
      s.wait({
        on: {
          go: (_data, { by }) => s.raise("Next", { list: [by] }),
          // @ts-expect-error there is no signal stop
          stop: "Next",
        },
        deadline: "TimeoutRaised",
      }),
    B: "Go",
    C: () => ({ ok: true }),
  },
);

// 20. A worker that gives, takes or fails with something else.
worker(install, ({ rule }, ctx) => {
  same<typeof rule, string>();
  // @ts-expect-error not declared
  if (rule === "") ctx.fail("unknown", "x");
  return { installed: 1 };
});
// @ts-expect-error installed is a number
worker(install, () => ({ installed: "one" }));

// Any Standard Schema infers: zod, valibot, arktype, also where it transforms.
const zodSpoke = spoke("zod", {
  input: z.object({ at: z.string().transform((text) => text.length), also: z.number().default(1) }),
  output: z.object({ n: z.string().transform(Number) }),
  timeoutMs: 1,
});
worker(zodSpoke, (input) => {
  same<typeof input, { at: number; also: number }>();
  return { n: "1" };
});
const valibotSpoke = spoke("valibot", {
  input: v.object({ tags: v.array(v.string()), note: v.optional(v.string(), "none") }),
  output: v.pipe(v.string(), v.transform(Number)),
  timeoutMs: 1,
});
worker(valibotSpoke, ({ tags, note }) => {
  same<typeof tags, string[]>();
  same<typeof note, string>();
  return "1";
});
const arktypeSpoke = spoke("arktype", {
  input: type({ name: "string", "age?": "number" }),
  output: type({ kind: "'a' | 'b'" }),
  timeoutMs: 1,
});
worker(arktypeSpoke, ({ name }) => {
  same<typeof name, string>();
  return { kind: "a" as const };
});
// @ts-expect-error c is no kind
worker(arktypeSpoke, () => ({ kind: "c" }));

const request = v.object({ names: v.array(v.string()) });
const reply = type({ total: "number" });
export const mixed = hub(
  "mixed",
  {
    request,
    reply,
    deadlineMs: ({ names }) => {
      same<typeof names, string[]>();
      return names.length;
    },
    chart: { Call: { Ok: "More", Bad: "Done" }, More: { Ok: stay, Next: "Done" }, Done: end },
    data: ({ names }) => ({ names, total: 0 }),
  },
  {
    Call: (s) =>
      s.call(zodSpoke, {
        input: ({ names }) => ({ at: names[0] ?? "" }),
        ok: ({ total }, { n }) => {
          same<typeof n, number>();
          return s.raise("Ok", { total: total + n });
        },
        failed: (_data, failure) => {
          // A spoke that declares no error fails with the engine's only.
          // @ts-expect-error not declared
          if (failure.kind === "error" && failure.code === "full") return "Ok";
          return "Bad";
        },
        deadline: "Bad",
      }),
    More: (s) =>
      s.each(valibotSpoke, {
        inputs: ({ names }) => [{ tags: [...names] }],
        settled: ({ total }, outcome) =>
          s.raise("Ok", { total: total + (outcome.kind === "ok" ? outcome.output : 0) }),
        done: ({ total }) => {
          same<typeof total, number>();
          return "Next";
        },
        after: { Next: 10 },
      }),
    Done: ({ total }) => ({ total }),
  },
);

same<In<typeof request>, { names: string[] }>();
same<Out<typeof reply>, { total: number }>();

/** The engine's types follow those of the hub. */
export async function callers(engine: Engine): Promise<void> {
  const answer = await engine.call(mixed, { names: ["a"] });
  same<typeof answer, Answer<{ total: number }, never>>();
  if (answer.kind === "result") same<typeof answer.value.total, number>();
  const other = await engine.call(right, { id: "x" });
  // @ts-expect-error right declares gone
  if (other.kind === "error" && other.code === "lost") return;
  if (other.kind === "error")
    same<typeof other.code, "gone" | "WW_CANCELLED" | "WW_INCIDENT" | "WW_BUSY" | "WW_REPLACED">();
  // @ts-expect-error names are texts
  await engine.submit(mixed, { names: [1] });
}

// Labels are made of what the schema makes of a request, and are texts.
const ends = { chart: { Done: end }, data: () => ({}) } as const;
const asked = { request: z.object({ id: z.string() }), reply: z.object({}), deadlineMs: 1, ...ends } as const;
hub("labelled", { ...asked, labels: ({ id }) => ({ id, none: undefined }) }, { Done: () => ({}) });
// @ts-expect-error A number is no label.
hub("labelled", { ...asked, labels: () => ({ id: 7 }) }, { Done: () => ({}) });
// @ts-expect-error The request has no such field.
hub("labelled", { ...asked, labels: ({ tenant }) => ({ tenant }) }, { Done: () => ({}) });
