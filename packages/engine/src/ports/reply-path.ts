/**
 * How the outcomes of attempts come back to an engine, besides the promises of its workers. Each engine has one: the
 * embedded engine and the worker bolts of Storm have `process`, the shards of a cluster and of Storm have `log`.
 */
export type ReplyPath =
  /** Only the process that makes an attempt hears of its outcome. What comes while it is down is missed. */
  | { readonly kind: "process" }
  /** Outcomes may also be records of a log, where they wait for the owner of the shard. */
  | {
      readonly kind: "log";
      /** Where external workers send their outcomes: the inbox of the shard. */
      readonly inbox: { readonly topic: string; readonly partition: number };
      /**
       * The engine reads the topics of relays, and takes each message to the shard of the request that it names. False: the
       * process that makes the attempt hears them.
       */
      readonly relays: boolean;
    };
