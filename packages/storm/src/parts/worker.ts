import type { Outcome, TraceContext } from "@wheelwork/core";
import { Callback, Coordinator, deepFreeze } from "@wheelwork/core/kernel";
import type { Bus, Message } from "@wheelwork/engine";
import { rootOf, WorkerHost, type Attempt, type AttemptRequest } from "@wheelwork/engine/parts";
import type { Bolt, Context, Output, Tuple } from "../multilang/component.ts";
import type { StormApp } from "./app.ts";
import {
  attemptId,
  TupleBatcher,
  workerStreams,
  type AttemptEnd,
  type AttemptOrder,
  type AttemptOutcome,
  type AttemptProgress,
  type AttemptWait,
  type Publication,
} from "./streams.ts";
import { stormLogger } from "./logger.ts";
import { every, realPorts, type StormPorts } from "./ports.ts";

type Streams = typeof workerStreams;

/** An attempt that another process wants; it is ended when its time is over, or the hub does not want it any more. */
class Ordered extends Callback implements AttemptRequest {
  readonly run: AttemptRequest["run"];
  readonly number: number;
  readonly callee: string;
  readonly attempt: number;
  readonly input: unknown;
  readonly key: string | undefined;
  readonly due: number;
  readonly progress: unknown;
  readonly trace: TraceContext | undefined;
  work: unknown = undefined;
  /** When its hub was told that it waits, in monotonic time. */
  toldAt = 0;

  constructor({
    spoke,
    request,
    call,
    attempt,
    epoch,
    createdAt,
    key,
    late,
    deadline,
    input,
    progress,
    fence,
    trace,
  }: AttemptOrder) {
    super();
    const lane = fence === undefined ? undefined : { fence };
    this.run = { key: request, epoch, createdAt, late: late === true, lane };
    this.number = call;
    this.callee = spoke;
    this.attempt = attempt;
    // As in a process where the hub is, too.
    this.input = deepFreeze(input);
    this.key = key;
    this.due = deadline;
    this.progress = progress;
    this.trace = trace;
  }

  get id(): string {
    return attemptId(this.run.key, this.run.createdAt, this.number, this.attempt);
  }
}

/** Attempts that are over for long are looked for this often, in milliseconds. */
const sweepMs = 100;
/** How often a hub is told that an attempt still waits for a place, in milliseconds. */
const waitingMs = 1000;

/** The proof of concept's WorkerBolt: makes the attempts that hubs want, and tells them what came of it. It holds nothing that matters. */
export class WorkerBolt implements Bolt<Streams> {
  readonly streams = workerStreams;
  readonly #app: StormApp;
  readonly #ports: StormPorts;
  readonly #receivers = new Map<string, Set<(message: Message) => void>>();
  readonly #open = new Map<string, Ordered>();
  readonly #late = new Coordinator();
  /** Those that wait for a place. */
  readonly #waiting = new Set<Ordered>();
  readonly #timeouts: ReadonlyMap<string, number>;
  #tell: (wait: AttemptWait) => void = () => {};
  #host: WorkerHost | undefined = undefined;

  constructor(app: StormApp, ports: StormPorts = realPorts) {
    this.#app = app;
    this.#ports = ports;
    this.#timeouts = new Map(app.workers.map(({ spoke }) => [spoke.name, spoke.timeoutMs]));
  }

