import { checkShards } from "../shards/check.ts";
import { describeShardsPlan } from "../shards/plan.ts";
import type { World } from "../world.ts";
import { Cluster } from "./cluster.ts";
import { clusterFaultKinds, clusterPlanOf, smallerClusterPlans, type ClusterPlan } from "./plan.ts";

/** The world of a cluster: several nodes over one log and the stores of their shards. */
export const clusterWorld: World<ClusterPlan> = {
  name: "cluster",
  faultKinds: clusterFaultKinds,
  plan: clusterPlanOf,
  play: async (system, plan) => {
    const cluster = new Cluster(system, plan);
    await cluster.scene.play(cluster);
    const { storeMs, logMs } = plan;
    return checkShards(cluster.stage, cluster.ledger, cluster.scene.requests.asked, {
      // Each batch goes over the network, and batches may be small.
      graceMs: 3_000 + 200 * storeMs,
      lagMs: 5 + 10 * storeMs,
      // The topics of relays first, one partition after the other, and then the inbox.
      catchUpMs: 25 + 50 * storeMs + 10 * logMs,
    });
  },
  smaller: smallerClusterPlans,
  describe: describeShardsPlan,
};
