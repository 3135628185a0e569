import { WheelworkError, type Outcome, type Problem, type Spoke, type WorkerTypes } from "@wheelwork/core";
import {
  abandonWithin,
  demandOptions,
  kinds,
  required,
  synchronous,
  tryPlain,
  type OptionKinds,
} from "@wheelwork/core/kernel";
import { isRunKey, keyProblem, storedKey } from "../ports/keys.ts";
import type { Bus, Message } from "../ports/ports.ts";
import { traceHeaders } from "../ports/trace.ts";
import { functionContext, type AttemptContext, type WorkerContext } from "./context.ts";
import { invalid } from "./outcomes.ts";
import {
  comesThroughLog,
  sendOnly,
  spokeOf,
  type RelayedOutcomes,
  type RelayReply,
  type Worker,
} from "./worker.ts";

/** What a relay worker understands of a message that came back: whose answer it is, and what it says. */
export interface RelayResponse<O, E extends string> {
  /** The key of the message that it answers, as `send` made it. */
  readonly correlation: string;
  readonly outcome: Outcome<O, E>;
}

/** What a relay worker needs: where the message goes, where the answer comes from, and the two translations. */
export interface RelaySpec<I, O, E extends string> {
  /** Topic of the messages out. */
  readonly to: string;
  /** Topic of the messages back. */
  readonly from: string;
  /** The message of an attempt. Its key is the correlation, unless `correlation` is given. */
  readonly send: (input: I, context: WorkerContext<E>) => Message;
  readonly correlation?: (message: Message) => string;
  /** What a message means; undefined if it is for another. */
  readonly receive: (message: Message) => RelayResponse<O, E> | undefined;
  /**
   * The id of the request that a message back belongs to; undefined if it tells none. With it, a cluster takes the messages
   * back to the shards of their requests, durably. Without it, every node hears all messages, from when it has started: what
   * comes while the node that asked is away is missed, and the attempt made again.
   */
  readonly request?: (message: Message) => string | undefined;
}

const { fn, text } = kinds;
const relayOptions: OptionKinds<RelaySpec<unknown, unknown, string>> = {
  to: required(text(249)),
  from: required(text(249)),
  send: required(fn),
  correlation: fn,
  receive: required(fn),
  request: fn,
};

/**
 * A worker whose operation is a message out and a message back (the FlWorkerBolt of the original proof of concept).
 * @throws WheelworkError WW_CONFIG with every problem of the options, or when the spoke has `heartbeatMs`: messages back are outcomes.
 */
export function relay<I, O, E extends string>(
  spoke: Spoke<never, unknown, E> & WorkerTypes<I, O>,
  spec: RelaySpec<I, O, E>,
): Worker {
  const served = spokeOf(spoke);
  demandOptions<RelaySpec<I, O, E>>(spec, relayOptions as OptionKinds<RelaySpec<I, O, E>>, "a relay");
  if (spoke.heartbeatMs !== undefined)
    throw new WheelworkError("WW_CONFIG", `the relay of ${spoke.name} cannot say that its work goes on`, {
      next: "Leave out heartbeatMs of the spoke, or serve it by a worker.",
    });
  const waiting = new Waiting();
  const outcomes = relayedOutcomes(spec);
  return {
    spoke: served,
    outcomes,
    attach: (bus) =>
      bus.subscribe(spec.from, (message) => {
        const response = received(spec, message);
        if (response !== undefined) waiting.settle(response.correlation, response.outcome);
      }),
    attempt: (input, context, { bus, replies }) => {
      const message = traced(sentFor(spec, input, context), context);
      if (comesThroughLog({ outcomes }, replies)) return sendOnly(message, spec.to, context, bus);
      return waiting.ask(correlationOf(spec, message), message, spec.to, context, bus);
    },
  };
}

