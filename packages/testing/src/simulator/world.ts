import { WheelworkError, type Answer, type AnyHub, type RunEvent } from "@wheelwork/core";
import type { Bus, Clock, CommandResult, EngineEvent, Worker } from "@wheelwork/engine";
import { SimulatedClock } from "../clock.ts";
import { seededRandom, type SeededRandom } from "../random.ts";
import { fileDisk, memoryDisk, type Disk } from "./disk.ts";
import { SimulatedNetwork } from "./network.ts";
import { Node } from "./node.ts";
import {
  drawFor,
  type FaultKind,
  type Plan,
  type PlannedCommand,
  type PlannedFault,
  type PlannedRequest,
} from "./plan.ts";
import type { Seen, TraceEntry } from "./trace.ts";

/** What surrounds the engine of a simulation: it outlives each of its processes. */
export interface Outside {
  readonly clock: Clock;
  /** The other end of the network: what the workers' relays talk to. */
  readonly bus: Bus;
  /** The same numbers for the same seed; draw from it only while the system is opened. */
  readonly random: SeededRandom;
  /** Whether a defect is deployed at the moment: handlers that ask for it should throw then. */
  readonly defective: () => boolean;
}

/** A request that has come to its end. */
export interface EndedRequest {
  readonly key: string;
  readonly hub: string;
  readonly request: unknown;
  readonly answer: Answer;
  readonly history: readonly RunEvent[];
}

/** A system in a simulation. */
export interface OpenedSystem {
  readonly hubs: readonly AnyHub[];
  /** The key of a request on a cluster, made of one that no other has; default: that one. */
  readonly key?: (key: string) => string;
  /**
   * The same hubs as of a later version of the program: 2, 3, … with each upgrade. Their charts must be the same. Absent:
   * there is one version.
   */
  upgraded?(version: number): readonly AnyHub[];
  /** The workers of one process. They may be slow, silent and so on by themselves, too; time is that of `Outside`. */
  workers(): readonly Worker[];
  /** Draws a request. */
  request(random: SeededRandom): { readonly hub: AnyHub; readonly request: unknown };
  /** Draws a signal; absent: its hubs take none. */
  signal?(random: SeededRandom): { readonly name: string; readonly payload: unknown };
  /** Looks at the world outside when all has come to rest; what is wrong with it, in sentences. */
  check?(requests: readonly EndedRequest[]): readonly string[];
}

/** A system that can be simulated: its hubs, its workers, and the world that they act on. */
export interface SimulatedSystem {
  readonly name: string;
  /** The time in which its hubs do their work, in milliseconds. */
  readonly scaleMs: number;
  /** The errors that its spokes declare come from its own workers only; default: attempts fail with them by chance, too. */
  readonly honest?: boolean;
  /** Makes it anew, for one simulation. */
  open(outside: Outside): OpenedSystem;
}

/** What a simulation has shown. */
export interface Played {
  readonly trace: readonly TraceEntry[];
  readonly signals: readonly EngineEvent[];
  readonly hubs: readonly AnyHub[];
  readonly simulatedMs: number;
}

interface Wanted {
  readonly key: string;
  readonly hub: AnyHub;
  readonly request: unknown;
}

type Operation = "commit" | "effect" | "read" | "recovery";

const operationOf: Partial<Record<FaultKind, Operation>> = {
  "crash-before-commit": "commit",
  "crash-after-commit": "commit",
  "commit-fails": "commit",
  "commit-unseen": "commit",
  "crash-before-effect": "effect",
  "crash-in-recovery": "recovery",
  "read-fails": "read",
};

/** Plays a plan with a system: in simulated time, and the same each time. */
export async function play(system: SimulatedSystem, plan: Plan): Promise<Played> {
  const world = new World(system, plan);
  await world.play();
  return {
    trace: world.trace,
    signals: world.signals,
    hubs: world.opened.hubs,
    simulatedMs: world.clock.monotonicMs(),
  };
}

