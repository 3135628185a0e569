import { end, hub, spoke, type Schema } from "@wheelwork/core";
import * as fc from "fast-check";
import { isDeepStrictEqual } from "node:util";
import { expect, test } from "vitest";
import { z } from "zod";
import { Player } from "./player.ts";

/*
 * An input is copied as its schema has made it. If the schema does not accept what it has made, that is noted with the call: the
 * stored input is never checked again.
 */

/** Makes `made` of any input. It refuses what it is asked about after that, and counts these questions. */
function making(made: unknown): { readonly schema: Schema; readonly again: () => number } {
  let checks = 0;
  const validate = (): ReturnType<Schema["~standard"]["validate"]> =>
    checks++ === 0 ? { value: made } : { issues: [{ message: "was made by this schema" }] };
  return { schema: { "~standard": { version: 1, vendor: "test", validate } }, again: () => checks - 1 };
}

function opened(schema: Schema, given: unknown) {
  const step = spoke("step", { input: schema, output: z.object({}), timeoutMs: 50 });
  const caller = hub(
    "caller",
    {
      request: z.object({}),
      reply: z.object({}),
      deadlineMs: 1000,
      data: () => ({}),
      chart: { Working: { Done: "Up", Late: "Up" }, Up: end },
    },
    {
      Working: (s) =>
        s.call(step, { input: () => given as never, settled: "Done", deadline: "Late" } as never),
      Up: () => ({}),
    },
  );
  const { events } = new Player(caller, {});
  const entered = events.find((event) => event.type === "entered");
  const [calls] = (entered?.type === "entered" ? entered.calls : undefined) ?? [];
  if (calls === undefined) throw new Error(`no call was opened: ${JSON.stringify(events)}`);
  return calls;
}

const json = fc.jsonValue({ maxDepth: 4 });

/** A JSON value, and another one that often differs in one place only. */
const pairs = fc.oneof(
  fc.tuple(json, json),
  json.map((value) => [value, structuredClone(value)] as const),
  fc
    .tuple(fc.dictionary(fc.string(), json, { noNullPrototype: true }), fc.string(), json)
    .map(([value, key, more]) => [value, { ...structuredClone(value), [key]: more }] as const),
  fc
    .tuple(fc.dictionary(fc.string(), json, { minKeys: 1, noNullPrototype: true }), fc.string())
    .map(([value, other]) => {
      const [[key, first], ...rest] = Object.entries(value) as [[string, unknown], ...[string, unknown][]];
      return [value, Object.fromEntries([[`${key}${other}`, first], ...rest])] as const;
    }),
  fc.tuple(fc.array(json), json).map(([list, more]) => [list, [...structuredClone(list), more]] as const),
);

test("an input is kept as its schema has made it, and is marked only if the schema has changed it", () => {
  fc.assert(
    fc.property(pairs, fc.boolean(), ([one, other], swaps) => {
      const [given, made] = swaps ? [other, one] : [one, other];
      // A hub that gives null calls nobody.
      fc.pre(given !== null);
      const { schema, again } = making(made);
      const calls = opened(schema, given);
      const kept = JSON.parse(JSON.stringify(made)) as unknown;
      expect(calls.inputs).toStrictEqual([kept]);
      const isSame = isDeepStrictEqual(JSON.parse(JSON.stringify(given)), kept);
      expect(calls.transformed).toBe(isSame ? undefined : true);
      expect(again()).toBe(isSame ? 0 : 1);
    }),
    { numRuns: 1000 },
  );
});

test.each([
  ["a field that is undefined in both", { a: 1, b: undefined }, { a: 1, b: undefined }, false],
  ["a field that is undefined, and was absent", { a: 1 }, { a: 1, b: undefined }, false],
  ["a field that is absent, and was undefined", { a: 1, b: undefined }, { a: 1 }, true],
  ["another field that is undefined", { a: 1, b: undefined }, { a: 1, c: undefined }, true],
  ["an undefined value in place of another", { a: 1 }, { a: undefined }, true],
  ["null in place of undefined", { a: undefined }, { a: null }, true],
  ["a list in place of an object", { 0: 1 }, [1], true],
  ["a copy of what has no prototype", Object.assign(Object.create(null), { a: 1 }), { a: 1 }, true],
])("%s", (_, given, made, isChanged) => {
  const { schema, again } = making(made);
  expect(opened(schema, given).transformed).toBe(isChanged ? true : undefined);
  expect(again()).toBe(isChanged ? 1 : 0);
});
