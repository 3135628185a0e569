// A hub that goes through all places at which code of users gives something, for every engine. A request names the place that misbehaves,
// and what it gives there.
import { answered, end, hub, spoke, stay, type AnyHub, type Schema } from "@wheelwork/core";
import { worker, type Worker } from "@wheelwork/engine";
import { isDeepStrictEqual } from "node:util";
import { give } from "./values.ts";

/** What a request asks for. Both are empty: for nothing. */
export interface Asked {
  readonly place: string;
  readonly value: string;
}

/** Where code has seen what no store gives back. */
export const unlikeStored: string[] = [];

/** What code sees must be what JSON gives back, in memory as after a restart. */
export function look(where: string, seen: unknown): void {
  // The input of nothing stays nothing.
  if (seen === undefined) return;
  const text = JSON.stringify(seen) as string | undefined;
  if (text === undefined || !isDeepStrictEqual(JSON.parse(text), seen))
    unlikeStored.push(`${where}: ${String(text).slice(0, 200)}`);
}

/** What code is asked for: by a request, by data or by an input. */
export const askedOf = (seen: unknown): Asked => {
  const { place = "", value = "" } = (seen ?? {}) as Partial<Asked>;
  return { place, value };
};

/** What a place gives: the hostile value if it is the one that is meant, and else what it should. */
export function at(place: string, seen: unknown, sound: unknown): never {
  look(place, seen);
  const asked = askedOf(seen);
  return (asked.place === place ? give(asked.value) : sound) as never;
}

/** Functions that get an outcome, too. */
const ofOutcome: ReadonlySet<string> = new Set(["ok", "part ok", "sequence ok", "failed outcome"]);

/** A function at a place. */
export const fn =
  (place: string, sound: (seen: Asked, ...more: unknown[]) => unknown) =>
  (seen: never, ...more: unknown[]): never => {
    // Other functions get the view of a call, or a builder.
    if (ofOutcome.has(place)) look(`the outcome of ${place}`, more[0]);
    return at(place, seen, sound(askedOf(seen), ...more));
  };

/** A schema takes anything. What its function returns is a place, and what it makes of a value is another one. */
export const schema = (name: string): Schema<never> => ({
  "~standard": {
    version: 1,
    vendor: "test",
    validate: (value) => {
      const { place, value: hostile } = askedOf(value);
      if (place === `schema of the ${name}`) return give(hostile) as { value: never };
      return { value: (place === `${name} that a schema makes` ? give(hostile) : value) as never };
    },
  },
});
const schemas = ["request", "input", "output", "reply", "payload"];

export const work = spoke("work", {
  input: schema("input"),
  output: schema("output"),
  errors: ["bad"],
  timeoutMs: 5000,
  heartbeatMs: 2000,
  retry: { attempts: 1 },
  limit: { concurrent: 1000, by: fn("limit key", () => "k") } as never,
});
export const hear = spoke("hear", {
  input: schema("input"),
  output: schema("output"),
  timeoutMs: 5000,
  retry: { attempts: 1 },
});

/** Waits for the signal of another run. */
export const receiver = hub(
  "receiver",
  {
    request: schema("request"),
    reply: schema("reply"),
    deadlineMs: 3_600_000,
    signals: { go: schema("payload") },
    chart: { W: { G: "Z", L: "Z" }, Z: end },
    data: (asked: Asked) => asked,
  } as never,
  {
    W: (s: never) => {
      const { wait, raise } = s as { wait: (o: object) => never; raise: (...of: unknown[]) => unknown };
      return wait({
        on: {
          go: (data: never, payload: never) => {
            look("data of a signal", data);
            return at("signal", payload, raise("G", { heard: payload }));
          },
        },
        deadline: "L",
      });
    },
    Z: (data: never) => at("reply", data, askedOf(data)),
  } as never,
);

/** What is asked for at the places of the receiver. */
const ofReceiver: ReadonlySet<string> = new Set([
  "schema of the payload",
  "payload that a schema makes",
  "signal",
]);

/** Waits for its deadline, or a cancel. */
const waiting: ReadonlySet<string> = new Set(["deadline patch", "cancel patch"]);

/** All places, in the order in which a run comes to them. */
export const places: readonly string[] = [
  ...schemas.flatMap((name) => [`schema of the ${name}`, `${name} that a schema makes`]),
  "labels",
  "lane key",
  "whenBusy",
  "deadlineMs",
  "data",
  "pick",
  "pick patch",
  "deadline patch",
  "cancel patch",
  "input",
  "call key",
  "output",
  "fail code",
  "fail message",
  "fail details",
  "progress",
  "limit key",
  "ok",
  "ok patch",
  "failed outcome",
  "inputs",
  "limit",
  "each key",
  "each input",
  "done",
  "part input",
  "part key",
  "part ok",
  "parts done",
  "after",
  "timer patch",
  "start input",
  "start key",
  "startAt",
  "signal id",
  "signal payload",
  "signal",
  "told",
  "sequence input",
  "sequence ok",
  "sequence done",
  "early reply",
  "reply",
  "failed",
  "view",
];

/** How long a request that asks for something hostile may take, in milliseconds. An honest one has longer. */
export const hostileDeadlineMs = 1500;

// oxlint-disable-next-line typescript/no-explicit-any -- it is written past the types
type Any = any;

