import { WheelworkError, type Failed, type Outcome, type Spoke, type WorkerTypes } from "@wheelwork/core";
import { correlationHeader, correlationOf } from "../delivery/inbox.ts";
import type { Bus, MaybePromise, Message } from "../ports/ports.ts";
import { rootOf } from "../ports/keys.ts";

/** What a worker knows of the attempt that it makes. */
export interface WorkerContext<E extends string = string> {
  /** The request whose hub called. */
  readonly requestId: string;
  readonly call: number;
  /** From 1; it grows with each retry. */
  readonly attempt: number;
  /** The same over attempts and restarts: do the work of one key once (I11). */
  readonly idempotencyKey: string;
  /** Aborted when the attempt's deadline passes, or its call is closed. */
  readonly signal: AbortSignal;
  /** When the attempt is given up, in milliseconds of engine time. */
  readonly deadline: number;
  /** Fails the attempt with a code that the spoke declares. */
  fail(code: E, message: string, details?: unknown): never;
}

/** What a `Worker` gets besides: a way to hear of the end without an AbortSignal, which is dear. */
export interface AttemptContext extends WorkerContext {
  /** The epoch of the run when the attempt was made (I3). */
  readonly epoch: number;
  /** Calls back when the attempt's deadline passes, or its call is closed; at once if that has happened. */
  onAbort(callback: () => void): void;
}

/** What a message of a log says of an attempt. */
interface RelayReply {
  /** The request whose run has called: its shard has the attempt. */
  readonly request: string;
  readonly correlation: string;
  readonly outcome: Outcome;
}

/** Outcomes that come back through a topic which names no attempt in our own words. */
export interface RelayedOutcomes {
  /** The nodes of a cluster share its partitions out. */
  readonly topic: string;
  /** What a message says; undefined: it is for another. */
  read(message: Message): RelayReply | undefined;
  /** What the messages call an attempt. */
  correlation(input: unknown, context: AttemptContext): string;
}

/** Serves a spoke: makes one attempt of a call, and reports its outcome. It keeps nothing that matters. */
export interface Worker {
  readonly spoke: Spoke;
  /**
   * Outcomes are records of a log, so that they count though the node that asked has died: of the inbox of the shard, in a
   * cluster and on Storm; or of another topic, in a cluster only. An attempt that an earlier owner of the shard may have made is made again only
   * once that log has been read. Default: whoever makes an attempt reports its outcome.
   */
  readonly outcomes?: "inbox" | RelayedOutcomes;
  /** Subscribes to what the worker needs of the bus; the result ends it. Not in a cluster if its outcomes come through a log. */
  attach?(bus: Bus): () => void;
  attempt(input: unknown, context: AttemptContext, bus: Bus): Promise<Outcome> | Outcome;
  /**
   * The key of the messages that come back for an attempt: an engine that spreads workers over tasks makes the attempt in
   * the task that gets the messages of that key. Default: that of the request.
   */
  route?(input: unknown, context: AttemptContext): string;
}

/** Thrown by `context.fail`. */
export class WorkerFailure extends Error {
  override readonly name = "WorkerFailure";
  readonly failed: Failed;

  constructor(failed: Failed) {
    super(`${failed.code}: ${failed.message}`);
    this.failed = failed;
  }
}

/** A worker that is an async function. An exception that is not `ctx.fail` becomes WW_WORKER_FAILED. */
export function worker<I, O, E extends string>(
  spoke: Spoke<never, unknown, E> & WorkerTypes<I, O>,
  run: (input: I, context: WorkerContext<E>) => MaybePromise<O>,
): Worker {
  return {
    spoke: spoke as unknown as Spoke,
    attempt: (input, context) => {
      try {
        const output = run(input as I, context as unknown as WorkerContext<E>);
        if (!(output instanceof Promise)) return { kind: "ok", output };
        return output.then((value): Outcome => ({ kind: "ok", output: value }), failureOf);
      } catch (error) {
        return failureOf(error);
      }
    },
  };
}

/** The outcome of an attempt that threw. */
export function failureOf(error: unknown): Outcome {
  if (error instanceof WorkerFailure) return error.failed;
  return {
    kind: "error",
    code: "WW_WORKER_FAILED",
    message: error instanceof Error ? error.message : String(error),
  };
}

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
   * The id of the request that a message back belongs to; undefined if it tells none. With it, a cluster shares the messages
   * back out and takes each to the shard of its request, durably. Without it, every node hears all messages, from when it
   * has started: what comes while the node that asked is away, is missed, and the attempt made again.
   */
  readonly request?: (message: Message) => string | undefined;
}

