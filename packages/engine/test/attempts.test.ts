import { spoke, type Outcome } from "@wheelwork/core";
import {
  externalWorker,
  LocalBus,
  relay,
  worker,
  type AttemptContext,
  type Message,
  type ReplyPath,
  type Worker,
} from "@wheelwork/engine";
import { WorkerHost, type AttemptRequest } from "@wheelwork/engine/parts";
import { SimulatedClock } from "@wheelwork/testing";
import { describe, expect, test } from "vitest";
import { z } from "zod";

/** The worker host, by itself: what workers see of it, and what it does with their places and outcomes. */

const work = spoke("work", {
  input: z.number(),
  output: z.number(),
  errors: ["refused"],
  timeoutMs: 1000,
  concurrency: 2,
});

const inProcess: ReplyPath = { kind: "process" };
const throughLog: ReplyPath = { kind: "log", inbox: { topic: "inbox", partition: 3 }, relays: true };

/** A call of a run, as the host is asked to make an attempt of it. */
const request = (number: number, attempt = 1): AttemptRequest => ({
  run: { key: "r1", epoch: 4, createdAt: 7 },
  number,
  callee: "work",
  attempt,
  input: number,
  key: undefined,
  due: 1000,
  work: undefined,
});

class Bench {
  readonly bus = new LocalBus();
  readonly clock = new SimulatedClock();
  readonly errors: string[] = [];
  readonly reports: string[] = [];
  readonly outcomes: Outcome[] = [];
  readonly host: WorkerHost;

  constructor(served: Worker, replies: ReplyPath = inProcess) {
    this.host = new WorkerHost({
      workers: [served],
      ports: { bus: this.bus, replies },
      report: ({ call, attempt }, outcome) => {
        this.reports.push(`${call}.${attempt} ${said(outcome)}`);
        this.outcomes.push(outcome);
      },
      clock: this.clock,
      logger: {
        debug: () => {},
        info: () => {},
        warn: () => {},
        error: (_fields, message) => void this.errors.push(message),
      },
    });
    this.host.attach();
  }
}

const said = (outcome: Outcome): string => {
  if (outcome.kind === "ok") return `ok ${String(outcome.output)}`;
  return outcome.kind === "error" ? `${outcome.code}: ${outcome.message}` : outcome.kind;
};

/** Everything that is to be had of an object by its name, its prototypes included. */
function members(object: object): string[] {
  const names = new Set<string>();
  for (let part = object; part !== Object.prototype; part = Object.getPrototypeOf(part) as object)
    for (const name of Reflect.ownKeys(part)) names.add(String(name));
  names.delete("constructor");
  return [...names].toSorted();
}

const documented = [
  "attempt",
  "call",
  "deadline",
  "fail",
  "fence",
  "idempotencyKey",
  "lastProgress",
  "progress",
  "requestId",
  "signal",
  "traceparent",
  "tracestate",
];
const internal = [
  "request",
  "index",
  "isMade",
  "place",
  "waits",
  "awaitingLog",
  "name",
  "abort",
  "context",
  "host",
];

/** What a context has by name; and what it has of the host, as a name or as a value. */
function seenOf(context: object | undefined) {
  const names = members(context ?? {});
  const values = Object.values(context ?? {}) as unknown[];
  return { members: names, leaks: [...internal.filter((name) => name in (context ?? {})), ...values] };
}

