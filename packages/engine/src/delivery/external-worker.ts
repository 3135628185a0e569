import { WheelworkError, type Spoke, type WorkerTypes } from "@wheelwork/core";
import { demandOptions, kinds, required, type OptionKinds } from "@wheelwork/core/kernel";
import { sendOnly, spokeOf, type Worker } from "../attempts/worker.ts";
import { rootOf } from "../ports/keys.ts";
import type { Message } from "../ports/ports.ts";
import { traceHeaders } from "../ports/trace.ts";
import { correlationHeader, correlationOf } from "./inbox.ts";

interface Topic {
  readonly topic: string;
}

const topicKinds: OptionKinds<Topic> = { topic: required(kinds.text(249)) };

/**
 * A worker in another process, in any language. Each attempt is a message to a topic of the worker. The worker sends the
 * outcome to the inbox of the shard, so that it counts though the node that asked has died. Only in a cluster and on Storm:
 * elsewhere, each attempt fails. The page on external workers describes the messages.
 * @throws WheelworkError WW_CONFIG with every problem.
 */
export function externalWorker<I, O, E extends string>(
  spoke: Spoke<never, unknown, E> & WorkerTypes<I, O>,
  to: Topic,
): Worker {
  const served = spokeOf(spoke);
  demandOptions<Topic>(to, topicKinds, "an external worker");
  return {
    spoke: served,
    outcomes: "inbox",
    attempt: (input, context, { bus, replies }) => {
      if (replies.kind !== "log") {
        throw new WheelworkError(
          "WW_CONFIG",
          `the spoke ${served.name} has an external worker, which needs a cluster or Storm`,
          { next: "Serve it by a worker or a relay of this process." },
        );
      }
      const { runKey, attempt, idempotencyKey, deadline, lastProgress, fence } = context;
      const message: Message = {
        // The outcome comes under the same key, which leads to the shard.
        key: rootOf(runKey),
        value: JSON.stringify(input),
        headers: {
          "content-type": "application/json",
          ce_specversion: "1.0",
          ce_id: `${idempotencyKey}#${attempt}`,
          ce_source: "wheelwork",
          ce_type: `wheelwork.call.${served.name}`,
          [correlationHeader]: correlationOf(served.name, context),
          "reply-to": replies.inbox.topic,
          "reply-partition": `${replies.inbox.partition}`,
          "idempotency-key": idempotencyKey,
          attempt: `${attempt}`,
          deadline: `${deadline}`,
          ...(fence === undefined ? {} : { fence: `${fence}` }),
          ...traceHeaders(context.trace),
          ...(lastProgress === undefined ? {} : { progress: JSON.stringify(lastProgress) }),
        },
      };
      return sendOnly(message, to.topic, context, bus);
    },
  };
}
