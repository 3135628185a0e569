import { setTimeout as sleep } from "node:timers/promises";
import { originalTopics } from "../../src/topics.ts";
import { breakSystem, type FaultPlan, type FaultReport } from "./break.ts";
import { Cluster, type Process } from "./processes.ts";

const shards = 4;
const sessionTimeoutMs = 2000;
const flags = [
  "--session-timeout",
  `${sessionTimeoutMs}`,
  "--deadline",
  "5000",
  "--worker-timeout",
  "1000",
  "--log",
  "warn",
];

/** Something that is done to a cluster, from its beginning to where it is mended. */
export type ClusterFault = (cluster: Cluster, random: () => number) => Promise<void>;

const pick = (nodes: readonly Process[], random: () => number): Process =>
  nodes[Math.floor(random() * nodes.length)] as Process;

async function killNode(cluster: Cluster, random: () => number): Promise<void> {
  const node = pick(cluster.nodes, random);
  await node.end("SIGKILL");
  await sleep(random() * 3000);
  await node.start();
}

async function killBroker({ kafka }: Cluster, random: () => number): Promise<void> {
  await kafka.signal("SIGKILL");
  await sleep(random() * 2000);
  await kafka.start();
}

async function killDatabase({ postgres }: Cluster, random: () => number): Promise<void> {
  await postgres.signal("SIGKILL");
  await sleep(random() * 2000);
  await postgres.start();
}

/** Frozen until others have its shards: it wakes up as a zombie in the middle of whatever it was doing. */
async function freezeNode(cluster: Cluster, random: () => number): Promise<void> {
  const node = pick(cluster.nodes, random);
  node.signal("SIGSTOP");
  await sleep(sessionTimeoutMs * (1.5 + random()));
  node.signal("SIGCONT");
}

/** Faults of all kinds of parts. */
export const clusterFaults: Readonly<Record<string, ClusterFault>> = {
  "kill a node": killNode,
  "kill all nodes": async ({ nodes }, random) => {
    await Promise.all(nodes.map((node) => node.end("SIGKILL")));
    await sleep(random() * 2000);
    await Promise.all(nodes.map((node) => node.start()));
  },
  "kill the broker": killBroker,
  "kill the database": killDatabase,
  "kill broker and database": async (cluster, random) => {
    await Promise.all([killBroker(cluster, random), killDatabase(cluster, random)]);
  },
  "freeze a node": freezeNode,
  "freeze a node and kill the database": async (cluster, random) => {
    await Promise.all([freezeNode(cluster, random), killDatabase(cluster, random)]);
  },
  "freeze the database": async ({ postgres }, random) => {
    await postgres.signal("SIGSTOP");
    await sleep(1000 + random() * 3000);
    await postgres.signal("SIGCONT");
  },
  "freeze the broker": async ({ kafka }, random) => {
    await kafka.signal("SIGSTOP");
    await sleep(1000 + random() * 3000);
    await kafka.signal("SIGCONT");
  },
  "restart a node in good order": async (cluster, random) => {
    const node = pick(cluster.nodes, random);
    await node.end("SIGTERM");
    await node.start();
  },
  "add a node and take one away": async (cluster, random) => {
    const added = cluster.addNode();
    await added.start();
    await sleep(random() * 1000);
    // The first node has the wires.
    const [oldest] = cluster.nodes.splice(1, 1);
    if (oldest === undefined) return;
    await oldest.end(random() < 0.5 ? "SIGTERM" : "SIGKILL");
  },
  "cut a node off from the database": async ({ toPostgres }, random) => {
    toPostgres.cut();
    await sleep(2000 + random() * 8000);
    toPostgres.mend();
  },
  "cut a node off from the broker": async ({ toKafka }, random) => {
    toKafka.cut();
    await sleep(sessionTimeoutMs * (0.5 + 3 * random()));
    toKafka.mend();
  },
  "kill the switch controller": async ({ floodlight }, random) => {
    await floodlight.end("SIGKILL");
    await sleep(random() * 1000);
    await floodlight.start();
  },
};

/** Breaks a cluster of nodes. */
export async function breakCluster(plan: FaultPlan): Promise<FaultReport> {
  const cluster = await Cluster.start(plan.folder, shards, flags);
  const { kafka, postgres, data, nodes, floodlight } = cluster;
  return breakSystem(
    {
      brokers: kafka.brokers,
      databaseUrl: postgres.url,
      data,
      shards,
      topics: originalTopics,
      schemas: { shards: "wheelwork", resources: "flow_crud" },
      backWithinMs: 120_000,
      faults: Object.fromEntries(
        Object.entries(clusterFaults).map(([name, fault]) => [name, (random) => fault(cluster, random)]),
      ),
      start: async () => {
        await cluster.addWiredNode().start();
        await Promise.all([floodlight.start(), cluster.addNode().start()]);
      },
      end: async () => {
        const problems: string[] = [];
        for (const node of nodes) {
          const code = await node.end("SIGTERM");
          if (code !== 0) problems.push(`SIGTERM ended ${node.name} with ${code}`);
        }
        await floodlight.end("SIGTERM");
        return problems;
      },
      stop: () => cluster.stop(),
      output: () => nodes.map((node) => `${node.name}: ${node.output.slice(-3000)}`).join("\n"),
    },
    plan,
  );
}