describe("what user code sees of an attempt is what is documented, and nothing of the host", () => {
  // What it knows is read by getters: it has no values of its own that could be changed.
  test("by a worker function", () => {
    const seen: object[] = [];
    const bench = new Bench(worker(work, (n, ctx) => (seen.push(ctx), n)));
    bench.host.begin(request(7));
    const [context] = seen as [AttemptContext];
    expect(seenOf(context)).toEqual({ members: documented, leaks: [] });
    expect(context).toMatchObject({ requestId: "r1", call: 7, attempt: 1, deadline: 1000 });
    expect(context.idempotencyKey).toBe("r1/7");
    expect(() => Object.assign(context, { attempt: 2 })).toThrow(TypeError);
    expect(context.signal.aborted).toBe(false);
    expect(() => context.fail("refused", "no")).toThrow("refused: no");
  });

  test("by what a relay sends", () => {
    const seen: object[] = [];
    const send = (n: number, context: object): Message => (seen.push(context), { key: `${n}`, value: "" });
    const bench = new Bench(relay(work, { to: "out", from: "back", send, receive: () => undefined }));
    bench.host.begin(request(7));
    expect(seenOf(seen[0])).toEqual({ members: documented, leaks: [] });
  });

  test("by the maker of a worker, who has a few more", () => {
    const seen: AttemptContext[] = [];
    const attempt: Worker["attempt"] = (_input, context) => (seen.push(context), { kind: "ok", output: 1 });
    new Bench({ spoke: work as unknown as Worker["spoke"], attempt }).host.begin(request(7));
    const more = [
      ...documented,
      "cause",
      "createdAt",
      "epoch",
      "key",
      "late",
      "onAbort",
      "postpone",
      "runKey",
      "trace",
    ].toSorted();
    expect(seenOf(seen[0])).toEqual({ members: more, leaks: [] });
    expect(seen[0]).toMatchObject({ requestId: "r1", call: 7, attempt: 1, deadline: 1000, epoch: 4 });
  });

  test("a signal that is asked for late is aborted, and so is one that was asked for before", () => {
    const seen: AttemptContext[] = [];
    const asked = request(1);
    const bench = new Bench(
      worker(work, (_n, ctx) => (seen.push(ctx as AttemptContext), new Promise(() => {}))),
    );
    bench.host.begin(asked);
    bench.host.begin(request(2));
    const early = seen[0]?.signal;
    expect(early?.aborted).toBe(false);
    bench.host.endAll();
    expect(early?.aborted).toBe(true);
    expect(seen[1]?.signal.aborted).toBe(true);
  });
});

