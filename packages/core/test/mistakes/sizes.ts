// Charts of 8 and, with WHEELWORK_LONG, of 30 states, and mistakes in some of their states.

const isLong = process.env["WHEELWORK_LONG"] !== undefined;
export const sizes: readonly number[] = isLong ? [8, 30] : [8];

/** A hub with so many states and an end. Each waits, calls or tells, and leads to the next one. */
export function hubOf(states: number): string {
  const all = Array.from({ length: states }, (_, n) => n);
  const next = (n: number): string => (n + 1 < states ? `State${n + 1}` : "Done");
  const row = (n: number): string =>
    n % 3 === 2
      ? `      State${n}: { Told${n}: "${next(n)}" },`
      : `      State${n}: { Moved${n}: "${next(n)}", Noted${n}: stay, Failed${n}: "Done", Late: "Done" },`;
  const behaviour = (n: number): string => {
    switch (n % 3) {
      case 0:
        return `    State${n}: (s) =>
      s.call(work, {
        input: ({ count }) => ({ count }),
        ok: ({ log }, { text }) => s.raise("Moved${n}", { log: [...log, text] }),
        failed: (_data, failure) => s.raise("Failed${n}", { log: [failure.kind] }),
        on: { note: ({ count }, { by }) => s.raise("Noted${n}", { count: count + by }) },
      }),`;
      case 1:
        return `    State${n}: (s) =>
      s.wait({
        on: { note: ({ count }, { by }) => s.raise("Noted${n}", { count: count + by }) },
        after: { Moved${n}: { ms: ({ count }) => count, patch: ({ log }) => ({ log: [...log, "${n}"] }) } },
      }),`;
      default:
        return `    State${n}: (s) => s.tell(work, { input: ({ count }) => ({ count }), next: "Told${n}" }),`;
    }
  };
  return `import { end, hub, spoke, stay } from "@wheelwork/core";
import { z } from "zod";

const work = spoke("work", {
  input: z.object({ count: z.number() }),
  output: z.object({ text: z.string() }),
  timeoutMs: 1_000,
});
export const large = hub(
  "large",
  {
    request: z.object({ count: z.number() }),
    reply: z.object({ log: z.array(z.string()) }),
    deadlineMs: 60_000,
    signals: { note: z.object({ by: z.number() }) },
    chart: {
${all.map(row).join("\n")}
      Done: end,
    },
    data: ({ count }) => ({ count, log: [] as string[] }),
    deadline: "Late",
  },
  {
${all.map(behaviour).join("\n")}
    Done: ({ log }) => ({ log: [...log] }),
  },
);
`;
}

/** Mistakes in a state: what is there becomes something else, of which the error must tell the wrong word. */
const mistakesIn = (n: number, last: number) =>
  [
    ["a target", `Moved${n}: "${n === last ? "Done" : `State${n + 1}`}"`, `Moved${n}: "Nowhere"`, "Nowhere"],
    ["an event of s.raise", `s.raise("Noted${n}"`, `s.raise("Notde${n}"`, `Notde${n}`],
    [
      "a field of a patch",
      `"Noted${n}", { count: count + by }`,
      `"Noted${n}", { cuont: count + by }`,
      "cuont",
    ],
    ["the name of a state", `    State${n}: (s)`, `    Staet${n}: (s)`, `Staet${n}`],
    ["a signal", `"Noted${n}", { count: count + by }) }`, `"Noted${n}", { count: count + by.to }) }`, "to"],
  ] as const;

/** States that are no tells: one in the middle, and if somebody has the time, the first and the last one, too. */
export const placesOf = (states: number): number[] =>
  (isLong ? [0, Math.floor(states / 2), states - 1] : [Math.floor(states / 2)]).map((n) =>
    n % 3 === 2 ? n - 1 : n,
  );

export const cases = sizes.flatMap((states) =>
  placesOf(states).flatMap((n) =>
    mistakesIn(n, states - 1).map(([what, from, to, word]) => ({ states, n, what, from, to, word })),
  ),
);

/** The text of a hub with a mistake in one of its states. */
export function mistaken({ states, from, to }: (typeof cases)[number]): string {
  const right = hubOf(states);
  if (right.split(from).length !== 2)
    throw new Error(`a hub of ${states} states does not have this once: ${from}`);
  return right.replace(from, to);
}

/** How long an editor may take to show something, in milliseconds. On a busy machine a second says nothing. */
export const maxHoverMs = isLong ? 1_000 : Number.POSITIVE_INFINITY;
