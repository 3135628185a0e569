import { end, hub, spoke, stay, type AnyHub } from "@wheelwork/core";
import { Run, start } from "@wheelwork/core/kernel";
import { worker, type Worker } from "@wheelwork/engine";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { World } from "./world.ts";

/** What earlier versions have stored is held against the schemas of today before anybody gets it. */

interface Asked {
  readonly input: unknown;
  readonly key: string;
}

/** A version of a program: its hubs, and the workers of their spokes. */
interface Version {
  readonly hubs: readonly AnyHub[];
  readonly workers: readonly Worker[];
}

const variants = [{}, { store: "sqlite" }, { faults: { later: true } }] as const;

/** A machine that runs one version, and then others. */
async function machine(
  variant: (typeof variants)[number],
  first: Version,
): Promise<{ world: World; upgrade: (next: Version) => Promise<void> }> {
  let version = first;
  const world = new World({ hubs: first.hubs, workers: () => version.workers, ...variant });
  onTestFinished(() => world.close());
  await world.start();
  return {
    world,
    upgrade: async (next) => {
      version = next;
      world.hubs = next.hubs;
      await world.restart(5);
    },
  };
}

const forever = (): Promise<never> => new Promise(() => {});

/** A hub that calls one spoke. Its worker notes what it gets; `ends`: it ends at once. */
function installing(input: z.ZodType, asked: Asked[], { ends = false, value = 7 as unknown } = {}): Version {
  const install = spoke("install", { input, output: z.object({}), timeoutMs: 50_000 });
  const job = hub(
    "job",
    {
      request: z.object({}),
      reply: z.string(),
      deadlineMs: 100_000,
      chart: { Work: { Ok: "Done", Bad: "Bad" }, Done: end, Bad: end },
      data: () => ({}),
    },
    {
      Work: (s) =>
        s.call(install, {
          input: () => ({ rule: value }) as never,
          ok: "Ok",
          failed: "Bad",
          deadline: "Bad",
        }),
      Done: () => "done",
      Bad: () => "bad",
    },
  );
  const serve = worker(install, (given, { idempotencyKey: key }) => {
    asked.push({ input: given, key });
    return ends ? {} : forever();
  });
  return { hubs: [job], workers: [serve] };
}

describe.each(variants)("the input of an open call, after an upgrade (%o)", (variant) => {
  test("is an incident that names the field if the schema refuses it, until one accepts it", async () => {
    const asked: Asked[] = [];
    const { world, upgrade } = await machine(variant, installing(z.object({ rule: z.number() }), asked));
    await world.engine.submit("job", {}, { key: "a" });
    await world.clock.settle();
    expect(asked).toEqual([{ input: { rule: 7 }, key: "a/0" }]);
    const strict = z.object({ rule: z.number(), kbits: z.number() });
    await upgrade(installing(strict, asked, { ends: true }));
    await world.clock.settle();
    const { status, incident } = await world.engine.request("a");
    expect(status).toBe("incident");
    expect(incident?.error).toMatchObject({
      code: "WW_INVALID_INPUT",
      message: expect.stringMatching(/the input of the call 0 of install(.|\n)*kbits/),
    });
    expect(asked).toHaveLength(1);
    // It stays parked, also after a retry, as long as the schema refuses it.
    await world.engine.retry("a");
    await upgrade(installing(strict, asked, { ends: true }));
    expect((await world.engine.request("a")).status).toBe("incident");
    expect(asked).toHaveLength(1);
    await upgrade(installing(strict.extend({ kbits: z.number().default(64) }), asked, { ends: true }));
    await world.engine.retry("a");
    expect(await world.answer("a")).toEqual({ kind: "result", value: "done" });
    expect(asked[1]).toEqual({ input: { rule: 7, kbits: 64 }, key: "a/0" });
  });

  test("gets the fields that the schema fills in now, and nothing else changes", async () => {
    const asked: Asked[] = [];
    const { world, upgrade } = await machine(
      variant,
      installing(z.object({ rule: z.number(), old: z.string().default("x") }), asked),
    );
    await world.engine.submit("job", {}, { key: "a" });
    await world.clock.settle();
    const next = z.object({
      rule: z.number().transform((rule) => rule * 100),
      kbits: z.number().default(64),
    });
    await upgrade(installing(next, asked));
    await world.clock.settle();
    await upgrade(installing(next, asked, { ends: true }));
    expect(await world.answer("a")).toEqual({ kind: "result", value: "done" });
    const filled = { input: { rule: 7, old: "x", kbits: 64 }, key: "a/0" };
    expect(asked.slice(1)).toEqual([filled, filled]);
    const history = await world.engine.history("a");
    expect(history.filter(({ type }) => type === "filled")).toHaveLength(1);
  });

  test("is left as it is if its schema does not accept what it makes, or nothing has changed", async () => {
    const asked: Asked[] = [];
    const length = z.object({ rule: z.string().transform((rule) => rule.length) });
    const { world, upgrade } = await machine(variant, installing(length, asked, { value: "seven" }));
    await world.engine.submit("job", {}, { key: "a" });
    await world.clock.settle();
    await upgrade(installing(length, asked, { value: "seven", ends: true }));
    expect(await world.answer("a")).toEqual({ kind: "result", value: "done" });
    expect(asked.map(({ input }) => input)).toEqual([{ rule: 5 }, { rule: 5 }]);
  });
});