/** The machine, its processes, their store, the network, the clients and the operators. */
export class World {
  readonly clock = new SimulatedClock();
  readonly plan: Plan;
  readonly network: SimulatedNetwork;
  readonly disk: Disk;
  readonly opened: OpenedSystem;
  readonly trace: TraceEntry[] = [];
  readonly signals: EngineEvent[] = [];
  diskFull = false;
  storeGone = false;
  /** Errors that spokes declare come from their workers only. */
  readonly honest: boolean;
  /** Those of the version that is deployed. */
  hubs: readonly AnyHub[];
  #version = 1;
  readonly #scaleMs: number;
  readonly #faults: Map<string, FaultKind>;
  readonly #operations: Record<Operation, number> = { commit: 0, effect: 0, read: 0, recovery: 0 };
  #defective = false;
  #calm = false;
  #nodes = 0;
  #failedStarts = 0;
  #delays = 0;
  #node: Node | undefined = undefined;
  readonly #frozen = new Set<Node>();
  readonly #requests: readonly Wanted[];
  /** Runs that are committed and have not ended. */
  readonly #live = new Set<string>();
  readonly #told = new Map<string, Answer>();
  /** Requests whose answer nobody will be told: they are unknown by now. */
  readonly #unknown = new Set<string>();
  readonly #started = new Set<string>();
  /** Requests that were sent again after they had been purged, and have been worked again. */
  readonly #again = new Set<string>();

