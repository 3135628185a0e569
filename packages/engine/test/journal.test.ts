import type { RunEvent } from "@wheelwork/core";
import { deepFreeze } from "@wheelwork/core/kernel";
import {
  array,
  assert,
  constant,
  constantFrom,
  dictionary,
  jsonValue,
  nat,
  oneof,
  option,
  property,
  record,
  string,
  type Arbitrary,
} from "fast-check";
import { expect, test } from "vitest";
import { decodeBatch, encodeBatch } from "../src/stores/journal.ts";

const now = 1_000;

/** A field that may be there. */
const maybe = <T>(value: Arbitrary<T>): Arbitrary<T | undefined> => option(value, { nil: undefined });

/** Without what is undefined, as JSON has it. */
const event = (fields: Record<string, Arbitrary<unknown>>): Arbitrary<RunEvent> =>
  record(fields).map(
    (given) => Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as never,
  );

const at = constantFrom(now, now, now, now - 1);
const name = constantFrom("Next", "Failed", "", "ä", 'quoted "', "\ud800");
/** What a run keeps is plain: every value that enters loses the sign of -0, as in JSON. */
const plain = jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as unknown);
/** Fields as a run keeps them: frozen at every depth. */
const kept = dictionary(constantFrom("n", "list", "__proto__", "ä"), oneof(plain, array(plain)), {
  noNullPrototype: true,
}).map(deepFreeze);
const patch = maybe(oneof(constantFrom({}, { n: 1 }, { text: 'a "b"\n' }), kept));
const calls = maybe(constant([{ callee: "work", first: 3, inputs: [{ n: 1 }, null, "x"], due: 7 }]));
const stay = {
  by: maybe(name),
  patch,
  calls,
  held: maybe(name),
  closes: maybe(constant([1, 2])),
  unset: maybe(constant(["n"])),
};

const settled = event({
  type: constant("settled"),
  at,
  call: nat(30),
  outcome: constantFrom("ok", "ok", { kind: "timeout" }),
  by: maybe(name),
  patch,
  timers: maybe(constant([])),
});
/** The one that nearly all are. */
const plainlySettled = event({
  type: constant("settled"),
  at: constantFrom(now, now, now, 5),
  call: nat(30),
  outcome: constant("ok"),
  by: constantFrom("Next", "Other"),
});
const entered = event({
  type: constant("entered"),
  at,
  state: name,
  by: maybe(name),
  due: maybe(nat()),
  calls,
  patch,
  late: maybe(constant(true)),
  kept: maybe(constant(true)),
  answerBy: maybe(nat()),
});
const plainlyEntered = event({
  type: constant("entered"),
  at,
  state: name,
  by: maybe(name),
  due: maybe(nat()),
  calls,
});
const started = event({ type: constant("started"), at, hub: name, request: plain, data: oneof(plain, kept) });
const other = event({
  type: constant("signalled"),
  at,
  id: string(),
  signal: name,
  payload: plain,
  ...stay,
});

const events = array(
  constantFrom(plainlySettled, plainlySettled, settled, entered, plainlyEntered, started, other).chain(
    (one) => one,
  ),
  { maxLength: 40 },
);
const batch = array(record({ key: string({ maxLength: 20 }), events }), { maxLength: 20 });

test("a record of the journal gives back what was written, and the events of one run alone", () => {
  assert(
    property(batch, (given) => {
      // A record is good until the next one is made.
      const stored = Buffer.from(encodeBatch(now, given));
      expect(decodeBatch(1, stored)).toEqual(given);
      for (const { key } of given.slice(0, 1))
        expect(decodeBatch(1, stored, key)).toEqual(given.filter((entry) => entry.key === key));
    }),
    { numRuns: 500 },
  );
});

test("what earlier versions wrote is read: nothing short but calls that settled, one by one", () => {
  const record =
    '[1000,["k",{"type":"entered","at":1000,"state":"S","by":"Next"},[0,"Ok"],[1,"Ok",990],[2,"Ok",{"n":1}],[3,"Ok",990,{"n":2}]]]';
  expect(decodeBatch(1, record)).toEqual([
    {
      key: "k",
      events: [
        { type: "entered", at: 1000, state: "S", by: "Next" },
        { type: "settled", at: 1000, call: 0, outcome: "ok", by: "Ok" },
        { type: "settled", at: 990, call: 1, outcome: "ok", by: "Ok" },
        { type: "settled", at: 1000, call: 2, outcome: "ok", by: "Ok", patch: { n: 1 } },
        { type: "settled", at: 990, call: 3, outcome: "ok", by: "Ok", patch: { n: 2 } },
      ],
    },
  ]);
});

test("a batch of many megabytes is one record, and the next small one is itself", () => {
  const of = (text: string): { key: string; events: RunEvent[] }[] => [
    { key: "k", events: [{ type: "entered", at: 5, state: text } as RunEvent] },
  ];
  const large = of("ä".repeat(6_000_000));
  expect(decodeBatch(1, Buffer.from(encodeBatch(5, large)))).toEqual(large);
  expect(decodeBatch(2, Buffer.from(encodeBatch(5, of("small"))))).toEqual(of("small"));
});
