import { WheelworkError, type Outcome } from "@wheelwork/core";
import type { Input } from "@wheelwork/core/kernel";
import type { LogRecord } from "./log.ts";
import type { Message } from "./ports.ts";

/** What the inbox of a shard holds. The key of each message is that of its request. */
export type InboxEntry =
  | {
      readonly type: "request";
      readonly hub: string;
      readonly request: unknown;
      readonly deadlineMs?: number;
      readonly replyTo?: string;
      /** Where it came in, when it came through a channel: its dead letters say so. */
      readonly origin?: Origin;
    }
  | {
      readonly type: "command";
      readonly input: Input;
      /** The run, where it is not the request itself but one that it has begun. */
      readonly run?: string;
    }
  | {
      /** What a worker elsewhere says of an attempt. */
      readonly type: "response";
      readonly spoke: string;
      readonly call: number;
      readonly attempt: number;
      readonly epoch: number;
      readonly outcome: Outcome;
    };

/** A place in a log. */
export interface Origin {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

/** The header that says what a message is, as CloudEvents name it. */
const typeHeader = "ce_type";
const typePrefix = "wheelwork.";

export function inboxMessage(id: string, { type, ...given }: InboxEntry): Message {
  // Whoever hands records on by their keys, looks at the root alone: its shard has all that it has begun.
  const slash = id.indexOf("/");
  const key = slash < 0 ? id : id.slice(0, slash);
  const entry = type === "command" && slash >= 0 ? { ...given, run: id } : given;
  // Both ways: Storm's reader of topics hands on no headers.
  return { key, value: JSON.stringify({ type, ...entry }), headers: { [typeHeader]: typePrefix + type } };
}

/** @throws WheelworkError WW_INVALID_REQUEST for what is none of them. */
export function readInbox({ headers, value }: LogRecord): InboxEntry {
  const type = headers[typeHeader] ?? typeIn(value);
  if (type === "wheelwork.response") return readResponse(headers, value);
  if (type !== "wheelwork.request" && type !== "wheelwork.command")
    throw broken(`an inbox takes no message of the type ${type ?? "(none)"}`);
  const entry = parse(value);
  if (entry === undefined) throw broken("the value is not a JSON object");
  return { ...entry, type: type.slice(typePrefix.length) } as InboxEntry;
}

/** The header that names an attempt: a worker elsewhere sends it back as it is. */
export const correlationHeader = "correlation-id";

/** Names an attempt, for a worker elsewhere. */
export const correlationOf = (spoke: string, call: number, attempt: number, epoch: number): string =>
  `${call}.${attempt}.${epoch}.${spoke}`;

function readResponse(headers: Readonly<Record<string, string>>, value: string): InboxEntry {
  const [, call, attempt, epoch, spoke] =
    /^(\d+)\.(\d+)\.(\d+)\.(.+)$/.exec(headers[correlationHeader] ?? "") ?? [];
  if (spoke === undefined) throw broken("a response lacks the correlation-id of its request");
  const body = parse(value);
  if (body === undefined) throw broken("the value of a response is not a JSON object");
  const { output, error } = body as {
    output?: unknown;
    error?: { code?: unknown; message?: unknown; details?: unknown };
  };
  const outcome =
    error === undefined
      ? { kind: "ok", output }
      : { kind: "error", code: error.code, message: error.message ?? "", details: error.details };
  const place = { call: Number(call), attempt: Number(attempt), epoch: Number(epoch) };
  // The worker host looks whether it is what the spoke declares.
  return { type: "response", spoke, ...place, outcome: outcome as Outcome };
}

function parse(value: string): object | undefined {
  try {
    const parsed: unknown = JSON.parse(value);
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

/** The type of an entry whose headers are lost. */
function typeIn(value: string): string | undefined {
  const { type } = (parse(value) ?? {}) as { type?: unknown };
  return type === "request" || type === "command" ? typePrefix + type : undefined;
}

const broken = (message: string): WheelworkError => new WheelworkError("WW_INVALID_REQUEST", message);
