import { WheelworkError, type HistoryEvent } from "@wheelwork/core";
import { apply, Run } from "@wheelwork/core/kernel";
import { nextTurn, readMs } from "../ports/clock.ts";
import { nextAfter } from "../ports/history.ts";
import { givenKey } from "../ports/keys.ts";
import type { Clock } from "../ports/ports.ts";
import type { ShardAccess } from "./access.ts";

/** Options of `historyPage`. */
export interface HistoryPageOptions {
  /** `oldest`: the events from `from` on. `newest`: those before `from`. Default: `oldest`. */
  readonly order?: "oldest" | "newest";
  /** The number of an event, from 0. Default: the beginning; with `newest`, the end. */
  readonly from?: number;
  /** How many events: 10,000 at most. Default: 1,000. */
  readonly limit?: number;
}

/** A part of a history, the oldest event first. */
export interface HistoryPage {
  readonly events: readonly HistoryEvent[];
  /** The number of the first event: how many were before. An event `archived` stands for those before the one that follows it. */
  readonly first: number;
  /** The number of the event that follows the last one: `from` of the next part. */
  readonly next: number;
  /** There are events before these: ask for the `newest` from `first`. */
  readonly hasEarlier: boolean;
  /** There are events after these, as far as is known now: ask for the `oldest` from `next`. */
  readonly hasLater: boolean;
}

/** What a page is read with. */
type Source = Pick<ShardAccess, "history" | "historyEnd">;

/** @throws WheelworkError WW_NOT_FOUND, WW_INVALID_REQUEST. */
export async function historyPage(
  shard: Source,
  key: string,
  { order = "oldest", from, limit = 1000 }: HistoryPageOptions,
): Promise<HistoryPage> {
  if (order === "newest" && from === undefined) {
    const { events, first } = await shard.historyEnd(key, { last: limit });
    return { events, first, next: endOf(events, first), hasEarlier: first > 0, hasLater: false };
  }
  const begin = order === "newest" ? Math.max(0, (from ?? 0) - limit) : (from ?? 0);
  const size = order === "newest" ? (from ?? 0) - begin : limit;
  // One more than the page holds says that there is more.
  const read = await shard.history(key, { after: begin, limit: size + 1 });
  const [head] = read;
  // One event stands for all that are archived, so that the part has fewer, or would go on too far.
  const most =
    order === "newest" && head?.type === "archived" ? Math.max(0, (from ?? 0) - head.events) + 1 : size;
  const events = read.slice(0, most);
  const first = head?.type === "archived" ? 0 : begin;
  const next = endOf(events, first);
  return { events, first, next, hasEarlier: first > 0, hasLater: read.length > events.length };
}

const endOf = (events: readonly HistoryEvent[], first: number): number => nextAfter(events, first);

/** @throws WheelworkError WW_INVALID_REQUEST when it is none. */
export function checkPageOptions({ order, from, limit = 1 }: HistoryPageOptions): void {
  const problems = [
    ...(isNumber(limit) && limit >= 1 && limit <= maxLimit
      ? []
      : [{ path: "limit", message: `must be an integer from 1 to ${maxLimit}` }]),
    ...(order === undefined || order === "oldest" || order === "newest"
      ? []
      : [{ path: "order", message: "must be oldest or newest" }]),
    ...(from === undefined || isNumber(from) ? [] : [{ path: "from", message: mustBeNumber }]),
  ];
  if (problems.length > 0)
    throw new WheelworkError("WW_INVALID_REQUEST", "the part of the history is not valid", { problems });
}

const maxLimit = 10_000;
const isNumber = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
const mustBeNumber = "must be the number of an event, an integer of at least 0";

/**
 * The run as it was after an event, or why that is not known: there is no such event, or those before it are archived.
 * @throws WheelworkError WW_NOT_FOUND when there is no such request, WW_INVALID_REQUEST.
 */
export async function runAt(
  shard: Source,
  key: string,
  event: number,
  clock: Clock,
): Promise<Run | WheelworkError> {
  if (!isNumber(event))
    throw new WheelworkError("WW_INVALID_REQUEST", "there is no such event", {
      problems: [{ path: "event", message: mustBeNumber }],
    });
  const events = await shard.history(key, { after: 0, limit: event + 1 });
  const run = new Run(key);
  let began = clock.monotonicMs();
  for (const one of events) {
    if (one.type === "archived") return unknown(`its first ${one.events} events are archived`, key, event);
    apply(run, one);
    if (clock.monotonicMs() - began < readMs) continue;
    await nextTurn(clock);
    began = clock.monotonicMs();
  }
  return events.length > event ? run : unknown(`its last event is ${events.length - 1}`, key, event);
}

const unknown = (why: string, key: string, event: number): WheelworkError =>
  new WheelworkError(
    "WW_NOT_FOUND",
    `what the request ${givenKey(key)} was after its event ${event} is not known: ${why}`,
    {
      next: "Events are counted from 0.",
    },
  );
