import type { RunEvent } from "@wheelwork/core";
import type { TraceEntry } from "../trace.ts";
import { isDeepStrictEqual } from "node:util";
import { count, type Violation } from "../world.ts";

type Posted = Extract<RunEvent, { type: "posted" }>;
type Event<T extends RunEvent["type"]> = Extract<RunEvent, { type: T }>;

/** What a run had for another one. */
interface PostModel {
  readonly from: string;
  /** When the sender was created: its key may come again. */
  readonly since: number;
  readonly call: number;
  readonly post: Posted["post"];
  /** What the run that carries it came to. */
  outcome: "under way" | "delivered" | "lost";
  /** Nobody took it, though its run was there to take it. */
  given?: "up";
}

/** What came under the key of a run, whichever incarnation of it. */
interface Target {
  /** The hubs of the runs that were begun. */
  readonly begun: string[];
  /** What the last one was asked for. */
  request: unknown;
  /** The ids of the signals that it has taken, kept or dropped, in their order. */
  readonly signals: string[];
  ended: boolean;
}

/** What is found of posts: violations without a place in a trace. */
export interface PostsChecked {
  readonly violations: readonly Violation[];
  readonly exercised: ReadonlyMap<string, number>;
}

/** The key of a request without the tag of its lane. */
export const addressOf = (key: string): string => key.replace(/@~[0-9a-f]{16}$/, "");

/**
 * What runs have for one another, over all shards (I33): each post is carried by a run that begins with the very batch of the post;
 * what is delivered was taken, once; and what one run has for another is taken in its order.
 */
export function checkPosts(traces: readonly (readonly TraceEntry[])[]): PostsChecked {
  const violations: Violation[] = [];
  const exercised = new Map<string, number>();
  const demand = (holds: boolean, message: () => string): void => {
    count(exercised, "I33");
    if (!holds) violations.push({ invariant: "I33", message: message() });
  };
  const posts = new Map<string, PostModel>();
  const targets = new Map<string, Target>();
  const created = new Map<string, number>();
  const targetOf = (key: string): Target => {
    const address = addressOf(key);
    let target = targets.get(address);
    if (target === undefined)
      targets.set(address, (target = { begun: [], request: undefined, signals: [], ended: false }));
    return target;
  };
  /** What the store has not taken, by the keys of runs. */
  const refused = new Set<string>();
  let purges = false;
  for (const entry of traces
    .flat()
    .toSorted((one, other) => one.at - other.at || (one.order ?? 0) - (other.order ?? 0))) {
    purges ||= entry.type === "purged";
    if (entry.type === "refuses") refused.add(addressOf(entry.key));
    if (entry.type !== "committed") continue;
    const begun = new Set(
      entry.journal.flatMap(({ key, events }) => (events.some(isBeginning) ? [key] : [])),
    );
    for (const { key, events } of entry.journal) {
      for (const event of events) {
        if (isBeginning(event)) {
          created.set(key, event.at);
          const target = targetOf(key);
          target.begun.push(event.hub);
          target.request = event.request;
          target.ended = false;
        }
        const carried = posts.get(key);
        if (event.type === "posted") {
          const carrier = `${key}/t${event.call}`;
          // One that the store does not take is lost, as a tell is.
          const isTaken = begun.has(carrier) || refused.has(carrier);
          demand(isTaken, () => `nobody carries the post ${event.call} of ${key}`);
          const { call, post } = event;
          posts.set(carrier, { from: key, since: created.get(key) ?? 0, call, post, outcome: "under way" });
        } else if (event.type === "signalled") targetOf(key).signals.push(event.id);
        else if (event.type === "ended") {
          targetOf(key).ended = true;
          if (carried === undefined) continue;
          carried.outcome = event.answer?.kind === "result" ? "delivered" : "lost";
          const { post } = carried;
          if (event.answer?.kind === "error" && !purges && couldTake(post, targetOf(addresseeOf(post))))
            carried.given = "up";
        }
      }
    }
  }
  const sent = new Map<string, number[]>();
  for (const [carrier, { from, since, call, post, outcome, given }] of posts) {
    const id = `${carrier}@${since.toString(36)}`;
    demand(
      given === undefined || refused.has(carrier) || refused.has(addressOf(addresseeOf(post))),
      () => `the post ${call} of ${from} is given up, and its run could take it`,
    );
    if (post.kind === "start") {
      const { begun } = targetOf(post.key ?? "");
      if (outcome === "delivered")
        demand(begun.includes(post.hub), () => `${from} has started ${post.key}, which never began`);
      // A key of its own is no other run's.
      if (post.key?.includes("~") === true && !refused.has(post.key) && !refused.has(carrier))
        demand(begun.length === 1, () => `${post.key} of ${from} has begun ${begun.length} times`);
      continue;
    }
    const { signals } = targetOf(post.id);
    const times = signals.filter((one) => one === id).length;
    demand(times <= 1, () => `${post.id} has taken the signal ${id} ${times} times`);
    if (outcome === "delivered")
      demand(times === 1, () => `the signal ${id} was delivered, and ${post.id} does not have it`);
    if (times === 0) continue;
    const way = `${from} ${since} ${addressOf(post.id)}`;
    const place = signals.indexOf(id);
    sent.set(way, [...(sent.get(way) ?? []), place]);
    const before = sent.get(way)?.at(-2) ?? -1;
    demand(
      before < place,
      () => `${post.id} takes the signals of ${from} out of their order, at call ${call}`,
    );
  }
  return { violations, exercised };
}

const addresseeOf = (post: Posted["post"]): string => (post.kind === "start" ? (post.key ?? "") : post.id);

/** Whether a run takes a signal, or a start is the request that its key has: another one is refused. */
const couldTake = (post: Posted["post"], { begun, request, ended }: Target): boolean =>
  post.kind === "start"
    ? begun.length === 0 || (begun.at(-1) === post.hub && isDeepStrictEqual(request, post.request))
    : begun.length > 0 && !ended;

const isBeginning = (event: RunEvent): event is Event<"started"> | Event<"accepted"> =>
  event.type === "started" || event.type === "accepted";
