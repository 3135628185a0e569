import { hubKind, kind, kinds, required, type OptionKinds } from "@wheelwork/core/kernel";
import {
  channelsKind,
  hubsKind,
  limitsKind,
  schedulesKind,
  topicKind,
  tracingKind,
  workersKind,
} from "@wheelwork/engine/parts";
import type { StormApp, StormConfig } from "./app.ts";
import type { StormTopologyOptions } from "./topology.ts";

/* What the options of a topology may be, and of what runs in it. */

const { fields, fn, list, matching, nested, object, port, span, text, whole } = kinds;

/** Where something is. A topology in memory has it nowhere. */
const address = kind((value) => typeof value === "string" && !value.includes("\0"), "must be a text");

export const appOptions: OptionKinds<StormApp> = {
  hubs: hubsKind,
  workers: workersKind,
  channels: channelsKind,
  schedules: schedulesKind,
  observe: fn,
  tracing: tracingKind,
  limits: limitsKind,
  retentionMs: span,
  historyRetentionMs: span,
  close: fn,
};

export const configOptions: OptionKinds<StormConfig> = {
  brokers: required(address),
  security: fields(text(10_000)),
  databaseUrl: required(address),
  schema: text(63),
  shards: required(whole(1, 100_000)),
  inbox: required(topicKind),
  // Each task takes the port after that of the task before.
  metricsPort: port,
  metricsHost: text(255),
  app: kind(() => true, ""),
};

export const topologyOptions: OptionKinds<StormTopologyOptions> = {
  name: required(
    matching(/^[\w.-]{1,100}$/, "must be letters, digits, dots, dashes and underscores, 100 at most"),
  ),
  config: required(nested<StormConfig>(configOptions, "config")),
  // A topology has no use for the rest of an application, which may come along.
  app: required(nested<Partial<StormApp>>({ ...appOptions, hubs: list(hubKind) }, "app")),
  main: text(4096),
  nodeFolder: text(4096),
  workerTasks: whole(0, 100_000),
  workers: whole(1, 100_000),
  heapMb: whole(16, 1_000_000),
  settings: object(),
};
