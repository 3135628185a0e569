import { type Action, type Instruction, instructionsCodec } from "./actions.ts";
import { Writer } from "./bytes.ts";
import { type Field, type Match, oneField } from "./fields.ts";
import type { FlowMod } from "./messages.ts";
import type { FlowStats } from "./multipart.ts";
import { flowFlags, ports } from "./names.ts";

/** What a rule that is written and one that was read back have in common. */
type Rule = Pick<
  FlowMod & FlowStats,
  "tableId" | "priority" | "cookie" | "idleTimeoutS" | "hardTimeoutS" | "flags" | "match" | "instructions"
>;

/**
 * What a rule means, as a text: two rules with the same text do the same. A switch may give back the fields of a match and the instructions
 * in another order than they were written, and leaves out what has no effect.
 */
export function meaningOf(rule: Rule): string {
  const { tableId, priority, cookie, idleTimeoutS, hardTimeoutS, flags, match, instructions } = rule;
  const tells = flags & flowFlags.sendFlowRemoved;
  const matched = matchText(match);
  const done = hexOf((writer) => instructionsCodec.write(writer, ordered(instructions), "instructions"));
  return [tableId, priority, cookie, idleTimeoutS, hardTimeoutS, tells, matched, done].join(" ");
}

function hexOf(write: (writer: Writer) => void): string {
  const writer = new Writer(64);
  write(writer);
  return Array.from(writer.written(), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const matchText = (match: Match): string =>
  match
    .map(fieldText)
    .filter((text) => text !== "")
    .toSorted()
    .join();

/** A field by its header and the bits that count. Empty: none of them does. */
function fieldText(field: Field): string {
  const text = hexOf((writer) => oneField.write(writer, field, "match"));
  const [header, rest] = [Number.parseInt(text.slice(4, 6), 16), text.slice(8)];
  const number = `${text.slice(0, 4)}${header >> 1}`;
  if ((header & 1) === 0) return `${number}=${rest}`;
  const [value, mask] = [rest.slice(0, rest.length / 2), rest.slice(rest.length / 2)];
  if (/^0*$/.test(mask)) return "";
  if (/^f*$/.test(mask)) return `${number}=${value}`;
  const bits = BigInt(`0x${value}`) & BigInt(`0x${mask}`);
  return `${number}=${bits.toString(16).padStart(mask.length, "0")}/${mask}`;
}

/** The order in which a switch follows instructions, whatever order they are written in. */
const turns: readonly Instruction["type"][] = [
  "meter",
  "applyActions",
  "clearActions",
  "writeActions",
  "writeMetadata",
  "gotoTable",
  "experimenter",
  "other",
];

const ordered = (instructions: readonly Instruction[]): readonly Instruction[] =>
  instructions
    .map((one) => ("actions" in one ? { ...one, actions: one.actions.map(withoutNeedless) } : one))
    .filter((one) => !("actions" in one) || one.actions.length > 0)
    .toSorted((one, other) => turns.indexOf(one.type) - turns.indexOf(other.type));

/** How much of a packet is sent counts for the controller alone. */
const withoutNeedless = (action: Action): Action =>
  action.type === "output" && action.port !== ports.controller ? { ...action, maxLength: 0 } : action;
