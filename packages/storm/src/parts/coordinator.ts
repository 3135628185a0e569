import { Callback, Coordinator } from "@wheelwork/core/kernel";
import type { Clock } from "@wheelwork/engine";
import { timerMs } from "@wheelwork/engine/parts";
import type { Bolt, Output, Spout, Tuple } from "../multilang/component.ts";
import { realPorts, type StormPorts } from "./ports.ts";
import { coordinatorStreams, tickStreams, type CallbackOrder } from "./streams.ts";

const tickMs = 50;

/** The proof of concept's CoordinatorSpout: it ticks. Tick tuples of Storm come once a second at most. */
export function coordinatorSpout({ clock }: Pick<StormPorts, "clock"> = realPorts): Spout<
  typeof tickStreams
> {
  let last = 0;
  let ticks = 0;
  return {
    streams: tickStreams,
    next: async (output) => {
      const wait = last + tickMs - clock.monotonicMs();
      if (wait > 0) await new Promise<void>((resolve) => void clock.after(wait, resolve));
      last = clock.monotonicMs();
      output.emit("default", [++ticks]);
    },
  };
}

/** A callback that a hub wants. */
class Wanted extends Callback {
  readonly key: string;
  readonly claim: string;
  readonly id: number;

  constructor(key: string, claim: string, id: number) {
    super();
    this.key = key;
    this.claim = claim;
    this.id = id;
  }
}

/** The proof of concept's CoordinatorBolt: an index of callbacks. It keeps nothing that matters: hubs tell it again when it begins. */
export class CoordinatorBolt implements Bolt<typeof coordinatorStreams> {
  readonly streams = coordinatorStreams;
  #index = new Coordinator();
  /** The callbacks of a hub, of its last claim. */
  readonly #hubs = new Map<string, { readonly claim: string; readonly wanted: Map<number, Wanted> }>();
  readonly #clock: Clock;
  #cancelTimer = (): void => {};
  #timerAt = Number.POSITIVE_INFINITY;
  #begin = (): void => {};

  constructor({ clock }: Pick<StormPorts, "clock"> = realPorts) {
    this.#clock = clock;
  }

  open(context: { readonly task: number }, output: Output<typeof coordinatorStreams>): void {
    this.#begin = () => output.emit("stream-bolt-coordinator-begun", [`coordinator ${context.task}`]);
    this.#begin();
  }

  /** It begins anew: hubs tell it again. */
  uncaught(): void {
    this.#index = new Coordinator();
    this.#hubs.clear();
    this.#cancelTimer();
    this.#timerAt = Number.POSITIVE_INFINITY;
    this.#begin();
  }

  execute({ component, values }: Tuple, output: Output<typeof coordinatorStreams>): void {
    if (component === "spout-coordinator") return this.#fire(output);
    const [key, body] = values as readonly [string, string];
    for (const order of JSON.parse(body) as readonly CallbackOrder[]) this.#take(key, order);
    this.#arm(output);
  }

  #take(key: string, { claim, want, cancel }: CallbackOrder): void {
    let hub = this.#hubs.get(key);
    if (hub?.claim !== claim) {
      // The hub was started anew: what it wanted before, nobody waits for.
      for (const wanted of hub?.wanted.values() ?? []) this.#index.cancel(wanted);
      this.#hubs.set(key, (hub = { claim, wanted: new Map() }));
    }
    const now = Math.floor(this.#clock.monotonicMs());
    for (const id of cancel) {
      const wanted = hub.wanted.get(id);
      if (wanted !== undefined) this.#index.cancel(wanted);
      hub.wanted.delete(id);
    }
    for (const { id, inMs } of want) {
      let wanted = hub.wanted.get(id);
      if (wanted === undefined) hub.wanted.set(id, (wanted = new Wanted(key, claim, id)));
      this.#index.register(wanted, now + Math.max(0, Math.ceil(inMs)));
    }
  }

  #fire(output: Output<typeof coordinatorStreams>): void {
    this.#timerAt = Number.POSITIVE_INFINITY;
    const due = this.#index.take(Math.floor(this.#clock.monotonicMs())) as Wanted[];
    for (const [key, callbacks] of Map.groupBy(due, ({ key }) => key)) {
      for (const { id } of callbacks) this.#hubs.get(key)?.wanted.delete(id);
      const body = callbacks.map(({ claim, id }) => ({ claim, id }));
      output.emit("stream-bolt-coordinator-to-hub", [key, JSON.stringify(body)]);
    }
    this.#arm(output);
  }

  /** Between two ticks, its own timer has the millisecond. */
  #arm(output: Output<typeof coordinatorStreams>): void {
    const at = this.#index.nextAt();
    if (at === undefined || at >= this.#timerAt) return;
    this.#cancelTimer();
    this.#timerAt = at;
    const inMs = timerMs(at - this.#clock.monotonicMs());
    this.#cancelTimer = this.#clock.after(inMs, () => this.#fire(output));
  }
}

/** How late a callback may be when the coordinator is lost, in milliseconds: then the hub's own timer fires. */
const sweepMs = 1000;

interface Waiting {
  readonly at: number;
  readonly task: () => void;
  readonly cancelFallback: () => void;
}

/** The clock of a hub on Storm: what is to run later, the coordinator calls back; its loss delays that by a second at most. */
export class CoordinatedClock implements Clock {
  readonly #clock: Clock;
  readonly #claim: string;
  readonly #send: (order: CallbackOrder) => void;
  readonly #waiting = new Map<number, Waiting>();
  #ids = 0;

  constructor(clock: Clock, claim: string, send: (order: CallbackOrder) => void) {
    this.#clock = clock;
    this.#claim = claim;
    this.#send = send;
  }

  wallMs(): number {
    return this.#clock.wallMs();
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs();
  }

  soon(task: () => void): void {
    this.#clock.soon(task);
  }

  after(delayMs: number, task: () => void): () => void {
    const id = ++this.#ids;
    const cancelFallback = this.#clock.after(timerMs(delayMs + sweepMs), () => this.#fire(id));
    this.#waiting.set(id, { at: this.monotonicMs() + delayMs, task, cancelFallback });
    this.#tell([{ id, inMs: delayMs }], []);
    return () => {
      if (!this.#waiting.delete(id)) return;
      cancelFallback();
      this.#tell([], [id]);
    };
  }

  /** The coordinator calls back. */
  calledBack({ claim, id }: { readonly claim: string; readonly id: number }): void {
    if (claim === this.#claim) this.#fire(id);
  }

  /** The coordinator has begun anew: it is told everything again. */
  tellAgain(): void {
    const now = this.monotonicMs();
    this.#tell(
      Array.from(this.#waiting, ([id, { at }]) => ({ id, inMs: Math.max(0, at - now) })),
      [],
    );
  }

  #fire(id: number): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    waiting.cancelFallback();
    this.#waiting.delete(id);
    waiting.task();
  }

  #tell(want: CallbackOrder["want"], cancel: CallbackOrder["cancel"]): void {
    this.#send({ claim: this.#claim, want, cancel });
  }
}