test("calls that are queued or wait for their next attempt are checked, too, and those of tells", async () => {
  const asked: unknown[] = [];
  const version = (fields: object, tries: number): Version => {
    const input = z.object({ n: z.number(), ...fields });
    const step = spoke("step", {
      input,
      output: z.object({}),
      timeoutMs: 1000,
      retry: { attempts: 9, backoffMs: 500 },
    });
    const round = hub(
      "round",
      {
        request: z.object({}),
        reply: z.object({}),
        deadlineMs: 10_000,
        chart: { Work: { One: stay, All: "Done" }, Done: end },
        data: () => ({}),
      },
      {
        Work: (s) =>
          s.each(step, {
            inputs: () => [{ n: 1 }, { n: 2 }] as never,
            limit: 1,
            settled: "One",
            done: "All",
            deadline: "All",
          }),
        Done: () => ({}),
      },
    );
    const teller = hub(
      "teller",
      {
        request: z.object({}),
        reply: z.object({}),
        deadlineMs: 10_000,
        chart: { Tell: { Told: "Done" }, Done: end },
        data: () => ({}),
      },
      { Tell: (s) => s.tell(step, { input: () => ({ n: 3 }) as never, next: "Told" }), Done: () => ({}) },
    );
    const serve = worker(step, (given, context) => {
      asked.push(given);
      if (context.attempt <= tries) throw new Error("not yet");
      return {};
    });
    return { hubs: [round, teller], workers: [serve] };
  };
  const { world, upgrade } = await machine({}, version({}, 99));
  await world.engine.submit("round", {}, { key: "a" });
  await world.engine.submit("teller", {}, { key: "b" });
  await world.clock.settle();
  expect(asked).toHaveLength(2);
  await upgrade(version({ kbits: z.number() }, 0));
  const parked = (await world.engine.requests({ status: "incident" })).items;
  expect(parked.map(({ id }) => id).toSorted()).toEqual(["a", "b/t0"]);
  await upgrade(version({ kbits: z.number().default(64) }, 0));
  for (const { id } of parked) await world.engine.retry(id);
  await world.answer("a");
  await world.clock.advance(1000);
  expect(asked.slice(2)).toEqual(
    expect.arrayContaining([1, 2, 3].map((n) => expect.objectContaining({ n, kbits: 64 }))),
  );
  expect((await world.engine.requests({ status: "incident" })).items).toEqual([]);
});

describe.each(variants)("a signal that no state has taken before an upgrade (%o)", (variant) => {
  const version = (payload: z.ZodType): Version => {
    const job = hub(
      "job",
      {
        request: z.object({}),
        reply: z.object({ by: z.any() }),
        deadlineMs: 10_000,
        signals: { go: z.null(), approve: payload },
        chart: { Early: { Go: "Late", Late: "Late" }, Late: { Ok: "Done", Late: "Done" }, Done: end },
        data: () => ({ by: null as unknown }),
      },
      {
        Early: (s) => s.wait({ on: { go: "Go" }, deadline: "Late" }),
        Late: (s) =>
          s.wait({
            on: { approve: (_data, by) => s.raise("Ok", { by }) },
            after: { Late: 1000 },
          }),
        Done: ({ by }) => ({ by }),
      },
    );
    return { hubs: [job], workers: [] };
  };

  test("is an incident that names the field if the schema refuses it, and gets new defaults", async () => {
    const { world, upgrade } = await machine(variant, version(z.object({ by: z.string() })));
    await world.engine.submit("job", {}, { key: "a" });
    await world.engine.signal("a", "approve", { by: "me" });
    await upgrade(version(z.object({ by: z.string(), role: z.string() })));
    await world.engine.signal("a", "go", null);
    const { incident } = await world.engine.request("a");
    expect(incident?.error).toMatchObject({
      code: "WW_INVALID_INPUT",
      message: expect.stringMatching(/the payload of the signal approve(.|\n)*role/),
    });
    await upgrade(version(z.object({ by: z.string(), role: z.string().default("user") })));
    await world.engine.retry("a");
    expect(await world.answer("a")).toEqual({ kind: "result", value: { by: { by: "me", role: "user" } } });
  });

  test("is left as it is if its schema does not accept what it makes", async () => {
    const length = version(z.string().transform((text) => text.length));
    const { world, upgrade } = await machine(variant, length);
    await world.engine.submit("job", {}, { key: "a" });
    await world.engine.signal("a", "approve", "seven");
    await upgrade(length);
    await world.engine.signal("a", "go", null);
    expect(await world.answer("a")).toEqual({ kind: "result", value: { by: 5 } });
  });
});

