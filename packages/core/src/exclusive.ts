import { demandsOf, WheelworkError, type Problem } from "./errors.ts";
import type { HubDefinition } from "./hub.ts";
import { scalar, textOf } from "./plain.ts";
import { textProblem } from "./text.ts";

/**
 * What a request does if all places of its lane are taken:
 * - `queue`: it waits for its turn.
 * - `refuse`: it is refused at once, with the error WW_BUSY.
 * - `join`: if its body is that of a run that holds a place, it gets the answer of that run. Otherwise it is refused.
 * - `latest`: it waits, and the request of this hub that has waited before it is answered with the error WW_REPLACED.
 * - `replace`: as `latest`, and the runs of this hub that hold a place are cancelled, and clean up.
 */
export type WhenBusy = "queue" | "refuse" | "join" | "latest" | "replace";

/** Which requests of a hub exclude one another. `Request` is what the hub's schema makes of a request. */
export interface Exclusive<Request> {
  /** The name of the lane. Hubs that name the same lane share it: create, update and delete of one flow, for example. */
  readonly lane: string;
  /**
   * The key within the lane, 1 to 200 characters: requests with the same key exclude one another. It must be a pure function: the
   * key is made again when the request is sent again.
   */
  readonly by: (request: Request) => string;
  /** How many runs may hold a place under one key at the same time. All hubs of a lane must agree. Default: 1. */
  readonly slots?: number;
  /** What a request does if all places are taken. A pure function lets each request say whether it waits or is refused. */
  readonly whenBusy: WhenBusy | ((request: Request) => "queue" | "refuse");
  /** How long a request may wait for its turn, in milliseconds. Default: its `deadlineMs`. */
  readonly queueMs?: number;
  /** How many requests may wait under one key. More are refused with the error WW_BUSY. Default: 10,000. */
  readonly queueLimit?: number;
}

/** `Exclusive` as the kernel sees it, with its defaults. */
export interface ExclusiveDefinition {
  readonly lane: string;
  readonly by: (request: unknown) => string;
  readonly slots: number;
  readonly whenBusy: WhenBusy | ((request: unknown) => "queue" | "refuse");
  /** undefined: the deadline of the request. */
  readonly queueMs: number | undefined;
  readonly queueLimit: number;
  /** Only of the engine's own: each shard has lanes of its own, so that the ids of the requests need no tag. */
  readonly isOfShard?: true;
}

export const modes: ReadonlySet<unknown> = new Set<WhenBusy>([
  "queue",
  "refuse",
  "join",
  "latest",
  "replace",
]);
/** Of places and of those who wait, under one key. */
export const maxCount = 1_000_000;
const defaultQueueLimit = 10_000;
/** Of a lane's key, in characters. */
const maxKeyLength = 200;

/** Makes the definition of a lane. Adds what its options must be together to `problems`. */
export function exclusiveOf(
  given: Exclusive<unknown> | undefined,
  problems: Problem[],
): ExclusiveDefinition | undefined {
  if (given === undefined) return undefined;
  const { lane, by, slots = 1, whenBusy, queueMs, queueLimit = defaultQueueLimit } = given;
  demandsOf(problems, "exclusive.")(
    whenBusy !== "replace" || slots === 1,
    "slots",
    "must be 1 if a new request replaces the one before",
  );
  return { lane, by, slots, whenBusy, queueMs, queueLimit };
}

/** How long a request may wait for its turn, in milliseconds. 0: the hub has no lane. */
export const queueMsOf = (exclusive: ExclusiveDefinition | undefined, deadlineMs: number): number =>
  exclusive === undefined ? 0 : (exclusive.queueMs ?? deadlineMs);

/**
 * What a request does if all places of its lane are taken.
 * @throws WheelworkError WW_DEFECT when `whenBusy` throws, or gives something else.
 */
export function whenBusyOf({ name, exclusive }: HubDefinition, request: unknown): WhenBusy {
  const whenBusy = exclusive?.whenBusy ?? "queue";
  if (typeof whenBusy !== "function") return whenBusy;
  const next =
    'Let `exclusive.whenBusy` give "queue" or "refuse" for each request that the hub\'s schema accepts.';
  let given: unknown;
  try {
    given = scalar(whenBusy(request), "exclusive.whenBusy");
  } catch (cause) {
    const text = `exclusive.whenBusy of the hub ${name} threw: ${textOf(cause)}`;
    throw new WheelworkError("WW_DEFECT", text, { next, cause });
  }
  if (given === "queue" || given === "refuse") return given;
  throw new WheelworkError(
    "WW_DEFECT",
    `exclusive.whenBusy of the hub ${name} gave neither queue nor refuse`,
    { next },
  );
}

/**
 * The key of a request within the lane of its hub.
 * @throws WheelworkError WW_DEFECT when `by` throws, or does not give a key.
 */
export function laneKeyOf({ name, exclusive }: HubDefinition, request: unknown): string {
  const next = `Let \`exclusive.by\` make a text of 1 to ${maxKeyLength} characters of each request, or let the hub's schema refuse the request.`;
  let key: unknown;
  try {
    key = scalar(exclusive?.by(request), "exclusive.by");
  } catch (cause) {
    throw new WheelworkError("WW_DEFECT", `exclusive.by of the hub ${name} threw: ${textOf(cause)}`, {
      next,
      cause,
    });
  }
  const problem = textProblem(key, maxKeyLength);
  if (problem === undefined) return key as string;
  throw new WheelworkError("WW_DEFECT", `exclusive.by of the hub ${name} returned no key of a lane`, {
    problems: [{ path: "exclusive.by", message: problem }],
    next,
  });
}
