import type { AnyHub, Answer, HistoryEvent } from "@wheelwork/core";
import {
  createEngine,
  SqliteStore,
  type Engine,
  type EngineOptions,
  type EngineEvent,
  type Store,
  type Worker,
} from "@wheelwork/engine";
import {
  FaultyStore,
  MemoryStore,
  SimulatedClock,
  type FaultPlan,
  type SimulatedProcess,
} from "@wheelwork/testing";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ok, strictEqual } from "node:assert/strict";
import { onTestFinished } from "vitest";

/** A folder that is deleted after the test. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "wheelwork-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** The faults of a store; `later`: it reads and commits as over a network, which takes so many milliseconds. */
interface Faults extends Omit<FaultPlan, "onCrash" | "later"> {
  readonly later?: boolean | number;
}

/** What a world is made of. */
export interface WorldOptions {
  readonly hubs: readonly AnyHub[];
  /** The workers of each process; `sleep` is simulated work, and dies with the process. */
  readonly workers: (sleep: (ms: number) => Promise<void>) => readonly Worker[];
  readonly store?: "memory" | "sqlite";
  /** Of SQLite: see `SqliteOptions`. */
  readonly sliceMs?: number;
  readonly limits?: EngineOptions["limits"];
  readonly retentionMs?: number;
  readonly historyRetentionMs?: number;
  readonly maxDowntimeMs?: number;
  /** Default true. */
  readonly random?: () => number;
  readonly faults?: Faults;
  /** Default 0. */
  readonly drainMs?: number;
  /** Options of the engine that are to differ. */
  readonly options?: Partial<EngineOptions>;
}

/** One simulated machine with one engine on it, which can be killed and started again. */
export class World {
  readonly clock = new SimulatedClock();
  readonly signals: EngineEvent[] = [];
  engine!: Engine;
  store!: FaultyStore;
  crashes = 0;
  hubs: readonly AnyHub[];
  #process!: SimulatedProcess;
  readonly #options: WorldOptions;
  readonly #path: string | undefined;
  #durable: MemoryStore | undefined;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.hubs = options.hubs;
    this.#path = options.store === "sqlite" ? join(folder(), "store.db") : undefined;
  }

  /** Makes an engine on what is durable, without starting it. */
  boot(faults = this.#options.faults): Engine {
    const { workers, limits, retentionMs, historyRetentionMs, maxDowntimeMs, random, drainMs } =
      this.#options;
    // A slice takes real time, and may not be all on a busy machine. The simulated clock does not wait for turns of the loop.
    const { sliceMs = Number.POSITIVE_INFINITY } = this.#options;
    const process = this.clock.process();
    this.#process = process;
    this.#durable = this.#durable?.reopen() ?? new MemoryStore();
    const inner: Store =
      this.#path === undefined
        ? this.#durable
        : new SqliteStore(this.#path, { durability: "normal", sliceMs });
    const { later, ...others } = faults ?? {};
    this.store = new FaultyStore(inner, {
      ...others,
      onCrash: () => this.kill(),
      ...(later === true ? { later: (task): void => process.soon(task) } : {}),
      ...(typeof later === "number" ? { later: (task): void => void process.after(later, task) } : {}),
    });
    this.engine = createEngine({
      hubs: this.hubs,
      workers: workers((ms) => process.sleep(ms)),
      store: this.store,
      clock: process,
      random: random ?? (() => 0.5),
      drainMs: drainMs ?? 0,
      observe: (signal) => void this.signals.push(signal),
      ...(limits === undefined ? {} : { limits }),
      ...(retentionMs === undefined ? {} : { retentionMs }),
      ...(historyRetentionMs === undefined ? {} : { historyRetentionMs }),
      ...(maxDowntimeMs === undefined ? {} : { maxDowntimeMs }),
      ...this.#options.options,
    });
    return this.engine;
  }

  async start(faults = this.#options.faults): Promise<this> {
    await this.boot(faults).start();
    return this;
  }

  /** As SIGSTOP and SIGCONT. */
  freeze(): void {
    this.#process.freeze();
  }

  thaw(): void {
    this.#process.thaw();
  }

  /** As `kill -9`. */
  kill(): void {
    this.#process.kill();
    this.store.crashed = true;
    this.crashes++;
    this.store.inner.close();
  }

  /** Kills the engine, lets time pass without it, and starts another one. */
  async restart(downMs = 0, faults = this.#options.faults): Promise<void> {
    if (this.#process.alive) this.kill();
    await this.clock.advance(downMs);
    await this.start(faults);
  }

  /** Submits, and lets time pass until there is an answer. */
  async call(hub: AnyHub, request: unknown, key?: string): Promise<Answer> {
    const { id } = await this.engine.submit(hub, request as never, key === undefined ? {} : { key });
    return this.answer(id);
  }

  /** Lets time pass until the request has its answer. */
  async answer(id: string): Promise<Answer> {
    let answer: Answer | undefined;
    const given = this.engine.answer(id).then((value) => (answer = value));
    await this.clock.runUntil(given);
    return answer as Answer;
  }

  /** Lets time pass until the run has ended. */
  async ended(id: string): Promise<void> {
    await this.clock.runUntil(async () => (await this.engine.request(id)).status === "ended", 1e9);
  }

  counted(name: EngineEvent["name"]): number {
    return this.signals.filter((signal) => signal.name === name).length;
  }

  close(): void {
    if (this.#process.alive) this.kill();
  }
}

/** What every history must hold, whatever happened (I5, I12, I14). */
export function checkHistory(hub: AnyHub, history: readonly HistoryEvent[]): void {
  const { chart } = hub.definition;
  let state: string | undefined;
  let answers = 0;
  let over = false;
  let at = 0;
  const open = new Set<number>();
  const used = new Set<number>();
  strictEqual(history[0]?.type, "started");
  for (const [position, event] of history.entries()) {
    ok(event.at >= at, "time only runs forward");
    at = event.at;
    ok(!over, `after the end: ${JSON.stringify(event)}`);
    if (event.type === "started") strictEqual(position, 0);
    if (event.type === "entered") {
      if (state !== undefined && event.by !== undefined) {
        const row = chart[state];
        strictEqual(
          typeof row === "object" ? row[event.by] : undefined,
          event.state,
          `${state} --${event.by}-->`,
        );
      }
      state = event.state;
      open.clear();
    }
    if (event.type === "settled") ok(open.delete(event.call), `call ${event.call} was open`);
    if (event.type === "failed" || event.type === "attempt") ok(open.has(event.call));
    if ("calls" in event) {
      for (const { first, inputs } of event.calls ?? []) {
        for (let call = first; call < first + inputs.length; call++) {
          ok(!used.has(call), `call ${call} is new (I3)`);
          used.add(call);
          open.add(call);
        }
      }
    }
    if ((event.type === "answered" || event.type === "ended") && event.answer !== undefined) answers++;
    if (event.type === "ended") over = true;
  }
  ok(over ? answers === 1 : answers <= 1, `${answers} answers`);
}
