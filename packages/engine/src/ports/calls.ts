import type { Answer, HeldPlace, RemoteCaller } from "@wheelwork/core";
import { plain, type Call, type Run } from "@wheelwork/core/kernel";
import { keyInLane, outcomeKey, startedKey, storedKey, tellHubName } from "./keys.ts";
import { postSpokeName, type Letter } from "./posts.ts";

/*
 * A call of a hub whose lane is in another shard. The open call begins a run beside the caller, as each call of a hub does: the
 * carrier of the call, a run of a built-in hub. It begins the callee in the shard of the lane, and waits for its answer.
 *
 *   caller, call 3       carrier (caller/3)                     callee, in the shard of its lane
 *   opens the call  ---> Starting: sends the request     ---->  waits for its turn, works
 *                        Waiting: for a signal           <----  has its answer: a post carries it back
 *   its outcome     <--- Done: the answer of the callee
 *
 *   gives it up     ---> Cancelling: sends the request,  ---->  is cancelled, and cleans up
 *                        if need be, and the cancel
 *                        Ending: for the same signal     <----  has its answer
 *
 *   once          the key of the callee is made of the call, and the id of the signal of the callee
 *   not lost      the post that carries the answer is accepted with the answer, in one commit. It does not give up, and while it
 *                 lives, no purge takes the callee
 *   no polling    while a call is open, nothing looks into the other shard
 */

/** The built-in hub whose runs carry calls into lanes of other shards. */
export const callHubName = "call:";

/** The signal that brings a carrier the answer of its callee. */
export const outcomeSignal = "outcome";

/** A run that is begun in another shard: the request of its carrier. */
export interface RemoteCall {
  readonly hub: string;
  /** The stored key of the callee, with the tag of its lane. */
  readonly key: string;
  /** What the caller has stored: its schema has made it. */
  readonly request: unknown;
  /** See `OpenedCalls`. */
  readonly transformed?: true;
  readonly caller: RemoteCaller;
}

/** The answer of a callee, on its way to the carrier. */
export interface RemoteOutcome {
  readonly to: string;
  /** When the carrier was created: its key may be used again. */
  readonly since: number;
  readonly answer: Answer;
}

/** What the carrier of a call answers. */
export interface CarriedAnswer {
  readonly answer: Answer;
}

/** What a call asks of the shard of a lane. */
export function remoteCallOf(
  { run, number, callee, input, transformed }: Call,
  lane: { readonly name: string; readonly key: string },
  caller: Omit<RemoteCaller, "places">,
  places: readonly HeldPlace[],
): RemoteCall {
  const given = startedKey(run.key, number, run.createdAt);
  return plain(
    {
      hub: callee,
      key: keyInLane(storedKey(given), lane.name, lane.key),
      request: input,
      ...(transformed ? { transformed: true as const } : {}),
      caller: places.length === 0 ? caller : { ...caller, places },
    },
    "WW_DEFECT",
    `a call of ${callee}`,
  ) as RemoteCall;
}

/** The run that carries the answer of a run to its caller in another shard; undefined: it has none. */
export function outcomeCarrierOf({
  key: from,
  createdAt,
  origin: { caller },
  answer,
}: Pick<Run, "key" | "createdAt" | "origin" | "answer">):
  { readonly key: string; readonly hub: string; readonly request: unknown } | undefined {
  if (caller === undefined || answer === undefined) return undefined;
  const outcome: RemoteOutcome = { to: caller.carrier, since: caller.since, answer };
  const letter: Letter = { post: { kind: "outcome", ...outcome }, from, since: createdAt };
  return { key: outcomeKey(from), hub: tellHubName(postSpokeName), request: { input: letter } };
}