describe("a worker host", () => {
  /** A worker whose attempts are settled by hand. */
  function byHand() {
    const made: number[] = [];
    const settle = new Map<number, (outcome: Outcome) => void>();
    const served: Worker = {
      spoke: work as unknown as Worker["spoke"],
      attempt: (input, { call }) => {
        made.push(input as number);
        return new Promise((resolve) => void settle.set(call, resolve));
      },
    };
    const ok = async (call: number): Promise<void> => {
      settle.get(call)?.({ kind: "ok", output: call });
      await Promise.resolve();
      await Promise.resolve();
    };
    return { made, ok, settle, ...new Bench(served) };
  }

  test("makes as many attempts at once as the spoke allows, the others in their order", async () => {
    const { made, ok, host, reports } = byHand();
    for (let call = 1; call <= 5; call++) host.begin(request(call));
    expect([made, host.size]).toEqual([[1, 2], 5]);
    await ok(2);
    expect(made).toEqual([1, 2, 3]);
    await ok(1);
    await ok(3);
    expect(made).toEqual([1, 2, 3, 4, 5]);
    expect([reports, host.size]).toEqual([["2.1 ok 2", "1.1 ok 1", "3.1 ok 3"], 2]);
  });

  test("passes over what was closed while it waited, and gives the places of what is closed to others once its work has ended", async () => {
    const { made, ok, host } = byHand();
    const calls = [1, 2, 3, 4].map((call) => request(call));
    for (const call of calls) host.begin(call);
    host.end([calls[0], calls[2]] as AttemptRequest[]);
    expect([made, host.size]).toEqual([[1, 2], 2]);
    await ok(1);
    expect([made, host.size]).toEqual([[1, 2, 4], 2]);
  });

  test("an attempt that outlives its timeout ten times loses its place, once, and the log says so", async () => {
    const { made, ok, host, clock, errors } = byHand();
    const calls = [1, 2, 3, 4, 5].map((call) => request(call));
    for (const call of calls) host.begin(call);
    host.end([calls[0]] as AttemptRequest[]);
    await clock.advance(9999);
    expect([made, errors]).toEqual([[1, 2], []]);
    await clock.advance(1);
    expect(made).toEqual([1, 2, 3]);
    expect(errors).toEqual([
      "the work of an attempt has not ended long after its timeout: it is abandoned, and goes on beside others",
    ]);
    // Its place is gone already.
    await ok(1);
    expect(made).toEqual([1, 2, 3]);
    await ok(2);
    expect(made).toEqual([1, 2, 3, 4]);
  });

  test("places outlive the memory of the engine, as their work does", async () => {
    const { made, ok, host } = byHand();
    for (const call of [1, 2]) host.begin(request(call));
    host.endAll();
    for (const call of [3, 4]) host.begin(request(call));
    expect(made).toEqual([1, 2]);
    await ok(1);
    expect(made).toEqual([1, 2, 3]);
  });

  test("reports a success that comes after the end, and no failure (I4)", async () => {
    const { ok, settle, host, reports } = byHand();
    const calls = [request(1), request(2)];
    for (const call of calls) host.begin(call);
    host.end(calls);
    settle.get(1)?.({ kind: "error", code: "refused" as "WW_WORKER_FAILED", message: "told to stop" });
    await ok(2);
    expect([reports, host.size]).toEqual([["2.1 ok 2"], 0]);
  });

  test("makes an attempt once, however often it is begun; a later attempt replaces it", async () => {
    const { made, ok, host, reports } = byHand();
    const call = { ...request(1) };
    host.begin(call);
    host.begin(call);
    expect(made).toEqual([1]);
    // The call of a run goes on, and its attempt is the next one then.
    host.begin(Object.assign(call, { attempt: 2 }));
    expect([made, host.size]).toEqual([[1, 1], 1]);
    await ok(1);
    expect([reports, host.size]).toEqual([["1.2 ok 1"], 0]);
  });

  test("forgets all when its engine stops", () => {
    const { made, host, clock } = byHand();
    for (let call = 1; call <= 4; call++) host.begin(request(call));
    host.endAll();
    host.detach();
    expect([made, host.size, clock.armed]).toEqual([[1, 2], 0, 0]);
  });

  test("an output that is not plain JSON fails its attempt, and names the place", () => {
    const anything = spoke("work", { input: z.number(), output: z.any(), timeoutMs: 1000 });
    const outputs = [17n, { a: [new Date(0)] }, { at: () => 1 }];
    const bench = new Bench(worker(anything, (n: number) => outputs[n - 1]));
    for (const n of [1, 2, 3]) bench.host.begin({ ...request(n), input: n });
    const invalid = "WW_INVALID_OUTPUT: the output of the worker of work is not valid";
    expect(bench.reports).toEqual([
      `1.1 ${invalid}: is a bigint, which JSON does not have`,
      `2.1 ${invalid}: a.0: is an instance of Date, not a plain object`,
      `3.1 ${invalid}: at: is a function, which JSON does not have`,
    ]);
  });

  test("what a worker does to its output later changes nothing", async () => {
    const anything = spoke("work", { input: z.number(), output: z.any(), timeoutMs: 1000 });
    const shared = { list: [1] };
    const bench = new Bench(worker(anything, () => shared));
    bench.host.begin(request(1));
    shared.list.push(2);
    expect(bench.outcomes).toEqual([{ kind: "ok", output: { list: [1] } }]);
  });

  test("a thenable is awaited: a query that does nothing until then is done", async () => {
    const anything = spoke("work", { input: z.number(), output: z.any(), timeoutMs: 1000 });
    let done = 0;
    // oxlint-disable-next-line no-thenable -- what is awaited here is such an object
    const query = { then: (resolve: (rows: unknown) => void) => resolve([++done]) };
    const bench = new Bench(worker(anything, () => query as never));
    bench.host.begin(request(1));
    await expect.poll(() => bench.reports).toEqual(["1.1 ok 1"]);
  });
});

