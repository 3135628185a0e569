import { WheelworkError, type AnyHub, type RunEvent } from "@wheelwork/core";
import { labelsOf } from "@wheelwork/core/kernel";
import type { EngineEvent, RequestPage, Schedule } from "@wheelwork/engine";
import { isDeepStrictEqual } from "node:util";
import type { SimulatedClock } from "../../clock.ts";
import { bulkHub } from "../checker/bulks.ts";
import { scheduleHub } from "../checker/schedules.ts";
import { fileDisk, memoryDisk, type Disk } from "../disk.ts";
import { SimulatedNetwork } from "../network.ts";
import { ScheduleRuns } from "../schedules.ts";
import { BulkChecks } from "../checker/bulks.ts";
import { Bulking } from "../bulking.ts";
import { StreamChecks } from "../checker/streams.ts";
import { Findings } from "../findings.ts";
import { Followers } from "../following.ts";
import { drawFor, mayBeForgotten, PlannedOperations, setBackMs } from "../plans.ts";
import { clockOf, type EndedRequest, type OpenedSystem, type SimulatedSystem } from "../systems.ts";
import type { Seen, TraceEntry } from "../trace.ts";
import { Clients } from "./clients.ts";
import {
  engineOperationOf,
  type EngineFault,
  type EngineFaultKind,
  type EngineOperation,
  type EnginePlan,
} from "./plan.ts";
import { EngineProcess } from "./process.ts";

/** What a store has held up is over so long after it goes on, in milliseconds. */
const hangRestMs = 100;

/** What is committed of runs, as far as it matters whether all has come to rest. */
class Runs {
  /** Those that have not ended. */
  readonly live = new Set<string>();
  /** Requests that were sent again after they had been purged, and have been worked again. */
  readonly again = new Set<string>();
  readonly schedules = new ScheduleRuns();
  readonly #started = new Set<string>();

  committed(journal: (Seen & { type: "committed" })["journal"]): void {
    for (const { key, events } of journal) {
      if (events[0]?.type === "started" || events[0]?.type === "accepted") {
        if (this.#started.has(key)) this.again.add(key);
        this.#started.add(key);
      }
      const rests = this.schedules.committed(key, events) ?? events.at(-1)?.type === "ended";
      if (rests) this.live.delete(key);
      else this.live.add(key);
    }
  }
}

/** A machine with one embedded engine: its processes, their store, and the network. */
export class Machine {
  readonly clock: SimulatedClock;
  readonly plan: EnginePlan;
  readonly scaleMs: number;
  readonly disk: Disk;
  readonly network: SimulatedNetwork;
  readonly opened: OpenedSystem;
  readonly clients: Clients;
  readonly trace: TraceEntry[] = [];
  readonly signals: EngineEvent[] = [];
  /** What those are told who read all events, and what is wrong with that. */
  readonly streams: StreamChecks;
  readonly bulks: BulkChecks;
  readonly findings = new Findings();
  diskFull = false;
  storeGone = false;
  /** Errors that spokes declare come from their workers only. */
  readonly honest: boolean;
  /** Those of the version that is deployed. */
  hubs: readonly AnyHub[];
  schedules: readonly Schedule[];
  /** The process that runs at the moment, or has died last. */
  current: EngineProcess | undefined = undefined;
  #version = 1;
  readonly #operations: PlannedOperations<EngineFault>;
  #defective = false;
  #lethal = false;
  #calm = false;
  #started = 0;
  #failedStarts = 0;
  #hangsUntil = 0;
  readonly #maxBatchBytes: number | undefined;
  #delays = 0;
  readonly #frozen = new Set<EngineProcess>();
  readonly #runs = new Runs();
  readonly #followers: Followers;
  readonly #bulking: Bulking;

