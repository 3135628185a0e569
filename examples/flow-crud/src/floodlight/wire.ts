import type { Message } from "wheelwork";

/** What the controller is told to do. The original proof of concept has only the first two. */
export type CommandName = "install" | "validate" | "remove" | "validate-removed";

/** In the original proof of concept, the controller does not answer a command with this mark. */
export type WireError = "IN_FL" | null;

/** The value of a command. */
export interface CommandBody {
  readonly flowid: string;
  readonly ruleid: number;
  readonly error: WireError;
  readonly command: CommandName;
}

/** A command as the controller understands it. */
export interface Command extends Omit<CommandBody, "command" | "error"> {
  /** `<request id>-<i>`: names the rule in every command. */
  readonly key: string;
  /** The request that the rule belongs to: the first 32 characters of the key. */
  readonly cookie: string;
  readonly error: string | null;
  /** May be one that the controller does not know. */
  readonly command: string;
}

const cookieLength = 32;
/** The request that a command or its answer belongs to. */
export const requestOf = ({ key }: Message): string => key.slice(0, cookieLength);

const keyPattern = /^[^\s]{32}-\d{1,9}$/;

/** The message of a command, byte for byte as in the original proof of concept. */
export function commandMessage(key: string, body: CommandBody): Message {
  const { flowid, ruleid, error, command } = body;
  return { key, value: JSON.stringify({ flowid, ruleid, error, command }) };
}

/** Reads a command; undefined if the message is none. */
export function readCommand(message: Message): Command | undefined {
  const { key, value } = message;
  if (!keyPattern.test(key)) return undefined;
  let body: Partial<Record<keyof CommandBody, unknown>> | null;
  try {
    body = JSON.parse(value) as typeof body;
  } catch {
    return undefined;
  }
  if (typeof body !== "object" || body === null) return undefined;
  const { flowid, ruleid, error = null, command } = body;
  if (typeof flowid !== "string" || typeof command !== "string") return undefined;
  if (typeof ruleid !== "number" || !Number.isSafeInteger(ruleid) || ruleid < 0) return undefined;
  if (error !== null && typeof error !== "string") return undefined;
  return { key, cookie: requestOf(message), flowid, ruleid, error, command };
}

/** The words with which the controller answers. The empty word means that it does not know the command. */
export type AnswerWord =
  | "installed"
  | "validated"
  | "removed"
  | "absent"
  | "table-full"
  | "refused"
  | "fenced"
  | "missing"
  | "unremoved"
  | "";

/** The message of an answer: a word, a space, and the rule. */
export function answerMessage(command: Command, word: AnswerWord): Message {
  return { key: command.key, value: `${word} ${command.ruleid}` };
}

/** The word of an answer; undefined if the message is none. */
export function readAnswer(message: Message): string | undefined {
  return /^([a-z-]*) \d+$/.exec(message.value)?.[1];
}
