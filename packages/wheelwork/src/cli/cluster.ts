import { WheelworkError } from "@wheelwork/core";
import { consoleLogger, createMetrics, serveMetrics } from "@wheelwork/engine";
import { asyncApi, clusterTopics, createNode } from "@wheelwork/engine/cluster";
import { command, wholeNumber, type Command } from "./command.ts";
import { exitCodes } from "./exit-codes.ts";
import { check } from "./inspect.ts";
import { loadModule } from "./module.ts";
import { placeHelp, placeOptions, withPlace, type PlaceValues } from "./place.ts";

interface NodeValues extends PlaceValues {
  readonly name?: string;
  readonly "metrics-port"?: string;
  readonly "metrics-host"?: string;
}

async function runNode(
  { name, "metrics-port": port, "metrics-host": host, ...values }: NodeValues,
  file: string,
): Promise<void> {
  const shownAt = port === undefined ? undefined : wholeNumber("--metrics-port", port, 0, 0);
  const module = await loadModule(file);
  await withPlace(values, async (place) => {
    const { channels = [] } = module;
    await place.log.ensureTopics(clusterTopics({ shards: place.shards, inbox: place.inbox, channels }));
    const logger = consoleLogger({ level: "info", name: name ?? "wheelwork" });
    const { promise: failed, reject } = Promise.withResolvers<never>();
    failed.catch(() => {});
    const metrics = shownAt === undefined ? undefined : createMetrics();
    const node = createNode({
      logger,
      // What was deleted before it was read, or is damaged, is logged. The node goes on with the rest.
      onFailure: (error) => {
        const code = error instanceof WheelworkError ? error.code : undefined;
        if (code !== "WW_LOG_LOST" && code !== "WW_STORE_CORRUPT") reject(error);
      },
      ...module,
      ...(metrics === undefined
        ? {}
        : {
            observe: (event) => {
              metrics.observe(event);
              module.observe?.(event);
            },
          }),
      shards: place.shards,
      inbox: place.inbox,
      store: place.store,
      log: place.log,
      ...(name === undefined ? {} : { name }),
    });
    const ended = new Promise<void>((end) => {
      for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => end());
    });
    // Before the node takes part: a port that is taken must not cost it its place again.
    const server =
      metrics === undefined || shownAt === undefined
        ? undefined
        : await serveMetrics(node, metrics, { port: shownAt, ...(host === undefined ? {} : { host }) });
    try {
      await node.start();
      const figures = server === undefined ? "" : `figures: ${server.url}/metrics\n`;
      process.stdout.write(`ready: the node runs on ${place.brokers}\n${figures}`);
      try {
        await Promise.race([ended, failed]);
      } finally {
        await node.stop();
      }
    } finally {
      await server?.close();
    }
  });
}

/** The commands that look at the servers of a cluster, and the one that runs a node. */
export const clusterCommands: readonly Command[] = [
  command({
    name: "node",
    about: "Runs a node: the module's default export has the hubs, the workers and, if any, the channels.",
    more: placeHelp,
    takes: "MODULE",
    options: {
      name: { type: "string", value: "NAME", about: "of the node, for logs" },
      "metrics-port": {
        type: "string",
        value: "N",
        about: "shows /metrics, /health and /ready there, and nothing else (not shown; 0 takes any)",
      },
      "metrics-host": { type: "string", value: "HOST", about: "the address for it (127.0.0.1)" },
      ...placeOptions,
    },
    run: ({ values, positionals: [module = ""] }) => runNode(values, module),
  }),
  command({
    name: "asyncapi",
    about: "Prints the AsyncAPI document of the topics of a module.",
    takes: "MODULE",
    options: { shards: placeOptions.shards, inbox: placeOptions.inbox },
    run: async ({ values: { shards, inbox }, positionals: [module = ""] }) => {
      const { channels = [] } = await loadModule(module);
      const many = wholeNumber("--shards", shards ?? process.env["SHARDS"], 8, 1);
      const document = asyncApi({ shards: many, channels, ...(inbox === undefined ? {} : { inbox }) });
      process.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
    },
  }),
  command({
    name: "check",
    about: "Checks the topics, the store and the positions of a cluster.",
    more: placeHelp,
    takes: "",
    options: placeOptions,
    run: async ({ values }) => ((await withPlace(values, check)) ? exitCodes.done : exitCodes.failed),
  }),
];
