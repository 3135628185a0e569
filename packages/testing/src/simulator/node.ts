import { createEngine, type Engine, type EngineEvent } from "@wheelwork/engine";
import type { SimulatedProcess } from "../clock.ts";
import { observed, type AttemptsIn } from "./attempts.ts";
import type { LocalStore } from "./disk.ts";
import { drawFor } from "./plan.ts";
import { SimulatedStore, type StoreFault, type StoreUser } from "./store.ts";
import type { Seen } from "./trace.ts";
import type { World } from "./world.ts";

/** One process with an engine in it. */
export class Node implements AttemptsIn, StoreUser {
  readonly world: World;
  readonly number: number;
  readonly process: SimulatedProcess;
  readonly engine: Engine;
  /** Its engine has started. */
  ready = false;
  /** Settles when it dies. */
  readonly death: Promise<void>;
  #die: () => void = () => {};
  readonly #store: LocalStore;

  constructor(world: World, number: number) {
    this.world = world;
    this.number = number;
    this.process = world.clock.process();
    this.death = new Promise((resolve) => (this.#die = resolve));
    this.#store = world.disk.open();
    const bus = world.network.end(
      () => this.acts(),
      (task) => this.process.soon(task),
    );
    this.engine = createEngine({
      hubs: world.hubs,
      workers: world.opened.workers().map((worker) => observed(worker, this)),
      store: new SimulatedStore(this.#store, this),
      bus,
      clock: this.process,
      strict: true,
      random: drawFor(world.plan.seed, "jitter", number),
      limits: world.plan.limits,
      ...(world.plan.retentionMs === undefined ? {} : { retentionMs: world.plan.retentionMs }),
      observe: (signal) => this.#observe(signal),
    });
  }

  get plan(): World["plan"] {
    return this.world.plan;
  }

  get honest(): boolean {
    return this.world.honest;
  }

  get alive(): boolean {
    return this.process.alive;
  }

  get server(): StoreUser["server"] {
    const { world } = this;
    if (!world.plan.remote) return undefined;
    return { clock: world.clock, delayMs: () => world.delay("store") };
  }

  numberFor(): number {
    return this.number;
  }

  see(seen: Seen): void {
    this.world.see(seen);
  }

  storeFault(operation: "commit" | "read"): StoreFault | undefined {
    const kind = this.world.faultAt(operation === "read" && !this.ready ? "recovery" : operation);
    return kind as StoreFault | undefined;
  }

  reachStore(writes: boolean): void {
    if (this.world.storeGone) throw new Error("the store cannot be reached, as planned");
    if (writes && this.world.diskFull) throw new Error("database or disk is full, as planned");
  }

  /** As `kill -9`. */
  kill(): void {
    if (!this.alive) return;
    this.process.kill();
    this.world.disk.release(this.#store);
    this.see({ type: "died", node: this.number });
    this.#die();
  }

  /** Whether it lives to do something that the outside notices; the plan may let it die right before. */
  acts(): boolean {
    if (!this.alive) return false;
    if (this.world.faultAt("effect") !== undefined) this.kill();
    return this.alive;
  }

  #observe(signal: EngineEvent): void {
    if (this.alive) this.world.signal(signal);
  }
}
