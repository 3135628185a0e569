import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { frame, FrameReader } from "./frames.ts";
import { processWire, type Wire } from "./wire.ts";

/** A value of a tuple, as JSON carries it. */
export type Value = string | number | boolean | null;

/** The streams of a component, with the names of their fields. */
export type Streams = Readonly<Record<string, readonly string[]>>;

/** The values of a stream: one for each of its fields. */
export type Values<Fields extends readonly string[]> = { readonly [Index in keyof Fields]: Value };

/** A tuple that a bolt gets. */
export interface Tuple {
  /** Storm's name for it: emits that are anchored to the tuple name it. */
  readonly id: string;
  /** The component that emitted it, and the stream. */
  readonly component: string;
  readonly stream: string;
  readonly task: number;
  readonly values: readonly Value[];
}

/** What a component knows of its place in the topology. */
export interface Context {
  /** The topology's configuration. It may hold secrets: do not log it. */
  readonly conf: Readonly<Record<string, unknown>>;
  readonly component: string;
  readonly task: number;
  /**
   * The index of this task among the tasks of its component, from 0. Fields grouping sends a hash to the task at
   * `hash % tasks`.
   */
  readonly index: number;
  /** The tasks of a component, in ascending order; empty if there is none of that name. */
  tasksOf(component: string): readonly number[];
}

/** What a component says to Storm. */
export interface Output<S extends Streams> {
  /**
   * Emits a tuple. Anchored to others, it fails them when it fails; one that has been acked already cannot be an anchor
   * any more and is left out.
   */
  emit<Name extends keyof S & string>(
    stream: Name,
    values: Values<S[Name]>,
    anchors?: readonly Tuple[],
  ): void;
  /** A line in the worker's log. */
  log(message: string, level?: "debug" | "info" | "warn" | "error"): void;
  /** An error that Storm shows beside the component. */
  error(message: string): void;
  /** Bytes that Storm has not taken yet. */
  readonly backlog: number;
}

/** What spouts emit besides: under an id, Storm tells what became of the tuple. */
export interface SpoutOutput<S extends Streams> extends Omit<Output<S>, "emit"> {
  emit<Name extends keyof S & string>(stream: Name, values: Values<S[Name]>, id?: string): void;
}

interface Component {
  /** Called when Storm asks it to end: half a second is left. */
  close?(): void | Promise<void>;
  /**
   * Called when something was thrown where nobody catches it, such as in a timer: what the component holds in memory may be
   * wrong. By then it is reported to Storm, and the tuples that were being executed are failed. The process goes on, since
   * its death would end the worker and all its components; it ends only when this throws, too.
   */
  uncaught?(error: unknown): void;
}

/** A bolt. Each tuple is acked when `execute` returns or its promise resolves, and failed when it throws: once, always. */
export interface Bolt<S extends Streams> extends Component {
  readonly streams: S;
  /** Tuples wait until it has resolved. */
  open?(context: Context, output: Output<S>): void | Promise<void>;
  execute(tuple: Tuple, output: Output<S>): void | Promise<void>;
  /** For tick tuples, if the topology asks for them. */
  tick?(output: Output<S>): void;
}

/** A spout. */
export interface Spout<S extends Streams> extends Component {
  readonly streams: S;
  open?(context: Context, output: SpoutOutput<S>): void | Promise<void>;
  /** Emits what there is. Storm asks again after it has returned or resolved, and does nothing else for the spout meanwhile. */
  next(output: SpoutOutput<S>): void | Promise<void>;
  ack?(id: string): void;
  fail?(id: string): void;
  activate?(): void;
  deactivate?(): void;
}

interface Handshake {
  readonly pidDir: string;
  readonly conf: Readonly<Record<string, unknown>>;
  readonly context: {
    readonly "task->component": Readonly<Record<string, string>>;
    readonly taskid: number;
    readonly componentid?: string;
  };
}

interface Incoming {
  readonly id?: string;
  readonly comp?: string;
  readonly stream?: string;
  readonly task?: number;
  readonly tuple?: readonly Value[];
  readonly command?: string;
}

/** Storm reads no more than this many bytes ahead of the component that writes them, or the component reads no more. */
const maxBacklog = 4_000_000;
const maxCloseMs = 500;

const levels = { debug: 1, info: 2, warn: 3, error: 4 } as const;

