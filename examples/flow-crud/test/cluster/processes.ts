import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Wire } from "./proxy.ts";
import { defaultCache, freePort, KafkaBroker, PostgresServer } from "@wheelwork/services";

const program = fileURLToPath(new URL("../../src/cluster/main.ts", import.meta.url));

const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];

/** How long a part may take to be ready, in milliseconds. */
const readyWithinMs = 180_000;

/** A part of the cluster in a process of its own. */
export class Process {
  readonly name: string;
  readonly #args: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  #child: ChildProcess | undefined = undefined;
  #output = "";
  #url: string | undefined = undefined;

  /** `command`: what runs the part; default: this program. */
  constructor(
    name: string,
    args: readonly string[],
    command: readonly string[] = [process.execPath, ...flags, program],
    env: Readonly<Record<string, string>> = {},
  ) {
    this.name = name;
    this.#args = [...command, ...args];
    this.#env = env;
  }

  get runs(): boolean {
    return this.#child !== undefined;
  }

  /** Where it serves HTTP, as it said when it was ready; undefined: it runs not, or serves nothing. */
  get url(): string | undefined {
    return this.runs ? this.#url : undefined;
  }

  /** The last that it has printed since its last start. */
  get output(): string {
    return this.#output;
  }

  /**
   * Starts it; resolves when it says that it is ready. `more`: arguments for this start only.
   * @throws Error with what it has printed if it ends, or never does.
   */
  start(...more: readonly string[]): Promise<void> {
    this.#output = "";
    this.#url = undefined;
    const [command = "", ...args] = [...this.#args, ...more];
    const child = spawn(command, args, {
      // With a channel, so that it ends when the tests do, in whatever way.
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      env: { ...process.env, ...this.#env },
    });
    this.#child = child;
    return new Promise((resolve, reject) => {
      const fail = (what: string): void =>
        reject(new Error(`${this.name} ${what}: ${this.#output.slice(-2000)}`));
      const late = setTimeout(() => {
        fail("is not ready");
        // Whoever starts it again must not have two of them.
        child.kill("SIGKILL");
      }, readyWithinMs);
      const hear = (chunk: Buffer): void => {
        this.#output = (this.#output + chunk.toString()).slice(-100_000);
        const ready = /^ready:.*$/m.exec(this.#output)?.[0];
        if (ready === undefined) return;
        // Later, the line may be too old to be kept.
        this.#url = /http:\S+/.exec(ready)?.[0] ?? this.#url;
        clearTimeout(late);
        resolve();
      };
      child.stdout?.on("data", hear);
      child.stderr?.on("data", hear);
      child.on("exit", (code, signal) => {
        if (this.#child === child) this.#child = undefined;
        clearTimeout(late);
        fail(`ended with ${code ?? signal}`);
      });
    });
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#child?.kill(signal);
  }

  /** Sends a signal that ends it, and waits for its end; gives its exit code. */
  async end(signal: "SIGKILL" | "SIGTERM"): Promise<number | null> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null)
      return child?.exitCode ?? null;
    const gone = new Promise<number | null>((resolve) => void child.once("exit", (code) => resolve(code)));
    child.kill(signal);
    return gone;
  }
}

/** A whole cluster on loopback, with a broker, a database server and parts of its own. */
export class Cluster {
  readonly kafka: KafkaBroker;
  readonly postgres: PostgresServer;
  readonly data: string;
  readonly nodes: Process[] = [];
  /** The one that drives the switches now. */
  floodlight: Process;
  /** The wires of the first node: no other needs them. */
  readonly toKafka: Wire;
  readonly toPostgres: Wire;
  readonly #behind: { readonly port: number; readonly wire: number };
  readonly #common: readonly string[];
  readonly #parts: Process[] = [];
  #named = 0;

  private constructor(folder: string, ports: readonly number[], shards: number, flags: readonly string[]) {
    const [kafkaPort = 0, postgresPort = 0, behind = 0, wireToKafka = 0, wireToPostgres = 0] = ports;
    this.kafka = new KafkaBroker(join(folder, "kafka"), kafkaPort, defaultCache);
    this.postgres = new PostgresServer(join(folder, "postgres"), postgresPort);
    this.#behind = { port: behind, wire: wireToKafka };
    this.toKafka = new Wire(wireToKafka, behind);
    this.toPostgres = new Wire(wireToPostgres, postgresPort);
    this.data = join(folder, "data");
    const places = { brokers: this.kafka.brokers, database: this.postgres.url, data: this.data, shards };
    this.#common = [
      ...Object.entries(places).flatMap(([flag, value]) => [`--${flag}`, `${value}`]),
      ...flags,
    ];
    this.floodlight = this.part("floodlight");
  }

  /** Starts the broker and the database server; the parts are the caller's. */
  static async start(folder: string, shards: number, flags: readonly string[]): Promise<Cluster> {
    mkdirSync(folder, { recursive: true });
    const ports: number[] = [];
    while (ports.length < 5) ports.push(await freePort());
    const cluster = new Cluster(folder, ports, shards, flags);
    await Promise.all([
      cluster.toKafka.listen(),
      cluster.toPostgres.listen(),
      cluster.kafka.start(await freePort(), cluster.#behind),
      cluster.postgres.start(),
    ]);
    return cluster;
  }

  /** Another node, not started yet. */
  addNode(...flags: readonly string[]): Process {
    const name = `node-${++this.#named}`;
    const node = new Process(name, ["--only", "node", "--name", name, ...this.#common, ...flags]);
    this.nodes.push(node);
    return node;
  }

  /** A node that reaches Kafka and PostgreSQL through wires that can be cut, not started yet. */
  addWiredNode(): Process {
    const database = this.postgres.url.replace(`:${this.postgres.port}/`, `:${this.toPostgres.port}/`);
    return this.addNode("--brokers", `127.0.0.1:${this.toKafka.port}`, "--database", database);
  }

  /** Another part, not started yet. */
  part(only: "northbound" | "floodlight", ...flags: readonly string[]): Process {
    const part = new Process(only, ["--only", only, ...this.#common, ...flags]);
    this.#parts.push(part);
    return part;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#parts, ...this.nodes].map((part) => part.end("SIGKILL")));
    this.toKafka.close();
    this.toPostgres.close();
    await this.kafka.signal("SIGKILL");
    await this.postgres.signal("SIGKILL");
  }
}
