import type { Message } from "@wheelwork/engine";
import type { LogRecord } from "@wheelwork/engine/cluster";
import { inboxMessage, rootOf, routeOf, type InboxEntry } from "@wheelwork/engine/parts";

/*
 * Storm hands on the records of an inbox by the hash of their keys, and cannot know that the shard of a lane is that of the tag
 * in a key. So a task that gets such a record, and is not the right one, writes it to the inbox once more: with the tag as its
 * key, which leads to the right task, and the key of its request in the value.
 */

/** Where the value has the key of its request. Never changes: such records may wait in an inbox. */
const keyField = "wheelwork-key";
const tagLength = 18;

/** The message by which an entry goes to the task of its shard. `record`: what has brought it, if it is handed on. */
export function forwarded(key: string, entry: InboxEntry, record?: LogRecord): Message {
  // What a request is asked for under may be another key than its record has. All others are handed on as they are.
  const isNew = entry.type === "request" || record === undefined;
  const message = isNew ? inboxMessage(key, entry) : undefined;
  const root = rootOf(key);
  const route = routeOf(root);
  if (route === root) return message ?? inboxMessage(key, entry);
  const fields = JSON.parse(message?.value ?? record?.value ?? "{}") as object;
  const value = JSON.stringify({ ...fields, [keyField]: root });
  return { ...message, key: route, value };
}

/** A record as its producer has written it. */
export function unwrapped<R extends LogRecord>(record: R): R {
  if (record.key.length !== tagLength || !record.key.startsWith("@~")) return record;
  try {
    const key: unknown = (JSON.parse(record.value) as Readonly<Record<string, unknown>>)[keyField];
    return typeof key === "string" && routeOf(key) === record.key ? { ...record, key } : record;
  } catch {
    return record;
  }
}
