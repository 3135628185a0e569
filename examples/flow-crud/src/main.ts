import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { runForeground, type Program } from "@wheelwork/services";
import { consoleLogger, createMetrics, type LoggerOptions } from "wheelwork";
import { openFlowCrud } from "./application.ts";
import { explain } from "./explain.ts";
import { seeded } from "./floodlight/faults.ts";
import { networkFlags, networkOf, networkUsage, switchesIn, type RealNetwork } from "./network-options.ts";
import { namesIn, serveFlowCrud } from "./http.ts";

const usage = `Usage: npm start -- [options]

  --port N         port to listen on                       (PORT, 8088)
  --host NAME      address to listen on                    (HOST, 127.0.0.1)
  --tokens FILE    who may do what: made by wheelwork token create   (WHEELWORK_TOKENS)
  --tls-cert FILE, --tls-key FILE   speak TLS, with these PEM files
  --insecure       take requests from other machines, without asking who sends them
  --allowed-hosts LIST  names of the server besides loopback, with commas  (ALLOWED_HOSTS)
  --data DIR       folder of the durable files             (WHEELWORK_DATA, .wheelwork)
  --rebuild-rules  makes rules.db, and the books of POST /flow, anew of the flows that are stored, if they are lost or of another time
  --handlers       new requests go to the hub by handlers, not to the chart
  --max-downtime D how many days the clock may be ahead of the last commit at a start (30)
  --log LEVEL      debug, info, warn, error or silent      (warn)

Real switches:
${networkUsage}
  --switches N       the ring has so many                  (8)

What goes wrong between the workers and the simulated switches:
  --latency MS     from a command to its answer            (0)
  --loss P         share of messages that are lost         (0)
  --duplicates P   share of commands that come twice       (0)
  --reorder P      share of messages that are overtaken    (0)
  --table-size N   rules that one switch holds             (no limit)
  --seed N         of the random faults                    (1)
`;

/** How long the process may take to stop, in milliseconds. */
const stopWithinMs = 15_000;

const text = { type: "string" } as const;

