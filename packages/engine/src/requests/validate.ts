import { WheelworkError, type Schema } from "@wheelwork/core";
import {
  canonicalJson,
  demand,
  isDuration,
  labelsOf,
  laneKeyOf,
  mustBeDuration,
  plain,
  textOf,
  textProblem,
  tryPlain,
  type HubDefinition,
} from "@wheelwork/core/kernel";
import { hash, randomBytes, randomUUID } from "node:crypto";
import { keyInLane, requestKeyProblem } from "../ports/keys.ts";
import type { SubmitOptions } from "./api.ts";

/** A key that nobody else has. The time comes first: a store adds such keys at the end of its index, which is cheap. */
export function newKey(now: number): string {
  return now.toString(16).padStart(12, "0") + randomBytes(10).toString("hex");
}

/** 32 hex digits of SHA-256 over the hub and the canonical body: equal requests, equal hashes. */
function hashOf(hub: string, request: unknown): string {
  return hash("sha256", `${hub}\n${canonicalJson(request)}`, "hex").slice(0, 32);
}

/** A body, held against the schema of its hub, and what tells it from another body under the same key. */
export interface CheckedBody {
  /** The request as it is stored: what the schema made of the body. undefined if there is `invalid`. */
  readonly valid: unknown;
  /** Why it is refused: WW_INVALID_REQUEST with every problem, or WW_DEFECT if the hub cannot label it. Under a known key it has its answer all the same. */
  readonly invalid?: WheelworkError | undefined;
  /** The hash of what the sender sent. It is stored with the request. It takes time. */
  readonly hash: () => string;
  /** Whether the request with this stored hash has the same body. */
  readonly isSame: (stored: string) => boolean;
}

/**
 * Holds a body against the schema of its hub. It never throws.
 *
 * Two bodies under one key are the same if the sender sent the same. What a schema makes of them says nothing: it may have
 * changed between the two, and it may fill in the time or a random id. But earlier versions of the engine stored the hash of
 * what the schema had made. So a body is also taken for the same if today's schema makes of it what has that hash.
 *
 * It is checked when somebody first asks: an engine that has too much to do refuses requests before.
 */
export function checkBody(definition: HubDefinition, body: unknown): CheckedBody {
  const { name } = definition;
  let made: Pick<CheckedBody, "valid" | "invalid"> | undefined;
  const checked = (): Pick<CheckedBody, "valid" | "invalid"> => (made ??= validBody(definition, body));
  const hash = (): string => {
    const sent = tryPlain(body);
    if (sent.problem === undefined) return hashOf(name, sent.value);
    // An embedder may hand over what is no JSON, such as a date, and the schema makes JSON of it.
    return checked().invalid === undefined ? hashOf(name, checked().valid) : "";
  };
  return {
    get valid() {
      return checked().valid;
    },
    get invalid() {
      return checked().invalid;
    },
    hash,
    isSame: (stored) =>
      stored !== "" &&
      (stored === hash() || (checked().invalid === undefined && stored === hashOf(name, checked().valid))),
  };
}

/** The body of a call of a hub: its caller has held it against the schema of the hub, and stored what that has made. */
export function storedBody(hub: string, request: unknown): CheckedBody {
  const hash = hashOf(hub, request);
  return { valid: request, hash: () => hash, isSame: (stored) => stored === hash };
}

function validBody(definition: HubDefinition, body: unknown): Pick<CheckedBody, "valid" | "invalid"> {
  const what = `the request to ${definition.name}`;
  try {
    const valid = demand(definition.request, body, "WW_INVALID_REQUEST", what);
    const stored = plain(valid, "WW_INVALID_REQUEST", what);
    // A hub that cannot label the request is found out here, and not once the request is accepted.
    labelsOf(definition, stored);
    return { valid: stored };
  } catch (error) {
    return { valid: undefined, invalid: error as WheelworkError };
  }
}

/**
 * A signal, held against the schema of its hub.
 * @throws WheelworkError WW_SIGNAL_UNKNOWN, WW_INVALID_INPUT with every problem.
 */
export function validSignal(
  hub: string,
  definition: HubDefinition | undefined,
  name: string,
  payload: unknown,
): unknown {
  const signals = definition?.signals ?? {};
  const isKnown = typeof name === "string" && Object.hasOwn(signals, name);
  const schema: Schema | undefined = isKnown ? signals[name] : undefined;
  if (schema === undefined) {
    const known = Object.keys(signals).join(", ");
    throw new WheelworkError("WW_SIGNAL_UNKNOWN", `the hub ${hub} takes no signal ${textOf(name)}`, {
      next: known === "" ? "It takes none." : `It takes: ${known}.`,
    });
  }
  const what = `the payload of the signal ${name}`;
  return plain(demand(schema, payload, "WW_INVALID_INPUT", what), "WW_INVALID_INPUT", what);
}

/** @throws WheelworkError WW_NOT_FOUND when it is no text: no request has such an id. */
export function mustBeId(id: unknown): void {
  if (typeof id === "string") return;
  throw new WheelworkError("WW_NOT_FOUND", `there is no request ${textOf(id)}: an id is a text`, {
    next: "Give the id that `submit` has returned.",
  });
}

/** @throws WheelworkError WW_INVALID_REQUEST when it is something else. */
export function mustBeText(given: unknown, path: string): void {
  if (given === undefined || typeof given === "string") return;
  throw new WheelworkError("WW_INVALID_REQUEST", `${path} is not valid`, {
    problems: [{ path, message: "must be a text" }],
  });
}

