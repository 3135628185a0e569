import type { Store } from "../ports/ports.ts";
import { unpublishedAnswers } from "../shard/unpublished.ts";
import type { ShardSummary } from "./api.ts";

/** Each batch with answers costs a query, and an outage may leave very many of them. */
const maxUnpublished = 1000;

/** What the store of a shard says of it. */
export async function summaryOf(store: Store): Promise<Omit<ShardSummary, "shard" | "isHere" | "lag">> {
  const state = await store.peek();
  const { owner, epoch, seq, engineTime, lost, logProgress } = state;
  const storeBytes = await store.sizeBytes?.();
  return {
    ...(owner === "" ? {} : { owner }),
    epoch,
    batches: seq,
    ...(engineTime === 0 ? {} : { lastCommitAt: engineTime }),
    unpublished: await unpublishedAnswers(store, state, maxUnpublished),
    ...(logProgress === undefined ? {} : { position: logProgress.position }),
    ...(storeBytes === undefined ? {} : { storeBytes }),
    ...(lost === undefined
      ? {}
      : {
          lost,
          problem: `the server has lost ${lost} of its batches that were committed: see docs/durability.md`,
        }),
  };
}
