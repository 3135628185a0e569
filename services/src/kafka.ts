import { WheelworkError } from "@wheelwork/core";
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Certificate } from "./certificates.ts";
import { pidOf, startDaemon, stopDaemon, waitUntil, type Daemon } from "./process.ts";

const kafkaVersion = "4.2.1";
const log4jVersion = "2.25.3";

const jarsIn = (cache: string): string => join(cache, `kafka-${kafkaVersion}`);

const runs = (command: string, ...args: string[]): boolean =>
  spawnSync(command, args, { stdio: "ignore" }).status === 0;

/** Whether a broker can be started here: Java is there, and the jars are in the cache. */
export const kafkaIsInstalled = (cache: string): boolean =>
  existsSync(join(jarsIn(cache), "complete")) && runs("java", "-version");

/**
 * Gets the broker's jars through Maven, whose own settings say where from.
 * @throws WheelworkError WW_CONFIG when Java or Maven are missing, or the jars cannot be had.
 */
export function installKafka(cache: string): void {
  if (kafkaIsInstalled(cache)) return;
  for (const [command, flag, name] of [
    ["java", "-version", "openjdk-17-jre-headless"],
    ["mvn", "-v", "maven"],
  ] as const) {
    if (runs(command, flag)) continue;
    throw new WheelworkError("WW_CONFIG", `Kafka needs the program ${command}, which is not installed`, {
      next: `Install it (on Debian: apt-get install ${name}), or set KAFKA_BROKERS to brokers that run already.`,
    });
  }
  const jars = jarsIn(cache);
  const project = `${jars}.new`;
  rmSync(project, { recursive: true, force: true });
  mkdirSync(project, { recursive: true });
  const dependency = (group: string, artifact: string, version: string): string =>
    `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version></dependency>`;
  const pom = join(project, "pom.xml");
  writeFileSync(
    pom,
    `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>wheelwork</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging><dependencies>
${dependency("org.apache.kafka", "kafka_2.13", kafkaVersion)}
${dependency("org.apache.logging.log4j", "log4j-core", log4jVersion)}
${dependency("org.apache.logging.log4j", "log4j-slf4j-impl", log4jVersion)}
</dependencies></project>\n`,
  );
  try {
    execFileSync(
      "mvn",
      [
        "-q",
        "-B",
        "-f",
        pom,
        "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies",
        "-DincludeScope=runtime",
        `-DoutputDirectory=${project}`,
      ],
      { stdio: ["ignore", "ignore", "inherit"], timeout: 600_000 },
    );
  } catch (error) {
    throw new WheelworkError("WW_CONFIG", `Maven could not get Kafka ${kafkaVersion}`, {
      next: "What it printed above says why; it is tried again at the next start.",
      cause: error,
    });
  }
  writeFileSync(join(project, "complete"), `${readdirSync(project).length}\n`);
  rmSync(jars, { recursive: true, force: true });
  renameSync(project, jars);
}

/** A second way to the broker, through something else that listens at `wire` and passes on to `port`. */
interface Behind {
  readonly port: number;
  readonly wire: number;
}

/**
 * A second listener, over TLS: whoever comes through it names itself, by PLAIN or SCRAM-SHA-512, and may do what access
 * control lists say. At the first one everybody may do everything.
 */
export interface SecureListener {
  readonly port: number;
  readonly certificate: Certificate;
  /** The passwords of the users, by their names. */
  readonly users: Readonly<Record<string, string>>;
  /** Those of them who may do everything. */
  readonly administrators?: readonly string[];
  /** The authority, as a PEM file, that must have signed a certificate of whoever comes. */
  readonly clientCa?: string;
}

/** A broker with its own folder: one process, KRaft, on loopback. */
export class KafkaBroker {
  readonly port: number;
  readonly #folder: string;
  readonly #cache: string;
  readonly #daemon: Daemon;
  readonly #secure: SecureListener | undefined;
  #controllerPort: number | undefined = undefined;
  #behind: Behind | undefined = undefined;

