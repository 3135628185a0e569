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
  commandMessage,
  readAnswer,
  requestOf,
  type CommandName,
  type WireError,
} from "./floodlight/wire.ts";
import type { FlowSpokes } from "./spokes.ts";
import { originalTopics, type FlowTopics } from "./topics.ts";

interface RuleInput {
  readonly flowid: string;
  readonly ruleid: number;
  readonly error?: "IN_WORKER" | "IN_FL" | null;
}

/** The workers that send a command to the switch controller and wait for its answer, one for each kind of command. */
export function floodlightWorkers(spokes: FlowSpokes, topics: FlowTopics = originalTopics): Worker[] {
  const install = ruleWorker(
    topics,
    spokes.installRule,
    "install",
    "installed",
    (ruleid) => ({ installed: ruleid }),
    {
      "table-full": "the table of the switch is full",
      refused: "the switch does not take the rule",
      fenced: "the rule has been removed meanwhile",
    },
  );
  const validate = ruleWorker(
    topics,
    spokes.validateRule,
    "validate",
    "validated",
    (ruleid) => ({ validated: ruleid }),
    {
      missing: "the rule is not on its switch",
    },
  );
  const remove = ruleWorker(
    topics,
    spokes.removeRule,
    "remove",
    "removed",
    (ruleid) => ({ removed: ruleid }),
    {},
  );
  const validateRemoved = ruleWorker(
    topics,
    spokes.validateRemovedRule,
    "validate-removed",
    "absent",
    (ruleid) => ({ absent: ruleid }),
    { unremoved: "the rule has not been removed" },
  );
  return [silentOnError(install), validate, remove, removingAgain(topics, validateRemoved)];
}

function ruleWorker<I extends RuleInput, O, E extends string>(
  topics: FlowTopics,
  spoke: Spoke<never, unknown, E | "unsupported"> & WorkerTypes<I, O>,
  command: CommandName,
  done: string,
  output: (ruleid: number) => O,
  refusals: { readonly [Code in Exclude<E, "unsupported">]: string },
): Worker {
  const texts: { readonly [word: string]: string | undefined } = refusals;
  return relay(spoke, {
    to: topics.commands,
    from: topics.commandReplies,
    send: ({ flowid, ruleid, error }, { requestId }) => {
      const wireError: WireError = error === "IN_FL" ? "IN_FL" : null;
      return commandMessage(ruleKey(requestId, ruleid), { flowid, ruleid, error: wireError, command });
    },
    // All commands for a rule have the same key, as in the original proof of concept. The word tells which one it answers.
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

/** The second error switch of the original proof of concept: the worker does nothing until its time runs out. */
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
 * Every attempt but the first removes the rule once more before it asks whether the rule is gone. The removal may have been
 * given up while the controller or this process was down.
 */
function removingAgain(topics: FlowTopics, made: Worker): Worker {
  return {
    ...made,
    attempt: async (input, context, ports) => {
      if (context.attempt > 1) {
        const { flowid, ruleid } = input as RuleInput;
        const key = ruleKey(context.requestId, ruleid);
        await ports.bus.publish(
          topics.commands,
          commandMessage(key, { flowid, ruleid, error: null, command: "remove" }),
        );
      }
      return made.attempt(input, context, ports);
    },
  };
}

const wireRequest = /^[0-9a-f]{32}$/;

/**
 * The key of a rule on the wire: `<request id>-<rule>`. For the controller, the first 32 characters are the request. Callers
 * that do not use Northbound may choose an id of another form, which is hashed to that length.
 */
const ruleKey = (requestId: string, ruleid: number): string => `${cookieOf(requestId)}-${ruleid}`;

/** The last one that was made: hundreds of rules of one request follow each other. */
let last = { requestId: "", cookie: "" };

/** The cookie that the rules of a request carry on the switches. */
export function cookieOf(requestId: string): string {
  if (wireRequest.test(requestId)) return requestId;
  if (requestId !== last.requestId)
    last = { requestId, cookie: createHash("sha256").update(requestId).digest("hex").slice(0, 32) };
  return last.cookie;
}

const ruleOf = ({ value }: Message): number => Number(value.slice(value.lastIndexOf(" ") + 1));
