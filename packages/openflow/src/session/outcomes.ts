import { errorName } from "../codec/names.ts";
import { OpenFlowError, type Refusal } from "../errors.ts";

export const refused = (refusals: readonly Refusal[]): OpenFlowError =>
  new OpenFlowError("WW_OF_REFUSED", `the switch has refused ${listOf(refusals)}`, {
    next: "Correct what it refused. It has done the other messages of the group.",
    refusals,
  });

export const bundleRefused = (refusals: readonly Refusal[]): OpenFlowError =>
  new OpenFlowError(
    "WW_OF_REFUSED",
    `the switch has refused the bundle: ${listOf(refusals)}. Nothing was changed`,
    {
      next: "Correct what it refused, and send the bundle again.",
      refusals,
    },
  );

function listOf(refusals: readonly Refusal[]): string {
  const shown = refusals
    .slice(0, 5)
    .map(({ index, name }) => (index < 0 ? name : `message ${index}: ${name}`));
  const more = refusals.length > 5 ? ` and ${refusals.length - 5} more` : "";
  return `${shown.join(", ")}${more}`;
}

export const refusalOf = (index: number, errorType: number, code: number): Refusal => ({
  index,
  errorType,
  code,
  name: errorName(errorType, code),
});

export const unknown = (why: string, cause?: unknown): OpenFlowError =>
  new OpenFlowError(
    "WW_OF_UNKNOWN",
    `it was sent, and ${why}: the switch may have done all, some or none of it`,
    {
      next: "Read the rules back over a connection that lives, or write them again.",
      cause,
    },
  );

export const noReply = (): OpenFlowError =>
  new OpenFlowError("WW_OF_TIMEOUT", "the switch has not replied in time. Nothing was changed", {
    next: "Ask again, or give it more time (timeoutMs).",
    retryable: true,
  });

export const notSent = (): OpenFlowError =>
  new OpenFlowError("WW_OF_TIMEOUT", "it could not be sent in time. Nothing was changed", {
    next: "Send less at once, or give it more time (timeoutMs).",
    retryable: true,
  });

export const closed = (cause: unknown): OpenFlowError =>
  new OpenFlowError("WW_OF_CLOSED", "the connection to the switch has ended. Nothing was changed", {
    next: "Wait for the switch to connect again, and use the object of its new connection.",
    cause,
  });

export const overloaded = (bytes: number): OpenFlowError =>
  new OpenFlowError("WW_OF_OVERLOADED", `${bytes} bytes wait for this switch, and more would not fit`, {
    next: "Wait for what you have sent before. maxQueuedBytes sets how many bytes may wait.",
    retryable: true,
  });

export const stale = (said: string): OpenFlowError =>
  new OpenFlowError("WW_OF_STALE", `another speaker is the master of this switch (${said})`, {
    next: "If this one should be it, give it a higher generation.",
  });

export const silent = (silentMs: number): OpenFlowError =>
  new OpenFlowError("WW_OF_SILENT", `the switch was silent for ${silentMs} ms, and answered no echo`, {
    next: "The switch connects again by itself if it lives. silentAfterMs sets how long it may be silent.",
  });

export const unanswered = (unansweredMs: number): OpenFlowError =>
  new OpenFlowError(
    "WW_OF_SILENT",
    `the switch owes an answer for ${unansweredMs} ms, and says other things`,
    {
      next: "The switch connects again by itself if it lives. unansweredMs sets how long it may owe an answer.",
    },
  );

export const handshakeFailed = (why: string, cause?: unknown): OpenFlowError =>
  new OpenFlowError("WW_OF_HANDSHAKE", why, {
    next: "Look at the log of the switch.",
    cause,
  });

export const replyTooLarge = (most: number): OpenFlowError =>
  new OpenFlowError("WW_OF_TOO_LARGE", `the reply has more than ${most} bytes`, {
    next: "Ask for less: by cookie, by table. maxReplyBytes sets how long a reply may be.",
  });

export const groupTooLarge = (size: number, most: number): OpenFlowError =>
  new OpenFlowError("WW_OF_TOO_LARGE", `a group of ${size} bytes: ${most} are the most`, {
    next: "Send it in several groups. maxQueuedBytes sets how many bytes may wait.",
  });

export const replaced = (by: string): OpenFlowError =>
  new OpenFlowError("WW_OF_REPLACED", `the same switch has connected again, from ${by}`, {
    next: "Use the object of its new connection. If this happens again and again, two switches have one datapath id.",
  });

export const broken = (cause?: Error): OpenFlowError =>
  new OpenFlowError(
    "WW_OF_CLOSED",
    `the connection was ${cause === undefined ? "closed by the switch" : `broken: ${cause.message}`}`,
    { next: "The switch connects again by itself if it lives.", cause },
  );

export const closedHere = (): OpenFlowError =>
  new OpenFlowError("WW_OF_CLOSED", "this side has closed the connection");

export const notConnected = (datapathId: bigint, timeoutMs: number): OpenFlowError =>
  new OpenFlowError("WW_OF_TIMEOUT", `switch ${datapathId} has not connected within ${timeoutMs} ms`, {
    next: "Look whether it runs, and where it connects to. A switch may wait for seconds before it tries again.",
    retryable: true,
  });

export const tooMany = (most: number): OpenFlowError =>
  new OpenFlowError("WW_OF_OVERLOADED", `there are ${most} connections already`, {
    next: "maxConnections sets how many there may be.",
  });
