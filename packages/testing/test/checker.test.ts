import type { Answer, RunEvent } from "@wheelwork/core";
import { describe, expect, test } from "vitest";
import { checkTrace, type CheckedSystem, type Seen, type TraceEntry } from "../src/index.ts";

/** A state that takes no signal. */
const silent = { signals: new Set<string>(), takes: new Set<string>(), drops: new Set<string>() };
const taking = (signal: string): object => ({ signals: new Set([signal]), takes: new Set([signal]) });

const system: CheckedSystem = {
  charts: new Map([
    [
      "work",
      { Working: { Next: "Checking", Late: "Failed" }, Checking: { Next: "Done" }, Done: "", Failed: "" },
    ],
    ["wait", { Waiting: { Go: "Calling", Late: "Failed" }, Calling: { Next: "Done" }, Done: "", Failed: "" }],
  ]),
  spokes: new Map([["step", { attempts: 2 }]]),
  slots: new Map(),
  views: new Map(),
  states: new Map([
    ["work: Working", { ...silent, drains: true, deadline: "Late" }],
    ["wait: Waiting", { ...silent, ...taking("go"), drains: false, deadline: "Late" }],
  ]),
  retentionMs: 1_000,
  latestNow: () => Number.POSITIVE_INFINITY,
  historyRetentionMs: 1_000,
  graceMs: 1_000,
  lagMs: 0,
  catchUpMs: 0,
};

/** Engine time at the beginning. */
const epoch = 1_000_000;
const ok: Answer = { kind: "result", value: { n: 1 } };
const gone: Answer = { kind: "timeout", code: "WW_TIMEOUT", message: "no answer in time" };

