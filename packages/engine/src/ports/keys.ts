import { WheelworkError } from "@wheelwork/core";

/**
 * The shard of a request: floorMod(31 + hash, shards), with Java's hash of a text. It is what the fields grouping of Storm
 * computes for one string, so that a bolt with that many tasks has one shard in each.
 */
export function shardOf(key: string, shards: number): number {
  let hash = 0;
  for (let index = 0; index < key.length; index++) hash = (Math.imul(31, hash) + key.charCodeAt(index)) | 0;
  const sum = (31 + hash) | 0;
  return ((sum % shards) + shards) % shards;
}

/** The request whose shard has a run: what it has begun lives there, too. */
export function rootOf(run: string): string {
  const slash = run.indexOf("/");
  return slash < 0 ? run : run.slice(0, slash);
}

/** Another request has the key. */
export const keyReused = (key: string): WheelworkError =>
  new WheelworkError("WW_KEY_REUSED", `the request key ${key} belongs to a request with another body`, {
    next: "Use a new key for a new request.",
  });

/** The key of the run that a call of a hub starts. */
export const childKey = (parent: string, call: number): string => `${parent}/${call}`;

/** The key of the run that carries out a tell. */
export const tellKey = (teller: string, call: number): string => `${teller}/t${call}`;

const tellPrefix = "tell:";

/** The built-in hub that carries out a tell: a run of its own, so that it may outlive the run that told it. */
export const tellHubName = (spoke: string): string => `${tellPrefix}${spoke}`;

/** The spoke that a run carries out a tell to; undefined: it is no tell. */
export const toldSpoke = ({ hub }: { readonly hub: string }): string | undefined =>
  hub.startsWith(tellPrefix) ? hub.slice(tellPrefix.length) : undefined;

/** Whether a run serves a request of a caller: it is neither the call of another hub nor a tell. */
export const isRoot = (run: { readonly parent: unknown; readonly hub: string }): boolean =>
  run.parent === undefined && !run.hub.startsWith(tellPrefix);