  constructor(system: SimulatedSystem, plan: Plan) {
    this.plan = plan;
    this.#scaleMs = system.scaleMs;
    this.honest = system.honest ?? false;
    this.disk = plan.file ? fileDisk() : memoryDisk();
    this.network = new SimulatedNetwork(this.clock, plan);
    this.opened = system.open({
      clock: this.clock,
      bus: this.network.end(
        () => true,
        (task) => this.clock.soon(task),
      ),
      random: drawFor(plan.seed, "system"),
      defective: () => this.#defective,
    });
    this.hubs = this.opened.hubs;
    this.#faults = new Map(
      plan.faults.map(({ kind, at }) => [`${operationOf[kind] ?? "time"} ${at}`, kind] as const),
    );
    this.#requests = plan.requests.map(({ key, seed }) => ({
      key,
      ...this.opened.request(seededRandom(seed)),
    }));
  }

  see(seen: Seen): void {
    if (seen.type === "committed") {
      for (const { key, events } of seen.journal) {
        if (events[0]?.type === "started") {
          if (this.#started.has(key)) this.#again.add(key);
          this.#started.add(key);
        }
        if (events.at(-1)?.type === "ended") this.#live.delete(key);
        else this.#live.add(key);
      }
    }
    this.trace.push({ ...seen, at: this.clock.monotonicMs() });
  }

  signal(signal: EngineEvent): void {
    this.signals.push(signal);
  }

  /** The fault that the plan has for this operation, which is the next of its kind. */
  faultAt(operation: Operation): FaultKind | undefined {
    if (this.#calm) return undefined;
    const kind = this.#faults.get(`${operation} ${++this.#operations[operation]}`);
    if (kind !== undefined) this.see({ type: "fault", kind, node: this.#node?.number });
    return kind;
  }

  /** How long something is under way. */
  delay(what: string): number {
    return drawFor(this.plan.seed, what, ++this.#delays).int(Math.min(this.plan.latencyMs, 20) + 1);
  }

  async play(): Promise<void> {
    const { plan, clock } = this;
    this.#boot();
    for (const [place, request] of plan.requests.entries()) {
      clock.after(request.at, () => {
        this.#client(place, request).catch((error: unknown) => this.#surprise(error));
        if (request.twice) this.#client(place, request).catch((error: unknown) => this.#surprise(error));
      });
    }
    for (const command of plan.commands) {
      clock.after(command.at, () => {
        this.#command(command).catch((error: unknown) => this.#surprise(error));
      });
    }
    for (const fault of plan.faults)
      if (operationOf[fault.kind] === undefined) clock.after(fault.at, () => this.#strike(fault));
    this.#watch();
    try {
      await clock.advance(plan.forMs);
      await this.#rest();
      this.see({ type: "ended", problem: undefined });
      await this.#look();
    } catch (error) {
      this.see({ type: "ended", problem: error instanceof Error ? error.message : String(error) });
    } finally {
      this.#node?.kill();
      this.disk.remove();
    }
  }

  /** From here on nothing fails: all that was accepted must come to its end by itself. */
  async #rest(): Promise<void> {
    const { clock } = this;
    this.#calm = true;
    this.#defective = false;
    this.diskFull = false;
    this.storeGone = false;
    for (const node of this.#frozen) this.#thaw(node);
    this.see({ type: "calm" });
    // Parked runs need somebody who looks after them.
    const operator = (): void => {
      this.#lookAfter().catch((error: unknown) => this.#surprise(error));
      clock.after(this.#scaleMs, operator);
    };
    operator();
    await clock.runUntil(() => this.#isAtRest(), this.#scaleMs * 500);
    await clock.advance(this.#scaleMs);
  }

  #isAtRest(): boolean {
    const node = this.#node;
    if (node === undefined || !node.alive || !node.ready || node.engine.health().status !== "running")
      return false;
    const { liveRuns, openAttempts, queued } = node.engine.health();
    if (liveRuns > 0 || openAttempts > 0 || queued > 0 || this.#live.size > 0) return false;
    return this.#requests.every(({ key }) => this.#told.has(key) || this.#unknown.has(key));
  }

  async #lookAfter(): Promise<void> {
    const node = this.#node;
    if (node === undefined || !node.ready || node.engine.health().status !== "running") return;
    const { items } = await node.engine.requests({ status: "incident", limit: 1000 });
    for (const { id } of items)
      await node.engine.retry(id, { commandId: `operator ${this.clock.monotonicMs()}` }).catch(() => {});
  }

  /** What an observer finds in the end, from this process and from another one. */
  async #look(): Promise<void> {
    const histories = new Map<string, readonly RunEvent[]>();
    for (let round = 0; round < 2; round++) {
      if (round === 1) {
        this.#node?.kill();
        this.#boot();
        await this.clock.settle();
        // A store over a network takes its time.
        await this.clock.advance(this.#scaleMs);
      }
      const { engine } = this.#node as Node;
      const keys: string[] = [];
      await this.#within(async () => {
        for (const { id, status } of (await engine.requests({ limit: 1000 })).items) {
          keys.push(id);
          try {
            const { answer } = await engine.request(id);
            const history = await engine.history(id);
            histories.set(id, history);
            this.see({ type: "view", key: id, status, answer, history });
          } catch (error) {
            if (!(error instanceof WheelworkError)) throw error;
            this.see({ type: "refused", key: id, code: error.code, retryable: error.retryable });
          }
        }
      });
      const { liveRuns, openAttempts } = engine.health();
      this.see({ type: "listed", keys, liveRuns, openAttempts });
    }
    const ended = this.#requests.flatMap(({ key, hub, request }): EndedRequest[] => {
      const answer = this.#told.get(key);
      const history = histories.get(key);
      if (answer === undefined || history === undefined || this.#again.has(key)) return [];
      return [{ key, hub: hub.name, request, answer, history }];
    });
    for (const problem of this.opened.check?.(ended) ?? []) this.see({ type: "outside", problem });
  }

  async #within(task: () => Promise<void>): Promise<void> {
    const done = task();
    await this.clock.runUntil(done, this.#scaleMs * 100);
    await done;
  }

  // ---- processes ----

  #boot(): void {
    const node = new Node(this, ++this.#nodes);
    this.#node = node;
    const versions = Object.fromEntries(this.hubs.map(({ name, definition }) => [name, definition.version]));
    this.see({ type: "started", node: node.number, versions });
    node.death.then(() => this.#restart(node)).catch((error: unknown) => this.#surprise(error));
    node.engine.start().then(
      () => {
        if (!node.alive) return;
        node.ready = true;
        this.see({ type: "ready", node: node.number });
      },
      // Somebody else has claimed the store, or it cannot be read: whoever watches over processes starts it again.
      () => node.kill(),
    );
  }

  #restart(dead: Node): void {
    if (this.#node !== dead) return;
    const down = drawFor(this.plan.seed, "down", dead.number).int(this.plan.downMs + 1);
    // One that could not even start waits, longer each time, or it would try again for ever without time passing.
    this.#failedStarts = dead.ready ? 0 : this.#failedStarts + 1;
    const pause = dead.ready ? 0 : Math.min(5 * 2 ** this.#failedStarts, this.#scaleMs);
    this.clock.after(pause + (this.#calm ? 0 : down), () => {
      if (this.#node === dead) this.#boot();
    });
  }

  #strike({ kind, forMs, at }: PlannedFault): void {
    if (this.#calm) return;
    const node = this.#node;
    this.see({ type: "fault", kind, node: node?.number });
    const { clock } = this;
    switch (kind) {
      case "kill":
        return node?.kill();
      case "stop":
        return this.#stop(node);
      case "upgrade":
        this.hubs = this.opened.upgraded?.(++this.#version) ?? this.hubs;
        return at % 2 === 0 ? node?.kill() : this.#stop(node);
      case "freeze":
        return this.#freeze(node, forMs);
      case "take-over":
        // The former owner does not know; it may be asleep, too.
        if (at % 2 === 0) this.#freeze(node, forMs);
        return this.#boot();
      case "disk-full":
        this.diskFull = true;
        clock.after(forMs, () => (this.diskFull = false));
        return;
      case "store-gone":
        this.storeGone = true;
        clock.after(forMs, () => (this.storeGone = false));
        return;
      case "clock-jump":
        return clock.jumpWall(forMs);
      case "defect":
        this.#defective = true;
        clock.after(forMs, () => (this.#defective = false));
        return;
      default:
    }
  }

  /** Whoever watches over the processes ends one whose engine has ended, as after it was fenced, so that it starts again. */
  #watch(): void {
    const node = this.#node;
    if (node !== undefined && node.ready && !node.process.frozen && node.engine.health().status === "stopped")
      node.kill();
    this.clock.after(this.#scaleMs, () => this.#watch());
  }

  #stop(node: Node | undefined): void {
    if (node === undefined || !node.ready || !node.alive) return;
    this.see({ type: "stopping", node: node.number });
    node.engine.stop().then(
      () => {
        if (node.alive) this.see({ type: "stopped", node: node.number });
        node.kill();
      },
      (error: unknown) => this.#surprise(error),
    );
  }

  #freeze(node: Node | undefined, forMs: number): void {
    if (node === undefined || !node.alive || node.process.frozen) return;
    node.process.freeze();
    this.#frozen.add(node);
    this.see({ type: "frozen", node: node.number });
    this.clock.after(forMs, () => this.#thaw(node));
  }

  #thaw(node: Node): void {
    if (!this.#frozen.delete(node)) return;
    if (node.alive) this.see({ type: "thawed", node: node.number });
    node.process.thaw();
  }

  // ---- clients and operators ----

  /** Sends its request under its key until it is accepted, and asks for the answer until it has it. */
  async #client(place: number, { key }: PlannedRequest): Promise<void> {
    const { hub, request } = this.#requests[place] as Wanted;
    this.see({ type: "submitted", key, hub: hub.name });
    for (let accepted = false; !this.#told.has(key);) {
      const node = this.#node;
      if (node !== undefined && node.ready && node.alive) {
        try {
          if (!accepted) {
            await this.#ask(node, node.engine.submit(hub, request as never, { key }), ({ known }) => {
              accepted = true;
              this.see({ type: "accepted", key, known });
            });
          } else {
            await this.#ask(node, node.engine.answer(key), (answer) => {
              if (answer === undefined) return;
              this.#told.set(key, answer);
              this.see({ type: "told", key, answer });
            });
            if (!this.#told.has(key)) this.see({ type: "gave-up", key, node: node.number });
          }
          continue;
        } catch (error) {
          if (error instanceof WheelworkError && !error.retryable) {
            this.see({ type: "refused", key, code: error.code, retryable: false });
            this.#unknown.add(key);
            return;
          }
          if (error instanceof WheelworkError)
            this.see({ type: "refused", key, code: error.code, retryable: true });
        }
      }
      await this.#wait(Math.max(10, this.#scaleMs / 20));
    }
  }

  /**
   * Asks a process; what it says comes even if nobody waits any more.
   * @throws Error when the process dies, or does not answer for long.
   */
  async #ask<T>(node: Node, question: Promise<T>, said: (answer: T) => void): Promise<void> {
    const answered = question.then((answer) => {
      if (node.acts()) said(answer);
      else throw new Error("the process has died");
    });
    const given = node.death.then(() => {
      throw new Error("the process has died");
    });
    await Promise.race([answered, given, this.#wait(this.#scaleMs * 2 + 6_000)]);
    // Whoever waits no longer asks again.
    answered.catch(() => {});
    given.catch(() => {});
  }

  async #command({ id, kind, request, seed }: PlannedCommand): Promise<void> {
    const node = this.#node;
    const { key } = this.#requests[request] as Wanted;
    if (node === undefined || !node.ready || !node.alive) return;
    const commandId = { commandId: id };
    const ask = (): Promise<CommandResult> => {
      switch (kind) {
        case "cancel":
          return node.engine.cancel(key, commandId);
        case "retry":
          return node.engine.retry(key, commandId);
        case "resolve":
          return node.engine.resolve(key, "as the operator says", commandId);
        case "signal": {
          const signal = this.opened.signal?.(seededRandom(seed));
          if (signal === undefined) return Promise.resolve("ended");
          return node.engine.signal(key, signal.name, signal.payload, commandId);
        }
      }
    };
    const commanded = (result: string): void => this.see({ type: "commanded", key, id, kind, result });
    await this.#ask(node, ask(), commanded).catch((error: unknown) => {
      if (error instanceof WheelworkError) commanded(error.code);
    });
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => void this.clock.after(ms, resolve));
  }

  /** An error that no client should ever see. */
  #surprise(error: unknown): void {
    this.see({
      type: "outside",
      problem: `unexpected: ${error instanceof Error ? (error.stack ?? "") : String(error)}`,
    });
  }
}
