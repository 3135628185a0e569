import { abortContext, Context, type AttemptContext, type AttemptRequest } from "./context.ts";

/** One attempt as its host keeps it. User code gets its `context` alone. */
export class Attempt {
  readonly request: AttemptRequest;
  /** As they were when it was made: the request is a call of a run, which goes on. */
  readonly attempt: number;
  readonly epoch: number;
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
    this.attempt = request.attempt;
    this.epoch = request.run.epoch;
    this.#context = new Context(request);
  }

  get requestId(): string {
    return this.request.run.key;
  }

  get call(): number {
    return this.request.number;
  }

  get context(): AttemptContext {
    return this.#context;
  }

  abort(): void {
    abortContext(this.#context);
  }
}
