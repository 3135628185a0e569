import { kinds, required, type OptionKinds } from "@wheelwork/core/kernel";
import { channelsKind, topicKind } from "../delivery/option-tables.ts";
import { clockKind, commonOptions, hubsKind, tracingKind } from "../requests/option-tables.ts";
import type { ClientOptions, ClusterOptions, NodeOptions } from "./options.ts";

/* What the options of the parts of a cluster may be. */

const { fn, having, text, whole } = kinds;

const clusterOptions: OptionKinds<ClusterOptions> = {
  shards: required(whole(1, 100_000)),
  store: required(fn),
  log: required(having("a log", "publish", "subscribe", "topic", "end", "append", "read", "join", "close")),
  inbox: topicKind,
};

export const nodeOptions: OptionKinds<NodeOptions> = {
  ...commonOptions,
  ...clusterOptions,
  group: text(249),
  channels: channelsKind,
  name: text(),
  onFailure: fn,
};

export const clientOptions: OptionKinds<ClientOptions> = {
  ...clusterOptions,
  hubs: hubsKind,
  tracing: tracingKind,
  clock: clockKind,
};
