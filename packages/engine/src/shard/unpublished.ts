import type { Batch, ShardState, Store } from "../ports/ports.ts";
import type { Reply } from "./outbox.ts";
import { gaveAnswer, replyOf } from "./records.ts";

/**
 * The answers of a batch of the journal that are to be published.
 * @throws WheelworkError WW_STORE_CORRUPT when one of them is damaged: it must not be left out in silence.
 */
export async function repliesOf(store: Store, { entries }: Batch): Promise<Reply[]> {
  return storedReplies(
    store,
    entries.filter(({ events }) => events.some(gaveAnswer)).map(({ key }) => key),
  );
}

/**
 * The answers under these keys that are to be published.
 * @throws WheelworkError WW_STORE_CORRUPT when one of them is damaged: it must not be left out in silence.
 */
export async function storedReplies(store: Store, keys: readonly string[]): Promise<Reply[]> {
  const found = keys.length === 0 ? [] : await store.find(keys);
  return found.flatMap(({ answer, damage }) => {
    if (damage !== undefined) throw damage;
    return answer?.replyTo === undefined ? [] : [replyOf(answer, answer.replyTo, answer.answer)];
  });
}

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
