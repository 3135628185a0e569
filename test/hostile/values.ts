import { WheelworkError } from "@wheelwork/core";
import { runInNewContext } from "node:vm";

// What functions of users may give, or throw. Each value is made anew each time: some are used up, or change.

const thrower = (thrown: unknown) => (): never => {
  throw thrown;
};
const allTraps = (): ProxyHandler<object> =>
  Object.fromEntries(
    Object.getOwnPropertyNames(Reflect).map((trap) => [trap, thrower(new Error(trap))]),
  ) as ProxyHandler<object>;

function nested(depth: number): unknown {
  let made: unknown = 1;
  for (let level = 0; level < depth; level++) made = [made];
  return made;
}

const cyclic = (): unknown => {
  const made: Record<string, unknown> = {};
  made["self"] = made;
  return made;
};

const revoked = (of: object = {}): object => {
  const { proxy, revoke } = Proxy.revocable(of, {});
  revoke();
  return proxy;
};

class Frozen {
  readonly n = 1;
  constructor() {
    Object.freeze(this);
  }
}

const values: Readonly<Record<string, () => unknown>> = {
  undefined: () => undefined,
  null: () => null,
  "a getter that throws": () => ({
    get a(): never {
      return thrower(null)();
    },
  }),
  "a proxy that throws": () => new Proxy({}, allTraps()),
  "a proxy of a function": () => new Proxy(() => {}, allTraps()),
  "a revoked proxy": () => revoked(),
  "a revoked list": () => revoked([]),
  toJSON: () => ({ toJSON: thrower(undefined) }),
  "another toJSON": () => ({ n: 1, toJSON: () => ({ n: 2 }) }),
  toString: () => ({ toString: thrower(undefined), valueOf: thrower(1), [Symbol.toPrimitive]: thrower(2) }),
  cyclic,
  "300 kB": () => "x".repeat(300_000),
  "half a surrogate": () => "a\ud83d",
  NUL: () => "a\0b",
  ["__proto__"]: () => JSON.parse('{"__proto__":{"raise":"Ok"},"n":1}') as unknown,
  "__proto__ of a list": () => Object.setPrototypeOf([1], { raise: "Ok", length: 3 }) as unknown,
  constructor: () => ({ constructor: { prototype: { polluted: 1 } }, hasOwnProperty: 1, valueOf: null }),
  "no prototype": () => Object.assign(Object.create(null) as object, { n: 1 }),
  "-0": () => -0,
  huge: () => 1.797e308,
  NaN: () => Number.NaN,
  Infinity: () => Number.POSITIVE_INFINITY,
  negative: () => -1,
  half: () => 0.5,
  sparse: () => [1, , 2], // oxlint-disable-line no-sparse-arrays -- such arrays exist
  "sparse without end": () => {
    const made = [1];
    made.length = 4_294_967_295;
    return made;
  },
  "a list without end": () =>
    new Proxy<number[]>([], { get: (_, name) => (name === "length" ? 2 ** 53 - 1 : 1) }),
  "an object without end": () =>
    new Proxy(
      {},
      {
        ownKeys: () => Array.from({ length: 3_000_000 }, (_, n) => `${n}`),
        getOwnPropertyDescriptor: () => ({ value: 1, enumerable: true, configurable: true }),
        get: () => 1,
      },
    ),
  "another each time": () => {
    let reads = 0;
    return new Proxy({ n: 1, raise: "Ok" }, { get: () => (++reads % 2 === 0 ? 10n : reads) });
  },
  "depth 501": () => nested(501),
  "depth 100,000": () => nested(100_000),
  "201 characters": () => "k".repeat(201),
  "a long name": () => ({ ["n".repeat(70_000)]: 1, "": 1, "\ud83d": 1, "\0": 1 }),
  empty: () => "",
  blank: () => " ",
  "many texts": () => ["a/b", "live/1", "%00", "..", "$ref", "~", "'; --", "\u2028", "\ufeff"],
  symbol: () => Symbol("s"),
  "a symbol as a name": () => ({ [Symbol("s")]: thrower(1), n: 1 }),
  bigint: () => 10n,
  boxed: () => [new String("s"), new Number(1), Object(1n)], // oxlint-disable-line no-new-wrappers -- they exist
  "a boxed text": () => new String("Ok"), // oxlint-disable-line no-new-wrappers -- as above
  date: () => new Date(Number.NaN),
  map: () => new Map([["n", 1]]),
  expression: () => /(?<a>a)/g,
  "an error": () => new Error("given"),
  "typed numbers": () => new Float64Array([1, 2]),
  bytes: () => Buffer.from("bytes"),
  "shared memory": () => new SharedArrayBuffer(8),
  "a weak reference": () => new WeakRef({}),
  function: () => () => "Ok",
  class: () => Frozen,
  "a frozen instance": () => new Frozen(),
  frozen: () => Object.freeze({ n: 1, list: Object.freeze([1]) }),
  "of another realm": () => runInNewContext("({ n: 1, list: [1], at: { deep: {} } })") as unknown,
  "not enumerable": () => Object.defineProperty({ n: 1 }, "hidden", { value: thrower(1) }),
  "a list with more": () => Object.assign([1], { raise: "Ok", n: 10n }),
  arguments: () =>
    function (): unknown {
      // oxlint-disable-next-line prefer-rest-params -- such objects exist
      return arguments;
    }.apply(null, [1, 2] as never),
  promise: () => Promise.reject(new Error("later")),
  thenable: () => ({
    // oxlint-disable-next-line unicorn/no-thenable -- what a careless library returns
    get then(): never {
      return thrower(1)();
    },
  }),
  // What an asynchronous function makes of the items of a list, and an `await` that was forgotten.
  promises: () => [1, 2, 3].map(async (n) => Promise.reject(new Error(`later ${n}`))),
  "forgotten awaits": () => ({ a: Promise.reject(new Error("a")), b: { c: Promise.reject(new Error("c")) } }),
  "a list of it": () => [new Proxy({}, allTraps()), cyclic()],
  "an object of it": () => ({ raise: new Proxy({}, allTraps()), patch: cyclic(), n: 10n }),
  "a generator": () =>
    (function* (): Generator<number> {
      for (;;) yield 1;
    })(),
  "a huge length": () => ({ length: 4_294_967_295 }),
  /** What only a long attack has time for. */
  "10 MB": () => "y".repeat(10_000_000),
  "10 MB of list": () => Array.from({ length: 10 }, () => "z".repeat(1_000_000)),
  "100,000 names": () => Object.fromEntries(Array.from({ length: 100_000 }, (_, n) => [`name ${n}`, n])),
  "a million numbers": () => Array.from({ length: 1_000_000 }, (_, n) => n),
};