test("a request whose run could not begin is checked again when it is retried", async () => {
  const version = (fields: object, fails: boolean): Version => {
    const job = hub(
      "job",
      {
        request: z.object({ n: z.number(), ...fields }),
        reply: z.any(),
        deadlineMs: 10_000,
        chart: { Go: { On: "Done" }, Done: end },
        data: (request): Readonly<Record<string, unknown>> => {
          if (fails) throw new Error("not yet");
          return request;
        },
      },
      { Go: "On", Done: (data) => data },
    );
    return { hubs: [job], workers: [] };
  };
  const { world, upgrade } = await machine({}, version({}, true));
  await world.engine.submit("job", { n: 1 }, { key: "a" });
  await upgrade(version({ m: z.number() }, false));
  await world.engine.retry("a");
  const { incident } = await world.engine.request("a");
  expect(incident?.error).toMatchObject({
    message: expect.stringMatching(/the request to job(.|\n)*m:/),
  });
  await upgrade(version({ m: z.number().default(2) }, false));
  await world.engine.retry("a");
  expect(await world.answer("a")).toEqual({ kind: "result", value: { n: 1, m: 2 } });
});

test("what a spoke is told goes through its schema once", async () => {
  const asked: unknown[] = [];
  const note = spoke("note", {
    input: z.object({ text: z.string().transform((text) => text.length) }),
    output: z.object({}),
    timeoutMs: 1000,
  });
  const teller = hub(
    "teller",
    {
      request: z.object({}),
      reply: z.object({}),
      deadlineMs: 10_000,
      chart: { Tell: { Told: "Done" }, Done: end },
      data: () => ({}),
    },
    { Tell: (s) => s.tell(note, { input: () => ({ text: "seven" }), next: "Told" }), Done: () => ({}) },
  );
  const { world } = await machine(
    {},
    { hubs: [teller], workers: [worker(note, (input) => (asked.push(input), {}))] },
  );
  await world.call(teller, {});
  await world.clock.settle();
  expect(asked).toEqual([{ text: 5 }]);
});

/** What behaviours get, without its types: the charts here have computed names. */
interface Builder {
  each(...options: unknown[]): unknown;
  call(...options: unknown[]): unknown;
  raise(...options: unknown[]): unknown;
}

