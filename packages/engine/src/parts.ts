/** What other engines are made of: the loop over one shard, and what comes to it and goes from it. */
export { admit, replyMessage, requestItem, tooOld, type Admitted } from "./admit.ts";
export { refusedHub } from "./channel.ts";
export { deadLetter } from "./dead-letters.ts";
export { collectHubs, ShardEngine, type ClusterPart } from "./engine.ts";
export { Attempt, WorkerHost, type Order } from "./host.ts";
export { inboxMessage, readInbox, type InboxEntry, type Origin } from "./inbox.ts";
export type { Reply } from "./outbox.ts";
export type { Feed } from "./shard.ts";
export { rootOf } from "./shards.ts";
