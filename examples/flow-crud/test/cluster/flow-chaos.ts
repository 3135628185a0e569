import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { PostgresFlowStore } from "../../src/controller/flow-store-postgres.ts";
import { seeded } from "../../src/floodlight/faults.ts";
import { until } from "../crash/system.ts";
import { FlowLoad } from "../controller/flow-load.ts";
import { FlowNetwork, switchDifferences } from "../controller/flow-network.ts";
import { clusterFaults, type ClusterFault } from "./faults.ts";
import { Cluster, type Process } from "./processes.ts";

/** What a campaign does. */
export interface FlowChaosPlan {
  /** How many faults of the cluster. The network has its own, all the time. */
  readonly faults: number;
  readonly seed: number;
  readonly folder: string;
  /** Of the network: at most 12 lower-case letters and digits. */
  readonly name: string;
  readonly perSecond: number;
  /** Which faults of the cluster, by name. Default: all. */
  readonly only?: readonly string[];
  readonly progress?: (line: string) => void;
}

/** What came of it. */
export interface FlowChaosReport {
  readonly seconds: number;
  readonly clusterFaults: Readonly<Record<string, number>>;
  readonly networkFaults: Readonly<Record<string, number>>;
  readonly operations: number;
  readonly done: number;
  readonly statuses: Readonly<Record<string, number>>;
  readonly reasons: Readonly<Record<string, number>>;
  /** From the end of a fault of the cluster to the next operation that was done: the median and the longest, in milliseconds. */
  readonly backMs: { readonly median: number; readonly longest: number };
  /** How long it took after the last fault until every flow was UP, in milliseconds. */
  readonly upMs: number;
  readonly problems: readonly string[];
}

const shards = 4;
const clients = 40;
/** Longest pauses between two faults, in milliseconds. */
const [networkPauseMs, clusterPauseMs] = [2_000, 4_000];
const settledWithinMs = 300_000;
const backWithinMs = 300_000;

/** Faults that only the life of flows notices. */
const ofFlows: Readonly<Record<string, ClusterFault>> = {
  "freeze the switch controller": async ({ floodlight }, random) => {
    floodlight.signal("SIGSTOP");
    await sleep(1000 + random() * 5000);
    floodlight.signal("SIGCONT");
  },
  "restart the switch controller in good order": async ({ floodlight }) => {
    await floodlight.end("SIGTERM");
    await floodlight.start();
  },
  "kill the switch controller while the database is away": async ({ floodlight, postgres }, random) => {
    await Promise.all([floodlight.end("SIGKILL"), postgres.signal("SIGKILL")]);
    const started = floodlight.start();
    await sleep(random() * 3000);
    await postgres.start();
    await started;
  },
  "kill the switch controller and a node": async ({ floodlight, nodes }, random) => {
    const node = nodes[Math.floor(random() * nodes.length)] as Process;
    await Promise.all([floodlight.end("SIGKILL"), node.end("SIGKILL")]);
    await sleep(random() * 2000);
    await Promise.all([floodlight.start(), node.start()]);
  },
  "kill everything": async ({ floodlight, nodes, kafka, postgres }, random) => {
    await Promise.all([...nodes, floodlight].map((part) => part.end("SIGKILL")));
    await Promise.all([kafka.signal("SIGKILL"), postgres.signal("SIGKILL")]);
    await sleep(random() * 1000);
    await Promise.all([kafka.start(), postgres.start()]);
    await Promise.all([...nodes, floodlight].map((part) => part.start()));
  },
};

/**
 * Operations on flows of a network of real switches at the nodes of a cluster, while links and switches fail at random, and at the same time
 * nodes, the switch controller, the database and the broker are killed, frozen or cut off. In the end all is mended, and judged as `chaos`
 * judges it: by Open vSwitch, pings, the books, and what clients were told.
 */
