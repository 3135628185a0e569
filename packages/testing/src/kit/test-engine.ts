import {
  WheelworkError,
  type Answer,
  type AnyHub,
  type Hub,
  type RunEvent,
  type Spoke,
} from "@wheelwork/core";
import {
  createEngine,
  type Bus,
  type CommandResult,
  type Engine,
  type EngineOptions,
  type SubmitOptions,
  type Worker,
} from "@wheelwork/engine";
import { SimulatedClock, type SimulatedProcess } from "../clock.ts";
import { MemoryStore } from "../memory-store.ts";
import { seededRandom } from "../random.ts";
import { generated, type GenerateOptions } from "./generate.ts";
import { ScriptedWorkers, type Script, type TestCall, type TypedSpoke } from "./script.ts";
import { transcriptOf } from "./transcript.ts";
import { durationMs } from "./words.ts";

/** What `testEngine` takes. */
export interface TestEngineOptions {
  readonly hubs: readonly AnyHub[];
  /** Real workers. A spoke that has none answers by its script; without one, its calls wait for the test. */
  readonly workers?: readonly Worker[];
  /** Lets spokes that have neither worker nor script answer at random, the same way for the same seed. */
  readonly generate?: GenerateOptions;
  /** Default: a bus within the process. */
  readonly bus?: Bus;
  /** Default: a new one. Give one to share it with simulated surroundings of the workers. */
  readonly clock?: SimulatedClock;
  readonly limits?: EngineOptions["limits"];
  readonly observe?: EngineOptions["observe"];
}

/**
 * Starts a real engine on a store in memory and a simulated clock: time passes only when the test says so, and what is
 * ready takes none. There is nothing to close.
 */
export async function testEngine(options: TestEngineOptions): Promise<TestEngine> {
  const test = new TestEngine(options);
  await test.boot();
  return test;
}

/** An engine under test. Made by `testEngine`. Every method that lets something happen waits for all that follows. */
export class TestEngine {
  readonly clock: SimulatedClock;
  /** The engine itself, for what is not offered here. A crash replaces it. */
  engine!: Engine;
  readonly #options: TestEngineOptions;
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

  /** @internal Starts an engine on what is durable. */
  async boot(): Promise<void> {
    const { hubs, workers = [], bus, limits, observe } = this.#options;
    const process = this.clock.process();
    this.#process = process;
    const served = new Set(workers.map(({ spoke }) => spoke.name));
    const scripted = this.#spokes().filter(({ name }) => !served.has(name));
    this.engine = createEngine({
      hubs,
      workers: [...workers, ...scripted.map((spoke) => this.#scripted.worker(spoke, process))],
      store: this.#store,
      clock: process,
      strict: true,
      // Without jitter, so that the same test gives the same times.
      random: () => 0,
      ...(bus === undefined ? {} : { bus }),
      ...(limits === undefined ? {} : { limits }),
      ...(observe === undefined ? {} : { observe }),
    });
    await this.engine.start();
    await this.clock.settle();
  }

  /** Says how a spoke without a worker answers from now on. */
  script<I, O, E extends string>(
    spoke: TypedSpoke<I, O, E>,
    script: Script<NoInfer<I>, NoInfer<O>, NoInfer<E>>,
  ): this {
    this.#scripted.script(spoke.name, script as Script<never>);
    return this;
  }

  /** Submits a request, and gives its id: the key, by default `request-1` and so on. */
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
   * Lets so much time pass: milliseconds, or a text such as "10 min". Deadlines, retries and scripted answers come at
   * their own times.
   * @throws WheelworkError WW_CONFIG when the text is not a duration.
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

  /** Asks a run to end early. */
  async cancel(id: string): Promise<CommandResult> {
    const result = await this.engine.cancel(id);
    await this.clock.settle();
    return result;
  }

  /** Kills the process as `kill -9` does, lets time pass without it, and starts another one on the same store. */
  async crash(downtime: number | string = 0): Promise<void> {
    const downMs = durationMs(downtime);
    this.#process.kill();
    this.#scripted.forget();
    this.#store = this.#store.reopen();
    await this.clock.advance(downMs);
    await this.boot();
  }

  /** Attempts that wait for the test: of one spoke, or of all. */
  calls(): readonly TestCall[];
  calls<I, O, E extends string>(spoke: TypedSpoke<I, O, E>): readonly TestCall<I, O, E>[];
  calls(spoke?: { readonly name: string }): readonly TestCall[] {
    return only(this.#scripted.open, spoke);
  }

  /**
   * The oldest attempt of a spoke that waits for the test.
   * @throws WheelworkError WW_NOT_FOUND when none does.
   */
  openCall<I, O, E extends string>(spoke: TypedSpoke<I, O, E>): TestCall<I, O, E> {
    const [call] = this.calls(spoke);
    if (call !== undefined) return call;
    const open = this.calls().map((other) => `${other.spoke} #${other.call} of ${other.request}`);
    throw new WheelworkError("WW_NOT_FOUND", `no call of ${spoke.name} waits for the test`, {
      next: `These wait: ${open.length === 0 ? "none" : open.join(", ")}.`,
    });
  }

  /** Every attempt that a scripted spoke was given, in order: of one spoke, or of all. */
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

  /** The answer of a request, if it has one. */
  async answer(id: string): Promise<Answer | undefined> {
    return this.engine.answer(id, { waitMs: 0 });
  }

  /** All that happened to a request. */
  async history(id: string): Promise<readonly RunEvent[]> {
    return this.engine.history(id);
  }

  /** All that happened to a request, as a text to compare with a golden one: a line each, with times from its start. */
  async transcript(id: string): Promise<string> {
    return transcriptOf(await this.history(id));
  }

  /** The spokes that the hubs call, also those of hubs that are only called by others. */
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
    return [...spokes.values()];
  }
}

function only(calls: readonly TestCall[], spoke: { readonly name: string } | undefined): readonly TestCall[] {
  return spoke === undefined ? [...calls] : calls.filter((call) => call.spoke === spoke.name);
}
