import { WheelworkError, type Outcome } from "@wheelwork/core";
import type { Input } from "@wheelwork/core/kernel";
import type { LogRecord } from "../ports/log.ts";
import type { Message } from "../ports/ports.ts";
import { rootOf } from "../ports/keys.ts";

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
      /** The run, where it is not the request itself but one that it has begun. */
      readonly run?: string;
      readonly spoke: string;
      readonly call: number;
      readonly attempt: number;
      readonly epoch: number;
      readonly outcome: Outcome;
    }
  | {
      /** What a message to a relay says: of the attempt that the relay calls so, if one is open. */
      readonly type: "heard";
      readonly spoke: string;
      readonly correlation: string;
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
const types: ReadonlySet<string> = new Set(["request", "command", "heard"].map((type) => typePrefix + type));

export function inboxMessage(id: string, { type, ...given }: InboxEntry): Message {
  // Whoever hands records on by their keys, looks at the root alone: its shard has all that it has begun.
  const key = rootOf(id);
  const entry = type === "command" && key !== id ? { ...given, run: id } : given;
  // Both ways: Storm's reader of topics hands on no headers.
  return { key, value: JSON.stringify({ type, ...entry }), headers: { [typeHeader]: typePrefix + type } };
}

/** @throws WheelworkError WW_INVALID_REQUEST for what is none of them. */
export function readInbox({ key, headers, value }: LogRecord): InboxEntry {
  const entry = parse(value);
  const type = headers[typeHeader] ?? typeIn(entry);
  if (type === "wheelwork.response") return readResponse(key, headers, entry);
  if (type === undefined || !types.has(type))
    throw broken(`an inbox takes no message of the type ${type ?? "(none)"}`);
  if (entry === undefined) throw broken("the value is not a JSON object");
  return { ...entry, type: type.slice(typePrefix.length) } as InboxEntry;
}

/** What names an attempt: a worker elsewhere sends it back as it is, as a header or in the value. */
export const correlationHeader = "correlation-id";

/** Names an attempt, for a worker elsewhere: the call by its way from the request. */
export const correlationOf = (
  spoke: string,
  run: string,
  call: number,
  attempt: number,
  epoch: number,
): string => `${run.slice(rootOf(run).length + 1)}/${call}.${attempt}.${epoch}.${spoke}`.replace(/^\//, "");

function readResponse(
  key: string,
  headers: Readonly<Record<string, string>>,
  body: object | undefined,
): InboxEntry {
  const given = (body ?? {}) as Record<string, unknown>;
  const correlation = headers[correlationHeader] ?? given[correlationHeader];
  const [, path, call, attempt, epoch, spoke] =
    /^(?:([\dt/]+)\/)?(\d+)\.(\d+)\.(\d+)\.(.+)$/.exec(String(correlation ?? "")) ?? [];
  if (spoke === undefined) throw broken("a response lacks the correlation-id of its request");
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
  const run = path === undefined ? {} : { run: `${key}/${path}` };
  // The worker host looks whether it is what the spoke declares.
  return { type: "response", ...run, spoke, ...place, outcome: outcome as Outcome };
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
function typeIn(entry: object | undefined): string | undefined {
  const { type } = (entry ?? {}) as { type?: unknown };
  const isKnown = typeof type === "string" && (type === "response" || types.has(typePrefix + type));
  return isKnown ? typePrefix + type : undefined;
}

const broken = (message: string): WheelworkError => new WheelworkError("WW_INVALID_REQUEST", message);