/** Of the message of a resolve, in characters: it is the answer of the request, and is in its history. */
const maxMessage = 8000;

/** What is wrong with the message of a resolve. */
export const messageProblem = (given: unknown): string | undefined => textProblem(given, maxMessage);

/** @throws WheelworkError WW_INVALID_INPUT when nobody could be told it. */
export function mustBeMessage(given: unknown): void {
  const message = messageProblem(given);
  if (message === undefined) return;
  throw new WheelworkError("WW_INVALID_INPUT", "the command cannot be accepted", {
    problems: [{ path: "message", message }],
  });
}

export const invalidWait = (): WheelworkError =>
  new WheelworkError("WW_INVALID_INPUT", "nobody can wait for an answer so long", {
    problems: [{ path: "waitMs", message: "must be a number of milliseconds" }],
  });

/**
 * A payload as it was when it was sent: its sender may change it before the hub is known whose schema checks it. What is no JSON is left to
 * that schema.
 */
export function sentPayload(payload: unknown): unknown {
  const sent = tryPlain(payload);
  return sent.problem === undefined ? structuredClone(sent.value) : payload;
}

/** The hash of a signal as it was sent. A payload that is no JSON has none: what the schema made of it counts. */
export function signalHash(name: string, payload: unknown, valid?: unknown): string {
  const sent = tryPlain(payload);
  return hashOf(name, sent.problem === undefined ? sent.value : valid);
}

/** Of the id of a command, in characters. */
const maxCommandId = 200;

/** The id of a command: the caller's, or one made up. @throws WheelworkError WW_INVALID_INPUT. */
export function commandIdOf({ commandId }: { readonly commandId?: string } = {}): string {
  if (commandId === undefined) return randomUUID();
  const problem = textProblem(commandId, maxCommandId);
  if (problem === undefined) return commandId;
  throw new WheelworkError("WW_INVALID_INPUT", "the command cannot be accepted", {
    problems: [{ path: "commandId", message: problem }],
  });
}

/** What the refusal of a request is stored under if its sender's key cannot be one. */
export const hashedKey = (given: string): string =>
  // A hash is one of UTF-8, which has no halves of surrogate pairs: all of them would be the same.
  `~${hash("sha256", given.isWellFormed() ? given : JSON.stringify(given), "hex")}`;

const maxPriority = 1000;
export const mustBePriority = `must be a whole number from -${maxPriority} to ${maxPriority}`;
/** The last time that a date can have, in milliseconds since 1970. */
const maxInstant = 8.64e15;
export const mustBeInstant = "must be a time, in milliseconds since 1970";
export const isInstant = (value: unknown): value is number =>
  typeof value === "number" && value >= 0 && value <= maxInstant;
export const isPriority = (value: unknown): value is number =>
  Number.isInteger(value) && Math.abs(value as number) <= maxPriority;

/**
 * What a request is stored under, which is its id where the key is plain ASCII: its key, and for a hub with a lane the tag of that.
 * @param body What the hub's schema made of the request. If that has refused it, it may be known nevertheless: as it was sent.
 * @throws WheelworkError WW_DEFECT when the hub cannot say the key of its lane.
 */
export function placedKey(definition: HubDefinition, key: string, body: unknown): string {
  const { exclusive } = definition;
  return exclusive === undefined ? key : keyInLane(key, exclusive.lane, laneKeyOf(definition, body));
}

/** Whether a text may name who gave a command. */
export const isGiver = (by: unknown): by is string =>
  typeof by === "string" && by.isWellFormed() && /^[^\p{Cc}]{1,300}$/u.test(by);

const mustBeGiver = "must be a text of 1 to 300 characters, without control characters";

/** Who gives a command. @throws WheelworkError WW_INVALID_INPUT when it is no name. */
export function giverOf({ by }: { readonly by?: string } = {}): { readonly givenBy?: string } {
  if (by === undefined) return {};
  if (isGiver(by)) return { givenBy: by };
  throw new WheelworkError("WW_INVALID_INPUT", "the command cannot be accepted", {
    problems: [{ path: "by", message: mustBeGiver }],
  });
}

export function checkSubmit({ exclusive, name }: HubDefinition, options: SubmitOptions): void {
  const { key, deadlineMs, priority, startAt, beginWithinMs } = options;
  const problems = [];
  const problem = key === undefined ? undefined : requestKeyProblem(key);
  if (problem !== undefined) problems.push({ path: "key", message: problem });
  if (deadlineMs !== undefined && !isDuration(deadlineMs))
    problems.push({ path: "deadlineMs", message: mustBeDuration });
  if (beginWithinMs !== undefined && !isDuration(beginWithinMs))
    problems.push({ path: "beginWithinMs", message: mustBeDuration });
  if (priority !== undefined && !isPriority(priority))
    problems.push({ path: "priority", message: mustBePriority });
  if (priority !== undefined && exclusive === undefined)
    problems.push({ path: "priority", message: `the hub ${name} has no lane in which requests wait` });
  if (startAt !== undefined && !isInstant(startAt))
    problems.push({ path: "startAt", message: mustBeInstant });
  if (options.by !== undefined && !isGiver(options.by)) problems.push({ path: "by", message: mustBeGiver });
  if (problems.length > 0)
    throw new WheelworkError("WW_INVALID_REQUEST", "the request cannot be accepted", { problems });
}
