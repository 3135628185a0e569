/** What other engines are made of: the loop over one shard, and what comes to it and goes from it. */
export { admit, tooOld, type Admitted } from "./delivery/admit.ts";
export { refusedHub } from "./delivery/channel.ts";
export { DeadLetters, isDeadLetter, shortLetter } from "./delivery/dead-letters.ts";
export { ShardHost } from "./requests/shard-host.ts";
export { officeOf, type PostOffice } from "./requests/posts.ts";
export { LocalShard } from "./requests/local-shard.ts";
export { RequestService } from "./requests/service.ts";
export type { ShardAccess, Shards } from "./requests/access.ts";
export { RemoteShards } from "./delivery/remote-shard.ts";
export { channelsKind, topicKind } from "./delivery/option-tables.ts";
export {
  hubKind,
  hubsKind,
  limitsKind,
  schedulesKind,
  tracingKind,
  workersKind,
} from "./requests/option-tables.ts";
export { checkWorkers, collectHubs } from "./requests/hubs.ts";
export { standingRuns, unfitRuns, type StandingRuns } from "./requests/fit.ts";
export { createMetrics } from "./metrics/metrics.ts";
export { serveMetrics, type MetricsServer } from "./metrics/serve.ts";
export type { Attempt } from "./attempts/attempt.ts";
export type { AttemptRequest } from "./attempts/context.ts";
export { WorkerHost } from "./attempts/host.ts";
export { inboxMessage, readInbox, type InboxEntry } from "./delivery/inbox.ts";
export { place } from "./delivery/place.ts";
export { offer } from "./delivery/offer.ts";
export { isTooLarge, publishReply } from "./delivery/replies.ts";
export type { Routed } from "./delivery/router.ts";
export type { Reply } from "./shard/outbox.ts";
export type { Feed } from "./shard/feed.ts";
export { rootOf, routeOf, shardOf } from "./ports/keys.ts";
export { clockOf, systemClock, timerMs } from "./ports/clock.ts";
export { guarded } from "./ports/guards.ts";
export { pause, retrying, type RetryPolicy } from "./ports/retry.ts";
