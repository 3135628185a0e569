import { end, hub, spoke } from "@wheelwork/core";
import { createEngine, worker, type Engine } from "@wheelwork/engine";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";

// Functions of users hold the event loop as long as they run. Those of many runs must not hold it together: whoever is slow is slow for
// itself. Each of them takes 5 ms here, so that a turn of the event loop has time for few of them, however slow the host is.

const runs = 60;
/** Those of one turn: 10 ms, and the one that goes beyond. A shard that decides, and the attempts that it begins, have a time each. */
const maxTogether = 6;

/** How many functions have run in the turn of the event loop in which the most have. */
class Turns {
  most = 0;
  total = 0;
  #count = 0;
  #isCounting = false;

  /** A function of a user that takes 5 ms. */
  readonly slow = <T>(value: T): T => {
    for (const until = performance.now() + 5; performance.now() < until;);
    this.total++;
    this.most = Math.max(this.most, ++this.#count);
    if (!this.#isCounting) {
      this.#isCounting = true;
      setImmediate(() => {
        this.#isCounting = false;
        this.#count = 0;
      });
    }
    return value;
  };
}

const numbers = z.object({ n: z.number() });

/** Runs that call one spoke, whose functions are given. */
async function held(functions: {
  readonly input?: (data: { readonly n: number }) => { n: number };
  readonly work?: (input: { readonly n: number }) => { n: number } | Promise<{ n: number }>;
  readonly output?: (value: { readonly n: number }) => { n: number };
  readonly by?: (input: { readonly n: number }) => string;
  readonly late?: (data: { readonly n: number }) => { n: number };
  readonly timeoutMs?: number;
}): Promise<void> {
  const { input, work, output, by, late, timeoutMs = 60_000 } = functions;
  const task = spoke("task", {
    input: numbers,
    output: output === undefined ? numbers : numbers.transform(output),
    timeoutMs,
    ...(by === undefined ? {} : { limit: { by, concurrent: 100 } }),
  });
  const asks = hub(
    "asks",
    {
      request: numbers,
      reply: numbers,
      deadlineMs: 600_000,
      chart: { Asking: { Ok: "Done", Late: "Done" }, Done: end },
      data: ({ n }) => ({ n }),
    },
    {
      Asking: (s) =>
        s.call(task, {
          input: input ?? (({ n }) => ({ n })),
          ok: (_data, { n }) => s.raise("Ok", { n }),
          failed: (data) => s.raise("Late", late?.(data) ?? {}),
          deadline: "Late",
        }),
      Done: ({ n }) => ({ n }),
    },
  );
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-user-time-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const engine: Engine = createEngine({
    hubs: [asks],
    workers: [worker(task, work ?? (({ n }) => ({ n })))],
    store: join(folder, "store.db"),
    durability: "normal",
    drainMs: 0,
  });
  await engine.start();
  onTestFinished(() => engine.stop({ drainMs: 0 }));
  const answers = await Promise.all(
    Array.from({ length: runs }, async (_, n) => {
      const { id } = await engine.submit(asks, { n });
      return engine.answer(id, { waitMs: 60_000 });
    }),
  );
  expect(answers).toEqual(Array.from({ length: runs }, (_, n) => ({ kind: "result", value: { n } })));
}

const slowPlaces: Readonly<Record<string, (turns: Turns) => Parameters<typeof held>[0]>> = {
  "workers that begin slowly": ({ slow }) => ({ work: ({ n }) => slow({ n }) }),
  "schemas of outputs that come together": ({ slow }) => {
    const gate = Promise.withResolvers<void>();
    let begun = 0;
    return {
      work: async ({ n }) => {
        if (++begun === runs) gate.resolve();
        await gate.promise;
        return { n };
      },
      output: (value) => slow(value),
    };
  },
  "keys of limits": ({ slow }) => ({ by: ({ n }) => slow(`${n}`) }),
  "handlers of a hub": ({ slow }) => ({ input: ({ n }) => slow({ n }) }),
  "handlers of what times out together": ({ slow }) => ({
    // Each of them is under way for ever.
    work: () => new Promise<never>(() => {}),
    timeoutMs: 200,
    late: (data) => slow(data),
  }),
};

test.each(Object.keys(slowPlaces))(
  "%s hold the event loop one by one",
  { timeout: 120_000 },
  async (place) => {
    const turns = new Turns();
    await held(slowPlaces[place]?.(turns) ?? {});
    expect(turns.total).toBeGreaterThanOrEqual(runs);
    expect(turns.most).toBeLessThanOrEqual(maxTogether);
  },
);
