import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { localKafka, localPostgres, runForeground, type Program } from "@wheelwork/services";
import { consoleLogger, WheelworkError, type LoggerOptions } from "wheelwork";
import { explain } from "../explain.ts";
import { namesIn } from "../http.ts";
import { networkArgs, networkFlags, networkOf, networkUsage, type RealNetwork } from "../network-options.ts";
import { flowTopics } from "../topics.ts";
import { startApi } from "./api.ts";
import { Children } from "./children.ts";
import { startFloodlight } from "./floodlight.ts";
import { startNorthbound } from "./northbound.ts";
import { clusterInbox, startNode, type ClusterPlace, type Part } from "./parts.ts";

const usage = `Usage: npm run cluster -- [options]

Runs flow-crud on Kafka and PostgreSQL: nodes, Northbound and Floodlight, each in its own process.

  --nodes N          how many nodes                            (2)
  --without PARTS    does not start these: northbound, floodlight, with commas between them
  --only PART        runs one part, in this process: node, northbound, floodlight, or api, which serves flows over HTTP at
                     --port, and does no work
  --name NAME        the name of the node, with --only node    (host and process)
  --shards N         fixed when the store is created           (SHARDS, 8)
  --brokers LIST     host:port, with commas                    (KAFKA_BROKERS, 127.0.0.1:9092)
  --database URL     of PostgreSQL                             (DATABASE_URL)
  --topic-prefix TEXT   the names of the topics begin with it  (none: the names of the original proof of concept)
  --port N, --host H where Northbound listens                  (8088, 127.0.0.1)
  --api-port N       node 1 serves flows over HTTP at this port, node 2 at the next one, and so on: see docs/flows.md
  --network-port N   Floodlight cuts links of the simulated network here: npm run network -- cut 2-3 --url http://127.0.0.1:N
  --metrics-port N   node 1 shows /metrics at this port, node 2 at the next one, and so on
  --tokens FILE      who may do what, over HTTP                (WHEELWORK_TOKENS)
  --insecure         takes requests over HTTP from other machines, without asking who sends them
  --allowed-hosts LIST  names of the servers besides loopback, with commas  (ALLOWED_HOSTS)
  --data DIR         of the switches, for Floodlight           (WHEELWORK_DATA, .wheelwork/cluster)
  --flow-schema NAME of the store of flows in the database     (flow_controller)
  --inbox TOPIC, --schema NAME   of the shards, with --only api   (${clusterInbox}, wheelwork)
${networkUsage}
  --rebuild-rules    with --only floodlight: makes rules.db, and the books of POST /flow, anew of what is in the database
  --session-timeout MS  after this silence a node counts as dead  (6000)
  --stop-within MS   how long a part may take to stop          (15000)
  --deadline MS, --worker-timeout MS  of flow-create           (500, 100)
  --log LEVEL        debug, info, warn, error or silent        (warn)

TLS and SASL of Kafka: KAFKA_TLS, KAFKA_CA, KAFKA_CERT, KAFKA_KEY, KAFKA_USERNAME, KAFKA_PASSWORD, KAFKA_SASL; see docs/cluster.md.
Kafka and PostgreSQL: npm run services -- start
`;

const text = { type: "string" } as const;
const parts = ["node", "northbound", "floodlight", "api"] as const;
type PartName = (typeof parts)[number];

