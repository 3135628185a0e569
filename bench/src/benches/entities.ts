import { answered, end, hub, stay } from "@wheelwork/core";
import { createEngine, systemClock, type Clock, type Engine } from "@wheelwork/engine";
import { statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { newKey } from "../flow.ts";
import { inChild, memoryMb, phase, repeat, rounded, withFolder, type Bench } from "../harness.ts";

/** A hub that has answered and takes signals for as long as it lives. */
const entity = hub(
  "entity",
  {
    request: z.object({ owner: z.string() }),
    reply: z.object({ open: z.literal(true) }),
    deadlineMs: 60_000,
    cancel: "Close",
    signals: { add: z.object({ n: z.number() }) },
    chart: { Opening: { Opened: "Open" }, Open: { Added: stay, Close: "Closed" }, Closed: end },
    data: ({ owner }) => ({ owner, sum: 0 }),
    view: ({ sum }) => ({ sum }),
  },
  {
    Opening: (s) => s.answer(() => ({ open: true as const }), { next: "Opened" }),
    Open: (s) =>
      s.wait({ idle: true, on: { add: (data, { n }) => s.raise("Added", { sum: data.sum + n }) } }),
    Closed: answered,
  },
);

const day = 86_400_000;
/** Signals that are under way at once. */
const inFlight = 1000;

/** The clock of the machine, but that it can be put forward: then what has fallen due meanwhile happens. */
class AheadClock implements Clock {
  readonly #timers = new Set<{ readonly due: number; readonly fire: () => void }>();
  #aheadMs = 0;

  wallMs(): number {
    return systemClock.wallMs() + this.#aheadMs;
  }

  monotonicMs(): number {
    return systemClock.monotonicMs() + this.#aheadMs;
  }

  soon(task: () => void): void {
    systemClock.soon(task);
  }

  after(delayMs: number, task: () => void): () => void {
    const timer = { due: this.monotonicMs() + delayMs, fire: () => (end(), task()) };
    const cancel = systemClock.after(delayMs, timer.fire);
    const end = (): void => {
      cancel();
      this.#timers.delete(timer);
    };
    this.#timers.add(timer);
    return end;
  }

  forward(ms: number): void {
    this.#aheadMs += ms;
    const now = this.monotonicMs();
    const due = [...this.#timers].filter((timer) => timer.due <= now);
    for (const { fire } of due.toSorted((a, b) => a.due - b.due)) fire();
  }
}

interface Life {
  readonly file: string;
  readonly signals: number;
  /** How long it lives, in days. */
  readonly days: number;
  readonly historyRetentionMs: number;
}

const open = (file: string, options: { clock?: Clock; historyRetentionMs?: number } = {}): Engine =>
  createEngine({
    hubs: [entity],
    workers: [],
    store: file,
    maxDowntimeMs: 36_500 * day,
    limits: { lateMs: 600_000 },
    ...options,
  });

/** The memory of the process once it has been idle for a moment. */
async function restedMemoryMb(): Promise<number> {
  await sleep(500);
  return memoryMb();
}

const live = phase(import.meta.url, "live", async ({ file, signals, days, historyRetentionMs }: Life) => {
  const clock = new AheadClock();
  const engine = open(file, { clock, historyRetentionMs });
  await engine.start();
  await engine.submit(entity, { owner: "Ada" }, { key: "ada" });
  const began = performance.now();
  let longestMs = 0;
  let looked = performance.now();
  const looking = setInterval(() => {
    longestMs = Math.max(longestMs, performance.now() - looked - 5);
    looked = performance.now();
  }, 5);
  for (let sent = 0; sent < signals; sent += inFlight) {
    await repeat(inFlight, inFlight, async (index) => {
      await engine.signal("ada", "add", { n: 1 }, { commandId: `signal ${sent + index}` });
    });
    clock.forward((days * day * inFlight) / signals);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  clearInterval(looking);
  const seconds = (performance.now() - began) / 1000;
  const rss = await restedMemoryMb();
  await engine.stop();
  return { signals_s: Math.round(signals / seconds), rss_mb: rss, loop_held_ms: rounded(longestMs) };
});

const comeBack = phase(import.meta.url, "comeBack", async ({ file, signals, days }: Life) => {
  const clock = new AheadClock();
  clock.forward(days * day);
  const began = performance.now();
  const engine = open(file, { clock });
  await engine.start();
  const readyMs = performance.now() - began;
  const { view } = await engine.request("ada");
  if ((view as { readonly sum: number }).sum !== signals)
    throw new Error("a signal is lost, or counts twice");
  const rss = await restedMemoryMb();
  await engine.stop();
  return { ready_s: rounded(readyMs / 1000), restarted_rss_mb: rss };
});

interface Many {
  readonly file: string;
  readonly entities: number;
}

const fill = phase(import.meta.url, "fill", async ({ file, entities }: Many) => {
  const engine = open(file);
  await engine.start();
  const began = performance.now();
  await repeat(inFlight, entities, async (index) => {
    await engine.submit(entity, { owner: `owner ${index}` }, { key: index === 0 ? "first" : newKey() });
  });
  const seconds = (performance.now() - began) / 1000;
  const rss = await restedMemoryMb();
  await engine.stop();
  return { entities_s: Math.round(entities / seconds), rss_mb: rss };
});

const wake = phase(import.meta.url, "wake", async ({ file }: Many) => {
  const began = performance.now();
  const engine = open(file);
  await engine.start();
  const readyMs = performance.now() - began;
  const rss = await restedMemoryMb();
  const from = performance.now();
  await engine.signal("first", "add", { n: 1 });
  const signalMs = performance.now() - from;
  await engine.stop();
  return { ready_s: rounded(readyMs / 1000), restarted_rss_mb: rss, first_signal_ms: rounded(signalMs) };
});

const sizeMb = (file: string): number => Math.round(statSync(file).size / 1e6);

/** Runs that have answered and live on: one that takes many signals, and many that take none. */
export const entities: Bench = {
  name: "entities",
  about:
    "an entity that gets 100,000 signals (--full: 1,000,000) in two years, and as many idle entities: memory, store, restart",
  run: async ({ dir, full, report, note }) => {
    const count = full ? 1_000_000 : 100_000;
    for (const [keeps, historyRetentionMs] of [
      ["30 days", 30 * day],
      ["all", 36_500 * day],
    ] as const) {
      await withFolder(dir, async (folder) => {
        const life = { file: join(folder, "engine.db"), signals: count, days: 730, historyRetentionMs };
        note(`${count} signals in two years, keeps ${keeps}`);
        const lived = await inChild(live, life);
        const size = sizeMb(life.file);
        report({
          bench: "entity-signals",
          signals: count,
          keeps,
          ...lived,
          file_mb: size,
          ...(await inChild(comeBack, life)),
        });
      });
    }
    await withFolder(dir, async (folder) => {
      const many = { file: join(folder, "engine.db"), entities: count };
      note(`${count} idle entities`);
      const filled = await inChild(fill, many);
      report({
        bench: "entities-idle",
        entities: count,
        ...filled,
        file_mb: sizeMb(many.file),
        ...(await inChild(wake, many)),
      });
    });
  },
};
