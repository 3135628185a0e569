#!/usr/bin/env node
import { WheelworkError } from "@wheelwork/core";
import { consoleLogger } from "@wheelwork/engine";
import {
  clusterTopics,
  asyncApi,
  createNode,
  deadLetterTopic,
  type NodeOptions,
} from "@wheelwork/engine/cluster";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { listDeadLetters, replay } from "./dead-letters.ts";
import { check, listShards } from "./inspect.ts";
import { runStorm, stormUsage } from "./storm.ts";
import { openPlace, placeOptions, placeUsage, readPlace } from "./place.ts";

const usage = `Usage: wheelwork COMMAND [options]

  node MODULE           runs a node: the module's default export has the hubs, the workers and, if any, the channels
  asyncapi MODULE       prints the AsyncAPI document of its topics
  check                 checks topics, store and positions
  shards                lists the shards: owner, position, lag
  dead-letters list     what could not be processed, and why      (--topic: of one topic; default: the inbox's)
  dead-letters replay [PLACE...]   sends it to where it came from, all or what is named

${placeUsage}
${stormUsage}`;

const [command, ...args] = process.argv.slice(2);

switch (command) {
  case "node":
    await run(runNode);
    break;
  case "asyncapi":
    await run(printAsyncApi);
    break;
  case "check":
    await run(async () => withPlace(args, check));
    break;
  case "shards":
    await run(async () => withPlace(args, listShards));
    break;
  case "dead-letters":
    await run(deadLetters);
    break;
  case "storm":
    await run(() => runStorm(args));
    break;
  case undefined:
  case "help":
  case "-h":
  case "--help":
    process.stdout.write(usage);
    break;
  default:
    refuse(`there is no command ${command}`);
}

async function run(body: () => Promise<boolean>): Promise<void> {
  try {
    if (!(await body())) process.exitCode = 1;
  } catch (error) {
    if (error instanceof TypeError && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS"))
      return refuse(error.message);
    process.stderr.write(`${error instanceof WheelworkError ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}

function refuse(message: string): void {
  process.stderr.write(`${message}\n\n${usage}`);
  process.exitCode = 2;
}

async function withPlace(
  given: readonly string[],
  body: (place: Awaited<ReturnType<typeof openPlace>>) => Promise<boolean>,
): Promise<boolean> {
  const place = await openPlace(readPlace(given));
  try {
    return await body(place);
  } finally {
    await place.close();
  }
}

async function deadLetters(): Promise<boolean> {
  const options = { ...placeOptions, topic: { type: "string" } } as const;
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
  const [action, ...places] = positionals;
  if (action !== "list" && action !== "replay") {
    refuse(`dead-letters takes list or replay, not ${action ?? "nothing"}`);
    return true;
  }
  const place = await openPlace(values);
  try {
    const topic = deadLetterTopic(values.topic ?? place.inbox);
    if (action === "list") await listDeadLetters(place.log, topic);
    else await replay(place.log, topic, places);
    return true;
  } finally {
    await place.close();
  }
}

async function printAsyncApi(): Promise<boolean> {
  const { values, positionals } = parseArgs({ args, options: placeOptions, allowPositionals: true });
  const { channels = [] } = await loadModule(positionals);
  const { inbox, shards = process.env["SHARDS"] ?? "8" } = values;
  const document = asyncApi({
    shards: Number(shards),
    channels,
    ...(inbox === undefined ? {} : { inbox }),
  });
  process.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
  return true;
}

/** What the module of a node exports. @throws WheelworkError WW_CONFIG. */
async function loadModule(
  positionals: readonly string[],
): Promise<Partial<NodeOptions> & Pick<NodeOptions, "hubs" | "workers">> {
  const [module, ...more] = positionals;
  if (module === undefined || more.length > 0) {
    throw new WheelworkError("WW_CONFIG", "this command takes one module", {
      next: "See wheelwork --help.",
    });
  }
  const loaded = (await import(pathToFileURL(resolve(module)).href)) as {
    readonly default?: Partial<NodeOptions>;
  };
  const { hubs, workers } = loaded.default ?? {};
  if (hubs === undefined || workers === undefined) {
    throw new WheelworkError("WW_CONFIG", `${module} has no default export with hubs and workers`, {
      next: "Export them: export default { hubs: [...], workers: [...] }.",
    });
  }
  return { ...loaded.default, hubs, workers };
}

async function runNode(): Promise<boolean> {
  const options = { ...placeOptions, name: { type: "string" } } as const;
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
  const module = await loadModule(positionals);
  const place = await openPlace(values);
  const { channels = [] } = module;
  await place.log.ensureTopics(clusterTopics({ shards: place.shards, inbox: place.inbox, channels }));
  const logger = consoleLogger({ level: "info", name: values.name ?? "wheelwork" });
  const { promise: failed, reject } = Promise.withResolvers<never>();
  failed.catch(() => {});
  const node = createNode({
    logger,
    // What was deleted before it was read is logged, and the node goes on.
    onFailure: (error) => {
      if (!(error instanceof WheelworkError && error.code === "WW_LOG_LOST")) reject(error);
    },
    ...module,
    shards: place.shards,
    inbox: place.inbox,
    store: place.store,
    log: place.log,
    ...(values.name === undefined ? {} : { name: values.name }),
  });
  const ended = new Promise<void>((end) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => end());
  });
  await node.start();
  process.stdout.write(`ready: the node runs on ${place.brokers}\n`);
  try {
    await Promise.race([ended, failed]);
  } finally {
    await node.stop();
    await place.close();
  }
  return true;
}
