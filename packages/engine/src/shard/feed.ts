import type { Reply } from "./outbox.ts";

/** The log that a shard reads its inputs from, and where its answers go. */
export interface Feed {
  /** The identity of the log: a topic that was deleted and made again is another log. */
  readonly log: string;
  /** Whether the log has taken the place of that one: its topic was deleted and created again. */
  replaces?(log: string): boolean;
  /**
   * Begins to read, after each claim; the records are given to the shard. Without a position it begins where the log does.
   * The result says where it begins, and the end of the log as it is now: results that wait there go before callbacks that
   * are overdue. More may be on its way to the log from other topics: `later` resolves when all of that has come, with the
   * end of the log as it is then. If the log no longer has that offset, or is another one than was read before
   * (`isReplaced`), that is told, and it begins where the log does.
   */
  begin(
    position: number | undefined,
    isReplaced?: boolean,
  ): Promise<{ readonly from: number; readonly end: number; readonly later?: Promise<number> }>;
  /** Nothing more is given. */
  end(): void;
  publish(reply: Reply): Promise<void>;
}
