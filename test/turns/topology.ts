import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { join } from "node:path";
import { defaultCache, freePort, KafkaBroker, PostgresServer, StormCluster } from "@wheelwork/services";
import { bundleApp, Nimbus, submit, topologyJar } from "@wheelwork/storm";
import { stormSecurity, stormTopology, type StormApp, type StormConfig } from "@wheelwork/storm/parts";

/** The servers of a Storm with its broker and its database. */
export interface StormServers {
  readonly kafka: KafkaBroker;
  readonly postgres: PostgresServer;
  readonly storm: StormCluster;
  /** How the topology reaches the broker, if not as its clients do. The environment says what it needs for that. */
  readonly brokers?: string;
}

/** A Storm, a broker and a database that work in a folder. They are there until `use` is over. */
export async function withStorm(
  folder: string,
  use: (servers: StormServers) => Promise<void>,
): Promise<void> {
  const ports: number[] = [];
  while (ports.length < 8) ports.push(await freePort());
  const [broker = 0, controller = 0, database = 0, zookeeper = 0, nimbus = 0, supervisor = 0, ...slots] =
    ports;
  const servers = {
    kafka: new KafkaBroker(join(folder, "storm-kafka"), broker, defaultCache),
    postgres: new PostgresServer(join(folder, "storm-postgres"), database),
    storm: new StormCluster(join(folder, "storm"), { zookeeper, nimbus, supervisor, slots }, defaultCache),
  };
  try {
    await Promise.all([servers.kafka.start(controller), servers.postgres.start(), servers.storm.start()]);
    await use(servers);
  } finally {
    await servers.storm.stop();
    await servers.kafka.signal("SIGKILL");
    await servers.postgres.signal("SIGKILL");
  }
}

/** How long Storm may take to forget a topology and to end its processes, in milliseconds. */
const endsWithinMs = 120_000;
/** How long Storm may take to start its processes, in milliseconds. */
const startsWithinMs = 300_000;

/** The kinds of processes of a topology. */
export const kinds = {
  "kill a worker's Java": /daemon\.worker\.Worker/,
  "kill a hub": /main\.mjs hub$/,
  "kill a worker bolt": /main\.mjs worker$/,
  "kill the coordinator": /main\.mjs coordinator$/,
  "kill the bolt of answers": /main\.mjs nb$/,
} as const;

/** Where a topology keeps what it keeps, and what it is given. */
export type TopologyConfig = Omit<StormConfig, "brokers" | "security" | "databaseUrl">;

/** A topology on a real Storm. */
export class Topology {
  readonly nimbus: Nimbus;
  readonly #name: string;
  readonly #servers: StormServers;
  readonly #workers: number;

  /** `workers`: how many processes of Java it has. */
  constructor(name: string, servers: StormServers, workers: number) {
    this.#name = name;
    this.#servers = servers;
    this.#workers = workers;
    this.nimbus = new Nimbus({ port: servers.storm.ports.nimbus });
  }

  /** Submits the application of a module. */
  async submit(
    config: TopologyConfig,
    module: string,
    open: (config: StormConfig) => StormApp,
  ): Promise<void> {
    const { kafka, postgres, storm, brokers = kafka.brokers } = this.#servers;
    const security = stormSecurity();
    const whole: StormConfig = {
      ...config,
      brokers,
      databaseUrl: postgres.url,
      ...(security === undefined ? {} : { security }),
    };
    const topology = stormTopology({
      name: this.#name,
      config: whole,
      app: open(whole),
      nodeFolder: dirname(process.execPath),
      workers: this.#workers,
    });
    const main = await bundleApp(module);
    submit(storm, { flux: topology.flux(), jar: topologyJar({ "main.mjs": main }) });
  }

  async isRunning(): Promise<boolean> {
    return (await this.nimbus.topologies()).some((one) => one.name === this.#name);
  }

  /** Kills the topology, and waits until none of its processes is left. */
  async undeploy(): Promise<void> {
    if (await this.isRunning()) await this.nimbus.kill(this.#name);
    for (const until = performance.now() + endsWithinMs; performance.now() < until; await sleep(100))
      if (!(await this.isRunning()) && this.#pids(/./).length === 0) return;
    throw new Error(`the topology ${this.#name} has not ended within ${endsWithinMs / 1000} s`);
  }

  /** Kills the topology, and returns as soon as another one may have its name: its processes may still run. */
  async leave(): Promise<void> {
    await this.nimbus.kill(this.#name);
    while (await this.isRunning()) await sleep(100);
  }

  /** Kills one process of a kind. After a fault, Storm may still be starting them. */
  async kill(mark: RegExp, random: () => number): Promise<void> {
    for (const until = performance.now() + startsWithinMs; performance.now() < until; await sleep(100)) {
      const pids = this.#pids(mark);
      const pid = pids[Math.floor(random() * pids.length)];
      if (pid !== undefined) return void process.kill(pid, "SIGKILL");
    }
    throw new Error(`no process of the topology is ${mark}`);
  }

  /** The processes of the topology. */
  #pids(mark: RegExp): number[] {
    const all = this.#servers.storm.workerPids();
    const java = all.filter(({ command }) => command.includes(`daemon.worker.Worker ${this.#name}-`));
    const ours = new Set(java.map(({ worker }) => worker));
    return all.filter(({ worker, command }) => ours.has(worker) && mark.test(command)).map(({ pid }) => pid);
  }
}

/** A busy machine may need longer for it than one try takes. */
export async function startAgain(start: () => Promise<unknown>): Promise<void> {
  for (const until = performance.now() + endsWithinMs; ;) {
    try {
      return void (await start());
    } catch (error) {
      if (performance.now() > until) throw error;
    }
  }
}
