// Hubs by handlers, over the real engine.
import {
  end,
  hub,
  hubByHandlers,
  spoke,
  stay,
  type Answer,
  type AnyHub,
  type CleanUpCause,
  type Outcome,
  type RunEvent,
  type SettledCall,
} from "@wheelwork/core";
import { createEngine, worker, type Engine, type MaybePromise, type WorkerContext } from "@wheelwork/engine";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { afterEach, beforeEach, describe, expect, it, test } from "vitest";

const Stop = v.strictObject({ stop: v.string() });
const book = spoke("book", {
  input: Stop,
  output: v.strictObject({ ticket: v.string() }),
  errors: ["full"],
  timeoutMs: 1_000,
  retry: { attempts: 3, giveUpOn: ["full"] },
});
const drop = spoke("drop", {
  input: Stop,
  output: v.strictObject({}),
  timeoutMs: 1_000,
  retry: { attempts: 2 },
});

const TripRequest = v.strictObject({ stops: v.array(v.string()) });
const TripReply = v.strictObject({ tickets: v.record(v.string(), v.string()) });

interface TripData {
  stops: readonly string[];
  tickets: Readonly<Record<string, string>>;
  failure: string;
  notDropped: readonly string[];
}

const tripSpec = {
  request: TripRequest,
  reply: TripReply,
  errors: ["full", "late", "cancelled", "broken"],
  deadlineMs: 10_000,
  data: ({ stops }: v.InferOutput<typeof TripRequest>): TripData => ({
    stops,
    tickets: {},
    failure: "",
    notDropped: [],
  }),
} as const;

/** Books every stop side by side; if one fails, drops them all. */
const tripOf = (name: string, cleanUpMs: number) =>
  hubByHandlers(
    name,
    { ...tripSpec, cleanUpMs, calls: [book, drop] },
    {
      request: (s) => {
        for (const stop of s.data.stops) s.call(book, { stop }, { tag: `book ${stop}` });
        if (s.open === 0) s.reply({ tickets: {} });
      },
      response: (s, { tag, callee, input }, outcome) => {
        const { stop } = input as { readonly stop: string };
        if (tag !== `${callee} ${stop}`) throw new Error(`the tag ${tag} is not that of ${callee} ${stop}`);
        if (s.cleaningUp) {
          if (outcome.kind !== "ok") s.patch({ notDropped: [...s.data.notDropped, stop] });
          if (s.open === 0) conclude(s);
        } else if (outcome.kind === "ok") {
          const { ticket } = outcome.output as { readonly ticket: string };
          s.patch({ tickets: { ...s.data.tickets, [stop]: ticket } });
          if (s.open === 0) s.reply({ tickets: s.data.tickets });
        } else {
          s.patch({ failure: outcome.kind === "error" && outcome.code === "full" ? "full" : "broken" });
          s.cleanUp();
        }
      },
      timeout: (s, cause) => {
        const failures = { deadline: "late", cancel: "cancelled", request: s.data.failure };
        s.patch({ failure: failures[cause] });
        for (const stop of s.data.stops) s.call(drop, { stop }, { tag: `drop ${stop}` });
      },
    },
  );

function conclude(s: {
  readonly data: TripData;
  fail(code: "full", message: string, details: unknown): void;
}): void {
  s.fail(s.data.failure as "full", "no trip", { notDropped: s.data.notDropped });
}

const trip = tripOf("trip", 10_000);

/** The same hub by a chart. */
const tripByChart = hub(
  "trip-by-chart",
  {
    ...tripSpec,
    cancel: { raise: "Cancelled", patch: () => ({ failure: "cancelled" }) },
    chart: {
      Booking: {
        Booked: stay,
        AllBooked: "Booked",
        Failed: "Dropping",
        TooLate: "Dropping",
        Cancelled: "Dropping",
      },
      Dropping: { Dropped: stay, AllDropped: "NotBooked", TooLate: "GivenUp" },
      Booked: end,
      NotBooked: end,
      GivenUp: end,
    },
  },
  {
    Booking: (s) =>
      s.each(book, {
        inputs: ({ stops }) => stops.map((stop) => ({ stop })),
        ok: ({ tickets }, { ticket }, { input }) =>
          s.raise("Booked", { tickets: { ...tickets, [input.stop]: ticket } }),
        failed: (_data, failure) =>
          s.raise("Failed", {
            failure: failure.kind === "error" && failure.code === "full" ? "full" : "broken",
          }),
        done: "AllBooked",
        deadline: { raise: "TooLate", patch: () => ({ failure: "late" }) },
      }),
    Dropping: (s) =>
      s.each(drop, {
        inputs: ({ stops }) => stops.map((stop) => ({ stop })),
        ok: "Dropped",
        failed: ({ notDropped }, _failure, { input }) =>
          s.raise("Dropped", { notDropped: [...notDropped, input.stop] }),
        done: "AllDropped",
        after: { TooLate: 10_000 },
      }),
    Booked: ({ tickets }) => ({ tickets }),
    NotBooked: ({ failure, notDropped }, s) => s.fail(failure as "full", "no trip", { notDropped }),
    GivenUp: (_data, s) => s.fail("broken", "gave up"),
  },
);