describe("outcomes come back", () => {
  const spec = {
    to: "questions",
    from: "answers",
    send: (n: number): Message => ({ key: `r1-${n}`, value: `${n}` }),
    receive: ({ key, value }: Message) => ({
      correlation: key,
      outcome: { kind: "ok" as const, output: Number(value) },
    }),
  };
  const naming = { ...spec, request: ({ key }: Message) => key.slice(0, key.indexOf("-")) };
  const external = externalWorker(work, { topic: "questions" });

  /** Begins an attempt, and gives what was sent for it. */
  async function asked(bench: Bench, number: number): Promise<Message[]> {
    const messages: Message[] = [];
    const end = bench.bus.subscribe("questions", (message) => messages.push(message));
    bench.host.begin(request(number));
    await new Promise((resolve) => setImmediate(resolve));
    end();
    return messages;
  }

  async function answered(bench: Bench, number: number): Promise<void> {
    bench.bus.publish("answers", { key: `r1-${number}`, value: "42" });
    await new Promise((resolve) => setImmediate(resolve));
  }

  test.each([
    ["a relay, in one process", naming, inProcess],
    ["a relay where the engine does not read its topic", naming, { ...throughLog, relays: false }],
    ["a relay whose messages do not name their requests, in a cluster", spec, throughLog],
  ])("as the result of the attempt: %s", async (_name, given, replies) => {
    const bench = new Bench(relay(work, given), replies);
    expect(await asked(bench, 1)).toEqual([{ key: "r1-1", value: "1" }]);
    expect([bench.host.adopt(request(2)), bench.host.expected("work", "r1-1")]).toEqual([false, undefined]);
    await answered(bench, 1);
    expect([bench.reports, bench.host.size]).toEqual([["1.1 ok 42"], 0]);
  });

  test("through a log: a relay whose messages name their requests, in a cluster", async () => {
    const bench = new Bench(relay(work, naming), throughLog);
    expect(await asked(bench, 1)).toHaveLength(1);
    await answered(bench, 1);
    // The engine reads the topic, and asks which attempt the message is for.
    expect([bench.reports, bench.host.size]).toEqual([[], 1]);
    expect(bench.host.expected("work", "r1-1")).toMatchObject({ requestId: "r1", call: 1, attempt: 1 });
    bench.host.endAll();
    expect(bench.host.expected("work", "r1-1")).toBeUndefined();
  });

  test("through the inbox: an external worker, which is told where that is", async () => {
    const bench = new Bench(external, throughLog);
    const [message] = await asked(bench, 1);
    expect(message).toMatchObject({
      key: "r1",
      value: "1",
      headers: {
        "reply-to": "inbox",
        "reply-partition": "3",
        "correlation-id": "1.1.4.7.work",
        deadline: "1000",
      },
    });
    expect([bench.reports, bench.host.size]).toEqual([[], 1]);
  });

  test("not at all: an external worker without an inbox, which fails the attempt", async () => {
    const bench = new Bench(external, inProcess);
    expect(await asked(bench, 1)).toEqual([]);
    expect(bench.reports).toHaveLength(1);
    expect(bench.reports[0]).toContain("WW_CONFIG: the spoke work has an external worker");
  });

  test("of an earlier owner's attempts, which are made again once the log is read", async () => {
    const bench = new Bench(external, throughLog);
    const calls = [request(1), request(2)] as const;
    for (const call of calls) expect(bench.host.adopt(call)).toBe(true);
    expect([bench.host.hasAdopted, bench.host.size]).toEqual([true, 2]);
    // The log has the outcome of the first: its call is closed.
    bench.host.end([calls[0]]);
    expect(bench.host.readopt().map(({ call }) => call)).toEqual([2]);
    expect(bench.host.hasAdopted).toBe(false);
    const messages: Message[] = [];
    bench.bus.subscribe("questions", (message) => messages.push(message));
    bench.host.begin(calls[1]);
    await new Promise((resolve) => setImmediate(resolve));
    expect(messages.map(({ value }) => value)).toEqual(["2"]);
  });
});
