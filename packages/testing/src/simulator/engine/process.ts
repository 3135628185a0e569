import { createEngine, silentLogger, type Engine, type EngineEvent } from "@wheelwork/engine";
import type { SimulatedProcess } from "../../clock.ts";
import { observed, type AttemptsIn } from "../attempts.ts";
import type { LocalStore } from "../disk.ts";
import { drawClock, drawFor } from "../plans.ts";
import { SimulatedStore, type StoreFault, type StoreUser } from "../store.ts";
import type { Seen } from "../trace.ts";
import type { Machine } from "./machine.ts";

/** One process with an engine in it. */
export class EngineProcess implements AttemptsIn, StoreUser {
  readonly machine: Machine;
  readonly number: number;
  readonly process: SimulatedProcess;
  readonly engine: Engine;
  /** Its engine has started. */
  ready = false;
  /** Settles when it dies. */
  readonly death: Promise<void>;
  #die: () => void = () => {};
  readonly #store: LocalStore;

  constructor(machine: Machine, number: number) {
    this.machine = machine;
    this.number = number;
    const { seed, isSkewed } = machine.plan;
    this.process = machine.clock.process(isSkewed ? drawClock(seed, number) : {});
    this.death = new Promise((resolve) => (this.#die = resolve));
    this.#store = machine.disk.open();
    const bus = machine.network.end(
      () => this.acts(),
      (task) => this.process.soon(task),
    );
    const { limits } = machine.plan;
    const { schedules } = machine;
    this.engine = createEngine({
      hubs: machine.hubs,
      schedules,
      workers: machine.opened.workers().map((worker) => observed(worker, this)),
      store: new SimulatedStore(this.#store, this),
      bus,
      logger: silentLogger,
      // Some let their attempts end when they stop.
      drainMs: number % 3 === 2 ? 1000 : 0,
      clock: this.process,
      random: drawFor(machine.plan.seed, "jitter", number),
      // Schedules live for ever, and take room.
      limits: { ...limits, liveRuns: limits.liveRuns + machine.schedulesEver },
      ...(machine.plan.retentionMs === undefined ? {} : { retentionMs: machine.plan.retentionMs }),
      ...(machine.plan.historyRetentionMs === undefined
        ? {}
        : { historyRetentionMs: machine.plan.historyRetentionMs }),
      observe: (signal) => this.#observe(signal),
    });
  }

  get plan(): Machine["plan"] {
    return this.machine.plan;
  }

  get honest(): boolean {
    return this.machine.honest;
  }

  get alive(): boolean {
    return this.process.alive;
  }

  get server(): StoreUser["server"] {
    const { machine } = this;
    if (!machine.plan.remote) return undefined;
    return { clock: machine.clock, delayMs: () => machine.delay("store") + machine.hangMs };
  }

  numberFor(): number {
    return this.number;
  }

  see(seen: Seen): void {
    this.machine.see(seen);
  }

  storeFault(operation: "commit" | "read"): StoreFault | undefined {
    const kind = this.machine.faultAt(operation === "read" && !this.ready ? "recovery" : operation);
    return kind as StoreFault | undefined;
  }

  reachStore(writes: boolean): void {
    if (this.machine.storeGone) throw new Error("the store cannot be reached, as planned");
    if (writes && this.machine.diskFull) throw new Error("database or disk is full, as planned");
  }

  endedBy(idempotencyKey: string): boolean {
    if (!this.machine.isLethal(idempotencyKey)) return false;
    // What is ready is done, as where a worker has begun to end its process.
    this.process.after(1, () => this.kill());
    return true;
  }

  /** As `kill -9`. */
  kill(): void {
    if (!this.alive) return;
    this.process.kill();
    this.machine.disk.release(this.#store);
    this.see({ type: "died", node: this.number });
    this.#die();
  }

  /** Whether it lives to do something that the outside notices; the plan may let it die right before. */
  acts(): boolean {
    if (!this.alive) return false;
    if (this.machine.faultAt("effect") !== undefined) this.kill();
    return this.alive;
  }

  #observe(signal: EngineEvent): void {
    if (this.alive) this.machine.signal(signal);
  }
}
