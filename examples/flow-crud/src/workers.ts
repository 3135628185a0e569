import { createHash } from "node:crypto";
import {
  relay,
  type Message,
  type RelayResponse,
  type Spoke,
  type Worker,
  type WorkerTypes,
} from "wheelwork";
import {
  answerTopic,
  commandMessage,
  commandTopic,
  readAnswer,
  requestOf,
  type CommandName,
  type WireError,
} from "./floodlight/wire.ts";
import type { FlowSpokes } from "./spokes.ts";

interface RuleInput {
  readonly flowid: string;
  readonly ruleid: number;
  readonly error?: "IN_WORKER" | "IN_FL" | null;
}

/** FlWorker: the workers whose operation is a message to the switch controller and its answer, one for each command. */
export function floodlightWorkers(spokes: FlowSpokes): Worker[] {
  const install = ruleWorker(
    spokes.installRule,
    "install",
    "installed",
    (ruleid) => ({ installed: ruleid }),
    {
      "table-full": "the table of the switch is full",
      fenced: "the rule has been removed meanwhile",
    },
  );
  const validate = ruleWorker(
    spokes.validateRule,
    "validate",
    "validated",
    (ruleid) => ({ validated: ruleid }),
    {
      missing: "the rule is not on its switch",
    },
  );
  const remove = ruleWorker(spokes.removeRule, "remove", "removed", (ruleid) => ({ removed: ruleid }), {});
  const validateRemoved = ruleWorker(
    spokes.validateRemovedRule,
    "validate-removed",
    "absent",
    (ruleid) => ({ absent: ruleid }),
    { unremoved: "the rule has not been removed" },
  );
  return [silentOnError(install), validate, remove, removingAgain(validateRemoved)];
}

function ruleWorker<I extends RuleInput, O, E extends string>(
  spoke: Spoke<never, unknown, E | "unsupported"> & WorkerTypes<I, O>,
  command: CommandName,
  done: string,
  output: (ruleid: number) => O,
  refusals: { readonly [Code in Exclude<E, "unsupported">]: string },
): Worker {
  const texts: { readonly [word: string]: string | undefined } = refusals;
  return relay(spoke, {
    to: commandTopic,
    from: answerTopic,
    send: ({ flowid, ruleid, error }, { requestId }) => {
      const wireError: WireError = error === "IN_FL" ? "IN_FL" : null;
      return commandMessage(ruleKey(requestId, ruleid), { flowid, ruleid, error: wireError, command });
    },
    // All commands for a rule have one key, as in the seed: whose answer it is, its word tells.
    receive: (message): RelayResponse<O, E | "unsupported"> | undefined => {
      const word = readAnswer(message);
      if (word === undefined) return undefined;
      const correlation = message.key;
      if (word === done) return { correlation, outcome: { kind: "ok", output: output(ruleOf(message)) } };
      if (word === "") {
        const text = `the switch controller does not know the command ${command}`;
        return { correlation, outcome: { kind: "error", code: "unsupported", message: text } };
      }
      const text = texts[word];
      if (text === undefined) return undefined;
      return { correlation, outcome: { kind: "error", code: word as E, message: text } };
    },
    request: requestOf,
  });
}

/** The seed's second error switch: the worker does nothing, and its time runs out. */
function silentOnError(made: Worker): Worker {
  return {
    ...made,
    attempt: (input, context, ports) => {
      if ((input as RuleInput).error !== "IN_WORKER") return made.attempt(input, context, ports);
      return new Promise((resolve) => {
        context.signal.addEventListener("abort", () => resolve({ kind: "timeout" }), { once: true });
      });
    },
  };
}

/**
 * A rule of which it was not heard that it is removed, is removed once more before the next attempt looks again. Its removal
 * may have been given up while the controller, or this very process, was down.
 */
function removingAgain(made: Worker): Worker {
  return {
    ...made,
    attempt: async (input, context, ports) => {
      if (context.attempt > 1) {
        const { flowid, ruleid } = input as RuleInput;
        const key = ruleKey(context.requestId, ruleid);
        await ports.bus.publish(
          commandTopic,
          commandMessage(key, { flowid, ruleid, error: null, command: "remove" }),
        );
      }
      return made.attempt(input, context, ports);
    },
  };
}

const wireRequest = /^[0-9a-f]{32}$/;

/**
 * The key of a rule on the wire: `<request id>-<rule>`. The controller takes the first 32 characters for the request; an
 * id that has another form, which only callers without Northbound can choose, is hashed to that length.
 */
const ruleKey = (requestId: string, ruleid: number): string => `${cookieOf(requestId)}-${ruleid}`;

/** The cookie that the rules of a request carry on the switches. */
export function cookieOf(requestId: string): string {
  if (wireRequest.test(requestId)) return requestId;
  return createHash("sha256").update(requestId).digest("hex").slice(0, 32);
}

const ruleOf = ({ value }: Message): number => Number(value.slice(value.lastIndexOf(" ") + 1));
