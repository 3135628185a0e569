import { end, hub, spoke, stay, WheelworkError, type Schema } from "@wheelwork/core";
import { createEngine, worker, type Engine, type EngineEvent } from "@wheelwork/engine";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { folder } from "./world.ts";

// Whatever the functions of a user give or throw, in whatever place: it is refused where it enters, or stops that run alone, once. Nobody
// else is harmed, and after a restart it is the same.

const anything: Schema<never> = {
  "~standard": { version: 1, vendor: "test", validate: (value) => ({ value: value as never }) },
};

const thrower = (thrown: unknown) => (): never => {
  throw thrown;
};
const getters = (): object =>
  Object.defineProperties(new Error("e"), {
    message: { get: thrower(1) },
    stack: { get: thrower(2) },
    cause: { get: thrower(3) },
    name: { get: thrower(4) },
    code: { get: thrower(5) },
  });
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
const revoked = (): object => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
};

/** What a place gives, made anew each time; `throws`: what it throws instead. */
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
  "a revoked proxy": revoked,
  toJSON: () => ({ toJSON: thrower(undefined) }),
  toString: () => ({ toString: thrower(undefined), valueOf: thrower(1), [Symbol.toPrimitive]: thrower(2) }),
  cyclic,
  "300 kB": () => "x".repeat(300_000),
  "half a surrogate": () => "a\ud83d",
  NUL: () => "a\0b",
  ["__proto__"]: () => JSON.parse('{"__proto__":{"raise":"Ok"},"n":1}') as unknown,
  "-0": () => -0,
  huge: () => 1.797e308,
  NaN: () => Number.NaN,
  negative: () => -1,
  sparse: () => [1, , 2], // oxlint-disable-line no-sparse-arrays -- such arrays exist
  "depth 501": () => nested(501),
  "201 characters": () => "k".repeat(201),
  empty: () => "",
  symbol: () => Symbol("s"),
  bigint: () => 10n,
  date: () => new Date(Number.NaN),
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
};
const thrown: Readonly<Record<string, () => unknown>> = {
  "throws undefined": () => undefined,
  "throws getters": getters,
  "throws a proxy": () => new Proxy(new Error("e"), allTraps()),
  "throws a symbol": () => Symbol("s"),
  "throws 300 kB": () => new Error("x".repeat(300_000)),
  "throws a half surrogate and NUL": () => new Error("a\ud83d\0"),
  "throws a cause of causes": () => {
    const made = new Error("e") as { cause?: unknown } & Error;
    made.cause = made;
    return made;
  },
  "throws WW_STORE_LOCKED": () => new WheelworkError("WW_STORE_LOCKED", "mine", { retryable: true }),
  "throws WW_STORE_REFUSED": () => new WheelworkError("WW_STORE_REFUSED", "mine"),
  "throws WW_STORE_CORRUPT": () => new WheelworkError("WW_STORE_CORRUPT", "mine"),
  "throws WW_OVERLOADED": () => new WheelworkError("WW_OVERLOADED", "mine", { retryable: true }),
};
const names = [...Object.keys(values), ...Object.keys(thrown)];

interface Asked {
  readonly place: string;
  readonly value: string;
}

/** What a place gives: the hostile value if it is the one that is meant, and else what it should. */
function at(place: string, { place: meant, value }: Asked, sound: unknown): never {
  if (place !== meant) return sound as never;
  const throws = thrown[value];
  if (throws !== undefined) throw throws();
  return (values[value] as () => unknown)() as never;
}

const work = spoke("work", {
  input: anything,
  output: anything,
  errors: ["bad"],
  timeoutMs: 5000,
  heartbeatMs: 2000,
  retry: { attempts: 1 },
  limit: { concurrent: 1000, by: (input: never) => at("limit key", askedOf(input), "k") } as never,
});
const hear = spoke("hear", { input: anything, output: anything, timeoutMs: 5000, retry: { attempts: 1 } });

