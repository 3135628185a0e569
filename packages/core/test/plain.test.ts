import type { Schema } from "@wheelwork/core";
import { abandonWithin, accepts, check, maxDepth, plain, textOf, tryPlain } from "@wheelwork/core/kernel";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { runInNewContext } from "node:vm";

function kept<T>(value: T): T {
  const { problem, value: copied } = tryPlain(value) as { problem?: unknown; value: T };
  expect(problem).toBeUndefined();
  return copied;
}

const problemOf = (value: unknown) => tryPlain(value).problem;

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { a: value };
  return value;
}

describe("a plain value", () => {
  test("is what JSON gives back, frozen, and nobody else's", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
        const copied = plain(value, "WW_DEFECT", "it");
        expect(copied).toStrictEqual(JSON.parse(JSON.stringify(value)));
        if (typeof value !== "object" || value === null) return;
        expect(copied).not.toBe(value);
        expect(Object.isFrozen(copied)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test("of anything is what JSON gives back, or refused", () => {
    const anything = fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withTypedArray: true,
      withSparseArray: true,
      withNullPrototype: true,
      withBoxedValues: true,
      withObjectString: true,
    });
    fc.assert(
      fc.property(anything, (value) => {
        const given = tryPlain(value);
        const kept = given.problem === undefined ? given.value : given.problem;
        expect(kept).toStrictEqual(kept === undefined ? kept : JSON.parse(JSON.stringify(kept)));
      }),
      { numRuns: 20_000 },
    );
  });

  test("drops what JSON drops and nobody misses", () => {
    const hidden = Object.defineProperty({ a: 1, [Symbol("s")]: 2, u: undefined }, "h", { value: 3 });
    expect(kept(hidden)).toStrictEqual({ a: 1 });
    expect(Object.is(kept(-0), 0)).toBe(true);
    expect(kept(Object.assign(Object.create(null), { a: 1 }))).toStrictEqual({ a: 1 });
  });

  test("keeps a key that is called __proto__ as a key", () => {
    const value: unknown = JSON.parse('{"__proto__":{"admin":true},"a":1}');
    expect(JSON.stringify(kept(value))).toBe('{"__proto__":{"admin":true},"a":1}');
    expect((kept(value) as { admin?: boolean }).admin).toBeUndefined();
  });

  test("may come from another realm", () => {
    expect(kept(runInNewContext("({ a: [1, { b: 2 }] })"))).toStrictEqual({ a: [1, { b: 2 }] });
    expect(problemOf(runInNewContext("new Map()"))).toBeDefined();
  });

  test.each([
    ["a date", { a: { b: new Date(0) } }, "a.b", "an instance of Date"],
    ["a map", [1, new Map()], "1", "an instance of Map"],
    [
      "a class",
      {
        list: [
          new (class Money {
            amount = 1;
          })(),
        ],
      },
      "list.0",
      "an instance of Money",
    ],
    ["a bigint", { n: 1n }, "n", "a bigint"],
    ["a function", { f: () => {} }, "f", "a function"],
    ["a symbol", [Symbol("s")], "0", "a symbol"],
    ["NaN", { n: Number.NaN }, "n", "NaN"],
    ["Infinity", { n: [Number.NEGATIVE_INFINITY] }, "n.0", "-Infinity"],
    ["undefined in an array", { list: [1, undefined] }, "list.1", "undefined"],
    // eslint-disable-next-line no-sparse-arrays
    ["a hole", { list: [1, , 2] }, "list.1", "undefined"],
    ["a toJSON of its own", { a: { toJSON: () => 1 } }, "a.toJSON", "a function"],
    ["a boxed text", { a: Object("x") }, "a", "an instance of String"],
  ])("%s is refused, with its path", (_name, value, path, message) => {
    expect(problemOf(value)?.path).toBe(path);
    expect(problemOf(value)?.message).toContain(message);
  });

  test("what throws when it is read is refused, and named", () => {
    const bad = {
      get doc(): never {
        throw new Error("not loaded");
      },
    };
    expect(problemOf(bad)?.message).toBe("cannot be read: not loaded");
    const proxy = new Proxy(
      {},
      {
        ownKeys: () => {
          throw new TypeError("no keys");
        },
      },
    );
    expect(problemOf({ proxy })?.message).toBe("cannot be read: no keys");
  });

  test("a getter is asked once, and what it gave is kept", () => {
    let asked = 0;
    const value = {
      get n() {
        return ++asked;
      },
    };
    const copied = plain(value, "WW_DEFECT", "it");
    expect([copied.n, copied.n, JSON.stringify(copied), asked]).toEqual([1, 1, '{"n":1}', 1]);
  });

  test("depth has a bound, which also ends what holds itself", () => {
    expect(problemOf(nested(maxDepth))).toBeUndefined();
    expect(problemOf(nested(maxDepth + 1))?.message).toContain("more than 500 deep");
    expect(problemOf(nested(100_000))?.message).toContain("more than 500 deep");
    const loop: Record<string, unknown> = {};
    loop["self"] = loop;
    expect(problemOf(loop)?.message).toContain("holds itself");
  });

  test("size has a bound, which also ends what holds a part of itself very often", () => {
    let value: unknown = [1];
    for (let level = 0; level < 60; level++) value = [value, value];
    expect(problemOf(value)?.message).toContain("holds more than");
  });

  test("a list without end is refused after a bounded number of reads, also within what was thrown", () => {
    const endless = (): { readonly list: number[]; readonly reads: () => number } => {
      let reads = 0;
      const get = (_: unknown, name: string | symbol): number => {
        if (name === "length") return 2 ** 53 - 1;
        return ++reads;
      };
      return { list: new Proxy<number[]>([], { get }), reads: () => reads };
    };
    const given = endless();
    expect(problemOf({ deep: [given.list] })).toEqual({
      path: "",
      message: "holds more than 2000000 values",
    });
    expect(given.reads()).toBeLessThan(1_000_000);
    const thrown = endless();
    expect(textOf(thrown.list)).toBe(`a list of ${2 ** 53 - 1}`);
    expect(textOf(Object.assign(new Error("e"), { message: thrown.list }))).toBe(`a list of ${2 ** 53 - 1}`);
    expect(thrown.reads()).toBeLessThan(1_000_000);
    expect(textOf(new Float64Array(1_000))).toBe("8000 bytes");
    const sparse = [1];
    sparse.length = 2 ** 32 - 1;
    expect(problemOf(sparse)?.message).toBe("holds more than 2000000 values");
    abandonWithin(sparse);
  });

  test("the path of what is refused is short, though its names are long", () => {
    const problem = problemOf({ ["n".repeat(1_000_000)]: { at: new Date(0) } });
    expect(problem?.path).toMatch(/^n{8000}…\.at$/);
  });

  test("the text of what was thrown is always one", () => {
    expect(textOf(new Error("x"))).toBe("x");
    expect(textOf("x")).toBe("x");
    expect(
      textOf({
        toString: () => {
          throw new Error("no");
        },
      }),
    ).toBe("something that cannot be shown");
    expect(textOf(Object.create(null))).toBe("something that cannot be shown");
  });
});

