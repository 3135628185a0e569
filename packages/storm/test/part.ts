import { spawn, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { FrameReader } from "@wheelwork/storm/multilang";
import { vi } from "vitest";

export const components = {
  1: "bolt-hub",
  2: "bolt-worker",
  3: "bolt-coordinator",
  4: "bolt-to-nb",
} as const;
/** The hub makes the attempts itself. */
export const simple = { 1: "bolt-hub", 3: "bolt-coordinator", 4: "bolt-to-nb" } as const;
export const patient = { timeout: 120_000, interval: 10 };

export type Said = Record<string, unknown> & { at: number };

/** A part of the topology in a process of its own; the test is its Storm. */
export class Part {
  readonly said: Said[] = [];
  /** Gets what is said instead of `said`. */
  hears: ((message: Record<string, unknown>) => void) | undefined = undefined;
  readonly child: ChildProcess;
  /** Where the parts are, and what they reach. A test file sets it. */
  static world: { readonly folder: string; readonly brokers: string; readonly databaseUrl: string };
  /** Those that have been started since they were killed last. */
  static readonly parts: Part[] = [];
  /** What the application is told. */
  static app: { readonly retentionMs?: number } = {};
  /** More of the configuration of those that are started next. */
  static more: { readonly metricsPort?: number } = {};
  #ids = 0;

  constructor(
    part: "hub" | "worker" | "coordinator" | "nb",
    schema: string,
    topology: Readonly<Record<number, string>> = components,
    ...given: readonly string[]
  ) {
    const task = { hub: 1, worker: 2, coordinator: 3, nb: 4 }[part];
    const shards = Object.values(topology).filter((name) => name === "bolt-hub").length;
    const source = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    const flags = ["--expose-gc", ...source, ...given];
    const app = fileURLToPath(new URL("app.ts", import.meta.url));
    this.child = spawn(process.execPath, [...flags, app, part], { stdio: ["pipe", "pipe", "pipe"] });
    const reader = new FrameReader();
    this.child.stdout?.on("data", (chunk: Buffer) => {
      for (const message of reader.feed(chunk) as Iterable<Record<string, unknown>>)
        if (this.hears === undefined) this.said.push({ ...message, at: performance.now() });
        else this.hears(message);
    });
    this.child.stderr?.on("data", (chunk: Buffer) => {
      const [, heap] = /^heap: (\d+)$/m.exec(chunk.toString()) ?? [];
      if (heap === undefined) process.stderr.write(chunk);
      else this.#heap?.(Number(heap));
    });
    this.child.stdin?.on("error", () => {});
    const { folder, ...place } = Part.world;
    const config = { ...place, schema, shards, inbox: "inbox", app: Part.app, ...Part.more };
    const context = { "task->component": topology, taskid: task, componentid: topology[task] };
    this.#send({ pidDir: folder, conf: { "wheelwork.config": JSON.stringify(config) }, context });
    Part.parts.push(this);
  }

  #heap: ((bytes: number) => void) | undefined = undefined;

  /** What its heap holds once the garbage is collected, in bytes. */
  heap(): Promise<number> {
    return new Promise((resolve) => {
      this.#heap = resolve;
      this.child.kill("SIGHUP");
    });
  }

  #send(message: object): void {
    this.child.stdin?.write(`${JSON.stringify(message)}\nend\n`);
  }

  /** Sends a tuple; gives its id. */
  tuple(comp: string, stream: string, ...values: unknown[]): string {
    const id = String(++this.#ids);
    this.#send({ id, comp, stream, task: 9, tuple: values });
    return id;
  }

  /** A request as the Kafka spout hands it on. */
  request(key: string, value: object): string {
    return this.tuple("spout-hub", "default", "requests", 0, this.#ids, key, JSON.stringify(value));
  }

  /** The tuples of a stream. */
  emitted(stream: string): { readonly tuple: readonly unknown[] }[] {
    return this.said
      .filter((message) => message["command"] === "emit" && message["stream"] === stream)
      .map(({ tuple }) => ({ tuple: tuple as unknown[] }));
  }

  /** The bodies of the tuples of a stream. */
  bodies(stream: string): unknown[][] {
    return this.emitted(stream).map(({ tuple }) => JSON.parse(String(tuple[1])) as unknown[]);
  }

  settled(id: string, command: "ack" | "fail"): Promise<unknown> {
    return vi.waitUntil(
      () => this.said.find((one) => one["id"] === id && one["command"] === command),
      patient,
    );
  }

  kill(): Promise<void> {
    const gone = new Promise<void>((resolve) => void this.child.once("exit", () => resolve()));
    this.child.kill("SIGKILL");
    return gone;
  }
}

/** Kills all parts of a test. */
export async function killParts(): Promise<void> {
  const left = Part.parts.splice(0);
  await Promise.all(
    left.map((part) =>
      part.child.exitCode === null && part.child.signalCode === null ? part.kill() : undefined,
    ),
  );
}

export interface Publication {
  readonly topic: string;
  readonly id?: string;
  readonly message: {
    readonly key: string;
    readonly value: string;
    readonly headers: Record<string, string>;
  };
}
export const toNb = "stream-hub-bolt-to-nb";
export const published = (part: Part): Publication[] => part.bodies(toNb).flat() as Publication[];
export const waitFor = <T>(what: () => T): Promise<NonNullable<T>> =>
  vi.waitUntil(what, patient) as Promise<NonNullable<T>>;