function readOptions() {
  const { values } = parseArgs({
    options: {
      port: text,
      host: text,
      "allowed-hosts": text,
      data: text,
      log: text,
      "max-downtime": text,
      latency: text,
      loss: text,
      duplicates: text,
      reorder: text,
      "table-size": text,
      seed: text,
      ...networkFlags,
      switches: text,
      handlers: { type: "boolean" },
      "rebuild-rules": { type: "boolean" },
      tokens: text,
      "tls-cert": text,
      "tls-key": text,
      insecure: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  const { env } = process;
  const number = (name: string, given: string | undefined, most: number, otherwise: number): number => {
    if (given === undefined) return otherwise;
    const value = given.trim() === "" ? Number.NaN : Number(given);
    if (value >= 0 && value <= most) return value;
    throw new RangeError(`${name} must be a number from 0 to ${most}, not ${JSON.stringify(given)}`);
  };
  const port = number("--port", values.port ?? env["PORT"], 65_535, 8088);
  if (!Number.isInteger(port)) throw new RangeError(`--port must be an integer, not ${port}`);
  const level = values.log ?? "warn";
  if (!["debug", "info", "warn", "error", "silent"].includes(level)) {
    throw new RangeError(`--log must be debug, info, warn, error or silent, not ${JSON.stringify(level)}`);
  }
  return {
    help: values.help === true,
    rebuildRules: values["rebuild-rules"] === true,
    style: values.handlers === true ? ("handlers" as const) : ("chart" as const),
    port,
    host: values.host ?? env["HOST"] ?? "127.0.0.1",
    insecure: values.insecure === true,
    tokens: values.tokens ?? env["WHEELWORK_TOKENS"],
    tls: tlsOf(values["tls-cert"], values["tls-key"]),
    allowedHosts: namesIn(values["allowed-hosts"] ?? env["ALLOWED_HOSTS"]),
    dataDir: resolve(values.data ?? env["WHEELWORK_DATA"] ?? ".wheelwork"),
    level: level as NonNullable<LoggerOptions["level"]>,
    maxDowntimeMs: 86_400_000 * number("--max-downtime", values["max-downtime"], 1e6, 30),
    network: networkOf(values, {
      insecure: values.insecure === true,
      ...(values.switches === undefined ? {} : { switches: switchesIn(values.switches) }),
    }),
    floodlight: {
      faults: {
        latencyMs: number("--latency", values.latency, 60_000, 0),
        loss: number("--loss", values.loss, 1, 0),
        duplicates: number("--duplicates", values.duplicates, 1, 0),
        reorder: number("--reorder", values.reorder, 1, 0),
      },
      tableSize: number("--table-size", values["table-size"], 1e9, Number.POSITIVE_INFINITY),
      random: seeded(number("--seed", values.seed, 2 ** 32 - 1, 1)),
    },
  };
}

function tlsOf(cert: string | undefined, key: string | undefined) {
  if (cert === undefined && key === undefined) return undefined;
  if (cert === undefined || key === undefined)
    throw new RangeError("--tls-cert needs --tls-key, and the other way round");
  return { cert, key };
}

function main(): Promise<void> {
  const options = readOptions();
  if (options.help) {
    process.stdout.write(usage);
    return Promise.resolve();
  }
  let running: { close(): Promise<void> } | undefined;
  const program: Program = {
    start: async () => {
      running = await start(options);
    },
    close: async (why) => {
      process.stdout.write(`${why}: stopping; runs that have not ended go on at the next start\n`);
      await running?.close();
    },
  };
  return runForeground(program, { script: "start", stopWithinMs, fail });
}

/** Opens the application and takes requests. */
async function start(options: ReturnType<typeof readOptions>): Promise<{ close(): Promise<void> }> {
  const {
    style,
    rebuildRules,
    port,
    host,
    insecure,
    tokens,
    tls,
    allowedHosts,
    dataDir,
    level,
    floodlight,
    network,
    maxDowntimeMs,
  } = options;
  const logger = consoleLogger({ level, name: "flow-crud" });
  const metrics = createMetrics();
  const system = await openFlowCrud({
    dataDir,
    style,
    rebuildRules,
    floodlight,
    ...(network === undefined ? {} : { network }),
    engine: { logger, maxDowntimeMs, onFailure: fail, observe: metrics.observe },
  });
  const server = await serveFlowCrud(system, {
    logger,
    insecure,
    allowedHosts,
    metrics,
    ...(tokens === undefined ? {} : { access: { tokens } }),
    ...(tls === undefined ? {} : { tls }),
  });
  let url: string;
  try {
    url = await server.listen({ port, host });
  } catch (error) {
    await system.close();
    throw error;
  }
  const answerBy = [...system.engine.hubs.values()].map(({ definition }) => definition.answerBy);
  process.stdout.write(
    [
      "",
      "  Wheelwork: flow-crud is running",
      "",
      `  Northbound   ${url}   (POST /v2/flows, POST /flow, GET /network.svg, GET /openapi.json)`,
      ...(system.network === undefined
        ? []
        : [`  OpenFlow     ${placeOf(network)}   (npm run network, GET /switches/unconfirmed)`]),
      `  data         ${dataDir}`,
      ...answerBy.map((sentence) => `  promise      ${sentence}`),
      "",
      "  Try: npm run requests     Stop: Ctrl+C",
      "",
      "",
    ].join("\n"),
  );
  return {
    close: async () => {
      await server.close();
      await system.close();
    },
  };
}

const placeOf = (network: RealNetwork | undefined): string => {
  const { listen = { path: "" } } = network ?? {};
  return "path" in listen ? listen.path : `${listen.host}:${listen.port}`;
};

function fail(error: unknown): never {
  process.stderr.write(`${explain(error)}\n`);
  process.exit(1);
}

try {
  await main();
} catch (error) {
  fail(error);
}