const askedOf = (input: unknown): Asked => {
  const { place = "", value = "" } = (input ?? {}) as Partial<Asked>;
  return { place, value };
};

const base = {
  request: anything,
  reply: anything,
  errors: ["failed"],
  data: (asked: Asked) => asked,
} as const;

const receiver = hub(
  "receiver",
  {
    ...base,
    deadlineMs: 3_600_000,
    signals: { go: anything },
    chart: { W: { G: "Z", L: "Z" }, Z: end },
  } as never,
  {
    W: (s: never) => (s as { wait: (o: object) => never }).wait({ on: { go: "G" }, deadline: "L" }),
    Z: () => ({}),
  } as never,
);

const places = [
  "labels",
  "lane key",
  "deadlineMs",
  "data",
  "pick",
  "input",
  "call key",
  "output",
  "fail code",
  "fail message",
  "fail details",
  "progress",
  "limit key",
  "ok",
  "inputs",
  "limit",
  "each key",
  "each input",
  "done",
  "after",
  "timer patch",
  "start input",
  "start key",
  "startAt",
  "signal id",
  "signal payload",
  "told",
  "sequence input",
  "reply",
  "failed",
  "view",
] as const;

/** A hub that goes through all places. */
// oxlint-disable-next-line typescript/no-explicit-any -- it is written past the types
const target = (hub as any)(
  "target",
  {
    ...base,
    deadlineMs: (asked: Asked) => at("deadlineMs", asked, asked.place === "" ? 60_000 : 1500),
    labels: (asked: Asked) => at("labels", asked, { kind: "a" }),
    exclusive: {
      lane: "l",
      by: (asked: Asked) => at("lane key", asked, `${asked.place} ${asked.value}`),
      whenBusy: "queue",
    },
    chart: {
      Pick: { Ok: "Call", Late: "Bad" },
      Call: { Ok: "Each", Late: "Bad" },
      Each: { One: stay, Ok: "Timed", Late: "Bad" },
      Timed: { Rung: "Start", Late: "Bad" },
      Start: { Ok: "Signal" },
      Signal: { Ok: "Tell" },
      Tell: { Ok: "Seq" },
      Seq: { Ok: "Last", Late: "Bad" },
      Last: { Well: "Good", Ill: "Bad" },
      Good: end,
      Bad: end,
    },
    data: (asked: Asked) => at("data", asked, { ...asked, n: 0 }),
    view: (data: Asked) => at("view", askedOf(data), { seen: true }),
  },
  {
    // oxlint-disable-next-line typescript/no-explicit-any -- as above
    ...((): any => ({
      // oxlint-disable-next-line typescript/no-explicit-any -- as above
      Pick: (s: any) => s.pick((data: Asked) => at("pick", data, "Ok")),
      // oxlint-disable-next-line typescript/no-explicit-any -- as above
      Call: (s: any) =>
        s.call(work, {
          input: (data: Asked) => at("input", data, { place: data.place, value: data.value }),
          key: (input: unknown) => at("call key", askedOf(input), "key"),
          ok: (data: Asked) => at("ok", data, s.raise("Ok", { n: 1 })),
          failed: "Late",
          deadline: "Late",
        }),
      // oxlint-disable-next-line typescript/no-explicit-any -- as above
      Each: (s: any) =>
        s.each(work, {
          inputs: (data: Asked) =>
            at(
              "inputs",
              data,
              [1, 2].map(() =>
                at("each input", data, {
                  place: data.place === "each key" ? data.place : "",
                  value: data.value,
                }),
              ),
            ),
          limit: (data: Asked) => at("limit", data, 1),
          key: (input: unknown, index: number) => at("each key", askedOf(input), `key ${index}`),
          ok: "One",
          failed: "Late",
          done: (data: Asked) => at("done", data, s.raise("Ok")),
          deadline: "Late",
        }),
      // oxlint-disable-next-line typescript/no-explicit-any -- as above
      Timed: (s: any) =>
        s.wait({
          on: {},
          after: {
            Rung: {
              ms: (data: Asked) => at("after", data, 1),
              patch: (data: Asked) => at("timer patch", data, { n: 2 }),
            },
          },
          deadline: "Late",
        }),
      // oxlint-disable-next-line typescript/no-explicit-any -- as above
      Start: (s: any) =>
        s.start(receiver, {
          input: (data: Asked) => at("start input", data, {}),
          key: (data: Asked) => at("start key", data, `started ${data.place} ${data.value}`),
          startAt: (data: Asked) => at("startAt", data, 0),
          next: "Ok",
        }),
      // oxlint-disable-next-line typescript/no-explicit-any -- as above
      Signal: (s: any) =>
        s.signalRun(receiver, {
          id: (data: Asked) => at("signal id", data, `started ${data.place} ${data.value}`),
          signal: "go",
          payload: (data: Asked) => at("signal payload", data, {}),
          next: "Ok",
        }),
      // oxlint-disable-next-line typescript/no-explicit-any -- as above
      Tell: (s: any) => s.tell(hear, { input: (data: Asked) => at("told", data, {}), next: "Ok" }),
      // oxlint-disable-next-line typescript/no-explicit-any -- as above
      Seq: (s: any) =>
        s.sequence([s.step(hear, { input: (data: Asked) => at("sequence input", data, {}) })], {
          failed: "Late",
          done: "Ok",
          deadline: "Late",
        }),
      // oxlint-disable-next-line typescript/no-explicit-any -- as above
      Last: (s: any) => s.pick(({ place }: Asked) => (place === "failed" ? "Ill" : "Well")),
      Good: (data: Asked) => at("reply", data, {}),
      // oxlint-disable-next-line typescript/no-explicit-any -- as above
      Bad: (data: Asked, s: any) => at("failed", data, s.fail("failed", "as it should")),
    }))(),
  },
);