  constructor(folder: string, port: number, cache: string, secure?: SecureListener) {
    this.port = port;
    this.#secure = secure;
    this.#folder = folder;
    this.#cache = cache;
    this.#daemon = {
      name: "Kafka",
      pidFile: join(folder, "kafka.pid"),
      logFile: join(folder, "kafka.log"),
      port,
      mark: join(folder, "server.properties"),
    };
  }

  get brokers(): string {
    return `127.0.0.1:${this.port}`;
  }

  get pid(): number | undefined {
    return pidOf(this.#daemon);
  }

  /**
   * Starts it, unless it runs, and waits until it takes requests. `controllerPort` is any other free port; both arguments are
   * remembered for the next start.
   */
  async start(
    controllerPort: number = this.#controllerPort ?? this.port + 1,
    behind: Behind | undefined = this.#behind,
  ): Promise<void> {
    this.#controllerPort = controllerPort;
    this.#behind = behind;
    if (this.pid !== undefined) return;
    const data = join(this.#folder, "data");
    mkdirSync(data, { recursive: true });
    const properties = join(this.#folder, "server.properties");
    const secure = this.#secure;
    const at = (port: number, wirePort: number): string =>
      [`PLAINTEXT://127.0.0.1:${port}`, `CONTROLLER://127.0.0.1:${controllerPort}`]
        .concat(behind === undefined ? [] : [`WIRE://127.0.0.1:${wirePort}`])
        .concat(secure === undefined ? [] : [`SECURE://127.0.0.1:${secure.port}`])
        .join();
    const [listeners, advertised] = [at(this.port, behind?.port ?? 0), at(this.port, behind?.wire ?? 0)];
    const more = secure === undefined ? "" : secureSettings(secure, this.#folder);
    writeFileSync(properties, settings(listeners, advertised, controllerPort, data) + more);
    writeFileSync(join(this.#folder, "log4j2.xml"), logging);
    const classpath = `${this.#folder}:${jarsIn(this.#cache)}/*`;
    if (!existsSync(join(data, "meta.properties"))) {
      // Not one that begins with a dash, which would be read as an option.
      const id = `w${randomBytes(16).toString("base64url").slice(1)}`;
      const users = Object.entries(secure?.users ?? {}).flatMap(([name, password]) => [
        "--add-scram",
        `SCRAM-SHA-512=[name=${name},password=${password}]`,
      ]);
      const format = [
        "kafka.tools.StorageTool",
        "format",
        "--standalone",
        "-t",
        id,
        "-c",
        properties,
        ...users,
      ];
      execFileSync("java", ["-XX:TieredStopAtLevel=1", "-cp", classpath, ...format], { stdio: "ignore" });
    }
    const java = [
      "-Xms256m",
      "-Xmx512m",
      "-XX:+UseG1GC",
      "-cp",
      classpath,
      "kafka.Kafka",
      properties,
    ] as const;
    await startDaemon(this.#daemon, ["java", ...java], { withinMs: 120_000 });
  }

  stop(): Promise<boolean> {
    return stopDaemon(this.#daemon);
  }

  /** Sends a signal to the process; SIGKILL waits for its end. */
  async signal(signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): Promise<void> {
    const { pid } = this;
    if (pid === undefined) return;
    process.kill(pid, signal);
    if (signal === "SIGKILL") await waitUntil(() => this.pid === undefined, 60_000);
  }
}

const settings = (
  listeners: string,
  advertised: string,
  controllerPort: number,
  data: string,
): string => `process.roles=broker,controller
node.id=1
listeners=${listeners}
advertised.listeners=${advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,WIRE:PLAINTEXT,SECURE:SASL_SSL
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
controller.quorum.bootstrap.servers=127.0.0.1:${controllerPort}
log.dirs=${data}
num.partitions=4
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
`;

function secureSettings(
  { certificate, users, administrators = [], clientCa }: SecureListener,
  folder: string,
): string {
  const store = join(folder, "server.pem");
  writeFileSync(store, readFileSync(certificate.key, "utf8") + readFileSync(certificate.cert, "utf8"), {
    mode: 0o600,
  });
  const modules = "org.apache.kafka.common.security";
  const passwords = Object.entries(users).map(([name, password]) => ` user_${name}="${password}"`);
  return `listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=${store}
listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=${modules}.plain.PlainLoginModule required${passwords.join("")};
listener.name.secure.scram-sha-512.sasl.jaas.config=${modules}.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=${["ANONYMOUS", ...administrators].map((name) => `User:${name}`).join(";")}
${clientCa === undefined ? "" : clientSettings(clientCa)}`;
}

const clientSettings = (ca: string): string => `listener.name.secure.ssl.client.auth=required
listener.name.secure.ssl.truststore.type=PEM
listener.name.secure.ssl.truststore.location=${ca}
`;

const logging = `<Configuration status="WARN"><Appenders><Console name="c"><PatternLayout pattern="%d{ISO8601} %p %c{1} %m%n"/></Console></Appenders>
<Loggers><Root level="WARN"><AppenderRef ref="c"/></Root></Loggers></Configuration>
`;
