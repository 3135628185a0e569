import { WheelworkError } from "@wheelwork/core";
import {
  encodedMark,
  givenKey,
  rootOf,
  startOfTag,
  tagLength,
  tagMark,
  textProblem,
  type Run,
} from "@wheelwork/core/kernel";
import { hash as digest } from "node:crypto";

export { givenKey, rootOf };

/**
 * The shard of a request: floorMod(31 + hash, shards), with Java's hash of a text. It is what the fields grouping of Storm
 * computes for one string, so that a bolt with that many tasks has one shard in each. Of a key with a tag, only the tag counts:
 * all runs of a lane live in one shard.
 */
export function shardOf(key: string, shards: number): number {
  let hash = 0;
  for (let index = startOfTag(key); index < key.length; index++)
    hash = (Math.imul(31, hash) + key.charCodeAt(index)) | 0;
  const sum = (31 + hash) | 0;
  return ((sum % shards) + shards) % shards;
}

/*
 * The key of a request is any text of 200 characters. It is stored like this:
 *
 *   printable ASCII without blanks and '/'   as it is
 *   any other text                           '//', and then the text percent-encoded
 *
 * So stored keys are ASCII, every store and broker takes them, they have the same order everywhere, and two keys are never
 * stored as the same. A run that a request has begun has the stored key of its request, '/', and its number. No part of
 * that is empty, so it is no stored key of a request either.
 *
 * A request to a hub with a lane has a tag behind its key: '@~' and 16 hex digits, a hash of the lane's name and key. So the id
 * says in which shard the lane is, and whoever has it finds the request.
 */
const plainKey = /^[\x21-\x2e\x30-\x7e]{1,200}$/;
const maxKeyLength = 200;

/** Why a text cannot be the key of a request; undefined: it can. */
export function keyProblem(given: unknown): string | undefined {
  const start = typeof given === "string" ? startOfTag(given) : 0;
  return start > 0 ? keyProblem((given as string).slice(0, start)) : textProblem(given, maxKeyLength);
}

/** The part of a key that decides the shard: for a text without a tag, `shardOf` is the hash of the whole. */
export const routeOf = (key: string): string => key.slice(startOfTag(key));

/** The stored key of a request in a lane. A key that has the tag of the lane stays as it is: the id of a request is its key, too. */
export function keyInLane(stored: string, lane: string, laneKey: string): string {
  const tag = tagMark + digest("sha256", `${lane}\n${laneKey}`, "hex").slice(0, tagLength - tagMark.length);
  return stored.endsWith(tag) && stored !== tag ? stored : stored + tag;
}

/** What a key without a problem is stored as. */
export function storedKey(given: string): string {
  const start = startOfTag(given);
  if (start > 0) return storedKey(given.slice(0, start)) + given.slice(start);
  return plainKey.test(given) ? given : encodedMark + encodeURIComponent(given);
}

/** Whether something may be the stored key of a request. */
export function isStoredKey(key: string): boolean {
  try {
    const given = givenKey(key);
    return keyProblem(given) === undefined && storedKey(given) === key;
  } catch {
    return false;
  }
}

/**
 * Whether something may be the key of a run: that of a request, or of what a request has begun. Other texts must reach no store: some
 * fail for them, such as PostgreSQL for NUL.
 */
export function isRunKey(key: string): boolean {
  const root = rootOf(key);
  return isStoredKey(root) && /^(?:\/(?:t?\d{1,15}|o))*$/.test(key.slice(root.length));
}

/** Another request has the key. */
export const keyReused = (key: string): WheelworkError =>
  new WheelworkError(
    "WW_KEY_REUSED",
    `the request key ${givenKey(key)} belongs to a request with another body`,
    {
      next: "Use a new key for a new request.",
    },
  );

/** The key of the run that a call of a hub starts. */
export const childKey = (parent: string, call: number): string => `${parent}/${call}`;

/** The key of the run that carries out a tell. */
export const tellKey = (teller: string, call: number): string => `${teller}/t${call}`;

/** The key of the run that carries the answer of a run to its caller in another shard. */
export const outcomeKey = (callee: string): string => `${callee}/o`;

const tellPrefix = "tell:";

/** The built-in hub that carries out a tell. It is a separate run, so that it may outlive the run that told it. */
export const tellHubName = (spoke: string): string => `${tellPrefix}${spoke}`;

/** The spoke that a run carries out a tell to; undefined: it is no tell. */
export const toldSpoke = ({ hub }: { readonly hub: string }): string | undefined =>
  hub.startsWith(tellPrefix) ? hub.slice(tellPrefix.length) : undefined;

/**
 * The key, as a caller gives it, of a run that another run starts without naming one. No other start has it, also not one of a
 * later request that has the key of the starter again.
 */
export function startedKey(starter: string, call: number, since: number): string {
  const root = rootOf(starter);
  const path = starter.slice(root.length).replaceAll("/", "~");
  const given = `${givenKey(root)}${path}~${call}~${since.toString(36)}`;
  return keyProblem(given) === undefined ? given : `~${digest("sha256", given, "hex")}`;
}

/** What two posts to one run have in common, by its id or its key: a hub with a lane adds a tag to the key. */
export const addressOf = (given: string): string => {
  const start = startOfTag(given);
  return start > 0 ? given.slice(0, start) : given;
};

/** The built-in hub whose runs are the schedules. */
export const scheduleHubName = "schedule:";

const schedulePrefix = "schedule:";

/** The key of the run of a schedule. */
export const scheduleKey = (name: string): string => schedulePrefix + name;

/** The name of the schedule whose run has a key; undefined: it is none. */
export const scheduleOf = (key: string): string | undefined =>
  key.startsWith(schedulePrefix) ? key.slice(schedulePrefix.length) : undefined;

const bulkPrefix = "bulk:";

/** The key of the run of a bulk, as a caller gives it. */
export const bulkKey = (id: string): string => bulkPrefix + id;

/** The id of the bulk whose run has a key; undefined: it is none. */
export const bulkOf = (key: string): string | undefined =>
  key.startsWith(bulkPrefix) ? key.slice(bulkPrefix.length) : undefined;

/** Why a text cannot be the key of a request that somebody sends; undefined: it can. */
export function requestKeyProblem(given: unknown): string | undefined {
  const problem = keyProblem(given);
  if (problem !== undefined) return problem;
  for (const [prefix, of] of [
    [schedulePrefix, "schedules"],
    [bulkPrefix, "bulks"],
  ] as const)
    if ((given as string).startsWith(prefix)) return `must not begin with ${prefix}, as those of ${of} do`;
  return undefined;
}

/** Whether a run serves a request of a client: it is neither the call of another hub, here or in another shard, nor a tell. */
export const isRoot = ({ origin, hub }: Pick<Run, "origin" | "hub">): boolean =>
  origin.parent === undefined &&
  origin.caller === undefined &&
  !hub.startsWith(tellPrefix) &&
  hub !== scheduleHubName;
