import { WheelworkError, type Answer } from "@wheelwork/core";
import type { CommandResult, Engine, RequestView } from "./api.ts";

/** What a run shows of itself: `watch` tells it whenever it has changed. */
export interface RunUpdate<O, E extends string> {
  readonly status: RequestView["status"];
  readonly state: string;
  /** What the hub's view makes of the data. */
  readonly view: unknown;
  readonly answer: Answer<O, E> | undefined;
}

/** One request of a hub, with the types of the hub. `engine.run(hub, id)` makes it. */
export interface RunHandle<O, E extends string, S> {
  readonly id: string;
  /** As `engine.signal`. @throws WheelworkError WW_NOT_FOUND, also when it is a request of another hub. */
  signal<N extends keyof S & string>(
    name: N,
    payload: S[N],
    options?: { readonly commandId?: string },
  ): Promise<CommandResult>;
  /** As `engine.cancel`. @throws WheelworkError WW_NOT_FOUND, also when it is a request of another hub. */
  cancel(options?: { readonly commandId?: string }): Promise<CommandResult>;
  /** As `engine.answer`. @throws WheelworkError WW_NOT_FOUND, also when it is a request of another hub. */
  answer(options?: { readonly waitMs?: number }): Promise<Answer<O, E> | undefined>;
  /**
   * Tells the state, the view and the answer as they are committed: at once, and then whenever they have changed, until the
   * answer is there. It looks every `everyMs` milliseconds (default 1000), so it may leave out what was soon replaced. The answer
   * comes at once.
   * @throws WheelworkError WW_NOT_FOUND, also when it is a request of another hub.
   */
  watch(options?: { readonly everyMs?: number }): AsyncIterable<RunUpdate<O, E>>;
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

  async signal(
    name: string,
    payload: unknown,
    options?: { readonly commandId?: string },
  ): Promise<CommandResult> {
    await this.#check();
    return this.#engine.signal(this.id, name, payload, options);
  }

  async cancel(options?: { readonly commandId?: string }): Promise<CommandResult> {
    await this.#check();
    return this.#engine.cancel(this.id, options);
  }

  async answer(options?: { readonly waitMs?: number }): Promise<Answer<O, E> | undefined> {
    await this.#check();
    return (await this.#engine.answer(this.id, options)) as Answer<O, E> | undefined;
  }

  async *watch({ everyMs = 1000 }: { readonly everyMs?: number } = {}): AsyncIterable<RunUpdate<O, E>> {
    for (let last = ""; ;) {
      const { status, state, view, answer } = await this.#look();
      const update = { status, state, view, answer: answer as Answer<O, E> | undefined };
      const text = JSON.stringify(update);
      if (text !== last) yield update;
      last = text;
      if (answer !== undefined) return;
      await this.#engine.answer(this.id, { waitMs: everyMs });
    }
  }

  /** The types hold for requests of this hub only. */
  async #check(): Promise<void> {
    if (!this.#isChecked) await this.#look();
  }

  async #look(): Promise<RequestView> {
    const request = await this.#engine.request(this.id);
    if (request.hub === this.#hub) {
      this.#isChecked = true;
      return request;
    }
    const message = `${this.id} is a request of the hub ${request.hub}, and not of ${this.#hub}`;
    throw new WheelworkError("WW_NOT_FOUND", message, { next: "Ask for it with its own hub." });
  }
}