/** What bolts and spouts have in common: the handshake, and writing in batches without blocking. */
abstract class Host {
  readonly #wire: Wire;
  readonly #reader = new FrameReader();
  #pending: string[] = [];
  #pendingBytes = 0;
  #writing = 0;
  #flushes = false;
  #paused = false;
  #ending = false;
  #began = false;
  readonly #component: Component;

  constructor(component: Component, wire: Wire) {
    this.#component = component;
    this.#wire = wire;
  }

  start(): void {
    this.#wire.uncaught((error) => {
      this.error(`thrown where nobody catches it: ${messageOf(error)}`);
      this.giveUp();
      try {
        this.#component.uncaught?.(error);
      } catch (another) {
        this.error(`and what is in memory could not be put right: ${messageOf(another)}`);
        void this.#end(1);
      }
    });
    this.#wire.read((chunk) => {
      if (chunk === undefined) return void this.#end(0);
      try {
        for (const message of this.#reader.feed(chunk)) this.#take(message);
      } catch (error) {
        this.error(`Storm sent what is not JSON: ${messageOf(error)}`);
        void this.#end(1);
      }
    });
  }

  get backlog(): number {
    return this.#pendingBytes + this.#writing;
  }

  log(message: string, level: keyof typeof levels = "info"): void {
    this.send({ command: "log", msg: message, level: levels[level] });
  }

  error(message: string): void {
    this.send({ command: "error", msg: message });
  }

  protected abstract open(context: Context): void | Promise<void>;
  protected abstract handle(message: Incoming): void;
  /** Nobody knows whether what is under way will ever be done: Storm is told that it is not. */
  protected abstract giveUp(): void;

  protected send(message: object): void {
    const text = frame(message);
    this.#pending.push(text);
    this.#pendingBytes += text.length;
    if (!this.#paused && this.backlog > maxBacklog) {
      this.#paused = true;
      this.#wire.pause();
    }
    if (this.#flushes) return;
    this.#flushes = true;
    // One write for all that is said in this turn of the event loop.
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    if (this.#writing > 0 || this.#pending.length === 0) return void (this.#flushes = false);
    const data = Buffer.from(this.#pending.join(""));
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#writing = data.length;
    this.#wire.write(data, (error) => {
      this.#writing = 0;
      // Storm has gone: nobody is left to tell.
      if (error !== undefined) return this.#wire.exit(1);
      if (this.#paused && this.backlog < maxBacklog / 2) {
        this.#paused = false;
        this.#wire.resume();
      }
      this.#flush();
    });
  }

  #take(message: unknown): void {
    if (this.#began) {
      // An array holds ids of tasks, which are never asked for.
      if (!Array.isArray(message)) this.handle(message as Incoming);
      return;
    }
    this.#began = true;
    const { pidDir, conf, context } = message as Handshake;
    writeFileSync(join(pidDir, String(process.pid)), "");
    this.send({ pid: process.pid });
    const opened = async (): Promise<void> => this.open(contextOf(conf, context));
    opened().catch((error: unknown) => {
      this.error(`the component could not be opened: ${messageOf(error)}`);
      void this.#end(1);
    });
  }

  async #end(code: number): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    const late = new Promise<void>((resolve) => void this.#wire.after(maxCloseMs, resolve));
    const closed = async (): Promise<void> => this.#component.close?.();
    await Promise.race([closed().catch(() => {}), late]);
    const sent = (): void => (this.backlog > 0 ? void setImmediate(sent) : this.#wire.exit(code));
    this.#wire.after(maxCloseMs, () => this.#wire.exit(code));
    sent();
  }
}

function contextOf(conf: Handshake["conf"], given: Handshake["context"]): Context {
  const { "task->component": components, taskid } = given;
  const tasks = new Map<string, number[]>();
  for (const [task, component] of Object.entries(components)) {
    const list = tasks.get(component);
    if (list === undefined) tasks.set(component, [Number(task)]);
    else list.push(Number(task));
  }
  for (const list of tasks.values()) list.sort((a, b) => a - b);
  const component = given.componentid ?? components[taskid] ?? "";
  const tasksOf = (name: string): readonly number[] => tasks.get(name) ?? [];
  return { conf, component, task: taskid, index: tasksOf(component).indexOf(taskid), tasksOf };
}

const messageOf = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message) : String(error);

class BoltHost<S extends Streams> extends Host implements Output<S> {
  readonly #bolt: Bolt<S>;
  readonly #open = new Set<Tuple>();
  /** Tuples that came before the bolt was open. */
  #early: Tuple[] | undefined = [];

  constructor(bolt: Bolt<S>, wire: Wire) {
    super(bolt, wire);
    this.#bolt = bolt;
  }