/** A hub that goes through all places. One that asks for nothing is honest: it has the result `{ place: "", value: "" }`. */
const target = (hub as Any)(
  "target",
  {
    request: schema("request"),
    reply: schema("reply"),
    errors: ["failed"],
    deadlineMs: fn("deadlineMs", ({ place }) => (place === "" ? 60_000 : hostileDeadlineMs)),
    labels: fn("labels", () => ({ kind: "a" })),
    exclusive: {
      lane: "l",
      by: fn("lane key", ({ place, value }) => `${place} ${value}`),
      slots: 1000,
      whenBusy: fn("whenBusy", () => "queue"),
    },
    chart: {
      Pick: { Ok: "Call", Wait: "Waiting", Late: "Bad" },
      Waiting: { Late: "Bad", Cancel: "Bad" },
      Call: { Ok: "Each", Late: "Bad" },
      Each: { One: stay, Ok: "Parts", Late: "Bad" },
      Parts: { One: stay, Ok: "Timed", Late: "Bad" },
      Timed: { Rung: "Start", Late: "Bad" },
      Start: { Ok: "Signal" },
      Signal: { Ok: "Tell" },
      Tell: { Ok: "Seq" },
      Seq: { Ok: "Last", Late: "Bad" },
      Last: { Well: "Good", Ill: "Bad", Early: "Early" },
      Early: { Ok: "Over" },
      Good: end,
      Over: end,
      Bad: end,
    },
    data: fn("data", (asked) => ({ ...asked, n: 0 })),
    cancel: { raise: "Cancel", patch: fn("cancel patch", () => ({ n: 9 })) },
    view: fn("view", () => ({ seen: true })),
  },
  {
    Pick: (s: Any) =>
      s.pick(
        fn("pick", (asked) =>
          waiting.has(asked.place) ? "Wait" : s.raise("Ok", at("pick patch", asked, { n: 1 })),
        ),
      ),
    Waiting: (s: Any) =>
      s.wait({ on: {}, deadline: { raise: "Late", patch: fn("deadline patch", () => ({ n: 8 })) } }),
    Call: (s: Any) =>
      s.call(work, {
        input: fn("input", (asked) => asked),
        key: fn("call key", () => "key"),
        ok: fn("ok", (asked) => s.raise("Ok", at("ok patch", asked, { n: 2 }))),
        failed: fn("failed outcome", () => "Late"),
        deadline: "Late",
      }),
    Each: (s: Any) =>
      s.each(work, {
        inputs: fn("inputs", (asked) =>
          [1, 2].map(() =>
            at("each input", asked, asked.place === "each key" ? asked : { place: "", value: "" }),
          ),
        ),
        limit: fn("limit", () => 1),
        key: fn("each key", (_, index) => `key ${String(index)}`),
        ok: "One",
        failed: "Late",
        done: fn("done", () => s.raise("Ok")),
        deadline: "Late",
      }),
    Parts: (s: Any) =>
      s.all(
        {
          one: s.part(hear, {
            input: fn("part input", (asked) => asked),
            key: fn("part key", () => "key of a part"),
            ok: fn("part ok", () => s.raise("One", { n: 3 })),
          }),
          none: s.part(hear, { input: () => null }),
        },
        { failed: "Late", done: fn("parts done", () => "Ok"), deadline: "Late" },
      ),
    Timed: (s: Any) =>
      s.wait({
        on: {},
        after: {
          Rung: { ms: fn("after", () => 1), patch: fn("timer patch", () => ({ n: 4 })) },
        },
        deadline: "Late",
      }),
    Start: (s: Any) =>
      s.start(receiver, {
        input: fn("start input", () => ({})),
        key: fn("start key", ({ place, value }) => startedBy({ place, value })),
        startAt: fn("startAt", () => 0),
        next: "Ok",
      }),
    Signal: (s: Any) =>
      s.signalRun(receiver, {
        id: fn("signal id", ({ place, value }) => startedBy({ place, value })),
        signal: "go",
        payload: fn("signal payload", (asked) => (ofReceiver.has(asked.place) ? asked : {})),
        next: "Ok",
      }),
    Tell: (s: Any) => s.tell(hear, { input: fn("told", () => ({})), next: "Ok" }),
    Seq: (s: Any) =>
      s.sequence(
        [
          s.step(hear, {
            input: fn("sequence input", () => ({})),
            ok: fn("sequence ok", () => ({ n: 5 })),
          }),
        ],
        { failed: "Late", done: fn("sequence done", () => "Ok"), deadline: "Late" },
      ),
    Last: (s: Any) =>
      s.pick((data: unknown) => {
        const { place } = askedOf(data);
        if (place === "failed") return "Ill";
        return place === "early reply" ? "Early" : "Well";
      }),
    Early: (s: Any) =>
      s.answer(
        fn("early reply", () => ({})),
        { next: "Ok" },
      ),
    Over: answered,
    Good: fn("reply", (asked) => asked),
    Bad: (data: never, s: Any) => at("failed", data, s.fail("failed", "as it should")),
  },
) as AnyHub;

/** The key of the run that a run starts. */
const startedBy = ({ place, value }: Asked): string => `started ${place} ${value}`;

export { target };
export const hubs: readonly AnyHub[] = [target, receiver];

/** `attempted` is told of each attempt. */
export const workersOf = (attempted: (requestId: string, attempt: number) => void): readonly Worker[] => [
  worker(work, (input: never, context) => {
    attempted(context.requestId, context.attempt);
    look("the worker's input", input);
    const asked = askedOf(input);
    const { place } = asked;
    const any = context as Any;
    if (place === "progress") any.progress(at("progress", asked, 1));
    if (place === "fail code") return any.fail(at("fail code", asked, "bad"), "m");
    if (place === "fail message") return any.fail("bad", at("fail message", asked, "m"));
    if (place === "fail details") return any.fail("bad", "m", at("fail details", asked, {}));
    if (place === "failed outcome") return any.fail("bad", "m");
    return at("output", asked, asked);
  }),
  worker(hear, (input: never, context) => {
    attempted(context.requestId, context.attempt);
    look("the hearer's input", input);
    return {} as never;
  }),
];
