// What the mixtures are made of, wherever they run: their hubs, their workers, which write down what they do, and a schedule.
import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { AnyHub } from "@wheelwork/core";
import { worker, type Schedule, type Worker } from "@wheelwork/engine";
import { z } from "zod";
import { mixtures, shopOf, sweeper } from "./hubs.ts";
import type { Line, MixedApp } from "./kills.ts";
import * as plain from "./plain.mjs";

/** `noted`: a worker has begun or ended something. */
export function mixedApp({ workLog, unitMs, version }: MixedApp, noted: () => void = () => {}) {
  const m = mixtures(unitMs);

  /** Writes what a worker does, so that it is known after the process has died. */
  function note(line: Omit<Line, "pid" | "at">): void {
    appendFileSync(workLog, `${JSON.stringify({ ...line, pid: process.pid, at: Date.now() })}\n`);
    noted();
  }

  /** Work that takes its time, and of which nothing may be under way beside it. */
  async function alone(what: string, of: string, ms: number): Promise<void> {
    note({ what, of, step: "begins" });
    await sleep(ms);
    note({ what, of, step: "ends" });
  }

  const workers: Worker[] = [
    ...plain.workers,
    worker(m.sweepDisk, async ({ at }) => {
      await alone("sweep", `${at}`, 100);
      return {};
    }),
    worker(m.convert, async (_input, ctx) => {
      const seen = z.object({ part: z.number() }).safeParse(ctx.lastProgress);
      for (let part = seen.success ? seen.data.part : 0; part < 20; part++) {
        await sleep(25, undefined, { signal: ctx.signal });
        ctx.progress({ part: part + 1 });
      }
      return { parts: 20 };
    }),
    worker(m.paint, async ({ site, who }) => {
      await alone(`site ${site}`, who, 100);
      return {};
    }),
    worker(m.send, async ({ customer, name }) => {
      note({ what: `send to ${customer}`, of: name, step: "begins" });
      return {};
    }),
    // It takes for ever, unless somebody gives it up.
    worker(m.print, async (_input, ctx) => {
      await sleep(600_000, undefined, { signal: ctx.signal, ref: false }).catch(() => undefined);
      return {};
    }),
    worker(m.charge, (_input, ctx) => ctx.fail("down", "the bank is down")),
    worker(m.take, ({ step }, ctx) =>
      step === 2 ? ctx.fail("none-left", "nothing is left") : { taken: `thing ${step}` },
    ),
    worker(m.giveBack, ({ taken }) => {
      note({ what: "give back", of: taken, step: "begins" });
      return {};
    }),
  ];

  const shop = shopOf(version, unitMs);
  const hubs: readonly AnyHub[] = [...m.hubs, shop, plain.text];
  const schedules: readonly Schedule[] = [sweeper(m, { everyMs: 1_000 })];
  return { m, shop, text: plain.text, hubs, workers, schedules };
}
