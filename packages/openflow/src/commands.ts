import type {
  Config,
  Experimenter,
  FlowMod,
  GroupMod,
  Message,
  MeterMod,
  OtherMessage,
  PacketOut,
  PortMod,
} from "./codec/messages.ts";
import { invalid } from "./errors.ts";

/** A message that changes something. One about tables is sent as bytes: its type is `other`, and its `messageType` 17. */
export type Command =
  | FlowMod
  | GroupMod
  | MeterMod
  | PortMod
  | PacketOut
  | (Config & { readonly type: "setConfig" })
  | Experimenter
  | OtherMessage;

const types: ReadonlySet<Message["type"]> = new Set<Command["type"]>([
  "flowMod",
  "groupMod",
  "meterMod",
  "portMod",
  "packetOut",
  "setConfig",
  "experimenter",
  "other",
]);

/** Group-mod, table-mod and set-async. What is above 29 is of later standards. */
const others: ReadonlySet<number> = new Set([15, 17, 28]);

/**
 * Refuses what is no command. Hellos, roles and barriers are the speaker's own: a role of one's own would undo its mastership. Questions
 * have calls of their own.
 */
export function commands(messages: readonly Command[]): readonly Command[] {
  for (const message of messages) {
    if (!types.has(message.type))
      throw invalid("the type of a message", message.type, `one of ${[...types].join(", ")}`);
    if (message.type === "other" && !others.has(message.messageType) && message.messageType < 30) {
      throw invalid("messageType", message.messageType, `one of ${[...others].join(", ")}, or above 29`);
    }
  }
  return messages;
}
