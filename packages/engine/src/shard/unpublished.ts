import type { Answer, WheelworkError } from "@wheelwork/core";
import { isDamaged, placeOf } from "../ports/damage.ts";
import type { Batch, DamagedBatch, ShardState, Store } from "../ports/ports.ts";
import type { Reply } from "./outbox.ts";
import { gaveAnswer, replyOf } from "./records.ts";

/**
 * The answers of a batch of the journal that are to be published. Those of a damaged batch cannot be told: who waits for one of them
 * finds it by asking for its request.
 */
export async function repliesOf(store: Store, batch: Batch | DamagedBatch): Promise<Reply[]> {
  if (isDamaged(batch)) return [];
  const answered = batch.entries.filter(({ events }) => events.some(gaveAnswer));
  return storedReplies(
    store,
    answered.map(({ key }) => key),
  );
}

/** The answers under these keys that are to be published. In place of one that is damaged there is a short error. */
export async function storedReplies(store: Store, keys: readonly string[]): Promise<Reply[]> {
  const found = keys.length === 0 ? [] : await store.find(keys);
  return found.flatMap(({ answer, damagedAnswer: damaged }) => {
    if (damaged?.replyTo !== undefined)
      return [replyOf(damaged, damaged.replyTo, unreadable(damaged.damage))];
    return answer?.replyTo === undefined ? [] : [replyOf(answer, answer.replyTo, answer.answer)];
  });
}

/** What is published in place of an answer that is damaged: its reader waits for it. */
const unreadable = (damage: WheelworkError): Answer => ({
  kind: "error",
  code: "WW_STORE_CORRUPT",
  message: `the request was answered, and its answer cannot be read: ${placeOf(damage)}`,
});

/**
 * How many answers of a shard its store does not know to be published. These are the answers that the next owner would
 * publish, so the number is right after a crash, too. The latest answers of a shard that works count until it notes that
 * they are published: with its next batch, or a second after it came to rest. It stops counting at `max`.
 */
export async function unpublishedAnswers(
  store: Store,
  { logProgress }: ShardState,
  max: number,
): Promise<number> {
  if (logProgress === undefined) return 0;
  let count = 0;
  for await (const batch of store.journal(logProgress.published)) {
    count += (await repliesOf(store, batch)).length;
    if (count >= max) break;
  }
  return count;
}
