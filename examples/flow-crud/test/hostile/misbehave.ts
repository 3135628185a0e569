import { end, hub, spoke, type Schema } from "wheelwork";
import * as z from "zod";

/** Programs that do what they must not, and an honest one beside them, for every engine. */

const numbers = z.object({ n: z.number() });
/** Changes what it is given, as some validators do. */
const changing: Schema<{ n: number; seen?: boolean }> = {
  "~standard": {
    version: 1,
    vendor: "hostile",
    validate: (value) => {
      (value as { seen?: boolean }).seen = true;
      return { value: value as { n: number } };
    },
  },
};
export const double = spoke("double", {
  input: changing,
  output: numbers,
  timeoutMs: 1000,
  retry: { attempts: 50 },
});

export const honest = hub(
  "honest",
  {
    request: numbers,
    reply: numbers,
    deadlineMs: 120_000,
    chart: {
      First: { Next: "Second", Late: "Gone" },
      Second: { Next: "Done", Late: "Gone" },
      Done: end,
      Gone: end,
    },
    data: ({ n }) => ({ n }),
  },
  {
    First: (s) =>
      s.call(double, {
        input: ({ n }) => ({ n }),
        ok: (_data, { n }) => s.raise("Next", { n }),
        failed: "Late",
        deadline: "Late",
      }),
    Second: (s) =>
      s.call(double, {
        input: ({ n }) => ({ n }),
        ok: (_data, { n }) => s.raise("Next", { n }),
        failed: "Late",
        deadline: "Late",
      }),
    Done: ({ n }) => ({ n }),
    Gone: ({ n }) => ({ n: -n }),
  },
);

const cyclic: Record<string, unknown> = {};
cyclic["self"] = cyclic;
let deep: unknown = 1;
for (let depth = 0; depth < 5000; depth++) deep = { deep };
export const snare = (): never => {
  throw new Error("a value that cannot be read");
};

/** What no store takes, or what cannot even be looked at. */
export const values: Readonly<Record<string, () => unknown>> = {
  bigint: () => 1n,
  date: () => new Date(),
  nan: () => Number.NaN,
  cyclic: () => cyclic,
  deep: () => deep,
  toJSON: () => ({ toJSON: snare }),
  getter: () => Object.defineProperty({}, "x", { get: snare, enumerable: true }),
  proxy: () => new Proxy({}, { get: snare, ownKeys: snare, getPrototypeOf: snare }),
  // oxlint-disable-next-line no-thenable -- what is awaited here is such an object
  thenable: () => ({ then: snare }),
  surrogate: () => "\ud800",
  map: () => new Map([["x", 1]]),
  array: () => [1, 2],
  null: () => null,
  symbol: () => Symbol("s"),
};

/** What is thrown where an error is expected. */
export const thrown: Readonly<Record<string, () => unknown>> = {
  undefined: () => undefined,
  text: () => "text",
  message: () => Object.defineProperty(new Error("x"), "message", { get: snare }),
  revoked: () => {
    const { proxy, revoke } = Proxy.revocable(new Error("x"), {});
    revoke();
    return proxy;
  },
};

/** Does what its name says: gives such a value, or throws. */
export function behave(how: string): unknown {
  const [what = "", which = ""] = how.split(" ");
  if (what === "give") return values[which]?.();
  throw thrown[which]?.();
}

const unruly = z
  .any()
  .refine((value) => (String((value as { how?: unknown })?.how) === "schema" ? snare() : true));
export const vicious = spoke("vicious", {
  input: z.object({ how: z.string() }),
  output: unruly,
  timeoutMs: 300,
  retry: { attempts: 2 },
});

/** Misbehaves at the place that its request names: `worker give bigint`, `handler throw text`, and so on. */
export const hostile = hub(
  "hostile",
  {
    request: z.object({ where: z.string(), how: z.string() }),
    reply: z.any(),
    deadlineMs: 1500,
    chart: { Working: { Worked: "Gone", Lost: "Gone" }, Gone: end },
    data: (request): { where: string; how: string; got?: unknown } => request,
    view: ({ how }) => (how.startsWith("give") ? behave(how) : snare()) as null,
  },
  {
    Working: (s) =>
      s.call(vicious, {
        input: ({ where, how }) =>
          where === "input"
            ? (behave(how) as { how: string })
            : { how: where === "worker" ? how : "nothing" },
        ok: ({ where, how }, got) => {
          if (where === "turn") return behave(how) as "Worked";
          if (where === "patch") return s.raise("Worked", behave(how) as object);
          return s.raise("Worked", { got: where === "handler" ? behave(how) : got });
        },
        failed: "Lost",
        deadline: "Lost",
      }),
    Gone: ({ where, how }) => (where === "reply" ? behave(how) : null),
  },
);
