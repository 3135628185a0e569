import { array, assert, boolean, constantFrom, nat, property, record, uniqueArray } from "fast-check";
import { expect, test } from "vitest";
import { Call, restore, Run, snapshot } from "../src/kernel-api.ts";
import { callsOf } from "../src/run.ts";

/** What a call is, apart from its place in the structures of the engine. */
const seen = ({
  run: _run,
  work: _work,
  previous: _previous,
  following: _following,
  ...call
}: Call): object => call;

const again = (run: Run): Run => restore(run.key, JSON.parse(JSON.stringify(snapshot(run))));

test("calls are read back as they were, whichever of them are written together", () => {
  const maybe = <T>(...values: T[]) => constantFrom<(T | undefined)[]>(undefined, undefined, ...values);
  const state = record({
    attempt: constantFrom(0, 1, 1, 1, 2),
    since: maybe(5, 6),
    due: maybe(50, 60),
    firstDue: maybe(40),
    progress: maybe<unknown>(null, { done: 3 }),
    backoff: constantFrom(false, false, true),
    deaths: constantFrom(0, 0, 2),
    alone: constantFrom(false, false, true),
  });
  const group = record({
    callee: constantFrom("a", "b"),
    count: nat(6),
    tag: maybe("t"),
    isHub: boolean(),
    transformed: boolean(),
    hasKeys: boolean(),
    indexFrom: constantFrom(0, 7),
    states: array(state, { minLength: 1, maxLength: 6 }),
    gone: uniqueArray(nat(5), { maxLength: 2 }),
  });
  assert(
    property(array(group, { maxLength: 6 }), (groups) => {
      const run = new Run("k");
      let first = 0;
      for (const { callee, count, tag, isHub, transformed, hasKeys, indexFrom, states, gone } of groups) {
        const inputs = Array.from({ length: count }, (_, n) => ({ n }));
        const opened = {
          callee,
          first,
          index: indexFrom,
          inputs,
          ...(tag === undefined ? {} : { tag }),
          ...(isHub ? { hub: true as const } : {}),
          ...(transformed ? { transformed: true as const } : {}),
          ...(hasKeys ? { keys: inputs.map(({ n }) => `key ${n}`) } : {}),
        };
        for (let position = 0; position < count; position++) {
          if (gone.includes(position)) continue;
          const call = Object.assign(new Call(run, opened, position), states[position % states.length]);
          callsOf(run).set(call.number, call);
        }
        first += count;
      }
      const restored = again(run);
      expect([...restored.calls.keys()]).toEqual([...run.calls.keys()]);
      expect(Array.from(restored.calls.values(), seen)).toEqual(Array.from(run.calls.values(), seen));
      expect(snapshot(restored)).toEqual(snapshot(run));
    }),
    { numRuns: 400 },
  );
});

test("a round of 100,000 calls that are alike is written as one", () => {
  const run = new Run("k");
  const inputs = Array.from({ length: 100_000 }, (_, n) => ({ n }));
  const opened = { callee: "work", first: 0, inputs, due: 9 };
  for (let position = 0; position < inputs.length; position++)
    callsOf(run).set(position, new Call(run, opened, position, 1));
  expect((snapshot(run) as { calls: unknown[] }).calls).toHaveLength(1);
  expect(again(run).calls.size).toBe(100_000);
});

test("what earlier versions wrote, each call by itself, is read", () => {
  const call = { callee: "work", index: 0, inputs: [{ n: 1 }], attempt: 1, since: 1, due: 9 };
  const calls = [
    { ...call, first: 3 },
    { ...call, first: 4, index: 1, progress: "half", deaths: 1 },
  ];
  const run = restore("k", { ...snapshot(new Run("k")), calls });
  expect(
    Array.from(run.calls.values(), ({ number, index, progress, deaths }) => [
      number,
      index,
      progress,
      deaths,
    ]),
  ).toEqual([
    [3, 0, undefined, 0],
    [4, 1, "half", 1],
  ]);
});

test("a run that is read back shares with its request what it has of it, as one that began does", () => {
  const stored = (data: unknown): ReturnType<typeof snapshot> => {
    const run = new Run("k");
    run.origin = { ...run.origin, request: { of: { a: [1, { b: 2 }] }, other: "x" } };
    run.data = data;
    return JSON.parse(JSON.stringify(snapshot(run))) as ReturnType<typeof snapshot>;
  };
  const read = (data: unknown): Run => restore("k", stored(data));
  const { origin, data } = read({ of: { a: [1, { b: 2 }] }, other: "y", more: 1 });
  expect(data).toEqual({ of: { a: [1, { b: 2 }] }, other: "y", more: 1 });
  const { of } = data as { readonly of: unknown };
  expect(of).toBe((origin.request as { readonly of: unknown }).of);
  const whole = read({ of: { a: [1, { b: 2 }] }, other: "x" });
  expect(whole.data).toBe(whole.origin.request);
  const inner = read({ request: { of: { a: [1, { b: 2 }] }, other: "x" } });
  expect((inner.data as { readonly request: unknown }).request).toBe(inner.origin.request);
  // What a request has by its prototype is not its own.
  const odd = read(JSON.parse('{ "__proto__": {}, "constructor": {} }')).data as object;
  expect(JSON.stringify(odd)).toBe('{"__proto__":{},"constructor":{}}');
  expect(Object.isFrozen(Object.prototype)).toBe(false);
  // Another order of properties is another text in the store.
  const ordered = read({ other: "x", of: { a: [1, { b: 2 }] } });
  expect(Object.keys(ordered.data as object)).toEqual(["other", "of"]);
  for (const other of [null, [1], { of: { a: [1, { b: 3 }] } }, { of: [1] }])
    expect(read(other).data).toEqual(other);
});