/** One engine works three requests: `a` retries a call, `b` calls a hub and is signalled, `c` is parked. */
function soundTrace(): TraceEntry[] {
  const trace: TraceEntry[] = [];
  let at = 0;
  let seq = 0;
  const see = (...seen: readonly Seen[]): void => void trace.push(...seen.map((one) => ({ ...one, at })));
  const commit = (...runs: readonly [key: string, ...events: Unplaced[]][]): void => {
    const now = epoch + at;
    const journal = runs.map(([key, ...events]) => ({
      key,
      events: events.map((event) => ({ ...event, at: now }) as RunEvent),
    }));
    see({ type: "committed", node: 1, epoch: 1, seq: ++seq, now, journal });
  };
  const started = (hub: string, more = {}): Unplaced => ({
    type: "started",
    hub,
    version: 1,
    request: {},
    hash: "x",
    data: {},
    deadline: epoch + 10_000,
    answerBy: epoch + 12_000,
    ...more,
  });
  const calls = (first: number, count: number, more = {}): Unplaced => ({
    calls: [{ callee: "step", first, inputs: Array.from({ length: count }, () => ({})), index: 0, ...more }],
  });
  const attempt = (request: string, call: number, number: number): Seen => ({
    type: "attempt",
    node: 1,
    spoke: "step",
    request,
    call,
    attempt: number,
    idempotencyKey: `${request}/${call}`,
  });
  const outcome = (request: string, call: number, number: number, code?: string): Seen => ({
    type: "outcome",
    node: 1,
    request,
    call,
    attempt: number,
    outcome: code === undefined ? { kind: "ok", output: {} } : { kind: "error", code, message: "no" },
  });

  see({ type: "started", node: 1, versions: { work: 1, wait: 1 } });
  see({ type: "claimed", node: 1, epoch: 1 }, { type: "ready", node: 1 });
  see({ type: "submitted", key: "a", hub: "work" });
  const two = calls(0, 2, { due: epoch + 500 });
  commit(["a", started("work"), { type: "entered", state: "Working", due: epoch + 10_000, ...two }]);
  see({ type: "accepted", key: "a", known: false }, attempt("a", 0, 1), attempt("a", 1, 1));

  at = 100;
  see(outcome("a", 0, 1, "bad"));
  const failure = { kind: "error", code: "bad", message: "no" };
  commit(["a", { type: "failed", call: 0, attempt: 1, failure, due: epoch + 200 }]);
  at = 200;
  commit(["a", { type: "attempt", call: 0, attempt: 2, due: epoch + 700 }]);
  see(attempt("a", 0, 2));
  at = 300;
  see(outcome("a", 1, 1), outcome("a", 0, 2));
  commit([
    "a",
    { type: "settled", call: 1, outcome: "ok" },
    { type: "settled", call: 0, outcome: "ok", by: "Next" },
    {
      type: "entered",
      state: "Checking",
      by: "Next",
      due: epoch + 10_000,
      ...calls(2, 2, { due: epoch + 800 }),
    },
  ]);
  see(attempt("a", 2, 1), attempt("a", 3, 1));
  at = 800;
  const late = { kind: "timeout" };
  commit([
    "a",
    { type: "settled", call: 2, outcome: late },
    { type: "settled", call: 3, outcome: late },
    { type: "entered", state: "Done", by: "Next" },
    { type: "ended", answer: ok },
  ]);
  see({ type: "told", key: "a", answer: ok });

  at = 1_000;
  see({ type: "submitted", key: "b", hub: "wait" });
  commit(["b", started("wait"), { type: "entered", state: "Waiting", due: epoch + 10_000 }]);
  see({ type: "accepted", key: "b", known: false });
  at = 1_100;
  commit(
    [
      "b",
      { type: "signalled", id: "s1", signal: "go", payload: 1, taken: true, by: "Go" },
      {
        type: "entered",
        state: "Calling",
        by: "Go",
        due: epoch + 10_000,
        ...calls(0, 1, { callee: "wait", hub: true }),
      },
    ],
    [
      "b/0",
      started("wait", { parent: { key: "b", call: 0 }, deadline: epoch + 1_300 }),
      { type: "entered", state: "Waiting", due: epoch + 1_300 },
    ],
  );
  see({ type: "commanded", key: "b", id: "s1", kind: "signal", result: "accepted" });
  at = 1_300;
  commit(
    ["b/0", { type: "entered", state: "Failed", by: "Late" }, { type: "ended", answer: ok }],
    [
      "b",
      { type: "settled", call: 0, outcome: "ok", by: "Next" },
      { type: "entered", state: "Done", by: "Next" },
      { type: "ended", answer: ok },
    ],
  );
  see({ type: "told", key: "b", answer: ok });

  at = 2_000;
  see({ type: "submitted", key: "c", hub: "wait" });
  const error = { code: "WW_DEFECT", message: "it throws" };
  const short = started("wait", { deadline: epoch + 2_500, answerBy: epoch + 2_500 });
  commit(["c", short, { type: "incident", error, input: { kind: "start" } }]);
  see({ type: "accepted", key: "c", known: false });
  at = 2_500;
  commit(["c", { type: "answered", answer: gone }]);
  see({ type: "told", key: "c", answer: gone });
  at = 3_000;
  commit(["c", { type: "resumed", id: "r" }, { type: "ended" }]);

  at = 4_000;
  see({ type: "calm" }, { type: "ended", problem: undefined });
  for (const [key, answer] of Object.entries({ a: ok, b: ok, c: gone })) {
    const history = trace.flatMap((entry) => {
      if (entry.type !== "committed") return [];
      return entry.journal.flatMap((run) => (run.key === key ? run.events : []));
    });
    see({ type: "view", key, status: "ended", answer, history });
  }
  see({ type: "listed", keys: ["c", "b", "a"], count: 3, liveRuns: 0, openAttempts: 0 });
  return trace;
}

/** An event without its time, or a part of one. */
type Unplaced = { readonly [field: string]: unknown };

/** Anything of a trace, to be falsified. */
interface Forged {
  [field: string]: unknown;
}

/** A trace that is falsified in one place. */
class Forgery {
  readonly trace = structuredClone(soundTrace()) as unknown as Forged[];

  /** The n-th entry of a type, from 0. */
  entry(type: string, n = 0): Forged {
    return found(this.trace.filter((entry) => entry["type"] === type)[n]);
  }

