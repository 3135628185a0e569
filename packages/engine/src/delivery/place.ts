import type { AnyHub } from "@wheelwork/core";
import { givenKey } from "../ports/keys.ts";
import { checkBody, placedKey } from "../requests/validate.ts";
import type { InboxEntry } from "./inbox.ts";
import { replyToKey } from "./replies.ts";

/** An entry, and the key that says in which shard it belongs. */
export interface Placed {
  readonly key: string;
  readonly entry: InboxEntry;
}

/**
 * Where an entry of a log belongs. A request to a hub with a lane belongs in the shard of its lane, under a key that says so; its
 * sender gets the answer under the key that it gave. One whose lane cannot be told stays where it is, and is refused there.
 */
export function place(hubs: ReadonlyMap<string, AnyHub>, key: string, entry: InboxEntry): Placed {
  const definition = entry.type === "request" ? hubs.get(entry.hub)?.definition : undefined;
  if (entry.type !== "request" || definition?.exclusive === undefined) return { key, entry };
  // Its caller has made the key.
  if (entry.caller !== undefined) return { key, entry };
  let placed: string;
  try {
    const { valid, invalid } = checkBody(definition, entry.request);
    placed = placedKey(definition, key, invalid === undefined ? valid : entry.request);
  } catch {
    return { key, entry };
  }
  const { replyTo } = entry;
  if (placed === key || replyTo === undefined || replyTo.includes(" ")) return { key: placed, entry };
  return { key: placed, entry: { ...entry, replyTo: replyToKey(replyTo, givenKey(key)) } };
}
