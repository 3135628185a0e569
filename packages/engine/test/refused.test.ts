import { end, hub, spoke, stay } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { World, type WorldOptions } from "./world.ts";

// A store that never takes a text: whoever brings it is found, and nobody else notices.

const texts = z.object({ text: z.string() });
const say = spoke("say", { input: texts, output: texts, timeoutMs: 10_000 });

/** Says something, waits for a signal, and says what the signal brings. */
const speaker = hub(
  "speaker",
  {
    request: z.object({ text: z.string(), waitMs: z.number() }),
    reply: z.object({ said: z.array(z.string()) }),
    deadlineMs: 60_000,
    signals: { go: texts },
    chart: {
      Saying: { Said: "Waiting", Late: "Done" },
      Waiting: { Heard: "Done", Late: "Done" },
      Done: end,
    },
    deadline: "Late",
    data: ({ waitMs }) => ({ waitMs, said: [] as string[] }),
  },
  {
    Saying: (s) =>
      s.call(say, {
        input: () => ({ text: "something" }),
        ok: ({ said }, { text }) => s.raise("Said", { said: [...said, text] }),
        failed: "Late",
      }),
    Waiting: (s) =>
      s.wait({
        on: { go: ({ said }, { text }) => s.raise("Heard", { said: [...said, text] }) },
        after: { Late: { ms: 1000, patch: ({ said }) => ({ said: [...said, "late"] }) } },
      }),
    Done: ({ said }) => ({ said: [...said] }),
  },
);

/** Calls hubs, and says what they say. */
const caller = hub(
  "caller",
  {
    request: z.object({ texts: z.array(z.string()) }),
    reply: z.object({ said: z.array(z.string()) }),
    deadlineMs: 60_000,
    chart: { Calling: { One: stay, All: "Done", Late: "Done" }, Done: end },
    data: (request) => ({ ...request, said: [] as string[] }),
  },
  {
    Calling: (s) =>
      s.each(speaker, {
        inputs: ({ texts }) => texts.map((text) => ({ text, waitMs: 0 })),
        ok: ({ said }, output) => s.raise("One", { said: [...said, ...output.said] }),
        failed: ({ said }, failure) =>
          s.raise("One", { said: [...said, failure.kind === "error" ? failure.code : failure.kind] }),
        done: "All",
        deadline: "Late",
      }),
    Done: ({ said }) => ({ said: [...said] }),
  },
);

const poison = "poison";

interface Given {
  readonly world: World;
  /** How often each request's attempt was made. */
  readonly attempts: Map<string, number>;
  /** What the worker says, by request. */
  readonly answers: Map<string, string>;
}

async function begin(options: Partial<WorldOptions> = {}): Promise<Given> {
  const attempts = new Map<string, number>();
  const answers = new Map<string, string>();
  const { faults, ...others } = options;
  const world = new World({
    hubs: [speaker, caller],
    workers: (sleep) => [
      worker(say, async (_input, { idempotencyKey }) => {
        const [key = ""] = idempotencyKey.split("/");
        attempts.set(key, (attempts.get(key) ?? 0) + 1);
        await sleep(100);
        return { text: answers.get(key) ?? "well" };
      }),
    ],
    faults: { refuses: (text) => text.includes(poison), ...faults },
    ...others,
  });
  onTestFinished(() => world.close());
  await world.clock.runUntil(world.start());
  return { world, attempts, answers };
}

const submit = async (world: World, key: string, text = ""): Promise<void> =>
  void (await world.engine.submit(speaker, { text, waitMs: 0 }, { key }));

const bystanders = Array.from({ length: 20 }, (_, n) => `bystander-${n}`);

/** Each of them is answered, and its attempt was made once. */
async function unharmed({ world, attempts }: Given): Promise<void> {
  for (const key of bystanders) {
    expect(await world.answer(key)).toEqual({ kind: "result", value: { said: ["well", "late"] } });
    expect(attempts.get(key), key).toBe(1);
  }
}