  /** The n-th event of a type that a run has, from 0. */
  event(key: string, type: string, n = 0): Forged {
    return found(this.#events(key).filter(({ event }) => event["type"] === type)[n]).event;
  }

  /** Puts entries behind another one, at its time. */
  behind(entry: Forged, ...more: readonly Forged[]): void {
    const copies = more.map((one) => ({ ...one, at: entry["at"] }));
    this.trace.splice(this.trace.indexOf(entry) + 1, 0, ...copies);
  }

  /** Puts an event behind another one, at its time. */
  follow(key: string, event: Forged, next: Forged): void {
    const { list } = found(this.#events(key).find((one) => one.event === event));
    list.splice(list.indexOf(event) + 1, 0, { at: event["at"], ...next });
  }

  remove(entry: Forged): void {
    this.trace.splice(this.trace.indexOf(entry), 1);
  }

  check(): ReturnType<typeof checkTrace> {
    return checkTrace(this.trace as unknown as TraceEntry[], system);
  }

  #events(key: string): { readonly list: Forged[]; readonly event: Forged }[] {
    return this.trace
      .filter(({ type }) => type === "committed")
      .flatMap(({ journal }) => journal as { readonly key: string; readonly events: Forged[] }[])
      .filter((run) => run.key === key)
      .flatMap(({ events: list }) => list.map((event) => ({ list, event })));
  }
}

function found<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("the trace has no such thing");
  return value;
}

