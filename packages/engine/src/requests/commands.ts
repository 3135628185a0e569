import { WheelworkError, type HistoryEvent } from "@wheelwork/core";
import { textOf, type Ignored, type Input } from "@wheelwork/core/kernel";
import { givenKey } from "../ports/keys.ts";
import type { CommandOptions, CommandResult } from "./api.ts";

export function commandResult(key: string, ignored: Ignored | undefined): CommandResult {
  const id = givenKey(key);
  switch (ignored) {
    case "ended":
      return "ended";
    case "full":
      throw new WheelworkError("WW_OVERLOADED", `the run of request ${id} keeps as many signals as it may`, {
        next: "Send the signal again when the run has taken some.",
        retryable: true,
      });
    case "reused":
      throw commandReused(id);
    case "spent":
      throw new WheelworkError(
        "WW_OVERLOADED",
        `the run of request ${id} has taken as many named signals as it can`,
        {
          next: "Send it again later: ids are forgotten once they are as old as answers are kept. Or send signals without a commandId.",
          retryable: true,
        },
      );
    case "not-incident":
      throw new WheelworkError("WW_NOT_INCIDENT", `the run of request ${id} is not parked by an incident`, {
        next: "Only a run whose status is incident can be retried or resolved.",
      });
    default:
      return "accepted";
  }
}

/** A command, as it is given to a run. */
export type CommandInput = Extract<Input, { kind: "signal" | "cancel" | "retry" | "resolve" }>;

const eventOf = { signal: "signalled", cancel: "cancelling", retry: "resumed", resolve: "ended" } as const;

/** Options of a command that the engine itself gives. */
export interface OwedCommandOptions extends CommandOptions {
  /** It has been decided when it resolves, wherever its shard is worked on: see `ShardAccess.deliver`. */
  readonly isDecided?: true;
}

/** What an event says of a command under this id; undefined: it is not about it. A run that a command has parked keeps it for the retry. */
function bodyIn(event: HistoryEvent, { kind, id }: CommandInput): object | undefined {
  if (event.type === eventOf[kind]) return "id" in event && event.id === id ? event : undefined;
  if (event.type !== "incident" && event.type !== "parked") return undefined;
  return event.input.kind === kind && event.input["id"] === id ? event.input : undefined;
}

/** Whether a run has taken a command under this id, by what has happened to it: with the same body, or with another one. */
export function commandIn(
  history: readonly HistoryEvent[],
  input: CommandInput,
): "duplicate" | "reused" | undefined {
  for (const event of history) {
    const taken = bodyIn(event, input);
    if (taken === undefined) continue;
    const [was, is] = [taken, input].map((one) => ("hash" in one ? one.hash : undefined));
    return was === is || is === undefined ? "duplicate" : "reused";
  }
  return undefined;
}

const commandReused = (id: string): WheelworkError =>
  new WheelworkError("WW_KEY_REUSED", `request ${id} has had another signal under this command id`, {
    next: "Use a new command id for a new signal.",
  });

export const notFound = (key: string): WheelworkError => noRequest(givenKey(key));

/** Whether an error says that something is not there. */
export const isNotFound = (error: unknown): boolean =>
  error instanceof WheelworkError && error.code === "WW_NOT_FOUND";

/** There is no request under an id, as the caller gave it. */
export function noRequest(id: string): WheelworkError {
  return new WheelworkError("WW_NOT_FOUND", `there is no request ${textOf(id)}`, {
    next: "Check the id; answers are kept for the retention time only.",
  });
}
