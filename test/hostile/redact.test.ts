import { end, hub, spoke } from "@wheelwork/core";
import { createEngine, silentLogger, worker, type Engine, type Redactable } from "@wheelwork/engine";
import { MemoryStore } from "@wheelwork/testing";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { again, Witness } from "./attack.ts";
import { give, lightNames } from "./values.ts";

// Whatever `redact` gives or throws: the failure is kept without what it may hold, and nobody else notices.

const asked = z.object({ where: z.string(), value: z.string() });
const fails = spoke("fails", { input: asked, output: z.object({}), timeoutMs: 5000 });
const failing = hub(
  "failing",
  {
    request: asked,
    reply: z.object({}),
    deadlineMs: 60_000,
    chart: { Begin: { Next: "Call" }, Call: { Over: "Done" }, Done: end },
    data: (request: z.infer<typeof asked>) => request,
  },
  {
    Begin: (s) =>
      s.pick(({ where, value }) => {
        if (where === "handler") throw new Error(`ask ${value}`);
        return "Next";
      }),
    Call: (s) => s.call(fails, { input: (data) => data, settled: "Over", deadline: "Over" }),
    Done: () => ({}),
  },
);

/** Gives what a failure asks for: as a whole, and in each of its fields. */
function redact({ code, message }: Redactable): Redactable {
  const value = /ask (.*)$/.exec(message)?.[1] ?? "";
  if (!value.startsWith("in ")) return give(value) as Redactable;
  const given = give(value.slice(3));
  return { code: given, message: given, details: given, stack: given, more: code } as never;
}

test("what redact gives is kept as text and JSON, or not at all", async () => {
  const witness = new Witness();
  const store = new MemoryStore();
  const open = async (): Promise<Engine> => {
    const engine = createEngine({
      hubs: [failing],
      workers: [worker(fails, ({ value }) => Promise.reject(new Error(`ask ${value}`)))],
      store: store.reopen(),
      logger: silentLogger,
      observe: witness.observe,
      redact,
      drainMs: 0,
    });
    await engine.start();
    onTestFinished(() => engine.stop());
    return engine;
  };
  const first = await open();
  const ids: string[] = [];
  for (const value of lightNames.flatMap((name) => [name, `in ${name}`]))
    for (const where of ["worker", "handler"])
      ids.push((await again(() => first.submit(failing, { where, value }, { key: `${where} ${value}` }))).id);
  const look = async (engine: Engine): Promise<string[]> =>
    Promise.all(
      ids.map(async (id) => {
        const { status } = await again(() => engine.request(id));
        return status === "running" ? status : JSON.stringify(await engine.history(id));
      }),
    );
  await expect.poll(async () => (await look(first)).includes("running"), { timeout: 60_000 }).toBe(false);
  const before = await look(first);
  await first.stop();
  expect(await look(await open())).toEqual(before);
  expect(witness.harms).toEqual([]);
  expect(witness.parkedAgain()).toEqual([]);
  expect(witness.parked()).toBe(ids.length / 2);
});
