import { end, hub, WheelworkError, type Answer, type Hub, type Schema } from "@wheelwork/core";
import type { HubDefinition } from "@wheelwork/core/kernel";
import type { LogRecord } from "../ports/log.ts";
import type { Message } from "../ports/ports.ts";

/** A pair of topics through which others send requests, and get their answers: in words of their own. */
export interface Channel {
  /** Stored with each request that comes through it: it must stay the same. */
  readonly name: string;
  /** The topic of the requests. */
  readonly from: string;
  /** The topic of the answers. */
  readonly to: string;
  readonly hub: Hub<never> | string;
  /**
   * What a message asks for; the hub's schema checks it. The message's key is the request's.
   * @throws WheelworkError WW_INVALID_REQUEST for what cannot be understood: that is its answer then.
   */
  request(message: LogRecord): unknown;
  /** The answer in the channel's words. The key of its message is the request's. */
  answer(answer: Answer): Pick<Message, "value" | "headers">;
}

const anything: Schema = {
  "~standard": { version: 1, vendor: "wheelwork", validate: (value) => ({ value }) },
};

/** Serves what could not be understood: a refusal is an answer, stored under its key as any other. */
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

/** No hub of a user's can have this name. */
export const refusedHub: HubDefinition = { ...refused.definition, name: "refused:invalid" };

/** A request that a channel takes, or why it does not. */
export type Understood = { readonly request: unknown; readonly hub: string } | { readonly refusal: string };

/** What a record of a channel asks for. */
export function understand(channel: Channel, record: LogRecord): Understood {
  try {
    const { hub } = channel;
    return { hub: typeof hub === "string" ? hub : hub.name, request: channel.request(record) };
  } catch (error) {
    return { refusal: refusalOf(error) };
  }
}

/** Why a request is refused, in one sentence. */
export function refusalOf(error: unknown): string {
  if (!(error instanceof WheelworkError)) return `invalid request: ${String(error)}`;
  const problems = (error.problems ?? []).map(({ path, message }) =>
    path === "" ? message : `${path} ${message}`,
  );
  return `invalid request: ${problems.length === 0 ? error.message : problems.join("; ")}`;
}