export async function flowChaos(plan: FlowChaosPlan): Promise<FlowChaosReport> {
  const { faults: most, seed, folder, name, perSecond, only, progress } = plan;
  const random = seeded(seed);
  const stage = await FlowNetwork.start(name, join(folder, "network"));
  const place = ["--network", "--openflow", stage.network.controllerPath];
  const flags = ["--session-timeout", "6000", "--log", "warn", "--api-port", "0", ...place];
  const cluster = await Cluster.start(folder, shards, flags);
  const { nodes } = cluster;
  const urls = (): string[] => nodes.flatMap(({ url }) => url ?? []);
  const load = new FlowLoad({ urls, random, clients, perSecond });
  const problems: string[] = [];
  const made = { cluster: {} as Record<string, number>, network: {} as Record<string, number> };
  const backMs: number[] = [];
  let owner = { path: stage.network.controllerPath, data: cluster.data };
  let owners = 1;
  const began = performance.now();
  /** A Floodlight on a folder of its own takes the switches of one that is frozen, which wakes up then, half of the time with its connections. */
  const wakeStale: ClusterFault = async () => {
    const stale = cluster.floodlight;
    const name = `floodlight-${++owners}`;
    const path = stage.network.controllerPath.replace(/[^/]*$/, `${name}.sock`);
    const next = cluster.part("floodlight", "--data", join(folder, name), "--openflow", path);
    stale.signal("SIGSTOP");
    cluster.floodlight = next;
    await next.start("--rebuild-rules");
    await stage.point(...(random() < 0.5 ? [owner.path] : []), path);
    owner = { path, data: join(folder, name) };
    await sleep(random() * 2000);
    stale.signal("SIGCONT");
    await sleep(5000 + random() * 5000);
    await stale.end("SIGKILL");
    await stage.point(path);
  };
  const isOn = { now: true };
  const network = async (): Promise<void> => {
    const kinds = Object.entries(stage.faults(random));
    while (isOn.now) {
      await sleep(random() * networkPauseMs);
      const [kind, fault] = kinds[Math.floor(random() * kinds.length)] as (typeof kinds)[number];
      await fault();
      made.network[kind] = (made.network[kind] ?? 0) + 1;
    }
  };
  const system = async (): Promise<void> => {
    const kinds = Object.entries({
      ...clusterFaults,
      ...ofFlows,
      "let a stale switch controller wake up": wakeStale,
    }).filter(([kind]) => only?.includes(kind) ?? true);
    for (let count = 0; count < most; count++) {
      await sleep(random() * clusterPauseMs);
      // Each once before any comes again.
      const [kind, fault] = kinds[count % kinds.length] as (typeof kinds)[number];
      await fault(cluster, random);
      made.cluster[kind] = (made.cluster[kind] ?? 0) + 1;
      await stage.connect();
      const [ended, before] = [performance.now(), load.done];
      await until("an operation that is done", backWithinMs, async () => load.done > before).catch(() =>
        problems.push(`no operation was done within ${backWithinMs / 1000} s after: ${kind}`),
      );
      backMs.push(Math.round(performance.now() - ended));
      progress?.(
        `${count + 1}. ${kind}: back after ${backMs.at(-1)} ms; ${load.operations} operations, ${load.done} done`,
      );
    }
    isOn.now = false;
  };
  try {
    await cluster.addWiredNode().start();
    await Promise.all([cluster.floodlight.start(), cluster.addNode().start()]);
    await stage.connect();
    await until("the links", settledWithinMs, async () => {
      const { body } = await load.ask("GET", "/v1/links");
      const up = (body as readonly { state: string }[]).filter(({ state }) => state === "DISCOVERED");
      return up.length === 2 * stage.links.length;
    });
    await load.createKept();
    load.start();
    await Promise.all([system(), network()]);
    await load.stop(settledWithinMs);
    const seconds = Math.round((performance.now() - began) / 1000);
    progress?.(`${load.operations} operations; now everything is compared`);
    // What was changed by hand is put right at the next connection.
    await stage.mend();
    const judged = await load.judge(settledWithinMs);
    problems.push(...judged.problems, ...(await stage.pingProblems()));
    for (const part of [...nodes, cluster.floodlight]) {
      const code = await part.end("SIGTERM");
      if (code !== 0) problems.push(`SIGTERM ended ${part.name} with ${code}: ${part.output.slice(-500)}`);
    }
    const store = new PostgresFlowStore(cluster.postgres.url);
    problems.push(
      ...(await store.audit()),
      ...(await switchDifferences(stage.network, await store.flows({ limit: 1000 }))),
      ...obligations(join(owner.data, "rules.db")),
    );
    await store.close();
    const { operations, done, statuses, reasons } = load;
    const sorted = backMs.toSorted((one, other) => one - other);
    return {
      seconds,
      clusterFaults: made.cluster,
      networkFaults: made.network,
      operations,
      done,
      statuses,
      reasons,
      backMs: { median: sorted[sorted.length >> 1] ?? 0, longest: sorted.at(-1) ?? 0 },
      upMs: judged.upMs,
      problems,
    };
  } finally {
    isOn.now = false;
    await load.stop(0);
    await cluster.stop();
    stage.stop();
  }
}

/** What the switch controller still owes to switches that are all there. */
function obligations(file: string): string[] {
  const book = new DatabaseSync(file, { readOnly: true });
  try {
    return book
      .prepare("SELECT switch, address, state FROM place WHERE state IN ('owed', 'removed') LIMIT 20")
      .all()
      .map(
        (row) =>
          `not confirmed: ${String(row["address"])} of ${String(row["switch"])}, ${String(row["state"])}`,
      );
  } finally {
    book.close();
  }
}