const forgeries: readonly [
  invariant: string,
  what: string,
  message: string,
  forge: (trace: Forgery) => void,
][] = [
  [
    "I3",
    "a call settles that is not open",
    "a: settled of call 9, which is not open",
    (t) => (t.event("a", "settled")["call"] = 9),
  ],
  [
    "I3",
    "a call number is used again",
    "a: the call number 0 is used again",
    (t) => set(t.event("a", "entered", 1), "calls", 0, "first", 0),
  ],
  ["I3", "an attempt is left out", "a: attempt 3 follows 1", (t) => (t.event("a", "attempt")["attempt"] = 3)],
  [
    "I4",
    "an outcome that no worker gave",
    "a: call 0 is ok , which no worker said of attempt 2",
    (t) => (t.entry("outcome", 2)["outcome"] = { kind: "error", code: "bad" }),
  ],
  [
    "I4",
    "the outcome of a former attempt",
    "a: attempt 2 is not the current one",
    (t) => (t.event("a", "failed")["attempt"] = 2),
  ],
  [
    "I4",
    "a call of a hub has another outcome than its child",
    "b: call 0 is ok, its child is timeout",
    (t) => (t.event("b/0", "ended")["answer"] = gone),
  ],
  [
    "I5",
    "two answers",
    "c is answered twice",
    (t) => t.follow("c", t.event("c", "answered"), { type: "answered", answer: gone }),
  ],
  [
    "I5",
    "an answer that changes when it is told again",
    "a is told two answers",
    (t) => t.behind(t.entry("told"), { type: "told", key: "a", answer: gone }),
  ],
  [
    "I5",
    "no answer to what was accepted",
    "b was accepted, and has no answer",
    (t) => t.remove(t.entry("told", 1)),
  ],
  [
    "I5",
    "an end without an answer",
    "b ends without an answer",
    (t) => delete t.event("b", "ended")["answer"],
  ],
  [
    "I5",
    "a request that starts twice",
    "b starts twice",
    (t) => t.follow("b", t.event("b", "entered"), { ...t.event("b", "started") }),
  ],
  [
    "I5",
    "a refusal for good",
    "a is refused with WW_KEY_REUSED, though it was sent as it should be",
    (t) =>
      t.behind(t.entry("submitted"), { type: "refused", key: "a", code: "WW_KEY_REUSED", retryable: false }),
  ],
  [
    "I5",
    "an answer that is shown otherwise",
    "a is shown as ended with another answer than was committed",
    (t) => (t.entry("view")["answer"] = gone),
  ],
  [
    "I5",
    "a list without a request",
    "the list has c, a, and not a, b, c",
    (t) => Object.assign(t.entry("listed"), { keys: ["c", "a"], count: 2 }),
  ],
  [
    "I5",
    "a count that is not what is listed",
    "4 requests are counted, and 3 listed",
    (t) => (t.entry("listed")["count"] = 4),
  ],
  [
    "I5",
    "a command that counts twice",
    "b: the signal s1 counts twice",
    (t) => t.follow("b", t.event("b", "signalled"), { ...t.event("b", "signalled") }),
  ],
  [
    "I5",
    "a client that is not told",
    "a has its answer, and who waits for it is not told",
    (t) => t.behind(t.entry("calm"), { type: "gave-up", key: "a", node: 1 }),
  ],
  [
    "I5",
    "an answer that is purged too early",
    "c is refused with WW_NOT_FOUND, though it was sent as it should be",
    (t) =>
      t.behind(t.entry("calm"), purged(3_000), {
        type: "refused",
        key: "c",
        code: "WW_NOT_FOUND",
        retryable: false,
      }),
  ],
  [
    "I5",
    "what has ended just now is purged",
    "c is purged 500 ms after its end",
    (t) => t.trace.splice(t.trace.indexOf(t.entry("calm")), 0, { ...purged(3_500), at: 3_500 }),
  ],
  [
    "I6",
    "a run without a deadline",
    "a has no finite deadline",
    (t) => (t.event("a", "started")["deadline"] = Infinity),
  ],
  [
    "I6",
    "an attempt without a deadline",
    "an attempt of call 0 has no deadline",
    (t) => set(t.event("a", "entered"), "calls", 0, "due", undefined),
  ],
  [
    "I6",
    "a wait without a deadline",
    "b waits in Calling without a deadline",
    (t) => {
      t.follow("b", t.event("b", "signalled"), { type: "answered", answer: ok });
      delete t.event("b", "entered", 1)["due"];
    },
  ],
  [
    "I6",
    "it never comes to rest",
    "it never comes to rest: nothing is left to happen",
    (t) => (t.entry("ended")["problem"] = "nothing is left to happen"),
  ],
  [
    "I7",
    "a callback that is forgotten",
    "b/0 in Waiting was due at 1001200; it is 1003300, and it was not called",
    (t) => {
      set(t.event("b/0", "entered"), "due", epoch + 1_200);
      shift(t, 1_300, 2_000);
    },
  ],
  [
    "I7",
    "callbacks in another order than they are due",
    "callbacks fire in another order than they are due: 1000800, 1000790",
    (t) => set(t.event("a", "entered", 1), "calls", [...dueAt(t, 2, 800), ...dueAt(t, 3, 790)]),
  ],
  [
    "I8",
    "an attempt before its pause is over",
    "a: attempt 2 of call 0 begins too early",
    (t) => (t.event("a", "failed")["due"] = epoch + 250),
  ],
  [
    "I8",
    "a timeout before it is due",
    "a: call 2 times out at 1000800, due 1000900",
    (t) => set(t.event("a", "entered", 1), "calls", 0, "due", epoch + 900),
  ],
  [
    "I8",
    "an answer for want of time, before it is due",
    "c is answered with a timeout at 1002500, before 1002600",
    (t) => (t.event("c", "started")["answerBy"] = epoch + 2_600),
  ],
  [
    "I9",
    "an answer that is told before it is committed",
    "a is told",
    (t) => move(t, t.entry("told"), t.entry("committed", 1)),
  ],
  [
    "I9",
    "accepted before it is committed",
    "a is accepted before it is committed",
    (t) => move(t, t.entry("accepted"), t.entry("submitted")),
  ],
  [
    "I9",
    "an attempt before it is committed",
    "attempt 2 of a/0 is made, which is not committed, or is over",
    (t) => move(t, t.entry("attempt", 2), t.entry("committed", 1)),
  ],
  [
    "I9",
    "an attempt that is handed out to another process before it is committed",
    "attempt 2 of a/0 is made, which is not committed, or is over",
    (t) =>
      t.behind(t.entry("committed"), {
        type: "ordered",
        node: 1,
        spoke: "step",
        request: "a",
        call: 0,
        attempt: 2,
      }),
  ],
  [
    "I9",
    "an attempt that another process makes, and nobody has committed",
    "attempt 3 of a/0 is made, which was never committed",
    (t) => t.behind(t.entry("told"), { ...t.entry("attempt"), node: 2, attempt: 3 }),
  ],
  [
    "I9",
    "an attempt of a call that is over",
    "attempt 1 of a/0 is made, which is not committed, or is over",
    (t) => t.behind(t.entry("told"), { ...t.entry("attempt") }),
  ],
  ["I9", "a batch that is left out", "batch 6 follows batch 3", (t) => (t.entry("committed", 3)["seq"] = 6)],
  [
    "I9",
    "a history with a gap",
    "the history of a is not what was committed",
    (t) => (t.entry("view")["history"] as unknown[]).splice(2, 1),
  ],
  [
    "I9",
    "a signal that is accepted and lost",
    "the signal s2 to b is accepted, and is not there",
    (t) => (t.entry("commanded")["id"] = "s2"),
  ],
  [
    "I9",
    "a child without a call",
    "b/0 is the child of a call that is not there",
    (t) => (t.event("b/0", "started")["parent"] = { key: "b", call: 5 }),
  ],
  [
    "I9",
    "an outcome that is forgotten",
    "the outcome of call 1 of a did not count, though nothing was lost",
    (t) => {
      shift(t, 300, 1_500);
      t.behind(t.entry("attempt", 1), { ...t.entry("outcome", 1) });
    },
  ],
  [
    "I10",
    "a timeout though the outcome waited",
    "a: call 2 times out, though its outcome waited",
    (t) => t.behind(t.entry("attempt", 3), { ...t.entry("outcome"), call: 2, outcome: { kind: "ok" } }),
  ],
  [
    "I11",
    "another idempotency key for the second attempt",
    "a/0 has two keys: a/0, a/0/2",
    (t) => (t.entry("attempt", 2)["idempotencyKey"] = "a/0/2"),
  ],
  [
    "I11",
    "an idempotency key that two requests share",
    "b/0 and a/1 share the key b/0",
    (t) => {
      t.entry("attempt", 1)["idempotencyKey"] = "b/0";
      t.behind(t.entry("told"), { ...t.entry("attempt"), request: "b", idempotencyKey: "b/0" });
    },
  ],
  [
    "I11",
    "an attempt that is never made",
    "a: attempt 1 of call 2 was never made",
    (t) => t.remove(t.entry("attempt", 3)),
  ],
  [
    "I12",
    "something happens after the end",
    "a does received after its end",
    (t) => t.follow("a", t.event("a", "ended"), { type: "received", signal: "go" }),
  ],
  ["I12", "a run that never ends", "c is still incident in ", (t) => t.remove(t.entry("committed", 10))],
  [
    "I12",
    "attempts that are left in memory",
    "in the end 0 runs and 1 attempts are in memory",
    (t) => (t.entry("listed")["openAttempts"] = 1),
  ],
  [
    "I12",
    "a round that drains is left with an attempt under way",
    "a leaves Working, which drains, with 1 attempts under way",
    (t) => drop(t, "a", t.event("a", "settled")),
  ],
  [
    "I23",
    "a child that goes on",
    "b has given up its call 0, and the child goes on",
    (t) => {
      drop(t, "b/0", t.event("b/0", "ended"));
      drop(t, "b", t.event("b", "settled"));
    },
  ],
  [
    "I14",
    "an edge that the chart does not have",
    "a goes from Working by Next to Done, which is no edge",
    (t) => (t.event("a", "entered", 1)["state"] = "Done"),
  ],
  [
    "I16",
    "a run goes on that was not parked",
    "b is resumed and was not parked",
    (t) => t.follow("b", t.event("b", "entered"), { type: "resumed", id: "x" }),
  ],
  [
    "I16",
    "a run that is parked twice",
    "c is parked twice",
    (t) => t.follow("c", t.event("c", "incident"), { ...t.event("c", "incident") }),
  ],
  [
    "I17",
    "one attempt too many",
    "a: call 0 has no attempt left",
    (t) => t.follow("a", t.event("a", "attempt"), { ...t.event("a", "failed"), attempt: 2, at: epoch + 200 }),
  ],
  [
    "I20",
    "a run that an older version has moved on",
    "a starts with version 1, its owner has 2",
    (t) => (t.entry("started")["versions"] = { work: 2, wait: 1 }),
  ],
  [
    "I20",
    "a run that goes back to an older version",
    "b goes from version 1 to 0; its owner has 1",
    (t) => t.follow("b", t.event("b", "entered"), { type: "migrated", version: 0 }),
  ],
  [
    "I21",
    "an epoch that is not new",
    "epoch 1 is not new",
    (t) => t.behind(t.entry("calm"), { type: "claimed", node: 2, epoch: 1 }),
  ],
  [
    "I21",
    "a commit of an owner that was fenced",
    "the epoch 1 commits, when 2 is the owner's",
    (t) => t.behind(t.entry("ready"), { type: "claimed", node: 2, epoch: 2 }),
  ],
  [
    "I21",
    "an owner that was fenced, and takes the shard back",
    "process 1 was fenced, and takes the shard back",
    (t) =>
      t.behind(
        t.entry("calm"),
        { type: "claimed", node: 2, epoch: 2 },
        { type: "claimed", node: 1, epoch: 3 },
      ),
  ],
  [
    "I25",
    "a deadline that passes too early",
    "b/0 leaves Waiting by Late at 1001300; its deadline: 1010000",
    (t) => {
      t.event("b/0", "started")["deadline"] = epoch + 10_000;
      t.event("b/0", "entered")["due"] = epoch + 10_000;
    },
  ],
  [
    "I25",
    "a wait that is due at another time than its deadline and its timers say",
    "b/0: Waiting is due at 1001200, and not at 1001300",
    (t) => (t.event("b/0", "entered")["due"] = epoch + 1_200),
  ],
  [
    "I25",
    "a timer that is armed for another instant than its value says",
    'b/0: [{"event":"Late","ms":150,"due":1001300}] at 1001100 in Waiting, entered at 1001100',
    (t) => (t.event("b/0", "entered")["timers"] = [{ event: "Late", ms: 150, due: epoch + 1_300 }]),
  ],
  [
    "I25",
    "a timer that fires too early",
    'b/0: Late fires at 1001100; the timers are [{"event":"Late","ms":150,"due":1001250}]',
    (t) => {
      const entered = t.event("b/0", "entered");
      Object.assign(entered, {
        due: epoch + 1_250,
        timers: [{ event: "Late", ms: 150, due: epoch + 1_250 }],
      });
      t.follow("b/0", entered, { type: "fired", timer: "Late" });
    },
  ],
  [
    "I26",
    "a signal that is kept although the state takes it",
    "b keeps the signal go in Waiting, which takes it",
    (t) => delete t.event("b", "signalled")["taken"],
  ],
  [
    "I26",
    "a signal that is dropped although a state may take it",
    "b drops the signal go in Waiting, which may be taken yet",
    (t) => {
      delete t.event("b", "signalled")["taken"];
      t.event("b", "signalled")["dropped"] = true;
    },
  ],
  [
    "I26",
    "a kept signal that was never kept",
    "b takes the kept signal go in Waiting, and has ",
    (t) => t.follow("b", t.event("b", "signalled"), { type: "received", signal: "go" }),
  ],
  [
    "Time",
    "engine time that goes back",
    "engine time goes back from 1000200 to 1000000",
    (t) => (t.entry("committed", 3)["now"] = epoch),
  ],
  [
    "Time",
    "an event later than its batch",
    "an event of a is later than its batch",
    (t) => (t.event("a", "ended")["at"] = epoch + 900),
  ],
  [
    "outside",
    "what the system itself has found",
    "a zombie",
    (t) => t.behind(t.entry("calm"), { type: "outside", problem: "a zombie" }),
  ],
];

