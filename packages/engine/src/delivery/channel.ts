import {
  end,
  hub,
  WheelworkError,
  type Answer,
  type Hub,
  type Schema,
  type TraceContext,
} from "@wheelwork/core";
import { isError, plain, textOf, type HubDefinition } from "@wheelwork/core/kernel";
import type { LogRecord } from "../ports/log.ts";
import type { Message } from "../ports/ports.ts";
import { traceContext } from "../ports/trace.ts";

/** What a message says of its trace. */
export interface MessageTrace {
  readonly traceparent?: string | undefined;
  readonly tracestate?: string | undefined;
}

/** A pair of topics through which other systems send requests and get answers, in their own formats. */
export interface Channel {
  /** Stored with each request that comes through the channel, so it must stay the same. */
  readonly name: string;
  /** The topic of the requests. */
  readonly from: string;
  /** The topic of the answers. */
  readonly to: string;
  readonly hub: Hub<never> | string;
  /**
   * The request that a message asks for, as plain JSON. The hub's schema checks it. The key of the message is the key of the request.
   * @throws WheelworkError WW_INVALID_REQUEST for a message that it cannot understand. The refusal is its answer.
   */
  request(message: LogRecord): unknown;
  /**
   * What has caused the request, as W3C Trace Context writes it, if the messages say it in their values. What is not valid counts as absent.
   * Default: the headers `traceparent` and `tracestate` of the message. On Storm a message has no headers.
   */
  trace?(message: LogRecord): MessageTrace | undefined;
  /** The answer in the channel's format. The key of its message is the key of the request. */
  answer(answer: Answer): Pick<Message, "value" | "headers">;
}

const anything: Schema = {
  "~standard": { version: 1, vendor: "wheelwork", validate: (value) => ({ value }) },
};

/** Serves requests that are not valid. A refusal is an answer like any other, stored under its key. */
const refused = hub(
  "refused",
  {
    request: anything,
    reply: anything,
    errors: ["invalid-request"],
    deadlineMs: 1000,
    chart: { Checked: { Next: "Refused" }, Refused: end },
    data: (request) => request as { readonly message: string },
  },
  {
    Checked: "Next",
    Refused: ({ message }, s) => s.fail("invalid-request", message),
  },
);

/** The hub of refusals. No other hub can have its name. */
export const refusedHub: HubDefinition = { ...refused.definition, name: "refused:invalid" };

/** The request of a record, or why it is refused. */
export type Understood =
  | { readonly request: unknown; readonly hub: string; readonly trace: TraceContext | undefined }
  | { readonly refusal: string };

/** What a record of a channel asks for. */
export function understand(channel: Channel, record: LogRecord): Understood {
  try {
    const { hub } = channel;
    // The shard may be another node's, and then it goes there as JSON: it must be the same here. A promise is no JSON.
    const message = { ...record, value: record.value.toWellFormed() };
    const asked = channel.request(message);
    const request = plain(asked, "WW_INVALID_REQUEST", "what the channel has made of a message");
    const { traceparent, tracestate } = channel.trace?.(message) ?? record.headers;
    const trace = traceContext(textIn(traceparent), textIn(tracestate));
    return { hub: typeof hub === "string" ? hub : hub.name, request, trace };
  } catch (error) {
    return { refusal: refusalOf(error) };
  }
}

/** A program in JavaScript may give anything. */
const textIn = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

/** Why a request is refused, in one sentence. */
export function refusalOf(error: unknown): string {
  if (!isError(error, WheelworkError)) return `invalid request: ${textOf(error)}`;
  const problems = (error.problems ?? []).map(({ path, message }) =>
    path === "" ? message : `${path} ${message}`,
  );
  return `invalid request: ${problems.length === 0 ? error.message : problems.join("; ")}`;
}
