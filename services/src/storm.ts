import { WheelworkError } from "@wheelwork/core";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pidOf, startDaemon, stopDaemon, waitUntil, type Daemon } from "./process.ts";

const stormVersion = process.env["STORM_VERSION"] ?? "2.8.3";
const kafkaVersion = "4.2.1";

const homeIn = (cache: string): string => join(cache, `storm-${stormVersion}`);

/** The jars that a topology needs and Storm does not have. */
const stormJars = (cache: string): string => join(homeIn(cache), "topology");

/** Whether Storm can be started here: Java is there, and the jars are in the cache. */
export const stormIsInstalled = (cache: string): boolean =>
  existsSync(join(homeIn(cache), "complete")) &&
  spawnSync("java", ["-version"], { stdio: "ignore" }).status === 0;

interface Dependency {
  readonly group: string;
  readonly artifact: string;
  readonly version: string;
  readonly exclude?: readonly string[];
}

const storm = (artifact: string, exclude?: readonly string[]): Dependency => ({
  group: "org.apache.storm",
  artifact,
  version: stormVersion,
  ...(exclude === undefined ? {} : { exclude }),
});

/**
 * Gets Storm's jars through Maven, in the folders of its distribution.
 * @throws WheelworkError WW_CONFIG when Java or Maven is missing, or Maven cannot get the jars.
 */
export function installStorm(cache: string): void {
  if (stormIsInstalled(cache)) return;
  for (const [command, flag, name] of [
    ["java", "-version", "openjdk-17-jre-headless"],
    ["mvn", "-v", "maven"],
  ] as const) {
    if (spawnSync(command, [flag], { stdio: "ignore" }).status === 0) continue;
    throw new WheelworkError("WW_CONFIG", `Storm needs the program ${command}, which is not installed`, {
      next: `Install it (on Debian: apt-get install ${name}).`,
    });
  }
  const home = homeIn(cache);
  const project = `${home}.new`;
  rmSync(project, { recursive: true, force: true });
  // Some mirrors do not have the parent pom of Flux. Nothing in it is needed.
  const stub = join(project, "stub", "org/apache/storm/flux", stormVersion);
  mkdirSync(stub, { recursive: true });
  writeFileSync(
    join(stub, `flux-${stormVersion}.pom`),
    `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>org.apache.storm</groupId><artifactId>flux</artifactId><version>${stormVersion}</version><packaging>pom</packaging></project>\n`,
  );
  try {
    closure(project, "lib", [storm("storm-core", ["storm-clojure", "slf4j-reload4j", "reload4j"])]);
    closure(project, "lib-worker", [storm("storm-client")]);
    closure(project, "topology", [
      storm("storm-kafka-client"),
      storm("flux-core"),
      storm("flux-wrappers"),
      { group: "org.apache.kafka", artifact: "kafka-clients", version: kafkaVersion, exclude: ["slf4j-api"] },
    ]);
  } catch (error) {
    throw new WheelworkError("WW_CONFIG", `Maven could not get Storm ${stormVersion}`, {
      next: "What it printed above says why; it is tried again at the next start.",
      cause: error,
    });
  }
  // Annotations for compilers, and multilang clients of other languages.
  const needless = /^(?:multilang-|j2objc|error_prone|jspecify|listenablefuture)/;
  for (const name of readdirSync(join(project, "topology")))
    if (needless.test(name)) rmSync(join(project, "topology", name));
  writeFileSync(join(project, "complete"), "");
  rmSync(home, { recursive: true, force: true });
  renameSync(project, home);
}

/** All jars of the runtime that the artifacts need, in a folder. */
function closure(project: string, folder: string, artifacts: readonly Dependency[]): void {
  const dependencies = artifacts.map(({ group, artifact, version, exclude = [] }) => {
    const exclusions = exclude.map(
      (name) => `<exclusion><groupId>*</groupId><artifactId>${name}</artifactId></exclusion>`,
    );
    return `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version><exclusions>${exclusions.join("")}</exclusions></dependency>`;
  });
  const pom = join(project, `${folder}.xml`);
  writeFileSync(
    pom,
    `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>wheelwork</groupId><artifactId>${folder}</artifactId><version>1</version><packaging>pom</packaging>
<repositories><repository><id>stub</id><url>file://${join(project, "stub")}</url></repository></repositories>
<dependencies>${dependencies.join("\n")}</dependencies></project>\n`,
  );
  const goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";
  const flags = ["-q", "-B", "-f", pom, goal, "-DincludeScope=runtime"];
  execFileSync("mvn", [...flags, `-DoutputDirectory=${join(project, folder)}`], {
    stdio: ["ignore", "ignore", "inherit"],
    timeout: 600_000,
  });
}

