import { requestKeyProblem, storedKey } from "../ports/keys.ts";
import type { LogRecord } from "../ports/log.ts";
import { traceContext } from "../ports/trace.ts";
import { hashedKey } from "../requests/validate.ts";
import { refusedHub, understand, type Channel } from "./channel.ts";
import type { RequestEntry } from "./inbox.ts";
import { replyToKey, tooLong } from "./replies.ts";

/** A record of a channel as the inbox of its shard takes it, or why it is a dead letter. */
export type Admitted = { readonly key: string; readonly entry: RequestEntry } | { readonly reason: string };

/** Why an old record is not processed: its request may have been answered, and the answer may be gone (I5). */
export const tooOld = "it is older than answers are kept, so that it may have been answered";

/**
 * Makes a request of a record of a channel. A record that the channel cannot understand becomes a request that is refused, so
 * that its sender gets an answer.
 */
export function admit(channel: Channel, record: LogRecord, oldestMs = 0): Admitted {
  const { topic, partition, offset } = record;
  if (record.key === "") return { reason: "it has no key, so that nobody could be answered" };
  if (record.timestampMs < oldestMs) return { reason: tooOld };
  const { key, replyTo, problem = sizeProblem(record) } = keyOf(channel, record.key);
  const understood = problem === undefined ? understand(channel, record) : { refusal: problem };
  const asked =
    "refusal" in understood
      ? { hub: refusedHub.name, request: { message: understood.refusal } }
      : { hub: understood.hub, request: understood.request };
  const { traceparent, tracestate } = record.headers;
  const trace = "refusal" in understood ? traceContext(traceparent, tracestate) : understood.trace;
  const entry: RequestEntry = { type: "request", ...asked, replyTo, origin: { topic, partition, offset } };
  return { key, entry: trace === undefined ? entry : { ...entry, trace } };
}

const sizeProblem = ({ oversizeBytes }: LogRecord): string | undefined =>
  oversizeBytes === undefined ? undefined : `invalid request: ${tooLong(oversizeBytes)}`;

/** The key that a request is stored under. Where it cannot be that of its sender, the answer goes to the sender's all the same. */
function keyOf(channel: Channel, given: string): { key: string; replyTo: string; problem?: string } {
  const problem = requestKeyProblem(given);
  if (problem === undefined) return { key: storedKey(given), replyTo: channel.name };
  return {
    key: hashedKey(given),
    replyTo: replyToKey(channel.name, given),
    problem: `invalid request: the key ${given.isWellFormed() ? problem : "is not UTF-8"}`,
  };
}
