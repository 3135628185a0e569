import type { WheelworkError } from "@wheelwork/core";

/** What the exit code of a command says. Scripts rely on them: see docs/cli.md. */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  badAnswer: 4,
  noAnswerYet: 5,
  tryAgain: 6,
  denied: 7,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** For the help and docs/cli.md. */
export const exitCodeTexts: Readonly<Record<ExitCode, string>> = {
  0: "done",
  1: "failed, for a reason that is none of the others",
  2: "the command line is wrong: nothing was done",
  3: "what was named does not exist",
  4: "the answer of the request is an error or a timeout",
  5: "the request has no answer yet",
  6: "the server cannot be reached, or takes nothing now: try again later",
  7: "the server does not allow it",
};

/** The exit code of an error. */
export function exitCodeOf({ code, retryable }: WheelworkError): ExitCode {
  if (code === "WW_NOT_FOUND" || code === "WW_SIGNAL_UNKNOWN") return exitCodes.notFound;
  return retryable ? exitCodes.tryAgain : exitCodes.failed;
}
