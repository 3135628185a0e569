import { end, hub, type Answer, type Failure, type Schema } from "@wheelwork/core";
import type { HubDefinition } from "@wheelwork/core/kernel";
import { callHubName, outcomeSignal, type CarriedAnswer, type RemoteCall } from "../ports/calls.ts";
import type { Letter } from "../ports/posts.ts";
import { postSpoke } from "./posts.ts";

/** What bounds a wait that somebody else ends: some ten years, in milliseconds. */
export const foreverMs = 10 * 365 * 86_400_000;
/** How long it may take to cancel a callee, and then to hear of its end: its shard may be away. */
const endingMs = 30 * 86_400_000;

const anything: Schema = {
  "~standard": { version: 1, vendor: "wheelwork", validate: (value) => ({ value }) },
};

interface Carried {
  readonly call: RemoteCall;
  readonly answer?: Answer;
}

const letter =
  (kind: "call" | "withdraw") =>
  ({ call }: Carried): Letter => ({
    post: { kind, ...call },
    from: call.caller.carrier,
    since: call.caller.since,
  });

const refused = (failure: Failure): Answer =>
  failure.kind === "timeout" ? lost : { kind: "error", code: "WW_DEFECT", message: failure.message };

const lost: Answer = {
  kind: "timeout",
  code: "WW_TIMEOUT",
  message: "nothing was heard of the run that was called in another shard",
};

/** The answer of the callee has come, in whichever state the carrier is. */
const heard = {
  [outcomeSignal]: (_carried: unknown, answer: unknown) => ({
    raise: "Answered" as const,
    patch: { answer: answer as Answer },
  }),
};

/** The hub whose runs carry calls into lanes of other shards: see ports/calls.ts. */
export function callHub(): HubDefinition {
  const { definition } = hub(
    "call",
    {
      request: anything,
      reply: anything,
      // The caller's own time bounds it: when that has passed, the call is closed.
      deadlineMs: foreverMs,
      deadline: "GivenUp",
      signals: { [outcomeSignal]: anything },
      chart: {
        Starting: { Taken: "Waiting", Refused: "Done", Answered: "Done", GivenUp: "Cancelling" },
        Waiting: { Answered: "Done", GivenUp: "Cancelling" },
        Cancelling: { Taken: "Ending", Refused: "Done", Answered: "Done", Lost: "Done" },
        Ending: { Answered: "Done", Lost: "Done" },
        Done: end,
      },
      data: (call): Carried => ({ call: call as RemoteCall }),
    },
    {
      Starting: (s) =>
        s.call(postSpoke, {
          input: letter("call"),
          ok: "Taken",
          failed: (_carried, failure) => s.raise("Refused", { answer: refused(failure) }),
          on: heard,
        }),
      Waiting: (s) => s.wait({ on: heard }),
      Cancelling: (s) =>
        s.call(postSpoke, {
          input: letter("withdraw"),
          ok: "Taken",
          failed: (_carried, failure) => s.raise("Refused", { answer: refused(failure) }),
          on: heard,
          after: { Lost: endingMs },
        }),
      Ending: (s) => s.wait({ on: heard, after: { Lost: endingMs } }),
      Done: ({ answer = lost }): CarriedAnswer => ({ answer }),
    },
  );
  return { ...definition, name: callHubName };
}
