import { WheelworkError, type Outcome, type RemoteCaller, type TraceContext } from "@wheelwork/core";
import { isDuration, mustBeDuration, type Input, type Posted } from "@wheelwork/core/kernel";
import type { AttemptContext } from "../attempts/context.ts";
import { isRunKey, isStoredKey, rootOf } from "../ports/keys.ts";
import type { LogRecord } from "../ports/log.ts";
import type { Message } from "../ports/ports.ts";
import { tooLong } from "./replies.ts";
import { traceContext } from "../ports/trace.ts";
import { isGiver, isInstant, isPriority, mustBeInstant, mustBePriority } from "../requests/validate.ts";

/** A place in a log. */
export interface Origin {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

/** A request. */
export interface RequestEntry {
  readonly type: "request";
  readonly hub: string;
  readonly request: unknown;
  readonly deadlineMs?: number;
  /** Of a hub with a lane. */
  readonly priority?: number;
  /** When it begins, in milliseconds since 1970. */
  readonly startAt?: number;
  /** Where the answer is published, besides being stored. */
  readonly replyTo?: string;
  /** A call in another shard has begun it. The request is what the caller has stored, as the schema of the hub has made it. */
  readonly caller?: RemoteCaller;
  /** See `OpenedCalls`. Only with `caller`. */
  readonly transformed?: true;
  /** What has caused it. */
  readonly trace?: TraceContext;
  /** Who sent it, if that is known. */
  readonly givenBy?: string;
  /** Of a request that came through a channel: its record there. Its dead letter names it. */
  readonly origin?: Origin;
}

/** A command for a run. */
interface CommandEntry {
  readonly type: "command";
  readonly input: Input;
  /** The run, if it is not the request's own but one that the request has begun. */
  readonly run?: string;
}

/** The outcome of an attempt of an external worker. */
interface ResponseEntry {
  readonly type: "response";
  /** The run, if it is not the request's own but one that the request has begun. */
  readonly run?: string;
  readonly spoke: string;
  readonly call: number;
  readonly attempt: number;
  readonly epoch: number;
  /** When the run was created. Messages of earlier versions do not say it. */
  readonly since?: number;
  readonly outcome: Outcome;
}

/** What an external worker says of how far it is. */
interface ProgressEntry extends Omit<ResponseEntry, "type" | "outcome"> {
  readonly type: "progress";
  /** undefined: only that it lives. */
  readonly value: unknown;
}

/** What a message to a relay says. It names no attempt: it is for the open one that has this correlation, if there is one. */
interface RelayReplyEntry {
  readonly type: "relayReply";
  readonly spoke: string;
  readonly correlation: string;
  readonly outcome: Outcome;
}

/** What the inbox of a shard holds. The key of each message is that of its request. */
export type InboxEntry = RequestEntry | CommandEntry | ResponseEntry | ProgressEntry | RelayReplyEntry;

/**
 * The names on the wire. They never change, since records of earlier versions may wait in an inbox; that is why a reply to a
 * relay is still called "heard" there.
 */
const wireNames: Readonly<Record<InboxEntry["type"], string>> = {
  request: "request",
  command: "command",
  response: "response",
  progress: "progress",
  relayReply: "heard",
};

/** The header that says what a message is, as CloudEvents name it. */
const typeHeader = "ce_type";
const typePrefix = "wheelwork.";
const typeOf: ReadonlyMap<string, InboxEntry["type"]> = new Map(
  Object.entries(wireNames).map(([type, name]) => [typePrefix + name, type as InboxEntry["type"]]),
);

/** The message that carries an entry for a run to the inbox of its shard. */
export function inboxMessage(id: string, { type, ...given }: InboxEntry): Message {
  // Readers that hand records on by their keys look at the root alone: its shard has all that it has begun.
  const key = rootOf(id);
  const entry = type === "command" && key !== id ? { ...given, run: id } : given;
  const name = wireNames[type];
  // The type is in both, header and value: Storm's reader of topics hands on no headers.
  return {
    key,
    value: JSON.stringify({ type: name, ...entry }),
    headers: { [typeHeader]: typePrefix + name },
  };
}

/** Whether a record says that it is an entry of an inbox; it need not be a valid one. */
export const isInboxEntry = ({ headers, value }: LogRecord): boolean =>
  typeOf.has(wireType(headers, parse(value)) ?? "");

/**
 * Reads an entry. Everything that the loop relies on is checked here: what fails in the loop would be read, and fail, again
 * and again.
 * @throws WheelworkError WW_INVALID_REQUEST for a record that is no entry.
 */
export function readInbox({ key, headers, value, oversizeBytes }: LogRecord): InboxEntry {
  if (oversizeBytes !== undefined) throw broken(tooLong(oversizeBytes));
  const entry = parse(value);
  const name = wireType(headers, entry);
  const type = typeOf.get(name ?? "");
  if (type === undefined) throw broken(`an inbox takes no message of the type ${name ?? "(none)"}`);
  if (entry === undefined) {
    const what = type === "response" ? "the value of a response" : "the value";
    throw broken(`${what} is not a JSON object`);
  }
  if (!isStoredKey(key)) throw broken("the key of a request cannot be stored");
  switch (type) {
    case "request":
      return readRequest(entry);
    case "command":
      return readCommand(key, entry);
    case "response":
      return readResponse(key, headers, entry);
    case "progress":
      return readProgress(key, headers, entry);
    case "relayReply":
      return readRelayReply(entry);
  }
}

/** The header that names an attempt: an external worker sends it back as it is, as a header or in the value. */
export const correlationHeader = "correlation-id";

/** Names an attempt for an external worker: the call by its way from the request, and the run by its time, since keys come again. */
export const correlationOf = (
  spoke: string,
  { runKey: run, call, attempt, epoch, createdAt }: AttemptContext,
): string =>
  `${run.slice(rootOf(run).length + 1)}/${call}.${attempt}.${epoch}.${createdAt}.${spoke}`.replace(/^\//, "");

type Fields = Readonly<Record<string, unknown>>;

function readRequest(entry: Fields): RequestEntry {
  const { hub, request, deadlineMs, priority, startAt, replyTo, origin, caller, transformed } = entry;
  if (typeof hub !== "string") throw broken("a request lacks the name of its hub");
  if (deadlineMs !== undefined && !(typeof deadlineMs === "number" && isDuration(deadlineMs)))
    throw broken(`the deadlineMs of a request ${mustBeDuration}`);
  if (priority !== undefined && !isPriority(priority))
    throw broken(`the priority of a request ${mustBePriority}`);
  if (startAt !== undefined && !isInstant(startAt)) throw broken(`the startAt of a request ${mustBeInstant}`);
  // Stores keep it as a text, and some take neither NUL nor half of a surrogate pair.
  if (replyTo !== undefined && !(isText(replyTo) && !replyTo.includes("\0")))
    throw broken("the replyTo of a request must be a text without NUL");
  if (caller !== undefined && !isCaller(caller)) throw broken("the caller of a request is not one");
  return {
    type: "request",
    hub,
    request,
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
    ...(priority === undefined ? {} : { priority }),
    ...(startAt === undefined ? {} : { startAt }),
    ...(replyTo === undefined ? {} : { replyTo }),
    ...(caller === undefined ? {} : { caller }),
    ...(caller !== undefined && transformed === true ? { transformed } : {}),
    ...(isOrigin(origin) ? { origin } : {}),
    ...tracesOf(entry),
    ...giverIn(entry),
  };
}

/** Who can write to the topic can write any name. What is no name counts as absent. */
const giverIn = ({ givenBy }: Fields): { readonly givenBy?: string } => (isGiver(givenBy) ? { givenBy } : {});

function isCaller(value: unknown): value is RemoteCaller {
  const { carrier, since, depth, places = [] } = (value ?? {}) as Fields;
  const isCounted = Number.isFinite(since) && Number.isInteger(depth);
  return isText(carrier) && isRunKey(carrier) && isCounted && Array.isArray(places) && places.every(isPlace);
}

function isPlace(value: unknown): boolean {
  const { name, key, place, fence } = (value ?? {}) as Fields;
  return [name, key, place].every(isText) && (fence === undefined || Number.isFinite(fence));
}

/** What is no valid context counts as absent. */
function tracesOf({ trace }: Fields): Pick<RequestEntry, "trace"> {
  const { parent, state, link } = (trace ?? {}) as Partial<Record<keyof TraceContext, unknown>>;
  if (typeof parent !== "string") return {};
  const read = traceContext(parent, typeof state === "string" ? state : undefined, link === true);
  return read === undefined ? {} : { trace: read };
}

const isText = (value: unknown): value is string => typeof value === "string" && value.isWellFormed();

function isOrigin(value: unknown): value is Origin {
  const { topic, partition, offset } = (value ?? {}) as Partial<Record<keyof Origin, unknown>>;
  return isText(topic) && Number.isInteger(partition) && Number.isInteger(offset);
}

/** Of the id and the hash of a command, so many characters: a run remembers them for long. */
const maxIdLength = 1000;

const isId = (value: unknown): value is string => isText(value) && value.length <= maxIdLength;

function isPosted(value: unknown): value is Posted {
  const { from, number } = (value ?? {}) as Partial<Record<keyof Posted, unknown>>;
  return isId(from) && Number.isSafeInteger(number);
}

/** A command with what the loop knows of, and nothing else. */
function readCommand(key: string, { input, run }: Fields): CommandEntry {
  if (run !== undefined && !(typeof run === "string" && isRunKey(run) && rootOf(run) === key))
    throw broken("the run of a command must be one of its request");
  return {
    type: "command",
    input: commandOf((input ?? {}) as Fields),
    ...(run === undefined ? {} : { run }),
  };
}

function commandOf(fields: Fields): Input {
  const { kind, id, hash, signal, payload, message, post } = fields;
  const isSound = isId(id) && (hash === undefined || isId(hash)) && (post === undefined || isPosted(post));
  const given = hash === undefined ? {} : { hash: hash as string };
  const posted = post === undefined ? {} : { post: post as Posted };
  const giver = giverIn(fields);
  if (isSound && kind === "signal" && isText(signal))
    return { kind, id, ...given, ...posted, ...giver, signal, payload };
  if (isSound && kind === "retry") return { kind, id, ...given, ...giver };
  if (isSound && kind === "cancel") return { kind, id, ...giver };
  if (isSound && kind === "resolve" && typeof message === "string") return { kind, id, message, ...giver };
  throw broken("a command lacks what it asks for");
}

function readRelayReply({ spoke, correlation, outcome }: Fields): RelayReplyEntry {
  if (typeof spoke !== "string" || typeof correlation !== "string")
    throw broken("a reply to a relay lacks its spoke or its correlation");
  // The worker host checks the outcome against the contract of the spoke.
  return { type: "relayReply", spoke, correlation, outcome: outcome as Outcome };
}

function readProgress(key: string, headers: LogRecord["headers"], entry: Fields): ProgressEntry {
  return {
    type: "progress",
    ...readPlace(key, headers, entry, "a word of progress"),
    value: entry["progress"],
  };
}

/** Which attempt a record is of. */
function readPlace(
  key: string,
  headers: LogRecord["headers"],
  entry: Fields,
  what: string,
): Omit<ProgressEntry, "type" | "value"> {
  const correlation = headers[correlationHeader] ?? entry[correlationHeader];
  // Names of spokes begin with a letter.
  const [, path, call, attempt, epoch, since, spoke] =
    /^(?:((?:t?\d{1,15})(?:\/t?\d{1,15})*)\/)?(\d{1,15})\.(\d{1,15})\.(\d{1,15})\.(?:(\d{1,15})\.)?(.+)$/.exec(
      typeof correlation === "string" ? correlation : "",
    ) ?? [];
  if (spoke === undefined) throw broken(`${what} lacks the correlation-id of its request`);
  const numbers = { call: Number(call), attempt: Number(attempt), epoch: Number(epoch) };
  const place = since === undefined ? numbers : { ...numbers, since: Number(since) };
  return { ...(path === undefined ? {} : { run: `${key}/${path}` }), spoke, ...place };
}

function readResponse(key: string, headers: LogRecord["headers"], entry: Fields): ResponseEntry {
  const place = readPlace(key, headers, entry, "a response");
  const { output, error } = entry as {
    output?: unknown;
    error?: { code?: unknown; message?: unknown; details?: unknown } | null;
  };
  const outcome =
    error === undefined || error === null
      ? { kind: "ok", output }
      : { kind: "error", code: error.code, message: error.message ?? "", details: error.details };
  // The worker host checks the outcome against the contract of the spoke.
  return { type: "response", ...place, outcome: outcome as Outcome };
}

function parse(value: string): Fields | undefined {
  try {
    const parsed: unknown = JSON.parse(value.toWellFormed());
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)
      ? (parsed as Fields)
      : undefined;
  } catch {
    return undefined;
  }
}

/** The type on the wire: that of the header, or that of the value if the headers are lost. */
function wireType(headers: LogRecord["headers"], entry: Fields | undefined): string | undefined {
  const named = headers[typeHeader];
  if (named !== undefined) return named;
  const type = entry?.["type"];
  if (typeof type !== "string") return undefined;
  const name = typePrefix + type;
  return typeOf.has(name) ? name : undefined;
}

const broken = (message: string): WheelworkError => new WheelworkError("WW_INVALID_REQUEST", message);
