import { WheelworkError, type Answer } from "@wheelwork/core";
import type { CommandOptions, CommandResult, Engine } from "./api.ts";
import type { RunUpdate, WatchOptions } from "./run-watch.ts";

/** One request of a hub, with the types of the hub. `engine.run(hub, id)` makes it. */
export interface RunHandle<O, E extends string, S> {
  readonly id: string;
  /** As `engine.signal`. @throws WheelworkError WW_NOT_FOUND, also when it is a request of another hub. */
  signal<N extends keyof S & string>(
    name: N,
    payload: S[N],
    options?: CommandOptions,
  ): Promise<CommandResult>;
  /** As `engine.cancel`. @throws WheelworkError WW_NOT_FOUND, also when it is a request of another hub. */
  cancel(options?: CommandOptions): Promise<CommandResult>;
  /** As `engine.answer`. @throws WheelworkError WW_NOT_FOUND, also when it is a request of another hub. */
  answer(options?: { readonly waitMs?: number }): Promise<Answer<O, E> | undefined>;
  /** As `engine.watch`. @throws WheelworkError WW_NOT_FOUND, also when it is a request of another hub. */
  watch(options?: WatchOptions): AsyncIterable<RunUpdate<O, E>>;
}

/** A run of any engine: all that it does is to ask the engine. */
export class EngineRun<O, E extends string, S> implements RunHandle<O, E, S> {
  readonly id: string;
  readonly #engine: Engine;
  readonly #hub: string;
  #isChecked = false;

  constructor(engine: Engine, hub: string, id: string) {
    this.#engine = engine;
    this.#hub = hub;
    this.id = id;
  }

  async signal(name: string, payload: unknown, options?: CommandOptions): Promise<CommandResult> {
    await this.#check();
    return this.#engine.signal(this.id, name, payload, options);
  }

  async cancel(options?: CommandOptions): Promise<CommandResult> {
    await this.#check();
    return this.#engine.cancel(this.id, options);
  }

  async answer(options?: { readonly waitMs?: number }): Promise<Answer<O, E> | undefined> {
    await this.#check();
    return (await this.#engine.answer(this.id, options)) as Answer<O, E> | undefined;
  }

  async *watch(options?: WatchOptions): AsyncIterable<RunUpdate<O, E>> {
    await this.#check();
    yield* this.#engine.watch(this.id, options) as AsyncIterable<RunUpdate<O, E>>;
  }

  /** The types hold for requests of this hub only. */
  async #check(): Promise<void> {
    if (this.#isChecked) return;
    const request = await this.#engine.request(this.id);
    if (request.hub !== this.#hub) {
      const message = `${this.id} is a request of the hub ${request.hub}, and not of ${this.#hub}`;
      throw new WheelworkError("WW_NOT_FOUND", message, { next: "Ask for it with its own hub." });
    }
    this.#isChecked = true;
  }
}