describe.each([
  ["memory", {}],
  ["sqlite", {}],
  ["memory", { later: 3 }],
] as const)("what the store refuses (%s, %o)", (store, faults) => {
  const start = (): Promise<Given> => begin({ store, faults });

  test("a request is refused to its sender, once", async () => {
    const given = await start();
    const { world } = given;
    const sent = bystanders.map((key) => submit(world, key));
    const refused = submit(world, "bad", poison).then(
      () => undefined,
      (error: unknown) => error,
    );
    const others = bystanders.map((key) => submit(world, `${key}-2`));
    await world.clock.runUntil(Promise.all([...sent, ...others, refused]));
    expect(await refused).toMatchObject({ code: "WW_STORE_REFUSED", retryable: false });
    await unharmed(given);
    expect(world.engine.health().liveRuns).toBe(0);
  });

  test("an outcome parks its run, also over a restart, until somebody looks after it", async () => {
    const given = await start();
    const { world, answers, attempts } = given;
    answers.set("bad", poison);
    await world.clock.runUntil(Promise.all(["bad", ...bystanders].map((key) => submit(world, key))));
    await unharmed(given);
    const parked = async () => {
      const view = world.engine.request("bad");
      await world.clock.runUntil(view);
      return (await view).status;
    };
    expect(await parked()).toBe("incident");
    expect(world.signals).toContainEqual(
      expect.objectContaining({ name: "incident", key: "bad", code: "WW_STORE_REFUSED" }),
    );
    world.kill();
    await world.clock.runUntil(world.start());
    expect(await parked()).toBe("incident");
    answers.set("bad", "fine");
    await world.clock.runUntil(world.engine.retry("bad"));
    expect(await world.answer("bad")).toEqual({ kind: "result", value: { said: ["fine", "late"] } });
    expect(attempts.get("bad")).toBe(2);
  });

  test("a signal is refused to its sender, and its run goes on", async () => {
    const given = await start();
    const { world } = given;
    await world.clock.runUntil(Promise.all(["a", ...bystanders].map((key) => submit(world, key))));
    await world.clock.advance(200);
    const refused = world.engine.signal("a", "go", { text: poison });
    await world.clock.runUntil(refused.catch(() => {}));
    await expect(refused).rejects.toMatchObject({ code: "WW_STORE_REFUSED" });
    await world.clock.runUntil(world.engine.signal("a", "go", { text: "sound" }));
    expect(await world.answer("a")).toMatchObject({ value: { said: ["well", "sound"] } });
    await unharmed(given);
  });
});

test("a child that the store refuses is an error of its call", async () => {
  // Only the child's own events say where it belongs.
  const refuses = (text: string): boolean => text.includes('"parent":') && text.includes(poison);
  const { world } = await begin({ faults: { refuses } });
  await world.clock.runUntil(world.engine.submit(caller, { texts: ["one", poison, "two"] }, { key: "c" }));
  const answer = await world.answer("c");
  expect(answer).toMatchObject({ kind: "result" });
  expect((answer as { value: { said: string[] } }).value.said.toSorted()).toEqual([
    "WW_DEFECT",
    "late",
    "late",
    "well",
    "well",
  ]);
});

test("a run whose row the store refuses ends with an error", async () => {
  const refuses = (text: string): boolean => text.includes('"snapshot":') && text.includes(poison);
  const given = await begin({ faults: { refuses }, limits: { checkpointEvents: 8 } });
  const { world, answers, attempts } = given;
  answers.set("bad", poison);
  await submit(world, "bad");
  // Its outcome is committed, and its row is not written yet.
  await world.clock.advance(200);
  expect(attempts.get("bad")).toBe(1);
  await world.clock.runUntil(Promise.all(bystanders.map((key) => submit(world, key))));
  expect(await world.answer("bad")).toMatchObject({ kind: "error", code: "WW_INCIDENT" });
  await unharmed(given);
});

test("a callback parks its run", async () => {
  const refuses = (text: string): boolean => text.includes('"late"') && text.includes(poison);
  const given = await begin({ faults: { refuses } });
  const { world, answers } = given;
  answers.set("bad", poison);
  for (const key of ["bad", ...bystanders]) await submit(world, key);
  await unharmed(given);
  await world.clock.advance(5000);
  expect((await world.engine.request("bad")).status).toBe("incident");
});
