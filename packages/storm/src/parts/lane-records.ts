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

/** The message by which a record goes to the task of its shard. */
export function forwarded(key: string, entry: InboxEntry, { value, headers }: LogRecord): Message {
  const root = rootOf(key);
  // What a request is asked for under may be another key than its record has. All others are handed on as they are.
  const isChanged = entry.type === "request" || routeOf(root) === root;
  return routed(isChanged ? inboxMessage(key, entry) : { key: root, value, headers });
}

/** A message to an inbox, under the key that leads to the task of its shard. */
export function routed(message: Message): Message {
  const { key, value } = message;
  const route = routeOf(key);
  if (route === key) return message;
  const fields = JSON.parse(value) as object;
  return { ...message, key: route, value: JSON.stringify({ ...fields, [keyField]: key }) };
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