/** Sets a field deep in an entry. */
function set(target: Forged, ...way: readonly unknown[]): void {
  const field = way.at(-2) as string;
  const parent = way
    .slice(0, -2)
    .reduce((value, name) => (value as Forged)[name as string], target as unknown);
  (parent as Forged)[field] = way.at(-1);
}

/** Puts an entry where another one is, behind it. */
function move(t: Forgery, entry: Forged, behind: Forged): void {
  t.remove(entry);
  t.behind(behind, { ...entry, at: behind["at"] });
}

/** Takes an event out of its batch. */
function drop(t: Forgery, key: string, event: Forged): void {
  for (const { journal } of t.trace.filter(({ type }) => type === "committed"))
    for (const run of journal as { key: string; events: Forged[] }[])
      if (run.key === key) run.events = run.events.filter((one) => one !== event);
}

/** Lets all that is seen from a time on happen so much later. */
function shift(t: Forgery, from: number, by: number): void {
  for (const entry of t.trace) {
    if ((entry["at"] as number) < from) continue;
    entry["at"] = (entry["at"] as number) + by;
    if (entry["type"] !== "committed") continue;
    entry["now"] = (entry["now"] as number) + by;
    for (const { events } of entry["journal"] as { events: Forged[] }[])
      for (const event of events) event["at"] = (event["at"] as number) + by;
  }
}

