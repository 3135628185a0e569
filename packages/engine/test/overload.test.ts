import { end, hub, spoke, stay, WheelworkError } from "@wheelwork/core";
import { createEngine, worker, type Engine } from "@wheelwork/engine";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import * as z from "zod";
import { approved } from "./hubs.ts";
import { Machine } from "./slow.ts";
import { folder } from "./world.ts";

/** An engine that has more to do than it can takes no more, and finishes what it has taken. */

const day = 86_400_000;
const body = { n: 1, withinMs: day };

async function refusal(asked: Promise<unknown>): Promise<string> {
  const error: unknown = await asked.then(
    () => "accepted",
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof WheelworkError)) return String(error);
  expect(error.retryable).toBe(true);
  return error.message.split("\n")[0] ?? "";
}

test("requests are refused while the store commits nothing, and those that were accepted are answered", async () => {
  const machine = new Machine();
  const { clock, store } = machine;
  const engine = await machine.start();
  const settled = async <T>(asked: Promise<T>): Promise<T> => {
    asked.catch(() => {});
    await clock.runUntil(asked, 1000);
    return asked;
  };
  await settled(engine.submit(approved, body, { key: "live" }));
  const stuck = Promise.withResolvers<void>();
  store.slow.set("commit", stuck.promise);
  const sent: Promise<string>[] = [];
  for (let number = 0; number < 500; number++) {
    sent.push(refusal(engine.submit(approved, body, { key: `k${number}` })));
    await clock.advance(20);
  }
  // A request whose run is in memory is known, and takes no room.
  const repeated = engine.submit(approved, body, { key: "live" });
  store.slow.delete("commit");
  stuck.resolve();
  expect(await settled(repeated)).toMatchObject({ known: true });
  const outcomes = await settled(Promise.all(sent));
  expect(outcomes[0]).toBe("accepted");
  expect(new Set(outcomes.slice(-100))).toEqual(
    new Set(["WW_OVERLOADED: the engine is late with the requests that it has"]),
  );
  for (const [number, outcome] of outcomes.entries()) {
    const known = await settled(engine.request(`k${number}`)).then(
      ({ status }) => status,
      (error: WheelworkError) => error.code,
    );
    expect(known).toBe(outcome === "accepted" ? "running" : "WW_NOT_FOUND");
  }
  await clock.advance(5000);
  expect(await settled(refusal(engine.submit(approved, body, { key: "after" })))).toBe("accepted");
});

async function sqlite(options: Partial<Parameters<typeof createEngine>[0]>): Promise<Engine> {
  const store = join(folder(), "store.db");
  const engine = createEngine({ hubs: [approved], workers: [], store, durability: "normal", ...options });
  await engine.start();
  onTestFinished(() => engine.stop());
  return engine;
}

const large = "x".repeat(100_000);
const full = "WW_OVERLOADED: the requests that the engine has take as much memory as they may";

const keeping = hub(
  "keeping",
  {
    request: z.object({ text: z.string() }),
    reply: z.string(),
    deadlineMs: day,
    signals: { go: z.null() },
    cancel: end,
    chart: { Waiting: { Go: "Gone", Late: "Gone" }, Gone: end },
    data: () => ({}),
  },
  {
    Waiting: (s) => s.wait({ on: { go: "Go" }, deadline: "Late" }),
    Gone: () => "gone",
  },
);

test("an engine that takes no others looks at no body", async () => {
  let looked = 0;
  const counted = hub(
    "counted",
    {
      request: z.object({ n: z.number() }).refine(() => ++looked > 0),
      reply: z.string(),
      deadlineMs: day,
      signals: { go: z.null() },
      chart: { Waiting: { go: "Gone", Late: "Gone" }, Gone: end },
      data: () => ({}),
    },
    {
      Waiting: (s) => s.wait({ on: { go: "go" }, deadline: "Late" }),
      Gone: () => "gone",
    },
  );
  const engine = await sqlite({ hubs: [counted], limits: { liveRuns: 1, horizonMs: 2 * day } });
  await engine.submit(counted, { n: 1 }, { key: "taken" });
  const before = looked;
  expect(before).toBeGreaterThan(0);
  for (let number = 0; number < 10; number++)
    expect(await refusal(engine.submit(counted, { n: 1 }, { key: `late-${number}` }))).toContain(
      "WW_OVERLOADED",
    );
  expect(looked).toBe(before);
  expect(await engine.submit(counted, { n: 1 }, { key: "taken" })).toMatchObject({ known: true });
});