  open(context: Context, output: Output<Streams>): void {
    const { clock } = this.#ports;
    const outcomes = new TupleBatcher<AttemptOutcome | AttemptWait | AttemptProgress>(
      clock,
      context.tasksOf("bolt-hub").length,
      (key, items) => output.emit("stream-worker-bolt-to-hub-bolt", [key, JSON.stringify(items)]),
    );
    this.#tell = (wait) => outcomes.add(rootOf(wait.request), wait);
    // Any task publishes what it gets.
    const publications = new TupleBatcher<Publication>(clock, 1, (key, items) =>
      output.emit("stream-worker-bolt-to-nb", [key, JSON.stringify(items)]),
    );
    const bus: Bus = {
      // Storm's own writer of topics knows no headers.
      publish: (topic, message) =>
        message.headers === undefined
          ? output.emit("stream-worker-bolt-to-fl", [message.key, message.value, topic])
          : publications.add(message.key, { topic, message }),
      subscribe: (topic, receive) => subscribe(this.#receivers, topic, receive),
    };
    const report = (attempt: Attempt, outcome: Outcome): void => {
      const order = attempt.request as Ordered;
      this.#forget(order);
      outcomes.add(rootOf(order.run.key), { id: order.id, request: order.run.key, outcome });
    };
    const progress = ({ request: { run, number, attempt } }: Attempt, value: unknown): void => {
      const [request, id] = [run.key, attemptId(run.key, run.createdAt, number, attempt)];
      const said = { id, request, lives: true } as const;
      outcomes.add(rootOf(request), value === undefined ? said : { ...said, progress: value });
    };
    this.#host = new WorkerHost({
      workers: this.#app.workers,
      // Outcomes go to the hub as tuples. External workers are asked by the hub itself.
      ports: { bus, replies: { kind: "process" } },
      report,
      progress,
      clock,
      logger: stormLogger(output),
      tracing: this.#app.tracing,
    });
    this.#host.attach();
    every(clock, sweepMs, () => this.#sweep());
  }

  execute({ component, values }: Tuple): void {
    if (component !== "bolt-hub") return receive(this.#receivers, values);
    for (const order of JSON.parse(String(values[1])) as readonly (AttemptOrder | AttemptEnd)[]) {
      if ("end" in order) this.#end(this.#open.get(order.end));
      else this.#begin(order);
    }
  }

  #begin(order: AttemptOrder): void {
    const ordered = new Ordered(order);
    // A hub that was started anew asks for what it had asked for: it is under way.
    if (this.#open.has(ordered.id)) return;
    this.#open.set(ordered.id, ordered);
    this.#late.register(ordered, Math.ceil(this.#ports.clock.monotonicMs() + order.withinMs));
    this.#host?.begin(ordered);
    // The hub does not know that others have all places here.
    if (this.#host?.waits(ordered) === true) this.#wait(ordered);
  }

  /** The time of an attempt begins when it has its place. */
  #wait(ordered: Ordered): void {
    const now = this.#ports.clock.monotonicMs();
    ordered.toldAt = now;
    this.#waiting.add(ordered);
    this.#late.register(ordered, Math.ceil(now + (this.#timeouts.get(ordered.callee) ?? 0)));
    this.#tell({ id: ordered.id, request: ordered.run.key, waits: true });
  }

  #sweep(): void {
    const before = this.#ports.clock.monotonicMs() - waitingMs;
    for (const ordered of this.#waiting) {
      const isWaiting = this.#host?.waits(ordered) === true;
      if (!isWaiting || ordered.toldAt <= before) this.#wait(ordered);
      if (!isWaiting) this.#waiting.delete(ordered);
    }
    for (const late of this.#late.take(Math.floor(this.#ports.clock.monotonicMs())) as Ordered[])
      this.#end(late);
  }

  #end(ordered: Ordered | undefined): void {
    if (ordered === undefined) return;
    this.#forget(ordered);
    this.#host?.end([ordered]);
  }

  #forget(ordered: Ordered): void {
    this.#late.cancel(ordered);
    this.#waiting.delete(ordered);
    if (this.#open.get(ordered.id) === ordered) this.#open.delete(ordered.id);
  }

  async close(): Promise<void> {
    this.#host?.endAll();
    this.#host?.detach();
    await this.#app.close?.();
  }
}

type Receivers = Map<string, Set<(message: Message) => void>>;

/** Takes a receiver for the records of a topic; the result ends it. */
export function subscribe(
  receivers: Receivers,
  topic: string,
  receive: (message: Message) => void,
): () => void {
  let set = receivers.get(topic);
  if (set === undefined) receivers.set(topic, (set = new Set()));
  set.add(receive);
  return () => void set.delete(receive);
}

/** Hands on a record that a Kafka spout has read. */
export function receive(receivers: Receivers, [topic, , , key, value]: Tuple["values"]): void {
  const message = { key: String(key ?? ""), value: String(value ?? "") };
  for (const one of receivers.get(String(topic)) ?? []) one(message);
}