/** Ports of a Storm cluster on one machine. */
export interface StormPorts {
  readonly zookeeper: number;
  readonly nimbus: number;
  readonly supervisor: number;
  /** One for each worker that may run. */
  readonly slots: readonly number[];
}

const parts = ["zookeeper", "nimbus", "supervisor"] as const;
type Part = (typeof parts)[number];

const programs = {
  zookeeper: ["org.apache.storm.command.DevZookeeper", "128"],
  nimbus: ["org.apache.storm.daemon.nimbus.Nimbus", "256"],
  supervisor: ["org.apache.storm.daemon.supervisor.Supervisor", "128"],
} as const;

const signs = {
  zookeeper: {},
  nimbus: { sign: "gained leadership" },
  supervisor: { sign: "Found leader nimbus" },
} as const;

/** ZooKeeper, Nimbus and a supervisor for development, with all files in one folder. They listen on all interfaces. */
export class StormCluster {
  readonly ports: StormPorts;
  readonly #folder: string;
  readonly #cache: string;

  constructor(folder: string, ports: StormPorts, cache: string) {
    this.#folder = folder;
    this.ports = ports;
    this.#cache = cache;
  }

  /** A folder like Storm's distribution, with the jars of the cache. */
  get home(): string {
    return join(this.#folder, "home");
  }

  /** The folder of the jars that topologies need and Storm does not have. */
  get jars(): string {
    return stormJars(this.#cache);
  }

  /** Where the workers write their logs. */
  get workerLogs(): string {
    return join(this.home, "logs", "workers-artifacts");
  }

  pid(part: Part): number | undefined {
    return pidOf(this.#daemon(part));
  }

  /** The processes under the supervisor: the Java of the workers, and their components. `worker` names the worker of each. */
  workerPids(): { readonly worker: string; readonly pid: number; readonly command: string }[] {
    const folder = join(this.#folder, "data", "local", "workers");
    const found = new Map<number, { readonly worker: string; readonly command: string }>();
    for (const worker of existsSync(folder) ? readdirSync(folder) : []) {
      const pids = join(folder, worker, "pids");
      for (const pid of existsSync(pids) ? readdirSync(pids) : []) {
        try {
          const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
          found.set(Number(pid), { worker, command });
        } catch {
          // It has ended.
        }
      }
    }
    return Array.from(found, ([pid, { worker, command }]) => ({ worker, pid, command }));
  }

  /** Starts what does not run, and waits until topologies can be submitted. */
  async start(): Promise<void> {
    if (this.pid("nimbus") === undefined && this.pid("supervisor") === undefined) this.#prepare();
    for (const part of parts) await this.startPart(part);
    // `wheelwork storm` looks here for the Nimbus of this machine.
    const state = { nimbus: `127.0.0.1:${this.ports.nimbus}`, home: this.home, jars: this.jars };
    writeFileSync(this.#stateFile, `${JSON.stringify(state, undefined, 2)}\n`);
  }

  async startPart(part: Part): Promise<void> {
    if (this.pid(part) !== undefined) return;
    const [main, heap] = programs[part];
    const { home } = this;
    const java = [
      "-server",
      `-Xmx${heap}m`,
      "-XX:+UseSerialGC",
      `-Ddaemon.name=${part}`,
      "-Dstorm.options=",
      `-Dstorm.home=${home}`,
      `-Dstorm.log.dir=${join(home, "logs")}`,
      "-Djava.library.path=/usr/lib",
      "-Dstorm.conf.file=",
      `-Dlog4j.configurationFile=${join(home, "log4j2", "cluster.xml")}`,
      "-cp",
      [join(home, "lib", "*"), join(home, "extlib-daemon", "*"), join(home, "conf")].join(":"),
      main,
    ];
    await startDaemon(this.#daemon(part), ["java", ...java], { withinMs: 180_000 });
  }

  /** Stops everything, also the workers, which a supervisor leaves running. Whether anything ran. */
  async stop(): Promise<boolean> {
    let ran = false;
    rmSync(this.#stateFile, { force: true });
    for (const part of parts.toReversed()) {
      ran = (await stopDaemon(this.#daemon(part))) || ran;
      if (part !== "supervisor") continue;
      for (const { pid } of this.workerPids()) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // It has ended.
        }
      }
    }
    return ran;
  }

  async signal(part: Part, signal: "SIGKILL"): Promise<void> {
    const pid = this.pid(part);
    if (pid === undefined) return;
    process.kill(pid, signal);
    await waitUntil(() => this.pid(part) === undefined, 60_000);
  }

  /** This file says where Nimbus is, as long as it runs. */
  get #stateFile(): string {
    return join(this.#folder, "nimbus.json");
  }

  #daemon(part: Part): Daemon {
    const logs = join(this.home, "logs");
    return {
      name: `Storm's ${part}`,
      pidFile: join(this.#folder, `${part}.pid`),
      logFile: join(logs, `${part}.log`),
      port: this.ports[part],
      ...signs[part],
      mark: `-Ddaemon.name=${part}`,
    };
  }

  /** The development ZooKeeper forgets everything when it starts. So the other data are deleted, too. */
  #prepare(): void {
    const { home, ports } = this;
    rmSync(this.#folder, { recursive: true, force: true });
    for (const folder of ["conf", "log4j2", "extlib", "extlib-daemon", "logs"])
      mkdirSync(join(home, folder), { recursive: true });
    const data = join(this.#folder, "data");
    mkdirSync(data);
    for (const folder of ["lib", "lib-worker"])
      execFileSync("ln", ["-s", join(homeIn(this.#cache), folder), join(home, folder)]);
    const settings = {
      "storm.zookeeper.servers": ["127.0.0.1"],
      "storm.zookeeper.port": ports.zookeeper,
      "dev.zookeeper.path": join(data, "zookeeper"),
      "nimbus.seeds": ["127.0.0.1"],
      "nimbus.thrift.port": ports.nimbus,
      "storm.local.hostname": "127.0.0.1",
      "storm.local.dir": join(data, "local"),
      "storm.workers.artifacts.dir": this.workerLogs,
      "storm.log4j2.conf.dir": join(home, "log4j2"),
      "supervisor.thrift.port": ports.supervisor,
      "supervisor.slots.ports": ports.slots,
      "worker.childopts": "-Xmx512m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError",
      "topology.worker.logwriter.childopts": "-Xmx32m -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
      "nimbus.monitor.freq.secs": 1,
      "supervisor.monitor.frequency.secs": 1,
      "worker.profiler.enabled": false,
      // How often Nimbus gets the numbers of tuples.
      "executor.metrics.frequency.secs": 3,
    };
    const lines = Object.entries(settings).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
    writeFileSync(join(home, "conf", "storm.yaml"), `${lines.join("\n")}\n`);
    writeFileSync(join(home, "log4j2", "cluster.xml"), daemonLogging);
    writeFileSync(join(home, "log4j2", "worker.xml"), workerLogging);
  }
}

const pattern = "%d{HH:mm:ss.SSS} %c{1.} %t [%p] %msg%n";

const daemonLogging = `<Configuration status="WARN"><Appenders><Console name="c"><PatternLayout pattern="${pattern}"/></Console></Appenders>
<Loggers><Root level="info"><AppenderRef ref="c"/></Root></Loggers></Configuration>
`;

const rolling = (name: string, suffix: string, layout: string): string =>
  `<RollingFile name="${name}" fileName="\${b}${suffix}" filePattern="\${b}${suffix}.%i.gz"><PatternLayout pattern="${layout}"/><SizeBasedTriggeringPolicy size="20 MB"/><DefaultRolloverStrategy max="3"/></RollingFile>`;

const workerLogging = `<Configuration status="WARN" shutdownHook="disable"><Properties><Property name="b">\${sys:workers.artifacts}/\${sys:storm.id}/\${sys:worker.port}/\${sys:logfile.name}</Property></Properties>
<Appenders>${rolling("A1", "", pattern)}${rolling("STDOUT", ".out", "%msg%n")}${rolling("STDERR", ".err", "%msg%n")}</Appenders>
<Loggers><Root level="info"><AppenderRef ref="A1"/></Root>
<Logger name="STDERR" level="INFO"><AppenderRef ref="STDERR"/></Logger><Logger name="STDOUT" level="INFO"><AppenderRef ref="STDOUT"/></Logger></Loggers></Configuration>
`;
