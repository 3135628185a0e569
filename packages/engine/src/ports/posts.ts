import type { RunEvent } from "@wheelwork/core";
import type { Post, Run } from "@wheelwork/core/kernel";
import type { RemoteCall, RemoteOutcome } from "./calls.ts";
import { startedKey, tellHubName, tellKey } from "./keys.ts";

/*
 * Posts: what one run has for another, wherever that one is. A post is a tell of a spoke that the engine serves itself. So a run of
 * its own carries it out, which is accepted in the batch of the turn that posts. Nothing of it is lost with the process, and it is
 * tried again for a day.
 *
 *   once      the request key of a start is made of the sender's run and the number of the post, and the id of a signal, too. Both are
 *             known to the run that gets it
 *   in order  the runs that carry posts of one run to another exclude one another, by a lane of the shard. The next one begins
 *             when the one before is over: its receiver has committed it, or it has failed for good
 */

/** The spoke that takes posts to the runs that they are for. */
export const postSpokeName = "wheelwork.post";

/** What the run of a post knows. */
export interface Letter {
  readonly post:
    | Post
    | (RemoteCall & {
        /** `withdraw`: the run is begun if it has not been, and then cancelled. So nothing that comes late begins it again. */
        readonly kind: "call" | "withdraw";
      })
    | (RemoteOutcome & { readonly kind: "outcome" });
  /** The run that has posted it, and when that run was created: its key may be used again. */
  readonly from: string;
  readonly since: number;
  /** It rises with each post of the run. Absent: an earlier version has posted it. */
  readonly number?: number;
}

type Posted = Extract<RunEvent, { type: "posted" }>;

/** The event with the key of what it starts: the history says whom to ask for. */
export function addressed({ key, createdAt }: Pick<Run, "key" | "createdAt">, event: Posted): Posted {
  const { post, call } = event;
  if (post.kind !== "start" || post.key !== undefined) return event;
  return { ...event, post: { ...post, key: startedKey(key, call, createdAt) } };
}

/** The run that carries out a tell, or a post. */
export function carrierOf(
  { key: from, createdAt: since }: Pick<Run, "key" | "createdAt">,
  event: Posted | Extract<RunEvent, { type: "told" }>,
): { readonly key: string; readonly hub: string; readonly request: unknown } {
  const key = tellKey(from, event.call);
  if (event.type === "told") return { key, hub: tellHubName(event.spoke), request: { input: event.input } };
  const letter: Letter = { post: event.post, from, since, number: event.call };
  return { key, hub: tellHubName(postSpokeName), request: { input: letter } };
}