describe("a schema", () => {
  const giving = (result: () => unknown): Schema => ({
    "~standard": { version: 1, vendor: "test", validate: result as never },
  });

  test.each([
    ["nothing", () => undefined],
    ["null", () => null],
    ["a text", () => "valid"],
    ["true", () => true],
    ["an object", () => ({ valid: true })],
    ["a list of promises that are rejected", () => [Promise.reject(new Error("later"))]],
  ])("that returns %s has not said that a value is valid", (_, result) => {
    expect(check(giving(result), {}).problems).toEqual([
      { path: "", message: "cannot be checked: its schema has returned neither a value nor issues" },
    ]);
  });

  test("may make undefined of a value", () => {
    expect(
      check(
        giving(() => ({ value: undefined })),
        1,
      ),
    ).toEqual({ value: undefined });
  });

  test("whose value is dropped leaves no promise that would end the process, and neither does one that throws a promise", async () => {
    const rejected = (): Promise<never> => Promise.reject(new Error("later"));
    expect(
      accepts(
        giving(() => ({ value: { all: [rejected(), { deep: rejected() }] } })),
        1,
      ),
    ).toBe(true);
    const throws = giving(() => {
      // oxlint-disable-next-line typescript/only-throw-error -- users throw anything
      throw rejected();
    });
    expect(check(throws, 1).problems?.[0]?.message).toContain("its schema has thrown");
    // Vitest fails if there is an unhandled rejection.
    await new Promise((resolve) => setImmediate(resolve));
  });
});
