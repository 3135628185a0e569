import { end, hub, spoke, stay, type RunEvent } from "@wheelwork/core";
import { apply, Run } from "@wheelwork/core/kernel";
import { array, assert, dictionary, integer, jsonValue, oneof, property, record, string } from "fast-check";
import { expect, test } from "vitest";
import { z } from "zod";
import { growth, grown } from "../src/growth.ts";
import { plainPatch } from "../src/plain.ts";
import { Player } from "./player.ts";

const value = oneof(integer(), string(), jsonValue());
const key = oneof(string(), integer({ min: 0, max: 99 }).map(String));
const list = array(value, { maxLength: 40, size: "max" });
const map = dictionary(key, value, { maxKeys: 40, size: "max" });

/** What a handler makes of a value of the data, as handlers do: it spreads the old one, or makes another. */
const changes = record({ list, map, place: integer({ min: 0, max: 50 }), kind: integer({ min: 0, max: 5 }) });
type Change = Parameters<typeof changed>[1];

function changed(
  before: unknown,
  {
    list: items,
    map: fields,
    place,
    kind,
  }: { list: unknown[]; map: Record<string, unknown>; place: number; kind: number },
): unknown {
  if (Array.isArray(before)) {
    const old = before as unknown[];
    return [
      [...old, ...items],
      old.slice(place),
      old.toSpliced(place, 1, items),
      [...items, ...old],
      old,
      fields,
    ][kind];
  }
  const old = before as Record<string, unknown>;
  const without = Object.fromEntries(Object.entries(old).toSpliced(place, 1));
  return [{ ...old, ...fields }, without, { ...old, ...without }, { ...fields, ...old }, old, items][kind];
}

test("a value with its growth is the later value, to the order of its fields", () => {
  let times = 0;
  assert(
    property(oneof(list, map), changes, (given, change: Change) => {
      const { field: before } = plainPatch({ field: given }, {}, "it") as { field: unknown };
      const { field: after } = plainPatch({ field: changed(before, change) }, { field: before }, "it") as {
        field: unknown;
      };
      expect(JSON.stringify(after)).toBe(JSON.stringify(changed(before, change)));
      const added = growth(before, after);
      if (added === undefined) return;
      times++;
      expect(JSON.stringify(grown(before, added))).toBe(JSON.stringify(after));
    }),
    { numRuns: 3000 },
  );
  expect(times).toBeGreaterThan(100);
});

const step = spoke("step", {
  input: z.object({ n: z.number() }),
  output: z.object({ row: z.object({ n: z.number() }) }),
  timeoutMs: 1000,
});
const collect = hub(
  "collect",
  {
    request: z.object({ count: z.number() }),
    reply: z.object({ rows: z.number(), last: z.unknown(), byName: z.number() }),
    deadlineMs: 10_000,
    data: (request) => ({
      ...request,
      rows: [] as { n: number }[],
      byName: {} as Record<string, { n: number }>,
    }),
    chart: { Work: { One: stay, All: "Done" }, Done: end },
  },
  {
    Work: (s) =>
      s.each(step, {
        inputs: ({ count }) => Array.from({ length: count }, (_, n) => ({ n })),
        limit: 1,
        ok: ({ rows, byName }, { row }) =>
          s.raise("One", { rows: [...rows, row], byName: { ...byName, [`n${row.n}`]: row } }),
        failed: "One",
        done: "All",
        deadline: "All",
      }),
    Done: ({ rows, byName }) => ({
      rows: rows.length,
      last: rows.at(-1),
      byName: Object.keys(byName).length,
    }),
  },
);

test("a run that collects writes each row once, and its history gives the same data", () => {
  const player = new Player(collect, { count: 100 });
  for (let n = 0; n < 100; n++) player.outcome(n, { ok: { row: { n } } });
  expect(player.run.answer).toEqual({ kind: "result", value: { rows: 100, last: { n: 99 }, byName: 100 } });
  const events: readonly RunEvent[] = player.events;
  const bytes = JSON.stringify(events).length;
  // Whole lists and maps would take more than 100,000.
  expect(bytes).toBeLessThan(30_000);
  const again = new Run(player.run.key);
  for (const event of JSON.parse(JSON.stringify(events)) as RunEvent[]) apply(again, event);
  expect(JSON.stringify(again.data)).toBe(JSON.stringify(player.run.data));
});
