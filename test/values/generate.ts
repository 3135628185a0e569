import {
  array,
  constantFrom,
  dictionary,
  double,
  integer,
  jsonValue,
  oneof,
  sample,
  string,
  tuple,
  type Arbitrary,
} from "fast-check";

// Values of all kinds, the same for the same seed: JSON as odd as it can be, and what JSON does not have.

const codeUnit = integer({ min: 0, max: 0xff_ff }).map((code) => String.fromCharCode(code));

const texts: Arbitrary<string> = oneof(
  { weight: 10, arbitrary: string({ unit: "grapheme" }) },
  { weight: 10, arbitrary: string({ unit: codeUnit }) },
  {
    weight: 10,
    arbitrary: constantFrom(
      "",
      "\u0000",
      "a\u0000b",
      "\ud83d",
      "\ude80\ud83d",
      "\u2028\u2029",
      "\ufeff",
      "%00",
      "\\u0000",
      "'; --",
      "~",
      "__proto__",
      "constructor",
      "toString",
      "length",
      "0",
      "-1",
      "1e3",
      "NaN",
      "null",
      "$ref",
      "2026-11-26T00:00:00Z",
    ),
  },
  // A value has many texts: where most were long, a campaign would have few values.
  { weight: 1, arbitrary: constantFrom("x".repeat(70_000), "🚀".repeat(5000), "y".repeat(9000)) },
);

const numbers: Arbitrary<number> = oneof(
  integer(),
  double({ noNaN: true, noDefaultInfinity: true }),
  constantFrom(-0, 5e-324, 1.797e308, Number.MAX_SAFE_INTEGER + 2, 0.1 + 0.2, 1e21, 123456789012345680000),
);

const fields = (value: Arbitrary<unknown>): Arbitrary<unknown> =>
  array(tuple(texts, value), { maxLength: 6 }).map((entries) => {
    const made: Record<string, unknown> = {};
    // A plain assignment would take `__proto__` for the prototype.
    for (const [key, one] of entries)
      Object.defineProperty(made, key, { value: one, enumerable: true, configurable: true, writable: true });
    return made;
  });

function nested(depth: number, inner: unknown): unknown {
  let made = inner;
  for (let level = 0; level < depth; level++) made = level % 2 === 0 ? [made] : { "": made };
  return made;
}

const small = oneof(texts, numbers, constantFrom(true, false, null));

/** Values that JSON gives back as they are, apart from -0 and fields that are undefined. */
const sound: Arbitrary<unknown> = oneof(
  { weight: 3, arbitrary: small },
  { weight: 3, arbitrary: jsonValue({ maxDepth: 4 }) },
  { weight: 3, arbitrary: fields(oneof(small, jsonValue({ maxDepth: 2 }), constantFrom(undefined))) },
  { weight: 2, arbitrary: array(oneof(small, fields(small)), { maxLength: 40, size: "max" }) },
  { weight: 1, arbitrary: dictionary(string(), small, { maxKeys: 40, size: "max" }) },
  {
    weight: 1,
    arbitrary: tuple(integer({ min: 1, max: 480 }), small).map(([depth, inner]) => nested(depth, inner)),
  },
  {
    weight: 1,
    arbitrary: integer({ min: 0, max: 3000 }).map((length) => Array.from({ length }, (_, n) => n)),
  },
);

class Point {
  readonly x = 1;
}

const cycle = (): unknown => {
  const made: Record<string, unknown> = {};
  made["self"] = made;
  return made;
};

const throwing = (): never => {
  throw new Error("it throws when it is read");
};

/** What no store gives back. Made anew each time: some of them are used up, or change. */
const unsound: readonly (() => unknown)[] = [
  () => new Date(0),
  () => new Map([[1, 2]]),
  () => new Set([1]),
  () => new Point(),
  () => new Error("no"),
  () => new Uint8Array(3),
  () => Promise.resolve(1),
  // oxlint-disable-next-line unicorn/no-thenable -- what a careless library returns
  () => ({ then: (resolve: (value: number) => void) => resolve(1) }),
  () => 10n,
  () => Number.NaN,
  () => Number.POSITIVE_INFINITY,
  () => Symbol("s"),
  () => throwing,
  () => [1, undefined],
  // oxlint-disable-next-line no-sparse-arrays -- such arrays exist
  () => [1, , 2],
  () => ({ deep: { er: new Date(0) } }),
  () => ({
    get bad(): never {
      return throwing();
    },
  }),
  () => ({ toJSON: throwing }),
  () => new Proxy({}, { get: throwing, ownKeys: throwing, getPrototypeOf: throwing }),
  cycle,
  () => nested(10_000, 1),
];

const blockSize = 200;
/** Blocks are made anew when they are needed again: runs in flight are of a few. */
const maxBlocks = 8;
const blocks = new Map<string, readonly unknown[]>();

/** Value number `n` of a seed. */
export function soundValue(seed: number, n: number): unknown {
  const number = Math.floor(n / blockSize);
  const name = `${seed} ${number}`;
  let block = blocks.get(name);
  if (block === undefined) {
    block = sample(sound, { seed: seed + number, numRuns: blockSize });
    blocks.set(name, block);
    const [oldest = ""] = blocks.keys();
    if (blocks.size > maxBlocks) blocks.delete(oldest);
  }
  return block[n % blockSize];
}

/** A value that must be refused. */
export const unsoundValue = (n: number): unknown => (unsound[n % unsound.length] as () => unknown)();

/** Where a value enters. */
const places = ["request", "data", "input", "output", "details", "signal", "told", "reply"] as const;
export type Place = (typeof places)[number];

/** Each ninth run gets a value that must be refused, at one of the places. */
export const refusedAt = (n: number): Place | undefined =>
  n % 9 === 4 ? places[Math.floor(n / 9) % places.length] : undefined;

/** What code must see of a value: exactly what JSON gives back. */
export const seen = (value: unknown): unknown =>
  (JSON.parse(JSON.stringify({ value })) as { value: unknown }).value;
