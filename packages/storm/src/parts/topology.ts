import { demandOptions } from "@wheelwork/core/kernel";
import type { Worker } from "@wheelwork/engine";
import { kafkaBolt, kafkaSpout, shellBolt, shellSpout, Topology, type AnyTopology } from "../topology.ts";
import { configKey, type StormApp, type StormConfig } from "./app.ts";
import { topologyOptions } from "./option-tables.ts";
import { javaSecurity } from "./security.ts";
import {
  coordinatorStreams,
  hubStreams,
  nbStreams,
  spoutGroup,
  tickStreams,
  workerStreams,
} from "./streams.ts";

/** How a topology is laid out. */
export interface StormTopologyOptions {
  readonly name: string;
  readonly config: StormConfig;
  readonly app: Pick<StormApp, "channels"> & { readonly workers: readonly Worker[] };
  /** The file of the resources that calls `runPart`. Default `main.mjs`. */
  readonly main?: string;
  /** The folder of Node's program on the supervisors. Default: where their PATH finds it. */
  readonly nodeFolder?: string;
  /** Tasks of bolt-worker. Default 2. With 0, the hub makes the attempts itself: the proof of concept's simple case. */
  readonly workerTasks?: number;
  /** Processes of Java. Default 1. */
  readonly workers?: number;
  /**
   * What each process of Node may keep, in megabytes: one that needs more dies, so that a hub has no more runs in memory than
   * fit. Default 512.
   */
  readonly heapMb?: number;
  /** Settings of Storm that are to differ. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

/** The topics that relays hear. */
function heard(workers: readonly Worker[]): string[] {
  const topics = new Set<string>();
  for (const worker of workers) {
    worker.attach?.({
      publish: () => {},
      subscribe: (topic) => {
        topics.add(topic);
        return () => {};
      },
    })();
  }
  return [...topics];
}

/**
 * The proof of concept's topology: hubs, workers and the coordinator as bolts and spouts, with the proof of concept's streams. Where it grouped
 * directly, it groups by the request's key: any part that computes the same hash finds the task.
 * @throws WheelworkError WW_CONFIG with every problem.
 */
export function stormTopology(given: StormTopologyOptions): AnyTopology {
  const options = demandOptions<StormTopologyOptions>(given, topologyOptions, "a topology");
  const {
    name,
    config,
    app,
    main = "main.mjs",
    nodeFolder,
    workerTasks = 2,
    workers = 1,
    heapMb = 512,
  } = options;
  const { brokers, shards, inbox } = config;
  const client = { brokers, properties: javaSecurity(config.security) };
  // Without a bound, Node collects garbage late when it sees much memory.
  const flags = ["--max-semi-space-size=16", `--max-old-space-size=${heapMb}`] as const;
  const command = (part: string) => ["node", ...flags, main, part] as const;
  const settings = {
    "topology.workers": workers,
    "topology.acker.executors": workers,
    // Far below the receive buffers: hub and worker are a cycle, which could lock up (STORM-3637).
    "topology.max.spout.pending": 1000,
    // Longer than a restart of a worker takes, and what waits meanwhile.
    "topology.message.timeout.secs": 30,
    // The only thing that notices a component that hangs.
    "topology.subprocess.timeout.secs": 30,
    "topology.fall.back.on.java.serialization": false,
    ...(nodeFolder === undefined
      ? {}
      : { "topology.environment": { PATH: `${nodeFolder}:/usr/local/bin:/usr/bin:/bin` } }),
    [configKey]: JSON.stringify(config),
    ...options.settings,
  };
  const replies = heard(app.workers);
  const requests = (app.channels ?? []).map(({ from }) => from);
  const parts = {
    "spout-hub": kafkaSpout("spout-hub", {
      ...client,
      topics: [...requests, inbox],
      group: spoutGroup(name),
    }),
    "spout-coordinator": shellSpout({ command: command("tick"), streams: tickStreams }),
    "bolt-coordinator": shellBolt({ command: command("coordinator"), streams: coordinatorStreams }),
    "bolt-hub": shellBolt({ command: command("hub"), streams: hubStreams, parallelism: shards }),
    "bolt-to-nb": shellBolt({ command: command("nb"), streams: nbStreams }),
  };
  const byKey = { type: "fields", fields: ["key"] } as const;
  const all = new Topology(
    name,
    {
      ...parts,
      "bolt-worker": shellBolt({
        command: command("worker"),
        streams: workerStreams,
        parallelism: Math.max(1, workerTasks),
      }),
      "spout-worker": kafkaSpout("spout-worker", {
        ...client,
        topics: replies,
        group: `${name}-spout-worker`,
      }),
      "bolt-to-fl": kafkaBolt("bolt-to-fl", { ...client, topic: "unknown" }),
    },
    settings,
  )
    .connect("spout-coordinator", "default", "bolt-coordinator", { type: "all" })
    .connect("bolt-hub", "stream-to-bolt-coordinator", "bolt-coordinator", byKey)
    .connect("bolt-coordinator", "stream-bolt-coordinator-to-hub", "bolt-hub", byKey)
    .connect("bolt-coordinator", "stream-bolt-coordinator-begun", "bolt-hub", { type: "all" })
    .connect("spout-hub", "default", "bolt-hub", byKey)
    .connect("bolt-hub", "stream-hub-bolt-to-nb", "bolt-to-nb", { type: "shuffle" })
    .connect("bolt-to-nb", "stream-nb-bolt-to-hub-bolt", "bolt-hub", byKey);
  const relays = replies.length > 0 ? (["spout-worker", "bolt-to-fl"] as const) : [];
  const bases = Object.keys(parts) as (keyof typeof parts)[];
  if (workerTasks > 0) {
    return all
      .connect("bolt-hub", "stream-hub-bolt-to-worker-bolt", "bolt-worker", byKey)
      .connect("bolt-worker", "stream-worker-bolt-to-hub-bolt", "bolt-hub", byKey)
      .connect("spout-worker", "default", "bolt-worker", byKey)
      .connect("bolt-worker", "stream-worker-bolt-to-fl", "bolt-to-fl", byKey)
      .connect("bolt-worker", "stream-worker-bolt-to-nb", "bolt-to-nb", { type: "shuffle" })
      .only([...bases, "bolt-worker", ...relays]);
  }
  // Answers from outside name an attempt, not its request: each hub looks whether they are for it.
  return all
    .connect("spout-worker", "default", "bolt-hub", { type: "all" })
    .connect("bolt-hub", "stream-hub-bolt-to-fl", "bolt-to-fl", byKey)
    .only([...bases, ...relays]);
}
