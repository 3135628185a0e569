import type { Heart } from "./heart.ts";
import type { Tracing } from "../ports/trace.ts";
import type { Place, Waiting } from "./turns.ts";
import {
  abortContext,
  Context,
  extendContext,
  listenTo,
  type AttemptContext,
  type AttemptRequest,
} from "./context.ts";

/** One attempt as its host keeps it. User code gets its `context` alone. */
export class Attempt {
  request: AttemptRequest;
  /** Where it is among those that are open. */
  index = -1;
  /** How it waits for its turn under the limit of its spoke; undefined: it does not wait. */
  waits: Waiting | undefined = undefined;
  /** Since when it waits for a turn of the event loop, to begin or to be checked, in monotonic time; undefined: it does not. */
  turnSince: number | undefined = undefined;
  /** It has waited for a turn or a place, or its process has ended: it times out later than was committed. */
  hasWaited = false;
  /** How long it has waited, in milliseconds. */
  waitedMs = 0;
  /** When its worker has begun, in monotonic time; undefined: it has not, or nobody wants to know. */
  madeAt: number | undefined = undefined;
  /** Its worker has begun, and its work has not ended. */
  isMade = false;
  /** The place that it has under the limit of its spoke, until its work has ended. */
  place: Place | undefined = undefined;
  /** An earlier owner may have made it, and it is not made again yet. */
  awaitingLog = false;
  /** Its spoke and its correlation, where its outcome comes through a topic. */
  name = "";
  readonly #context: Context;

  constructor(request: AttemptRequest, tracing?: Tracing) {
    this.request = request;
    this.#context = new Context(request, tracing);
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

  /** It has its place, and is not to be made yet: it is a suspect. */
  get isHeld(): boolean {
    return !this.isMade && this.waits === undefined && this.turnSince === undefined && !this.awaitingLog;
  }

  /** An earlier process may have begun it: its time begins anew, and ends at `due` if it need not wait for a place. */
  beginAnew(due: number): void {
    extendContext(this.#context, due - this.#context.deadline);
    this.hasWaited = true;
  }

  /** It has a place at last: the time that it has waited is not its own. */
  endWait(now: number): void {
    if (this.waits === undefined) return;
    this.waited(now - this.waits.since);
    this.waits = undefined;
  }

  /** It has waited so long, in milliseconds: that time is not its own. */
  waited(ms: number): void {
    this.waitedMs += ms;
    extendContext(this.#context, ms);
    this.hasWaited = true;
  }

  /** Hears what its worker says of its progress. */
  listen(heart: Heart): void {
    listenTo(this.#context, heart);
  }

  abort(): void {
    abortContext(this.#context);
  }
}