describe("a migration that only renames a state", () => {
  const charge = (asked: Asked[]) => {
    const made = spoke("charge", {
      input: z.object({ n: z.number() }),
      output: z.object({}),
      timeoutMs: 1000,
    });
    const serve = worker(made, ({ n }, { idempotencyKey: key }) => {
      asked.push({ input: n, key });
      return n === 1 ? {} : forever();
    });
    const last = worker(made, (input, { idempotencyKey: key }) => {
      asked.push({ input: input.n, key });
      return {};
    });
    return { made, serve, last };
  };
  const common = {
    request: z.object({}),
    reply: z.array(z.number()),
    deadlineMs: 10_000,
    data: () => ({ done: [] as number[] }),
  };

  test("leaves its calls alone: a round goes on where it stopped, under the same idempotency keys", async () => {
    const asked: Asked[] = [];
    const { made, serve, last } = charge(asked);
    const round = (state: string, extra: object): AnyHub =>
      hub(
        "round",
        {
          ...common,
          ...extra,
          chart: {
            [state]: { One: stay, All: "Then", Bad: "Done" },
            Then: { Ok: "Done" },
            Done: end,
          } as never,
        },
        {
          [state]: (s: Builder) =>
            s.each(made, {
              inputs: () => [{ n: 1 }, { n: 2 }, { n: 3 }],
              ok: ({ done }: { done: number[] }, _output: unknown, call: { input: { n: number } }) =>
                s.raise("One", { done: [...done, call.input.n] }),
              failed: "One",
              done: "All",
              deadline: "Bad",
            }),
          Then: "Ok",
          Done: ({ done }: { done: number[] }) => [...done],
        } as never,
      );
    const migrate = { 1: (run: object) => ({ ...run, state: "New" }) };
    const { world, upgrade } = await machine({}, { hubs: [round("Old", {})], workers: [serve] });
    await world.engine.submit("round", {}, { key: "a" });
    await world.clock.settle();
    await upgrade({ hubs: [round("New", { version: 2, migrate })], workers: [last] });
    expect(await world.answer("a")).toEqual({ kind: "result", value: [1, 2, 3] });
    expect(asked).toEqual([1, 2, 3, 2, 3].map((n) => ({ input: n, key: `a/${n - 1}` })));
    const entered = (await world.engine.history("a")).filter(({ type }) => type === "entered");
    expect(entered.map((event) => (event as { state: string }).state)).toEqual([
      "Old",
      "New",
      "Then",
      "Done",
    ]);
  });

  test("and changes what a call is given: the calls are made anew", async () => {
    const asked: Asked[] = [];
    const { made, serve, last } = charge(asked);
    const version = (state: string, n: number, extra: object): AnyHub =>
      hub(
        "one",
        { ...common, ...extra, chart: { [state]: { Ok: "Done", Bad: "Done" }, Done: end } as never },
        {
          [state]: (s: Builder) =>
            s.call(made, { input: () => ({ n }), ok: "Ok", failed: "Bad", deadline: "Bad" }),
          Done: () => [n],
        } as never,
      );
    const { world, upgrade } = await machine({}, { hubs: [version("Old", 2, {})], workers: [serve] });
    await world.engine.submit("one", {}, { key: "a" });
    await world.clock.settle();
    const migrate = { 1: (run: object) => ({ ...run, state: "New" }) };
    await upgrade({ hubs: [version("New", 5, { version: 2, migrate })], workers: [last] });
    expect(await world.answer("a")).toEqual({ kind: "result", value: [5] });
    expect(asked.at(-1)).toEqual({ input: 5, key: "a/1" });
  });

  test("leaves a hub that is called alone", async () => {
    const asked: Asked[] = [];
    const { made, serve, last } = charge(asked);
    const child = hub(
      "child",
      { ...common, chart: { Work: { Ok: "Done", Bad: "Done" }, Done: end } },
      {
        Work: (s) => s.call(made, { input: () => ({ n: 2 }), ok: "Ok", failed: "Bad", deadline: "Bad" }),
        Done: () => [2],
      },
    );
    const parent = (state: string, extra: object): AnyHub =>
      hub(
        "parent",
        { ...common, ...extra, chart: { [state]: { Ok: "Done", Bad: "Done" }, Done: end } as never },
        {
          [state]: (s: Builder) =>
            s.call(child, { input: () => ({}), ok: "Ok", failed: "Bad", deadline: "Bad" }),
          Done: () => [9],
        } as never,
      );
    const { world, upgrade } = await machine({}, { hubs: [parent("Old", {})], workers: [serve] });
    await world.engine.submit("parent", {}, { key: "a" });
    await world.clock.settle();
    const migrate = { 1: (run: object) => ({ ...run, state: "New" }) };
    await upgrade({ hubs: [parent("New", { version: 2, migrate })], workers: [last] });
    expect(await world.answer("a")).toEqual({ kind: "result", value: [9] });
    expect(asked.map(({ key }) => key)).toEqual(["a/0/0", "a/0/0"]);
  });
});

test("the request of a child that was stored, and has not begun, is checked when it begins", () => {
  const version = (fields: object): AnyHub =>
    hub(
      "child",
      {
        request: z.object({ n: z.number(), ...fields }),
        reply: z.any(),
        deadlineMs: 100,
        chart: { Go: { On: "Done" }, Done: end },
        data: (request): object => request,
      },
      { Go: "On", Done: (data) => data },
    );
  const begun = (child: AnyHub) => {
    const options = { request: { n: 1 }, hash: "", parent: { key: "a", call: 0 }, isStored: true } as const;
    return start(child.definition, new Run("a/0"), options, { now: 0, random: 0 });
  };
  expect(begun(version({ m: z.number() })).map(({ type }) => type)).toEqual(["started", "incident"]);
  const [started] = begun(version({ m: z.number().default(2) }));
  expect(started).toMatchObject({ request: { n: 1, m: 2 }, data: { n: 1, m: 2 } });
});