function readOptions() {
  const { values } = parseArgs({
    options: {
      nodes: text,
      without: text,
      only: text,
      name: text,
      shards: text,
      brokers: text,
      database: text,
      port: text,
      host: text,
      "allowed-hosts": text,
      data: text,
      log: text,
      "session-timeout": text,
      "stop-within": text,
      "topic-prefix": text,
      deadline: text,
      "worker-timeout": text,
      tokens: text,
      "metrics-port": text,
      "api-port": text,
      "network-port": text,
      "flow-schema": text,
      inbox: text,
      schema: text,
      ...networkFlags,
      insecure: { type: "boolean" },
      "rebuild-rules": { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  const { env } = process;
  const problems: string[] = [];
  const integer = (
    name: string,
    given: string | undefined,
    otherwise: number,
    least: number,
    most: number,
  ): number => {
    const value = given === undefined ? otherwise : Number(given);
    if (Number.isInteger(value) && value >= least && value <= most && given?.trim() !== "") return value;
    problems.push(`${name} must be an integer from ${least} to ${most}, not ${JSON.stringify(given)}`);
    return otherwise;
  };
  const level = values.log ?? "warn";
  if (!["debug", "info", "warn", "error", "silent"].includes(level))
    problems.push(`--log must be debug, info, warn, error or silent, not ${JSON.stringify(level)}`);
  const without = (values.without ?? "").split(",").filter((part) => part !== "");
  for (const part of without) {
    if (part !== "northbound" && part !== "floodlight")
      problems.push(`--without knows northbound and floodlight, not ${part}`);
  }
  const { only } = values;
  if (only !== undefined && !parts.includes(only as never))
    problems.push(`--only must be ${parts.join(", ")}, not ${only}`);
  const rebuildRules = values["rebuild-rules"] === true;
  if (rebuildRules && only !== "floodlight") problems.push("--rebuild-rules needs --only floodlight");
  const network = (): RealNetwork | undefined => {
    try {
      return networkOf(values, { insecure: values.insecure === true });
    } catch (error) {
      problems.push((error as Error).message);
      return undefined;
    }
  };
  /** A port that is optional. 0: any that is free. */
  const portIn = (name: "metrics-port" | "api-port" | "network-port"): number | undefined =>
    values[name] === undefined ? undefined : integer(`--${name}`, values[name], 0, 0, 65_000);
  const schemaIn = (name: "flow-schema" | "schema"): string | undefined => {
    const schema = values[name];
    if (schema === undefined || /^[a-z_][a-z0-9_]{0,62}$/.test(schema)) return schema;
    problems.push(
      `--${name} must be a name of lower-case letters, digits and _, not ${JSON.stringify(schema)}`,
    );
    return undefined;
  };
  const databaseUrl = values.database ?? env["DATABASE_URL"] ?? localPostgres().url;
  const options = {
    help: values.help === true,
    nodes: integer("--nodes", values.nodes, 2, 0, 100),
    without,
    only: only as PartName | undefined,
    name: values.name,
    shards: integer("--shards", values.shards ?? env["SHARDS"], 8, 1, 1024),
    brokers: values.brokers ?? env["KAFKA_BROKERS"] ?? localKafka().brokers,
    topicPrefix: values["topic-prefix"] ?? "",
    databaseUrl,
    port: integer("--port", values.port ?? env["PORT"], 8088, 0, 65_535),
    host: values.host ?? env["HOST"] ?? "127.0.0.1",
    metricsPort: portIn("metrics-port"),
    apiPort: portIn("api-port"),
    networkPort: portIn("network-port"),
    flowSchema: schemaIn("flow-schema"),
    schema: schemaIn("schema"),
    inbox: values.inbox ?? clusterInbox,
    network: network(),
    rebuildRules,
    networkArgs: networkArgs(values),
    insecure: values.insecure === true,
    tokens: values.tokens ?? env["WHEELWORK_TOKENS"],
    allowedHosts: values["allowed-hosts"] ?? env["ALLOWED_HOSTS"] ?? "",
    dataDir: resolve(values.data ?? env["WHEELWORK_DATA"] ?? ".wheelwork/cluster"),
    sessionTimeoutMs: integer("--session-timeout", values["session-timeout"], 6000, 1000, 300_000),
    stopWithinMs: integer("--stop-within", values["stop-within"], 15_000, 1, 3_600_000),
    deadlineMs: integer("--deadline", values.deadline, 500, 1, 86_400_000),
    workerTimeoutMs: integer("--worker-timeout", values["worker-timeout"], 100, 1, 3_600_000),
    level: level as NonNullable<LoggerOptions["level"]>,
  };
  if (problems.length > 0) throw new RangeError(problems.join("\n"));
  return options;
}

type Options = ReturnType<typeof readOptions>;

/** How much longer than its parts the process that looks after them may take to stop, in milliseconds. */
const killMs = 2_000;

async function main(): Promise<void> {
  const options = readOptions();
  if (options.help) return void process.stdout.write(usage);
  const { only, stopWithinMs } = options;
  if (only !== undefined)
    return runForeground(onePart(options, only), { script: "cluster", stopWithinMs, fail });
  // The parts give up before they are killed, and are killed before this process gives up.
  const withinMs = stopWithinMs + 2 * killMs;
  return runForeground(allParts(options), { script: "cluster", stopWithinMs: withinMs, fail });
}

/** A part in this process. */
function onePart(options: Options, only: PartName): Program {
  let part: Part | undefined;
  return {
    start: async () => {
      part = await startOne(options, only);
    },
    close: async () => part?.close(),
  };
}

async function startOne(options: Options, only: PartName): Promise<Part> {
  const { brokers, databaseUrl, flowSchema, shards, dataDir, level, port, host } = options;
  const name = options.name ?? `${only}-${process.pid}`;
  const logger = consoleLogger({ level, name });
  const topics = flowTopics(options.topicPrefix);
  const place: ClusterPlace = {
    brokers,
    databaseUrl,
    shards,
    topics,
    logger,
    ...(flowSchema === undefined ? {} : { flowSchema }),
  };
  const server = {
    host,
    insecure: options.insecure,
    ...(options.tokens === undefined ? {} : { access: { tokens: resolve(options.tokens) } }),
    logger,
    allowedHosts: namesIn(options.allowedHosts),
  };
  switch (only) {
    case "node": {
      const { sessionTimeoutMs, deadlineMs, workerTimeoutMs } = options;
      const flow = { workerTimeoutMs, ...(deadlineMs === 500 ? {} : { deadlineMs }) };
      // What was deleted before it was read is logged, and the node goes on.
      const onFailure = (error: Error): void => {
        if (!(error instanceof WheelworkError && error.code === "WW_LOG_LOST")) fail(error);
      };
      const { metricsPort, apiPort } = options;
      const node = await startNode(place, {
        name,
        sessionTimeoutMs,
        flow,
        onFailure,
        ...(metricsPort === undefined ? {} : { metricsPort }),
        ...(apiPort === undefined ? {} : { api: { ...server, port: apiPort } }),
      });
      const places = [node.url, node.figures].filter((place) => place !== undefined);
      ready(["node", name, ...places].join(" "));
      return node;
    }
    case "northbound": {
      const northbound = await startNorthbound(place, { ...server, port });
      ready(`northbound ${northbound.url}`);
      return northbound;
    }
    case "api": {
      const { inbox, schema } = options;
      const api = { ...server, port };
      const part = await startApi(place, { inbox, api, ...(schema === undefined ? {} : { schema }) });
      ready(`api ${part.url}`);
      return part;
    }
    case "floodlight": {
      const { network, networkPort, rebuildRules } = options;
      const floodlight = await startFloodlight(place, dataDir, {
        rebuildRules,
        onFailure: fail,
        ...(network === undefined ? {} : { network }),
        ...(networkPort === undefined ? {} : { control: { ...server, port: networkPort } }),
      });
      ready(["floodlight", ...(floodlight.url === undefined ? [] : [floodlight.url])].join(" "));
      return floodlight;
    }
  }
}

const ready = (what: string): void => void process.stdout.write(`ready: ${what}\n`);

/** Each part in its own process, which is started again when it dies. */
function allParts(options: Options): Program {
  const children = new Children({
    stopWithinMs: options.stopWithinMs + killMs,
    onFailure: (name, code) => {
      process.stderr.write(`${name} has ended with the code ${code}; the others are stopped\n`);
      children.close().then(() => process.exit(1), fail);
    },
  });
  const flags = {
    brokers: options.brokers,
    database: options.databaseUrl,
    shards: options.shards,
    data: options.dataDir,
    log: options.level,
    port: options.port,
    host: options.host,
    "allowed-hosts": options.allowedHosts,
    "session-timeout": options.sessionTimeoutMs,
    deadline: options.deadlineMs,
    "worker-timeout": options.workerTimeoutMs,
    "stop-within": options.stopWithinMs,
    "topic-prefix": options.topicPrefix,
  };
  const args = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, `${value}`]);
  if (options.insecure) args.push("--insecure");
  args.push(...options.networkArgs);
  if (options.tokens !== undefined) args.push("--tokens", options.tokens);
  if (options.flowSchema !== undefined) args.push("--flow-schema", options.flowSchema);
  const program = [process.execPath, ...process.execArgv, fileURLToPath(import.meta.url)] as const;
  const wanted = [
    ...Array.from({ length: options.nodes }, (_, index) => ["node", `node-${index + 1}`] as const),
    ...(["floodlight", "northbound"] as const)
      .filter((part) => !options.without.includes(part))
      .map((part) => [part, part] as const),
  ];
  const start = async (): Promise<void> => {
    /** The ports that are of one part alone. Those of the nodes follow one another. */
    const portsOf = (name: string): string[] => {
      const { networkPort } = options;
      if (name === "floodlight") return networkPort === undefined ? [] : ["--network-port", `${networkPort}`];
      const index = Number(/^node-(\d+)$/.exec(name)?.[1] ?? 0);
      if (index === 0) return [];
      const ports = { "--metrics-port": options.metricsPort, "--api-port": options.apiPort };
      return Object.entries(ports).flatMap(([flag, port]) =>
        port === undefined ? [] : [flag, `${port === 0 ? 0 : port + index - 1}`],
      );
    };
    const startPart = ([only, name]: (typeof wanted)[number]): Promise<string> =>
      children.start(name, [...program, "--only", only, "--name", name, ...args, ...portsOf(name)]);
    // The first creates topics and tables; the others find them.
    const [first, ...others] = wanted;
    const lines = first === undefined ? [] : [await startPart(first)];
    lines.push(...(await Promise.all(others.map(startPart))));
    process.stdout.write(
      [
        "",
        "  Wheelwork: flow-crud is running on Kafka and PostgreSQL",
        "",
        ...lines.map((line) => `  ${line}`),
        `  brokers ${options.brokers}, ${options.shards} shards`,
        "",
        `  Try: curl -d '{"flowid": "test-01", "length": 10}' http://127.0.0.1:${options.port}/flow     Stop: Ctrl+C`,
        "",
        "",
      ].join("\n"),
    );
  };
  return { start, close: () => children.close(), kill: () => children.kill() };
}

function fail(error: unknown): never {
  process.stderr.write(`${explain(error)}\n`);
  process.exit(1);
}

try {
  await main();
} catch (error) {
  fail(error);
}