export const heavyNames: ReadonlySet<string> = new Set([
  "10 MB",
  "10 MB of list",
  "100,000 names",
  "a million numbers",
  "a list without end",
  "an object without end",
]);

const getters = (): object =>
  Object.defineProperties(new Error("e"), {
    message: { get: thrower(1) },
    stack: { get: thrower(2) },
    cause: { get: thrower(3) },
    name: { get: thrower(4) },
    code: { get: thrower(5) },
  });

const thrown: Readonly<Record<string, () => unknown>> = {
  "throws undefined": () => undefined,
  "throws null": () => null,
  "throws a text": () => "text",
  "throws a bigint": () => 1n,
  "throws a function": () => () => {},
  "throws a promise": () => Promise.reject(new Error("thrown later")),
  "throws nothing that is known": () => Object.create(null) as unknown,
  "throws getters": getters,
  "throws a proxy": () => new Proxy(new Error("e"), allTraps()),
  "throws a revoked proxy": () => revoked(new Error("e")),
  "throws a symbol": () => Symbol("s"),
  "throws 300 kB": () => new Error("x".repeat(300_000)),
  "throws a half surrogate and NUL": () => new Error("a\ud83d\0"),
  "throws a cause of causes": () => {
    const made = new Error("e") as { cause?: unknown } & Error;
    made.cause = made;
    return made;
  },
  "throws errors of errors": () => {
    const made = new AggregateError([new Error("one")], "many");
    made.errors.push(made, revoked(), 1n);
    return made;
  },
  "throws odd fields": () =>
    Object.assign(new Error("e"), {
      name: Symbol("n"),
      stack: 10n,
      cause: revoked(),
      code: { toString: thrower(1) },
      details: cyclic(),
      problems: "none",
      next: 1n,
      retryable: "yes",
    }),
  "throws an odd one of ours": () =>
    Object.assign(new WheelworkError("WW_DEFECT", "mine", { problems: [{ path: "a", message: "b" }] }), {
      code: cyclic(),
      details: cyclic(),
      next: revoked(),
    }),
  "throws out of stack": () => {
    const deeper = (): unknown => [deeper()];
    return deeper();
  },
  "throws an abort": () => new DOMException("stopped", "AbortError"),
  "throws WW_STORE_LOCKED": () => new WheelworkError("WW_STORE_LOCKED", "mine", { retryable: true }),
  "throws WW_STORE_REFUSED": () => new WheelworkError("WW_STORE_REFUSED", "mine"),
  "throws WW_STORE_CORRUPT": () => new WheelworkError("WW_STORE_CORRUPT", "mine"),
  "throws WW_COMMITS_LOST": () => new WheelworkError("WW_COMMITS_LOST", "mine"),
  "throws WW_OVERLOADED": () => new WheelworkError("WW_OVERLOADED", "mine", { retryable: true }),
};

/** What a place may give or throw. */
export const names: readonly string[] = [...Object.keys(values), ...Object.keys(thrown)];
/** Those that take little time and memory. */
export const lightNames: readonly string[] = names.filter((name) => !heavyNames.has(name));

/** Gives what has this name, or throws it. */
export function give(name: string): unknown {
  if (Object.hasOwn(thrown, name)) throw (thrown[name] as () => unknown)();
  return (values[name] as () => unknown)();
}