const dueAt = (t: Forgery, first: number, due: number): unknown[] =>
  (t.event("a", "entered", 1)["calls"] as Forged[]).map((group) => ({
    ...group,
    first,
    inputs: [{}],
    due: epoch + due,
  }));

const purged = (at: number): Forged => ({ type: "purged", node: 1, endedBefore: epoch + at });

test("a sound trace passes, and holds every invariant against something", () => {
  const { violations, exercised, edges } = new Forgery().check();
  expect(violations).toEqual([]);
  const invariants = new Set(forgeries.map(([invariant]) => invariant));
  invariants.delete("outside");
  for (const invariant of invariants) expect(exercised.get(invariant), invariant).toBeGreaterThan(0);
  expect(edges).toContain("work: Working --Next--> Checking");
});

test("what has outlived its retention may be unknown, and may be sent again", () => {
  const forgery = new Forgery();
  const refused = { type: "refused", key: "c", code: "WW_NOT_FOUND", retryable: false };
  forgery.behind(forgery.entry("calm"), purged(3_001), refused);
  forgery.remove(forgery.entry("view", 2));
  Object.assign(forgery.entry("listed"), { keys: [], count: 0 });
  expect(forgery.check().violations).toEqual([]);
});

test("after a jump of the wall clock, engine time may be ahead, and what has ended purged sooner", () => {
  const forgery = new Forgery();
  const jump = { type: "fault", kind: "clock-jump", at: 3_400 };
  const early = { ...purged(3_500), at: 3_500 };
  const place = forgery.trace.indexOf(forgery.entry("calm"));
  forgery.trace.splice(place, 0, jump, early);
  expect(forgery.check().violations).toEqual([]);
});

