import { end, hub, spoke } from "@wheelwork/core";
import { externalWorker, relay, worker } from "@wheelwork/engine";
import type { Channel } from "@wheelwork/engine/cluster";
import * as fc from "fast-check";
import { z } from "zod";

/*
 * Whatever a broker can carry, wherever nodes read it: each record is done, refused to its sender, or a dead letter, once. None stops
 * a shard. The records have the structure of good ones, with something wrong in them; a real server says what no text may hold.
 */

/** The topic of the inboxes. */
export const inbox = "wheelwork-inbox";
const spokeOf = (name: string) =>
  spoke(name, {
    input: z.object({ n: z.number() }),
    output: z.object({ n: z.number() }),
    errors: ["bad"],
    timeoutMs: 60_000,
    retry: { attempts: 1, backoffMs: 10 },
  });
const own = spokeOf("own");
const external = spokeOf("external");
const relayed = spokeOf("relayed");

const asking = (called: typeof own) =>
  hub(
    called.name,
    {
      request: z.object({ n: z.number() }),
      reply: z.object({ n: z.number() }),
      errors: ["failed"],
      signals: { go: z.object({ n: z.number() }) },
      deadlineMs: 120_000,
      chart: { Working: { Done: "Up", Failed: "Down", Late: "Down" }, Up: end, Down: end },
      data: ({ n }) => ({ n }),
    },
    {
      Working: (s) =>
        s.call(called, {
          input: ({ n }) => ({ n }),
          ok: (_data, { n }) => s.raise("Done", { n }),
          failed: "Failed",
          deadline: "Late",
        }),
      Up: ({ n }) => ({ n }),
      Down: (_data, s) => s.fail("failed", "it failed"),
    },
  );
/** A hub for each way to serve a spoke. */
export const hubs = [asking(own), asking(external), asking(relayed)];

/** Requests come on `in`, answers go to `out`. */
export const channel: Channel = {
  name: "test",
  from: "in",
  to: "out",
  hub: "own",
  request: ({ value }) => {
    // A channel is the user's code.
    if (value === "throws") throw Object.create(null);
    return value === "late" ? Promise.reject(new Error("later")) : (JSON.parse(value) as unknown);
  },
  answer: (answer) => ({ value: JSON.stringify(answer) }),
};
/** In the process, external, and a relay that hears `told`. */
export const workers = [
  worker(own, ({ n }) => ({ n: n + 1 })),
  externalWorker(external, { topic: "questions" }),
  relay(relayed, {
    to: "asked",
    from: "told",
    send: ({ n }, { requestId }) => ({ key: requestId, value: JSON.stringify({ n }) }),
    receive: ({ key, value }) =>
      JSON.parse(`{"correlation":${JSON.stringify(key)},"outcome":${value}}`) as never,
    request: ({ key }) => key,
  }),
];

const hostileText = fc.oneof(
  fc.constantFrom(
    "",
    "\0",
    "a\0b",
    "\ud800",
    "\udc80",
    "x".repeat(3000),
    "a/b",
    "live/1",
    "//%zz",
    "live/\0",
    "live/t1",
  ),
  fc.constantFrom(
    "__proto__",
    "constructor",
    "toString",
    "refused:invalid",
    "tell:own",
    "own",
    "test",
    "test \0",
  ),
  fc.string({ unit: "binary", maxLength: 30 }),
);
const hostile = fc.oneof(
  hostileText,
  fc.constantFrom<unknown>(
    null,
    true,
    -1,
    0,
    0.5,
    1e300,
    -1e300,
    2 ** 53,
    {},
    [],
    { toString: 1 },
    { a: "\0" },
  ),
  fc.jsonValue({ maxDepth: 2 }),
  fc.constant(JSON.parse('{"__proto__":{"kind":"ok"},"n":1}') as unknown),
  fc.constantFrom<unknown>({ kind: "ok" }, { kind: "error", code: "bad" }, { kind: "dance" }),
);

const key = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom("live", "k1", "k2", "k3") },
  { weight: 1, arbitrary: hostileText },
);
const good = [
  {
    type: "request",
    hub: "own",
    request: { n: 1 },
    deadlineMs: 5000,
    replyTo: "test",
    origin: { topic: "in", partition: 0, offset: 3 },
  },
  { type: "command", input: { kind: "signal", id: "s", hash: "h", signal: "go", payload: { n: 1 } } },
  { type: "command", input: { kind: "cancel", id: "c" }, run: "live/1" },
  { type: "command", input: { kind: "retry", id: "r" } },
  { type: "command", input: { kind: "resolve", id: "m", message: "done" } },
  { type: "response", "correlation-id": "1.1.1.external", output: { n: 1 } },
  {
    type: "response",
    "correlation-id": "1.1.1.external",
    error: { code: "bad", message: "no", details: {} },
  },
  { type: "heard", spoke: "relayed", correlation: "live", outcome: { kind: "ok", output: { n: 1 } } },
] as const;

/** One or two places of a value, the value itself included, replaced by something else. */
const changed = (value: unknown): fc.Arbitrary<unknown> => {
  if (typeof value !== "object" || value === null) return hostile;
  const entries = Object.entries(value);
  if (entries.length === 0) return hostile;
  const inside = fc
    .nat({ max: entries.length - 1 })
    .chain((place) =>
      changed(entries[place]?.[1]).map((other) =>
        Object.fromEntries(entries.map(([name, old], index) => [name, index === place ? other : old])),
      ),
    );
  const dropped = fc
    .nat({ max: entries.length - 1 })
    .map((place) => Object.fromEntries(entries.toSpliced(place, 1)));
  return fc.oneof(
    { weight: 6, arbitrary: inside },
    { weight: 2, arbitrary: dropped },
    { weight: 1, arbitrary: hostile },
  );
};
const noJson = fc.constantFrom("", "?", "[".repeat(10_000), '{"type":"request"', "throws", "late", "\0");
const bodyOf = (all: readonly unknown[]): fc.Arbitrary<string> =>
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc
        .constantFrom(...all)
        .chain(changed)
        .map((body) => JSON.stringify(body) ?? ""),
    },
    {
      weight: 2,
      arbitrary: fc
        .constantFrom(...all)
        .chain(changed)
        .chain(changed)
        .map((body) => JSON.stringify(body) ?? ""),
    },
    { weight: 1, arbitrary: noJson },
  );
const headers = fc.oneof(
  { weight: 3, arbitrary: fc.constant({}) },
  {
    weight: 1,
    arbitrary: fc.dictionary(
      fc.constantFrom("ce_type", "correlation-id", "dlt-reason", "__proto__", "", "x"),
      fc.oneof(
        fc.constantFrom("wheelwork.request", "wheelwork.command", "wheelwork.response", "1.1.1.external"),
        hostileText,
      ),
    ),
  },
);
const recordFor = (topic: string, all: readonly unknown[]) =>
  fc.record({
    topic: fc.constant(topic),
    key,
    value: bodyOf(all),
    headers,
    partition: fc.nat({ max: 1 }),
  });
/** A record for a topic and a partition of two. */
const records = fc.oneof(
  { weight: 4, arbitrary: recordFor(inbox, good) },
  { weight: 2, arbitrary: recordFor("in", [{ n: 1 }]) },
  {
    weight: 1,
    arbitrary: recordFor("told", [
      { kind: "ok", output: { n: 1 } },
      { kind: "error", code: "bad", message: "m" },
    ]),
  },
);

/** Always the same hostile records. */
export const hostileRecords = (count: number) => fc.sample(records, { numRuns: count, seed: 20_261 });