test("what functions of users give and throw harms their own run alone, and stays so over a restart", async () => {
  const path = join(folder(), "store.db");
  const events: EngineEvent[] = [];
  const open = async (): Promise<Engine> => {
    const engine = createEngine({
      hubs: [target, receiver],
      workers: [
        worker(work, (input: never, context: unknown) => {
          const asked = askedOf(input);
          // oxlint-disable-next-line typescript/no-explicit-any -- as above
          const any = context as any;
          if (asked.place === "progress") any.progress(at("progress", asked, 1));
          if (asked.place === "fail code") return any.fail(at("fail code", asked, "bad"), "m");
          if (asked.place === "fail message") return any.fail("bad", at("fail message", asked, "m"));
          if (asked.place === "fail details") return any.fail("bad", "m", at("fail details", asked, {}));
          return at("output", asked, {});
        }),
        worker(hear, () => ({}) as never),
      ],
      store: path,
      durability: "normal",
      drainMs: 0,
      observe: (event) => void events.push(event),
    });
    await engine.start();
    return engine;
  };
  let engine = await open();
  onTestFinished(() => engine.stop({ drainMs: 0 }));
  /** A request that has a lane has another id than its key. */
  const ids = new Map<string, string>();
  const idOf = (key: string): string => ids.get(key) ?? key;
  /** Also if the engine is late: the test does much at once. */
  const submit = async (asked: Asked, key: string): Promise<void> => {
    for (;;) {
      try {
        ids.set(key, (await engine.submit(target, asked as never, { key })).id);
        return;
      } catch (error) {
        if ((error as { retryable?: boolean }).retryable !== true) throw error;
        await new Promise((resolve) => void setTimeout(resolve, 50));
      }
    }
  };
  const honest = async (key: string): Promise<void> => {
    await submit({ place: "", value: "" }, key);
    expect(await engine.answer(idOf(key), { waitMs: 60_000 })).toEqual({ kind: "result", value: {} });
  };
  const became = new Map<string, string>();
  const all = places.flatMap((place) => names.map((value) => ({ place, value, key: `${place} ${value}` })));
  await Promise.all(
    all.map(async ({ place, value, key }) => {
      await submit({ place, value }, key).catch((error: unknown) => {
        became.set(key, `refused ${(error as { code?: string }).code}`);
      });
    }),
  );
  await honest("honest 1");
  const look = async (): Promise<Map<string, string>> => {
    const seen = new Map<string, string>();
    for (const { key } of all) {
      if (became.has(key)) continue;
      const { status, answer, incident } = await engine.request(idOf(key));
      const { code = "" } = (answer ?? {}) as { code?: string };
      const { code: why = "" } = (incident?.error ?? {}) as { code?: string };
      // A parked run has its answer when its time is over, which may be before the next look.
      seen.set(key, status === "incident" ? `parked by ${why}` : `${status} ${answer?.kind ?? ""} ${code}`);
    }
    return seen;
  };
  await expect
    .poll(async () => [...(await look()).values()].filter((one) => /running|pending/.test(one)).length, {
      timeout: 30_000,
      interval: 500,
    })
    .toBe(0);
  const first = await look();
  await engine.stop({ drainMs: 0 });
  engine = await open();
  await honest("honest 2");
  expect(await look()).toEqual(first);
  const told = new Set(events.map(({ name }) => name));
  expect(["store-lost", "attempt-died", "damaged"].filter((name) => told.has(name as never))).toEqual([]);
}, 120_000);