test("one that wakes up is to blame for what is late only if it has its store", () => {
  const lateness = (...seen: readonly Forged[]): number => {
    const forgery = new Forgery();
    shift(forgery, 1_300, 3_000);
    const place = forgery.trace.findIndex(({ at }) => (at as number) > 1_300);
    forgery.trace.splice(place, 0, ...seen);
    return forgery.check().violations.filter(({ invariant }) => invariant === "I7").length;
  };
  const frozen = { type: "frozen", node: 1, at: 1_250 };
  const thawed = { type: "thawed", node: 1, at: 1_300 };
  const claimed = { type: "claimed", node: 1, epoch: 2, at: 4_300 };
  expect(lateness(frozen, thawed, claimed)).toBe(1);
  expect(lateness({ type: "store-failed", node: 1, at: 1_200 }, frozen, thawed, claimed)).toBe(0);
});

test("who watches may be told once more of what was, only if the store has archived what came before", () => {
  const told = (...between: readonly Forged[]): readonly string[] => {
    const forgery = new Forgery();
    const update = { status: "running", state: "Working", view: undefined, answer: undefined };
    const shown = { type: "shown", key: "a", node: 1, at: 250 };
    const place = forgery.trace.findIndex(({ at }) => (at as number) > 250);
    const first = { ...shown, after: 0, update: { ...update, event: 2 } };
    const again = { ...shown, after: 2, update: { ...update, event: 4 } };
    forgery.trace.splice(place, 0, first, ...between, again);
    return forgery.check().violations.map(({ invariant }) => invariant);
  };
  const archived = (before: number): Forged => ({ type: "archived", node: 1, before, at: 250 });
  expect(told()).toEqual(["I37"]);
  expect(told(archived(epoch))).toEqual(["I37"]);
  // No commit says how late it is by then.
  expect(told(archived(epoch + 1))).toEqual([]);
});

describe("a falsified trace is found", () => {
  test.each(forgeries)("%s: %s", (invariant, _what, message, forge) => {
    const forgery = new Forgery();
    forge(forgery);
    const found = forgery.check().violations.filter((violation) => violation.message.startsWith(message));
    expect(found[0]?.invariant).toBe(invariant);
  });
});
