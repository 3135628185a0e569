import type { Outcome } from "@wheelwork/core";
import {
  createEngine,
  type AttemptContext,
  type Bus,
  type Engine,
  type EngineSignal,
  type Worker,
} from "@wheelwork/engine";
import type { SimulatedProcess } from "../clock.ts";
import type { LocalStore } from "./disk.ts";
import { drawFor } from "./plan.ts";
import { SimulatedStore } from "./store.ts";
import type { Seen } from "./trace.ts";
import type { World } from "./world.ts";

/** What a process that has died would still wait for: a promise of its own, or what waits would be kept for ever. */
const never = (): Promise<never> => new Promise(() => {});

/** One process with an engine in it. */
export class Node {
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
      workers: world.opened.workers().map((worker) => this.#observed(worker)),
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

  get alive(): boolean {
    return this.process.alive;
  }

  see(seen: Seen): void {
    this.world.see(seen);
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

  #observe(signal: EngineSignal): void {
    if (this.alive) this.world.signal(signal);
  }

  /** A worker that is seen, and that suffers what the plan has for it. */
  #observed(worker: Worker): Worker {
    return {
      ...worker,
      attempt: (input, context, bus) => (this.acts() ? this.#attempt(worker, input, context, bus) : never()),
    };
  }

  #attempt(worker: Worker, input: unknown, context: AttemptContext, bus: Bus): Promise<Outcome> | Outcome {
    const { plan } = this.world;
    const { spoke } = worker;
    const { requestId: request, call, attempt, idempotencyKey } = context;
    this.see({
      type: "attempt",
      node: this.number,
      spoke: spoke.name,
      request,
      call,
      attempt,
      idempotencyKey,
    });
    const random = drawFor(plan.seed, "attempt", spoke.name, idempotencyKey, attempt);
    const { silent, slow, fails, broken, deaf } = plan.rates;
    if (random.chance(silent)) return never();
    const delay = random.chance(slow)
      ? Math.ceil(spoke.timeoutMs * (0.5 + 2 * random()))
      : random.int(plan.latencyMs + 1);
    const isDeaf = random.chance(deaf);
    const failing =
      !this.world.honest && spoke.errors.length > 0 && random.chance(fails)
        ? random.pick(spoke.errors)
        : undefined;
    const breaking = random.chance(broken);
    const act = (): Promise<Outcome> | Outcome => {
      if (breaking) return this.#broken(context, random.int(3));
      if (!isDeaf && context.signal.aborted) return { kind: "timeout" };
      if (failing !== undefined) return { kind: "error", code: failing, message: "as it happens" };
      return worker.attempt(input, context, bus);
    };
    const told = (outcome: Outcome): Outcome => {
      if (this.alive) this.see({ type: "outcome", node: this.number, request, call, attempt, outcome });
      return outcome;
    };
    if (delay === 0) {
      const outcome = act();
      return outcome instanceof Promise ? outcome.then(told) : told(outcome);
    }
    return this.process.sleep(delay).then(act).then(told);
  }

  #broken(context: AttemptContext, way: number): Outcome {
    const { requestId: request, call, attempt } = context;
    this.see({ type: "outcome", node: this.number, request, call, attempt, outcome: { kind: "broken" } });
    if (way === 0) throw new Error("the worker throws, as planned");
    return (way === 1 ? null : { kind: "ok", output: 17n }) as unknown as Outcome;
  }
}