test("an input of nothing is the same after a restart, and whoever takes it goes on", async () => {
  const path = join(folder(), "store.db");
  const seen: unknown[] = [];
  const none = spoke("none", { input: z.undefined(), output: z.object({}), timeoutMs: 60_000 });
  const perhaps = spoke("perhaps", { input: z.string().optional(), output: z.object({}), timeoutMs: 60_000 });
  const any = spoke("any", { input: z.unknown(), output: z.object({}), timeoutMs: 60_000 });
  const inner = hub(
    "inner",
    {
      request: z.undefined(),
      reply: z.object({}),
      deadlineMs: 60_000,
      chart: { In: { Ok: "Z", Late: "Z" }, Z: end },
      data: () => ({}),
    },
    {
      In: (s) => s.call(none, { input: () => undefined, ok: "Ok", failed: "Late", deadline: "Late" }),
      Z: () => ({}),
    },
  );
  const outer = hub(
    "outer",
    {
      request: z.object({}),
      reply: z.object({}),
      deadlineMs: 60_000,
      chart: { All: { One: stay, Ok: "Z", Late: "Z" }, Z: end },
      data: () => ({}),
    },
    {
      All: (s) =>
        s.all(
          {
            none: s.part(none, { input: () => undefined }),
            perhaps: s.part(perhaps, { input: () => undefined }),
            any: s.part(any, { input: () => undefined }),
            inner: s.part(inner, { input: () => undefined }),
          },
          { failed: "Late", done: "Ok", deadline: "Late" },
        ),
      Z: () => ({}),
    },
  );
  const run = async (isLast: boolean): Promise<Engine> => {
    const serve =
      (name: string) =>
      (input: unknown): Promise<Record<string, never>> | Record<string, never> => {
        seen.push(`${name} ${String(input)}`);
        return isLast ? {} : new Promise<Record<string, never>>(() => {});
      };
    const workers = [
      worker(none, serve("none")),
      worker(perhaps, serve("perhaps")),
      worker(any, serve("any")),
    ];
    const engine = createEngine({ hubs: [inner, outer], workers, store: path, drainMs: 0 });
    await engine.start();
    return engine;
  };
  const first = await run(false);
  await first.submit(outer, {}, { key: "k" });
  await expect.poll(() => seen.length).toBe(4);
  const before = seen.splice(0).toSorted();
  expect(before).toEqual(["any null", "none undefined", "none undefined", "perhaps undefined"]);
  await first.stop();
  const second = await run(true);
  onTestFinished(() => second.stop());
  expect(await second.answer("k", { waitMs: 60_000 })).toEqual({ kind: "result", value: {} });
  expect(seen.toSorted()).toEqual(before);
});
