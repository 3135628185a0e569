import { WheelworkError, type AnyHub } from "@wheelwork/core";
import { laneKeyOf, whenBusyOf } from "@wheelwork/core/kernel";
import { bulkHubName } from "../ports/bulks.ts";
import type { MaybePromise } from "../ports/ports.ts";
import { bulkHub } from "../requests/bulk-hub.ts";
import { servedBy } from "../requests/hubs.ts";
import { checkBody, storedBody, type CheckedBody } from "../requests/validate.ts";
import type { RequestItem } from "../shard/items.ts";
import type { Shard } from "../shard/shard.ts";
import { refusalOf, refusedHub } from "./channel.ts";
import type { InboxEntry, RequestEntry } from "./inbox.ts";

/**
 * What came of an offer:
 * - `durable`: what the entry says cannot be lost any more.
 * - `refused`: the shard cannot take it now, since it has failed, stops or has too much to do. Offer it again later.
 * - a reason: the shard will never take it. It is a dead letter.
 */
export type OfferResult = "durable" | "refused" | { readonly reason: string };

/** A shard, and the hubs that requests to it may name. */
interface Recipient {
  readonly shard: Shard;
  readonly hubs: ReadonlyMap<string, AnyHub>;
}

const nothing = (): void => {};

/**
 * Offers an entry to its shard. This is the only way in for what comes from a log: routed records, inboxes and tuples.
 *
 * Without a position, the entry is durable once the shard has committed it, or has found that it changes nothing.
 *
 * With a position (the record's offset in the shard's own inbox) the log keeps the entry: the shard commits the position
 * together with what it decides, and reads the record again after a failure. So the entry is durable at once, and is
 * never refused. Offer the records in the order of the log. Only for a request the result is a promise, since another
 * body may have its key, which the decision tells. The shard has pinned the record's offset then: call
 * `Shard.pinOffset` once more, and release it when the dead letter is durable. If the shard fails or stops first, the
 * promise never settles, and the record comes again.
 */
export function offer(
  { shard, hubs }: Recipient,
  key: string,
  entry: InboxEntry,
  position?: number,
): MaybePromise<OfferResult> {
  switch (entry.type) {
    case "request":
      return offerRequest(shard, requestItem(hubs, key, entry), position);
    case "command": {
      const { run = key, input } = entry;
      if (position === undefined) return committed(shard.command(run, input));
      const done = { resolve: nothing, reject: nothing };
      shard.feed({ kind: "input", key: run, input, done, offset: position });
      return "durable";
    }
    case "response": {
      const { run = key, spoke, outcome, ...place } = entry;
      if (position === undefined) return committed(shard.respond(spoke, run, place, outcome));
      shard.outcome(spoke, run, place, outcome, position);
      return "durable";
    }
    case "progress": {
      const { run = key, value, ...place } = entry;
      shard.progress(run, place, value, position);
      return "durable";
    }
    case "relayReply": {
      const { spoke, correlation, outcome } = entry;
      const item = { key, spoke, correlation, outcome };
      if (position === undefined) return committed(shard.relayReply(item));
      shard.feed({ kind: "relayReply", ...item, offset: position });
      return "durable";
    }
  }
}

function offerRequest(
  shard: Shard,
  item: Omit<RequestItem, "accept" | "refuse">,
  position: number | undefined,
): Promise<OfferResult> {
  return new Promise((resolve) => {
    const decided: RequestItem = {
      ...item,
      accept: () => resolve("durable"),
      // Its sender gets the stored answer. What it asked for instead is kept as a dead letter.
      refuse: (error) => resolve(error.retryable ? "refused" : { reason: error.message }),
    };
    if (position === undefined) {
      const refusal = shard.request(decided, () => decided);
      if (refusal !== undefined) decided.refuse(refusal);
    } else shard.feed({ ...decided, offset: position });
  });
}

/** What the shard will never take must not be offered again: a run that is damaged, or a command that its store refuses. */
const committed = (done: Promise<unknown>): Promise<OfferResult> =>
  done.then(
    () => "durable" as const,
    (error: unknown) =>
      error instanceof WheelworkError && !error.retryable ? { reason: error.message } : ("refused" as const),
  );

/**
 * What a shard is asked for by a request. One that the hub's schema refuses goes to the hub of refusals, but keeps the hash
 * of its body: it may be known, and have its answer from an earlier version of the schema.
 */
function requestItem(
  hubs: ReadonlyMap<string, AnyHub>,
  key: string,
  {
    hub,
    request: given,
    deadlineMs,
    priority,
    startAt,
    replyTo,
    caller,
    transformed,
    trace,
    givenBy,
  }: RequestEntry,
): Omit<RequestItem, "accept" | "refuse"> {
  return {
    kind: "request",
    key,
    ...(caller === undefined ? asked(hubs, hub, given) : called(hubs, hub, given)),
    fresh: false,
    isRecord: true,
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
    ...(priority === undefined ? {} : { priority }),
    ...(startAt === undefined ? {} : { startAt }),
    ...(replyTo === undefined ? {} : { replyTo }),
    ...(caller === undefined ? {} : { caller }),
    ...(caller === undefined || transformed === true ? {} : { isStored: true }),
    ...(trace === undefined ? {} : { trace }),
    ...(givenBy === undefined ? {} : { givenBy }),
  };
}

type Asked = Pick<RequestItem, "hub" | "request" | "hash" | "isSame">;

function asked(hubs: ReadonlyMap<string, AnyHub>, name: string, given: unknown): Asked {
  // The hub of refusals takes any body.
  let body = checkBody({ ...refusedHub, name }, given);
  if (name === refusedHub.name)
    return { hub: name, request: body.valid, hash: body.hash(), isSame: body.isSame };
  try {
    const definition = name === bulkHubName ? bulkHub : servedBy(hubs, name);
    body = checkBody(definition, given);
    if (body.invalid !== undefined) throw body.invalid;
    if (definition.exclusive !== undefined) {
      laneKeyOf(definition, body.valid);
      whenBusyOf(definition, body.valid);
    }
    return { hub: name, request: body.valid, hash: body.hash(), isSame: body.isSame };
  } catch (error) {
    return refusal(error, body);
  }
}

/** What a call of another shard asks for: it was checked there. */
function called(hubs: ReadonlyMap<string, AnyHub>, hub: string, request: unknown): Asked {
  if (!hubs.has(hub)) return asked(hubs, hub, request);
  const { hash, isSame } = storedBody(hub, request);
  return { hub, request, hash: hash(), isSame };
}

function refusal(error: unknown, { hash, isSame }: CheckedBody): Asked {
  const refused = checkBody(refusedHub, { message: refusalOf(error) });
  return {
    hub: refusedHub.name,
    request: refused.valid,
    hash: hash(),
    // Earlier versions stored the hash of the refusal.
    isSame: (stored) => isSame(stored) || refused.isSame(stored),
  };
}