function relayedOutcomes<I, O, E extends string>(spec: RelaySpec<I, O, E>): RelayedOutcomes {
  const outcomes: RelayedOutcomes = {
    topic: spec.from,
    key: (input, context) => sentFor(spec, input, context).key,
    correlation: (input, context) => correlationOf(spec, sentFor(spec, input, context)),
  };
  const { request: requestOf } = spec;
  if (requestOf === undefined) return outcomes;
  return {
    ...outcomes,
    read: (message) => {
      const response = received(spec, message);
      const request = response === undefined ? undefined : requestNamed(requestOf, message);
      if (response === undefined || request === undefined) return undefined;
      // The shard may be another node's: what it gets is JSON wherever it is.
      const { correlation, outcome } = response;
      const kept = tryPlain(outcome);
      return {
        ...request,
        correlation,
        outcome: kept.problem === undefined ? kept.value : unread(kept.problem),
      };
    },
  };
}

/** Attempts of this process that wait for a message back, by correlation. */
class Waiting {
  readonly #open = new Map<string, (outcome: Outcome) => void>();

  settle(correlation: string, outcome: Outcome): void {
    this.#open.get(correlation)?.(outcome);
  }

  /** Sends the message of an attempt, and waits for what comes back. A later attempt takes the place of an earlier one. */
  ask(
    correlation: string,
    message: Message,
    topic: string,
    context: AttemptContext,
    bus: Bus,
  ): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const forget = (): void => {
        if (this.#open.get(correlation) === settle) this.#open.delete(correlation);
      };
      const settle = (outcome: Outcome): void => {
        forget();
        resolve(outcome);
      };
      this.#open.set(correlation, settle);
      // The engine has given the attempt up by then; what is left is to forget it.
      context.onAbort(() => settle({ kind: "timeout" }));
      Promise.resolve(bus.publish(topic, message)).catch((error: unknown) => {
        forget();
        reject(error);
      });
    });
  }
}

const sentFor = <I, E extends string>(
  { send }: Pick<RelaySpec<I, unknown, E>, "send">,
  input: unknown,
  context: AttemptContext,
): Message => synchronous(send(input as I, functionContext<E>(context)), "send of a relay");

/** What is done for the message is seen below the attempt. */
function traced(message: Message, { trace }: AttemptContext): Message {
  if (trace === undefined || message.headers?.["traceparent"] !== undefined) return message;
  return { ...message, headers: { ...message.headers, ...traceHeaders(trace) } };
}

const correlationOf = (
  { correlation }: Pick<RelaySpec<never, unknown, string>, "correlation">,
  message: Message,
): string => (correlation === undefined ? message.key : correlation(message));

function received<O, E extends string>(
  { receive }: Pick<RelaySpec<never, O, E>, "receive">,
  message: Message,
): RelayResponse<unknown, string> | undefined {
  try {
    // A message may hold anything, in spite of the types. null often means nothing.
    const response = synchronous(receive(message), "receive of a relay") ?? undefined;
    if (response === undefined) return undefined;
    const { correlation, outcome } = response;
    const named = synchronous(correlation, "the correlation of a relay");
    return typeof named === "string" ? { correlation: named, outcome } : undefined;
  } catch (error) {
    abandonWithin(error);
    // A message that makes no sense answers nobody. Its attempt runs into its deadline.
    return undefined;
  }
}

const unread = ({ path, message }: Problem): Outcome =>
  invalid(`the outcome of a relay is not plain JSON: ${path === "" ? "it" : path} ${message}`);

/**
 * The keys of the runs that an id may name: that of a request, as it is stored, and a stored key, as that of a call is and as messages of
 * earlier versions have it. Nearly always they are one.
 */
function runsOf(id: string): Pick<RelayReply, "request" | "orRequest"> | undefined {
  const keys = new Set<string>();
  if (keyProblem(id) === undefined) keys.add(storedKey(id));
  if (isRunKey(id)) keys.add(id);
  const [request, orRequest] = keys;
  if (request === undefined) return undefined;
  return orRequest === undefined ? { request } : { request, orRequest };
}

function requestNamed(requestOf: (message: Message) => unknown, message: Message): ReturnType<typeof runsOf> {
  try {
    const request = synchronous(requestOf(message), "request of a relay");
    return typeof request === "string" ? runsOf(request) : undefined;
  } catch (error) {
    abandonWithin(error);
    return undefined;
  }
}