describe.each(variants)(
  "a request that waits while another version of its hub is deployed (%o)",
  (variant) => {
    const hour = 3_600_000;
    const lane = { lane: "flow", by: () => "a", whenBusy: "queue", queueMs: hour } as const;
    const version = (fields: object, number: number, exclusive?: typeof lane): Version => ({
      hubs: [
        hub(
          "later",
          {
            request: z.object({ n: z.number(), ...fields }),
            reply: z.any(),
            version: number,
            deadlineMs: hour,
            deadline: "Late",
            signals: { go: z.object({}) },
            ...(exclusive === undefined ? {} : { exclusive }),
            chart: { Wait: { Go: "Done", Late: "Done" }, Done: end },
            data: (request): object => request,
          },
          { Wait: (s) => s.wait({ on: { go: "Go" } }), Done: (data) => data },
        ),
      ],
      workers: [],
    });
    const refuses = {
      status: "incident",
      incident: {
        error: {
          code: "WW_INVALID_INPUT",
          message: expect.stringMatching(/stored before.*\bm\b/s) as string,
        },
      },
    };

    test("one whose time comes is held against the schema of today", async () => {
      const { world, upgrade } = await machine(variant, version({}, 1));
      const startAt = world.clock.wallMs() + hour;
      for (const key of ["a", "b"])
        await world.engine.submit(
          "later",
          { n: 1 },
          { key, startAt: key === "a" ? startAt : startAt + hour },
        );
      await upgrade(version({ m: z.number() }, 2));
      await world.clock.advance(hour + 1);
      expect(await world.engine.request("a")).toMatchObject(refuses);
      await world.engine.retry("a");
      await world.clock.settle();
      expect(await world.engine.request("a")).toMatchObject(refuses);
      await upgrade(version({ m: z.number().default(2) }, 3));
      await world.engine.retry("a");
      await world.clock.advance(hour);
      for (const key of ["a", "b"]) {
        await world.engine.signal(key, "go", {});
        expect(await world.answer(key)).toEqual({ kind: "result", value: { n: 1, m: 2 } });
        expect((await world.engine.request(key)).request).toEqual({ n: 1 });
      }
    });

    test("one that waits for its turn in a lane, or comes to it, too", async () => {
      const { world, upgrade } = await machine(variant, version({}, 1, lane));
      const startAt = world.clock.wallMs() + hour / 2;
      const submit = async (key: string, options: object = {}): Promise<string> =>
        (await world.engine.submit("later", { n: 1 }, { key, ...options })).id;
      const first = await submit("first");
      const second = await submit("second");
      const third = await submit("third", { startAt });
      await upgrade(version({ m: z.number().default(2) }, 2, lane));
      await world.clock.advance(hour / 2 + 1);
      expect((await world.engine.request(third)).status).toBe("pending");
      for (const id of [first, second, third]) {
        await world.engine.signal(id, "go", {});
        await world.clock.settle();
      }
      expect(await world.answer(first)).toEqual({ kind: "result", value: { n: 1 } });
      expect(await world.answer(second)).toEqual({ kind: "result", value: { n: 1, m: 2 } });
      expect(await world.answer(third)).toEqual({ kind: "result", value: { n: 1, m: 2 } });
    });

    test("the run keeps its place while it is parked", async () => {
      const { world, upgrade } = await machine(variant, version({}, 1, lane));
      const first = (await world.engine.submit("later", { n: 1 }, { key: "first" })).id;
      const second = (await world.engine.submit("later", { n: 1 }, { key: "second" })).id;
      await upgrade(version({ m: z.number() }, 2, lane));
      await world.engine.signal(first, "go", {});
      await world.clock.settle();
      expect(await world.engine.request(second)).toMatchObject({ ...refuses, lane: { holders: [second] } });
    });

    test("not where the version is the same, nor where the schema does not accept what it makes", async () => {
      const same = await machine(variant, version({}, 1));
      const startAt = same.world.clock.wallMs() + hour;
      await same.world.engine.submit("later", { n: 1 }, { key: "a", startAt });
      await same.upgrade(version({ m: z.number() }, 1));
      await same.world.clock.advance(hour + 1);
      expect((await same.world.engine.request("a")).status).toBe("running");

      const length = { m: z.string().transform((text) => text.length) };
      const made = await machine(variant, version(length, 1));
      await made.world.engine.submit("later", { n: 1, m: "four" }, { key: "a", startAt: startAt });
      await made.upgrade(version(length, 2));
      await made.world.clock.advance(hour + 1);
      expect((await made.world.engine.request("a")).status).toBe("running");
      await made.world.engine.signal("a", "go", {});
      expect(await made.world.answer("a")).toEqual({ kind: "result", value: { n: 1, m: 4 } });
    });
  },
);