test("requests are refused by their weight, and taken again when others have ended", async () => {
  const engine = await sqlite({ hubs: [keeping], limits: { memoryBytes: 1_000_000, horizonMs: 2 * day } });
  const send = (number: number): Promise<string> =>
    refusal(engine.submit(keeping, { text: large }, { key: `k${number}` }));
  const outcomes: string[] = [];
  for (let number = 0; number < 20; number++) outcomes.push(await send(number));
  const accepted = outcomes.filter((outcome) => outcome === "accepted").length;
  expect(accepted).toBeGreaterThan(5);
  expect(accepted).toBeLessThan(11);
  expect(outcomes.at(-1)).toBe(full);
  // Those that it has go on: they are known, can be read, and are answered.
  expect(await send(0)).toBe("accepted");
  expect((await engine.request("k0")).status).toBe("running");
  for (let number = 0; number < accepted; number++) {
    await engine.signal(`k${number}`, "go", null);
    expect(await engine.answer(`k${number}`)).toEqual({ kind: "result", value: "gone" });
  }
  expect(await send(100)).toBe("accepted");
});

test("a request that has its answer is known, also to an engine that takes no others", async () => {
  const store = join(folder(), "store.db");
  const roomy = await sqlite({ hubs: [keeping], store });
  await roomy.submit(keeping, { text: "a" }, { key: "k" });
  await roomy.cancel("k");
  const answer = await roomy.answer("k");
  await roomy.stop();
  const engine = await sqlite({ hubs: [keeping], store, limits: { memoryBytes: 0 } });
  expect(await refusal(engine.submit(keeping, { text: "a" }, { key: "new" }))).toBe(full);
  expect(await engine.submit(keeping, { text: "a" }, { key: "k" })).toEqual({ id: "k", known: true });
  expect(await engine.answer("k")).toEqual(answer);
  await expect(engine.submit(keeping, { text: "b" }, { key: "k" })).rejects.toThrow(/WW_KEY_REUSED/);
});

test("a small request that makes many calls weighs what they do", async () => {
  const never = spoke("never", { input: z.number(), output: z.null(), timeoutMs: day });
  const fan = hub(
    "fan",
    {
      request: z.object({ calls: z.number() }),
      reply: z.string(),
      deadlineMs: day,
      cancel: end,
      chart: { Asking: { Settled: stay, Done: "Gone", Late: "Gone" }, Gone: end },
      data: ({ calls }) => ({ calls }),
    },
    {
      Asking: (s) =>
        s.each(never, {
          inputs: ({ calls }) => Array.from({ length: calls }, (_, number) => number),
          settled: "Settled",
          done: "Done",
          deadline: "Late",
        }),
      Gone: () => "gone",
    },
  );
  const hangs = worker(
    never,
    (_input, { signal }) => new Promise((resolve) => signal.addEventListener("abort", () => resolve(null))),
  );
  const engine = await sqlite({
    hubs: [fan],
    workers: [hangs],
    limits: { memoryBytes: 5_000_000 },
    drainMs: 0,
  });
  const outcomes: string[] = [];
  for (let number = 0; number < 10; number++)
    outcomes.push(await refusal(engine.submit(fan, { calls: 1000 }, { key: `k${number}` })));
  expect(outcomes.filter((outcome) => outcome === "accepted").length).toBeLessThan(5);
  expect(outcomes.at(-1)).toBe(full);
});

test("large requests that are handed over at once are taken as long as they fit, and so is the next one", async () => {
  const engine = await sqlite({
    hubs: [keeping],
    limits: { memoryBytes: 1_000_000_000, horizonMs: 2 * day },
  });
  const text = "ü".repeat(1_500_000);
  const send = (number: number): Promise<string> =>
    refusal(engine.submit(keeping, { text }, { key: `k${number}` }));
  const outcomes = await Promise.all(Array.from({ length: 120 }, (_, number) => send(number)));
  expect(new Set(outcomes)).toEqual(new Set(["accepted"]));
  expect(await send(120)).toBe("accepted");
});
