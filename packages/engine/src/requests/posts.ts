import {
  spoke,
  WheelworkError,
  type Failed,
  type Outcome,
  type Schema,
  type Spoke,
  type TraceContext,
} from "@wheelwork/core";
import type { Posted } from "@wheelwork/core/kernel";
import { hash as digest } from "node:crypto";
import type { Worker } from "../attempts/worker.ts";
import type { RemoteCall, RemoteOutcome } from "../ports/calls.ts";
import { postSpokeName, type Letter } from "../ports/posts.ts";
import type { SubmitOptions } from "./api.ts";
import type { BulkOffice } from "./bulk-hub.ts";
import { bulkOffice } from "./bulks.ts";
import type { RequestService } from "./service.ts";

/** What a request is started with by another run. */
export interface OwedOptions extends SubmitOptions {
  /** What has caused it. */
  readonly trace?: TraceContext | undefined;
}

/**
 * How posts reach the runs that they are for, and bulks those that they mean. What it throws says whether another try may help
 * (`retryable`).
 */
export interface PostOffice extends BulkOffice {
  /** Submits a request. The same key is the same request. */
  start(hub: string, request: unknown, options: OwedOptions): Promise<void>;
  /** Sends a signal. The same command id is the same signal, and so is the same post. */
  signal(hub: string, id: string, signal: OwedSignal): Promise<void>;
  /** Begins a run that was called in another shard, unless it has begun. It is there when this resolves. */
  call(call: RemoteCall, trace: TraceContext | undefined): Promise<void>;
  /** As `call`, and cancels the run: nobody waits for it any more. */
  withdraw(call: RemoteCall, trace: TraceContext | undefined): Promise<void>;
  /** Gives the carrier of a call the answer of its callee. The same command id is the same signal. */
  outcome(outcome: RemoteOutcome, commandId: string): Promise<void>;
}

/** A signal that one run has posted to another. */
export interface OwedSignal {
  readonly name: string;
  readonly payload: unknown;
  readonly commandId: string;
  readonly post?: Posted | undefined;
}

const anything: Schema = {
  "~standard": { version: 1, vendor: "wheelwork", validate: (value) => ({ value }) },
};

export const postSpoke = spoke(postSpokeName, {
  input: anything as Schema<Letter>,
  output: anything,
  errors: ["away", "refused"],
  timeoutMs: 30_000,
  retry: { attempts: "unlimited", backoffMs: 50, maxBackoffMs: 30_000, giveUpOn: ["refused"] },
});

/** The worker that carries out posts. It is the engine's own: no user serves it. */
export function postWorker(office: PostOffice): Worker {
  const deliver = async (
    { post, from, since, number }: Letter,
    run: string,
    trace: TraceContext | undefined,
  ): Promise<void> => {
    const commandId = textOf(run, since);
    switch (post.kind) {
      case "start": {
        const { key = "", startAt } = post;
        const options = startAt === undefined ? { key, trace } : { key, trace, startAt };
        return office.start(post.hub, post.request, options);
      }
      case "signal": {
        const { hub, id, signal: name, payload } = post;
        const numbered = number === undefined ? undefined : { from: textOf(from, since), number };
        return office.signal(hub, id, { name, payload, commandId, post: numbered });
      }
      case "call":
        return office.call(post, trace);
      case "withdraw":
        return office.withdraw(post, trace);
      case "outcome":
        return office.outcome(post, commandId);
    }
  };
  return {
    spoke: postSpoke as unknown as Spoke,
    // It calls nothing of the user's: whatever ends the process, it is not at fault.
    otherProcess: true,
    attempt: async (letter, { runKey, cause }): Promise<Outcome> => {
      try {
        await deliver(letter as Letter, runKey, cause);
        return { kind: "ok", output: {} };
      } catch (error) {
        if (!(error instanceof WheelworkError)) return failed("away", String(error));
        return failed(error.retryable ? "away" : "refused", error.message);
      }
    },
  };
}

const failed = (code: string, message: string): Outcome => ({
  kind: "error",
  code: code as Failed["code"],
  message,
});

/** Names a run for ever: the id of a signal is the same in each attempt, and no other post has it. */
function textOf(run: string, since: number): string {
  const id = `${run}@${since.toString(36)}`;
  return id.length <= 200 ? id : digest("sha256", id, "hex");
}

/** Takes posts to the runs as requests and signals of callers come to them, wherever their shards are worked on. */
export function officeOf(engine: () => RequestService): PostOffice {
  return {
    start: (hub, request, options) => engine().submitOwed(hub, request, options),
    signal: (hub, id, signal) => engine().signalOwed(hub, id, signal),
    call: (call, trace) => engine().callOwed(call, trace),
    withdraw: (call, trace) => engine().withdrawOwed(call, trace),
    outcome: (outcome, commandId) => engine().outcomeOwed(outcome, commandId),
    ...bulkOffice(engine),
  };
}