  constructor(system: SimulatedSystem, plan: EnginePlan) {
    this.plan = plan;
    this.clock = clockOf(system, plan.seed);
    this.scaleMs = system.scaleMs;
    this.honest = system.honest ?? false;
    this.#maxBatchBytes = system.maxBatchBytes;
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
    this.schedules = this.opened.schedules?.(1) ?? [];
    this.#operations = new PlannedOperations(plan.faults, engineOperationOf);
    this.clients = new Clients(this);
    this.streams = new StreamChecks({
      shards: 1,
      now: () => this.clock.monotonicMs(),
      demand: (...found) => this.findings.demand(...found),
      mayBeForgotten: (at) => mayBeForgotten(plan, at, this.clock.monotonicMs()),
    });
    this.bulks = new BulkChecks({
      now: () => this.clock.monotonicMs(),
      demand: (...found) => this.findings.demand(...found),
      lagMs: plan.remote ? 100 : 0,
      mayBeForgotten: () => plan.retentionMs !== undefined,
    });
    this.#bulking = new Bulking({
      bulks: plan.bulks,
      opened: this.opened,
      clock: this.clock,
      scaleMs: this.scaleMs,
      checks: this.bulks,
      any: () => this.clients.ready,
      mayBeLost: () => false,
      mayBeForgotten: () => plan.retentionMs !== undefined,
      demand: (...found) => this.findings.demand(...found),
      saw: (what, details) => this.see({ type: "noted", what, details }),
    });
    this.#followers = new Followers({
      ...plan,
      scaleMs: this.scaleMs,
      clock: this.clock,
      checks: this.streams,
      any: () => this.clients.ready,
      hubs: this.opened.hubs.map(({ name, definition }) => ({ name, states: [...definition.states.keys()] })),
      saw: (what, details) => this.see({ type: "noted", what, details }),
      surprise: (error) => this.surprise(error),
    });
  }

  /** How many runs of schedules there may be: one that is no longer declared has its run. */
  get schedulesEver(): number {
    return this.#runs.schedules.keys.size + this.schedules.length;
  }

  see(seen: Seen): void {
    if (seen.type === "committed") {
      this.#runs.committed(seen.journal);
      this.streams.committed(0, seen.journal);
      this.bulks.committed(0, seen.journal);
      this.#weigh(seen.journal);
    }
    this.trace.push({ ...seen, at: this.clock.monotonicMs() });
  }

  /** Several requests of one batch have a bound together. */
  #weigh(journal: (Seen & { type: "committed" })["journal"]): void {
    if (this.#maxBatchBytes === undefined) return;
    const sizes = journal.flatMap(({ events: [first] }) =>
      first?.type === "started" || first?.type === "accepted" ? JSON.stringify(first.request).length : [],
    );
    const sum = sizes.reduce((all, size) => all + size, 0);
    const isBounded = sizes.length < 2 || sum <= this.#maxBatchBytes * 1.01;
    this.findings.demand(
      "weight",
      isBounded,
      () => `a batch begins requests of ${sizes.join(", ")} characters`,
    );
  }

  signal(signal: EngineEvent): void {
    this.signals.push(signal);
  }

  /** The fault that the plan has for this operation, which is the next of its kind. */
  faultAt(operation: EngineOperation): EngineFaultKind | undefined {
    if (this.#calm) return undefined;
    const kind = this.#operations.next(operation)?.kind;
    if (kind !== undefined) this.see({ type: "fault", kind, node: this.current?.number });
    return kind;
  }

  /** Whether the work of this key ends its process, now: some always does while the fault lasts. */
  isLethal(idempotencyKey: string): boolean {
    return this.#lethal && drawFor(this.plan.seed, "lethal", idempotencyKey).chance(0.2);
  }

  /** How long the store still hangs, in milliseconds. */
  get hangMs(): number {
    return Math.max(0, this.#hangsUntil - this.clock.monotonicMs());
  }

  /** How long something is under way. */
  delay(what: string): number {
    return drawFor(this.plan.seed, what, ++this.#delays).int(Math.min(this.plan.latencyMs, 20) + 1);
  }

  async play(): Promise<void> {
    const { plan, clock } = this;
    this.#boot();
    this.clients.begin();
    this.#followers.begin();
    for (const { at, give } of this.#bulking.planned())
      clock.after(at, () => void give().catch((error: unknown) => this.surprise(error)));
    for (const fault of plan.faults)
      if (engineOperationOf(fault.kind) === undefined) clock.after(fault.at, () => this.#strike(fault));
    this.#watch();
    try {
      await clock.advance(plan.forMs);
      await this.#rest();
      await this.#followers.finish();
      await this.#bulking.look();
      this.see({ type: "ended", problem: undefined });
      await this.#look();
    } catch (error) {
      this.see({ type: "ended", problem: error instanceof Error ? error.message : String(error) });
    } finally {
      this.current?.kill();
      this.disk.remove();
    }
  }

  /** From here on nothing fails: all that was accepted must come to its end by itself. */
  async #rest(): Promise<void> {
    const { clock } = this;
    this.#calm = true;
    this.#defective = false;
    this.#lethal = false;
    this.diskFull = false;
    this.storeGone = false;
    for (const node of this.#frozen) this.#thaw(node);
    this.see({ type: "calm" });
    // Parked runs need somebody who looks after them. A retry may be the last thing that a process does.
    const draw = drawFor(this.plan.seed, "retried");
    let kills = draw.pick([0, 0, 2, 5]);
    // Some operators have no patience, and end the run.
    const ends = draw.pick([0, 0.5, 1]);
    const operator = (): void => {
      this.#lookAfter(
        () => kills-- > 0,
        () => draw.chance(ends),
      ).catch((error: unknown) => this.surprise(error));
      clock.after(this.scaleMs, operator);
    };
    operator();
    await clock.runUntil(() => this.#isAtRest(), this.scaleMs * 500 + setBackMs(this.plan));
    await this.#pauseSchedules();
    await clock.runUntil(() => this.#isAtRest(), this.scaleMs * 500);
    await clock.advance(this.scaleMs);
  }

  /** Whoever looks then must find nothing under way. A start brings back what was removed, if the program has it. */
  async #pauseSchedules(): Promise<void> {
    if (this.#runs.schedules.keys.size === 0) return;
    this.current?.kill();
    this.#boot();
    await this.clock.runUntil(() => this.#isAtRest(), this.scaleMs * 500);
    const declared = new Set(this.schedules.map(({ name }) => name));
    for (const key of this.#runs.schedules.keys) {
      const name = key.slice(scheduleHub.length);
      const isDone = (result: string): boolean =>
        result === "paused" || (result === "WW_NOT_FOUND" && !declared.has(name));
      for (let tries = 0; !isDone(await this.#pause(name)); tries++) {
        if (tries === 100) throw new Error(`the schedule ${name} is declared, and is not there`);
        await this.clock.advance(this.scaleMs / 20);
      }
    }
  }

  /** @returns The code of an error, or that it is paused. */
  async #pause(name: string): Promise<string> {
    const { engine } = this.current as EngineProcess;
    let result = "paused";
    await this.#within(() =>
      engine
        .schedule(name)
        .pause()
        .catch((error: unknown) => {
          if (!(error instanceof WheelworkError)) throw error;
          result = error.code;
        }),
    );
    return result;
  }

  #isAtRest(): boolean {
    const node = this.current;
    if (node === undefined || !node.alive || !node.ready || node.engine.health().status !== "running")
      return false;
    if (this.hangMs > 0) return false;
    const { liveRuns, openAttempts, queued } = node.engine.health();
    const { schedules, live } = this.#runs;
    if (liveRuns > schedules.keys.size || openAttempts > 0 || queued > 0 || live.size > 0) return false;
    return this.clients.done && this.#bulking.unrest() === "";
  }

  async #lookAfter(killsNow: () => boolean, endsNow: () => boolean): Promise<void> {
    const node = this.current;
    if (node === undefined || !node.ready || node.engine.health().status !== "running") return;
    await this.#bulking.goOn();
    const { items } = await node.engine.requests({ status: "incident", limit: 1000 });
    for (const { id } of items) {
      const options = { commandId: `operator ${this.clock.monotonicMs()}` };
      const isRequest = !id.startsWith(scheduleHub) && !id.startsWith(bulkHub);
      await (
        isRequest && endsNow()
          ? node.engine.resolve(id, "nobody waits for it", options)
          : node.engine.retry(id, options)
      ).catch(() => {});
      if (node !== this.current || !node.alive || !killsNow()) continue;
      node.kill();
      return this.#boot();
    }
  }

  /** What an observer finds in the end, from this process and from another one. */
  async #look(): Promise<void> {
    const histories = new Map<string, readonly RunEvent[]>();
    for (let round = 0; round < 2; round++) {
      if (round === 1) {
        this.current?.kill();
        this.#boot();
        // A store over a network takes its time.
        await this.clock.runUntil(() => this.current?.ready === true, this.scaleMs * 500);
        await this.clock.advance(this.scaleMs);
      }
      const { engine } = this.current as EngineProcess;
      const keys: string[] = [];
      let count = Number.NaN;
      await this.#within(async () => {
        const { items, counted } = await countedList(engine);
        count = counted;
        for (const labels of new Set(items.map((item) => item.labels))) {
          if (labels === undefined) continue;
          const counted = await engine.count({ labels });
          const such = items.filter((item) =>
            Object.entries(labels).every(([name, value]) => item.labels?.[name] === value),
          ).length;
          if (counted !== such)
            this.see({
              type: "outside",
              problem: `${such} requests have the labels ${JSON.stringify(labels)}, and ${counted} are counted`,
            });
        }
        for (const { id, status } of items) {
          keys.push(id);
          try {
            const { answer, request, labels, hub } = await engine.request(id);
            const definition = engine.hubs.get(hub)?.definition;
            if (definition !== undefined && !isDeepStrictEqual(labels, labelsOf(definition, request)))
              this.see({ type: "outside", problem: `${id} has the labels ${JSON.stringify(labels)}` });
            const history = await engine.history(id);
            const known = history.filter((event) => event.type !== "archived");
            if (known.length === history.length) histories.set(id, known);
            this.see({ type: "view", key: id, status, answer, history });
          } catch (error) {
            if (!(error instanceof WheelworkError)) throw error;
            this.see({ type: "refused", key: id, code: error.code, retryable: error.retryable });
          }
        }
      });
      const { liveRuns, openAttempts } = engine.health();
      const ever = this.#runs.schedules.keys.size;
      this.see({ type: "listed", keys, count, liveRuns: Math.max(0, liveRuns - ever), openAttempts });
    }
    const ended = this.clients.wanted.flatMap(({ key, hub, request }): EndedRequest[] => {
      const answer = this.clients.told.get(key);
      const history = histories.get(key);
      if (answer === undefined || history === undefined || this.#runs.again.has(key)) return [];
      // An operator who ends a run that the store has refused leaves its work undone.
      if (history.some((event) => event.type === "incident" && event.error.code === "WW_STORE_REFUSED"))
        return [];
      return [{ key, hub: hub.name, request, answer, history }];
    });
    await this.#within(async () => {
      for (const problem of (await this.opened.check?.(ended)) ?? []) this.see({ type: "outside", problem });
    });
  }

  async #within(task: () => Promise<void>): Promise<void> {
    const done = task();
    await this.clock.runUntil(done, this.scaleMs * 100);
    await done;
  }

  // ---- processes ----

  #boot(): void {
    const node = new EngineProcess(this, ++this.#started);
    this.current = node;
    const versions = Object.fromEntries(this.hubs.map(({ name, definition }) => [name, definition.version]));
    this.see({ type: "started", node: node.number, versions });
    node.death.then(() => this.#restart(node)).catch((error: unknown) => this.surprise(error));
    node.engine.start().then(
      () => {
        if (!node.alive) return;
        node.ready = true;
        // One whose store hangs by now is well when that goes on.
        if (this.hangMs === 0) this.see({ type: "ready", node: node.number });
      },
      // Somebody else has claimed the store, or it cannot be read. The supervisor starts it again.
      () => node.kill(),
    );
  }

  #restart(dead: EngineProcess): void {
    if (this.current !== dead) return;
    const down = drawFor(this.plan.seed, "down", dead.number).int(this.plan.downMs + 1);
    // One that could not even start waits, longer each time, or it would try again for ever without time passing.
    this.#failedStarts = dead.ready ? 0 : this.#failedStarts + 1;
    const pause = dead.ready ? 0 : Math.min(5 * 2 ** this.#failedStarts, this.scaleMs);
    this.clock.after(pause + (this.#calm ? 0 : down), () => {
      if (this.current === dead) this.#boot();
    });
  }

  #strike({ kind, forMs, at }: EngineFault): void {
    if (this.#calm) return;
    const node = this.current;
    this.see({ type: "fault", kind, node: node?.number });
    const { clock } = this;
    switch (kind) {
      case "kill":
        return node?.kill();
      case "stop":
        return this.#stop(node);
      case "upgrade":
        this.hubs = this.opened.upgraded?.(++this.#version) ?? this.hubs;
        this.schedules = this.opened.schedules?.(this.#version) ?? [];
        return at % 2 === 0 ? node?.kill() : this.#stop(node);
      case "freeze":
        return this.#freeze(node, forMs);
      case "take-over":
        // The former owner does not know; it may be asleep, too.
        if (at % 2 === 0) this.#freeze(node, forMs);
        return this.#boot();
      case "store-hangs":
        return this.#hang(forMs);
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
      case "lethal":
        this.#lethal = true;
        clock.after(forMs, () => (this.#lethal = false));
        return;
      case "defect":
        this.#defective = true;
        clock.after(forMs, () => (this.#defective = false));
        return;
      default:
    }
  }

  /** The store does nothing for a while, and then all that it was asked for. */
  #hang(forMs: number): void {
    this.#hangsUntil = Math.max(this.#hangsUntil, this.clock.monotonicMs() + forMs);
    const node = this.current;
    if (node === undefined) return;
    this.see({ type: "hangs", node: node.number });
    this.clock.after(this.hangMs + hangRestMs, () => {
      if (this.hangMs === 0 && node.alive && !node.process.frozen)
        this.see({ type: "hangs-no-more", node: node.number });
    });
  }

  /** Whoever watches over the processes ends one whose engine has ended, as after it was fenced, so that it starts again. */
  #watch(): void {
    const node = this.current;
    if (node !== undefined && node.ready && !node.process.frozen && node.engine.health().status === "stopped")
      node.kill();
    this.clock.after(this.scaleMs, () => this.#watch());
  }

  #stop(node: EngineProcess | undefined): void {
    if (node === undefined || !node.ready || !node.alive) return;
    this.see({ type: "stopping", node: node.number });
    node.engine.stop().then(
      () => {
        if (node.alive) this.see({ type: "stopped", node: node.number });
        node.kill();
      },
      (error: unknown) => this.surprise(error),
    );
  }

  #freeze(node: EngineProcess | undefined, forMs: number): void {
    if (node === undefined || !node.alive || node.process.frozen) return;
    node.process.freeze();
    this.#frozen.add(node);
    this.see({ type: "frozen", node: node.number });
    this.clock.after(forMs, () => this.#thaw(node));
  }

  #thaw(node: EngineProcess): void {
    if (!this.#frozen.delete(node)) return;
    if (node.alive) this.see({ type: "thawed", node: node.number });
    if (node.alive && this.hangMs > 0) this.see({ type: "hangs", node: node.number });
    node.process.thaw();
  }

  /** An error that no client should ever see. */
  surprise(error: unknown): void {
    this.see({
      type: "outside",
      problem: `unexpected: ${error instanceof Error ? (error.stack ?? "") : String(error)}`,
    });
  }
}

/** All requests, and how many the engine counts. What is purged between the two is asked for again. */
async function countedList(
  engine: EngineProcess["engine"],
): Promise<{ readonly items: RequestPage["items"]; readonly counted: number }> {
  for (;;) {
    const { items } = await engine.requests({ limit: 1000 });
    const counted = await engine.count();
    const again = await engine.requests({ limit: 1000 });
    if (isDeepStrictEqual(again.items, items)) return { items, counted };
  }
}
