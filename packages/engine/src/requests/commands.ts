import { WheelworkError } from "@wheelwork/core";
import type { Ignored } from "@wheelwork/core/kernel";
import { givenKey } from "../ports/keys.ts";
import type { CommandResult } from "./api.ts";

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
          next: "Send signals without a commandId. Or end the run and send a new request.",
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

const commandReused = (id: string): WheelworkError =>
  new WheelworkError("WW_KEY_REUSED", `request ${id} has had another signal under this command id`, {
    next: "Use a new command id for a new signal.",
  });

export const notFound = (key: string): WheelworkError => noRequest(givenKey(key));

/** There is no request under an id, as the caller gave it. */
export function noRequest(id: string): WheelworkError {
  return new WheelworkError("WW_NOT_FOUND", `there is no request ${id}`, {
    next: "Check the id; answers are kept for the retention time only.",
  });
}