  emit<Name extends keyof S & string>(
    stream: Name,
    tuple: Values<S[Name]>,
    anchors: readonly Tuple[] = [],
  ): void {
    const live = anchors.filter((anchor) => this.#open.has(anchor)).map(({ id }) => id);
    this.send({ command: "emit", tuple, anchors: live, stream, need_task_ids: false });
  }

  protected override async open(context: Context): Promise<void> {
    await this.#bolt.open?.(context, this);
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const tuple of early) this.#execute(tuple);
  }

  protected override handle({ id = "", comp = "", stream = "", task = -1, tuple = [] }: Incoming): void {
    if (task === -1 && stream === "__heartbeat") return this.send({ command: "sync" });
    if (comp === "__system" && stream === "__tick") {
      if (this.#early === undefined) this.#guarded(() => this.#bolt.tick?.(this));
      return this.send({ command: "ack", id });
    }
    const given: Tuple = { id, component: comp, stream, task, values: tuple };
    this.#open.add(given);
    if (this.#early === undefined) this.#execute(given);
    else this.#early.push(given);
  }

  protected override giveUp(): void {
    // Those that came early are not under way yet.
    const underWay = this.#early === undefined ? [...this.#open] : [];
    for (const tuple of underWay) this.#settle(tuple, "fail");
  }

  #execute(tuple: Tuple): void {
    try {
      const done = this.#bolt.execute(tuple, this);
      if (!(done instanceof Promise)) return this.#settle(tuple, "ack");
      done.then(
        () => this.#settle(tuple, "ack"),
        (error: unknown) => this.#failed(tuple, error),
      );
    } catch (error) {
      this.#failed(tuple, error);
    }
  }

  #failed(tuple: Tuple, error: unknown): void {
    // Storm sends it again, which is all there is to say of some.
    if (!(error instanceof FailTuple)) this.error(messageOf(error));
    this.#settle(tuple, "fail");
  }

  #settle(tuple: Tuple, command: "ack" | "fail"): void {
    // One that was given up is failed already: to say it twice would kill the worker.
    if (!this.#open.delete(tuple)) return;
    this.send({ command, id: tuple.id });
  }

  #guarded(body: () => void): void {
    try {
      body();
    } catch (error) {
      this.error(messageOf(error));
    }
  }
}

/** Thrown by `execute`: the tuple is failed, so that its spout sends it again, and nothing is reported. */
export class FailTuple extends Error {
  override readonly name = "Again";
}

class SpoutHost<S extends Streams> extends Host implements SpoutOutput<S> {
  readonly #spout: Spout<S>;
  #isOpen = false;
  #work: Promise<void> = Promise.resolve();
  /** Ends the command that is under way. */
  #release: () => void = () => {};

  constructor(spout: Spout<S>, wire: Wire) {
    super(spout, wire);
    this.#spout = spout;
  }

  emit<Name extends keyof S & string>(stream: Name, tuple: Values<S[Name]>, id?: string): void {
    const emitted = { command: "emit", tuple, stream, need_task_ids: false };
    this.send(id === undefined ? emitted : { ...emitted, id });
  }

  protected override async open(context: Context): Promise<void> {
    await this.#spout.open?.(context, this);
    this.#isOpen = true;
  }

  protected override giveUp(): void {
    this.#release();
  }

  /** Each command is answered by one `sync`, in order. */
  protected override handle({ command, id = "" }: Incoming): void {
    const spout = this.#spout;
    const body = async (): Promise<void> => {
      if (!this.#isOpen) return;
      switch (command) {
        case "next":
          return spout.next(this);
        case "ack":
          return spout.ack?.(id);
        case "fail":
          return spout.fail?.(id);
        case "activate":
          return spout.activate?.();
        case "deactivate":
          return spout.deactivate?.();
        default:
      }
    };
    const released = (): Promise<void> => new Promise((resolve) => void (this.#release = resolve));
    this.#work = this.#work
      .then(() => Promise.race([body(), released()]))
      .catch((error: unknown) => this.error(messageOf(error)))
      .then(() => this.send({ command: "sync" }));
  }
}

/** Makes this process a bolt. */
export function runBolt<S extends Streams>(bolt: Bolt<S>, wire: Wire = processWire()): void {
  new BoltHost(bolt, wire).start();
}

/** Makes this process a spout. */
export function runSpout<S extends Streams>(spout: Spout<S>, wire: Wire = processWire()): void {
  new SpoutHost(spout, wire).start();
}
