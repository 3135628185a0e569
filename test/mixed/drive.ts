// Asks an engine for all mixtures, under the same keys as whoever has asked before. So each request is one, however often it is sent.
import { setTimeout as sleep } from "node:timers/promises";
import { WheelworkError, type Hub } from "@wheelwork/core";
import type { Engine } from "@wheelwork/engine";
import type { mixedApp } from "./app.ts";
import type { Done } from "./kills.ts";

/** How the mixtures are asked for. */
interface Drive {
  readonly app: Pick<ReturnType<typeof mixedApp>, "m" | "shop" | "text">;
  /** When the request begins that is to begin later. */
  readonly startAt: number;
  /** Resolves when the newer version runs; undefined: it is not waited for. */
  readonly deployed: Promise<void> | undefined;
  /** Something was done. */
  readonly stepped: () => void;
}

/** What has become of all of them. */
export async function drive(engine: Engine, { app, startAt, deployed, stepped }: Drive): Promise<Done> {
  const { m, shop, text } = app;

  /** Does something until it works: a shard that moves refuses for a moment. */
  async function surely<T>(act: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        const done = await act();
        stepped();
        return done;
      } catch (error) {
        if (!(error instanceof WheelworkError && error.retryable)) throw error;
        await sleep(50);
      }
    }
  }

  const submit = <I>(hub: Hub<I>, key: string, request: I, startAt?: number): Promise<string> =>
    surely(async () => {
      const { id } = await engine.submit(hub, request, startAt === undefined ? { key } : { key, startAt });
      return id;
    });
  const signal = (id: string, name: string, payload: object): Promise<unknown> =>
    surely(() => engine.signal(id, name, payload, { commandId: `${name} ${id}`.slice(0, 200) }));

  const letters = Array.from({ length: 55 }, (_, n) => `letter ${n}`);
  const ids: Record<string, string> = {};
  // First of all: a process of the former version has made these before it is killed.
  for (const name of ["a1", "a2", "b1"]) ids[name] = await submit<{ name: string }>(shop, name, { name });
  ids["conversion"] = await submit(m.conversion, "conversion", { name: "film" });
  await signal(ids["conversion"], "extend", { by: 5_000 });
  ids["building"] = await submit(m.building, "building", { site: "a" });
  ids["later"] = await submit(m.building, "later", { site: "b" }, startAt);
  ids["past"] = await submit(m.building, "past", { site: "c" }, 1);
  await Promise.all(
    letters.map(async (name) => {
      ids[name] = await submit(m.letter, name, { customer: "ada", name });
    }),
  );
  ids["sale"] = await submit(m.sale, "sale", { name: "sale" });
  ids["saga"] = await submit(m.saga, "saga", { name: "saga" });
  ids["leg-3"] = await submit(m.leg, "leg-3", { next: null });
  ids["leg-2"] = await submit(m.leg, "leg-2", { next: "leg-3" });
  ids["leg-1"] = await submit(m.leg, "leg-1", { next: "leg-2" });
  ids["text"] = await submit(text, "text", { words: ["eins", "zwei", "Unübersetzbares"] });
  await signal("leg-1", "baton", { ran: 0 });
  await signal("sale", "withdraw", { why: "too late" });
  await Promise.all(letters.map((name) => signal(ids[name] as string, "hurry", {})));

  // Of the former version nobody goes.
  if (deployed !== undefined) {
    await deployed;
    for (const name of ["a1", "a2", "b1"]) await signal(ids[name] as string, "go", {});
  }

  const answers: Record<string, unknown> = {};
  const answer = async (name: string): Promise<void> => {
    answers[name] = await surely(() => engine.answer(ids[name] as string));
  };
  for (const name of Object.keys(ids))
    if (deployed !== undefined || !/^[ab]\d$/.test(name)) await answer(name);

  // It has ended, so that the signal to it is lost, and listed.
  ids["leg-4"] = await submit(m.leg, "leg-4", { next: "leg-3" });
  await signal("leg-4", "baton", { ran: 0 });
  await answer("leg-4");
  ids["inspection"] = await submit(m.inspection, "inspection of a", { site: "a" });
  await answer("inspection");

  async function lists(): Promise<{
    readonly lost: string[];
    readonly sweeps: string[];
    readonly bad: string[];
  }> {
    const list = async (filter: Parameters<Engine["requests"]>[0]): Promise<string[]> =>
      (await surely(() => engine.requests({ ...filter, limit: 1_000 }))).items.map(({ id }) => id);
    return {
      lost: await list({ status: "lost" }),
      sweeps: await list({ hub: "sweep" }),
      bad: await list({ status: "incident" }),
    };
  }
  let found = await lists();
  while (found.lost.length === 0) {
    await sleep(50);
    found = await lists();
  }
  return { kind: "done", answers, ...found };
}
