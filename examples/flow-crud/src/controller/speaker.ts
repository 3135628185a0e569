import * as z from "zod";
import { Rule, SwitchId } from "./model.ts";

/** What a switch controller is told about one switch. Its answer carries the same id. */
export const SpeakerCommand = z.discriminatedUnion("command", [
  /**
   * The switch shall have these rules. `seq` orders what is said about one address: a lower one than the switch controller has seen for that
   * address changes nothing. It rises with each plan of a flow and each phase of it, and flows whose rules have the same address follow
   * one another, so a command that comes late, or once more, does no harm.
   *
   * `must`: it is an obligation. The switch gets the rules when it is back, if it is away.
   */
  z.object({
    command: z.literal("install"),
    switchId: SwitchId,
    seq: z.int(),
    must: z.boolean(),
    rules: z.array(Rule),
  }),
  /** The switch shall not have what is at these addresses, unless it was said later what shall be there. It is an obligation. */
  z.object({
    command: z.literal("remove"),
    switchId: SwitchId,
    seq: z.int(),
    rules: z.array(Rule),
  }),
  /** What the switch really has of these rules now. Nothing is changed. */
  z.object({ command: z.literal("read"), switchId: SwitchId, rules: z.array(Rule) }),
]);
export type SpeakerCommand = z.output<typeof SpeakerCommand>;

/** A rule that is not as it should be. */
export const Discrepancy = z.object({
  rule: Rule,
  /** What is there instead; null: nothing. */
  found: Rule.nullable(),
});
export type Discrepancy = z.output<typeof Discrepancy>;

/**
 * What the switch controller answers. It answers only what is proven, by the reply to a barrier and by what was read back. If nobody knows what
 * has come of a command, there is no answer, and the command is given again.
 */
export const SpeakerAnswer = z.discriminatedUnion("answer", [
  /** All is as it should be. `unconfirmed`: so many rules are not, since the switch is away, and will be when it is back. */
  z.object({ answer: z.literal("done"), unconfirmed: z.int() }),
  /** The switch is not connected. Nothing was noted, and nothing comes later. */
  z.object({ answer: z.literal("away") }),
  /** The switch has refused rules; those that it has taken are there. */
  z.object({ answer: z.literal("refused"), reason: z.string(), isFull: z.boolean() }),
  /** Nothing is done for anybody, and nothing was noted, until an operator has seen to what the reason says. */
  z.object({ answer: z.literal("halted"), reason: z.string() }),
  /** Something later was said about one of these addresses. */
  z.object({ answer: z.literal("fenced") }),
  /** Of `read`. */
  z.object({
    answer: z.literal("read"),
    discrepancies: z.array(Discrepancy),
    packets: z.number(),
    bytes: z.number(),
    /** How many rules and meters the switch has in all. */
    totalRules: z.int(),
    totalMeters: z.int(),
  }),
]);
export type SpeakerAnswer = z.output<typeof SpeakerAnswer>;

/** What drives the switches of the network: simulated ones, or real ones over OpenFlow. */
export interface Speaker {
  /** Does what it is told. undefined: nobody knows what has come of it. */
  execute(command: SpeakerCommand): Promise<SpeakerAnswer | undefined>;
  /** What was to be removed or put back and may still be otherwise, since its switch is away: the oldest first. */
  unconfirmed(limit: number): {
    readonly count: number;
    readonly rules: readonly {
      readonly switchId: string;
      readonly cookie: string;
      readonly address: string;
    }[];
  };
}
