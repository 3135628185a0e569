import { WheelworkError } from "./errors.ts";
import type { RunEvent } from "./events.ts";
import type { Hub } from "./hub.ts";
import { plain, scalar } from "./plain.ts";
import { refusalOf } from "./schema.ts";
import type { Callable } from "./spoke.ts";
import { textProblem } from "./text.ts";

/**
 * What one run has for another, wherever that one is: it starts it, or sends it a signal. It does not wait, and what comes of it is
 * nothing to it. A run of its own carries a post out (posts.ts of the engine), as it does a tell.
 */
export type Post =
  | {
      readonly kind: "start";
      readonly hub: string;
      /** The key of the request. Absent only until the event is recorded: the engine makes one of the run and the number. */
      readonly key?: string;
      /** When it begins, in milliseconds since 1970. Absent: now. */
      readonly startAt?: number;
      /** As the hub gave it: whoever takes it makes of it what its schema says. */
      readonly request: unknown;
    }
  | {
      readonly kind: "signal";
      readonly hub: string;
      /** The id of the request. */
      readonly id: string;
      readonly signal: string;
      readonly payload: unknown;
    };

/** What a turn has for others: a post, or what a spoke is told. */
export type Posting = Post | { readonly kind: "tell"; readonly spoke: string; readonly input: unknown };

/** The event of a posting. It has a call number, but no open call: a run of its own works on it, and may outlive this one. */
export function postEvent(posting: Posting, at: number, call: number): RunEvent {
  if (posting.kind !== "tell") return { type: "posted", at, call, post: posting };
  const { spoke, input } = posting;
  return { type: "told", at, call, spoke, input: plain(input, "WW_DEFECT", `what ${spoke} is told`) };
}

/** A hub, or its name where it cannot be named otherwise: two hubs that know each other, or one that knows itself. */
export type Addressee = Callable | string;

export const nameOf = (to: Addressee): string => (typeof to === "string" ? to : to.name);

/** The longest key of a request, and id of a run, in characters: a key of 200, the mark of a lane, and the way of its calls. */
const maxKeyLength = 200;
const maxIdLength = 400;
/** The longest name of a signal that is sent, in characters: nobody takes one that is longer. */
const maxNameLength = 1000;
/** The last time that a date can have, in milliseconds since 1970. */
const maxInstant = 8.64e15;

/** The start of an independent run. @throws WheelworkError WW_INVALID_INPUT, WW_DEFECT: the hub is wrong. */
export function startOf(to: Addressee, request: unknown, key?: unknown, startAt?: unknown): Post {
  const hub = nameOf(to);
  const what = `the request to ${hub}`;
  if (typeof to !== "string") demandValid((to as Hub).definition.request, request, what);
  const at = startAt === undefined ? {} : { startAt: instantOf(startAt, what) };
  const post = { kind: "start", hub, ...at, request: plain(request, "WW_DEFECT", what) } as const;
  return key === undefined ? post : { ...post, key: textFor(key, `the key of ${what}`, maxKeyLength) };
}

/** A signal to a run. @throws WheelworkError WW_INVALID_INPUT, WW_SIGNAL_UNKNOWN, WW_DEFECT: the hub is wrong. */
export function signalOf(to: Addressee, id: unknown, named: unknown, payload: unknown): Post {
  const hub = nameOf(to);
  const signal = textFor(named, `the name of a signal to ${hub}`, maxNameLength);
  const what = `the payload of the signal ${signal} to ${hub}`;
  if (typeof to !== "string") {
    const { signals } = (to as Hub).definition;
    const schema = Object.hasOwn(signals, signal) ? signals[signal] : undefined;
    if (schema === undefined)
      throw new WheelworkError("WW_SIGNAL_UNKNOWN", `the hub ${hub} takes no signal ${signal}`, {
        next: "Correct the hub. Then retry the incident.",
      });
    demandValid(schema, payload, what);
  }
  const of = textFor(id, `the id of the request to ${hub}`, maxIdLength);
  return { kind: "signal", hub, id: of, signal, payload: plain(payload, "WW_DEFECT", what) };
}

function demandValid(schema: Parameters<typeof refusalOf>[0], value: unknown, what: string): void {
  const problems = refusalOf(schema, value);
  if (problems === undefined) return;
  throw new WheelworkError("WW_INVALID_INPUT", `${what} is not valid`, {
    problems,
    next: "Correct the hub. Then retry the incident.",
  });
}

function instantOf(given: unknown, what: string): number {
  const at = scalar(given, `the startAt of ${what}`);
  if (typeof at === "number" && at >= 0 && at <= maxInstant) return at;
  throw new WheelworkError("WW_DEFECT", `the startAt of ${what} is no time in milliseconds since 1970`, {
    next: "Correct the hub. Then retry the incident.",
  });
}

/** A text that a hub gives. @throws WheelworkError WW_DEFECT when it is none, or has no character, or more than `max`. */
export function textFor(given: unknown, what: string, max: number): string {
  const text = scalar(given, what);
  const problem = textProblem(text, max);
  if (problem === undefined) return text as string;
  throw new WheelworkError("WW_DEFECT", `${what} ${problem}`, {
    next: "Correct the hub. Then retry the incident.",
  });
}