/** A worker whose operation is a message out and a message back (the seed's FlWorkerBolt). */
export function relay<I, O, E extends string>(
  spoke: Spoke<never, unknown, E> & WorkerTypes<I, O>,
  spec: RelaySpec<I, O, E>,
): Worker {
  const open = new Map<string, (outcome: Outcome) => void>();
  const correlationOf = spec.correlation ?? ((message: Message) => message.key);
  const send = (input: unknown, context: AttemptContext): Message =>
    spec.send(input as I, context as unknown as WorkerContext<E>);
  const receive = (message: Message): RelayResponse<O, E> | undefined => {
    try {
      // What a message holds may be anything, whatever the types say; null is a common nothing.
      return spec.receive(message) ?? undefined;
    } catch {
      // A message that makes no sense answers nobody; whose answer it should have been, finds out by its deadline.
      return undefined;
    }
  };
  const outcomes: RelayedOutcomes | undefined = spec.request && {
    topic: spec.from,
    read: (message) => {
      const response = receive(message);
      const request = response === undefined ? undefined : requestOf(spec, message);
      if (response === undefined || request === undefined) return undefined;
      return { request, correlation: response.correlation, outcome: response.outcome as Outcome };
    },
    correlation: (input, context) => correlationOf(send(input, context)),
  };
  return {
    spoke: spoke as unknown as Spoke,
    ...(outcomes === undefined ? {} : { outcomes }),
    route: (input, context) => send(input, context).key,
    attach: (bus) =>
      bus.subscribe(spec.from, (message) => {
        const response = receive(message);
        if (response !== undefined) open.get(response.correlation)?.(response.outcome as Outcome);
      }),
    attempt: (input, context, bus) => {
      const message = send(input, context);
      if (outcomes !== undefined && bus.partitionedReplies === true)
        return sent(message, spec.to, context, bus);
      return new Promise((resolve, reject) => {
        const correlation = correlationOf(message);
        const settle = (outcome: Outcome): void => {
          if (open.get(correlation) === settle) open.delete(correlation);
          resolve(outcome);
        };
        open.set(correlation, settle);
        // The engine has given the attempt up by then; what is left is to forget it.
        context.onAbort(() => settle({ kind: "timeout" }));
        Promise.resolve(bus.publish(spec.to, message)).catch((error: unknown) => {
          if (open.get(correlation) === settle) open.delete(correlation);
          reject(error);
        });
      });
    },
  };
}

function requestOf(spec: Pick<RelaySpec<never, never, never>, "request">, message: Message) {
  try {
    const request: unknown = spec.request?.(message);
    return typeof request === "string" && request !== "" ? request : undefined;
  } catch {
    return undefined;
  }
}

/** An attempt whose outcome comes through a log: it has its place until it is over. */
function sent(message: Message, topic: string, context: AttemptContext, bus: Bus): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    context.onAbort(() => resolve({ kind: "timeout" }));
    Promise.resolve(bus.publish(topic, message)).catch(reject);
  });
}

/**
 * A worker that another process serves, in any language: each attempt is a message to a topic of its own, and what came of
 * it is a message to the inbox of the shard, so that it is there though the node that asked has died. Only in a cluster and
 * on Storm. The page on workers elsewhere describes the messages.
 */
export function externalWorker<I, O, E extends string>(
  spoke: Spoke<never, unknown, E> & WorkerTypes<I, O>,
  to: { readonly topic: string },
): Worker {
  const served = spoke as unknown as Spoke;
  return {
    spoke: served,
    outcomes: "inbox",
    attempt: (input, context, bus) => {
      const { replyTo } = bus;
      if (replyTo === undefined) {
        throw new WheelworkError(
          "WW_CONFIG",
          `the spoke ${served.name} is served elsewhere, which needs a cluster or Storm`,
          {
            next: "Serve it by a worker or a relay of this process.",
          },
        );
      }
      const { requestId, call, attempt, epoch, idempotencyKey, deadline } = context;
      const message: Message = {
        // The answer comes under the same key, which leads to the shard whoever hands it on.
        key: rootOf(requestId),
        value: JSON.stringify(input),
        headers: {
          "content-type": "application/json",
          ce_specversion: "1.0",
          ce_id: `${idempotencyKey}#${attempt}`,
          ce_source: "wheelwork",
          ce_type: `wheelwork.call.${served.name}`,
          [correlationHeader]: correlationOf(served.name, requestId, call, attempt, epoch),
          "reply-to": replyTo.topic,
          "reply-partition": `${replyTo.partition}`,
          "idempotency-key": idempotencyKey,
          attempt: `${attempt}`,
          deadline: `${deadline}`,
        },
      };
      return sent(message, to.topic, context, bus);
    },
  };
}
