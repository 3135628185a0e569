import { abortContext, Context, type AttemptContext, type AttemptRequest } from "./context.ts";

/** One attempt as its host keeps it. User code gets its `context` alone. */
export class Attempt {
  readonly request: AttemptRequest;
  /** Where it is among those that are open. */
  index = -1;
  /** It has a place in its lane: it is neither queued nor over. */
  hasPlace = false;
  /** An earlier owner may have made it, and it is not made again yet. */
  awaitingLog = false;
  /** Its spoke and its correlation, where its outcome comes through a topic. */
  name = "";
  readonly #context: Context;

  constructor(request: AttemptRequest) {
    this.request = request;
    this.#context = new Context(request);
  }

  get requestId(): string {
    return this.request.run.key;
  }

  get call(): number {
    return this.request.number;
  }

  /** Which attempt of the call it is: the call may be at a later one by now. */
  get attempt(): number {
    return this.#context.attempt;
  }

  /** The epoch of the run when it was made. */
  get epoch(): number {
    return this.#context.epoch;
  }

  get context(): AttemptContext {
    return this.#context;
  }

  abort(): void {
    abortContext(this.#context);
  }
}