type Attempts = (input: { readonly stop: string }, context: WorkerContext<never>) => MaybePromise<unknown>;
interface Served {
  readonly book?: Attempts;
  readonly drop?: Attempts;
}

let folder: string;
let made: { readonly engine: Engine; readonly calls: string[]; readonly hubs: readonly AnyHub[] }[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "wheelwork-handlers-"));
  made = [];
});
afterEach(async () => {
  for (const { engine } of made) await engine.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** An engine on the test's file. `calls`: the inputs that its workers got, in order. */
async function open(hubs: readonly AnyHub[], served: Served = {}) {
  const calls: string[] = [];
  const serve = (name: "book" | "drop", context: WorkerContext<never>, input: { readonly stop: string }) => {
    calls.push(`${name} ${input.stop}`);
    return served[name]?.(input, context);
  };
  const engine = createEngine({
    hubs,
    workers: [
      worker(book, async (input, context) => {
        await serve("book", context as unknown as WorkerContext<never>, input);
        return { ticket: `to ${input.stop}` };
      }),
      worker(drop, async (input, context) => {
        await serve("drop", context, input);
        return {};
      }),
    ],
    store: join(folder, "runs.db"),
  });
  const opened = { engine, calls, hubs };
  made.push(opened);
  await engine.start();
  return opened;
}

const never = (): Promise<never> => new Promise(() => {});
const breaks = (): never => {
  throw new Error("broken");
};
const full: Attempts = (_input, context) =>
  (context.fail as (code: string, message: string) => never)("full", "no");
/** `only`: what a worker does for one stop. It serves all others. */
const at =
  (only: string, attempts: Attempts): Attempts =>
  (input, context) =>
    input.stop === only ? attempts(input, context) : undefined;

function once(): { readonly happened: Promise<void>; readonly happens: () => void } {
  let happens = (): void => {};
  const happened = new Promise<void>((resolve) => (happens = resolve));
  return { happened, happens: () => happens() };
}

/** The states of a run. It checks that an edge of the chart led to each (I14). */
async function statesOf(engine: Engine, of: AnyHub, id: string): Promise<string[]> {
  const { chart, initial } = of.definition;
  const states: string[] = [];
  for (const event of await engine.history(id)) {
    if (event.type !== "entered") continue;
    const from = states.at(-1);
    const row = from === undefined ? undefined : chart[from];
    const declared = from === undefined ? initial : typeof row === "object" ? row[event.by ?? ""] : undefined;
    if (event.state !== declared) throw new Error(`${from} has no edge ${event.by} to ${event.state}`);
    states.push(event.state);
  }
  return states;
}

const eventsOf = async <T extends RunEvent["type"]>(engine: Engine, id: string, type: T) =>
  (await engine.history(id)).filter((event): event is Extract<RunEvent, { type: T }> => event.type === type);

describe("a hub by handlers", () => {
  it("calls, gets each outcome with the tag of its call, and replies", async () => {
    const { engine, calls } = await open([trip]);
    const { id } = await engine.submit(trip, { stops: ["Rome", "Oslo", "Bern"] });
    expect(await engine.answer(id)).toEqual({
      kind: "result",
      value: { tickets: { Rome: "to Rome", Oslo: "to Oslo", Bern: "to Bern" } },
    });
    expect(calls).toEqual(["book Rome", "book Oslo", "book Bern"]);
    expect(await statesOf(engine, trip, id)).toEqual(["Working", "Done"]);
  });

  it("replies in its first turn", async () => {
    const { engine, calls } = await open([trip]);
    expect(await engine.call(trip, { stops: [] })).toEqual({ kind: "result", value: { tickets: {} } });
    expect(calls).toEqual([]);
  });

  it("calls one after another, and knows how many calls are open", async () => {
    const opened: number[] = [];
    const chain = hubByHandlers(
      "chain",
      {
        request: v.strictObject({ stops: v.array(v.string()) }),
        reply: v.strictObject({ seen: v.array(v.string()) }),
        deadlineMs: 10_000,
        cleanUpMs: 1_000,
        calls: [book],
        data: ({ stops }) => ({ left: stops, seen: [] as string[] }),
      },
      {
        request: (s) => next(s),
        response: (s, call, outcome) => {
          opened.push(s.open);
          s.patch({
            seen: [...s.data.seen, `${call.callee}/${String(call.tag)}/${call.index}/${outcome.kind}`],
          });
          next(s);
          opened.push(s.open);
        },
        timeout: (s) => s.reply({ seen: ["too late"] }),
      },
    );
    const next = (s: Parameters<Parameters<typeof hubByHandlers>[2]["request"]>[0]): void => {
      const { left, seen } = s.data as { readonly left: readonly string[]; readonly seen: readonly string[] };
      const [stop, ...others] = left;
      if (stop === undefined) return s.reply({ seen: [...seen] });
      s.patch({ left: others });
      s.call(book, { stop });
    };
    const { engine } = await open([chain]);
    expect(await engine.call(chain, { stops: ["Rome", "Oslo"] })).toMatchObject({
      value: { seen: ["book/undefined/0/ok", "book/undefined/0/ok"] },
    });
    expect(opened).toEqual([0, 1, 0, 0]);
  });

  it("retries a call as its spoke says, under one idempotency key", async () => {
    const keys: string[] = [];
    const { engine } = await open([trip], {
      book: (_input, { attempt, idempotencyKey }) => {
        keys.push(idempotencyKey);
        if (attempt < 3) breaks();
      },
    });
    const { id } = await engine.submit(trip, { stops: ["Rome"] });
    expect(await engine.answer(id)).toMatchObject({ kind: "result" });
    expect(keys).toEqual([`${id}/0`, `${id}/0`, `${id}/0`]);
    expect(await eventsOf(engine, id, "failed")).toHaveLength(2);
  });

  it("gives a call its own idempotency key", async () => {
    const keyed = hubByHandlers(
      "keyed",
      {
        ...tripSpec,
        cleanUpMs: 1_000,
        calls: [book],
      },
      {
        request: (s) => s.call(book, { stop: "Rome" }, { key: "rome" }),
        response: (s) => s.reply({ tickets: {} }),
        timeout: (s) => s.fail("late", ""),
      },
    );
    const keys: string[] = [];
    const { engine } = await open([keyed], {
      book: (_input, context) => void keys.push(context.idempotencyKey),
    });
    const { id } = await engine.submit(keyed, { stops: [] });
    await engine.answer(id);
    expect(keys).toEqual([`/book/${id}/k:rome`]);
  });

  it("fails with a code that it declares, and with no other", async () => {
    const failing = (code: "full") =>
      hubByHandlers(
        "failing",
        { ...tripSpec, cleanUpMs: 1_000, calls: [] },
        {
          request: (s) => s.fail(code, "no", { why: "because" }),
          response: () => {},
          timeout: () => {},
        },
      );
    const declared = failing("full");
    const first = await open([declared]);
    expect(await first.engine.call(declared, { stops: [] })).toEqual({
      kind: "error",
      code: "full",
      message: "no",
      details: { why: "because" },
    });
    await first.engine.stop();
    const undeclared = failing("unheard-of" as "full");
    const { engine } = await open([undeclared]);
    const { id } = await engine.submit(undeclared, { stops: [] });
    expect(await engine.request(id)).toMatchObject({
      status: "incident",
      incident: { error: { code: "WW_INVALID_REPLY" } },
    });
  });

  it("keeps what it stores for itself out of the author's data", async () => {
    let seen: unknown;
    const looking = hubByHandlers(
      "looking",
      { ...tripSpec, cleanUpMs: 1_000, calls: [] },
      {
        request: (s) => {
          seen = s.data;
        },
        response: () => {},
        timeout: (s) => s.fail("late", ""),
      },
    );
    const { engine } = await open([looking]);
    const { id } = await engine.submit(looking, { stops: ["Rome"] });
    expect((await engine.request(id)).data).toMatchObject({ stops: ["Rome"], tickets: {} });
    expect(seen).toEqual({ stops: ["Rome"], tickets: {}, failure: "", notDropped: [] });
  });
});

describe("the clean-up", () => {
  it("follows the deadline: open calls are closed, and its own calls get outcomes", async () => {
    const { engine, calls } = await open([trip], { book: at("Oslo", never) });
    const { id } = await engine.submit(trip, { stops: ["Rome", "Oslo"] }, { deadlineMs: 100 });
    expect(await engine.answer(id)).toEqual({
      kind: "error",
      code: "late",
      message: "no trip",
      details: { notDropped: [] },
    });
    expect(calls).toEqual(["book Rome", "book Oslo", "drop Rome", "drop Oslo"]);
    expect(await statesOf(engine, trip, id)).toEqual(["Working", "CleaningUp", "Done"]);
    expect((await engine.request(id)).status).toBe("ended");
  });

  it("follows a cancel, once", async () => {
    const booked = once();
    const dropping = once();
    const go = once();
    const { engine, calls } = await open([trip], {
      book: () => {
        booked.happens();
        return never();
      },
      drop: () => {
        dropping.happens();
        return go.happened;
      },
    });
    const { id } = await engine.submit(trip, { stops: ["Rome"] });
    await booked.happened;
    expect(await engine.cancel(id)).toBe("accepted");
    await dropping.happened;
    expect(await engine.cancel(id)).toBe("accepted");
    go.happens();
    expect(await engine.answer(id)).toMatchObject({ kind: "error", code: "cancelled" });
    expect(await engine.cancel(id)).toBe("ended");
    expect(calls).toEqual(["book Rome", "drop Rome"]);
    expect(await statesOf(engine, trip, id)).toEqual(["Working", "CleaningUp", "Done"]);
  });

  it("follows `cleanUp`; later outcomes of the other calls are dropped", async () => {
    const late = once();
    const reported = once();
    const { engine, calls } = await open([trip], {
      book: ({ stop }, context) => {
        if (stop === "Rome") return full({ stop }, context);
        return late.happened.then(reported.happens);
      },
      drop: at("Oslo", () => {
        late.happens();
        return reported.happened;
      }),
    });
    const { id } = await engine.submit(trip, { stops: ["Rome", "Oslo"] });
    expect(await engine.answer(id)).toMatchObject({ kind: "error", code: "full" });
    expect(calls).toEqual(["book Rome", "book Oslo", "drop Rome", "drop Oslo"]);
    expect(await statesOf(engine, trip, id)).toEqual(["Working", "CleaningUp", "Done"]);
    // The failed booking ended its state, so the outcome of the other one is dropped. The two others are of the drops.
    expect((await eventsOf(engine, id, "settled")).map(({ call }) => call)).toEqual([0, 2, 3]);
  });

  it("ends with a timeout if it takes longer than cleanUpMs", async () => {
    const hasty = tripOf("hasty", 50);
    const { engine } = await open([hasty], { book: never, drop: never });
    const { id } = await engine.submit(hasty, { stops: ["Rome"] }, { deadlineMs: 50 });
    expect(await engine.answer(id)).toEqual({
      kind: "timeout",
      code: "WW_TIMEOUT",
      message: "the hub hasty did not finish its clean-up in time",
    });
    expect(await statesOf(engine, hasty, id)).toEqual(["Working", "CleaningUp", "GivenUp"]);
    expect(hasty.definition.answerBy).toBe("hasty answers each request within 10.05 s");
  });

  it("retries calls, and goes on after failures", async () => {
    const { engine, calls } = await open([trip], { book: full, drop: at("Rome", breaks) });
    expect(await engine.call(trip, { stops: ["Rome", "Oslo"] })).toMatchObject({
      code: "full",
      details: { notDropped: ["Rome"] },
    });
    expect(calls.filter((call) => call === "drop Rome")).toHaveLength(2);
  });

  it("may still reply with a result", async () => {
    const lenient = hubByHandlers(
      "lenient",
      { ...tripSpec, cleanUpMs: 1_000, calls: [book] },
      {
        request: (s) => s.call(book, { stop: "Rome" }),
        response: () => {},
        timeout: (s, cause) =>
          s.reply({ tickets: { cause, cleaningUp: String(s.cleaningUp), open: String(s.open) } }),
      },
    );
    const { engine } = await open([lenient], { book: never });
    expect(await engine.call(lenient, { stops: [] }, { deadlineMs: 50 })).toEqual({
      kind: "result",
      value: { tickets: { cause: "deadline", cleaningUp: "true", open: "0" } },
    });
  });
});

describe("signals", () => {
  const Change = v.strictObject({ stop: v.string() });
  const guided = hubByHandlers(
    "guided",
    {
      ...tripSpec,
      cleanUpMs: 10_000,
      calls: [book, drop],
      signals: { add: Change, finish: v.strictObject({}) },
    },
    {
      request: () => {},
      response: (s, _call, outcome) => {
        const { ticket } = (outcome as { readonly output: { readonly ticket: string } }).output;
        s.patch({ tickets: { ...s.data.tickets, [ticket]: ticket } });
        if (s.data.failure === "finishing" && s.open === 0) s.reply({ tickets: s.data.tickets });
      },
      timeout: () => {},
      signal: (s, signal) => {
        if (signal.name === "finish") {
          if (s.open === 0) return s.reply({ tickets: s.data.tickets });
          return s.patch({ failure: "finishing" });
        }
        if (s.cleaningUp) return s.fail("cancelled", signal.payload.stop);
        s.call(book, { stop: signal.payload.stop });
      },
    },
  );

  it("change the data, call and reply", async () => {
    const go = once();
    const { engine } = await open([guided], { book: () => go.happened });
    const { id } = await engine.submit(guided, { stops: [] });
    await engine.signal(id, "add", { stop: "Rome" });
    await engine.signal(id, "add", { stop: "Oslo" });
    await engine.signal(id, "finish", {});
    go.happens();
    expect(await engine.answer(id)).toMatchObject({
      value: { tickets: { "to Rome": "to Rome", "to Oslo": "to Oslo" } },
    });
    expect(await statesOf(engine, guided, id)).toEqual(["Working", "Done"]);
  });

  it("sent twice count once", async () => {
    const { engine, calls } = await open([guided]);
    const { id } = await engine.submit(guided, { stops: [] });
    for (let time = 0; time < 3; time++)
      await engine.signal(id, "add", { stop: "Rome" }, { commandId: "one" });
    await engine.signal(id, "finish", {});
    await engine.answer(id);
    expect(calls).toEqual(["book Rome"]);
  });

  it("reach the clean-up too", async () => {
    const { engine } = await open([guided]);
    const { id } = await engine.submit(guided, { stops: [] });
    await engine.cancel(id);
    await engine.signal(id, "add", { stop: "Rome" });
    expect(await engine.answer(id)).toMatchObject({ kind: "error", code: "cancelled", message: "Rome" });
  });
});

describe("a handler that breaks a rule parks its run, and the request is still answered", () => {
  type Wrong = Parameters<typeof hubByHandlers<typeof TripRequest, typeof TripReply, TripData, "full">>[2];
  type Handle = Parameters<Wrong["request"]>[0];
  const tickets = { tickets: {} };
  const wrongs: [string, (s: Handle) => unknown, RegExp][] = [
    ["two answers in one turn", (s) => (s.reply(tickets), s.fail("full", "no")), /two answers/],
    ["an answer and a clean-up in one turn", (s) => (s.cleanUp(), s.reply(tickets)), /cleanUp in one turn/],
    ["a clean-up and an answer in one turn", (s) => (s.reply(tickets), s.cleanUp()), /cleanUp in one turn/],
    [
      "a call of a spoke that it does not declare",
      (s) => s.call(drop, { stop: "Rome" }),
      /drop.*not declare/,
    ],
    ["an input that is not valid", (s) => s.call(book, { stop: 1 as unknown as string }), /not valid/],
    [
      "a reply that is not valid",
      (s) => s.reply({} as { tickets: object } as typeof tickets),
      /the reply of the hub wrong is not valid/,
    ],
    ["waiting", async (s) => (await Promise.resolve(), s.reply(tickets)), /asynchronous/],
    ["changing the data in place", (s) => ((s.data as TripData).failure = "changed"), /read only/],
    ["an exception", breaks, /broken/],
  ];

  it.each(wrongs)("%s", async (_what, wrong, message) => {
    let corrected = false;
    const hubOf = (name: string) =>
      hubByHandlers(
        name,
        { ...tripSpec, cleanUpMs: 50, calls: [book] },
        {
          request: (s) => s.call(book, { stop: "Rome" }),
          response: (s) =>
            corrected ? s.reply({ tickets: { corrected: "yes" } }) : (wrong(s as Handle) as void),
          timeout: (s) => s.fail("late", ""),
        },
      );
    const wrongHub = hubOf("wrong");
    const { engine } = await open([wrongHub, trip]);

    // Without a retry, the engine answers.
    const left = await engine.submit(wrongHub, { stops: [] }, { deadlineMs: 100 });
    // After a retry with a corrected handler, the run goes on.
    const { id } = await engine.submit(wrongHub, { stops: [] });
    const other = engine.call(trip, { stops: ["Rome"] });
    expect(await engine.answer(left.id)).toMatchObject({ kind: "timeout", code: "WW_TIMEOUT" });
    expect(await engine.request(id)).toMatchObject({
      status: "incident",
      incident: { error: { message: expect.stringMatching(message) as string } },
    });
    expect(await engine.answer(id, { waitMs: 0 })).toBeUndefined();
    expect(await other).toMatchObject({ kind: "result" });

    corrected = true;
    await engine.retry(id);
    expect(await engine.answer(id)).toEqual({ kind: "result", value: { tickets: { corrected: "yes" } } });
    expect(await statesOf(engine, wrongHub, id)).toEqual(["Working", "Done"]);

    // After its answer, a retry only cleans up.
    await engine.retry(left.id);
    expect(await statesOf(engine, wrongHub, left.id)).toEqual(["Working", "CleaningUp", "Done"]);
    expect(await engine.answer(left.id)).toMatchObject({ kind: "timeout" });
  });

  test("cleanUp within the clean-up", async () => {
    const again = hubByHandlers(
      "again",
      { ...tripSpec, cleanUpMs: 50, calls: [] },
      { request: (s) => s.cleanUp(), response: () => {}, timeout: (s) => s.cleanUp() },
    );
    const { engine } = await open([again]);
    const { id } = await engine.submit(again, { stops: [] });
    expect(await engine.request(id)).toMatchObject({
      status: "incident",
      incident: { error: { code: "WW_DEFECT" } },
    });
    expect(await engine.retry(id)).toBe("accepted");
    await engine.resolve(id, "given up");
    expect(await engine.answer(id)).toMatchObject({
      kind: "error",
      code: "WW_INCIDENT",
      message: "given up",
    });
  });
});

describe("after a stop, in a new engine on the same file", () => {
  it("work goes on", async () => {
    const reached = once();
    const first = await open([trip], {
      book: at("Oslo", () => {
        reached.happens();
        return never();
      }),
    });
    const { id } = await first.engine.submit(trip, { stops: ["Rome", "Oslo"] }, { key: "one" });
    await reached.happened;
    await first.engine.stop();
    const second = await open([trip]);
    expect(await second.engine.answer(id)).toMatchObject({
      value: { tickets: { Rome: "to Rome", Oslo: "to Oslo" } },
    });
    expect(second.calls).toContain("book Oslo");
    expect(await second.engine.call(trip, { stops: ["Rome", "Oslo"] }, { key: "one" })).toMatchObject({
      kind: "result",
    });
    expect(await statesOf(second.engine, trip, id)).toEqual(["Working", "Done"]);
  });

  it.each(["deadline", "cancel", "request"] as const)("the clean-up goes on, after %s", async (cause) => {
    const reached = once();
    const first = await open([trip], {
      book: cause === "request" ? full : never,
      drop: () => {
        reached.happens();
        return never();
      },
    });
    const { id } = await first.engine.submit(
      trip,
      { stops: ["Rome"] },
      cause === "deadline" ? { deadlineMs: 50 } : {},
    );
    if (cause === "cancel") await first.engine.cancel(id);
    await reached.happened;
    await first.engine.stop();
    const second = await open([trip]);
    const code = { deadline: "late", cancel: "cancelled", request: "full" }[cause satisfies CleanUpCause];
    expect(await second.engine.answer(id)).toMatchObject({ kind: "error", code });
    expect(second.calls).toEqual(["drop Rome"]);
    expect(await statesOf(second.engine, trip, id)).toEqual(["Working", "CleaningUp", "Done"]);
  });

  it("a deadline that has passed leads to the clean-up", async () => {
    const first = await open([trip], { book: never });
    const { id } = await first.engine.submit(trip, { stops: ["Rome"] }, { deadlineMs: 1 });
    await first.engine.stop();
    const second = await open([trip], { book: never });
    expect(await second.engine.answer(id)).toMatchObject({ code: "late" });
  });
});

describe("a chart and handlers", () => {
  const scenarios: [
    string,
    readonly string[],
    Served,
    { readonly deadlineMs?: number; readonly cancel?: true },
  ][] = [
    ["without a stop", [], {}, {}],
    ["with one stop", ["Rome"], {}, {}],
    ["with many stops", Array.from({ length: 50 }, (_, index) => `stop ${index}`), {}, {}],
    ["with a retry", ["Rome"], { book: (_input, { attempt }) => void (attempt < 3 && breaks()) }, {}],
    ["with a full train", ["Rome", "Oslo"], { book: at("Oslo", full) }, {}],
    ["with a worker that breaks", ["Rome", "Oslo"], { book: at("Rome", breaks) }, {}],
    ["with a clean-up that breaks", ["Rome", "Oslo"], { book: full, drop: at("Rome", breaks) }, {}],
    ["with a deadline", ["Rome", "Oslo"], { book: at("Rome", never) }, { deadlineMs: 60 }],
    ["with a cancel", ["Rome", "Oslo"], { book: at("Rome", never) }, { cancel: true }],
  ];

  it.each(scenarios)("give the same answer %s", async (_name, stops, served, { cancel, ...options }) => {
    const { engine } = await open([trip, tripByChart], served);
    const answers: (Answer | undefined)[] = [];
    for (const serving of [trip, tripByChart]) {
      const { id } = await engine.submit(serving, { stops: [...stops] }, options);
      if (cancel === true) await engine.cancel(id);
      answers.push(await engine.answer(id));
      expect((await statesOf(engine, serving, id)).length).toBeGreaterThan(1);
    }
    expect(answers[0]).toBeDefined();
    expect(answers[0]).toEqual(answers[1]);
  });

  it("refuse the same requests", async () => {
    const { engine } = await open([trip, tripByChart]);
    for (const serving of [trip, tripByChart]) {
      await expect(engine.submit(serving.name, { stops: [1] })).rejects.toMatchObject({
        code: "WW_INVALID_REQUEST",
        problems: [{ path: "stops.0" }],
      });
    }
  });

  it("call each other", async () => {
    const outer = hubByHandlers(
      "outer",
      { ...tripSpec, cleanUpMs: 10_000, calls: [tripByChart, trip] },
      {
        request: (s) => {
          s.call(tripByChart, { stops: ["Rome"] });
          s.call(trip, { stops: ["Oslo"] });
        },
        response: (s, _call: SettledCall, outcome: Outcome) => {
          const { tickets } = (outcome as { readonly output: v.InferOutput<typeof TripReply> }).output;
          s.patch({ tickets: { ...s.data.tickets, ...tickets } });
          if (s.open === 0) s.reply({ tickets: s.data.tickets });
        },
        timeout: (s) => s.fail("late", ""),
      },
    );
    const { engine } = await open([outer]);
    expect(await engine.call(outer, { stops: [] })).toEqual({
      kind: "result",
      value: { tickets: { Rome: "to Rome", Oslo: "to Oslo" } },
    });
  });
});

describe("a declaration", () => {
  const handlers = { request: () => {}, response: () => {}, timeout: () => {} };

  it.each([
    ["deadlineMs", { deadlineMs: 0, cleanUpMs: 1 }],
    ["cleanUpMs", { deadlineMs: 1, cleanUpMs: 0 }],
    ["cleanUpMs", { deadlineMs: 1, cleanUpMs: Number.POSITIVE_INFINITY }],
  ])("without a finite %s is refused", (path, times) => {
    expect(() => hubByHandlers("refused", { ...tripSpec, ...times, calls: [] }, handlers)).toThrow(path);
  });

  it("with signals needs a handler for them", () => {
    const spec = { ...tripSpec, cleanUpMs: 1, calls: [], signals: { go: TripRequest } };
    // @ts-expect-error: `signal` is missing.
    expect(() => hubByHandlers("told", spec, handlers)).toThrow(/handlers\.signal: must be a function/);
    const deaf = { ...tripSpec, cleanUpMs: 1, calls: [] };
    // @ts-expect-error: there is nothing to handle.
    expect(() => hubByHandlers("told", deaf, { ...handlers, signal: () => {} })).not.toThrow();
  });
});
