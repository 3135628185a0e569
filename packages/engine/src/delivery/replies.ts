import { WheelworkError, type Answer } from "@wheelwork/core";
import { abandon, isThenable, textOf } from "@wheelwork/core/kernel";
import { givenKey } from "../ports/keys.ts";
import type { EngineEvent, Logger, Message } from "../ports/ports.ts";
import { traceHeaders } from "../ports/trace.ts";
import type { Reply } from "../shard/outbox.ts";
import type { Channel } from "./channel.ts";

/** What publishing needs of its surroundings. */
export interface Publishing {
  readonly channels: ReadonlyMap<string, Channel>;
  /** Resolves when the broker has the message of the answer with that id. */
  readonly send: (topic: string, message: Message, id: string) => Promise<void>;
  readonly observe: ((event: EngineEvent) => void) | undefined;
  readonly logger: Logger;
}

/** Of an error, so much is told in a short answer, in characters. */
const maxReason = 300;

/**
 * Publishes an answer through its channel. An answer that can never be published as it is, since it is too large for the topic or
 * the channel's own code throws, is replaced by a short error: its reader waits for it, and the stored answer can be asked for.
 * If the topic does not take that either, nothing is published.
 * @throws WheelworkError of the broker, if it may succeed later.
 */
export async function publishReply(reply: Reply, { channels, send, ...told }: Publishing): Promise<void> {
  const { channel, key } = addresseeOf(channels, reply);
  // This process has no such channel any more: the answer stays where it is stored.
  if (channel === undefined) return;
  const publish = async (answer: Answer): Promise<string | undefined> => {
    let message: Message;
    try {
      message = { key, ...saidBy(channel, answer, reply) };
    } catch (error) {
      return `the channel ${channel.name} cannot write it: ${textOf(error)}`;
    }
    try {
      await send(channel.to, message, reply.id);
      return undefined;
    } catch (error) {
      if (!isTooLarge(error)) throw error;
      return error.message;
    }
  };
  const reason = await publish(reply.answer);
  if (reason === undefined) return;
  const isReplaced = (await publish(shortAnswer(reason))) === undefined;
  const request = givenKey(reply.key);
  const fields = { request, topic: channel.to, reason };
  told.logger.error(
    fields,
    isReplaced ? "an answer was replaced by a short error" : "an answer was not published",
  );
  told.observe?.({ name: "answer-unpublishable", key: request, topic: channel.to, reason });
}

/** What a channel says of an answer. It is the user's code, and may give anything. */
function saidBy(
  channel: Channel,
  answer: Answer,
  { id, trace }: Reply,
): Required<Pick<Message, "value" | "headers">> {
  const said = channel.answer(answer);
  if (isThenable(said)) abandon(said);
  const { value, headers = {} } = said;
  const own = Object.fromEntries(Object.entries(headers).map(([name, given]) => [name, mustBeText(given)]));
  return { value: mustBeText(value), headers: { ...traceHeaders(trace), ...own, ce_id: id } };
}

function mustBeText(given: unknown): string {
  if (typeof given === "string") return given;
  if (isThenable(given)) abandon(given);
  throw new TypeError("its value or a header is not a text");
}

/** What is said of a record that is larger than any that a node writes. */
export const tooLong = (bytes: number): string => `the record has ${bytes} bytes, more than a node takes`;

/** Whether a broker will never take a record. */
export const isTooLarge = (error: unknown): error is WheelworkError =>
  error instanceof WheelworkError && error.code === "WW_TOO_LARGE";

function shortAnswer(reason: string): Answer {
  const [first = ""] = reason.split("\n", 1);
  return {
    kind: "error",
    code: "WW_TOO_LARGE",
    message: `the answer is stored, and cannot be published: ${first.slice(0, maxReason).toWellFormed()}`,
  };
}

/** The channel that an answer goes to, and the key that its sender gave. */
function addresseeOf(
  channels: ReadonlyMap<string, Channel>,
  { key, replyTo }: Reply,
): { readonly channel: Channel | undefined; readonly key: string } {
  const space = replyTo.indexOf(" ");
  if (space < 0) return { channel: channels.get(replyTo), key: givenKey(key) };
  return { channel: channels.get(replyTo.slice(0, space)), key: writtenKey(replyTo.slice(space + 1)) };
}

/**
 * Where an answer goes whose request has another key than its sender gave: the channel, a blank, and the sender's key. A store takes
 * any such text, so a key that some stores would refuse is written as JSON.
 */
export function replyToKey(channel: string, given: string): string {
  const isPlain = given.isWellFormed() && !given.includes("\0") && !given.startsWith('"');
  return `${channel} ${isPlain ? given : JSON.stringify(given)}`;
}

function writtenKey(written: string): string {
  if (!written.startsWith('"')) return written;
  try {
    return String(JSON.parse(written));
  } catch {
    // An earlier version has written the key as it was.
    return written;
  }
}
