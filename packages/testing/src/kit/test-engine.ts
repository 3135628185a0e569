import {
  transcriptOf,
  WheelworkError,
  type Answer,
  type AnyHub,
  type Hub,
  type HistoryEvent,
  type Spoke,
} from "@wheelwork/core";
import {
  type Bus,
  type CommandResult,
  createEngine,
  type Engine,
  type EngineOptions,
  type RunUpdate,
  type Schedule,
  silentLogger,
  type SubmitOptions,
  type Worker,
} from "@wheelwork/engine";
import { SimulatedClock, type SimulatedProcess } from "../clock.ts";
import { MemoryStore } from "../memory-store.ts";
import { seededRandom } from "../random.ts";
import { generated, type GenerateOptions } from "./generate.ts";
import { ScriptedWorkers, type Script, type TestCall, type TypedSpoke } from "./script.ts";
import { durationMs } from "./words.ts";

/** The options of `testEngine`. */
export interface TestEngineOptions {
  readonly hubs: readonly AnyHub[];
  /** Requests at certain times: they come as the test lets time pass. */
  readonly schedules?: readonly Schedule[];
  /** Real workers. A spoke without one follows its script. Without a script, its calls wait for the test. */
  readonly workers?: readonly Worker[];
  /** Gives random outcomes to calls of spokes that have neither a worker nor a script. */
  readonly generate?: GenerateOptions;
  /** Default: a bus in this process. */
  readonly bus?: Bus;
  /**
   * Default: a new one. Give one if your workers need the same simulated time, or if the test begins at a certain time of the wall clock:
   * `new SimulatedClock({ wallMs: Date.parse("2026-10-24T12:00:00+02:00") })`.
   */
  readonly clock?: SimulatedClock;
  readonly limits?: EngineOptions["limits"];
  readonly observe?: EngineOptions["observe"];
}

/** What a deploy changes. What is left out stays as it was. */
export type Deployed = Partial<Pick<TestEngineOptions, "hubs" | "schedules" | "workers">>;

/**
 * Starts a real engine on a store in memory and a simulated clock. Time passes only when the test says so, and work
 * takes no time. There is nothing to close.
 * @throws WheelworkError as `createEngine` and `start` of the engine do.
 */
export async function testEngine(options: TestEngineOptions): Promise<TestEngine> {
  const test = new TestEngine(options);
  await test.boot();
  return test;
}

/** An engine under test. `testEngine` makes it. Each method waits until nothing more is ready. */
export class TestEngine {
  /** The time of the engine and its workers. */
  readonly clock: SimulatedClock;
  /** The engine itself, for everything that has no method here. A crash replaces it. */
  engine!: Engine;
  #options: TestEngineOptions;
  readonly #scripted = new ScriptedWorkers(() => this.clock.settle());
  #process!: SimulatedProcess;
  #store = new MemoryStore();
  #submitted = 0;

