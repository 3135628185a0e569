import { WheelworkError, type Outcome, type Spoke, type WorkerTypes } from "@wheelwork/core";
import { isThenable } from "@wheelwork/core/kernel";
import type { Bus, MaybePromise, Message } from "../ports/ports.ts";
import type { ReplyPath } from "../ports/reply-path.ts";
import { functionContext, type AttemptContext, type WorkerContext } from "./context.ts";
import { failureOf } from "./outcomes.ts";

/** What a worker reaches the outside by. */
export interface WorkerPorts {
  readonly bus: Bus;
  /** How outcomes come back that the worker does not give itself. */
  readonly replies: ReplyPath;
}

/** What a message back of a relay says of an attempt. */
export interface RelayReply {
  /** The request whose run has called: its shard has the attempt. */
  readonly request: string;
  /** Another one that the message may mean: an id is one text, and so is the stored key of another request. */
  readonly orRequest?: string;
  readonly correlation: string;
  readonly outcome: Outcome;
}

/** Outcomes that come back as messages of a topic, in words of the outside. */
export interface RelayedOutcomes {
  readonly topic: string;
  /** The key of the messages back for an attempt: on Storm, they lead to the task that makes the attempt. */
  key(input: unknown, context: AttemptContext): string;
  /** What the messages back call an attempt. */
  correlation(input: unknown, context: AttemptContext): string;
  /**
   * What a message back says; undefined: it is for another. Absent: the messages do not name their requests, so that only
   * the process that makes an attempt can hear them.
   */
  readonly read?: (message: Message) => RelayReply | undefined;
}

/** Those whose messages name their requests: a cluster takes each to the shard of its request. */
export interface RoutedOutcomes extends RelayedOutcomes {
  readonly read: (message: Message) => RelayReply | undefined;
}

/** Serves a spoke: makes one attempt of a call, and gives its outcome. It keeps nothing that matters. */
export interface Worker {
  readonly spoke: Spoke;
  /**
   * How outcomes come back. Absent: as the result of `attempt`. `inbox`: as a record of the inbox of the shard, on engines
   * that have one. Otherwise as messages of a topic: through a log in a cluster, if they name their requests, and else as
   * the result of `attempt`.
   *
   * An outcome that comes through a log counts though the process that made the attempt has died. So the next owner of the
   * shard reads that log before it makes the attempt again.
   */
  readonly outcomes?: "inbox" | RelayedOutcomes;
  /** The work is done in another process: its death says nothing of the attempts that this one has under way. */
  readonly otherProcess?: true;
  /**
   * Subscribes to what the worker needs of the bus; the result ends that. It is called once in each process, and not where
   * the outcomes come through a log.
   */
  attach?(bus: Bus): () => void;
  /**
   * Makes an attempt. What it throws fails the attempt with WW_WORKER_FAILED. If the outcome comes through a log, the
   * promise only keeps the attempt's place in the spoke's `concurrency`, and is settled when the attempt is over.
   */
  attempt(input: unknown, context: AttemptContext, ports: WorkerPorts): Promise<Outcome> | Outcome;
}

/** Whether the messages back name their requests. */
export const isRouted = (outcomes: Worker["outcomes"]): outcomes is RoutedOutcomes =>
  typeof outcomes === "object" && outcomes.read !== undefined;

/** Whether the outcomes of a worker come through a log, where they wait for the owner of the shard. */
export const comesThroughLog = ({ outcomes }: Pick<Worker, "outcomes">, replies: ReplyPath): boolean =>
  replies.kind === "log" && (outcomes === "inbox" || (replies.relays && isRouted(outcomes)));

/** What is to be served. @throws WheelworkError WW_CONFIG when it is no spoke. */
export function spokeOf(given: unknown): Spoke {
  const { kind } = (given ?? {}) as { readonly kind?: unknown };
  if (kind === "spoke") return given as Spoke;
  throw new WheelworkError("WW_CONFIG", "a worker serves a spoke, and this is none", {
    next: "Give it what `spoke` has made.",
  });
}

/**
 * A worker that is an async function. An exception that is not `ctx.fail` becomes WW_WORKER_FAILED.
 * @throws WheelworkError WW_CONFIG when it is given something else.
 */
export function worker<I, O, E extends string>(
  spoke: Spoke<never, unknown, E> & WorkerTypes<I, O>,
  run: (input: I, context: WorkerContext<E>) => MaybePromise<O>,
): Worker {
  const served = spokeOf(spoke);
  if (typeof run !== "function")
    throw new WheelworkError("WW_CONFIG", `the worker of ${served.name} is no function`);
  return {
    spoke: served,
    attempt: (input, context) => {
      try {
        const output = run(input as I, functionContext(context));
        if (!isThenable(output)) return { kind: "ok", output };
        // Query builders and the like are no promises, and do nothing until they are awaited.
        return Promise.resolve(output).then((value): Outcome => ({ kind: "ok", output: value }), failureOf);
      } catch (error) {
        return failureOf(error);
      }
    },
  };
}

/** Sends the message of an attempt whose outcome comes through a log. The promise is settled when the attempt is over. */
export function sendOnly(
  message: Message,
  topic: string,
  context: AttemptContext,
  bus: Bus,
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    context.onAbort(() => resolve({ kind: "timeout" }));
    Promise.resolve(bus.publish(topic, message)).catch(reject);
  });
}
