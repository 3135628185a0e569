import { WheelworkError, type Answer } from "wheelwork";
import type { Channel, LogRecord } from "wheelwork/cluster";
import { flowCreateHub } from "../hub.ts";

/** The seed's topic of the requests, which its Northbound writes. */
export const requestTopic = "nb-to-hub";
/** The seed's topic of the answers, which its Northbound reads: partition 0 only. */
export const replyTopic = "hub-to-nb";

/** What Northbound asks Floodlight, which the seed's does not know: the rules of a flow; of all if the value is empty. */
export const rulesQuestionTopic = "nb-to-fl";
/** What Floodlight says to that, under the same key: `{count, rules}` as JSON. */
export const rulesTopic = "fl-to-nb";

const keyPattern = /^[0-9a-f]{32}$/;

/** The seed's Northbound: requests as JSON, answers as plain texts, both under the request's key, and no headers needed. */
export const northboundChannel: Channel = {
  name: "nb",
  from: requestTopic,
  to: replyTopic,
  hub: flowCreateHub().name,
  request: ({ key, value }: LogRecord): unknown => {
    if (!keyPattern.test(key)) throw invalid("the key must be 32 hexadecimal digits");
    try {
      return JSON.parse(value) as unknown;
    } catch {
      throw invalid("the value is not JSON");
    }
  },
  answer: (answer) => ({ value: textOf(answer) }),
};

/** The seed's words for an answer. */
function textOf(answer: Answer): string {
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