  /** @internal Use `testEngine`. */
  constructor(options: TestEngineOptions) {
    this.#options = options;
    this.clock = options.clock ?? new SimulatedClock();
    if (options.generate === undefined) return;
    const { seed, ...samples } = options.generate;
    const random = seededRandom(seed);
    for (const spoke of this.#spokes()) this.#scripted.script(spoke.name, generated(spoke, random, samples));
  }

  /** @internal Starts an engine on the durable content of the store. */
  async boot(): Promise<void> {
    const { hubs, schedules = [], workers = [], bus, limits, observe } = this.#options;
    const process = this.clock.process();
    this.#process = process;
    const served = new Set(workers.map(({ spoke }) => spoke.name));
    const scripted = this.#spokes().filter(({ name }) => !served.has(name));
    this.engine = createEngine({
      hubs,
      schedules,
      workers: [...workers, ...scripted.map((spoke) => this.#scripted.worker(spoke, process))],
      store: this.#store,
      clock: process,
      // Without jitter, so that the same test gives the same times.
      random: () => 0,
      logger: silentLogger,
      drainMs: 0,
      ...(bus === undefined ? {} : { bus }),
      ...(limits === undefined ? {} : { limits }),
      ...(observe === undefined ? {} : { observe }),
    });
    await this.engine.start();
    await this.clock.settle();
  }

  /** Sets what a spoke without a worker does from now on. */
  script<I, O, E extends string>(
    spoke: TypedSpoke<I, O, E>,
    script: Script<NoInfer<I>, NoInfer<O>, NoInfer<E>>,
  ): this {
    this.#scripted.script(spoke.name, script as Script<never>);
    return this;
  }

  /** Submits a request, and returns its id. That is the key, by default `request-1`, `request-2`, … */
  async submit<I>(hub: Hub<I>, request: I, options: SubmitOptions = {}): Promise<string> {
    const key = options.key ?? `request-${++this.#submitted}`;
    const { id } = await this.engine.submit(hub, request, { ...options, key });
    await this.clock.settle();
    return id;
  }

  /** Submits a request, and lets time pass until it has its answer. */
  async call<I, O, E extends string>(
    hub: Hub<I, O, E>,
    request: I,
    options?: SubmitOptions,
  ): Promise<Answer<O, E>> {
    const id = await this.submit(hub as Hub<I>, request, options);
    const answer = this.engine.answer(id);
    await this.clock.runUntil(answer);
    return (await answer) as Answer<O, E>;
  }

  /**
   * Lets time pass: a number of milliseconds, or a string such as "10 min". Deadlines, retries and scripted outcomes
   * come at their own times.
   * @throws WheelworkError WW_CONFIG when the string is not a duration.
   */
  async advance(duration: number | string): Promise<void> {
    await this.clock.advance(durationMs(duration));
  }

  /** Sends a signal to a run. */
  async signal(id: string, name: string, payload: unknown): Promise<CommandResult> {
    const result = await this.engine.signal(id, name, payload);
    await this.clock.settle();
    return result;
  }

  /** Cancels a run. */
  async cancel(id: string): Promise<CommandResult> {
    const result = await this.engine.cancel(id);
    await this.clock.settle();
    return result;
  }

  /**
   * Kills the process, as `kill -9` does, lets time pass, and starts another one on the same store.
   * @param downtime A number of milliseconds, or a string such as "10 min". Default: 0.
   * @param deployed What the other one has instead, as after a deploy: other versions of the hubs, other schedules.
   * @throws WheelworkError WW_CONFIG when the string is not a duration, and as `createEngine` and `start` of the engine do.
   */
  async crash(downtime: number | string = 0, deployed: Deployed = {}): Promise<void> {
    const downMs = durationMs(downtime);
    this.#options = { ...this.#options, ...deployed };
    this.#process.kill();
    this.#scripted.forget();
    this.#store = this.#store.reopen();
    await this.clock.advance(downMs);
    await this.boot();
  }

  /** The attempts that wait for the test, of one spoke or of all. */
  calls(): readonly TestCall[];
  calls<I, O, E extends string>(spoke: TypedSpoke<I, O, E>): readonly TestCall<I, O, E>[];
  calls(spoke?: { readonly name: string }): readonly TestCall[] {
    return only(this.#scripted.open, spoke);
  }

  /**
   * The oldest attempt of a spoke that waits for the test.
   * @throws WheelworkError WW_NOT_FOUND when there is none.
   */
  openCall<I, O, E extends string>(spoke: TypedSpoke<I, O, E>): TestCall<I, O, E> {
    const [call] = this.calls(spoke);
    if (call !== undefined) return call;
    const open = this.calls().map((other) => `${other.spoke} #${other.call} of ${other.request}`);
    throw new WheelworkError("WW_NOT_FOUND", `no call of ${spoke.name} waits for the test`, {
      next: open.length === 0 ? "No call of any spoke waits." : `These calls wait: ${open.join(", ")}.`,
    });
  }

  /** Every attempt of scripted spokes, in order, of one spoke or of all. */
  attempts(): readonly TestCall[];
  attempts<I, O, E extends string>(spoke: TypedSpoke<I, O, E>): readonly TestCall<I, O, E>[];
  attempts(spoke?: { readonly name: string }): readonly TestCall[] {
    return only(this.#scripted.attempts, spoke);
  }

  /** The state that a run is in. */
  async state(id: string): Promise<string> {
    return (await this.engine.request(id)).state;
  }

  /** The states that a run has been in, in order. */
  async states(id: string): Promise<string[]> {
    const history = await this.history(id);
    return history.flatMap((event) => (event.type === "entered" ? [event.state] : []));
  }

  /** The data of a live run. */
  async data(id: string): Promise<unknown> {
    return (await this.engine.request(id)).data;
  }

  /** What a watch of a request has told so far, from the start on: each state, view and answer that was committed. */
  async updates(id: string): Promise<readonly RunUpdate[]> {
    const updates: RunUpdate[] = [];
    const leave = new AbortController();
    const watching = (async () => {
      const options = { after: 0, until: "end", signal: leave.signal } as const;
      for await (const update of this.engine.watch(id, options)) updates.push(update);
    })();
    await Promise.race([watching, this.clock.settle()]);
    leave.abort();
    await watching;
    return updates;
  }

  /** The answer of a request, if it has one. */
  async answer(id: string): Promise<Answer | undefined> {
    return this.engine.answer(id, { waitMs: 0 });
  }

  /** The events of a request. */
  async history(id: string): Promise<readonly HistoryEvent[]> {
    return this.engine.history(id);
  }

  /** The events of a request as text, to compare with a golden file: a line for each, with times from its start. */
  async transcript(id: string): Promise<string> {
    return transcriptOf(await this.history(id));
  }

  /** The spokes of all hubs, also of hubs that only other hubs call. */
  #spokes(): Spoke[] {
    const spokes = new Map<string, Spoke>();
    const seen = new Set<AnyHub>();
    const add = (hub: AnyHub): void => {
      if (seen.has(hub)) return;
      seen.add(hub);
      for (const callee of hub.definition.callees.values()) {
        if (callee.kind === "hub") add(callee as unknown as AnyHub);
        else spokes.set(callee.name, callee as Spoke);
      }
    };
    for (const hub of this.#options.hubs) add(hub);
    for (const { hub } of this.#options.schedules ?? []) add(hub);
    return [...spokes.values()];
  }
}

function only(calls: readonly TestCall[], spoke: { readonly name: string } | undefined): readonly TestCall[] {
  return spoke === undefined ? [...calls] : calls.filter((call) => call.spoke === spoke.name);
}
