import { WheelworkError, type Answer } from "wheelwork";
import type { Channel, LogRecord } from "wheelwork/cluster";
import type { SpeakerTopics } from "../floodlight/speaker-wire.ts";
import { flowCreateHub } from "../hub.ts";
import { originalTopics, type FlowTopics } from "../topics.ts";

const keyPattern = /^[0-9a-f]{32}$/;

/**
 * The channel of Northbound: requests as JSON and answers as plain texts, both under the request's key. The messages are those
 * of the original proof of concept.
 */
export const northboundChannel = (topics: FlowTopics = originalTopics): Channel => ({
  name: "nb",
  from: topics.requests,
  to: topics.answers,
  hub: flowCreateHub().name,
  request: ({ key, value }: LogRecord): unknown => {
    if (!keyPattern.test(key)) throw invalid("the key must be 32 hexadecimal digits");
    return jsonIn(value);
  },
  answer: (answer) => ({ value: textOf(answer) }),
});

/** The channel of what happens in the network. Each message is an event, under a key of its own. Its answer says what has come of it. */
export const networkChannel = ({
  networkEvents,
  eventAnswers,
}: Pick<SpeakerTopics, "networkEvents" | "eventAnswers">): Channel => ({
  name: "network",
  from: networkEvents,
  to: eventAnswers,
  hub: "handle-event",
  request: ({ value }: LogRecord): unknown => ({ event: jsonIn(value) }),
  answer: (answer) => ({ value: JSON.stringify(answer) }),
});

/** @throws WheelworkError WW_INVALID_REQUEST */
function jsonIn(value: string): unknown {
  try {
    return JSON.parse(value) as unknown;
  } catch {
    throw invalid("the value is not JSON");
  }
}

/** An answer in the words of the original proof of concept. */
export function textOf(answer: Answer): string {
  switch (answer.kind) {
    case "result":
      return (answer.value as { readonly message: string }).message;
    case "timeout":
      return "error in hub by timeout";
    case "error":
      return answer.message;
  }
}

const invalid = (problem: string): WheelworkError =>
  new WheelworkError("WW_INVALID_REQUEST", problem, { problems: [{ path: "", message: problem }] });
