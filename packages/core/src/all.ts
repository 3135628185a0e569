import {
  requestCalls,
  turnBy,
  waiting,
  type CallRequest,
  type Handler,
  type StateLogic,
  type Turn,
  type Waiting,
} from "./logic.ts";
import { synchronous } from "./plain.ts";
import type { Callable, Outcome } from "./spoke.ts";

/*
 * A round of different calls: each part calls its own spoke or hub, all side by side. To the kernel it is a round like that of
 * `s.each`. Its calls have the name of their part as tag, and its position as index.
 */

/** Handlers of outcomes that are no success. */
interface Failures {
  readonly error?: Handler;
  readonly timeout?: Handler;
  readonly failed?: Handler;
}

/** One part of `s.all`. `s.part` makes it. */
export interface Part extends Failures {
  readonly callee: Callable;
  /** `null`: the part calls nothing. */
  readonly input: (data: unknown) => unknown;
  readonly ok?: Handler;
  readonly key?: (input: unknown) => string;
}

/** The options of `s.all`, without their types. */
export interface AllOptions extends Waiting, Failures {
  readonly done: string | ((data: unknown) => string | Turn);
  readonly drain?: boolean;
}

/**
 * Calls of several callees, side by side. A part handles its own outcomes. The options handle the failures that it leaves to
 * them. Where an outcome moves the run, the calls of the other parts are closed: so the parts race.
 */
export function allLogic(parts: Readonly<Record<string, Part>>, options: AllOptions): StateLogic {
  const { done, drain } = options;
  const entries = Object.entries(parts);
  // A stored call may be of a part that an earlier version had.
  const known = new Map<string | undefined, Part>(entries);
  const finish = (data: unknown): Turn => turnBy(done, data);
  const request = (data: unknown, index: number): CallRequest | undefined => {
    const entry = entries[index];
    if (entry === undefined) return undefined;
    const [tag, { callee, input, key }] = entry;
    const given = synchronous(input(data), `the input of the part ${tag}`);
    return given === null ? undefined : { ...requestCalls(callee, [given], key), index, tag };
  };
  return {
    kind: "all",
    callees: entries.map(([, { callee }]) => callee),
    ...waiting(options),
    ...(drain === undefined ? {} : { drain }),
    enter: (data) => {
      const open = entries.flatMap((_, index) => request(data, index) ?? []);
      return open.length === 0 ? finish(data) : { open };
    },
    callAt: (data) => (index) => request(data, index),
    outcome: (data, call, outcome) => {
      const handler = handlerOf(known.get(call.tag), options, outcome);
      if (handler === undefined) return {};
      const value = outcome.kind === "ok" ? outcome.output : outcome;
      return turnBy(handler, data, value, call);
    },
    done: finish,
  };
}

/** The part's own handler, or that of the round. A success that nobody handles changes nothing. */
function handlerOf(part: Part | undefined, round: AllOptions, outcome: Outcome): Handler | undefined {
  if (outcome.kind === "ok") return part?.ok;
  const own = outcome.kind === "error" ? part?.error : part?.timeout;
  const common = outcome.kind === "error" ? round.error : round.timeout;
  return own ?? part?.failed ?? common ?? round.failed;
}
