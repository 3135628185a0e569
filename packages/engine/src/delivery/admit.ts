import type { AnyHub } from "@wheelwork/core";
import { createHash } from "node:crypto";
import { refusalOf, refusedHub, understand, type Channel } from "./channel.ts";
import { servedBy } from "../requests/hubs.ts";
import { hashOf, keyPattern, validRequest } from "../requests/validate.ts";
import type { InboxEntry } from "./inbox.ts";
import type { LogRecord } from "../ports/log.ts";
import type { Reply } from "../shard/outbox.ts";
import type { Message } from "../ports/ports.ts";
import type { RequestItem } from "../shard/shard.ts";

type RequestEntry = Extract<InboxEntry, { type: "request" }>;

/** A record of a channel as the inbox of its shard takes it, or why it is a dead letter. */
export type Admitted = { readonly key: string; readonly entry: RequestEntry } | { readonly reason: string };

/** Why a record is not looked at: its request may have been answered, and its answer be gone (I5). */
export const tooOld = "it is older than answers are kept, so that it may have been answered";

/** What becomes of a record of a channel. Whatever has a key to answer to becomes a request, if only one that is refused. */
export function admit(channel: Channel, record: LogRecord, oldestMs = 0): Admitted {
  const { topic, partition, offset } = record;
  if (record.key === "") return { reason: "it has no key, so that nobody could be answered" };
  if (record.timestampMs < oldestMs) return { reason: tooOld };
  const { key, replyTo, problem } = keyOf(channel, record.key);
  const understood = problem === undefined ? understand(channel, record) : { refusal: problem };
  const asked =
    "refusal" in understood
      ? { hub: refusedHub.name, request: { message: understood.refusal } }
      : { hub: understood.hub, request: understood.request };
  return { key, entry: { type: "request", ...asked, replyTo, origin: { topic, partition, offset } } };
}

/** What a shard is asked for by an entry; what the hub's schema refuses, is served by the hub of refusals. */
export function requestItem(
  hubs: ReadonlyMap<string, AnyHub>,
  key: string,
  entry: RequestEntry,
): Omit<RequestItem, "accept" | "refuse"> {
  const { deadlineMs, replyTo } = entry;
  let { hub, request } = entry;
  if (hub !== refusedHub.name) {
    try {
      request = validRequest(servedBy(hubs, hub), request, {});
    } catch (error) {
      [hub, request] = [refusedHub.name, { message: refusalOf(error) }];
    }
  }
  return {
    kind: "request",
    key,
    hub,
    request,
    hash: hashOf(hub, request),
    fresh: false,
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
    ...(replyTo === undefined ? {} : { replyTo }),
  };
}

/** Whether a request can be stored under the key that its sender gave: the runs that it begins have a '/' in theirs. */
export const isStorable = (given: string): boolean => keyPattern.test(given) && !given.includes("/");

/** What a request is stored under whose key cannot be stored. */
export const hashedKey = (given: string): string => `~${createHash("sha256").update(given).digest("hex")}`;

/**
 * The key that a request is stored under. One that cannot be stored is hashed; its answer still goes to the key that the
 * sender gave.
 */
function keyOf(channel: Channel, given: string): { key: string; replyTo: string; problem?: string } {
  if (isStorable(given)) return { key: given, replyTo: channel.name };
  return {
    key: hashedKey(given),
    replyTo: `${channel.name} ${given}`,
    problem: "invalid request: the key must be 1 to 200 printable ASCII characters without blanks and '/'",
  };
}

/** The message that publishes an answer through its channel; undefined when nobody knows the channel any more. */
export function replyMessage(
  channels: ReadonlyMap<string, Channel>,
  { key, replyTo, id, answer }: Reply,
): { readonly topic: string; readonly message: Message } | undefined {
  const space = replyTo.indexOf(" ");
  const channel = channels.get(space < 0 ? replyTo : replyTo.slice(0, space));
  if (channel === undefined) return undefined;
  const { value, headers } = channel.answer(answer);
  const to = space < 0 ? key : replyTo.slice(space + 1);
  return { topic: channel.to, message: { key: to, value, headers: { ...headers, ce_id: id } } };
}
